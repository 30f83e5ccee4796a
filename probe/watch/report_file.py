"""The report in its file: put in place at once, and confirmed while nothing changes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping

from probe.changes import followed
from probe.watch.atomic import replace_file
from probe.watch.feature_file import FeatureFile

REPORT_LIMIT = 1 << 20
"""Bytes of a report: two of them fit into the volume that the containers share."""

_FOREIGN_WRITERS = 0o022


class NoReport(ValueError):
    """The output of a probe is not a report."""


class ReportFile:
    """The file *name* in the open *directory*, and what was last put there; *features* says the same to NFD."""

    def __init__(self, directory: int, name: str, features: FeatureFile | None = None) -> None:
        self._directory = directory
        self._name = name
        self._content = b""
        self._features = features

    def put(self, content: bytes) -> str:
        """Put the report of a probe in place; its verdict. *Errors*: NoReport; OSError."""
        report = parse_report(content)
        if "since" in report:
            last = parse_report(self._content) if self._content else self._last()
            report |= history(report, last)
            content = json.dumps(report, indent=2).encode() + b"\n"
        replace_file(self._directory, self._name, content)
        self._content = content
        if self._features:
            self._features.put(report)
        return str(report["verdict"])

    def confirm(self, now: float, lifetime: float) -> None:
        """Say that nothing changed since the probe, and let the report live on; *now* in seconds since the epoch."""
        times: dict[str, object] = {"confirmed_at": rfc3339(now), "expires_at": rfc3339(now + lifetime)}
        replace_file(self._directory, self._name, with_times(self._content, times))
        if self._features:
            self._features.put(parse_report(self._content) | times)

    def proof(self) -> object:
        """The proof in the last report, whoever ran here before; None unless we alone could write it."""
        return self._last().get("proof")

    def content(self) -> bytes:
        """The last report, of this `watch` or an earlier one; empty where there is none, or others could write it."""
        return self._content or self._left()

    def _last(self) -> dict[str, object]:
        with contextlib.suppress(NoReport):
            return parse_report(self._left())
        return {}

    def _left(self) -> bytes:
        return own_content(self._name, self._directory)


def own_content(name: str, directory: int | None = None) -> bytes:
    """The report that an earlier `watch` left at *name*; empty unless we alone could write it."""
    with contextlib.suppress(OSError):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with open(fd, "rb") as file:
            seen = os.fstat(fd)
            if seen.st_uid == os.geteuid() and not seen.st_mode & _FOREIGN_WRITERS:
                return file.read(REPORT_LIMIT)
    return b""


def history(report: Mapping[str, object], last: Mapping[str, object]) -> dict[str, object]:
    """Since when the verdict of *report* holds, what it was before, and its changes, after the *last* report.

    `since` and `previous` are of this boot; `changes` also of earlier ones.
    """
    changes = {"changes": followed(last, report)}
    if not last.get("since") or _boot(last) != _boot(report):
        return {"since": report["probed_at"], "previous": None} | changes
    said = {"verdict": last.get("verdict"), "reason": last.get("reason")}
    if said == {"verdict": report.get("verdict"), "reason": report.get("reason")}:
        since = min(str(last["since"]), str(report["probed_at"]))  # the clock may have been set back
        return {"since": since, "previous": last.get("previous")} | changes
    return {"since": report["probed_at"], "previous": said} | changes


def _boot(report: Mapping[str, object]) -> object:
    node = report.get("node")
    return node.get("boot_id") if isinstance(node, dict) else None


def with_times(content: bytes, times: dict[str, object]) -> bytes:
    """The report in *content* with these *times*. *Errors*: NoReport.

    A report of which each field has a line, as `put` writes it, is not parsed: this happens 288 times a day.
    """
    changed = content
    for name, value in times.items():
        before, found, after = changed.partition(b'\n  "%s": ' % name.encode())
        line, _, rest = after.partition(b"\n")
        if not found or line[-1:] in b"{[" or found in rest:
            return json.dumps(parse_report(content) | times, indent=2).encode() + b"\n"
        end = b",\n" if line.endswith(b",") else b"\n"
        changed = b'%b%b"%b"%b%b' % (before, found, str(value).encode(), end, rest)
    return changed


def rfc3339(moment: float) -> str:
    """*moment*, in seconds since the epoch, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def parse_report(content: bytes) -> dict[str, object]:
    """The report in *content*. *Errors*: NoReport."""
    try:
        report = json.loads(content)
        return dict(report) | {"verdict": report["verdict"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise NoReport("what it printed is not a report") from error
