"""Writes what is wanted to the Node, each half of it in one request, and takes back what is wanted no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from probe.outputs.annotations import CONDITION
from probe.publish.api.client import Api, Failure
from probe.publish.api.errors import conflicting_managers, explain_failure
from probe.publish.desired import Standing, Wanted, parse_standing, render_condition, render_metadata

log = structlog.get_logger()


def write_metadata(api: Api, node: str, wanted: Wanted, standing: Standing, now: float) -> Standing:
    """What stands on the Node after its annotations and label were written. *now*: since the epoch. *Errors*: Failure.

    None at all are taken back.
    """
    return _applied(api.apply_metadata, node, render_metadata(wanted, now))


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
        log.warning("publish_conflict", **explain_failure(failure, node))
        return parse_standing(apply(node, content, force=True))
