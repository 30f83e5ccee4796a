"""Server-side apply of the desired state: one request each for metadata and status, and removal of retired keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from probe.outputs.annotations import CONDITION
from probe.publish.api.errors import conflicting_managers, explain_failure
from probe.publish.api.interface import Failure, NodeApi
from probe.publish.desired import Desired, Observed, in_sync, parse_observed, render_condition, render_metadata
from probe.watch.log import log


class Half(NamedTuple):
    """Metadata or status of the Node, each of which takes a request of its own."""

    name: Literal["metadata", "status"]
    write: Callable[[NodeApi, str, Desired, Observed, float], Observed]
    in_sync: bool
    """True when it is as desired, but for the time of the last write."""
    is_retracted: bool
    """True when nothing of it is desired."""

    def is_due(self, *, refresh: bool, left_behind: bool) -> bool:
        """True when it has to be written; *left_behind*: it may not be removed, which each *refresh* tries again."""
        if self.in_sync and (self.is_retracted or not refresh):
            return False
        return refresh or not left_behind


def halves(desired: Desired, observed: Observed) -> tuple[Half, Half]:
    """Metadata and status, with what is left to do about them."""
    metadata, status = in_sync(desired, observed)
    return (
        Half("metadata", write_metadata, metadata, not (desired.annotations or desired.labels)),
        Half("status", write_status, status, desired.condition is None),
    )


def write_metadata(api: NodeApi, node: str, desired: Desired, observed: Observed, now: float) -> Observed:
    """Write annotations and label; returns the new observed state. *now*: since the epoch. *Errors*: Failure.

    A JSON merge patch removes our retired keys first: on a Node that had lost its managedFields, an apply with fewer
    keys removed foreign keys too (seen with 1.36.2).
    """
    content = render_metadata(desired, now)
    retired = [set(observed_keys) - set(content.get(kind, ())) for kind, observed_keys in _owned(observed)]
    if any(retired):
        observed = parse_observed(api.delete_keys(node, annotations=retired[0], labels=retired[1]))
    return _applied(api.apply_metadata, node, content) if content else observed


def _owned(observed: Observed) -> tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]:
    return ("annotations", observed.annotations), ("labels", observed.labels)


def write_status(api: NodeApi, node: str, desired: Desired, observed: Observed, now: float) -> Observed:
    """Write the condition, or remove it if none is desired; returns the new observed state. *Errors*: Failure."""
    if desired.condition is None:
        return parse_observed(api.delete_condition(node, CONDITION))
    return _applied(api.apply_condition, node, render_condition(desired.condition, observed, now))


def _applied(apply: Callable[..., dict[str, Any]], node: str, content: dict[str, Any]) -> Observed:
    """Apply *content*; on a conflict (409) log the field manager that took it over, then apply with force."""
    try:
        return parse_observed(apply(node, content, force=False))
    except Failure as failure:
        if failure.status != 409 or not conflicting_managers(failure):
            raise
        log("publish_conflict", "warning", **explain_failure(failure, node))
        return parse_observed(apply(node, content, force=True))
