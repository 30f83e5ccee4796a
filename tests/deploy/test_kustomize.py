"""The overlays of deploy/, put together by the kustomize in kubectl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from lab.deploy.manifests import COMPONENTS, MANIFEST, by_kind, documents

pytestmark = [pytest.mark.real, pytest.mark.program]

Rendered = Callable[..., list[dict[str, Any]]]

COMBINATIONS = [
    (),
    *((each,) for each in COMPONENTS),
    ("entering", "signals", "openshift"),
    ("entering", "before-1.30"),
    ("signals", "stale", "before-1.30"),
]


@pytest.mark.parametrize("components", COMBINATIONS, ids="+".join)
def test_kustomize_puts_them_together(components: tuple[str, ...], rendered: Rendered) -> None:
    """Each object is of the published types of every Kubernetes that it is for."""
    found = rendered(*components)
    versions = ("1.25", "1.29") if "before-1.30" in components else ("1.30", "1.36")
    for each in found:
        if each["kind"] != "SecurityContextConstraints":
            for version in versions:
                kubernetes_validate.validate(each, version, strict=True)
    kinds = {each["kind"] for each in found}
    assert ("ValidatingAdmissionPolicy" in kinds) == ("before-1.30" not in components)
    assert ("SecurityContextConstraints" in kinds) == ("openshift" in components)


def test_without_a_component_it_is_the_manifest(rendered: Rendered) -> None:
    """kustomize adds nothing of its own."""
    key = lambda each: (each["kind"], each["metadata"]["name"])  # noqa: E731
    assert sorted(rendered(), key=key) == sorted(documents(MANIFEST.read_text()), key=key)


def test_signals_has_the_rights_it_needs(rendered: Rendered) -> None:
    """The Node with its status, and Events where they are created."""
    kinds = by_kind(rendered("signals"))
    node_rules = {(rule["resources"][0], verb) for rule in kinds["ClusterRole"]["rules"] for verb in rule["verbs"]}
    assert node_rules == {("nodes", "get"), ("nodes", "patch"), ("nodes/status", "patch")}
    assert kinds["Role"]["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]
