"""Writes what is wanted to the Node, each half of it in one request, and takes back what is wanted no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probe.outputs.annotations import CONDITION
from probe.publish.api.client import Api, Failure
from probe.publish.api.errors import conflicting_managers, explain_failure
from probe.publish.desired import Standing, Wanted, parse_standing, render_condition, render_metadata
from probe.watch.log import log


def write_metadata(api: Api, node: str, wanted: Wanted, standing: Standing, now: float) -> Standing:
    """Write annotations and label; returns what then stands on the Node. *now*: since the epoch. *Errors*: Failure.

    Keys of ours that are wanted no more are removed by a JSON merge patch first: an apply that shrinks took foreign
    keys along on a Node whose managedFields had been lost (seen with 1.36.2).
    """
    content = render_metadata(wanted, now)
    retired = [set(standing_keys) - set(content.get(kind, ())) for kind, standing_keys in _owned(standing)]
    if any(retired):
        standing = parse_standing(api.delete_keys(node, annotations=retired[0], labels=retired[1]))
    return _applied(api.apply_metadata, node, content) if content else standing


def _owned(standing: Standing) -> tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]:
    return ("annotations", standing.annotations), ("labels", standing.labels)


def write_status(api: Api, node: str, wanted: Wanted, standing: Standing, now: float) -> Standing:
    """The same after its condition was written, or taken back."""
    if wanted.condition is None:
        return parse_standing(api.delete_condition(node, CONDITION))
    return _applied(api.apply_condition, node, render_condition(wanted.condition, standing, now))


def _applied(apply: Callable[..., dict[str, Any]], node: str, content: dict[str, Any]) -> Standing:
    """Apply what is ours alone, and if somebody else took it over, say who, and take it back."""
    try:
        return parse_standing(apply(node, content, force=False))
    except Failure as failure:
        if failure.status != 409 or not conflicting_managers(failure):
            raise
        log("publish_conflict", "warning", **explain_failure(failure, node))
        return parse_standing(apply(node, content, force=True))
