"""The double of the API server does what a real one was recorded to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from lab.serve.api_store import CONDITION, Request, Store, condition_of

RECORDED = Path(__file__).parents[1] / "data" / "api-server" / "exchanges-1.36.2.jsonl"
EXCHANGES: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text().splitlines()]

# What the double does not reproduce word by word: the server's library for YAML words its own errors, and the
# double's sentence about a malformed key is shorter. Status and reason are compared all the same.
OTHER_WORDS = {"malformed-body", "apply-invalid-annotation-key"}


def request_of(exchange: dict[str, Any]) -> Request:
    asked, token = exchange["request"], "wrong" if exchange["case"] == "unauthorized-bad-token" else "token-1"
    body = asked["body"]
    if exchange["case"] == "malformed-body":
        body = "{ not yaml: ]"
    elif exchange["case"] == "apply-annotations-over-256KiB":
        body["metadata"]["annotations"]["userns-probe.io/report"] = "x" * 300000
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    target = f"{asked['path']}?{urlencode(asked['params'])}"
    return Request(asked["method"], target, asked["content_type"] or "", token, content)


def effect(node: dict[str, Any]) -> dict[str, Any]:
    """What of a Node our requests can change."""
    applied = [entry for entry in node["metadata"]["managedFields"] if entry["operation"] == "Apply"]
    ready = condition_of(node, "Ready")
    return {
        "annotations": node["metadata"].get("annotations", {}),
        "labels": node["metadata"].get("labels", {}),
        "condition": condition_of(node, CONDITION),
        "the kubelet's condition": ready and ready["status"],
        "applied": {(one["manager"], one.get("subresource")): one["fieldsV1"] for one in applied},
    }


@pytest.fixture(scope="module")
def replayed() -> dict[str, tuple[int, dict[str, Any], bool]]:
    """Case -> status, document, and whether it changed the Node; all in one row, as they were recorded."""
    store = Store(nodes={"k8slab": EXCHANGES[0]["response"]["body"]})
    store.denial = (422, "Invalid")  # of a policy whose validations name no reason, as it was recorded
    store.nodes["other"] = {"metadata": {"name": "other"}, "status": {}}
    results = {}
    for exchange in EXCHANGES:
        before = store.writes
        code, document = store.answer(request_of(exchange))
        results[exchange["case"]] = (code, document, store.writes > before)
    return results


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: str(exchange["case"]))
def test_each_recorded_request_gets_the_recorded_answer(exchange: dict[str, Any], replayed: dict[str, Any]) -> None:
    """Status, reason and message of a refusal; what then stands on the Node otherwise, and who owns it."""
    code, document, _ = replayed[exchange["case"]]
    recorded = exchange["response"]
    assert code == recorded["status"]
    if code == 200:
        assert effect(document) == effect(recorded["body"])
        return
    assert document["reason"] == recorded["body"]["reason"]
    if exchange["case"] not in OTHER_WORDS:
        assert document["message"] == recorded["body"]["message"]


def test_the_resource_version_changes_when_it_was_recorded_to(replayed: dict[str, Any]) -> None:
    """Applying the same again wakes nobody who watches."""
    version = ""
    for exchange in EXCHANGES[1:]:
        if exchange["response"]["status"] == 200:
            new = exchange["response"]["body"]["metadata"]["resourceVersion"]
            assert replayed[exchange["case"]][2] == (new != version), exchange["case"]
            version = new


def test_the_recording_is_whole() -> None:
    """Bodies that were not recorded are the ones that are made up here, and are still what they stand for."""
    unrecorded = [one["case"] for one in EXCHANGES if isinstance(one["request"]["body"], str)]
    assert unrecorded == ["malformed-body"]
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(request_of(next(one for one in EXCHANGES if one["case"] == "malformed-body")).body)
