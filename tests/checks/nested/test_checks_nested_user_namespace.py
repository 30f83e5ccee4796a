"""A second user namespace."""

from __future__ import annotations

from lab.factory import make_kubelet
from lab.nested import DOUBTFUL, REFUSED, asked, judged, status


def test_statuses() -> None:
    """A spent limit and a refusal fail, by different names."""
    spent = {"result": "failed", "errno": "ENOSPC"}
    assert status(judged("nested-user-namespace")) == "pass"
    assert status(judged("nested-user-namespace", {"full user namespace": spent})) == "fail NestedNamespaceLimit"
    assert status(judged("nested-user-namespace", {"rootless map": REFUSED})) == "fail NestedNamespaceRefused"
    assert status(judged("nested-user-namespace", {"rootless user namespace": DOUBTFUL})) == "unknown NotPermitted"


def test_subordinate_ids_must_lie_in_the_pods_own() -> None:
    """The usual 100000:65536 exists only in a Pod with 165536 IDs or more."""
    own = "subordinate-ids 1001:64535"
    assert own in asked(judged("nested-user-namespace"))
    assert own not in asked(judged("nested-user-namespace", kubelet=make_kubelet(ids_per_pod=196_608)))


def test_the_programs_need_file_capabilities() -> None:
    """setuid root they would need SYS_ADMIN: the Pod's root does not own the namespace of its user."""
    wanted = asked(judged("nested-user-namespace"))
    assert "file-capability newuidmap=cap_setuid" in wanted
    assert "file-capability newgidmap=cap_setgid" in wanted
    assert "escalation true" in wanted
    assert "capability SYS_ADMIN" not in wanted
