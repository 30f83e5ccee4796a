"""The verb: exit codes, kept inventories, differences, conditions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab import forked
from lab.fleet.cluster import small
from lab.fleet.server import serving
from probe.cli.fleet import progress_line
from probe.fleet.conditions import CONDITIONS, exit_code, parse_conditions
from probe.fleet.diff import diff
from probe.fleet.inventory import Inventory
from probe.fleet.outputs.changes import render_changes
from probe.fleet.outputs.documents import render_json
from probe.fleet.rows import EvidenceRow


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The verb; nothing but *environment* and the arguments leads it to a cluster."""
    return forked.run("fleet", *arguments, **{"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""} | environment)


@pytest.fixture(scope="module")
def kept(inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "today.json"
    path.write_text("".join(render_json(inventory)))
    return path


@pytest.mark.slow
def test_from_a_cluster(inventory: Inventory, tmp_path: Path) -> None:
    """JSON on stdout, nothing on stderr, exit code 0; the cluster has the context's name."""
    with serving(small(), tmp_path) as kubeconfig:
        done = run("-o", "json", "--kubeconfig", str(kubeconfig))
        named = run("-o", "json", "--cluster", "prod-1", KUBECONFIG=str(kubeconfig))
        other = run("--context", "nobody", "--kubeconfig", str(kubeconfig))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["cluster"] == "lab"
    assert document["summary"]["workloads"] == inventory.summary.workloads
    assert json.loads(named.stdout)["cluster"] == "prod-1"
    assert (other.returncode, other.stdout) == (64, "")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["table", "json", "ndjson", "csv", "html", "prom", "openreports"])
def test_a_kept_inventory_in_every_format(kept: Path, output: str) -> None:
    """Without a cluster."""
    done = run("--from", str(kept), "-o", output)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fail-on", "nonsense"),
        ("--fail-on", "worse"),
        ("--diff", "/nowhere"),
        ("--from", "/dev/null"),
        ("--from", "/proc/self/mem"),
        ("--diff", "x", "-o", "html"),
        ("--prometheus", "ftp://x"),
        ("--prometheus", "http://[x"),
        ("--kubeconfig", "/nowhere"),
        ("--kubeconfig", "/dev/null", "-n", "a/../b"),
        ("-o", "xml"),
    ],
)
def test_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """64, and one clear line."""
    done = run(*arguments, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (64, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_a_token_that_nobody_knows(tmp_path: Path) -> None:
    """Where no list could be read, the exit code says so, whatever is printed."""
    with serving(small(), tmp_path, token="forged") as kubeconfig:
        done = run("--kubeconfig", str(kubeconfig), "-o", "json")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert json.loads(done.stdout)["summary"]["nodes"] == 0


def test_no_server(tmp_path: Path) -> None:
    """2, for unknown: nobody listens."""
    with serving(small(), tmp_path) as kubeconfig:
        pass
    done = run("--kubeconfig", str(kubeconfig))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def changed(inventory: Inventory) -> Inventory:
    """A later inventory: a node turned not ready, a workload fails, another came, a third asks, one went."""
    nodes = tuple(
        replace(row, verdict="not-ready", reason="X") if row.name == "gen-0" else row for row in inventory.nodes
    )
    workloads = [
        replace(row, list="fails") if row.name == "isolated" else row
        for row in inventory.workloads
        if row.name != "canary"
    ]
    workloads.append(replace(workloads[0], name="new", list="isolated", asking=1))
    namespaces = tuple(
        replace(row, pinned=False, enforce="restricted:latest") if row.name == "shop" else row
        for row in inventory.namespaces
    )
    return replace(
        inventory, nodes=nodes, workloads=tuple(workloads), namespaces=namespaces, taken_at="2026-11-30T12:00:00Z"
    )


def test_the_difference(inventory: Inventory) -> None:
    """Each change once, what is worse first; from the other side what was worse is better."""
    found = diff(inventory, changed(inventory))
    said = {(one.of, one.name, one.field or one.what): (one.before, one.after, one.worse) for one in found.changes}
    assert said == {
        ("node", "gen-0", "verdict"): ("ready", "not-ready", True),
        ("node", "gen-0", "reason"): ("", "X", False),
        ("workload", "shop/Deployment/isolated", "list"): ("isolated", "fails", True),
        ("workload", "shop/Rollout/canary", "removed"): ("", "", False),
        ("workload", "batch/CronJob/new", "added"): ("", "", False),
        ("namespace", "shop", "pinned"): ("yes", "no", False),
        ("namespace", "shop", "enforce"): ("restricted:v1.34", "restricted:latest", False),
    }
    assert [one.worse for one in found.changes] == sorted((one.worse for one in found.changes), reverse=True)
    back = {(one.of, one.name, one.field): one.worse for one in diff(changed(inventory), inventory).changes}
    assert back["node", "gen-0", "verdict"] is False
    assert back["namespace", "shop", "pinned"] is True
    assert not diff(inventory, inventory).changes
    assert "gen-0" in render_changes(found, width=80, colour=False)


def test_what_was_not_read_is_not_compared(inventory: Inventory) -> None:
    """Workloads that could not be listed have not vanished."""
    sections = tuple(
        replace(one, state="unknown", problem="no right") if one.name == "pods" else one for one in inventory.sections
    )
    for name in ("clusterpolicies", "validatingadmissionpolicybindings"):
        lost = tuple(replace(one, state="unknown") if one.name == name else one for one in inventory.sections)
        policies = diff(inventory, replace(inventory, sections=lost, policies=()))
        assert not [one for one in policies.changes if one.of == "policy"]
        assert any(line.startswith("policy") for line in policies.not_compared)
    assert not [line for line in diff(inventory, inventory).not_compared if line.startswith("policy")]
    found = diff(inventory, replace(inventory, sections=sections, workloads=()))
    assert not [one for one in found.changes if one.of == "workload"]
    assert any(line.startswith("workload") for line in found.not_compared)


def test_the_verb_prints_the_difference(inventory: Inventory, kept: Path, tmp_path: Path) -> None:
    """As table and JSON, with the condition `worse`."""
    later = tmp_path / "later.json"
    later.write_text("".join(render_json(changed(inventory))))
    done = run("--from", str(later), "--diff", str(kept), "--fail-on", "worse", "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["schema"] == "userns-probe.io/fleet-diff/v1"
    same = run("--from", str(kept), "--diff", str(kept), "--fail-on", "worse")
    assert same.returncode == 0


def only(inventory: Inventory, **summary: Any) -> Inventory:
    """An inventory of which no condition holds, but for *summary*."""
    good = {
        "not_ready": 0,
        "unknown": 0,
        "unconfined": 0,
        "contradictions": 0,
        "lists": dict.fromkeys(inventory.summary.lists, 0),
    }
    sections = tuple(replace(one, state="read") for one in inventory.sections)
    return replace(
        inventory,
        summary=replace(inventory.summary, **good | summary),
        enforcement=(),
        evidence=(EvidenceRow(node="gen-0", verdict="ready", attempts=9.0, errors=0.0, contradiction=False),),
        sections=sections,
    )


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("fails", {"lists": {"fails": 1, "asked-unknown": 0}}),
        ("not-ready", {"not_ready": 1}),
        ("unknown", {"unknown": 1}),
        ("unknown", {"lists": {"fails": 0, "asked-unknown": 1}}),
        ("unconfined", {"unconfined": 1}),
        ("contradiction", {"contradictions": 1}),
    ],
)
def test_conditions(inventory: Inventory, name: str, summary: dict[str, Any]) -> None:
    """1 where it holds, 0 where it does not, 2 where it cannot be told; a hold counts more than a doubt."""
    assert exit_code((name,), only(inventory), None) == (0, [])
    assert exit_code((name,), only(inventory, **summary), None)[0] == 1
    for section in CONDITIONS[name].needs:
        unread = tuple(replace(one, state="partial") if one.name == section else one for one in inventory.sections)
        doubtful = replace(only(inventory), sections=unread)
        assert exit_code((name,), doubtful, None)[0] == 2
        assert exit_code((name,), replace(only(inventory, **summary), sections=unread), None)[0] == 1


def test_unsafe(inventory: Inventory) -> None:
    """The small cluster cannot be enforced."""
    assert exit_code(("unsafe",), inventory, None)[0] == 1
    assert exit_code(("unsafe",), only(inventory), None)[0] == 0


@pytest.mark.parametrize(
    ("name", "open_"),
    [
        ("fails", {"lists": {"fails": 0, "asked-unknown": 1}}),
        ("not-ready", {"unknown": 1}),
    ],
)
def test_an_unknown_answer_does_not_pass(inventory: Inventory, name: str, open_: dict[str, Any]) -> None:
    """Everything was read, and a node or workload is unknown: 2, unless the condition holds all the same."""
    code, lines = exit_code((name,), only(inventory, **open_), None)
    assert (code, len(lines)) == (2, 1)
    holds = {"lists": {"fails": 1, "asked-unknown": 1}} if name == "fails" else {"not_ready": 1, "unknown": 1}
    assert exit_code((name,), only(inventory, **holds), None)[0] == 1


def test_unknown_safety_and_evidence_do_not_pass(inventory: Inventory) -> None:
    """A row that is unknown, a Prometheus without counters, parts that were not compared: each gives 2."""
    row = next(one for one in inventory.enforcement if one.safe == "unknown")
    assert exit_code(("unsafe",), replace(only(inventory), enforcement=(row,)), None)[0] == 2
    assert exit_code(("contradiction",), replace(only(inventory), evidence=()), None)[0] == 2
    one = only(inventory)
    assert exit_code(("worse",), one, diff(one, one))[0] == 0
    assert exit_code(("worse",), one, diff(replace(one, namespace="shop"), one))[0] == 2


def test_inventories_of_different_namespaces(inventory: Inventory) -> None:
    """Workloads outside of --namespace have not vanished; nodes and policies are compared all the same."""
    shop = tuple(row for row in inventory.workloads if row.namespace == "shop")
    found = diff(inventory, replace(inventory, namespace="shop", workloads=shop, enforcement=()))
    assert not found.changes
    assert [line.partition(":")[0] for line in found.not_compared if "shop" in line] == [
        "workload",
        "namespace",
        "enforcement",
    ]


def test_names_of_conditions() -> None:
    """Parted by commas, each once; the help names all."""
    assert parse_conditions("fails, worse,fails") == ("fails", "worse")
    assert parse_conditions("") == ()
    with pytest.raises(ValueError, match="nonsense"):
        parse_conditions("fails,nonsense")
    text = " ".join(run("--help").stdout.split())
    assert all(name in text for name in CONDITIONS)


@pytest.mark.parametrize(
    ("done", "left", "columns"), [(0, None, 80), (500, 299_500, 80), (300_000, 0, 80), (500, 500, 20), (1, 10**12, 10)]
)
def test_progress(done: int, left: int | None, columns: int) -> None:
    """It never wraps, and its bar is never longer than it is."""
    line = progress_line("pods", done, left, columns)
    assert len(line) < columns
    assert line.count("#") <= 20
