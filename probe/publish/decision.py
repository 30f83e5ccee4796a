"""The decision what the Node has to say, and from when on."""

from __future__ import annotations

from probe.outputs.staleness import is_confirmed
from probe.publish.desired import Desired, Observed, absent_report, desired_of, labelled
from probe.publish.parts import Part
from probe.publish.schedule import Debounce
from probe.report import Report
from probe.verdict import Verdict


class Decision:
    """The desired state of the Node, from the report, the observed state and what this boot knew before."""

    def __init__(self, node: str, boot_id: str, parts: frozenset[Part], debounce: Debounce, renew_at: float) -> None:
        """*renew_at*: the turn of this node after a boot."""
        self._node, self._boot_id, self._parts = node, boot_id, parts
        self._debounce, self._renew_at = debounce, renew_at
        self._known: Verdict = "unknown"
        """The last verdict of this boot that was not unknown: the label fails static."""
        self._rendered: tuple[Report, Verdict, Desired] | None = None

    def desired(self, report: Report | None, observed: Observed, now: float, *, written: bool) -> Desired | None:
        """Desired state at *now*; None while a second probe must confirm it, or until the turn of this node.

        *written*: whether this process has written the observed state.
        """
        said = self.effective(report)
        if said.verdict != "unknown":
            self._known = said.verdict
        elif self._known == "unknown":
            self._known = labelled(observed, self._boot_id)
        known = observed.verdict in ("ready", "not-ready")
        of_this_boot = observed.boot_id == self._boot_id or (not observed.boot_id and written)
        if not self._debounce.lets_pass(report, known_before=known and of_this_boot, now=now):
            return None
        of_another_boot = observed.boot_id not in ("", self._boot_id)
        if of_another_boot and said.verdict == observed.verdict and now < self._renew_at:
            return None
        last = self._rendered  # to confirm a report changes nothing on the Node
        if last is None or last[1] != self._known or not is_confirmed(last[0], said):
            last = self._rendered = (said, self._known, desired_of(said, self._parts, self._known))
        return last[2]

    def effective(self, report: Report | None) -> Report:
        """*report*, or the one that is published while there is none."""
        return absent_report(self._node, self._boot_id) if report is None else report
