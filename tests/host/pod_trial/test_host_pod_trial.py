"""The Pod trial against a real gRPC server that plays a runtime, well and badly."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from lab.imports import refuse_imports
from probe.facts.trials.pod_meaning import judge_pods
from probe.facts.tried import HandlerTrial
from probe.host.child import run_child
from probe.host.pod_trial import trial
from probe.host.pod_trial.plan import PodAnswer, PodPlan
from probe.host.pod_trial.trial import load, try_pods
from probe.reading import Reading, encode
from tests.extent import some_slow
from tests.host.grpc_server import Servers
from tests.host.pod_trial import pod_server
from tests.host.pod_trial.pod_server import OTHER


class Played:
    """A runtime that is being played, and what was asked of it."""

    def __init__(self, servers: Servers, directory: Path, misbehaviour: tuple[str, ...]) -> None:
        self.endpoint = f"{directory}/runtime.sock"
        (directory / "kubelet/pods").mkdir(parents=True, exist_ok=True)
        self.plan = PodPlan(
            endpoint=self.endpoint,
            handlers=("",),
            pause_image="pause:1",
            first_id=13_107_200,
            pods_directory=f"{directory}/kubelet/pods",
        )
        self.server = servers.start(pod_server.__name__, self.endpoint, str(os.getpid()), *misbehaviour)

    def asked(self) -> list[str]:
        """What it was asked to change; it ends."""
        return self.server.end()

    def try_pods(self, seconds: float = 60.0) -> Reading[PodAnswer]:
        return try_pods(self.plan, lambda: None, time.monotonic() + seconds)

    def judged(self, seconds: float = 60.0) -> HandlerTrial:
        facts = judge_pods(self.plan, self.try_pods(seconds)).value
        assert facts
        return facts.handlers[0]


Play = Callable[..., Played]


@pytest.fixture(autouse=True)
def _own_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The played runtime makes no cgroup, and the trials of real tests that run at the same time keep theirs."""
    monkeypatch.setattr(trial, "POD_CGROUP", f"userns-probe-test-played-{os.getpid()}")


@pytest.fixture
def play(tmp_path: Path, grpc_servers: Servers) -> Iterator[Play]:
    """Start a runtime with misbehaviours."""
    played: list[Played] = []

    def start(*misbehaviour: str) -> Played:
        played.append(Played(grpc_servers, tmp_path, misbehaviour))
        return played[-1]

    yield start
    for one in played:
        one.server.end()


def nobody_else_was_touched(asked: list[str]) -> bool:
    return not any(OTHER in line for line in asked)


@pytest.mark.slow
def test_one_pod_and_no_control(play: Play) -> None:
    """Where the Pod runs it is the only one; it is removed, and nobody else's."""
    runtime = play()
    answer = runtime.try_pods().value
    assert answer
    assert answer.done
    (pod,) = answer.pods
    assert pod.runs
    assert [call.method for call in pod.calls] == [
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
        "ContainerStatus",
    ]
    asked = runtime.asked()
    assert [line.split()[0] for line in asked] == ["run", "create", "stop", "remove"]
    assert asked[0].split()[1:] == ["/userns-probe-pod-trial", "mapped"]
    assert nobody_else_was_touched(asked)


def test_a_runtime_that_ignores_the_user_namespace(play: Play) -> None:
    """The container's process, which is this one, has another map than was asked for."""
    tried = play().judged()
    assert (tried.result, tried.step) == ("refused", "uid_map")
    assert "silently ignores the user namespace" in tried.reason


@pytest.mark.parametrize("misbehaviour", ["another container", "no label"])
def test_the_status_of_another_container_blames_nobody(play: Play, misbehaviour: str) -> None:
    """Its process may well have no user namespace: another ID shows that, and a label that is not the trial's."""
    tried = play(misbehaviour).judged()
    assert (tried.result, tried.kind) == ("unknown", "not-readable")
    assert "another container" in tried.said


def test_a_container_that_never_runs_and_never_exits(play: Play) -> None:
    """A runtime that calls it created for good, only with a user namespace, has not refused it."""
    runtime = play("stays created")
    tried = runtime.judged()
    assert (tried.result, tried.step) == ("unknown", "ContainerStatus")
    assert "CONTAINER_CREATED" in tried.said
    assert sum(line.startswith("run ") for line in runtime.asked()) == 1


def test_a_container_that_others_remove(play: Play) -> None:
    """Its sandbox is still ready, and the runtime refused nothing: it is made again, and no control blames anything."""
    runtime = play("removed before start")
    tried = runtime.judged()
    assert (tried.result, tried.control) == ("unknown", "")
    assert "3 times" in tried.reason
    assert nobody_else_was_touched(runtime.asked())


@pytest.mark.parametrize(
    ("misbehaviour", "pods", "control", "meaning"),
    [
        ("refuse mapped", ["mapped", "plain", "mapped", "mapped"], "runs", "while the same Pod without one runs"),
        ("refuse", ["mapped", "plain"], "fails", "makes no Pod"),
    ],
)
def test_only_a_difference_blames_user_namespaces(
    play: Play, misbehaviour: str, pods: list[str], control: str, meaning: str
) -> None:
    """The same Pod without a user namespace decides; a difference must be seen twice."""
    runtime = play(misbehaviour)
    tried = runtime.judged()
    assert tried.result == ("refused" if control == "runs" else "unknown")
    assert (tried.step, tried.control) == ("RunPodSandbox", control)
    assert meaning in tried.reason
    assert tried.said == "no sandbox: a long way down: [31mcause of it"
    has_tmpfs = os.path.ismount("/dev/shm")
    assert [line.split()[-1] for line in runtime.asked() if line.startswith("run ")] == (
        pods if has_tmpfs else pods[:3]
    )


def test_a_refusal_by_chance(play: Play) -> None:
    """What is refused once and made the second time is not refused."""
    runtime = play("refuse mapped once")
    answer = runtime.try_pods().value
    assert answer
    assert [pod.runs for pod in answer.pods] == [False, True, True]
    assert judge_pods(runtime.plan, Reading("", answer)).value.handlers[0].step == "uid_map"  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a tmpfs")
def test_a_tmpfs_that_cannot_be_mapped(play: Play) -> None:
    """The Pod runs without that mount; its container is looked at, too: it is this process, without the map."""
    runtime = play("refuse mapped tmpfs")
    answer = runtime.try_pods()
    assert answer.value
    assert [pod.runs for pod in answer.value.pods] == [False, True, False, True]
    assert "mount_setattr: invalid argument" in answer.value.pods[2].calls[-1].words
    tried = judge_pods(runtime.plan, answer).value.handlers[0]  # type: ignore[union-attr]
    assert (tried.result, tried.step, tried.refused_mount, tried.mounts) == ("refused", "uid_map", "", ())
    assert nobody_else_was_touched(runtime.asked())


@pytest.mark.slow
def test_a_container_that_exits(play: Play) -> None:
    """A container that has ended at once is a failure, too, here of every Pod."""
    tried = play("exits").judged()
    assert (tried.result, tried.step, tried.control) == ("unknown", "ContainerStatus", "fails")
    assert "status 7" in tried.said


def test_a_sandbox_that_others_end(play: Play) -> None:
    """It is made again, at most twice."""
    answer = play("ends 2").try_pods().value
    assert answer
    assert [(pod.ended_by_others, pod.runs) for pod in answer.pods] == [(True, False), (True, False), (False, True)]


def test_a_sandbox_that_others_always_end(play: Play) -> None:
    """Then nobody knows, and no control is made."""
    runtime = play("ends 100")
    tried = runtime.judged()
    assert (tried.result, tried.control) == ("unknown", "")
    assert "3 times" in tried.reason
    assert sum(line.startswith("run ") for line in runtime.asked()) == 3


def test_another_sandbox(play: Play) -> None:
    """A runtime that answers with somebody else's sandbox is unknown, and that one is left alone."""
    runtime = play("another sandbox")
    assert runtime.judged().result == "unknown"
    asked = runtime.asked()
    assert nobody_else_was_touched(asked)
    assert not any(line.startswith("create") for line in asked)
    assert sum(line.startswith("remove own") for line in asked) == 3


METHODS = [
    *("RunPodSandbox", "ContainerStatus"),
    *some_slow("ListPodSandbox", "ImageStatus", "CreateContainer", "StartContainer"),
]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["die", "garbage", "half", "twice", "silence"])
def test_no_proper_answer(play: Play, what: str, method: str) -> None:
    """An answer that is none, a half one, two, or noise, and a runtime that dies, say nothing of Pods."""
    runtime = play(f"{what} in {method}")
    answer = runtime.try_pods()
    facts = judge_pods(runtime.plan, answer)
    assert (facts.value.handlers[0].result if facts.value else "unknown") == "unknown"
    assert facts.kind in (None, "not-readable")
    assert nobody_else_was_touched(runtime.asked())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_answer_at_all(play: Play, method: str) -> None:
    """A call that is never answered ends with the time that the trial has."""
    runtime = play(f"hang in {method}")
    facts = judge_pods(runtime.plan, runtime.try_pods(seconds=7.0))
    if facts.value:
        assert (facts.value.handlers[0].result, facts.value.handlers[0].kind) == ("unknown", "timed-out")
    else:
        assert facts.kind in ("timed-out", "not-readable")
    if method != "ListPodSandbox":
        made = [line for line in runtime.asked() if line.startswith(("run", "remove"))]
        assert sum(line.startswith("run") for line in made) == sum(line.startswith("remove") for line in made)


def test_no_pause_image(play: Play) -> None:
    """Nothing is made, as the runtime would pull it."""
    runtime = play("no image")
    facts = judge_pods(runtime.plan, runtime.try_pods())
    assert (facts.kind, facts.problem) == ("not-tried", "not tried: pause image is not present: pause:1")
    assert runtime.asked() == []


def test_an_id_that_no_request_can_carry(play: Play) -> None:
    """The call is not made, which says nothing of Pods, and the sandbox is removed."""
    runtime = play("huge image")
    tried = runtime.judged()
    assert (tried.result, tried.step) == ("unknown", "CreateContainer")
    assert any(line.startswith("remove own") for line in runtime.asked())


@pytest.mark.slow
def test_what_cannot_be_removed(play: Play) -> None:
    """It is told, and the next trial does not begin before it is gone."""
    runtime = play("keeps")
    first = runtime.try_pods().value
    assert first
    assert "busy" in first.left
    second = runtime.try_pods().value
    assert second
    assert second.pods == ()
    assert second.obstacle
    assert "an earlier trial" in second.obstacle.problem


@pytest.mark.slow
@pytest.mark.parametrize("left", [True, False])
def test_what_can_be_removed_later(play: Play, left: bool) -> None:
    """A container that is busy twice is removed the third time, both of an earlier trial and of this one."""
    runtime = play("busy", "busy", *(["left"] if left else []))
    answer = runtime.try_pods().value
    assert answer
    assert (answer.obstacle, answer.left, [pod.runs for pod in answer.pods]) == (None, "", [True])
    removed = [line.split()[1] for line in runtime.asked() if line.startswith("remove")]
    assert removed == (["left", "left", "left", "own-1"] if left else ["own-1"] * 3)


def test_another_trial(play: Play) -> None:
    """Of two trials of one runtime the second one does nothing."""
    runtime = play()
    lock = os.open(os.path.dirname(runtime.endpoint), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        facts = judge_pods(runtime.plan, runtime.try_pods())
    finally:
        os.close(lock)
    assert (facts.kind, facts.problem) == ("not-tried", "another trial runs on this node")
    assert runtime.asked() == []


def test_a_trial_that_ends_soon_is_waited_for(play: Play) -> None:
    """Several probes at once need not be unknown for each other."""
    runtime = play()
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", hold, os.path.dirname(runtime.endpoint)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        threading.Timer(0.3, other.kill).start()
        answer = runtime.try_pods().value
    assert answer
    assert [pod.runs for pod in answer.pods] == [True]


def test_nothing_is_imported_after_entering(play: Play) -> None:
    """With our own files out of sight, as in the node's mount namespace, the trial is complete."""
    runtime = play()

    def life() -> bytes:
        load()
        return encode(try_pods(runtime.plan, refuse_imports, time.monotonic() + 60))

    answer = msgspec.json.decode(run_child(life, 60), type=Reading[PodAnswer]).value
    assert answer
    assert [pod.runs for pod in answer.pods] == [True]


def test_a_slow_runtime(play: Play) -> None:
    """A Pod whose calls take long is waited for and removed, as long as there is time."""
    runtime = play("slow")
    assert runtime.judged().step == "uid_map"
    assert [line.split()[0] for line in runtime.asked()] == ["run", "create", "stop", "remove"]


def test_too_little_time(play: Play) -> None:
    """Nothing begins that could not be removed in time."""
    runtime = play()
    assert runtime.try_pods(seconds=1.0).kind == "not-tried"
    assert runtime.asked() == []


def test_a_runtime_that_is_gone(tmp_path: Path, play: Play) -> None:
    """A socket behind which nobody listens is a problem."""
    runtime = play()
    runtime.asked()
    facts = judge_pods(runtime.plan, runtime.try_pods())
    assert facts.kind == "not-readable"
    assert "connection refused" in facts.problem
