"""Reader of the report file, and the validity of its report.

The file is untrusted, because its writer handles the node. It may be missing, huge, half written, of another node or
boot, or not a regular file; each case has a state of its own, and only a `valid` report counts.
"""

from __future__ import annotations

import errno
import math
import os
import stat
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
from probe.watch.log import log

LIMIT = 1 << 20
"""Maximum bytes of a report, as in `watch`."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"

State = Literal[
    "valid",
    "expired",
    "missing",
    "not-readable",
    "not-a-file",
    "too-large",
    "not-a-report",
    "other-schema",
    "other-boot",
    "other-node",
    "from-the-future",
]
"""State of the file; only `valid` and `expired` have a complete report of this node."""

_NOT_FILES = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV)  # symbolic link, directory, socket, device

Identity = tuple[int, int, int, int, int]
_PART = 64 << 10  # bytes that are read at once
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


class Unusable(Exception):
    """The file has no usable report."""

    def __init__(self, state: State, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.message = message


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

    def refresh(self) -> bool:
        """Read the file if its identity changed, and log a change of state.

        Whether it did either, unless the file has the same report, confirmed.
        """
        changed = not self._unchanged()
        if changed:
            self._identity = None
            try:
                self._identity, content = read_file(self._path)
                changed = self._take(content)
            except Unusable as problem:
                self._content, self._confirmable = problem, None
            except OSError as error:
                self._content, self._confirmable = _unusable(error), None
        now = self.snapshot()
        self.ever_valid |= now.state == "valid"
        other = now.state != self._logged
        if other:
            self._logged = now.state
            log("report", state=now.state, **({"message": now.message} if now.message else {}))
        return other or changed

    def _take(self, content: bytes) -> bool:
        """Take the report in *content*; False if it is the last one, confirmed. *Errors*: Unusable."""
        report = self._confirmable and self._confirmable.confirmed(content)
        if report:
            self._content = report
            return False
        self._content = report = parse_report(content)
        self._confirmable = Confirmable(content, report, _decode)
        return True

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
            return self._identity == _identity(os.lstat(self._path))
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


def read_file(path: str) -> tuple[Identity, bytes]:
    """(identity, content) of the regular file *path*; the identity differs for each replacement.

    *Errors*: Unusable; OSError when it cannot be opened or read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("not-a-file", "the report file is not a regular file")
        content = b""
        while len(content) <= LIMIT and (part := os.read(descriptor, _PART)):
            content += part
    finally:
        os.close(descriptor)
    if len(content) > LIMIT:
        raise Unusable("too-large", f"the report file has more than {LIMIT} bytes")
    return _identity(status), content


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


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _unusable(error: OSError) -> Unusable:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Unusable("missing", "no report was written yet")
    if error.errno in _NOT_FILES:
        return Unusable("not-a-file", "the report file is not a regular file")
    return Unusable("not-readable", f"the report file cannot be read: {os.strerror(error.errno or errno.EIO)}")
