"""Processes left in the cgroup of a trial, on the real kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.waiting import wait_for
from probe.host.oci_trial.cgroup import end_cgroup, hierarchies, remove_cgroups

pytestmark = pytest.mark.real
FORKING = "while :; do /bin/true & /bin/true; done"


@pytest.fixture
def name() -> Iterator[str]:
    """A cgroup in each hierarchy of the machine."""
    require(os.geteuid() == 0, "root")
    name = f"userns-probe-test-{os.getpid()}"
    for hierarchy in hierarchies():
        with suppress(OSError):  # cpuset of version 1 takes some time, and takes no process without its CPUs
            Path(hierarchy, name, "below").mkdir(parents=True)
    yield name
    end_cgroup(name)
    assert remove_cgroups(10.0, name)


def started(command: str, *cgroups: Path) -> subprocess.Popen[bytes]:
    """A shell that is in its cgroup before it runs anything."""
    waiting = ["sh", "-c", f"read go; {command}"]
    process = subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin
    for cgroup in cgroups:
        (cgroup / "cgroup.procs").write_text(str(process.pid))
    process.stdin.write(b"\n")
    process.stdin.close()
    return process


@pytest.mark.parametrize("where", ["", "below"])
@pytest.mark.parametrize("command", ["exec sleep 600", FORKING])
def test_what_is_left_in_the_cgroup_of_a_trial_is_ended(name: str, where: str, command: str) -> None:
    """Of a runtime whose caller vanished: also further down, and what makes others meanwhile."""
    one = next(hierarchy for hierarchy in hierarchies() if hierarchy.endswith(("/pids", "/cgroup")))
    left, other = started(command, Path(one, name, where)), started("exec sleep 600")
    try:
        end_cgroup(name)
        assert left.wait(10) == -9
        wait_for(lambda: remove_cgroups(0.1, name))
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()
