"""deploy/grafana: the dashboard is what its charts say, and a real Prometheus has an answer to each query."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from msgspec import Struct
from msgspec.structs import replace

from lab import reports
from lab.deploy.charts import ROWS
from lab.deploy.dashboard import DASHBOARD, dashboard
from lab.deploy.monitoring import RULES, written
from lab.serve.many import Member, fleet, kube_state_metrics, serving_all, target
from lab.serve.prometheus import Prometheus, of_this_boot, running
from lab.serve.serving import put_report, serving, wait_for

TEXT = DASHBOARD.read_text()
MODEL = json.loads(TEXT)
PANELS = [panel for panel in MODEL["panels"] if panel["type"] != "row"]
NODES, REAL, LOST = 200, 3, ("lost-1", "lost-2")


def test_it_is_what_the_charts_say() -> None:
    """scripts/update-monitoring wrote it after the last change."""
    assert dashboard() == TEXT
    assert DASHBOARD in written()
    assert [panel["title"] for panel in MODEL["panels"] if panel["type"] == "row"] == [*ROWS]


def test_grafana_knows_every_key() -> None:
    """Read by Grafana's own types and written again, nothing is lost."""
    assert f"{JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(json.loads(TEXT)))}\n" == TEXT
    spoiled = json.loads(TEXT) | {"titel": "x"}
    assert "titel" not in JSONEncoder().encode(Dashboard.from_json(spoiled)), "the control: a key that is none is lost"


def test_it_fits_every_grafana() -> None:
    """No data source, cluster or pool is written down, and no id that is another one's."""
    variables = {one["name"]: one for one in MODEL["templating"]["list"]}
    assert [*variables] == ["datasource", "cluster", "pool"]
    assert {variables[name]["allValue"] for name in ("cluster", "pool")} == {".*"}
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert {query["datasource"]["uid"] for panel in PANELS for query in panel["targets"]} == {"${datasource}"}
    assert set(re.findall(r"\$([a-z]+)", " ".join(expr for _, expr in queries()))) == {"cluster", "pool"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """A title, a description, a unit, and a legend for each line."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] in ("timeseries", "bargauge"):
        assert all(query["legendFormat"] for query in panel["targets"])


def test_no_panel_lies_on_another() -> None:
    """And none is outside of the 24 columns."""
    places = [
        (x, y)
        for box in (panel["gridPos"] for panel in MODEL["panels"])
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def queries() -> list[tuple[str, str]]:
    """Title of the panel, and query."""
    return [(panel["title"], query["expr"]) for panel in PANELS for query in panel["targets"]]


def chosen(expr: str, pool: str = ".*") -> str:
    """The query as Grafana sends it."""
    return expr.replace("$cluster", ".*").replace("$pool", pool)


class Scraped(Struct, frozen=True):
    """A Prometheus that has scraped a fleet several times, and what the nodes are."""

    prometheus: Prometheus
    members: list[Member]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """200 mixed nodes, some real `serve`, two nodes without an agent, and a kubelet whose every attempt fails."""
    folder, members = tmp_path_factory.mktemp("fleet"), fleet(NODES)
    with ExitStack() as stack:
        statics = []
        for number in range(REAL):
            report = of_this_boot(reports.make_report())
            report = replace(report, node=replace(report.node, name=f"real-{number}"))
            put_report(folder / f"report-{number}", report)
            server = stack.enter_context(serving(folder / f"report-{number}"))
            labels = {"instance": f"real-{number}", "node": f"real-{number}", "pool": "real"}
            statics.append({"targets": [f"127.0.0.1:{server.port}"], "labels": labels})
        texts = {f"/{member.name}": member.metrics for member in members}
        names = [*(member.name for member in members), *LOST]
        texts["/kube-state-metrics"], texts["/kubelet"] = kube_state_metrics(names), kubelet(1)
        port = stack.enter_context(serving_all(texts))
        statics += [target(port, f"/{member.name}", node=member.name, pool=member.pool) for member in members]
        interval = {"scrape_interval": "2s", "scrape_timeout": "2s"}
        jobs = [
            {"job_name": "userns-probe", "static_configs": statics, **interval},
            {"job_name": "kube-state-metrics", "static_configs": [target(port, "/kube-state-metrics")], **interval},
            {"job_name": "kubelet", "static_configs": [target(port, "/kubelet", node="node-000")], **interval},
        ]
        for job in jobs[1:]:
            job["honor_labels"] = True
        whole = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(RULES)], "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(whole))
        found = stack.enter_context(running(folder))
        wait_for(lambda: found.query("count(userns_probe_build_info)") == {(): NODES + REAL})
        wait_for(lambda: found.query("count_over_time(kubelet_started_user_namespaced_pods_total[1h]) >= 2"))
        texts["/kubelet"] = kubelet(9)
        wait_for(lambda: found.query("increase(kubelet_started_user_namespaced_pods_errors_total[30m]) > 2"))
        wait_for(lambda: found.query('ALERTS{alertname="UserNamespacesReadyButFailing"}'))
        yield Scraped(found, members)


def kubelet(attempts: int) -> bytes:
    """The two counters of a kubelet."""
    name = "kubelet_started_user_namespaced_pods"
    return f"# TYPE {name}_total counter\n{name}_total {attempts}\n{name}_errors_total {attempts}\n".encode()


@pytest.mark.real
@pytest.mark.program
def test_each_query_finds_something(scraped: Scraped) -> None:
    """In the whole fleet; what the rules record and the alerts name, too."""
    assert not scraped.prometheus.query("userns_probe_no_such_metric"), "the control"
    empty = [title for title, expr in queries() if not scraped.prometheus.query(chosen(expr))]
    assert empty == []


@pytest.mark.real
@pytest.mark.program
def test_the_numbers_are_those_of_the_fleet(scraped: Scraped) -> None:
    """Counted by hand from the reports, for all pools and for one."""

    def value(title: str, pool: str = ".*") -> float:
        (expr,) = (expr for each, expr in queries() if each == title)
        return scraped.prometheus.query(chosen(expr, pool))[()]

    def count(verdict: str, pool: str | None = None) -> int:
        members = [member for member in scraped.members if pool in (None, member.pool)]
        told = [member.report.verdict if member.report else "unknown" for member in members]
        return told.count(verdict) + (REAL if (verdict, pool) == ("ready", None) else 0)

    for title, verdict in (("Ready", "ready"), ("Not ready", "not-ready"), ("Unknown", "unknown")):
        assert value(title) == count(verdict)
        assert value(title, "gpu") == count(verdict, "gpu")
    assert value("Share that is ready") == pytest.approx(count("ready") / (NODES + REAL))
    assert value("No agent") == len(LOST)
    assert value("Ready, but every attempt fails") == 1
    fails = [member for member in scraped.members if member.report and member.report.forecast]
    assert value("Will not start again") == sum(one.report.forecast.outcome == "fails" for one in fails)  # type: ignore[union-attr]
    assert scraped.prometheus.query("sum(userns_probe:nodes:count)") == {(): NODES + REAL}


@pytest.mark.real
@pytest.mark.program
def test_alerts_name_their_nodes(scraped: Scraped) -> None:
    """Texts are filled in, and name some of the nodes; one alert for each pool and reason."""
    with urllib.request.urlopen(f"http://127.0.0.1:{scraped.prometheus.port}/api/v1/alerts") as answer:
        alerts = json.load(answer)["data"]["alerts"]
    texts = {
        (one["labels"]["alertname"], one["labels"].get("pool"), one["labels"].get("reason")): one["annotations"]
        for one in alerts
    }
    assert not [text for text in texts.values() if re.search(r"<no value>|<error|expanding", json.dumps(text))]
    refusing = [
        member.name
        for member in scraped.members
        if member.pool == "gpu" and member.report and member.report.reason == "TmpfsNotIdmappable"
    ]
    text = texts[("UserNamespacesNotReady", "gpu", "TmpfsNotIdmappable")]
    assert text["summary"].startswith(f"{len(refusing)} nodes of pool gpu ")
    assert set(re.findall(r"node-\d+", text["description"])) == set(refusing[:10])
    assert set(re.findall(r"lost-\d", texts[("UserNamespacesNoAgent", None, None)]["description"])) == set(LOST)
    assert "lost-1" in texts[("UserNamespacesLeftBehind", None, None)]["description"]
    assert "node-000" in texts[("UserNamespacesReadyButFailing", None, None)]["description"]
    named = {name for name, _, _ in texts}
    assert named >= {
        "UserNamespacesReportStale",
        "UserNamespacesKubeletRestart",
        "UserNamespacesSlotsLow",
        "UserNamespacesContradiction",
    }
    for (name, _, _), text in texts.items():
        assert re.search(r"(node|lost)-\d", text["description"]), name
