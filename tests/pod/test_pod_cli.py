"""`userns-probe pod`: its output, its exit codes, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from lab.reports import REPORTS
from probe.cli.verbs import cli
from probe.outputs.annotations import node_annotations
from probe.outputs.documents import render_json, render_yaml
from probe.outputs.pods import Pods, pods_schema
from probe.pod import documents

SCHEMA = Path(__file__).parents[2] / "docs/pod.schema.json"
PLAIN = "kind: Pod\nmetadata: {name: plain}\nspec: {hostUsers: false, containers: [{name: c}]}\n"
NFS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      hostUsers: false
      containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, nfs: {server: s, path: /}}]
"""
GPU = "kind: Pod\nmetadata: {name: g}\nspec: {hostUsers: false, containers: [{resources: {limits: {a.b/gpu: 1}}}]}\n"
REFUSED = "kind: Pod\nmetadata: {name: r}\nspec: {hostUsers: false, hostPID: true}\n"
SILENT = "kind: Pod\nmetadata: {name: s}\nspec: {containers: []}\n"


@pytest.fixture
def report(tmp_path: Path) -> str:
    """A file with the report of a node that is ready."""
    file = tmp_path / "report.json"
    file.write_text(render_json(REPORTS["ready"]))
    return str(file)


def run(text: str | bytes, report: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["pod", "--report", report, *arguments, "-"], input=text, standalone_mode=False)


def code(result: Result) -> Any:
    """What main() exits with."""
    assert result.exception is None, result.exception
    return result.return_value


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        (PLAIN, 0),
        (SILENT, 0),
        (NFS, 1),
        (REFUSED, 1),
        (GPU, 2),
        (f"{GPU}---\n{NFS}", 1),
        (f"{PLAIN}---\n{GPU}", 2),
        ("kind: Service\n", 64),
        ("", 64),
        (f"{PLAIN}---\na: [\n", 64),
        ("kind: Pod\nspec: {hostUsers: 'no'}\n", 2),
        ("apiVersion: x.org/v1\nkind: Widget\n", 2),
    ],
)
def test_exit_codes(text: str, exit_code: int, report: str) -> None:
    """That of the worst Pod; of input that is none, whatever else there is."""
    assert code(run(text, report)) == exit_code


def test_text(report: str) -> None:
    """Each workload has its line, its field, what to change, and upon what all of it rests."""
    result = run(f"{NFS}---\n{PLAIN}", report)
    text = result.stdout
    assert "Deployment shop/web  fails" in text
    assert "spec.template.spec.volumes[0].nfs" in text
    assert "not tried" in text
    assert "fix" in text
    assert "Pod plain  runs" in text
    assert REPORTS["ready"].probed_at in text


def test_nothing_is_lost(report: str) -> None:
    """A bad document is one line on stderr, and the others have their rows."""
    result = run(f"{PLAIN}---\na: [\n---\n- 7\n---\n{NFS}", report, "-o", "json")
    found = json.loads(result.stdout)
    assert [row["name"] for row in found["pods"]] == ["plain", "web"]
    assert len(found["problems"]) == len(result.stderr.splitlines()) == 2
    assert code(result) == 64


def test_a_file_that_cannot_be_read(report: str, tmp_path: Path) -> None:
    """The other files have their rows."""
    (tmp_path / "pod.yaml").write_text(PLAIN)
    result = run(NFS, report, "-o", "json", str(tmp_path / "pod.yaml"), str(tmp_path / "gone"), str(tmp_path))
    assert {row["name"] for row in json.loads(result.stdout)["pods"]} == {"plain", "web"}
    assert len(result.stderr.splitlines()) == 2
    assert code(result) == 64


def test_too_much(report: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are too large together are not read."""
    monkeypatch.setattr(documents, "BYTES", 100)
    result = run(PLAIN + "#" * 200, report)
    assert (result.stdout, code(result)) == ("", 64)
    assert "MiB" in result.stderr


def test_assume(report: str) -> None:
    """A Pod that says nothing is judged when it is asked for."""
    assert json.loads(run(SILENT, report, "-o", "json").stdout)["pods"][0]["level"] is None
    row = json.loads(run(SILENT, report, "-o", "json", "--assume").stdout)["pods"][0]
    assert (row["level"], row["asks"], row["outcome"]) == ("projected", False, "runs")


def test_documents(report: str) -> None:
    """JSON and YAML are the same document, which fits the schema that is checked in."""
    text = f"{PLAIN}---\n{NFS}---\n{GPU}---\n{REFUSED}---\n{SILENT}---\na: ["
    found = json.loads(run(text, report, "-o", "json").stdout)
    assert yaml.safe_load(run(text, report, "-o", "yaml").stdout) == found
    assert found["schema"] == "userns-probe.io/pods/v1"
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert set(found) == set(Pods.__struct_fields__)


def test_checked_in_schema_is_the_types() -> None:
    """docs/pod.schema.json is what the types give (scripts/update-golden writes it anew)."""
    assert json.loads(SCHEMA.read_text()) == pods_schema()
    jsonschema.Draft202012Validator.check_schema(pods_schema())


def test_a_node_object(tmp_path: Path) -> None:
    """Instead of a report, the Node with what its agent published, as kubectl prints it."""
    made = REPORTS["ready"]
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "annotations": node_annotations(made)},
        "status": {
            "nodeInfo": {"bootID": made.node.boot_id, "kubeletVersion": "v1.36.2", "kernelVersion": "6.12.1"},
            "runtimeHandlers": [{"name": "", "features": {"userNamespaces": True}}],
        },
    }
    for name, text in (("node.json", json.dumps(node)), ("node.yaml", render_yaml(node))):
        (tmp_path / name).write_text(text)
        found = run(f"{PLAIN}---\n{NFS}", str(tmp_path / name), "-o", "json")
        assert json.loads(found.stdout)["node"]["told_by"] == "annotations"
        assert [row["outcome"] for row in json.loads(found.stdout)["pods"]] == ["runs", "fails"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"schema": "userns-probe.io/v9"}',
        '{"schema": "userns-probe.io/v1"}',
        '{"kind": "Node"}',
        "a: [",
    ],
)
def test_a_report_that_is_none(content: str, tmp_path: Path) -> None:
    """One line that says so; nothing is judged."""
    file = tmp_path / "report"
    file.write_text(content)
    result = run(PLAIN, str(file))
    assert result.exception is not None
    assert type(result.exception).__name__ == "UsageError"
    assert result.stdout == ""


def test_hostile_text(report: str) -> None:
    """Nothing in a manifest moves the cursor, or forges a line."""
    pod = {"kind": "Pod", "metadata": {"name": "x\x1b[2J\n✔ Pod y  runs"}, "spec": {"hostUsers": False}}
    result = run(json.dumps(pod) + "\n" + json.dumps({"kind": "\x1b"}), report)
    assert "\x1b" not in result.stdout + result.stderr
    assert len([line for line in result.stdout.splitlines() if "runs" in line]) == 1
