"""ID mappings inside a Pod."""

from __future__ import annotations

from lab.nested import HUNG, PASSED, asked, judged, status


def test_statuses() -> None:
    """A volume of the Pod is mapped already; a tmpfs mounted inside can be, from Linux 6.3 on."""
    assert status(judged("nested-idmap-again")) == "warn"
    assert status(judged("nested-idmap-again", {"idmap of a volume": PASSED})) == "pass"
    old = {"result": "failed", "errno": "EINVAL"}
    assert status(judged("nested-idmap-again", {"idmap of a tmpfs": old})) == "fail NestedIdmapRefused"
    assert status(judged("nested-idmap-again", {"idmap of a tmpfs": HUNG})) == "unknown TimedOut"
    assert asked(judged("nested-idmap-again")) == ["tmpfs /var/lib/kubelet"]
