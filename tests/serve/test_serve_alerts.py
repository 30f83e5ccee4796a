"""deploy/alerts.yaml: each alert fires for the nodes that it is for, and for no others."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lab import reports
from lab.readme import README
from lab.serve.prometheus import AGES, of_this_boot, promtool, serving_each
from probe.outputs.metrics import Publishing, ReportCollector
from probe.report import Report

pytestmark = pytest.mark.real

ALERTS = README.parent / "deploy" / "alerts.yaml"
Expectation = dict[str, list[dict[str, str]]]
HOUR = 3600.0


def test_the_alerts(tmp_path: Path) -> None:
    """With the series that are served, as they go on for hours, each alert finds the nodes that it is for."""
    assert "SUCCESS: 5 rules found" in promtool("check", "rules", ALERTS)
    now = time.time()
    with serving_each(tmp_path) as servers:
        series = [
            line
            for name, server in servers.items()
            for line in series_of(server.get("/metrics").body, name, now, goes_on=name not in AGES)
        ]
    late = Publishing(results={}, last_success=now - 11 * HOUR)
    series += series_of(rendered(of_this_boot(reports.make_report()), late), "cut-off", now, goes_on=False)[-1:]
    unready = [{"instance": "old-kernel", "verdict": "not-ready"}]
    stopped = [{"instance": "stopped"}]
    unknown = [{"instance": name, "verdict": "unknown"} for name in ("restricted", "stopped")]
    moments: dict[str, Expectation] = {
        "3m": {},
        "10m": {"UserNamespacesProbeStopped": stopped},
        "20m": {"UserNamespacesProbeStopped": stopped, "UserNamespacesNotReady": unready},
        "2h": {
            "UserNamespacesProbeStopped": stopped,
            "UserNamespacesNotReady": unready,
            "UserNamespacesUnknown": unknown,
            "UserNamespacesNotPublished": [{"instance": "cut-off"}],
        },
    }
    expect_alerts(tmp_path, series, moments)
    expect_alerts(tmp_path, [], {"10m": {}, "20m": {"UserNamespacesNobodyProbes": [{}]}})


def test_an_alert_that_is_not_expected_is_seen(tmp_path: Path) -> None:
    """The control: promtool fails when something else fires."""
    with pytest.raises(AssertionError, match="UserNamespacesNobodyProbes"):
        expect_alerts(tmp_path, [], {"20m": {}})


def series_of(metrics: str, name: str, now: float, *, goes_on: bool) -> list[dict[str, str]]:
    """What is served as input for promtool, whose clock begins at 0; while probing *goes_on*, times go with it."""
    found = []
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels = ",".join(f"{key}={json.dumps(text)}" for key, text in {"instance": name, **sample.labels}.items())
            is_time = sample.name.endswith("_timestamp_seconds")
            value = sample.value - now if is_time else sample.value
            step = 60 if is_time and goes_on else 0
            found.append({"series": f"{sample.name}{{{labels}}}", "values": f"{value:.0f}+{step}x300"})
    return found


def rendered(report: Report, publishing: Publishing) -> str:
    """The metrics of a `serve` that published."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: (report, publishing)))
    return generate_latest(registry).decode()


def expect_alerts(folder: Path, series: list[dict[str, str]], moments: dict[str, Expectation]) -> None:
    """That after each time exactly these alerts fire."""
    rules = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    tests = []
    for moment, expected in moments.items():
        for name, rule in rules.items():
            alerts = []
            for labels in expected.get(name, []):
                texts = {
                    key: text.replace("{{ $labels.instance }}", labels.get("instance", ""))
                    for key, text in rule["annotations"].items()
                }
                alerts.append({"exp_labels": rule["labels"] | labels, "exp_annotations": texts})
            tests.append({"eval_time": moment, "alertname": name, "exp_alerts": alerts})
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", folder / "test.yaml")
