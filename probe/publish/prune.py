"""Remove from Nodes everything that userns-probe published, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from probe.outputs.annotations import CONDITION, LABEL
from probe.publish.api.client import Api, connect
from probe.publish.api.errors import explain_failure, is_missing
from probe.publish.api.interface import UNREACHABLE, Access, Failure
from probe.publish.desired import parse_observed
from probe.publish.owners import OWN_ANNOTATIONS
from probe.publish.schedule import Backoff

ATTEMPTS = 5
"""Maximum attempts of a request while the server is unreachable or asks to wait."""

T = TypeVar("T")


class Pruned(Struct, frozen=True, kw_only=True):
    """Result for one Node."""

    node: str
    annotations: tuple[str, ...] = ()
    """Keys of removed annotations; the same holds for labels."""
    labels: tuple[str, ...] = ()
    condition: bool = False
    reason: str = ""
    """Reason of a removal that was not asked for by name, or why nothing was removed."""
    problem: str = ""
    """Reason why something is left; empty on success."""


def _passes(failure: Failure) -> bool:
    """True when a retry may succeed: the server is unreachable, has an error (5xx) or asks to wait (429)."""
    return failure.reason == UNREACHABLE or failure.status == 429 or failure.status >= 500


class Retries(Struct, frozen=True, kw_only=True):
    """Number of attempts of one request, and pauses between them."""

    attempts: int = ATTEMPTS
    base: float = 1.0
    limit: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def run(self, action: Callable[[], T], passes: Callable[[Failure], bool] = _passes) -> T:
        """Return value of *action*, repeated after temporary failures. *Errors*: Failure."""
        backoff = Backoff(self.base, self.limit, self.limit)
        while True:
            try:
                return action()
            except Failure as failure:
                if not passes(failure) or backoff.failures + 1 >= self.attempts:
                    raise
                self.sleep(backoff.pause(failure.retry_after))


def prune(access: Access, node_name: str | None, retries: Retries | None = None) -> Iterator[Pruned]:
    """Prune *node_name*, or all Nodes with published content (None); yields the result of each Node.

    *Errors*: Failure when there are no credentials, or the Nodes cannot be listed.
    """
    retries = retries or Retries()
    with connect(access) as api:
        for name in _names(api, retries) if node_name is None else (node_name,):
            yield _prune_node(api, name, retries, may_be_gone=node_name is None)


def render_pruned(pruned: Pruned) -> str:
    """One line for people."""
    removed = [
        *([f"{count} annotation{'s' if count > 1 else ''}"] if (count := len(pruned.annotations)) else []),
        *(f"label {label}" for label in pruned.labels),
        *([f"condition {CONDITION}"] if pruned.condition else []),
    ]
    reason = f" ({pruned.reason})" if pruned.reason else ""
    words = [f"removed {', '.join(removed)}{reason}"] if removed else []
    if pruned.problem:
        words.append(f"failed: {pruned.problem}")
    return f"{pruned.node}: {'; '.join(words) or f'nothing to remove{reason}'}"


def render_failure(failure: Failure, node: str = "") -> str:
    """Failure and its remediation in one line."""
    fields = explain_failure(failure, node)
    problem, message = fields.pop("problem"), fields.pop("message")
    details = [f"{name.replace('_', ' ')}: {value}" for name, value in fields.items() if name != "node"]
    return "; ".join([f"{problem}: {message}", *details])


def exit_code(results: Iterable[Pruned]) -> int:
    """0 when nothing of ours is left, 1 otherwise."""
    return int(any(result.problem for result in results))


def _names(api: Api, retries: Retries) -> list[str]:
    """Names of Nodes with published content; the list is read to its end before any change, since pages expire."""
    return retries.run(partial(_names_at_once, api, retries), lambda failure: failure.status == 410)


def _names_at_once(api: Api, retries: Retries) -> list[str]:
    names: list[str] = []
    token, more = "", True
    while more:
        nodes, token = retries.run(partial(api.list_page, token))
        names += [str(node["metadata"]["name"]) for node in nodes if any(_ours(node))]
        more = bool(token)
    return names


def _prune_node(api: Api, name: str, retries: Retries, *, may_be_gone: bool) -> Pruned:
    done = Pruned(node=name)
    try:
        annotations, labels, condition = _ours(retries.run(lambda: api.get_node(name)))
        if annotations or labels:
            retries.run(lambda: api.delete_keys(name, annotations=annotations, labels=labels))
            done = replace(done, annotations=annotations, labels=labels)
        if condition:
            retries.run(lambda: api.delete_condition(name, CONDITION))
            done = replace(done, condition=True)
    except Failure as failure:
        if not (may_be_gone and is_missing(failure)):
            return replace(done, problem=render_failure(failure, name))
    return done


def _ours(node: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Our annotations, labels and condition: by name, even if edited by others, or by our field manager."""
    observed, metadata = parse_observed(node), node.get("metadata") or {}
    annotations = {key for key in metadata.get("annotations") or {} if key in OWN_ANNOTATIONS} | set(
        observed.annotations
    )
    labels = {key for key in metadata.get("labels") or {} if key == LABEL} | set(observed.labels)
    return tuple(sorted(annotations)), tuple(sorted(labels)), observed.condition is not None
