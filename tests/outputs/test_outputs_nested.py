"""Containers inside a Pod, in every output: text, page, annotation, metric, explanation, manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import UsageError
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import factory
from lab.reports import REPORTS, make_report
from probe.checks.nested.catalog import CHECKS, judge_nested
from probe.cli import explain as verb
from probe.cli.verbs import cli
from probe.nested import NESTED_LEVELS, Base, Nested
from probe.outputs.annotations import node_annotations
from probe.outputs.documents import render_json
from probe.outputs.explain_nested import render_nested_catalog, render_nested_check
from probe.outputs.manifest import render_manifest
from probe.outputs.metrics import families
from probe.outputs.nested import nested_rows
from probe.outputs.page import render_page
from probe.outputs.staleness import expired
from probe.outputs.terminal import render_report
from probe.outputs.workloads import WORKLOADS
from probe.reading import Reading
from tests.extent import HOSTILE_EXAMPLES
from tests.outputs.test_outputs_terminal import assert_harmless, evil, nested_blocks

READY = Base(verdict="ready")


def block(*handlers: dict[str, Any], base: Base = READY, **facts: Any) -> Nested:
    """What is said of a node with these runtime handlers."""
    told = tuple(factory.make_handler(**one) for one in handlers or ({},))
    facts.setdefault("runtime", factory.make_runtime(handlers=Reading("CRI", told)))
    return judge_nested(factory.make_facts(**facts), {one.name: base for one in told})


def on(nested: Nested, name: str) -> tuple[str, Any]:
    """Verdict of a workload, and its manifest as a document; None where only comments are printed."""
    manifest = render_manifest(make_report(nested=nested), name, WORKLOADS[name])
    return manifest.verdict, yaml.safe_load(manifest.text)


WRITABLE = {"cgroup_writable": True}


def test_the_levels_are_in_text_page_annotation_and_metric() -> None:
    """The same answers everywhere."""
    report = make_report(nested=block())
    assert [(row.level, row.answer) for row in nested_rows(report)] == [
        ("build", "ready"),
        ("engine", "not ready"),
        ("system", "not ready"),
        ("rootless", "ready"),
        ("inner-userns", "ready"),
    ]
    text = render_report(report, width=100, colour=False)
    assert "NESTED" in text
    page = render_page(report)
    assert all(f"<strong>{level}</strong>" in page for level in NESTED_LEVELS)
    annotation = node_annotations(report)["userns-probe.io/nested"]
    assert annotation == "build=ready,engine=not-ready,system=not-ready,rootless=ready,inner-userns=ready"
    (metric,) = [one for one in families(report) if one.name == "userns_probe_nested_ready"]
    assert {one.labels["level"]: one.value for one in metric.samples} == {
        "build": 1, "engine": 0, "system": 0, "rootless": 1, "inner-userns": 1,
    }  # fmt: skip


def test_what_follows_from_the_verdict_is_not_said_again() -> None:
    """Where each level has the node's own reason, the report for people has no such part."""
    base = Base(verdict="not-ready", reason="TmpfsNotIdmappable", message="x")
    report = make_report(nested=block(base=base), verdict="not-ready", reason="TmpfsNotIdmappable")
    assert nested_rows(report) == []
    assert "NESTED" not in render_report(report, width=100, colour=False)


@pytest.mark.parametrize("name", REPORTS)
def test_an_expired_report_says_nothing_of_it(name: str) -> None:
    """No level, no annotation, no series, and no manifest."""
    old = expired(REPORTS[name])
    assert nested_rows(old) == []
    assert "userns-probe.io/nested" not in node_annotations(old)
    assert not [one for one in families(old) if one.name == "userns_probe_nested_ready"]
    assert render_manifest(old, "buildah", WORKLOADS["buildah"]).verdict == "unknown"


def test_verbose_has_all_findings() -> None:
    """Each check, with what was seen."""
    text = render_report(make_report(nested=block()), width=100, colour=False, verbose=1)
    assert all(check.id in text for check in CHECKS)


@settings(max_examples=HOSTILE_EXAMPLES, deadline=None)
@given(nested_blocks, evil, st.sampled_from(sorted(WORKLOADS)))
def test_hostile_manifests(nested: Nested | None, node: str, name: str) -> None:
    """Nothing that a report holds moves the cursor, or adds a line that is no comment where none belongs."""
    report = make_report(nested=nested, probed_at=node)
    manifest = render_manifest(report, name, WORKLOADS[name])
    assert_harmless(manifest.text, None)


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_manifest_is_a_pod_with_a_reason_for_each_line(name: str) -> None:
    """It parses, has a user namespace, is not privileged, and each request stands in it with its reason."""
    nested = block(WRITABLE)
    verdict, pod = on(nested, name)
    assert (verdict, pod["kind"], pod["spec"]["hostUsers"]) == ("ready", "Pod", False)
    (container,) = pod["spec"]["containers"]
    assert "privileged" not in container["securityContext"]
    assert "runtimeClassName" not in pod["spec"]
    text = render_manifest(make_report(nested=nested), name, WORKLOADS[name]).text
    workload = WORKLOADS[name]
    for request in nested.levels[workload.level].pod:
        replaced = request.field == "capability" and "ALL" in text
        if request.field not in workload.left and not replaced:
            assert request.why in text, request
    unexplained = [
        line
        for line in text.splitlines()
        if re.search(r"- [A-Z_]+|: \{type|procMount|Escalation|mountPath", line) and "  # " not in line
    ]
    assert unexplained == []


def test_the_smallest_manifest() -> None:
    """A builder asks for SYS_ADMIN alone; no mask is lifted for it, and no second user namespace."""
    _, pod = on(block(), "buildah")
    security = pod["spec"]["containers"][0]["securityContext"]
    assert security["capabilities"]["add"] == ["SYS_ADMIN"]
    assert "procMount" not in security
    _, pod = on(block(), "podman")
    security = pod["spec"]["containers"][0]["securityContext"]
    assert (security["procMount"], security["runAsUser"]) == ("Unmasked", 1000)
    assert "SYS_ADMIN" not in security["capabilities"]["add"]


def test_a_handler_that_serves_is_named() -> None:
    """Where the default one does not give a cgroup and another does."""
    nested = block({}, {"name": "nested", **WRITABLE})
    verdict, pod = on(nested, "dockerd")
    assert (verdict, pod["spec"]["runtimeClassName"]) == ("ready", "nested")
    assert on(nested, "buildah")[1]["spec"].get("runtimeClassName") is None


@pytest.mark.parametrize(("handler", "named"), [("nested", True), ("my_handler", False), ("Nested", False)])
def test_only_a_handler_that_a_runtime_class_can_name_is_named(handler: str, named: bool) -> None:
    """The API refuses a RuntimeClass whose handler is no DNS label."""
    verdict, pod = on(block({}, {"name": handler} | WRITABLE), "dockerd")
    assert (verdict == "ready", bool(pod)) == (named, named)


NOT_TRIED = {"result": "not-tried", "reason": "an earlier step that it needs did not work"}


def test_a_refusal_for_another_user_concerns_rootless_engines_alone() -> None:
    """Builders as the Pod's root, and inner Pods, were seen to work."""
    steps: dict[str, dict[str, Any]] = {
        "rootless user namespace": {"result": "failed", "errno": "ENOSPC"},
        **dict.fromkeys(("rootless map", "rootless tmpfs", "rootless proc", "rootless overlay"), NOT_TRIED),
    }
    levels = block(WRITABLE, nested=factory.make_nested(steps=steps)).levels
    verdicts = {name: level.verdict for name, level in levels.items()}
    assert verdicts == dict.fromkeys(NESTED_LEVELS, "ready") | {"rootless": "not-ready"}
    assert levels["rootless"].reason == "NestedNamespaceLimit"


def test_inner_pods_need_no_newuidmap() -> None:
    """The Pod's own root writes maps itself."""
    levels = block().levels
    fields = {name: {one.field for one in levels[name].pod} for name in ("rootless", "inner-userns")}
    assert fields["rootless"] >= {"file-capability", "subordinate-ids", "escalation", "capability"}
    assert not fields["inner-userns"] & {"file-capability", "subordinate-ids", "escalation"}
    assert "capability" in fields["inner-userns"]


def test_each_reason_is_of_the_workload() -> None:
    """k3s is no systemd."""
    text = render_manifest(make_report(nested=block(WRITABLE)), "k3s", WORKLOADS["k3s"]).text
    assert "mountPath: /run" in text
    assert "systemd" not in text


def test_what_the_node_must_change() -> None:
    """Without any such handler there is no manifest, and the fix is told as comments."""
    manifest = render_manifest(make_report(nested=block()), "dockerd", WORKLOADS["dockerd"])
    assert manifest.verdict == "not-ready"
    assert "cgroup_writable = true" in manifest.text
    assert all(line.startswith("#") for line in manifest.text.splitlines())


def test_what_is_not_proven_says_so() -> None:
    """A trial that was lost gives a manifest with its doubt in front."""
    nested = block(nested=factory.make_nested(trial=factory.unread("nested trial", "timed-out")))
    manifest = render_manifest(make_report(nested=nested), "buildah", WORKLOADS["buildah"])
    assert manifest.verdict == "unknown"
    assert "TimedOut" in manifest.text.splitlines()[0]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_check_can_be_shown(width: int) -> None:
    """No check's words are lost or too wide for the terminal."""
    assert_harmless(render_nested_catalog(CHECKS, width=width, colour=False), width)
    for check in CHECKS:
        assert_harmless(render_nested_check(check, width=width, colour=False), width)


def run(*arguments: str, stdin: str = "") -> Any:
    return CliRunner().invoke(cli, ["explain", *arguments], standalone_mode=False, input=stdin)


def test_the_verb() -> None:
    """The list, one check, both as JSON; a wrong name is told what would do."""
    assert all(check.id in run("nested").output for check in CHECKS)
    assert [one["id"] for one in json.loads(run("nested", "-o", "json").output)] == [one.id for one in CHECKS]
    assert CHECKS[0].question in run("nested-mounts").output
    assert [one["id"] for one in json.loads(run("nested-mounts", "-o", "json").output)] == ["nested-mounts"]
    for wrong in (
        ("nested", "--for", "talos"),
        ("nested-mounts", "--for", "buildah"),
        ("nested", "--report", "/dev/null"),
    ):
        assert isinstance(run(*wrong).exception, UsageError)


def test_a_manifest_from_a_report(tmp_path: Path) -> None:
    """The report as `report -o json` prints it; the exit code says whether the Pod works."""
    file = tmp_path / "report.json"
    file.write_text(render_json(make_report(nested=block())))
    for name, code in (("buildah", 0), ("dockerd", 1)):
        done = run("nested", "--for", name, "--report", str(file))
        assert done.return_value == code
        assert (yaml.safe_load(done.output) is None) == (code == 1)


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"schema": "userns-probe.io/v1"}', "\0"])
def test_what_is_no_report_is_a_usage_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(content)
    assert isinstance(run("nested", "--for", "buildah", "--report", str(file)).exception, UsageError)


def test_a_huge_report_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "REPORT_LIMIT", 10)
    file = tmp_path / "report.json"
    file.write_text(render_json(make_report()))
    assert isinstance(run("nested", "--for", "buildah", "--report", str(file)).exception, UsageError)
