"""deploy/policies, by the admission plugins of Kubernetes 1.36; with --all, since they take minutes to build."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lab.deploy.manifests import CHECKOUT, MANIFEST, documents
from lab.deploy.plugins import ask, request
from lab.prerequisites import require
from lab.real.debian import Unavailable
from probe.outputs.annotations import LABEL
from tests.deploy.test_policies import CASES, FILES, USERS, pod
from tests.extent import with_all

pytestmark = [
    pytest.mark.real,
    pytest.mark.program,
    pytest.mark.timeout(1800),
    with_all,
]

NAMESPACES = {
    name: {"kubernetes.io/metadata.name": name, **labels}
    for name, labels in {"y": {}, "kube-system": {}, "strict": {"userns-probe.io/require": "true"}}.items()
}
Document = dict[str, Any]


def asked(policies: list[Document], requests: list[Document]) -> Document:
    try:
        return ask(policies, NAMESPACES, requests)
    except Unavailable as problem:
        require(False, str(problem))
        raise


def answers(names: tuple[str, ...], namespace: str) -> dict[str, Document]:
    """Case -> what becomes of its Pod in *namespace* with the policies of these files."""
    policies = [each for name in names for each in FILES[name]]
    requests = [request(pod(case), namespace) for case in CASES.values()]
    return dict(zip(CASES, asked(policies, requests)["answers"], strict=True))


def names(found: dict[str, Document], key: str) -> set[str]:
    """Cases whose answer has something at *key*."""
    return {name for name, answer in found.items() if answer[key]}


def test_every_expression_is_of_the_type_that_kubernetes_knows() -> None:
    """The type checker, which fills `status.typeChecking`, has no warning, but one for a field that there is not."""
    policies = [each for name, found in FILES.items() if name != "select-kyverno" for each in found]
    policies += documents(MANIFEST.read_text()) + documents((CHECKOUT / "deploy/stale/rights.yaml").read_text())
    policies = [each for each in policies if "AdmissionPolicy" in each["kind"]]
    problems = asked(policies, [])["problems"]
    assert {"userns-probe", "userns-probe-prune", "userns-probe-deny", "userns-probe-warn"} <= problems.keys()
    assert not any(problems.values()), problems
    wrong = copy.deepcopy(FILES["deny"])
    wrong[0]["spec"]["validations"][0]["expression"] = "object.spec.hostUser == false"
    assert "undefined field" in str(asked(wrong, [])["problems"])


def test_the_selector_is_added_where_nobody_decided() -> None:
    """By the patch, to just these Pods; then the policy that denies lets all of them pass."""
    added = {
        name
        for name, answer in answers(("select",), "y").items()
        if not answer["denied"]
        and answer["object"]["spec"].get("nodeSelector", {}).get(LABEL) == "true"
        and CASES[name].spec.get("nodeSelector", {}).get(LABEL) != "true"
    }
    assert added == {name for name, case in CASES.items() if case.selected}
    assert not added & names(answers(("select", "deny"), "y"), "denied")


def test_pods_without_a_selector_are_denied() -> None:
    """Where the binding says so."""
    assert names(answers(("deny",), "y"), "denied") == {name for name, case in CASES.items() if case.refused}
    assert not names(answers(("deny",), "kube-system"), "denied")


def test_user_namespaces_are_required_in_labelled_namespaces() -> None:
    """And nowhere else."""
    assert names(answers(("require",), "strict"), "denied") == {name for name, case in CASES.items() if case.required}
    assert not names(answers(("require",), "y"), "denied")


def test_authors_are_warned() -> None:
    """Of Pods, and of each kind that has a template, by its own path; nothing is denied."""
    found = answers(("warn",), "y")
    assert names(found, "warnings") == {
        name for name, case in CASES.items() if (case.refused if case.warned is None else case.warned)
    }
    assert not names(found, "denied")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], **USERS}}
    specs: dict[tuple[str, str], Document] = {
        ("apps/v1", kind): {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        for kind in ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet")
    }
    specs["batch/v1", "Job"] = {"template": template}
    specs["batch/v1", "CronJob"] = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
    made = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        for (version, kind), spec in specs.items()
    ]
    for answer in asked(FILES["warn"], [request(each, "y") for each in made])["answers"]:
        assert len(answer["warnings"]) == 1, answer
        assert not answer["denied"]
