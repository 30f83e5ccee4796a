"""How the answers of a trial are judged: the node refused it, the probe may not, or nobody knows."""

from __future__ import annotations

import errno
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe.facts.tried import SandboxFacts

from probe.facts.trials import sandbox
from probe.facts.trials.sandbox import gather_sandbox, limit_of, proc_answer, sysfs_answer
from probe.host.sandbox.steps import StepAnswer
from probe.host.sandbox.trial import STEP_NAMES, SandboxAnswer
from probe.reading import Reading


def gathered(**changed: StepAnswer) -> SandboxFacts:
    """A trial in which all went well but for *changed*, by step name with `_` for a space."""
    changes = {name.replace("_", " "): answer for name, answer in changed.items()}
    steps = tuple(changes.get(name, StepAnswer(name, "done", 0, 0.001)) for name in STEP_NAMES)
    answer = msgspec.json.encode(SandboxAnswer(steps=steps, seconds=0.02))
    facts = gather_sandbox(Reading("sandbox trial", answer)).value
    assert facts is not None
    return facts


def failed(name: str, error: int, detail: str = "") -> dict[str, StepAnswer]:
    """One failed step, as `gathered` takes it."""
    return {name.replace(" ", "_"): StepAnswer(name, "failed", error, 0.001, detail)}


def test_every_step_has_a_meaning() -> None:
    """The table of meanings has exactly the steps that the trial takes, in its order."""
    assert tuple(sandbox._STEPS) == STEP_NAMES


def test_all_done() -> None:
    """What worked has passed, without an error."""
    facts = gathered()
    assert {step.result for step in facts.steps} == {"passed"}
    assert {step.errno for step in facts.steps} == {""}
    assert facts.seconds == 0.02


@pytest.mark.parametrize(
    ("name", "error", "detail", "result", "kind"),
    [
        ("user namespace", errno.ENOSPC, "unshare", "failed", ""),
        ("user namespace", errno.EINVAL, "unshare", "failed", ""),
        ("user namespace", errno.EINVAL, "threads", "unknown", "not-tried"),
        ("user namespace", errno.EPERM, "unshare", "unknown", "not-permitted"),
        ("user namespace", errno.EROFS, "uid_map", "unknown", "not-permitted"),
        ("user namespace", errno.ETIMEDOUT, "unshare", "unknown", "timed-out"),
        ("root inside", errno.EPERM, "", "unknown", "not-permitted"),
        ("net namespace", errno.ENOSPC, "", "failed", ""),
        ("net namespace", errno.EPERM, "", "unknown", "not-permitted"),
        ("net namespace", errno.ENOMEM, "", "unknown", "not-readable"),
        ("first process", errno.EAGAIN, "", "unknown", "not-readable"),
        ("first process", errno.EIO, "", "unknown", "not-readable"),
        ("proc", errno.EPERM, "", "failed", ""),
        ("proc", errno.EACCES, "", "unknown", "not-permitted"),
        ("proc", errno.ENOSYS, "", "unknown", "not-permitted"),
        ("proc", errno.ETIMEDOUT, "", "unknown", "timed-out"),
        ("sysfs", errno.EPERM, "", "failed", ""),
        ("cgroup", errno.EPERM, "", "failed", ""),
        ("cgroup", errno.EBUSY, "", "unknown", "not-readable"),
        ("devpts", errno.EINVAL, "", "failed", ""),
        ("hostname", errno.EPERM, "", "unknown", "not-permitted"),
        ("lo", errno.EPERM, "", "unknown", "not-permitted"),
        ("veth", errno.EOPNOTSUPP, "", "failed", ""),
        ("veth", errno.ENOSPC, "", "failed", ""),
        ("mknod", 0, "", "failed", ""),
        ("mknod", errno.ENOSPC, "", "unknown", "not-readable"),
        ("mknod", errno.EACCES, "", "unknown", "not-permitted"),
        ("block file system", 0, "", "failed", ""),
    ],
)
def test_errors(name: str, error: int, detail: str, result: str, kind: str) -> None:
    """A refusal of the kernel is told from what binds the probe, and from what was cut short."""
    step = gathered(**failed(name, error, detail)).step(name)
    assert (step.result, step.kind) == (result, kind)
    assert step.errno == (errno.errorcode[error] if error else "")
    assert step.meaning
    assert not step.meaning.endswith(".")


def test_eperm_without_a_tmpfs_says_nothing() -> None:
    """Where not even a tmpfs could be mounted, EPERM from mount(2) comes from what confines the probe."""
    facts = gathered(**failed("tmpfs", errno.EPERM), **failed("proc", errno.EPERM))
    assert [(facts.step(name).result, facts.step(name).kind) for name in ("tmpfs", "proc")] == [
        ("unknown", "not-permitted")
    ] * 2


def test_absent_and_unreached() -> None:
    """What the kernel does not know now is skipped; what an earlier step prevented was not tried."""
    facts = gathered(veth=StepAnswer("veth", "absent"), sysfs=StepAnswer("sysfs", "not-reached"))
    assert (facts.step("veth").result, facts.step("sysfs").result) == ("skipped", "not-tried")


def test_the_limit_is_named() -> None:
    """ENOSPC names the sysctl behind it."""
    step = gathered(**failed("mount namespace", errno.ENOSPC)).step("mount namespace")
    assert "user.max_mnt_namespaces" in step.meaning


@pytest.mark.parametrize(
    ("step", "limit"),
    [
        ("user namespace", "user.max_user_namespaces"),
        ("mount namespace", "user.max_mnt_namespaces"),
        ("net namespace", "user.max_net_namespaces"),
        ("veth", "user.max_net_namespaces"),
        ("proc", ""),
        ("mknod", ""),
    ],
)
def test_limits(step: str, limit: str) -> None:
    """Only steps that make a namespace have a limit; a veth pair needs a second network namespace."""
    assert limit_of(step) == limit


def test_answers_for_proc_and_sysfs() -> None:
    """The live answers for /proc and the read-only /sys, which other checks rely on."""
    facts = gathered(**failed("proc", errno.EPERM))
    assert proc_answer(facts).result == "failed"
    assert "covered" in proc_answer(facts).meaning
    assert (sysfs_answer(facts).name, sysfs_answer(facts).result) == ("sysfs", "passed")


def test_a_problem_stays_a_problem() -> None:
    """When the process gave no answer, its problem is the reading's."""
    problem: Reading[bytes] = Reading.without("sandbox trial", "timed-out", "no answer in time")
    reading = gather_sandbox(problem)
    assert (reading.kind, reading.problem) == ("timed-out", "no answer in time")


def test_not_entered() -> None:
    """A node that could not be entered gives the reason, and no steps."""
    reason: Reading[bool] = Reading.without("/proc/1/ns/mnt", "not-permitted", "Operation not permitted")
    answer = msgspec.json.encode(SandboxAnswer(not_entered=reason))
    reading = gather_sandbox(Reading("sandbox trial", answer))
    assert (reading.value, reading.source, reading.kind) == (None, "/proc/1/ns/mnt", "not-permitted")


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (StepAnswer("user namespace", "done"),),
        tuple(StepAnswer(name, "done") for name in reversed(STEP_NAMES)),
        tuple(StepAnswer("something else", "done") for _ in STEP_NAMES),
    ],
)
def test_other_steps_are_no_answer(steps: tuple[StepAnswer, ...]) -> None:
    """Missing, doubled or foreign steps are never taken for a trial that went well."""
    reading = gather_sandbox(Reading("sandbox trial", msgspec.json.encode(SandboxAnswer(steps=steps))))
    assert (reading.value, reading.kind) == (None, "not-readable")


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["steps", "name", "outcome", "error"]), inner),
)


@given(st.binary() | json_values.map(msgspec.json.encode))
def test_arbitrary_answers(content: bytes) -> None:
    """Bytes that are no answer become a problem, never a traceback and never a pass."""
    reading = gather_sandbox(Reading("sandbox trial", content))
    assert (reading.value, reading.kind) == (None, "not-readable")


@given(st.sampled_from(STEP_NAMES), st.sampled_from(["failed", "absent", "not-reached"]), st.integers(0, 200))
def test_nothing_but_done_passes(name: str, outcome: Any, error: int) -> None:
    """Whatever the error, a step that was not done never counts as passed, and the facts survive a round trip."""
    facts = gathered(**{name.replace(" ", "_"): StepAnswer(name, outcome, error)})
    assert facts.step(name).result != "passed"
    assert msgspec.json.decode(msgspec.json.encode(facts), type=SandboxFacts) == facts
