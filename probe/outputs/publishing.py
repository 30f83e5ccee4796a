"""Metrics of publishing to the Node, which only the agent has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from probe.outputs.exposition import PREFIX, CounterMetricFamily, Metric, some

PublishResult = Literal["success", "error", "skipped"]
PUBLISH_RESULTS: tuple[PublishResult, ...] = ("success", "error", "skipped")


class Publishing(Struct, frozen=True, kw_only=True):
    """Results of writing to the Node so far."""

    results: Mapping[PublishResult, int]
    """Writes that worked and failed, and rounds without one because nothing had changed."""
    last_success: float | None
    """Seconds since the epoch; None before the first."""


def publishing_families(publishing: Publishing) -> Iterator[Metric]:
    """Rounds by their results, and the time of the last success, if there was one."""
    counter = CounterMetricFamily(
        f"{PREFIX}publish",
        "Rounds of publishing to the Node: success (written), error (refused, or the API server did not answer), "
        "skipped (nothing to change).",
        labels=["result"],
    )
    for result in PUBLISH_RESULTS:
        counter.add_metric([result], publishing.results.get(result, 0))
    yield counter
    last = publishing.last_success
    meaning = "Last successful write of the Node, in Unix time."
    yield from some("last_publish_timestamp_seconds", meaning, [], {} if last is None else {(): last})
