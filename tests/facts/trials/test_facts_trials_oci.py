"""What a trial's answer means, from answers such as real runtimes gave, and what is tried at all."""

from __future__ import annotations

import errno
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.factory import (
    ALL_CAPABILITIES,
    KUBELET_ROOT,
    absent,
    make_attempts,
    make_confinement,
    make_handler,
    make_mounts,
    make_probe,
    make_runtime,
    make_unknown_attempt,
    make_visibility,
    unread,
)
from lab.fake_host import FakeHost
from probe.facts.trials.oci import _confinement_of_probe as confinement_of_probe
from probe.facts.trials.oci import judge_trial, plan_trial
from probe.facts.trials.oci_meaning import parse_words
from probe.facts.tried import STEP_NAMES, RuntimeTrialFacts
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH
from probe.host.oci_trial.bundle import BUNDLES
from probe.host.oci_trial.trial import SOURCE, Bind, Command, TrialAnswer, TrialPlan
from probe.reading import Reading

PLAN = TrialPlan(binary="/usr/bin/runc", kubelet_root=f"{KUBELET_ROOT}/pods")
FULL = (0, FIRST_HOST_ID, MAP_LENGTH)
COMPLETE = BUNDLES[0].name

# As runc 1.3.6, crun 1.28 (which prints its record over several lines) and crun 1.8.1 said it.
RUNC = (
    '{"level":"error","msg":"runc create failed: unable to start container process: error during container init: '
    "failed to fulfil mount request: failed to set MOUNT_ATTR_IDMAP on /proc/tty: invalid argument (maybe the "
    'filesystem used doesn\'t support idmap mounts on this kernel?)","time":"2026-11-21T22:21:35Z"}\n'
)
CRUN = (
    '{\n  "msg": "mount_setattr `\\/pods` (maybe the file system used doesn\'t support idmap mounts on this kernel?): '
    'Invalid argument",\n  "level": "error",\n  "time": "2026-11-21T22:21:35.600300Z"\n}\n'
)


def bind(name: str, **changes: Any) -> Bind:
    mapped = name != "control"
    fields = {
        "name": name,
        "mounted": True,
        "idmapped": mapped,
        "owner": 0,
        "owner_inside": FIRST_HOST_ID if mapped else 0,
    }
    return Bind(**fields | changes)


def make_answer(**changes: Any) -> TrialAnswer:
    """The answer of a runtime that did everything."""
    fields: dict[str, Any] = {
        "under_way": "",
        "creates": (Command(COMPLETE, 0, "", 0.04),),
        "uid_map": FULL,
        "gid_map": FULL,
        "binds": (bind("kubelet root"), bind("tmpfs"), bind("control")),
        "delete": Command(COMPLETE, 0, "", 0.11),
        "gone": True,
        "seconds": 0.16,
    }
    return TrialAnswer(**fields | changes)


def ladder(*statuses: int, said: str = RUNC) -> tuple[Command, ...]:
    """One `create` after the other, as BUNDLES has them."""
    pairs = zip(BUNDLES, statuses, strict=False)
    return tuple(Command(bundle.name, status, said if status else "", 0.05) for bundle, status in pairs)


def judged(answer: TrialAnswer, confined: str = "") -> RuntimeTrialFacts:
    facts = judge_trial(PLAN, Reading(SOURCE, answer), confined)
    assert facts.value is not None
    assert tuple(step.name for step in facts.value.steps) == STEP_NAMES
    return facts.value


def results(facts: RuntimeTrialFacts) -> dict[str, str]:
    return {step.name: f"{step.result} {step.kind}".strip() for step in facts.steps}


def test_all_is_well() -> None:
    """Every step passed, with the time of the commands."""
    facts = judged(make_answer())
    assert set(results(facts).values()) == {"passed"}
    assert (facts.step("create").seconds, facts.step("delete").seconds) == (0.04, 0.11)


def test_silent_ignoring_is_caught() -> None:
    """As runc 1.1: the container is made, but neither mountinfo nor the owners show a mapping."""
    ignored = {"idmapped": False, "owner_inside": 0}
    facts = judged(make_answer(binds=(bind("kubelet root", **ignored), bind("tmpfs", **ignored), bind("control"))))
    assert results(facts) == {
        "create": "passed",
        "maps": "passed",
        "idmapped binds": "failed",
        "owners": "failed",
        "delete": "passed",
    }
    meaning = "silently ignores the mapping of kubelet root and tmpfs: mountinfo does not say idmapped"
    assert facts.step("idmapped binds").reason == meaning
    assert facts.step("owners").reason.startswith("owner 0 of kubelet root is seen as 0")


@pytest.mark.parametrize(
    ("statuses", "blame", "what"),
    [
        ((1, 0), "tmpfs", "an idmapped mount of a tmpfs, as tokens and Secrets are"),
        ((1, 1, 0), "kubelet root", "an idmapped mount of the kubelet's root directory"),
        ((1, 1, 1, 0), "mappings of mounts", "idmapped mounts"),
        ((1, 1, 1, 1, 0), "user namespace", "a user namespace"),
    ],
)
def test_what_is_to_blame(statuses: tuple[int, ...], blame: str, what: str) -> None:
    """A refusal is the fault of that without which the container could be made, told in the runtime's first words."""
    facts = judged(make_answer(creates=ladder(*statuses)))
    step = facts.step("create")
    assert (step.result, step.reason, facts.blame) == ("failed", f"refuses {what}", blame)
    assert "failed to set MOUNT_ATTR_IDMAP on /proc/tty: invalid argument" in step.said
    assert set(list(results(facts).values())[1:]) == {"not-tried"}


def test_a_runtime_that_makes_nothing_at_all_says_nothing_of_user_namespaces() -> None:
    """The control: without a user namespace it fails as well."""
    facts = judged(make_answer(creates=ladder(1, 1, 1, 1, 1, said="cgroups in hybrid mode not supported\n")))
    step = facts.step("create")
    assert (step.result, step.kind) == ("unknown", "not-readable")
    assert "without a user namespace" in step.reason
    assert step.said == "cgroups in hybrid mode not supported"


def test_a_ladder_that_was_cut_short() -> None:
    """Where the controls hung nobody knows what they would have said."""
    facts = judged(make_answer(creates=ladder(1, 1), under_way="create", cut_short="timed-out"))
    assert results(facts)["create"] == "unknown not-readable"
    assert "unknown whether it makes any" in facts.step("create").reason


def test_a_confined_probe_excuses_the_runtime() -> None:
    """What the probe lacks, the runtime that it ran lacked too."""
    facts = judged(make_answer(creates=ladder(1, 0)), confined="the probe runs under a seccomp filter")
    assert results(facts)["create"] == "unknown not-permitted"
    assert facts.step("create").reason.endswith("Secrets are, but the probe runs under a seccomp filter")
    assert set(results(judged(make_answer(), confined="the probe lacks something")).values()) == {"passed"}


@pytest.mark.parametrize("words", ["fork: Resource temporarily unavailable", "unshare: no space left on device"])
def test_what_was_scarce_is_no_refusal(words: str) -> None:
    """It may be there again a moment later."""
    assert results(judged(make_answer(creates=ladder(1, 1, 1, 1, 0, said=words))))["create"] == "unknown not-readable"


def test_a_runtime_that_is_killed() -> None:
    """A signal is no answer."""
    facts = judged(make_answer(creates=(Command(COMPLETE, -9, "", 0.1),)))
    assert results(facts)["create"] == "unknown not-readable"
    assert facts.step("create").reason == "was ended by signal 9"


@pytest.mark.parametrize("name", STEP_NAMES)
@pytest.mark.parametrize(
    ("cut", "kind"), [("timed-out", "timed-out"), ("not-readable", "not-readable"), ("", "not-permitted")]
)
def test_a_trial_that_ends_in_a_step(name: str, cut: str, kind: str) -> None:
    """That step is unknown, those before it stay what they are, those after it were not reached."""
    index = STEP_NAMES.index(name)  # type: ignore[arg-type]
    obstacle: Reading[bool] | None = None if cut else Reading.without("a step", "not-permitted", "Permission denied")
    whole = make_answer(under_way=name, cut_short=cut, obstacle=obstacle)
    empty: dict[str, Any] = {"delete": None, "gone": False}
    empty |= {"binds": ()} if index < 3 else {}
    empty |= {"creates": (), "uid_map": (), "gid_map": ()} if index == 0 else {}
    if name == "create" and obstacle:
        return  # then there are no facts, as the next test says
    facts = judged(msgspec.structs.replace(whole, **empty))
    assert facts.step(name).result == "unknown"  # type: ignore[arg-type]
    assert facts.step(name).kind == kind  # type: ignore[arg-type]
    assert [step.result for step in facts.steps[:index]] == ["passed"] * index
    assert [step.result for step in facts.steps[index + 1 :]] == ["not-tried"] * (4 - index)


def test_an_obstacle_before_the_runtime() -> None:
    """Where the runtime was never asked there are no steps; absent would mean that there is none to be asked."""
    for kind, expected in (("not-permitted", "not-permitted"), ("absent", "not-readable")):
        obstacle: Reading[bool] = Reading.without("/proc/1/ns/cgroup", kind, "nothing there")  # type: ignore[arg-type]
        reading = judge_trial(PLAN, Reading(SOURCE, TrialAnswer(obstacle=obstacle)), "")
        assert (reading.source, reading.kind, reading.problem) == ("/proc/1/ns/cgroup", expected, "nothing there")


def test_no_answer() -> None:
    """A problem stays what it is."""
    assert judge_trial(PLAN, Reading.without(SOURCE, "timed-out", "no answer in time"), "").kind == "timed-out"


@pytest.mark.parametrize(
    ("changes", "step", "result", "meaning"),
    [
        (
            {"uid_map": (0, 0, 4294967295)},
            "maps",
            "failed",
            "uid_map of the container is 0 0 4294967295, not the requested one",
        ),
        ({"gid_map": ()}, "maps", "failed", "gid_map of the container is empty, not the requested one"),
        (
            {"binds": (bind("kubelet root"), bind("tmpfs", mounted=False), bind("control"))},
            "idmapped binds",
            "failed",
            "did not mount tmpfs",
        ),
        (
            {"binds": (bind("kubelet root"), bind("tmpfs"), bind("control", idmapped=True))},
            "idmapped binds",
            "unknown not-readable",
            "mountinfo says idmapped even of the mount without a mapping",
        ),
        (
            {"binds": (bind("kubelet root"), bind("tmpfs"), bind("control", owner_inside=65534))},
            "owners",
            "unknown not-readable",
            "even without a mapping, owner 0 is seen as 65534",
        ),
        (
            {"binds": (bind("kubelet root", owner=70000, owner_inside=65534), bind("tmpfs"), bind("control"))},
            "owners",
            "unknown not-readable",
            "kubelet root belongs to UID 70000, which the mapping leaves out",
        ),
        (
            {"delete": Command(COMPLETE, 1, "level=error msg=busy\n", 0.1)},
            "delete",
            "failed",
            "gave up with exit status 1",
        ),
        ({"delete": Command(COMPLETE, -11, "", 0.1)}, "delete", "unknown not-readable", "was ended by signal 11"),
        ({"gone": False}, "delete", "failed", "said nothing, but the container's process still runs"),
    ],
)
def test_each_step(changes: dict[str, Any], step: Any, result: str, meaning: str) -> None:
    """Each step alone, with its own meaning."""
    facts = judged(make_answer(**changes))
    assert results(facts)[step] == result
    assert facts.step(step).reason == meaning


def test_an_answer_that_is_none() -> None:
    """Mounts that no trial makes are a problem, not a verdict."""
    reading = judge_trial(PLAN, Reading(SOURCE, make_answer(binds=(bind("tmpfs"),))), "")
    assert reading.kind == "not-readable"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CRUN, "mount_setattr `/pods` (maybe the file system used doesn't support idmap mounts on this kernel?)"),
        ('{"msg":"first"}\n{"msg":"second"}\n', "second"),
        ("one\nlast line\n\n", "last line"),
        ('{"msg":"bell \\u0007 and \\u001b[31m red \\ud800"}', "bell   and  [31m red"),
        ('{"msg":"bad \\x"}', '{"msg":"bad \\x"}'),
        ("", "nothing"),
        ("x" * 1000, "x" * 400 + "…"),
    ],
)
def test_last_words(text: str, words: str) -> None:
    """The message of the last record, else the last line; nothing that could reach a terminal and do harm there."""
    assert parse_words(text).startswith(words)


@given(st.text())
def test_any_words_become_a_value(text: str) -> None:
    """Whatever a runtime prints becomes one short printable line that JSON can carry."""
    words = parse_words(text)
    assert len(words) <= 401
    assert words.isprintable()
    msgspec.json.encode(words)


@given(
    st.builds(
        TrialAnswer,
        under_way=st.sampled_from(("", "preparation", *STEP_NAMES)),
        cut_short=st.sampled_from(("", "timed-out", "not-readable")),
        creates=st.lists(
            st.builds(
                Command, st.sampled_from([one.name for one in BUNDLES]), st.integers(-64, 255), st.text(), st.just(0.1)
            ),
            max_size=5,
        ).map(tuple),
        uid_map=st.sampled_from(((), FULL, (0, 0, 1))),
        gid_map=st.sampled_from(((), FULL)),
        binds=st.sampled_from(((), make_answer().binds)),
        delete=st.sampled_from((None, make_answer().delete)),
        gone=st.booleans(),
    )
)
def test_no_answer_whatever_is_taken_for_success(answer: TrialAnswer) -> None:
    """Any answer is judged without raising, and all is passed only where everything was seen."""
    reading = judge_trial(PLAN, Reading(SOURCE, answer), "")
    if reading.value and {step.result for step in reading.value.steps} == {"passed"}:
        assert answer.creates[0].status == 0
        assert (answer.uid_map, answer.gid_map, answer.gone) == (FULL, FULL, True)
        assert answer.binds
        assert not (answer.cut_short and answer.under_way in STEP_NAMES)


def plan(**changes: Any) -> Reading[TrialPlan]:
    host = FakeHost(files=changes.pop("files", {f"{KUBELET_ROOT}/pods/x": "", "/": ""}))
    fields: dict[str, Any] = {
        "probe": make_probe(),
        "runtime": Reading("CRI", make_runtime()),
        "kubelet_root": KUBELET_ROOT,
        "mounts": Reading("mountinfo", make_mounts()),
        "attempts": make_attempts(),
    }
    return plan_trial(host, **fields | changes)


def test_what_is_tried() -> None:
    """The default handler's binary, as CRI names it, with the directory of the Pods' files."""
    assert plan().value == TrialPlan(binary="/usr/bin/runc", kubelet_root=f"{KUBELET_ROOT}/pods")


def test_covered_proc_is_imitated() -> None:
    """Where the node forbids containers a new /proc, the trial must not allow it."""
    covered = make_mounts(proc=make_visibility("/proc/tty"))
    found = plan(mounts=Reading("mountinfo", covered)).value
    assert found is not None
    assert found.proc_covered


def runtime_with(**handler: Any) -> Reading[Any]:
    return Reading("CRI", make_runtime(handlers=(make_handler(**handler),)))


@pytest.mark.parametrize(
    ("changes", "kind", "problem"),
    [
        ({"runtime": absent("/proc")}, "not-readable", "No such file"),
        ({"runtime": runtime_with(binary=absent("CRI"))}, "absent", "No such file"),
        ({"runtime": runtime_with(oci_version=unread())}, "not-permitted", "not run: could not be read"),
        ({"runtime": runtime_with(name="other")}, "not-readable", "CRI names no default handler"),
        ({"runtime": Reading("CRI", make_runtime(handlers=unread(kind="timed-out")))}, "timed-out", "could not be"),
        ({"probe": make_probe(in_initial_user_namespace=False)}, "not-permitted", "initial user namespace"),
        ({"probe": make_probe(in_initial_user_namespace=unread())}, "not-permitted", "initial user namespace"),
        ({"probe": make_probe(chrooted=True)}, "not-permitted", "chroot"),
        ({"probe": make_probe(supported_architecture=False)}, "not-permitted", "unsupported architecture"),
        (
            {"attempts": make_attempts(kubelet_root=make_unknown_attempt(role="kubelet-root"))},
            "timed-out",
            "kubelet's root directory does not answer",
        ),
        ({"files": {f"{KUBELET_ROOT}/pods": errno.EACCES}}, "not-permitted", "Permission denied"),
    ],
)
def test_what_is_not_tried(changes: dict[str, Any], kind: str, problem: str) -> None:
    """Nothing is run that did not prove to be the node's, nor where it could not begin or would hang."""
    found = plan(**changes)
    assert found.value is None
    assert found.kind == kind
    assert problem in found.problem


@pytest.mark.parametrize(
    ("probe", "daemon", "words"),
    [
        ({}, {}, ""),
        ({"seccomp": 2}, {}, "seccomp filter"),
        ({"seccomp": unread()}, {}, "seccomp filter"),
        ({"effective_capabilities": ALL_CAPABILITIES - (1 << 21)}, {}, "(0000000000200000)"),
        ({"effective_capabilities": 1 << 21}, {"effective_capabilities": 1 << 21}, ""),
        ({}, {"effective_capabilities": unread()}, "unknown which privileges"),
    ],
)
def test_what_binds_the_probe(probe: dict[str, Any], daemon: dict[str, Any], words: str) -> None:
    """A probe that may do less than the runtime cannot blame it."""
    runtime = Reading("CRI", make_runtime(confinement=make_confinement(**daemon)))
    found = confinement_of_probe(make_probe(**probe), runtime)
    assert (words in found) if words else (found == "")
