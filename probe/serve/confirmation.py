"""A report that `watch` confirmed: the same bytes but for two times, so that it need not be parsed again.

The file is untrusted. What looks like the two times may stand anywhere in it, be repeated, or mean nothing: so the
parser itself has to show, once for each report, that these bytes are the two fields and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from probe.outputs.staleness import CONFIRMATION, confirmed, lifetime
from probe.report import Report

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SIZE = len("2026-11-21T21:30:00Z")
_OTHER = {"confirmed_at": "1999-12-31T23:59:58Z", "expires_at": "1999-12-31T23:59:59Z"}


class Confirmable:
    """The bytes of *report*, and where the times are in them that a confirmation renews."""

    def __init__(self, content: bytes, report: Report, parse: Callable[[bytes], Report]) -> None:
        """*parse* makes a Report of bytes, without rules of its own for the two times."""
        self._report, self._parse = report, parse
        self._is_shown: bool | None = None
        keys = {name: b'\n  "%s": "' % name.encode() for name in CONFIRMATION}
        starts = {name: content.find(key) + len(key) for name, key in keys.items() if key in content}
        self._names = sorted(starts, key=lambda name: starts[name])
        ends = [0, *(starts[name] + _SIZE for name in self._names)]
        self._parts = [content[end:start] for end, start in zip(ends, [*sorted(starts.values()), None], strict=True)]

    def confirmed(self, content: bytes) -> Report | None:
        """The report in *content* if it is this one, confirmed; None if it has to be parsed."""
        times: dict[str, str] = {}
        start = 0
        for name, part in zip(self._names, self._parts, strict=False):
            found = _TIME.match(content, start + len(part))
            if not (found and content.startswith(part, start)):
                return None
            times[name], start = found[0].decode(), found.end()
        rest = self._parts[-1]
        if len(times) < len(CONFIRMATION) or len(content) != start + len(rest) or not content.endswith(rest):
            return None
        if self._is_shown is None:
            self._is_shown = self._show()
        report = confirmed(self._report, confirmed_at=times["confirmed_at"], expires_at=times["expires_at"])
        return report if self._is_shown and lifetime(report) > 0 else None

    def _show(self) -> bool:
        """Whether other times in the same places make the same report, but for these times."""
        first, second = (_OTHER[name].encode() for name in self._names)
        before, between, after = self._parts
        try:
            shown = self._parse(b"".join((before, first, between, second, after)))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return shown == confirmed(self._report, **_OTHER)
