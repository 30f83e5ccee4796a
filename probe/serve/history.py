"""The history of the verdict in a process that serves reports: each report follows the one before, and the Node."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from probe.outputs.memory import Memory, continued, memory_of, parse_memory, render_memory
from probe.outputs.staleness import CONFIRMATION, confirmed, is_confirmed
from probe.report import Report
from probe.watch.log import log


class History:
    """The changes of the verdict up to the last report, shared by all threads of `serve`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memory = Memory()
        self._report: Report | None = None
        self._continued: Report | None = None
        self._answered: Report | None = None
        """The last report with an answer of a probe, continued."""
        self._recalled = False
        self._settled = False
        """Whether the last report left the memory as it was, as the same one, confirmed, will do, too."""
        self.turns = 0
        """Grows when `continued` may return another report for the same one."""

    def continued(self, report: Report) -> Report:
        """*report* with the changes that led to it; the same object for the same object."""
        with self._lock:
            if self._continued is not None and report is self._report:
                return self._continued
            if self._continued is not None and self._settled and is_confirmed(self._report, report):
                times = {name: getattr(report, name) for name in CONFIRMATION}
                self._report, self._continued = report, confirmed(self._continued, **times)
                return self._continued
            before = self._memory
            self._report, self._continued = report, continued(before, report)
            self._follow(self._continued)
            self._settled = self._memory == before
            return self._continued

    def recall(self, annotations: Mapping[str, str], foreign: Collection[str]) -> None:
        """Take up, once, what the Node remembers of earlier agents; *foreign*: written by another field manager."""
        with self._lock:
            if self._recalled:
                return
            self._recalled, self._report = True, None
            self.turns += 1
            self._memory = parse_memory(annotations, foreign)
            if self._answered is not None:
                self._follow(continued(self._memory, self._answered))
        if self._memory.problem:
            log("history_ignored", "warning", problem=self._memory.problem)

    def _follow(self, report: Report) -> None:
        after = memory_of(report, self._memory)
        if after is not self._memory:
            self._memory, self._answered = after, report

    def annotations(self) -> dict[str, str]:
        """The annotations by which the next agent knows this history."""
        with self._lock:
            return render_memory(self._memory)
