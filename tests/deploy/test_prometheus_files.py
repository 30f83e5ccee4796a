"""deploy/prometheus: the scrape configurations find the exporters, and the rules lead to pages that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.deploy.manifests import CHECKOUT, MANIFEST, by_kind, container_of, documents, pod_of
from lab.deploy.monitoring import PROMETHEUS, RULES, prometheus_rule
from lab.serve.prometheus import Prometheus, promtool, running
from lab.serve.serving import put_report, report_of_now, serving, wait_for

SCRAPE = yaml.safe_load((PROMETHEUS / "scrape.yaml").read_text())["scrape_configs"][0]
(MONITOR,) = documents((PROMETHEUS / "podmonitor.yaml").read_text())
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]
OBJECTS = documents(MANIFEST.read_text())

# What Prometheus knows of a Pod and its Node, as kubernetes_sd_configs tells it.
META = {
    "__meta_kubernetes_pod_label_app_kubernetes_io_name": "userns-probe",
    "__meta_kubernetes_pod_container_port_name": "metrics",
    "__meta_kubernetes_pod_node_name": "worker-7",
}
POOLS = {
    "none": ({}, None),
    "gke": ({"cloud_google_com_gke_nodepool": "pool-1"}, "pool-1"),
    "eks": ({"eks_amazonaws_com_nodegroup": "group-1"}, "group-1"),
    "aks": ({"kubernetes_azure_com_agentpool": "agents", "karpenter_sh_nodepool": ""}, "agents"),
    "karpenter": ({"karpenter_sh_nodepool": "spot", "eks_amazonaws_com_nodegroup": ""}, "spot"),
}


def test_the_rule_object_has_the_same_rules() -> None:
    """scripts/update-monitoring wrote it after the last change."""
    text = (PROMETHEUS / "prometheusrule.yaml").read_text()
    assert text == prometheus_rule()
    assert yaml.safe_load(text)["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_tells_what_to_do(alert: dict[str, Any]) -> None:
    """A summary, a description, and a section of a page of its own."""
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.*)$", (CHECKOUT / page).read_text(), re.MULTILINE)
    assert alert["alert"] in headings
    assert anchor == alert["alert"].lower()


def test_each_section_is_of_an_alert() -> None:
    """The page has no alert that is gone."""
    headings = re.findall(r"^## (User.*)$", (CHECKOUT / "docs/alerts.md").read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in ALERTS]


def test_both_configurations_are_the_same() -> None:
    """The operator's words for the same rules, but for the two that it makes itself of selector, port and job."""

    def snake(rule: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in rule.items()}

    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    job, *relabelings = map(snake, endpoint["relabelings"])
    keep, *relabel_configs = SCRAPE["relabel_configs"]
    assert relabelings == relabel_configs
    assert list(map(snake, endpoint["metricRelabelings"])) == SCRAPE["metric_relabel_configs"]
    assert job == {"target_label": "job", "replacement": SCRAPE["job_name"]}
    assert keep["regex"] == f"{MONITOR['spec']['selector']['matchLabels']['app.kubernetes.io/name']};{endpoint['port']}"
    assert MONITOR["spec"]["attachMetadata"] == SCRAPE["kubernetes_sd_configs"][0]["attach_metadata"] == {"node": True}


def test_they_find_the_pods_of_the_manifest() -> None:
    """Namespace, label and port are those of the DaemonSet."""
    daemonset = by_kind(OBJECTS)["DaemonSet"]
    labels = daemonset["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= MONITOR["spec"]["selector"]["matchLabels"].items()
    assert daemonset["metadata"]["namespace"] == MONITOR["metadata"]["namespace"]
    assert SCRAPE["kubernetes_sd_configs"][0]["namespaces"]["names"] == [MONITOR["metadata"]["namespace"]]
    (port,) = container_of(pod_of(OBJECTS), "exporter")["ports"]
    assert port["name"] == MONITOR["spec"]["podMetricsEndpoints"][0]["port"]


@pytest.mark.real
@pytest.mark.program
def test_a_real_prometheus_relabels(tmp_path: Path) -> None:
    """Each target gets its node and pool, whichever label its Node has; other Pods and ports are not scraped."""
    put_report(tmp_path / "report.json", report_of_now(name="worker-7"))
    with serving(tmp_path / "report.json") as server:
        statics = []
        for name, (labels, _) in POOLS.items():
            meta = META | {f"__meta_kubernetes_node_label_{key}": value for key, value in labels.items()}
            statics.append({"targets": [f"127.0.0.1:{server.port}"], "labels": meta | {"case": name}})
        for key, value in (("pod_label_app_kubernetes_io_name", "other"), ("pod_container_port_name", "web")):
            meta = META | {f"__meta_kubernetes_{key}": value, "case": value}
            statics.append({"targets": [f"127.0.0.1:{server.port}"], "labels": meta})
        scrape = {key: value for key, value in SCRAPE.items() if key != "kubernetes_sd_configs"}
        scrape |= {"static_configs": statics, "scrape_interval": "500ms", "scrape_timeout": "400ms"}
        (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
        promtool("check", "config", tmp_path / "prometheus.yml")
        with running(tmp_path) as scraper:
            wait_for(lambda: len(_found(scraper)) == len(POOLS))
            assert _found(scraper) == {
                (case, "worker-7", *([pool] if pool else [])) for case, (_, pool) in POOLS.items()
            }


def _found(scraper: Prometheus) -> set[tuple[str, ...]]:
    """Values of case, node and pool; of a label more, too."""
    return set(scraper.query("userns_probe_node_info"))
