"""What is tried with a Pod, and what the Pods of a trial mean."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from lab.factory import (
    ENDPOINT,
    KUBELET_ROOT,
    absent,
    make_attempts,
    make_facts,
    make_handler,
    make_ids,
    make_probe,
    make_runtime,
    make_unknown_attempt,
    unread,
)
from lab.fake_host import FakeHost
from probe.facts.model import Account, Mapping, PodUserns, SubIds, UsernsFile
from probe.facts.proof import proof_of
from probe.facts.trials.pod import free_block, plan_pods
from probe.facts.trials.pod_meaning import judge_pods
from probe.facts.tried import HandlerTrial, PodTrialFacts
from probe.host.oci_trial.steps import Bind
from probe.host.pod_trial.plan import MAP_LENGTH, Call, PodAnswer, PodPlan, TriedPod
from probe.reading import Reading

FIRST = 13_107_200
PODS = f"{KUBELET_ROOT}/pods"
IMAGE = "registry.example/pause:3.10"
BOTH = ("kubelet-root", "tmpfs")
ROOT = Bind("kubelet-root", True, True, 0, FIRST)
TMPFS = Bind("tmpfs", True, True, 0, FIRST)


def plan(host: FakeHost | None = None, **changes: Any) -> Reading[PodPlan]:
    fields: dict[str, Any] = {"runtime": make_runtime(pause_image=Reading("CRI", IMAGE))}
    return plan_pods(host or FakeHost(files={f"{PODS}/x": "", "/": ""}), make_facts(**fields | changes))


def ids(**changes: Any) -> Reading[Any]:
    return Reading("ids", msgspec.structs.replace(make_ids(), **changes))


def test_a_block_of_nobody() -> None:
    """The documented block, unless somebody holds a part of it; nothing known of IDs leaves it, too."""
    assert free_block(ids()) == FIRST
    assert free_block(unread()) == FIRST
    assert (
        free_block(ids(owners=Reading("", (SubIds("joe", FIRST + 65_000, 2_000, "/etc/subuid"),)))) == FIRST + 131_072
    )
    assert free_block(ids(accounts=Reading("", (Account("joe", FIRST + 7, "/etc/passwd"),)))) == FIRST + 65_536
    pod = PodUserns((Mapping(FIRST, 0, 65_536),), (Mapping(FIRST + 65_536, 0, 65_536),))
    files = (UsernsFile(pod="1", content=Reading("", pod)), UsernsFile(pod="2", content=unread()))
    assert free_block(ids(files=Reading("", files))) == FIRST + 131_072
    assert free_block(ids(owners=Reading("", (SubIds("all", 1, (1 << 32) - 2, "/etc/subuid"),)))) is None


def pod(*, mapped: bool = True, mounts: tuple[Any, ...] = BOTH, failed: str = "", **changes: Any) -> TriedPod:
    """A Pod that runs as asked, or one that the runtime refused in the call *failed*."""
    methods = ("RunPodSandbox", "CreateContainer", "StartContainer", "ContainerStatus")
    calls = [Call(method=method, seconds=0.1) for method in methods]
    if failed:
        calls = calls[: methods.index(failed)]  # type: ignore[arg-type]
        calls.append(Call(method=failed, code="UNKNOWN", words="outer: inner", by_runtime=True))  # type: ignore[arg-type]
        return TriedPod(handler="", user_namespace=mapped, mounts=mounts, calls=tuple(calls), **changes)
    whole = (0, FIRST, MAP_LENGTH)
    fields: dict[str, Any] = {
        "uid_map": whole,
        "gid_map": whole,
        "binds": tuple(Bind(role, True, True, 0, FIRST) for role in mounts),
    }
    return TriedPod(
        handler="", user_namespace=mapped, mounts=mounts, calls=tuple(calls), **(fields if mapped else {}) | changes
    )


def error(code: str, words: str = "", by_runtime: bool = True) -> TriedPod:
    call = Call(method="RunPodSandbox", code=code, words=words, by_runtime=by_runtime)
    return TriedPod(handler="", user_namespace=True, mounts=BOTH, calls=(call,))


def judged(*pods: TriedPod, **answer: Any) -> HandlerTrial:
    made = PodPlan(endpoint=ENDPOINT, handlers=("",), pause_image=IMAGE, first_id=FIRST, pods_directory=PODS)
    facts = judge_pods(made, Reading("pod trial", PodAnswer(pods=pods, **{"done": True} | answer))).value
    assert facts
    return facts.handlers[0]


REFUSED = pod(failed="CreateContainer")
CONTROL = pod(mapped=False)
LESS = pod(mounts=("kubelet-root",))
FAILED_LESS = pod(mounts=("kubelet-root",), failed="CreateContainer")
NO_SANDBOX = pod(failed="RunPodSandbox")
ENDED = pod(failed="CreateContainer", ended_by_others=True)


@pytest.mark.parametrize(
    ("pods", "result", "control", "mounts", "refused_mount"),
    [
        ((pod(),), "runs", "", BOTH, ""),
        ((ENDED, ENDED, pod()), "runs", "", BOTH, ""),
        ((ENDED, ENDED, ENDED), "unknown", "", (), ""),
        ((REFUSED,), "unknown", "unknown", (), ""),
        ((REFUSED, CONTROL), "unknown", "runs", (), ""),
        ((REFUSED, CONTROL, pod()), "runs", "", BOTH, ""),
        ((REFUSED, CONTROL, error("UNAVAILABLE")), "unknown", "runs", (), ""),
        ((REFUSED, CONTROL, REFUSED, FAILED_LESS), "refused", "runs", (), ""),
        ((REFUSED, CONTROL, ENDED, REFUSED, FAILED_LESS), "refused", "runs", (), ""),
        ((NO_SANDBOX, CONTROL, NO_SANDBOX), "refused", "runs", (), ""),
        ((FAILED_LESS, pod(mapped=False, mounts=("kubelet-root",)), FAILED_LESS), "refused", "runs", (), ""),
        ((REFUSED, CONTROL, ENDED, ENDED, ENDED), "unknown", "runs", (), ""),
        ((REFUSED, CONTROL, REFUSED, LESS), "refused", "runs", ("kubelet-root",), "tmpfs"),
        ((REFUSED, pod(mapped=False, failed="RunPodSandbox")), "unknown", "fails", (), ""),
        ((REFUSED, pod(mapped=False, failed="RunPodSandbox", ended_by_others=True)), "unknown", "unknown", (), ""),
    ],
)
def test_what_decides(
    pods: tuple[TriedPod, ...], result: str, control: str, mounts: tuple[str, ...], refused_mount: str
) -> None:
    """A refusal needs the control that runs, and to be seen twice; what others ended counts for nothing."""
    tried = judged(*pods)
    assert (tried.result, tried.control, tried.mounts, tried.refused_mount) == (result, control, mounts, refused_mount)
    assert bool(tried.kind) == (result == "unknown")


@pytest.mark.parametrize(
    ("less", "result", "refused_mount"),
    [
        ((), "unknown", "tmpfs"),
        ((replace(LESS, calls=(Call(method="RunPodSandbox", code="UNAVAILABLE"),)),), "unknown", "tmpfs"),
        ((replace(FAILED_LESS, ended_by_others=True),), "unknown", "tmpfs"),
        ((replace(LESS, uid_map=(), unseen="no such process"),), "unknown", "tmpfs"),
        ((replace(LESS, uid_map=(0, 0, 4_294_967_295)),), "refused", ""),
        ((replace(LESS, binds=(Bind("kubelet-root", True, False, 0, 0),)),), "refused", ""),
    ],
)
def test_a_pod_without_tmpfs_is_looked_at_too(less: tuple[TriedPod, ...], result: str, refused_mount: str) -> None:
    """Only one that was seen with its user namespace and mapping clears the levels without a tmpfs, and only one that
    was refused blames them."""
    tried = judged(REFUSED, CONTROL, REFUSED, *less)
    assert (tried.result, tried.control, tried.refused_mount, tried.mounts) == (result, "runs", refused_mount, ())


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (error("DEADLINE_EXCEEDED", by_runtime=False), "timed-out"),
        (error("UNAVAILABLE", by_runtime=False), "not-readable"),
        (error("INTERNAL", by_runtime=False), "not-readable"),
        (error("PERMISSION_DENIED"), "not-readable"),
        (error("UNKNOWN", "failed to do it: context deadline exceeded"), "timed-out"),
        (error("UNKNOWN", "failed to do it: context canceled"), "timed-out"),
        (error("UNKNOWN", "openat2 /cpu/userns-probe-pod-trial/3f/cgroup.procs: no such file"), "not-readable"),
    ],
)
def test_what_is_no_refusal(failure: TriedPod, kind: str) -> None:
    """No answer, no answer in time, and an answer to somebody else say nothing of Pods, whatever the control does."""
    assert not failure.refused
    tried = judged(failure, CONTROL, failure)
    assert (tried.result, tried.kind) == ("unknown", kind)


@pytest.mark.parametrize(
    ("changes", "result", "refused_mount"),
    [
        ({"uid_map": (0, 0, 4_294_967_295)}, "refused", ""),
        ({"gid_map": (0, FIRST + 65_536, MAP_LENGTH)}, "refused", ""),
        ({"binds": (Bind("kubelet-root", True, False, 0, 0), TMPFS)}, "refused", ""),
        ({"binds": (Bind("kubelet-root", False, False, 0, 0), TMPFS)}, "refused", ""),
        ({"binds": (ROOT, Bind("tmpfs", True, True, 0, 0))}, "refused", "tmpfs"),
        ({"binds": (Bind("kubelet-root", True, True, 99_999, 65_534), TMPFS)}, "runs", ""),
        ({"uid_map": (), "gid_map": (), "binds": (), "unseen": "it has ended"}, "unknown", ""),
        ({"uid_map": (0, 0, 4_294_967_295), "binds": (), "unseen": "No such file"}, "refused", ""),
    ],
)
def test_a_pod_that_runs_is_looked_at(changes: dict[str, Any], result: str, refused_mount: str) -> None:
    """A user namespace or a mapping that the runtime ignored is a refusal; what was not seen is unknown."""
    tried = judged(pod(**changes))
    assert (tried.result, tried.refused_mount) == (result, refused_mount)


def test_the_cause_is_kept_of_long_words() -> None:
    """Of a long error the end is kept, without what a terminal would obey."""
    call = Call(method="RunPodSandbox", code="UNKNOWN", words="x" * 3000 + "\x1b]0;\ncause", by_runtime=True)
    tried = judged(TriedPod(handler="", user_namespace=True, mounts=BOTH, calls=(call,)))
    assert tried.said.endswith("cause")
    assert tried.said.isprintable()
    assert len(tried.said) < 600


def test_a_trial_that_was_cut_short() -> None:
    """What was not reached is unknown, with the cause; what was, counts."""
    made = PodPlan(endpoint=ENDPOINT, handlers=("", "crun"), pause_image=IMAGE, first_id=FIRST, pods_directory=PODS)
    obstacle: Reading[bool] = Reading.without("pod trial", "timed-out", "no answer in time")
    facts = judge_pods(made, Reading("pod trial", PodAnswer(pods=(pod(),), obstacle=obstacle))).value
    assert facts
    assert [(one.handler, one.result, one.kind) for one in facts.handlers] == [
        ("", "runs", ""),
        ("crun", "unknown", "timed-out"),
    ]


@pytest.mark.parametrize(
    ("trial", "proven"),
    [
        (HandlerTrial(handler="", result="runs", reason="", mounts=BOTH), True),
        (HandlerTrial(handler="", result="runs", reason=""), None),
        (HandlerTrial(handler="crun", result="runs", reason="", mounts=BOTH), None),
        (HandlerTrial(handler="", result="unknown", reason="", mounts=BOTH), None),
    ],
)
def test_proof(trial: HandlerTrial, proven: bool | None) -> None:
    """Only a Pod of the default handler with a mount of the kubelet's root proves anything."""
    proof = proof_of(Reading("pod trial", PodTrialFacts(handlers=(trial,), seconds=0.3)))
    assert (proof.value if proof else None) is proven
    assert proof_of(unread()) is None


def test_plan() -> None:
    """The default handler first, each runtime once, and only those that claim support."""
    same = Reading("config", "/usr/bin/runc")
    handlers = (
        make_handler(name="runc", binary=same),
        make_handler(name="crun", binary=Reading("config", "/usr/bin/crun")),
        make_handler(name="old", binary=Reading("config", "/usr/bin/old"), user_namespaces=False),
        make_handler(name="silent", binary=Reading("config", "/usr/bin/silent"), user_namespaces=None),
        make_handler(name="", binary=same),
    )
    found = plan(runtime=runtime(handlers=handlers)).value
    assert found
    assert found.handlers == ("", "crun")
    assert (found.endpoint, found.pause_image, found.first_id, found.pods_directory) == (ENDPOINT, IMAGE, FIRST, PODS)


def runtime(**changes: Any) -> Reading[Any]:
    return Reading(f"CRI {ENDPOINT}", make_runtime(**{"pause_image": Reading("CRI", IMAGE)} | changes))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"runtime": unread("CRI", "timed-out")}, "timed-out"),
        ({"runtime": absent("CRI")}, "not-readable"),
        ({"runtime": runtime(handlers=unread("CRI"))}, "not-permitted"),
        ({"runtime": runtime(handlers=())}, "absent"),
        ({"runtime": runtime(handlers=(make_handler(user_namespaces=False),))}, "absent"),
        ({"runtime": runtime(pause_image=absent("CRI"))}, "not-readable"),
        ({"probe": make_probe(in_initial_user_namespace=False)}, "not-permitted"),
        ({"probe": make_probe(chrooted=True)}, "not-permitted"),
        ({"attempts": make_attempts(kubelet_root=make_unknown_attempt(role="kubelet-root"))}, "timed-out"),
        ({"ids": ids(owners=Reading("", (SubIds("all", 1, (1 << 32) - 2, "/etc/subuid"),)))}, "not-tried"),
    ],
)
def test_no_plan(changes: dict[str, Any], kind: str) -> None:
    """Where nothing can be tried there is a problem with its kind; absent only where nothing claims support."""
    found = plan(**changes)
    assert (found.value, found.kind) == (None, kind)
