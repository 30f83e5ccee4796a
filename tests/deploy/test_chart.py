"""The Helm chart, through Helm: by default it is deploy/daemonset.yaml, and each value changes what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lab.deploy.helm import helm
from lab.deploy.manifests import CHECKOUT, MANIFEST, container_of, documents, pod_of
from lab.prerequisites import require
from lab.real.debian import Unavailable
from probe import __version__

pytestmark = [pytest.mark.real, pytest.mark.program]

CHART = CHECKOUT / "deploy/chart"
DIGEST = "sha256:" + "0" * 64
Objects = list[dict[str, Any]]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        program = helm()
    except Unavailable as problem:
        require(False, str(problem))
        raise
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def template(*values: str) -> Objects:
    """What the chart makes of `name=value`s, whose values are JSON."""
    done = run("template", "any", str(CHART), *(f"--set-json={value}" for value in values))
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def ordered(objects: Objects) -> Objects:
    """By kind and name, and containers by name: kustomize puts a patched one first."""
    for each in objects:
        if each["kind"] == "DaemonSet":
            each["spec"]["template"]["spec"]["containers"].sort(key=lambda container: container["name"])
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))


def test_helm_finds_nothing_to_complain_about() -> None:
    """Warnings count."""
    done = run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_by_default_it_is_the_manifest() -> None:
    """Object by object, so neither can be forgotten in a change."""
    assert ordered(template()) == ordered(documents(MANIFEST.read_text()))


def test_publishing_all_is_the_component_signals(rendered: Callable[..., Objects]) -> None:
    """With the rights that each part needs."""
    every = template('publish=["annotations","label","condition","events"]')
    assert ordered(every) == ordered(rendered("signals"))


def added(*values: str) -> Objects:
    """What these values add."""
    without = template()
    return [each for each in template(*values) if each not in without]


def test_what_it_can_add_are_the_files_of_deploy() -> None:
    """The CronJob against stale labels, monitoring and each policy; none of them unless it is asked for."""
    asked = {
        "stale=true": ["stale/rights", "stale/cronjob"],
        'prometheus={"podMonitor":true}': ["prometheus/podmonitor"],
        'prometheus={"rules":true}': ["prometheus/prometheusrule"],
    } | {f'policies=["{file.stem}"]': [f"policies/{file.stem}"] for file in (CHECKOUT / "deploy/policies").iterdir()}
    for value, files in asked.items():
        wanted = [each for file in files for each in documents((CHECKOUT / f"deploy/{file}.yaml").read_text())]
        assert ordered(added(value)) == ordered(wanted), value


def test_what_it_adds_is_where_the_values_say() -> None:
    """Namespace, image and labels reach each of them; nothing names the default namespace or image."""
    made = added(
        "stale=true",
        'policies=["select","deny"]',
        'namespace={"name":"other"}',
        'image={"repository":"r/x","tag":"1","pullSecrets":[{"name":"s"}]}',
        'prometheus={"podMonitor":true,"rules":true,"labels":{"release":"stack"}}',
    )
    kinds = {each["kind"]: each for each in made}
    pod = kinds["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert (pod["containers"][0]["image"], pod["imagePullSecrets"]) == ("r/x:1", [{"name": "s"}])
    for kind in ("PodMonitor", "PrometheusRule"):
        assert kinds[kind]["metadata"]["labels"]["release"] == "stack"
        assert kinds[kind]["metadata"]["labels"]["app.kubernetes.io/name"] == "userns-probe"
    assert {each["metadata"].get("namespace") for each in made} <= {None, "other"}
    text = json.dumps(made)
    assert "system:serviceaccount:other:userns-probe-prune" in text
    assert '"values": ["kube-system", "other"]' in text
    assert "serviceaccount:userns-probe:" not in text


def test_runbooks_are_where_the_values_say() -> None:
    """A pager opens an address; without one it is the path in the repository."""
    base = "https://git.example/o/userns-probe/blob/v1/"
    for value, beginning in (("", "docs/alerts.md#"), (base, f"{base}docs/alerts.md#")):
        (rules,) = added(f'prometheus={{"rules":true,"runbookBase":"{value}"}}')
        alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
        assert all(alert["annotations"]["runbook_url"].startswith(beginning) for alert in alerts)


@pytest.mark.parametrize("version", ["1.30", "1.36"])
def test_whatever_is_set_kubernetes_knows_it(version: str) -> None:
    """Every value at once, against Kubernetes' own types."""
    made = template(
        'image={"repository":"r/x","digest":"sha256:%s","pullPolicy":"Always","pullSecrets":[{"name":"s"}]}'
        % ("0" * 64),
        'namespace={"name":"other","create":false}',
        'watch={"interval":"1h","volumePaths":true,"tryPod":true}',
        'priorityClassName="system-node-critical"',
        'nodeSelector={"pool":"a"}',
        'tolerations=[{"key":"k","operator":"Exists"}]',
        'podAnnotations={"a/b":"c"}',
        "admissionPolicy=false",
        'publish=["label","events"]',
    )
    for each in made:
        kubernetes_validate.validate(each, version, strict=True)
    assert {each["kind"] for each in made} == {
        "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet", "Role", "RoleBinding",
    }  # fmt: skip
    assert {each["metadata"].get("namespace") for each in made} == {None, "other", "default"}
    pod = pod_of([each for each in made if each["kind"] == "DaemonSet"])
    watch, exporter = container_of(pod, "probe"), container_of(pod, "exporter")
    assert watch["image"] == exporter["image"] == f"r/x@{DIGEST}"
    assert watch["args"][2:] == ["--interval=1h", "--volume-paths", "--try-pod"]
    assert exporter["args"][-1] == "--publish=label,events"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "a"}
    assert (pod["priorityClassName"], pod["imagePullSecrets"]) == ("system-node-critical", [{"name": "s"}])


@pytest.mark.parametrize(
    "value",
    [
        'publish=["lable"]',
        'watch={"interval":"soon"}',
        'image={"repository":""}',
        'image={"repository":"x","digest":"sha256:1"}',
        'images={"repository":"x"}',
        'namespace={"name":"Not A Name"}',
        'policies=["denny"]',
        'prometheus={"podmonitor":true}',
        'prometheus={"runbookBase":"git.example"}',
        'policies=["select","select-kyverno"]',
        'resources={"probe":{"limits":{"memory":"lots"}}}',
        'resources={"probe":{"limit":{"memory":"1Gi"}}}',
        'tolerations=[{"operator":"Maybe"}]',
    ],
)
def test_a_wrong_value_is_refused(value: str) -> None:
    """By the schema, before anything reaches a cluster; a typo is no silent default."""
    done = run("template", "any", str(CHART), f"--set-json={value}")
    assert done.returncode != 0
    assert value.partition("=")[0] in done.stderr


def test_it_is_of_this_version_and_has_no_hooks() -> None:
    """GitOps tools render it without running anything."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert "helm.sh/hook" not in "".join(file.read_text() for file in CHART.rglob("*.yaml"))
    assert not (CHART / "crds").exists()
    json.loads((CHART / "values.schema.json").read_text())
