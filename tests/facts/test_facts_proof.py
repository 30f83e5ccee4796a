"""A Pod with a user namespace proves something for the life of the daemon that started it, running or not."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from lab.factory import make_confinement, make_facts, make_runtime
from lab.fake_host import FakeHost
from probe.facts.memory import Memory, parse_memory, remember, watched
from probe.facts.proof import prove, without_pod
from probe.host.look import UNSEEN
from probe.host.memory_file import MEMORY_LIMIT, put_memory, take_memory
from probe.host.program import Output
from probe.host.recording import KEPT_FOR, Kept
from probe.make_report import make_report
from probe.outputs.annotations import node_annotations
from probe.proof import Proof
from probe.report import Report

NOW: dict[str, Any] = {
    "agent_version": "0",
    "probed_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-01T00:15:00Z",
    "duration_seconds": 0.1,
}
DAEMON = Proof(boot_id="b", runtime_pid=700, runtime_start=4242)
RAN = msgspec.structs.replace(DAEMON, kind="running-pod")


def confined(runs: bool) -> Any:
    """A node whose runtime has a filter that nobody can judge."""
    return make_facts(runtime=make_runtime(confinement=make_confinement(seccomp=2)), userns_pod_runs=runs)


def report(runs: bool, remembered: Proof | None) -> Report:
    return make_report(prove(confined(runs), DAEMON, remembered), **NOW)


def test_annotations_do_not_depend_on_pods() -> None:
    """Once a Pod has proved it, the Node says the same with and without one."""
    with_pod, afterwards = report(True, None), report(False, RAN)
    assert with_pod.verdict == "ready"
    assert node_annotations(with_pod) == node_annotations(afterwards)
    assert with_pod.proof == afterwards.proof == RAN


def test_without_any_pod_it_stays_unknown() -> None:
    """Nobody can tell, and the proof says what little there is."""
    never = report(False, None)
    assert never.verdict == "unknown"
    assert never.proof == DAEMON


@pytest.mark.parametrize("field", ["boot_id", "runtime_pid", "runtime_start"])
def test_a_proof_of_another_daemon_proves_nothing(field: str) -> None:
    """Another boot, another process, or the same number with another start."""
    other = msgspec.structs.replace(RAN, **{field: "c" if field == "boot_id" else 1})
    assert report(False, other).verdict == "unknown"


def test_a_proof_of_no_pod_proves_nothing() -> None:
    """That attempts worked is not a Pod."""
    assert report(False, DAEMON).verdict == "unknown"


def test_where_the_daemon_is_not_known_nothing_is_proved() -> None:
    """Neither by a Pod that runs nor by one that ran."""
    facts = prove(confined(False), Proof(), Proof(kind="running-pod"))
    assert facts.proof == Proof()
    assert not facts.userns_pod_runs.value


def test_a_daemon_is_known_by_pid_and_start() -> None:
    """And by the boot; without one of them it is not."""
    host, facts = FakeHost(), confined(False)
    assert facts.runtime.value
    pid = facts.runtime.value.confinement.value.pid
    assert without_pod(host, facts) == Proof()
    host.files[f"/proc/{pid}/stat"] = f"{pid} (a) b) S " + " ".join(str(n) for n in range(4, 53))
    found = without_pod(host, facts)
    assert (found.kind, found.runtime_pid, found.runtime_start) == ("attempts", pid, 22)
    assert found.boot_id == facts.kernel.boot_id.value
    host.files[f"/proc/{pid}/stat"] = f"{pid} (cut"
    assert without_pod(host, facts) == Proof()


def test_remember_is_nothing_but_the_proof_without_a_memory() -> None:
    """A single report knows of no other."""
    assert remember(FakeHost(), confined(False), Memory(), None).proof == Proof()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b'{"sources": [["file"]]}',
        b'{"outputs": {"x": 1}}',
        b'{"more": 1}',
        b'{"proof": {"kind": "magic"}}',
        b'{"proof": {"kind": "running-pod", "runtime_pid": "700"}}',
        bytes(range(256)),
    ],
)
def test_a_memory_that_is_odd_is_none(content: bytes) -> None:
    """Nothing of it is believed."""
    assert parse_memory(content) == Memory()


def test_a_memory_comes_back_as_it_went() -> None:
    """But for outputs that are old or from the future, and all but the proof of another version."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    output = Output(0, "runc version 1.3\n", "")
    kept = {"young": Kept(now, output), "old": Kept(now - KEPT_FOR - 1, output), "later": Kept(now + 1e6, output)}
    memory = Memory(sources=(("file", "/etc/x", "1"),), outputs=kept, proof=RAN)
    found = parse_memory(msgspec.json.encode(memory))
    assert found == msgspec.structs.replace(memory, outputs={"young": kept["young"]})
    other = msgspec.structs.replace(memory, version="0.0.0")
    assert parse_memory(msgspec.json.encode(other)) == Memory(proof=RAN)


def test_the_memory_file_is_taken_once(tmp_path: Any) -> None:
    """A probe that dies leaves nothing in it, and nothing that is too large gets in."""
    with open(tmp_path / "memory", "w+b") as file:
        put_memory(file.fileno(), b"x" * MEMORY_LIMIT)
        assert take_memory(file.fileno()) == b""
        put_memory(file.fileno(), b"all")
        assert take_memory(file.fileno()) == b"all"
        assert take_memory(file.fileno()) == b""


def test_looks_that_would_miss_something_are_not_made() -> None:
    """Without the start of a daemon or the mount table, with a source that was not seen, on a node not entered."""
    facts = confined(False)
    assert facts.kubelet.value
    assert facts.runtime.value
    runtime = facts.runtime.value.confinement.value.pid
    needed = [
        ("start", f"/proc/{facts.kubelet.value.pid}/stat", "1"),
        ("start", f"/proc/{runtime}/stat", "2"),
        ("mounts", f"/proc/{runtime}/mountinfo", "3"),
    ]
    assert watched(facts, needed) == tuple(needed)
    for index in range(len(needed)):
        assert watched(facts, needed[:index] + needed[index + 1 :]) == ()
    assert watched(facts, [*needed, ("file", "/x", UNSEEN)]) == ()
    absent = facts.kubelet.without("x", "absent", "none runs")
    assert watched(msgspec.structs.replace(facts, kubelet=absent), needed) == ()
