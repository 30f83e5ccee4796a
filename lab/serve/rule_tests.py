"""Input for `promtool test rules`: the product's own series as time goes by, a minute at a step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from msgspec.structs import replace

from lab.serve.prometheus import promtool
from probe.outputs.metrics import families
from probe.outputs.publishing import Publishing
from probe.report import Report

Series = dict[str, list[float | None]]
"""Series by name and labels; a value for each minute, None while there is none."""
LIFE = 15
"""Minutes that a report lives."""


def node_series(
    name: str,
    minutes: int,
    report_at: Callable[[int], Report | None],
    *,
    pool: str = "a",
    publishing_at: Callable[[int], Publishing | None] = lambda _: None,
    scraped: Callable[[int], bool] = lambda _: True,
    instance: Callable[[int], str] = lambda _: "1",
) -> Series:
    """All that the exporter of a node serves, as *scraped*, under an address that a restart changes."""
    found: Series = {}
    for minute in range(minutes):
        if scraped(minute):
            report = report_at(minute)
            for family in families(report and _of(report, name, minute), publishing_at(minute), name):
                for sample in family.samples:
                    labels = {"node": name, "pool": pool, "job": "userns-probe"}
                    labels |= {"instance": f"{name}-{instance(minute)}", **sample.labels}
                    found.setdefault(_key(sample.name, labels), [None] * minutes)[minute] = sample.value
    return found


def plain(name: str, minutes: int, value: Callable[[int], float | None], **labels: str) -> Series:
    """One series of somebody else's."""
    return {_key(name, labels): [value(minute) for minute in range(minutes)]}


def check(folder: Path, rules: Path, series: Iterable[Series], firing: Mapping[int, Mapping[str, Any]]) -> None:
    """After each of these minutes exactly these alerts fire: name, with values of labels, of which each counts once."""
    inputs = [{"series": key, "values": _sequence(values)} for each in series for key, values in each.items()]
    tests = []
    for minute, expected in firing.items():
        samples = [
            {"labels": _key("", {"alertname": name, **labels}), "value": 1}
            for name, rows in expected.items()
            for labels in rows
        ]
        expression = 'count without (alertstate, severity) (ALERTS{alertstate="firing"})'
        tests.append({"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples})
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": tests}],
    }
    (folder / "test.yaml").write_text(yaml.dump(document, Dumper=yaml.CSafeDumper))
    promtool("test", "rules", folder / "test.yaml")


def _of(report: Report, name: str, minute: int) -> Report:
    """*report* as if it were of this node, probed now; promtool's clock begins with 1970."""
    times = [datetime.fromtimestamp(60 * at, UTC).isoformat() for at in (minute, minute + LIFE)]
    if report.reason == "ReportStale":
        times = [report.probed_at, report.expires_at]
    return replace(report, node=replace(report.node, name=name), probed_at=times[0], expires_at=times[1])


def _key(name: str, labels: Mapping[str, str]) -> str:
    return _joined(name, tuple(labels.items()))


@cache  # the same series come again each minute
def _joined(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return f"{name}{{{','.join(f'{key}={json.dumps(text)}' for key, text in sorted(labels) if text)}}}"


def _sequence(values: list[float | None]) -> str:
    """In promtool's notation: `1x3` is 1 four times, `_x3` nothing three times."""
    found: list[tuple[float | None, int]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1] = value, found[-1][1] + 1
        else:
            found.append((value, 1))
    return " ".join(f"_x{count}" if value is None else f"{value:.0f}+0x{count - 1}" for value, count in found)
