"""The panels of the Grafana dashboard: which question each answers, by which query.

Nodes are counted by the series of userns-probe alone; kube-state-metrics and the kubelet add the nodes without an agent
and the Pods that were started.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

S = 'cluster=~"$cluster",pool=~"$pool"'
"""Selector of the chosen nodes."""
SAME = "on (cluster, job, instance)"
"""Series of the same exporter."""
AGENTS = f"count(userns_probe_build_info{{{S}}})"
ATTEMPTS = "kubelet_started_user_namespaced_pods_total"
ERRORS = "kubelet_started_user_namespaced_pods_errors_total"
C = 'cluster=~"$cluster"'


class Chart(Struct, frozen=True):
    """A panel: its legend and queries, and what its numbers are."""

    kind: Literal["stat", "series", "stacked", "bars", "table"]
    title: str
    description: str
    queries: dict[str, str]
    """Legend -> query; in a table, the name of the column with the value."""
    unit: str = "short"
    width: int = 8


def verdict(word: str) -> str:
    """The series of one verdict: 1 where it is the current one, else 0."""
    return f'userns_probe_verdict{{{S},verdict="{word}"}}'


def with_label(series: str, label: str, info: str) -> str:
    """*series* of value 1, with a label of another one of the same exporter."""
    return f"({series} == 1) * {SAME} group_left ({label}) userns_probe_{info}"


def versions(title: str, description: str, series: str, *labels: str) -> Chart:
    """Nodes by these labels of an info series."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return Chart("bars", title, description, {legend: f"count by ({', '.join(labels)}) (userns_probe_{series})"})


FLEET = (
    Chart("stat", "Ready", "Nodes whose verdict is ready.", {"Nodes": f"sum({verdict('ready')})"}, width=5),
    Chart("stat", "Not ready", "Nodes whose verdict is not ready.", {"Nodes": f"sum({verdict('not-ready')})"}, width=5),
    Chart("stat", "Unknown", "Nodes whose verdict is unknown.", {"Nodes": f"sum({verdict('unknown')})"}, width=5),
    Chart(
        "stat",
        "No agent",
        "Nodes of the cluster, of any pool, without a series of userns-probe. Needs kube-state-metrics.",
        {
            "Nodes": f'count(kube_node_info{{{C},os_image!~"Windows.*"}}'
            " unless on (cluster, node) userns_probe_node_info) or vector(0)"
        },
        width=5,
    ),
    Chart(
        "stat",
        "Share that is ready",
        "Of the nodes with an agent.",
        {"Share": f"sum({verdict('ready')}) / {AGENTS}"},
        "percentunit",
        4,
    ),
)

POOLS = (
    Chart(
        "stacked",
        "Verdicts",
        "Nodes by verdict, over time.",
        {"{{verdict}}": f"sum by (verdict) (userns_probe_verdict{{{S}}})"},
        width=12,
    ),
    Chart(
        "series",
        "Share that is ready, by pool",
        "Of the nodes of the pool with an agent.",
        {"{{pool}}": f"avg by (pool) ({verdict('ready')})"},
        "percentunit",
        12,
    ),
    Chart(
        "table",
        "Pools",
        "Nodes of each pool by verdict.",
        {
            word.replace("-", " "): f"sum by (cluster, pool) ({verdict(word)})"
            for word in ("ready", "not-ready", "unknown")
        },
        width=12,
    ),
    Chart(
        "bars",
        "Levels",
        "Share of the nodes whose Pods have everything of this level and those before it.",
        {"{{level}}": f"sum by (level) (userns_probe_level_ready{{{S}}}) / scalar({AGENTS})"},
        "percentunit",
        12,
    ),
)

REASONS = (
    Chart(
        "stacked",
        "Reasons",
        "Nodes that are not ready or unknown, by reason.",
        {"{{reason}}": f"count by (reason) (userns_probe_blocking_reason{{{S}}})"},
        width=12,
    ),
    Chart(
        "bars",
        "Checks that fail",
        "Nodes on which the check fails; `userns-probe explain CHECK` has the fix.",
        {"{{check}}": f"count by (check) (userns_probe_check_status{{{S}}} == 3)"},
        width=12,
    ),
    Chart(
        "table",
        "Nodes that are not ready or unknown",
        "Each with its reason.",
        {"count": with_label(f'userns_probe_verdict{{{S},verdict!="ready"}}', "reason", "blocking_reason")},
        width=24,
    ),
)

VERSIONS = (
    *(
        Chart(
            "bars",
            f"Kernels: {word}",
            f"Nodes whose verdict is {word}, by kernel.",
            {"{{release}}": f"count by (release) ({with_label(verdict(name), 'release', 'kernel_info')})"},
        )
        for word, name in (("ready", "ready"), ("not ready", "not-ready"))
    ),
    versions("Kubelets", "Nodes by version of the kubelet.", f"kubelet_info{{{S}}}", "version"),
    versions("Container runtimes", "Nodes by container runtime.", f"runtime_info{{{S}}}", "name", "version"),
    versions(
        "OCI runtimes",
        "Nodes by OCI runtime of the default handler.",
        f'oci_runtime_info{{{S},handler=""}}',
        "name",
        "version",
    ),
    versions("Agents", "Nodes by version of userns-probe.", f"build_info{{{S}}}", "version"),
)

SUPPORT = (
    Chart(
        "bars",
        "File systems that refuse",
        "Nodes on which the kernel refuses an idmapped mount of this file system in this role.",
        {"{{fstype}} ({{role}})": f"count by (fstype, role) (userns_probe_filesystem_supported{{{S}}} == 0)"},
        width=12,
    ),
    Chart(
        "bars",
        "Handlers",
        "Share of the nodes with this handler on which its Pods run; the default handler has no name.",
        {"{{handler}}": f"avg by (handler) (userns_probe_handler_ready{{{S}}})"},
        "percentunit",
        12,
    ),
)

CAPACITY = (
    Chart(
        "series",
        "Slots in use",
        "Pods with a user namespace, by pool: each takes one slot.",
        {"{{pool}}": f'sum by (pool) (userns_probe_id_slots{{{S},state="used"}})'},
    ),
    Chart(
        "series",
        "Fewest free slots",
        "Of all nodes of the pool.",
        {"{{pool}}": f'min by (pool) (userns_probe_id_slots{{{S},state="free"}})'},
    ),
    Chart(
        "table",
        "Nodes with the smallest share of free slots",
        "Less than a tenth is an alert.",
        {
            "free": f'bottomk(10, userns_probe_id_slots{{{S},state="free"}}'
            ' / ignoring (state) userns_probe_id_slots{state="total"})'
        },
        "percentunit",
    ),
)

KUBELET = (
    Chart(
        "series",
        "Pods with a user namespace",
        "Attempts to start one, and failures (a missing image, too), in half an hour. Kubelet 1.34 or later.",
        {"attempts": f"sum(increase({ATTEMPTS}{{{C}}}[30m]))", "failures": f"sum(increase({ERRORS}{{{C}}}[30m]))"},
        width=12,
    ),
    Chart(
        "stat",
        "Ready, but every attempt fails",
        "Nodes whose verdict is ready and on which each attempt of half an hour failed.",
        {
            "Nodes": f"count((increase({ERRORS}{{{C}}}[30m]) > 0"
            f" and increase({ERRORS}[30m]) >= increase({ATTEMPTS}[30m]))"
            f" and on (cluster, node) ({verdict('ready')} == 1)) or vector(0)"
        },
        width=6,
    ),
    Chart(
        "stat",
        "Will not start again",
        "Nodes whose kubelet is expected to fail at its next start.",
        {"Nodes": f"count(userns_probe_kubelet_restart_forecast{{{S}}} == 0) or vector(0)"},
        width=6,
    ),
)

FRESHNESS = (
    Chart(
        "series",
        "Age of the oldest probe",
        "By pool; a probe is due every half an hour.",
        {"{{pool}}": f"max by (pool) (time() - userns_probe_last_probe_timestamp_seconds{{{S}}})"},
        "s",
    ),
    Chart(
        "stat",
        "Expired or missing reports",
        "Nodes whose probe does not report.",
        {"Nodes": f'sum(userns_probe_blocking_reason{{{S},reason="ReportStale"}}) or vector(0)'},
        width=4,
    ),
    Chart(
        "stat",
        "Will not stay ready",
        "Nodes that are ready until they boot or their container runtime restarts.",
        {
            "Nodes": f"count(count by (cluster, node) (userns_probe_forecast_ready{{{S}}} == 0"
            f" and on (cluster, node) ({verdict('ready')} == 1))) or vector(0)"
        },
        width=4,
    ),
    Chart(
        "series",
        "Rounds of publishing",
        "Results of writing to the Nodes, in an hour.",
        {"{{result}}": f"sum by (result) (increase(userns_probe_publish_total{{{S}}}[1h]))"},
    ),
    Chart(
        "series",
        "Changes of verdict",
        "Nodes that became ready or ceased to be, in an hour.",
        {"{{pool}}": f"sum by (pool) (changes({verdict('ready')}[1h]))"},
    ),
    Chart(
        "bars",
        "Different kernels in a pool",
        "More than one: an upgrade that is not finished.",
        {"{{pool}}": f"count by (pool) (count by (pool, release) (userns_probe_kernel_info{{{S}}}))"},
    ),
    Chart(
        "bars",
        "Contradictions",
        "Nodes on which a layer claims what a live attempt disproves, or the reverse.",
        {"{{check}}": f"count by (check) (userns_probe_contradiction{{{S}}})"},
    ),
)

ROWS: dict[str, tuple[Chart, ...]] = {
    "Fleet": FLEET,
    "Pools": POOLS,
    "Reasons": REASONS,
    "Versions": VERSIONS,
    "File systems and handlers": SUPPORT,
    "ID capacity": CAPACITY,
    "The kubelet": KUBELET,
    "Freshness and drift": FRESHNESS,
}
