"""Families of metrics in Prometheus' two text formats, with the parts of prometheus_client without HTTP and TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from probe.lean_import import submodules_of
from probe.outputs.labels import shown

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

PREFIX = "userns_probe_"
"""Of the name of each metric."""
_LABEL_BYTES = 64
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


def info(what: str, meaning: str, **labels: str) -> Iterator[Metric]:
    """An info metric of value 1; none when none of its labels is known."""
    samples: dict[tuple[str, ...], float] = {tuple(labels.values()): 1} if any(labels.values()) else {}
    yield from some(f"{what}_info", f"Always 1; {meaning}.", list(labels), samples)


def some(name: str, meaning: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Iterator[Metric]:
    """The family of `gauge`; none without a sample."""
    if samples:
        yield gauge(name, meaning, labels, samples)


def gauge(name: str, meaning: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of gauges; *samples*: values by the values of *labels*, of which unsafe characters are escaped."""
    family = GaugeMetricFamily(f"{PREFIX}{name}", meaning, labels=labels)
    unique = {tuple(shown(label, _LABEL_BYTES) for label in key): value for key, value in samples.items()}
    for key, value in unique.items():
        family.add_metric(key, float(max(-(1 << 63), min(value, 1 << 63))))
    return family
