"""The mount namespace of the container runtime."""

from __future__ import annotations

import errno

import pytest

from lab.factory import make_confinement, make_runtime
from lab.fake_host import FakeHost
from probe.facts.runtime.namespace import entering
from probe.reading import Reading

NOBODY = 1 << 23
"""More than there are pids."""


def test_a_runtime_that_has_ended_forbids_nothing() -> None:
    """Whoever tries something in its mount namespace is told that it is gone, and not that the probe may not."""
    host = FakeHost()
    runtime = make_runtime(confinement=make_confinement(pid=NOBODY))
    with pytest.raises(OSError, match=r".+") as raised:
        entering(host, Reading("CRI", runtime))()
    assert raised.value.errno == errno.ESRCH
