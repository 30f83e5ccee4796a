"""Rounds of `watch`: few probes and many looks; a look that finds a change, or fails, causes a probe at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from probe.watch.fleeting import fleeting_reasons
from probe.watch.log import log
from probe.watch.looker import Looker, NoAnswer, clocks
from probe.watch.pace import LOOK, RENEWAL, Pace
from probe.watch.report_file import NoReport, ReportFile, parse_report
from probe.watch.supervisor import ProbeFailed, Supervisor

_MEMORY_LIMIT = 1 << 20
_OLD = b" "  # what begins so was left by an earlier probe; to JSON it is nothing
PATIENCE = 10.0
"""Seconds until a second probe says whether a file that a package upgrade replaces is really gone."""


class Rounds:
    """The state of a running `watch`: its last probe, the memory of it, and the looker."""

    def __init__(self, supervisor: Supervisor, report: ReportFile, lifetime: float, proc: str) -> None:
        """*lifetime*: seconds for which a confirmed report is valid."""
        self._supervisor = supervisor
        self._report = report
        self._lifetime = lifetime
        self._proc = proc
        self._memory = json.dumps({"proof": report.proof()}).encode()
        self._fresh = b""  # what the last probe left, if it left anything
        self._looker: Looker | None = None
        self._renew_at = 0.0
        self._clocks = clocks()

    def probe(self) -> bool:
        """Probe, and replace the report file. Whether looks can detect changes from now on."""
        self._end_looker()
        self._clocks = clocks()
        try:
            content = self._confirmed(self._probed())
            if content is None:
                return False
            verdict = self._report.put(content)
            self._renew_at = time.monotonic() + RENEWAL - LOOK / 2
            log("probed", verdict=verdict)
            return verdict != "unknown" and bool(self._fresh) and self._start_looker()
        except (ProbeFailed, NoReport) as failure:
            log("probe_failed", "error", reason=str(failure))
        except Exception as error:
            log("round_failed", "error", reason=f"{type(error).__name__}: {error}")
        return False

    def may_pass(self) -> bool:
        """True when the report has a failure that may pass by itself, without a change of any file."""
        return bool(fleeting_reasons(self._report.content()))

    def change(self, deadline: float) -> str:
        """The change since the last probe, or the reason that it is unknown, as soon as there is one.

        Empty at *deadline* (time.monotonic()), after a signal, and after the report was confirmed.
        """
        if self._looker is None:
            return "the looker"
        try:
            if time.monotonic() < self._renew_at:
                return self._looker.wait(self._supervisor, min(deadline, self._renew_at))
            if changed := self._looker.look(self._supervisor):
                return changed
        except NoAnswer as trouble:
            return f"no look: {trouble}"
        self._confirm()
        return ""

    def _confirm(self) -> None:
        self._renew_at = time.monotonic() + LOOK
        try:
            self._report.confirm(time.time(), self._lifetime)
            self._renew_at += RENEWAL - LOOK
        except (OSError, NoReport) as error:
            log("round_failed", "error", reason=f"{type(error).__name__}: {error}")

    def _confirmed(self, content: bytes | None) -> bytes | None:
        """*content*, or the report of a second probe where *content* has a new failure that may pass by itself."""
        new = fleeting_reasons(content or b"") - fleeting_reasons(self._report.content())
        if not new:
            return content
        log("looking_again", reason=", ".join(sorted(new)))
        deadline = time.monotonic() + PATIENCE
        while not self._supervisor.stop and time.monotonic() < deadline:
            self._supervisor.wait([], deadline)
        try:
            again = self._probed()
            if again is not None:  # None: told to end
                parse_report(again)
            return again
        except (ProbeFailed, NoReport, OSError) as failure:  # the first probe saw the failure: an older report did not
            log("probe_failed", "error", reason=str(failure))
            return content

    def _probed(self) -> bytes | None:
        """The output of a probe, None when it was stopped. Its memory is kept for the next probe."""
        self._fresh = b""
        try:
            memory = os.memfd_create("memory")
        except OSError:  # a kernel or a filter without it: no probe knows of another then
            return self._supervisor.probe(None)
        try:
            os.pwrite(memory, _OLD + self._memory, 0)
            content = self._supervisor.probe(memory)
            left = os.pread(memory, _MEMORY_LIMIT, 0)
            self._fresh = b"" if left.startswith(_OLD) else left
        finally:
            os.close(memory)
        self._memory = self._fresh or self._memory
        return content

    def _start_looker(self) -> bool:
        """Whether a looker is running that can look."""
        if self._looker and not self._looker.is_gone():
            log("not_watching", "warning", reason="the last look hangs, and cannot be killed")
            return False
        self._looker = Looker(self._fresh, self._proc, self._clocks)
        try:
            self._looker.look(self._supervisor)  # what it finds will be found again
        except NoAnswer as trouble:
            if not self._supervisor.stop:
                log("not_watching", "warning", reason=str(trouble))
            return False
        return True

    def _end_looker(self) -> None:
        if self._looker:
            self._looker.end()  # that it is gone is known later


def watch(rounds: Rounds, supervisor: Supervisor, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Probe until SIGTERM or SIGINT, at once on SIGHUP; *interval* in seconds, from probe to probe on a quiet node."""
    pace = Pace(interval, clock())
    while not supervisor.stop:
        supervisor.now = False  # a SIGHUP during the probe asks for another one: this one may have looked too early
        began = clock()
        watched = rounds.probe()
        pace.probed(began, clock(), watched=watched and not rounds.may_pass(), chance=_chance())
        _rest(rounds, supervisor, pace, watched, clock)


def _rest(rounds: Rounds, supervisor: Supervisor, pace: Pace, watched: bool, clock: Callable[[], float]) -> None:
    """Wait until the next probe is due. *watched*: until a look finds a change, and then until a probe may come."""
    while not (supervisor.stop or supervisor.now) and clock() < pace.due:
        if not watched:
            supervisor.wait([], pace.due)
        elif (changed := rounds.change(pace.due)) and not supervisor.stop:
            log("changed", what=changed)
            pace.hurry()
            watched = False


def _chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)
