"""The inventory for people and machines: valid, the same counts everywhere, and nothing hostile gets out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import jsonschema
import pytest
from msgspec.structs import replace

from lab.fleet.cluster import HOSTILE
from lab.serve.prometheus import promtool
from probe.fleet.inventory import Inventory
from probe.fleet.outputs.cards import cards_of
from probe.fleet.outputs.documents import json_schema, parse_inventory, render_json
from probe.fleet.outputs.html import ROWS, render_html
from probe.fleet.outputs.openreports import RESULTS, render_openreports
from probe.fleet.outputs.prom import POOLS, render_prom
from probe.fleet.outputs.rows import render_csv, render_ndjson
from probe.fleet.outputs.table import render_table
from probe.fleet.rows import LISTS

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.compile(r"```sql\n(.*?)```", re.DOTALL)


def as_json(inventory: Inventory) -> str:
    return "".join(render_json(inventory))


def test_json_is_as_its_schema_says(inventory: Inventory) -> None:
    """The checked-in schema is that of the types, and the document is valid and complete."""
    schema = json.loads((ROOT / "docs/fleet.schema.json").read_text())
    assert schema == json_schema()
    document = json.loads(as_json(inventory))
    jsonschema.validate(document, schema)
    assert parse_inventory(as_json(inventory).encode()) == inventory
    assert as_json(inventory).isascii()


def test_json_without_ascii(inventory: Inventory) -> None:
    """A name beyond ASCII survives whatever stdout can encode."""
    named = replace(inventory, cluster="zürich-日本")
    assert as_json(named).isascii()
    assert json.loads(as_json(named))["cluster"] == "zürich-日本"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schema":"userns-probe.io/v1"}']
)
def test_what_is_no_inventory(content: bytes) -> None:
    """A kept file of another kind, cut or nested without end is refused."""
    with pytest.raises(ValueError, match="no inventory"):
        parse_inventory(content)


def test_a_cut_inventory(inventory: Inventory) -> None:
    """Half of it is none."""
    content = as_json(inventory).encode()
    with pytest.raises(ValueError, match="no inventory"):
        parse_inventory(content[: len(content) // 2])


def test_the_table_counts_the_same(inventory: Inventory) -> None:
    """Each list with its number, each workload once with -v; and no escape sequence of an object's own."""
    text = render_table(inventory, width=100, colour=False, verbose=1)
    for row in inventory.workloads:
        assert row.name.split(" ")[0][:20] in text
    for row in inventory.nodes[:1]:
        assert row.pool in text
    numbers = [int(found) for found in re.findall(r"^[A-Z, ]+: (\d+)$", text, re.MULTILINE)]
    assert sorted(numbers) == sorted(count for count in inventory.summary.lists.values() if count)
    assert "\x1b" not in text
    assert "\x1b[31m=SUM" not in render_table(inventory, width=None, colour=True)


def test_the_table_is_short_without_v(inventory: Inventory) -> None:
    """A large cluster fits a few screens."""
    many = tuple(replace(inventory.workloads[0], name=f"w-{index}") for index in range(1000))
    text = render_table(replace(inventory, workloads=many), width=100, colour=False)
    assert len(text.splitlines()) < 200


HIDDEN = "\x1b=1+1\u202e\x07"


def test_csv_of_a_forged_inventory(inventory: Inventory) -> None:
    """Control characters of a kept file are escaped, and none hides the beginning of a formula."""
    names = {"name": HIDDEN, "namespace": "\uff1dSUM(1)", "kind": "\t=1"}
    forged = replace(inventory, workloads=(replace(inventory.workloads[0], **names),), cluster=HIDDEN)
    text = "".join(render_csv(forged))
    assert all(char.isprintable() or char in "\r\n" for char in text)
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["name"][0], row["namespace"][0], row["kind"][0]) == ("\\", "'", "\\")


def test_prom_of_a_forged_inventory(inventory: Inventory) -> None:
    """No label value has a control character."""
    section = replace(inventory.sections[0], name=HIDDEN)
    pool = replace(inventory.pools[0], name=HIDDEN)
    text = render_prom(replace(inventory, pools=(pool,), sections=(*inventory.sections, section)))
    assert "202e" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def unread(inventory: Inventory, *names: str) -> Inventory:
    sections = tuple(replace(one, state="unknown") if one.name in names else one for one in inventory.sections)
    return replace(inventory, sections=sections)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("nodes", ("nodes ready", "nodes not ready", "nodes unknown", "Pods that run isolated", "workloads: ")),
        ("pods", ("Pods with hostUsers: false", "Pods that run isolated", "workloads: ", "asking workloads not")),
    ],
)
def test_no_count_of_what_was_not_read(inventory: Inventory, name: str, numbers: tuple[str, ...]) -> None:
    """Lists of workloads rest on nodes and Pods: neither a series, nor a green card, nor a number."""
    text = render_prom(unread(inventory, name))
    assert "userns_probe_fleet_workloads{" not in text
    assert 'which="isolated"' not in text
    table = render_table(unread(inventory, name), width=None, colour=False)
    assert "run isolated" not in table
    assert f"{name} were not read" in table.lower()
    cards = [card for card in cards_of(unread(inventory, name)) if card.words.startswith(numbers)]
    assert len(cards) >= len(numbers)
    assert {(card.number, card.status) for card in cards} == {("?", "unknown")}


def test_no_evidence_is_no_agreement(inventory: Inventory) -> None:
    """Prometheus was asked and has no counter: no zero, no green."""
    sections = tuple(replace(one, state="read") if one.name == "prometheus" else one for one in inventory.sections)
    asked = replace(inventory, sections=sections, evidence=())
    assert "userns_probe_fleet_contradictions" not in render_prom(asked)
    (card,) = (one for one in cards_of(asked) if "contradictions" in one.words)
    assert (card.number, card.status) == ("?", "unknown")


def test_exceptions_are_named(inventory: Inventory) -> None:
    """Workloads that use namespaces of the node, in the table and in HTML."""
    for text in (render_table(inventory, width=None, colour=False), render_html(inventory)):
        assert text.count("monitoring/DaemonSet/node-exporter") > 1
        assert "network, pid" in text


def test_lists_of_a_kept_inventory_are_complete(inventory: Inventory) -> None:
    """A file whose summary lacks a list is none."""
    document = json.loads(as_json(inventory))
    del document["summary"]["lists"]["asked-unknown"]
    with pytest.raises(ValueError, match="asked-unknown"):
        parse_inventory(json.dumps(document).encode())


def test_csv_is_no_program(inventory: Inventory) -> None:
    """A row for each workload; no cell is a formula to a spreadsheet."""
    evil = replace(inventory.workloads[0], name="=cmd|' /C calc'!A0", namespace="@SUM(1)", kind="+1")
    one = replace(inventory, workloads=(*inventory.workloads, evil))
    rows = list(csv.DictReader(io.StringIO("".join(render_csv(one)))))
    assert len(rows) == len(one.workloads)
    assert sum(int(row["pods"]) for row in rows[:-1]) == inventory.summary.pods
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_ndjson_has_a_row_for_everything(inventory: Inventory) -> None:
    """Flat rows, all of one kind with the same columns, each with cluster and time."""
    rows = [json.loads(line) for line in render_ndjson(inventory)]
    kinds = Counter(row["record"] for row in rows)
    assert kinds["workload"] == len(inventory.workloads)
    assert kinds["node"] == len(inventory.nodes)
    assert kinds["namespace"] == len(inventory.namespaces)
    assert kinds["policy"] == len(inventory.policies)
    assert kinds["section"] == len(inventory.sections)
    assert len({(row["record"], tuple(row)) for row in rows}) == len(kinds)
    assert {(row["cluster"], row["taken_at"]) for row in rows} == {("lab", inventory.taken_at)}
    assert not [value for row in rows for value in row.values() if isinstance(value, dict | list)]


def test_the_documented_query(inventory: Inventory, tmp_path: Path) -> None:
    """DuckDB reads the rows of two clusters and days as they are; the query of docs/fleet.md counts what they say."""
    query = DOCUMENTED.search((ROOT / "docs/fleet.md").read_text())
    assert query
    later = replace(inventory, taken_at="2026-11-30T12:00:00Z", workloads=inventory.workloads[:5])
    other = replace(inventory, cluster="other")
    for index, one in enumerate((inventory, later, other)):
        (tmp_path / f"{index}.ndjson").write_text("".join(render_ndjson(one)))
    text = query[1].replace("reports/*.ndjson", f"{tmp_path}/*.ndjson")
    with duckdb.connect() as connection:
        found = connection.execute(text).fetchall()
    lab, after = inventory.summary.lists, Counter(row.list for row in later.workloads)
    expected = [
        ("lab", "2026-11-29", lab["fails"], lab["isolated"], lab["movable"]),
        ("lab", "2026-11-30", after["fails"], after["isolated"], after["movable"]),
        ("other", "2026-11-29", lab["fails"], lab["isolated"], lab["movable"]),
    ]
    assert [(row[0], str(row[1]), *row[2:]) for row in found] == expected


def test_prom_counts_the_same(inventory: Inventory) -> None:
    """Sums over pools and lists are those of the summary, and what was not read has no series."""
    text = render_prom(inventory)
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    nodes = {key: value for key, value in values.items() if key.startswith("userns_probe_fleet_nodes{")}
    assert sum(nodes.values()) == inventory.summary.nodes
    assert sum(value for key, value in nodes.items() if 'verdict="ready"' in key) == inventory.summary.ready
    assert {name: values[f'userns_probe_fleet_workloads{{list="{name}"}}'] for name in LISTS} == inventory.summary.lists
    assert "userns_probe_fleet_contradictions" not in values
    unread = tuple(replace(one, state="unknown") if one.name == "pods" else one for one in inventory.sections)
    assert "userns_probe_fleet_workloads{" not in render_prom(replace(inventory, sections=unread))


def test_prom_is_bounded(inventory: Inventory) -> None:
    """However many pools a cluster has, there are few series, and no node is lost."""
    pools = tuple(
        replace(inventory.pools[0], name=f"p{index}", nodes=3, ready=1, not_ready=1, unknown=1) for index in range(5000)
    )
    lines = [
        line
        for line in render_prom(replace(inventory, pools=pools)).splitlines()
        if line.startswith("userns_probe_fleet_nodes{")
    ]
    assert len(lines) == 3 * (POOLS + 1)
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 15_000


@pytest.mark.real
@pytest.mark.program
def test_promtool_has_no_complaint(inventory: Inventory) -> None:
    """Prometheus' own linter takes it."""
    hostile = replace(inventory, pools=(replace(inventory.pools[0], name=HOSTILE + '"\\\n'),))
    for one in (inventory, hostile):
        promtool("check", "metrics", text=render_prom(one))


def test_openreports(inventory: Inventory) -> None:
    """A Report for each namespace, a result for each workload, sums that agree; large namespaces in several Reports."""
    document = json.loads(render_openreports(inventory))
    assert document["kind"] == "List"
    reports = document["items"]
    assert {each["metadata"]["namespace"] for each in reports} == {row.namespace for row in inventory.workloads}
    assert sum(len(each["results"]) for each in reports) == len(inventory.workloads)
    for each in reports:
        assert (each["apiVersion"], each["kind"]) == ("openreports.io/v1alpha1", "Report")
        counted = Counter(result["result"] for result in each["results"])
        assert {kind: count for kind, count in each["summary"].items() if count} == counted
    failed = [result for each in reports for result in each["results"] if result["result"] == "fail"]
    assert {one["resources"][0]["name"] for one in failed} == {
        row.name for row in inventory.workloads if row.list == "fails"
    }
    many = tuple(replace(inventory.workloads[0], name=f"w-{index}") for index in range(RESULTS + 1))
    split = json.loads(render_openreports(replace(inventory, workloads=many)))["items"]
    assert [len(each["results"]) for each in split] == [RESULTS, 1]
    assert len({each["metadata"]["name"] for each in split}) == 2
    assert max(len(json.dumps(each)) for each in split) < 1_500_000


class Tags(HTMLParser):
    """All tags, with what would load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_html_is_one_file(inventory: Inventory) -> None:
    """It loads nothing; a hostile name is text; every workload and node has its row."""
    text = render_html(inventory)
    tags = Tags()
    tags.feed(text)
    assert {url for url in tags.loaded if not url.startswith("#")} == {"data:,"}
    assert tags.tags["script"] == 1
    assert "<script>alert" not in text
    assert "\x1b" not in text
    rows = len(inventory.workloads) + len(inventory.nodes) + len(inventory.pools) + len(inventory.namespaces)
    rows += len(inventory.policies) + len(inventory.enforcement) + len(inventory.evidence) + len(inventory.sections)
    rows += sum(bool(row.host_namespaces) for row in inventory.workloads)
    assert text.count('<th scope="row"') == rows


def test_html_is_bounded(inventory: Inventory) -> None:
    """A table of a large cluster is cut, and says so."""
    many = tuple(replace(inventory.workloads[0], name=f"w-{index}") for index in range(ROWS + 5))
    text = render_html(replace(inventory, workloads=many))
    assert "and 5 more" in text
