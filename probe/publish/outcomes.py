"""Outcomes of the publisher's steps: counted for the metrics, and failures logged once and paused after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from probe.outputs.publishing import PUBLISH_RESULTS, Publishing, PublishResult
from probe.publish.api.errors import explain_failure
from probe.publish.api.interface import Failure
from probe.publish.schedule import Backoff, Pace
from probe.report import Report
from probe.verdict import Verdict
from probe.watch.log import log


class Receiver(Protocol):
    """Receiver of the publishing state."""

    publishing: Publishing | None


class Outcomes:
    """All outcomes so far."""

    def __init__(self, receiver: Receiver, node: str, pace: Pace) -> None:
        self._receiver, self._node = receiver, node
        self._backoff = Backoff(pace.backoff, pace.backoff_limit, pace.retry_after_limit)
        self._counted = ""
        self._results: dict[PublishResult, int] = dict.fromkeys(PUBLISH_RESULTS, 0)
        self._last_success: float | None = None
        self._complaints: list[dict[str, object]] = []

    def found(self, written: float | None) -> None:
        """Take the time found on the Node as that of the last success, unless this process has had one."""
        if self._last_success is None:
            self._last_success = written

    def succeeded(self, verdict: Verdict, written: float | None) -> None:
        """Note that the Node is as desired; *written*: when it was written, None when it was so already."""
        self.recovered()
        if written is not None:
            self._last_success = written
            log("published", node=self._node, verdict=verdict)
        self._count("skipped" if written is None else "success")

    def unchanged(self, report: Report | None) -> None:
        """Note that *report* changes nothing on the Node; each probe counts once."""
        if report is not None and report.probed_at != self._counted:
            self._count("skipped")
            self._counted = report.probed_at

    def recovered(self) -> None:
        """Note that the server answers, and log it after failures."""
        if self._backoff.failures:
            log("publish_recovered", failures=self._backoff.failures)
        self._backoff.reset()
        self._complaints = []

    def failed(self, failures: Sequence[Failure]) -> float:
        """Log *failures* once, not at each retry. Returns the seconds to wait."""
        pause = self._backoff.pause(max((failure.retry_after or 0.0 for failure in failures), default=None))
        complaints = [explain_failure(failure, self._node) for failure in failures]
        for complaint in complaints if complaints != self._complaints else ():
            log("publish_failed", "error", **complaint, retry_in_seconds=round(pause, 1))
        self._complaints = complaints
        self._count("error")
        return pause

    def tell(self) -> None:
        """Give the state to the receiver."""
        self._receiver.publishing = Publishing(results=dict(self._results), last_success=self._last_success)

    def _count(self, result: PublishResult) -> None:
        self._results[result] += 1
        self.tell()
