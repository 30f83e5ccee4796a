"""Overlay of a builder."""

from __future__ import annotations

from lab.factory import make_mounts
from lab.nested import HUNG, REFUSED, SKIPPED, asked, judged, status


def test_a_builder_without_overlay_copies() -> None:
    """No overlay is no failure: the storage driver vfs remains, and the Pod is told so."""
    assert status(judged("nested-overlay")) == "pass"
    refused = judged("nested-overlay", {"overlay": REFUSED})
    assert status(refused) == "warn"
    assert "environment STORAGE_DRIVER=vfs" in asked(refused)


def test_unknown() -> None:
    """A kernel that does not know overlay now, and one that hangs, prove nothing."""
    assert status(judged("nested-overlay", {"overlay": SKIPPED})) == "unknown NotTried"
    assert status(judged("nested-overlay", {"overlay files": HUNG})) == "unknown TimedOut"


def test_noexec() -> None:
    """Volumes that nothing may be executed on warn."""
    assert status(judged("nested-overlay", mounts=make_mounts(pods_options=("rw", "noexec")))) == "warn"


def test_storage_is_always_a_volume() -> None:
    """The container's own root is an overlay, on which the kernel refuses another."""
    assert asked(judged("nested-overlay"))[0] == "volume /var/lib/containers"
