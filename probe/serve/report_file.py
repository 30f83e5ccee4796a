"""Reader of the report file, and the validity of its report.

The file is untrusted, because its writer handles the node. It may be missing, huge, half written, of another node or
boot, or not a regular file; each case has a state of its own, and only a `valid` report counts.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from probe.outputs.publishing import Publishing
from probe.outputs.staleness import MESSAGE, effective, foreign, lifetime
from probe.outputs.text import visible
from probe.report import SCHEMA, Report
from probe.serve.confirmation import Confirmable
from probe.serve.history import History
from probe.serve.untrusted_file import Identity, State, Unusable, identity_of, read_file, unusable
from probe.watch.log import log

BOOT_ID = "/proc/sys/kernel/random/boot_id"

Change = Literal["", "confirmed", "another"]
"""Whether the file has the same report, the same one confirmed, or another report or state."""

_AFTERWARDS = 0.05  # seconds: a timer must not end just before the expiry


class Snapshot(Struct, frozen=True, kw_only=True):
    """State of the report file at one moment."""

    state: State
    message: str
    """Half a sentence: reason of a state other than `valid`; empty when `valid`."""
    report: Report | None = None
    """Report as written; None unless `valid` or `expired`."""
    effective: Report | None = None
    """Report in force: after its expiry, the same report with all answers unknown."""
    age: float | None = None
    """Seconds since the probe."""


class Current:
    """Current state of the report file, shared by all threads of `serve`.

    One thread calls `refresh`, which reads the file. All others call `snapshot`, which does no I/O, so a hung file
    system blocks no request: the report only grows old.
    """

    publishing: Publishing | None = None
    """Set by the publisher after each step; None while nothing is published."""
    ever_valid = False
    """True after the first valid report, with any verdict."""

    def __init__(
        self, path: str, *, boot_id: str, node_name: str | None = None, uptime: Callable[[], float] | None = None
    ) -> None:
        self.history = History()
        self._path = path
        self._boot_id = boot_id
        self.node_name = node_name
        self._uptime = uptime or boot_time
        self._identity: Identity | None = None
        self._content: Report | Unusable = Unusable("missing", "no report was written yet")
        self._confirmable: Confirmable | None = None
        self._in_force: _InForce | None = None
        self._expired: Snapshot | None = None
        self._logged: State | None = None

    def refresh(self) -> Change:
        """Read the file if its identity changed, log a change of state, and tell what changed."""
        change: Change = "" if self._unchanged() else "another"
        if change:
            self._identity = None
            try:
                self._identity, content = read_file(self._path)
                change = self._take(content)
            except Unusable as problem:
                self._content, self._confirmable = problem, None
            except OSError as error:
                self._content, self._confirmable = unusable(error), None
        now = self.snapshot()
        self.ever_valid |= now.state == "valid"
        if now.state != self._logged:
            self._logged, change = now.state, "another"
            log("report", state=now.state, **({"message": now.message} if now.message else {}))
        return change

    def _take(self, content: bytes) -> Change:
        """Take the report in *content*. *Errors*: Unusable."""
        if self._confirmable and (report := self._confirmable.confirmed(content)):
            self._content = report
            return "confirmed"
        self._content = report = parse_report(content)
        self._confirmable = Confirmable(content, report, _decode)
        return "another"

    def effective(self) -> Report | None:
        """The report in force, as in `snapshot`, which takes longer to tell that it is still the same."""
        turns, content, last = self.history.turns, self._content, self._in_force
        if last and last.content is content and last.turns == turns and last.holds(self._uptime()):
            return last.report
        now = self.snapshot()
        if now.state == "valid" and now.report is not None:
            since, lives = now.report.node.uptime_seconds or 0, lifetime(now.report)
            self._in_force = _InForce(content, turns, since, lives, now.effective)
        return now.effective

    def snapshot(self) -> Snapshot:
        """Snapshot of this moment; the same objects while nothing changes. Never blocks."""
        content = self._content
        if isinstance(content, Unusable):
            return Snapshot(state=content.state, message=content.message)
        if not foreign(content, boot_id=self._boot_id, node_name=self.node_name):
            content = self.history.continued(content)
        now = judge(content, now=self._uptime(), boot_id=self._boot_id, node_name=self.node_name)
        if now.state == "expired":
            if self._expired is None or self._expired.report is not content:
                self._expired = now
            return msgspec.structs.replace(self._expired, age=now.age)
        return now

    def expires_in(self) -> float:
        """Seconds until the report expires; infinite without a report or after its expiry."""
        now = self.snapshot()
        if now.state != "valid" or now.report is None or now.age is None:
            return math.inf
        return lifetime(now.report) - now.age + _AFTERWARDS

    def _unchanged(self) -> bool:
        try:
            return self._identity == identity_of(os.lstat(self._path))
        except OSError:
            return False


def judge(report: Report, *, now: float, boot_id: str, node_name: str | None) -> Snapshot:
    """Snapshot of *report* at *now*, in seconds since boot.

    The age is measured by CLOCK_BOOTTIME, which cannot be set: neither a step of the wall clock nor a restart of this
    process can make a report younger.
    """
    if why := foreign(report, boot_id=boot_id, node_name=node_name):
        same_boot = bool(boot_id) and report.node.boot_id == boot_id
        return Snapshot(state="other-node" if same_boot else "other-boot", message=visible(why))
    age = now - (report.node.uptime_seconds or 0)
    if not age >= 0:
        return Snapshot(state="from-the-future", message="the last report is from the future")
    holds = effective(report, age=age, boot_id=boot_id, node_name=node_name)
    valid = holds is report
    message = "" if valid else MESSAGE
    return Snapshot(state="valid" if valid else "expired", message=message, report=report, effective=holds, age=age)


def parse_report(content: bytes) -> Report:
    """Report in *content*; Unusable when malformed or of an unsupported schema version."""
    try:
        schema = msgspec.json.decode(content, type=_Header).schema
        if schema != SCHEMA:
            raise Unusable("other-schema", f"the report follows {visible(schema, 64)}, and this version reads {SCHEMA}")
        report = _decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unusable("not-a-report", f"the report file is malformed: {visible(str(error), 200)}") from error
    uptime = report.node.uptime_seconds
    if not lifetime(report) > 0 or uptime is None or not 0 <= uptime < float("inf"):
        raise Unusable("not-a-report", "the report has no valid times of probe and expiry")
    return report


def read_boot_id(path: str = BOOT_ID) -> str:
    """ID of the running boot; empty when unreadable, and then no report is valid."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


def boot_time() -> float:
    """Seconds since this boot, time in suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _decode(content: bytes) -> Report:
    return msgspec.json.decode(content, type=Report)


class _Header(Struct):
    schema: str


class _InForce(NamedTuple):
    """A report in force, and what has to stay the same for that."""

    content: Report | Unusable
    turns: int
    since: float
    lifetime: float
    report: Report | None

    def holds(self, now: float) -> bool:
        """True before it expires."""
        return 0 <= now - self.since < self.lifetime
