"""deploy/prometheus/rules.yaml: each alert fires for what it is for, once for each cause, and does not flap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from lab import reports
from lab.deploy.manifests import CHECKOUT
from lab.serve.prometheus import FULL, promtool
from lab.serve.rule_tests import Series, check, node_series, plain
from probe.outputs.publishing import Publishing
from probe.outputs.staleness import expired
from probe.report import Report, RestartForecast

pytestmark = [pytest.mark.real, pytest.mark.program]

RULES = CHECKOUT / "deploy/prometheus/rules.yaml"
READY, REFUSED, UNKNOWN = reports.make_report(), reports.tmpfs_refused(), reports.not_permitted()
LENGTH = 150
NOT_READY, NO_PERMISSION = {"reason": "TmpfsNotIdmappable"}, {"reason": "NotPermitted"}
POOL = {"pool": "a"}


def during(*minutes: int, firing: dict[str, Any] | None = None) -> dict[int, dict[str, Any]]:
    """The same at each of these minutes; nothing, unless it is said."""
    return {minute: firing or {} for minute in minutes}


def always(report: Report | None) -> Callable[[int], Report | None]:
    return lambda _: report


def fleet(count: int = 3, report: Report = READY, **options: Any) -> list[Series]:
    """Nodes where nothing ever changes."""
    return [node_series(f"{report.verdict}-{n}", LENGTH, always(report), **options) for n in range(count)]


def test_promtool_finds_nothing() -> None:
    """Syntax of all rules."""
    assert "SUCCESS" in promtool("check", "rules", RULES)


def test_a_fleet_at_rest_alerts_nobody(tmp_path: Path) -> None:
    """Nor does one whose reports renew and whose Nodes are written."""
    check(
        tmp_path,
        RULES,
        fleet(publishing_at=lambda _: Publishing(results={"success": 1}, last_success=1.0)),
        during(0, 10, 60, 149),
    )


def test_an_alert_that_is_not_expected_is_seen(tmp_path: Path) -> None:
    """The control: promtool fails when something else fires, and when nothing does."""
    with pytest.raises(AssertionError, match="UserNamespacesNobodyProbes"):
        check(tmp_path, RULES, [], {20: {}})
    with pytest.raises(AssertionError, match="UserNamespacesNotReady"):
        check(tmp_path, RULES, fleet(), {60: {"UserNamespacesNotReady": [POOL | NOT_READY]}})


def test_one_cause_is_one_alert(tmp_path: Path) -> None:
    """Thirty nodes that refuse for the same reason are one alert in each pool; another reason is another one."""
    off = reports.user_namespaces_off()
    series = [
        *fleet(5),
        *fleet(30, REFUSED),
        *(node_series(f"b-{n}", LENGTH, always(REFUSED), pool="b") for n in range(3)),
        *(node_series(f"off-{n}", LENGTH, always(off)) for n in range(3)),
    ]
    expected = [POOL | NOT_READY, {"pool": "b"} | NOT_READY, POOL | {"reason": "UserNamespacesDisabled"}]
    check(tmp_path, RULES, series, {14: {}, 16: {"UserNamespacesNotReady": expected}})


def test_a_change_that_is_undone_alerts_nobody(tmp_path: Path) -> None:
    """Ten minutes are too short."""
    series = [*fleet(), node_series("n", LENGTH, lambda minute: REFUSED if 30 <= minute < 40 else READY)]
    check(tmp_path, RULES, series, during(35, 40, 45, 60))


def test_a_restarted_exporter_does_not_make_an_alert_flap(tmp_path: Path) -> None:
    """Two scrapes miss it, and its address is another one; a second node breaks before the first one is fixed."""
    restarted = node_series(
        "n",
        LENGTH,
        lambda minute: REFUSED if minute < 80 else READY,
        scraped=lambda minute: minute not in (40, 41),
        instance=lambda minute: "1" if minute < 40 else "2",
    )
    other = node_series("m", LENGTH, lambda minute: REFUSED if minute >= 75 else READY)
    firing = {"UserNamespacesNotReady": [POOL | NOT_READY]}
    check(tmp_path, RULES, [*fleet(), restarted, other], during(16, *range(38, 60, 2), 75, 80, 81, 120, firing=firing))


def test_unknown_must_last(tmp_path: Path) -> None:
    """One node that nobody can judge for an hour is an alert; nodes that come and go without a verdict are none."""
    born = [
        node_series(
            f"spot-{start}",
            LENGTH,
            lambda minute, start=start: UNKNOWN if minute < start + 5 else READY,  # type: ignore[misc]
            scraped=lambda minute, start=start: start <= minute < start + 40,  # type: ignore[misc]
        )
        for start in range(0, LENGTH, 4)
    ]
    check(tmp_path, RULES, [*fleet(), *born], during(20, 45, 60, 90, 140))
    lasting = [*fleet(), *born, *fleet(2, UNKNOWN)]
    firing = {"UserNamespacesUnknown": [POOL | NO_PERMISSION]}
    check(tmp_path, RULES, lasting, {40: {}, 60: firing, 140: firing})


def kube_node(name: str, *, created: int = -100, left: int = LENGTH, **labels: str) -> list[Series]:
    """What kube-state-metrics says of a Node, created and deleted in these minutes."""
    there = lambda minute: 1.0 if created <= minute < left else None  # noqa: E731
    born = lambda minute: 60.0 * created if created <= minute < left else None  # noqa: E731
    told = {"os_image": "Debian GNU/Linux 12", "job": "kube-state-metrics"} | labels
    return [
        plain("kube_node_info", LENGTH, there, node=name, **told),
        plain("kube_node_created", LENGTH, born, node=name, job="kube-state-metrics"),
    ]


def test_a_node_without_an_agent(tmp_path: Path) -> None:
    """Only one that has been there for long without; a roll-out, new nodes and Windows are none."""
    series = [
        *fleet(2),
        *kube_node("ready-0"),
        *kube_node("ready-1"),
        *kube_node("windows", os_image="Windows Server 2022 Datacenter"),
        *kube_node("rolled"),
        node_series("rolled", LENGTH, always(READY), scraped=lambda minute: minute not in range(50, 70)),
    ]
    for start in range(0, LENGTH, 20):
        series += kube_node(f"new-{start}", created=start, left=start + 60)
        scraped = lambda minute, start=start: start + 8 <= minute < start + 60  # noqa: E731
        series.append(node_series(f"new-{start}", LENGTH, always(READY), scraped=scraped))
    moments = (20, 60, 80, 100, 149)
    check(tmp_path, RULES, series, during(*moments))
    lost = [*series, *kube_node("lost"), *kube_node("crashed")]
    lost.append(node_series("crashed", LENGTH, always(READY), scraped=lambda minute: minute < 60))
    check(tmp_path, RULES, lost, during(*moments[1:], firing={"UserNamespacesNoAgent": [{}]}))
    nobody = kube_node("ready-0")
    check(tmp_path, RULES, nobody, {60: {"UserNamespacesNobodyProbes": [{}]}})


def test_what_an_agent_left_behind(tmp_path: Path) -> None:
    """A condition that says something on a Node whose agent is gone; where it says unknown, nobody is misled."""

    def condition(node: str, word: str) -> list[Series]:
        return [
            plain(
                "kube_node_status_condition",
                LENGTH,
                lambda _, status=status: float(status == word),  # type: ignore[misc]
                node=node,
                condition="UserNamespacesReady",
                status=status,
                job="kube-state-metrics",
            )
            for status in ("true", "false", "unknown")
        ]

    gone = node_series("gone", LENGTH, always(READY), scraped=lambda minute: minute < 30)
    series = [
        *fleet(1),
        *condition("ready-0", "true"),
        *condition("doubt", "unknown"),
        gone,
        *condition("gone", "true"),
    ]
    firing = {"UserNamespacesLeftBehind": [{"status": "true"}]}
    check(tmp_path, RULES, series, {29: {}, 59: {}, 76: firing, 149: firing})


def test_reports_that_go_stale(tmp_path: Path) -> None:
    """Expired, or never written: the log of the probe is to be read. A boot is neither."""
    stale = expired(replace(READY, probed_at="1970-01-01T00:00:00Z", expires_at="1970-01-01T00:15:00Z"))
    series = [
        *fleet(),
        node_series(
            "booted", LENGTH, lambda minute: READY if minute >= 33 else None, scraped=lambda minute: minute >= 30
        ),
    ]
    check(tmp_path, RULES, series, during(10, 33, 45, 60))
    crashed = node_series("crashed", LENGTH, lambda minute: READY if minute < 30 else stale)
    never = node_series("never", LENGTH, always(None), pool="b")
    firing = {"UserNamespacesReportStale": [POOL, {"pool": "b"}]}
    check(tmp_path, RULES, [*series, crashed, never], {8: {}, 60: firing, 149: firing})


def test_what_a_report_warns_of(tmp_path: Path) -> None:
    """Forecast, slots and contradictions, each by pool and only while it lasts."""
    fails = RestartForecast(outcome="fails", reason="RangeTooSmall", message="")
    coming = (
        reports.make_forecast("boot", outcome="turns", verdict="not-ready"),
        reports.make_forecast("runtime-restart"),
    )
    bad = replace(READY, forecast=fails, forecasts=coming, id_ranges=(FULL,), contradictions=("runtime-kernel-claim",))
    series = [*fleet(), node_series("bad", LENGTH, always(bad)), node_series("worse", LENGTH, always(bad))]
    forecast: dict[str, Any] = {
        "UserNamespacesKubeletRestart": [POOL],
        "UserNamespacesForecast": [POOL | {"event": "boot"}],
    }
    slots = forecast | {"UserNamespacesSlotsLow": [POOL]}
    contradiction = slots | {"UserNamespacesContradiction": [POOL | {"check": "runtime-kernel-claim"}]}
    check(tmp_path, RULES, series, {10: {}, 20: forecast, 40: slots, 70: contradiction})
    busy = node_series("bad", LENGTH, lambda minute: replace(READY, id_ranges=(FULL,)) if minute % 40 < 20 else READY)
    check(tmp_path, RULES, [*fleet(), busy], during(25, 45, 75, 140))


def test_what_cannot_be_published(tmp_path: Path) -> None:
    """Errors and no success for an hour, or nothing written for twelve; an outage of the API server is neither."""

    def refused(minute: int) -> Publishing:
        return Publishing(results={"error": minute // 5}, last_success=None)

    def outage(minute: int) -> Publishing:
        return Publishing(results={"error": 8 * (minute > 40), "success": 1 + minute // 45}, last_success=1.0)

    def quiet(minute: int) -> Publishing:
        return Publishing(results={"success": 1, "skipped": minute // 30}, last_success=1.0)

    def late(minute: int) -> Publishing:
        return Publishing(results={"success": 1}, last_success=60.0 * minute - 13 * 3600)

    series = [*fleet(1, publishing_at=quiet), node_series("outage", LENGTH, always(READY), publishing_at=outage)]
    check(tmp_path, RULES, series, during(45, 60, 90))
    series.append(node_series("refused", LENGTH, always(READY), publishing_at=refused, pool="b"))
    check(tmp_path, RULES, series, {20: {}, 90: {"UserNamespacesNotPublished": [{"pool": "b"}]}})
    check(tmp_path, RULES, fleet(2, publishing_at=late), {10: {}, 20: {"UserNamespacesNotPublished": [POOL]}})


def test_the_last_ready_node_of_a_pool(tmp_path: Path) -> None:
    """One of several, and for a while; a pool of one node is as it is meant to be."""
    falls = node_series("falls", LENGTH, lambda minute: READY if minute < 30 else UNKNOWN)
    lonely = node_series("lonely", LENGTH, always(READY), pool="single")
    series = [*fleet(1), falls, lonely, *fleet(1, UNKNOWN)]
    unknown: dict[str, Any] = {"UserNamespacesUnknown": [POOL | NO_PERMISSION]}
    check(tmp_path, RULES, series, {29: {}, 40: {}, 60: unknown | {"UserNamespacesLastReadyNode": [POOL]}})
    rollout = [*fleet(1), node_series("n", LENGTH, always(READY), scraped=lambda minute: minute % 20 > 3), lonely]
    check(tmp_path, RULES, rollout, during(20, 23, 60, 140))


def kubelet(node: str, attempts: Callable[[int], float], errors: Callable[[int], float]) -> list[Series]:
    """The kubelet's two counters."""
    labels = {"node": node, "job": "kubelet", "instance": f"{node}:10250"}
    name = "kubelet_started_user_namespaced_pods"
    return [plain(f"{name}_total", LENGTH, attempts, **labels), plain(f"{name}_errors_total", LENGTH, errors, **labels)]


def test_ready_but_every_attempt_fails(tmp_path: Path) -> None:
    """Some failures are no contradiction, since a missing image counts as one; where it is not ready, none is."""
    every = lambda minute: minute // 5.0  # noqa: E731
    series = [
        *fleet(3),
        *fleet(1, REFUSED, pool="b"),
        *kubelet("ready-0", every, lambda minute: minute // 10.0),
        *kubelet("ready-1", lambda _: 7.0, lambda _: 7.0),
        *kubelet("not-ready-0", every, every),
    ]
    not_ready: dict[str, Any] = {"UserNamespacesNotReady": [{"pool": "b"} | NOT_READY]}
    check(tmp_path, RULES, series, {60: not_ready, 140: not_ready})
    check(
        tmp_path, RULES, [*series, *kubelet("ready-2", every, every)],
        {10: {}, 60: not_ready | {"UserNamespacesReadyButFailing": [{}]}},
    )  # fmt: skip


def test_counts(tmp_path: Path) -> None:
    """Each node counts once, under its verdict and reason; one without a report is unknown."""
    records = yaml.safe_load(RULES.read_text())["groups"][0]["rules"][:2]
    assert [rule["record"] for rule in records] == ["userns_probe:nodes:count", "userns_probe:nodes_ready:count"]
    none = node_series("none", 5, always(None))
    series = {**none}
    for name, report in (("r", READY), ("s", READY), ("n", REFUSED), ("u", UNKNOWN)):
        series |= node_series(name, 5, always(report))
    rows = [
        ('verdict="ready"', 2),
        ('reason="TmpfsNotIdmappable",verdict="not-ready"', 1),
        ('reason="NotPermitted",verdict="unknown"', 1),
        ('reason="ReportStale",verdict="unknown"', 1),
    ]
    expected = [
        {"labels": f'{{__name__="userns_probe:nodes:count",pool="a",{labels}}}', "value": count}
        for labels, count in rows
    ]
    document = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": f"{values[0]:.0f}x5"} for key, values in series.items()],
                "promql_expr_test": [
                    {"expr": "userns_probe:nodes:count", "eval_time": "4m", "exp_samples": expected},
                    {
                        "expr": "userns_probe:nodes_ready:count",
                        "eval_time": "4m",
                        "exp_samples": [{"labels": '{__name__="userns_probe:nodes_ready:count",pool="a"}', "value": 2}],
                    },
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", tmp_path / "test.yaml")
