"""Prometheus' two text formats, with those parts of prometheus_client that know neither HTTP nor TLS."""

from __future__ import annotations

from probe.lean_import import submodules_of

with submodules_of("prometheus_client"):
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString

__all__ = (
    "OPENMETRICS",
    "TEXT",
    "Collector",
    "CounterMetricFamily",
    "GaugeMetricFamily",
    "Metric",
    "generate_openmetrics",
    "generate_text",
)

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of `generate_text`; that of `generate_openmetrics` is OPENMETRICS."""


def generate_text(collector: Collector) -> bytes:
    """The gauges and counters of *collector*, byte for byte as `prometheus_client.generate_latest` writes them.

    That function is in the module of prometheus_client's HTTP server and push client.
    """
    lines = []
    for family in collector.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines += [f"# HELP {name} {_escaped(family.documentation)}", f"# TYPE {name} {family.type}"]
        for sample in family.samples:
            labels = ",".join(f'{key}="{_quoted(value)}"' for key, value in sorted(sample.labels.items()))
            value = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
            lines.append(f"{sample.name}{f'{{{labels}}}' if labels else ''} {value}")
    return "".join(f"{line}\n" for line in lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
