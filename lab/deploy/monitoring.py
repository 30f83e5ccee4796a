"""deploy/prometheus/ and deploy/grafana/: which files are written from which others."""

from __future__ import annotations

from pathlib import Path

from lab.deploy.manifests import CHECKOUT

PROMETHEUS = CHECKOUT / "deploy/prometheus"
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


def written() -> dict[Path, str]:
    """Content of each file that scripts/update-monitoring writes."""
    from lab.deploy.dashboard import DASHBOARD, dashboard

    return {PROMETHEUS / "prometheusrule.yaml": prometheus_rule(), DASHBOARD: dashboard()}
