"""`userns-probe pod`: its output, its exit codes, and bad input."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from lab.reports import REPORTS
from probe.cli.pod import told_node
from probe.cli.verbs import cli
from probe.outputs.annotations import PREFIX, node_annotations
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
SILENT = "kind: Pod\nmetadata: {name: s}\nspec: {containers: [{name: c}]}\n"


def at(seconds: float) -> str:
    """RFC 3339 of a time in *seconds* from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


FRESH = msgspec.structs.replace(REPORTS["ready"], probed_at=at(-60), expires_at=at(86_400))


@pytest.fixture
def report(tmp_path: Path) -> str:
    """A file with the report of a node that is ready."""
    file = tmp_path / "report.json"
    file.write_text(render_json(FRESH))
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
    assert FRESH.probed_at in text


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


def node_object(managed: list[dict[str, Any]] | None = None, **changes: str) -> dict[str, Any]:
    """The Node of REPORTS["ready"], as kubectl prints it; *changes*: of its annotations; empty: without that one."""
    made = REPORTS["ready"]
    own = node_annotations(made) | {f"{PREFIX}refreshed-at": at(-60)}
    own |= {f"{PREFIX}{key.replace('_', '-')}": value for key, value in changes.items()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "n1",
            "annotations": {key: value for key, value in own.items() if value},
            "managedFields": managed,
        },
        "status": {
            "nodeInfo": {"bootID": made.node.boot_id, "kubeletVersion": "v1.36.2", "kernelVersion": "6.12.1"},
            "runtimeHandlers": [{"name": "", "features": {"userNamespaces": True}}, {"name": "kata"}],
        },
    }


def judged_by(node: dict[str, Any], tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    """The exit code, and the first reason, of a plain Pod on *node*, a report or a Node."""
    (tmp_path / "node.json").write_text(json.dumps(node))
    found = run(PLAIN, str(tmp_path / "node.json"), "-o", "json")
    return code(found), json.loads(found.stdout)["pods"][0]["reasons"][0]


NOT_READY = "stateless=ready,projected=ready,local=not-ready"
SKIPPED = "stateless=not-ready,projected=ready,local=ready"


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "not-ready", "reason": "TmpfsNotIdmappable"},
        {"verdict": "unknown"},
        {"verdict": ""},
        {"levels": NOT_READY},
        {"levels": SKIPPED},
        {"levels": "stateless=ready"},
        {"levels": "local=ready"},
        {"levels": ""},
        {"boot_id": ""},
        {"refreshed_at": ""},
        {"refreshed_at": "yesterday"},
        {"refreshed_at": at(-90_000)},
        {"refreshed_at": at(90_000)},
    ],
)
def test_annotations_that_do_not_count(changes: dict[str, str], tmp_path: Path) -> None:
    """Those that contradict each other, are of another boot, or older than a day, or of no time, tell nothing."""
    exit_code, reason = judged_by(node_object(**changes), tmp_path)
    assert (exit_code, reason["outcome"], reason["source"]) == (2, "unknown", "unknown")


def test_annotations_of_others(tmp_path: Path) -> None:
    """Each annotation has to be the agent's: one whose levels somebody else wrote tells nothing."""
    keys = [f"f:{key}" for key in node_object()["metadata"]["annotations"]]
    for foreign, expected in (("", 0), ("levels", 2), ("verdict", 2), ("refreshed-at", 2)):
        ours = {key: {} for key in keys if not foreign or not key.endswith(f"/{foreign}")}
        theirs = {key: {} for key in keys if key not in ours}
        entries = [
            {"manager": manager, "fieldsV1": {"f:metadata": {"f:annotations": fields}}}
            for manager, fields in (("userns-probe", ours), ("kubectl-annotate", theirs))
        ]
        assert judged_by(node_object(entries), tmp_path)[0] == expected, foreign


def test_a_handler_of_which_the_kubelet_says_nothing(tmp_path: Path) -> None:
    """It is there, and what it supports is not known."""
    (tmp_path / "node.json").write_text(json.dumps(node_object()))
    spec = "{hostUsers: false, runtimeClassName: k, containers: [{name: c}]}"
    text = f"kind: Pod\nspec: {spec}\n---\nkind: RuntimeClass\nmetadata: {{name: k}}\nhandler: kata\n"
    assert code(run(text, str(tmp_path / "node.json"))) == 2


@pytest.mark.parametrize(
    ("probed", "expires", "fresh"),
    [
        (-60, 840, True),
        (-960, -60, False),
        (-400_000, 86_400, False),
        (400_000, 400_900, False),
        (60, 960, True),
    ],
)
def test_a_report_that_is_too_old(probed: float, expires: float, fresh: bool, tmp_path: Path) -> None:
    """Past its expiry a report tells nothing, however long it says that it lives."""
    told = msgspec.structs.replace(REPORTS["ready"], probed_at=at(probed), expires_at=at(expires))
    exit_code, reason = judged_by(json.loads(render_json(told)), tmp_path)
    assert (exit_code, reason["outcome"]) == ((0, "runs") if fresh else (2, "unknown"))
    assert fresh or reason["reason"] == "ReportStale"


@pytest.mark.parametrize("text", ["", "never", "2026-11-21"])
def test_a_report_of_no_time(text: str, tmp_path: Path) -> None:
    """It counts as too old."""
    for told in (
        msgspec.structs.replace(FRESH, probed_at=text),
        msgspec.structs.replace(FRESH, expires_at=text),
    ):
        assert judged_by(json.loads(render_json(told)), tmp_path)[1]["reason"] == "ReportStale"


def test_the_clock_is_given() -> None:
    """The same report counts or not by the time that is given alone."""
    report = msgspec.structs.replace(
        REPORTS["ready"], probed_at="2026-11-21T21:00:00Z", expires_at="2026-11-21T21:15:00Z"
    )
    probed_at = datetime(2026, 11, 21, 21, tzinfo=UTC).timestamp()
    value = json.loads(render_json(report))
    assert told_node(value, probed_at + 899)[0].handlers[""]["local"].verdict == "ready"
    assert told_node(value, probed_at + 901)[0].handlers[""]["local"].verdict == "unknown"


def test_a_node_object(tmp_path: Path) -> None:
    """Instead of a report, the Node with what its agent published, as kubectl prints it."""
    node = node_object()
    for name, text in (("node.json", json.dumps(node)), ("node.yaml", render_yaml(node))):
        (tmp_path / name).write_text(text)
        found = run(f"{PLAIN}---\n{NFS}", str(tmp_path / name), "-o", "json")
        assert json.loads(found.stdout)["node"]["told_by"] == "annotations"
        assert [row["outcome"] for row in json.loads(found.stdout)["pods"]] == ["runs", "fails"]


def test_a_node_of_another_architecture(tmp_path: Path) -> None:
    """Node objects and reports tell theirs; a Pod for others never runs there."""
    text = PLAIN.replace("containers", "nodeSelector: {kubernetes.io/arch: arm64}, containers")
    for architecture, expected in (("amd64", 1), ("arm64", 0)):
        node = node_object()
        node["status"]["nodeInfo"] |= {"operatingSystem": "linux", "architecture": architecture}
        (tmp_path / "node.json").write_text(json.dumps(node))
        assert code(run(text, str(tmp_path / "node.json"))) == expected
    for machine, expected in (("x86_64", 1), ("aarch64", 0)):
        facts = msgspec.structs.replace(FRESH.facts, architecture=machine)
        (tmp_path / "report.json").write_text(render_json(msgspec.structs.replace(FRESH, facts=facts)))
        assert code(run(text, str(tmp_path / "report.json"))) == expected


def test_virtual_kubelets(tmp_path: Path) -> None:
    """A Pod for one fails on a Node that is none; on one that is, nobody knows."""
    text = PLAIN.replace("containers", "nodeSelector: {type: virtual-kubelet}, containers")
    for kind, expected in (("virtual-kubelet", 2), ("large", 1)):
        node = node_object()
        node["status"]["nodeInfo"] |= {"operatingSystem": "linux"}
        node["metadata"]["labels"] = {"type": kind}
        (tmp_path / "node.json").write_text(json.dumps(node))
        assert code(run(text, str(tmp_path / "node.json"))) == expected


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
    pod = {
        "kind": "Pod",
        "metadata": {"name": "x\x1b[2J\n✔ Pod y  runs"},
        "spec": {"hostUsers": False, "containers": [{}]},
    }
    result = run(json.dumps(pod) + "\n" + json.dumps({"kind": "\x1b"}), report)
    assert "\x1b" not in result.stdout + result.stderr
    assert len([line for line in result.stdout.splitlines() if "runs" in line]) == 1
