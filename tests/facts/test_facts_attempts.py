"""What is tried on the node, and what is left alone."""

from __future__ import annotations

from unittest.mock import Mock

from probe.facts.attempts import STILL_HANGS, Bench, try_overlay
from probe.facts.filesystems import Subject
from probe.facts.types import Attempt
from probe.host.root import Host


def test_overlay_leaves_alone_what_still_hangs() -> None:
    """Its layers lie on a file system whose server keeps the child of an earlier probe: nothing is asked."""
    bench, host = Mock(spec=Bench), Mock(spec=Host)
    layers = Subject(role="overlay-layers", path="/var/lib/containerd", fstype="fuse", device="0:51")
    subject, row = try_overlay(bench, host, layers, frozenset({"0:51"}))
    assert subject == layers
    assert isinstance(row, Attempt)
    assert (row.result, row.kind, row.reason) == ("unknown", "timed-out", STILL_HANGS)
    assert bench.mock_calls == host.mock_calls == []
