"""Processes left in the cgroup of a trial, on the real kernel."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.waiting import wait_for
from probe.host.oci_trial import cgroup as trial_cgroup
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


def started(command: str, cgroup: Path | None = None) -> subprocess.Popen[bytes]:
    """A shell that is in its cgroup before it runs anything."""
    waiting = ["sh", "-c", f"read go; {command}"]
    process = subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin
    if cgroup:
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


def test_where_a_list_of_processes_is_cut_off_no_pid_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first digits of a PID are the PID of somebody else, who would get the signal."""
    monkeypatch.setattr(trial_cgroup, "_PROCS_LIMIT", 6)
    (tmp_path / "cgroup.procs").write_text("0\n11\n12345\n678\n")
    assert trial_cgroup._processes(str(tmp_path)) == {11, 12345}


def test_more_processes_than_descriptors_are_ended(name: str) -> None:
    """Each costs one descriptor while it is ended."""
    one = next(hierarchy for hierarchy in hierarchies() if hierarchy.endswith(("/pids", "/cgroup")))
    left = [started("exec sleep 600", Path(one, name)) for _ in range(40)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
    try:
        end_cgroup(name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [process.wait(10) for process in left] == [-9] * len(left)
