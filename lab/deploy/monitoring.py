"""deploy/prometheus/, deploy/grafana/ and deploy/chart/files/: which files are written from which others."""

from __future__ import annotations

from pathlib import Path

from lab.deploy.manifests import CHECKOUT

PROMETHEUS = CHECKOUT / "deploy/prometheus"
CHART_FILES = CHECKOUT / "deploy/chart/files"
RULES = PROMETHEUS / "rules.yaml"
_HEAD = """\
# The rules of rules.yaml for the Prometheus operator, written by scripts/update-monitoring. Your Prometheus may select
# PrometheusRules by labels: add those here.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: userns-probe
  namespace: userns-probe
  labels:
    app.kubernetes.io/name: userns-probe
    app.kubernetes.io/part-of: userns-probe
spec:
"""


def prometheus_rule() -> str:
    """A PrometheusRule with the groups of rules.yaml."""
    _, groups, rules = RULES.read_text().partition("groups:\n")
    return _HEAD + "".join(f"  {line}" if line.strip() else line for line in (groups + rules).splitlines(keepends=True))


def chart_files() -> dict[Path, str]:
    """What the chart can add, which Helm reads from the chart alone: copies of files of deploy/."""
    files = {f"stale-{name}": CHECKOUT / f"deploy/stale/{name}.yaml" for name in ("cronjob", "rights")}
    files |= {f"policy-{file.stem}": file for file in sorted((CHECKOUT / "deploy/policies").glob("*.yaml"))}
    made = {name: file.read_text() for name, file in files.items()}
    made |= {"podmonitor": (PROMETHEUS / "podmonitor.yaml").read_text(), "prometheusrule": prometheus_rule()}
    return {CHART_FILES / f"{name}.yaml": text for name, text in made.items()}


def written() -> dict[Path, str]:
    """Content of each file that scripts/update-monitoring writes."""
    from lab.deploy.dashboard import DASHBOARD, dashboard

    return {PROMETHEUS / "prometheusrule.yaml": prometheus_rule(), DASHBOARD: dashboard(), **chart_files()}
