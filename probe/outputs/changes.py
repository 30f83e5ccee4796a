"""Changes of the verdict in words, for text, page and Event: since when it holds, what it was before, and why."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from probe.changes import rank
from probe.outputs.text import spaced
from probe.report import Difference, Previous, Report, VerdictChange
from probe.verdict import Verdict

_FEW = 3  # differences in one line of text


class Since(Struct, frozen=True):
    """The time since which the verdict of a report holds."""

    at: str | None
    """RFC 3339; None when it is not known."""
    before: Previous | None
    difference: tuple[Difference, ...]


def since_of(report: Report) -> Since | None:
    """Since when verdict and reason of *report* hold, also over boots; None when nothing is known of that."""
    last = report.changes[-1] if report.changes else None
    if last is not None and last.after == Previous(verdict=report.verdict, reason=report.reason):
        return Since(last.at, last.before, last.difference)
    return Since(report.since, report.previous, ()) if report.since else None


def since_words(report: Report) -> str:
    """`ready since 2026-11-21T21:30:00Z; before: not ready, because TmpfsNotIdmappable (changed: …)`, or nothing."""
    since = since_of(report)
    if since is None:
        return ""
    words = f"{spaced(report.verdict)} since {since.at or 'an unknown time'}"
    if since.before is not None:
        words += f"; before: {answer_words(since.before)}"
    return f"{words} (changed: {difference_words(since.difference[:_FEW])})" if since.difference else words


def answer_words(said: Previous) -> str:
    """`not ready, because TmpfsNotIdmappable`."""
    return f"{spaced(said.verdict)}, because {said.reason}" if said.reason else spaced(said.verdict)


def difference_words(difference: Sequence[Difference]) -> str:
    """`the node booted; kernel from 6.1.0-44-amd64 to 6.12.38`."""
    return "; ".join(_words(one) for one in difference)


def between(report: Report, before: Verdict) -> tuple[Difference, ...]:
    """The differences since the verdict was last *before*; none unless the changes lead from there to *report*."""
    changes = report.changes
    if not changes or changes[-1].after != Previous(verdict=report.verdict, reason=report.reason):
        return ()
    starts = [index for index, change in enumerate(changes) if change.before.verdict == before]
    return _joined(changes[starts[-1] :]) if starts else ()


def _joined(changes: Sequence[VerdictChange]) -> tuple[Difference, ...]:
    """The differences over all *changes*, without checks that only an earlier one names: they may have turned back."""
    last = {one.what for one in changes[-1].difference}
    found: dict[str, Difference] = {}
    for one in (one for change in changes for one in change.difference):
        first = found.get(one.what, one)
        found[one.what] = Difference(what=one.what, before=first.before, after=one.after)
    told = [one for one in found.values() if one.what in last or not one.what.startswith("check ")]
    return tuple(sorted((one for one in told if one.before != one.after), key=lambda one: rank(one.what)))


def _words(one: Difference) -> str:
    if one.what == "boot":
        return "the node booted"
    nothing = "no problem" if one.what.startswith("check ") else "none"
    return f"{one.what} from {one.before or nothing} to {one.after or nothing}"
