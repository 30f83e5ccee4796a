"""The history of the verdict in two annotations of the Node, and the report that follows it. Pure.

The annotations outlive the agent. Their text is not trusted: it explains earlier verdicts and decides none.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from probe import changes as diff
from probe.outputs.annotations import PREFIX
from probe.outputs.staleness import STALE
from probe.outputs.text import visible
from probe.report import Difference, Previous, Report, VerdictChange
from probe.verdict import Verdict

CHANGES, FACTS = f"{PREFIX}changes", f"{PREFIX}facts"
REMEMBERED = frozenset({CHANGES, FACTS})
"""Annotations that are written with the others, and never alone cause a write."""
LIMIT = 2 << 10
"""Bytes of each of them."""


class Memory(Struct, frozen=True, kw_only=True):
    """The last answer of a probe, and the changes up to it."""

    answer: Previous | None = None
    since: str | None = None
    """RFC 3339: since when it holds in the boot that `seen` names."""
    previous: Previous | None = None
    """The answer before it in that boot."""
    seen: dict[str, str] = {}
    """The fingerprint of that probe's report."""
    changes: tuple[VerdictChange, ...] = ()
    problem: str = ""
    """The reason why earlier changes are not known; empty without a problem."""


class _Facts(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content of the annotation `facts`."""

    verdict: Verdict
    reason: str
    since: str | None = None
    previous: Previous | None = None
    seen: dict[str, str]


class _Unusable(ValueError):
    """An annotation that this module did not write, or not wholly."""


def parse_memory(annotations: Mapping[str, str], foreign: Collection[str] = ()) -> Memory:
    """The memory in *annotations*; with a problem, and nothing else, unless both are wholly as `render_memory` writes.

    *foreign*: names of annotations that another field manager wrote.
    """
    if taken := sorted(REMEMBERED.intersection(foreign)):
        return Memory(problem=f"another field manager wrote the annotation {taken[0]}")
    if not REMEMBERED.intersection(annotations):
        return Memory()
    try:
        changes = _parse_changes(annotations.get(CHANGES, "[]"))
        return _parse_facts(annotations.get(FACTS, ""), changes)
    except _Unusable as problem:
        return Memory(problem=str(problem))


def render_memory(memory: Memory) -> dict[str, str]:
    """The annotations of *memory*, each of at most LIMIT bytes: the least likely causes go first, then old changes."""
    if memory.answer is None:
        return {}
    facts = _text(_facts(memory, len(memory.seen)))
    for most in range(len(memory.seen), -1, -1):
        if len(facts := _text(_facts(memory, most))) <= LIMIT:
            break
    changes = list(memory.changes)
    while len(said := _text(changes)) > LIMIT:
        longest = max(range(len(changes)), key=lambda index: len(changes[index].difference))
        if len(changes[longest].difference) > 1:
            changes[longest] = replace(changes[longest], difference=changes[longest].difference[:-1])
        else:
            changes.pop(0)
    return {FACTS: facts} | ({CHANGES: said} if changes else {})


def continued(memory: Memory, report: Report) -> Report:
    """*report* with the changes that *memory* knows, and the one between both.

    Its own changes, those that `watch` knows, may overlap those of *memory*.
    """
    if not _is_answer(report):
        return replace(report, changes=memory.changes or report.changes, changes_problem=memory.problem)
    answer = _answer(report)
    own = tuple(one for one in report.changes[-diff.KEPT :] if diff.is_change(msgspec.to_builtins(one)))
    older, met = _before(memory.changes, own)
    first = own[0].before if own else answer
    same_boot = bool(report.node.boot_id) and memory.seen.get("boot") == report.node.boot_id
    since, previous = report.since, report.previous
    if not met and memory.answer is not None and memory.answer != first:
        older = (*older, _bridge(memory, report, first, known=not own))
        previous = memory.answer if same_boot and not own else previous
    elif not own and same_boot and memory.answer == answer:
        since, previous = memory.since or since, previous or memory.previous
    changes = (*older, *own)[-diff.KEPT :]
    return replace(
        report,
        since=diff.dated(since, report.probed_at) or report.since,
        previous=previous,
        changes=tuple(replace(one, at=diff.dated(one.at, report.probed_at)) for one in changes),
        changes_problem=memory.problem,
    )


def memory_of(report: Report, before: Memory) -> Memory:
    """Memory after *report*, which is `continued`; the one *before* when *report* has no answer of a probe."""
    if not _is_answer(report):
        return before
    return Memory(
        answer=_answer(report),
        since=report.since,
        previous=report.previous,
        seen=diff.fingerprint(msgspec.to_builtins(report)),
        changes=report.changes,
        problem=report.changes_problem,
    )


def _is_answer(report: Report) -> bool:
    return report.reason != STALE


def _answer(report: Report) -> Previous:
    return Previous(verdict=report.verdict, reason=diff.clipped(report.reason))


def _bridge(memory: Memory, report: Report, after: Previous, *, known: bool) -> VerdictChange:
    """The change from *memory* to the answer *after*; *known*: the facts of *report* explain that answer."""
    assert memory.answer is not None
    if not known:
        return VerdictChange(at=None, before=memory.answer, after=after, difference=())
    found = diff.difference(memory.seen, diff.fingerprint(msgspec.to_builtins(report)))
    at = diff.dated(report.since or report.probed_at, report.probed_at)
    return VerdictChange(at=at, before=memory.answer, after=after, difference=tuple(Difference(**one) for one in found))


def _before(older: tuple[VerdictChange, ...], own: tuple[VerdictChange, ...]) -> tuple[tuple[VerdictChange, ...], bool]:
    """(the changes of *older* that *own* lacks, True when both overlap)."""
    for length in range(min(len(older), len(own)), 0, -1):
        if all(_same(*pair) for pair in zip(older[-length:], own[:length], strict=True)):
            return older[:-length], True
    return older, False


def _same(one: VerdictChange, other: VerdictChange) -> bool:
    times = one.at == other.at or None in (one.at, other.at)
    return times and (one.before, one.after) == (other.before, other.after)


def _parse_changes(text: str) -> tuple[VerdictChange, ...]:
    found = _decoded(CHANGES, text, Any)
    if not isinstance(found, list) or len(found) > diff.KEPT or not all(map(diff.is_change, found)):
        raise _Unusable(f"the annotation {CHANGES} has no list of changes")
    changes: tuple[VerdictChange, ...] = msgspec.convert(found, tuple[VerdictChange, ...])
    if any(one.after != other.before for one, other in itertools.pairwise(changes)):
        raise _Unusable(f"the changes of the annotation {CHANGES} do not follow each other")
    return changes


def _parse_facts(text: str, changes: tuple[VerdictChange, ...]) -> Memory:
    facts = _decoded(FACTS, text, _Facts)
    answer = Previous(verdict=facts.verdict, reason=facts.reason)
    texts = [answer.reason, facts.previous.reason if facts.previous else "", *facts.seen, *facts.seen.values()]
    if any(text != diff.clipped(text) for text in texts):
        raise _Unusable(f"the annotation {FACTS} has text that userns-probe does not write")
    if changes and changes[-1].after != answer:
        raise _Unusable(f"the annotations {CHANGES} and {FACTS} contradict each other")
    since = diff.dated(facts.since, None)
    return Memory(answer=answer, since=since, previous=facts.previous, seen=facts.seen, changes=changes)


def _decoded(name: str, text: str, kind: Any) -> Any:
    if len(text) > LIMIT:
        raise _Unusable(f"the annotation {name} has more than {LIMIT} bytes")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _Unusable(f"the annotation {name} cannot be read: {visible(str(error), 100)}") from error


def _facts(memory: Memory, most: int) -> _Facts:
    assert memory.answer is not None
    return _Facts(
        verdict=memory.answer.verdict,
        reason=memory.answer.reason,
        since=memory.since,
        previous=memory.previous,
        seen=diff.bounded(memory.seen, most),
    )


def _text(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))
