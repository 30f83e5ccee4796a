"""The judgement of a prediction beside the fate of Pods, and the messages that make the Pods."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.sabotage import cri, fate, machine
from lab.sabotage.breaks import BREAKS, CONTROL
from lab.sabotage.fate import FAILS, RUNS, UNUSABLE, Fate
from lab.sabotage.judge import (
    AGREE,
    FALSE_NOT_READY,
    FALSE_READY,
    NO_REPORT,
    ONLY_TRIAL,
    UNKNOWN,
    WRONG,
    judge,
    markdown,
)
from lab.sabotage.run import Row, wrapper

LEVELS = ("stateless", "projected", "local", "volumes")


def said(verdict: str, **levels: str) -> dict[str, Any]:
    """The judged parts of a report."""
    handlers = {name: [levels.pop(name, verdict), ""] for name in ("runc", "crun")}
    return {
        "verdict": verdict,
        "reason": "",
        "levels": {**dict.fromkeys(LEVELS, verdict), **levels},
        "handlers": handlers,
    }


def became(failing: tuple[str, ...] = (), outcome: str = FAILS) -> fate.Fates:
    """Pods that run but for these kinds, with both handlers alike."""
    fates = {
        kind: Fate(outcome if kind in failing else RUNS, "words" if kind in failing else "") for kind in fate.KINDS
    }
    return {handler: dict(fates) for handler in fate.HANDLERS}


def classes(report: dict[str, Any], fates: fate.Fates) -> dict[str, str]:
    return {claim.subject: claim.verdict for claim in judge(report, fates)}


@pytest.mark.parametrize(
    ("verdict", "failing", "expected"),
    [
        ("ready", (), AGREE),
        ("ready", fate.KINDS, FALSE_READY),
        ("not-ready", (), FALSE_NOT_READY),
        ("not-ready", fate.KINDS, AGREE),
        ("unknown", (), UNKNOWN),
        ("unknown", fate.KINDS, UNKNOWN),
    ],
)
def test_each_claim_is_held_against_the_pods(verdict: str, failing: tuple[str, ...], expected: str) -> None:
    """The node, each level and each handler."""
    assert set(classes(said(verdict), became(failing)).values()) == {expected}


def test_a_pod_that_is_unusable_does_not_run() -> None:
    """A container that starts and misses its token is no success."""
    assert classes(said("ready"), became(("token",), UNUSABLE))["projected"] == FALSE_READY


def test_a_level_promises_those_before_it() -> None:
    """Without tokens neither `projected` nor `local` may be ready; `stateless` may."""
    found = classes(said("ready"), became(("token",)))
    assert found["stateless"] == AGREE
    assert {found[each] for each in ("node", "projected", "local", "volumes")} == {FALSE_READY}


def test_hostpath_binds_the_level_volumes_alone() -> None:
    """The verdict is about all levels below it."""
    found = classes(said("ready"), became(("hostpath",)))
    assert (found["node"], found["local"], found["volumes"]) == (AGREE, AGREE, FALSE_READY)


def test_a_row_is_as_bad_as_its_worst_claim() -> None:
    """One wrong handler spoils a row whose verdict is right."""
    report, fates = said("ready", crun="not-ready"), became()
    row = Row("one", "kind", report, fates, tuple(judge(report, fates)), 1.0)
    assert row.verdict == FALSE_NOT_READY


@pytest.mark.parametrize(
    ("with_trial", "only_trial", "expected"),
    [
        (None, "why", FALSE_READY),
        (said("unknown"), "why", ONLY_TRIAL),
        (said("not-ready"), "why", ONLY_TRIAL),
        (said("unknown"), "", FALSE_READY),
        (said("ready"), "why", FALSE_READY),
    ],
)
def test_only_a_trial_forgives_what_only_a_trial_can_see(
    with_trial: dict[str, Any] | None, only_trial: str, expected: str
) -> None:
    """A false `ready` stays one unless the break says why, and the trial took it back."""
    report, fates = said("ready"), became(fate.KINDS)
    row = Row("one", "kind", report, fates, tuple(judge(report, fates)), 1.0, with_trial, only_trial)
    assert row.verdict == expected
    assert (expected in WRONG) == (expected == FALSE_READY)


def test_a_trial_that_is_wrong_spoils_a_row() -> None:
    """It is the last word, so it may not err where all else is right."""
    report, fates = said("ready"), became()
    row = Row("one", "kind", report, fates, tuple(judge(report, fates)), 1.0, said("not-ready"))
    assert row.verdict == FALSE_NOT_READY


def test_a_probe_without_a_report_is_a_row_of_its_own() -> None:
    """A crash must not end the run, nor count as honest."""
    report = {"verdict": "", "reason": NO_REPORT, "levels": {}, "handlers": {}}
    assert classes(report, became()) == {"node": NO_REPORT}
    assert NO_REPORT in WRONG


def test_the_table_has_a_line_for_each_break_and_counts_the_classes() -> None:
    report, fates = said("ready"), became(("disk",))
    row = Row("one", "kind", report, fates, tuple(judge(report, fates)), 1.0).document
    text = markdown([row, row | {"name": "two"}])
    assert "2 false ready" in text.partition("\n")[0]
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith(("| one", "| two"))] == [
        "| one",
        "| two",
    ]
    assert "disk fails" in text


def test_there_are_a_hundred_ways_of_every_kind_and_one_control() -> None:
    """Names are unique, as --only and the tables take them for identities."""
    assert len(BREAKS) > 100
    assert len({each.name for each in BREAKS}) == len(BREAKS)
    assert [each for each in BREAKS if each == CONTROL] == [each for each in BREAKS if each.kind == "control"]
    assert wrapper(CONTROL) == ()


@pytest.mark.parametrize("broken", BREAKS, ids=lambda each: each.name)
def test_every_break_but_the_control_does_something(broken: Any) -> None:
    does = (
        broken.before,
        broken.after,
        broken.daemon,
        broken.sandboxed,
        broken.environment,
        broken.config,
        broken.specification,
    )
    assert any(does) == (broken != CONTROL)


def test_a_break_replaces_the_default_lines_of_the_configuration() -> None:
    """TOML has each key once."""
    text = machine.configuration({"images": 'snapshotter = "native"'})
    assert 'snapshotter = "native"' in text
    assert "overlayfs" not in text


@given(st.dictionaries(st.integers(1, 2000), st.binary(max_size=300) | st.integers(0, 2**63), max_size=8))
def test_a_message_is_read_as_it_was_written(message: dict[int, bytes | int]) -> None:
    """Varints and bytes of every length."""
    written = b"".join(cri.field(number, value) for number, value in message.items())
    assert cri.decode(written) == {number: [value] for number, value in message.items()}
