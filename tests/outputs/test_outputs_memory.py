"""The history of the verdict in annotations that anybody with rights on Nodes may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import REPORTS, make_report, no_kubelet, tmpfs_refused
from probe.changes import KEPT, LONGEST
from probe.outputs.annotations import VALUE_LIMIT, node_annotations, node_event
from probe.outputs.changes import since_words
from probe.outputs.memory import CHANGES, FACTS, LIMIT, Memory, continued, memory_of, parse_memory, render_memory
from probe.outputs.staleness import expired
from probe.report import Difference, Previous, Report, VerdictChange
from tests.outputs.test_outputs_terminal import evil, hostile_reports

READY = make_report()
REFUSED = replace(tmpfs_refused(), node=READY.node)
WAS_READY = Previous(verdict="ready", reason="")
WAS_REFUSED = Previous(verdict="not-ready", reason="TmpfsNotIdmappable")
KERNEL = Difference(what="kernel", before="6.12.38+deb13-amd64", after="6.1.0-44-amd64")


def at(minute: int) -> str:
    return f"2026-11-21T21:{minute:02}:00Z"


def on(report: Report, minute: int, **fields: Any) -> Report:
    """*report* of a probe in that minute; since then, unless *fields* say otherwise."""
    return replace(report, **{"probed_at": at(minute), "since": at(minute)} | fields)


def change(minute: int, before: Previous, after: Previous) -> VerdictChange:
    return VerdictChange(at=at(minute), before=before, after=after, difference=(KERNEL,))


def after(*reports: Report, memory: Memory | None = None) -> Memory:
    """The memory of an agent that saw these reports."""
    memory = memory or Memory()
    for report in reports:
        memory = memory_of(continued(memory, report), memory)
    return memory


def test_a_new_agent_continues_where_the_last_one_ended() -> None:
    """What the Node remembers comes back as it was: when, from, to and why; and the next change joins it."""
    memory = parse_memory(render_memory(after(on(READY, 1), on(REFUSED, 2))))
    assert not memory.problem
    assert [(one.at, one.before, one.after) for one in memory.changes] == [(at(2), WAS_READY, WAS_REFUSED)]
    assert KERNEL in memory.changes[0].difference
    same = continued(memory, on(REFUSED, 7))
    assert (same.since, same.previous) == (at(2), WAS_READY)
    assert same.changes == memory.changes
    better = continued(memory, on(READY, 9))
    assert [one.at for one in better.changes] == [at(2), at(9)]
    assert (better.since, better.previous) == (at(9), WAS_REFUSED)
    assert "kernel from 6.1.0-44-amd64 to 6.12.38+deb13-amd64" in since_words(better)


def test_saying_it_twice_adds_nothing() -> None:
    """A report that was continued already, or is seen again, has the same history."""
    memory = after(on(READY, 1))
    once = continued(memory, on(REFUSED, 2))
    assert continued(memory_of(once, memory), once) == once
    assert continued(memory_of(once, memory), on(REFUSED, 2)) == once


def test_what_watch_knows_and_what_the_node_knows_overlap() -> None:
    """Each change is told once, whichever of both has lost some."""
    first, second, third = (
        change(1, WAS_READY, WAS_REFUSED), change(2, WAS_REFUSED, WAS_READY), change(3, WAS_READY, WAS_REFUSED)
    )  # fmt: skip
    node = Memory(answer=WAS_READY, seen={"boot": READY.node.boot_id}, changes=(first, second))
    for own in ((first, second, third), (second, third), (third,)):
        report = on(REFUSED, 4, since=at(3), changes=own)
        assert continued(node, report).changes == (first, second, third)
    undated = replace(second, at=None)  # the clock was set back since then
    assert continued(node, on(REFUSED, 4, changes=(undated, third))).changes == (first, undated, third)


def test_a_gap_between_both_is_said_to_be_one() -> None:
    """Nobody saw when the verdict changed, or why: neither is made up."""
    node = Memory(answer=Previous(verdict="unknown", reason="TimedOut"), seen={"kernel": "5.10"})
    report = on(REFUSED, 4, changes=(change(3, WAS_READY, WAS_REFUSED),))
    gap, known = continued(node, report).changes
    assert (gap.at, gap.before.reason, gap.after, gap.difference) == (None, "TimedOut", WAS_READY, ())
    assert known == report.changes[0]


def test_another_boot_keeps_the_changes_and_not_the_time() -> None:
    """Nobody watched while the node was off: `since` and `previous` are of this boot; the changes are of the Node."""
    memory = after(on(READY, 1), on(REFUSED, 2))
    booted = replace(REFUSED.node, boot_id="another")
    report = continued(memory, on(replace(REFUSED, node=booted), 9))
    assert (report.since, report.previous, report.changes) == (at(9), None, memory.changes)
    mended = continued(memory, on(replace(READY, node=booted), 9))
    assert mended.previous is None
    assert mended.changes[-1].difference[0].what == "boot"


def test_an_expired_report_is_no_answer() -> None:
    """It keeps what was known, and nothing of it is remembered as a change of the node."""
    memory = after(on(READY, 1), on(REFUSED, 2))
    stale = expired(continued(memory, on(REFUSED, 3)))
    assert continued(memory, stale).changes == memory.changes
    assert memory_of(continued(memory, stale), memory) is memory
    assert since_words(stale) == ""


def test_a_clock_that_was_set_back() -> None:
    """A time of the future is not a time: the change keeps its place."""
    memory = after(on(READY, 40), on(REFUSED, 50))
    report = continued(memory, on(REFUSED, 10))
    assert (report.changes[0].at, report.since) == (None, at(10))
    assert since_words(report).startswith("not ready since an unknown time; before: ready")


def test_the_event_says_what_changed() -> None:
    """From the verdict on the Node to the present one, over changes that were not published."""
    memory = after(on(READY, 1), on(no_kubelet(), 2))
    report = continued(memory, on(REFUSED, 3))
    event = node_event("ready", report)
    assert event
    assert "; changed: kernel from 6.12.38+deb13-amd64 to 6.1.0-44-amd64" in event.message
    assert "kubelet-running" not in event.message  # it failed and passed again in between
    untold = node_event("ready", REFUSED)
    assert untold
    assert "changed:" not in untold.message


GOOD = render_memory(after(on(READY, 1), on(REFUSED, 2)))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (CHANGES, ""), (CHANGES, "no JSON"), (CHANGES, "{}"), (CHANGES, "[null]"), (CHANGES, "[" * 2000),
        (CHANGES, GOOD[CHANGES][:-1]), (CHANGES, GOOD[CHANGES][: len(GOOD[CHANGES]) // 2]),
        (CHANGES, json.dumps(json.loads(GOOD[CHANGES]) * 2)), (CHANGES, f"{GOOD[CHANGES]}{' ' * LIMIT}"),
        (CHANGES, GOOD[CHANGES].replace('"not-ready"', '"certainly"')),
        (CHANGES, GOOD[CHANGES].replace("TmpfsNotIdmappable", "x" * (LONGEST + 1))),
        (CHANGES, GOOD[CHANGES].replace("TmpfsNotIdmappable", "\\u202e")),
        (FACTS, ""), (FACTS, "[]"), (FACTS, GOOD[FACTS][:-1]), (FACTS, GOOD[FACTS].replace('"seen"', '"more"')),
        (FACTS, GOOD[FACTS].replace('"not-ready"', '"ready"')), (FACTS, GOOD[FACTS].replace("6.1.0", "\\u001b[2J")),
    ],
)  # fmt: skip
def test_what_was_not_written_so_is_ignored_with_its_name(key: str, text: str) -> None:
    """Truncated, edited, of another version: nothing of both annotations is used, and the report says why."""
    memory = parse_memory(GOOD | {key: text})
    assert memory == Memory(problem=memory.problem)
    assert key in memory.problem or CHANGES in memory.problem
    report = continued(memory, on(READY, 5))
    assert (report.changes, report.changes_problem) == ((), memory.problem)


def test_what_another_field_manager_wrote_is_ignored() -> None:
    """However right it looks."""
    memory = parse_memory(GOOD, {CHANGES})
    assert memory == Memory(problem=memory.problem)
    assert CHANGES in memory.problem
    assert parse_memory({}, {"userns-probe.io/verdict"}) == Memory()


@settings.get_profile("hostile")
@given(evil | st.sampled_from(list(GOOD.values())), evil | st.sampled_from(list(GOOD.values())), st.data())
def test_no_annotation_changes_a_verdict(changes: str, facts: str, data: st.DataObject) -> None:
    """Cut, mixed or made up: verdict, reason, levels and all that is published of them are those of the probe."""
    cut = data.draw(st.integers(0, 2 * LIMIT))
    memory = parse_memory({CHANGES: changes[:cut], FACTS: facts[-cut:]})
    for report in (on(READY, 5), on(REFUSED, 5), expired(on(READY, 5))):
        found = continued(memory, report)
        unsaid = {"since": None, "previous": None, "changes": (), "changes_problem": ""}
        assert replace(found, **unsaid) == replace(report, **unsaid)
        assert node_annotations(found) == node_annotations(report)
        assert len(found.changes) <= KEPT


@pytest.mark.slow
@settings.get_profile("hostile")
@given(st.lists(hostile_reports(), min_size=1, max_size=4))
def test_what_is_written_can_be_read(reports: list[Report]) -> None:
    """Whatever a node says: both annotations are bounded, plain, and understood by the next agent."""
    memory = after(*reports)
    written = render_memory(memory)
    assert all(text.isascii() and text.isprintable() and len(text) <= LIMIT for text in written.values())
    read = parse_memory(written)
    assert not read.problem
    assert read.answer == memory.answer


def test_the_longest_history_fits() -> None:
    """Causes go before changes, the least likely ones first, and each change keeps its likeliest cause."""
    texts = tuple(
        Difference(what=f"kernel {number}" + "w" * 60, before="b" * LONGEST, after='"' * LONGEST) for number in range(8)
    )
    changes = tuple(replace(change(minute, WAS_READY, WAS_READY), difference=texts) for minute in range(KEPT))
    memory = Memory(answer=WAS_READY, seen={f"kernel {n}": "x" * LONGEST for n in range(64)}, changes=changes)
    read = parse_memory(render_memory(memory))
    assert not read.problem
    assert read.changes
    assert all(one.difference[0] == texts[0] for one in read.changes)
    assert int(read.seen["omitted"]) == 64 - (len(read.seen) - 1)


@pytest.mark.parametrize("name", REPORTS)
def test_an_event_is_bounded(name: str) -> None:
    """With all that changed."""
    report = continued(after(on(READY, 1)), on(replace(REPORTS[name], message="m" * 5000), 2))
    event = node_event("unknown" if report.verdict == "ready" else "ready", report)
    assert event
    assert len(event.message.encode()) <= VALUE_LIMIT
