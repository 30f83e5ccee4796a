"""The Grafana dashboard as JSON, made of its charts; scripts/update-monitoring writes it."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from lab.deploy.charts import ROWS, Chart
from lab.deploy.manifests import CHECKOUT

DASHBOARD = CHECKOUT / "deploy/grafana/userns-probe.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLOURS = {"ready": "green", "not-ready": "red", "unknown": "#8e8e8e"}
PANELS = {"stat": stat.Panel, "series": timeseries.Panel, "bars": bargauge.Panel, "table": table.Panel}


def dashboard() -> str:
    """The dashboard as JSON, in Grafana's classic schema."""
    made = (
        build.Dashboard("User namespaces: nodes")
        .uid("userns-probe")
        .description("Do Pods with hostUsers: false run on the nodes, and if not, why?")
        .tags(["kubernetes", "userns-probe"])
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("cluster", "userns_probe_build_info"))
        .with_variable(_variable("pool", 'userns_probe_build_info{cluster=~"$cluster"}'))
    )
    for title, charts in ROWS.items():
        made = made.with_row(build.Row(title))
        for chart in charts:
            made = made.with_panel(_panel(chart))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(made.build())}\n"


def _variable(name: str, series: str) -> build.QueryVariable:
    """A choice among the values of a label; all of them, also where there is none, at first."""
    return (
        build.QueryVariable(name)
        .label(name.capitalize())
        .query(f"label_values({series}, {name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(chart: Chart) -> Any:
    panel: Any = PANELS["series" if chart.kind == "stacked" else chart.kind]()
    panel = panel.title(chart.title).description(chart.description).unit(chart.unit).datasource(SOURCE)
    panel = panel.span(chart.width).height(5 if chart.kind == "stat" else 8)
    for index, (legend, query) in enumerate(chart.queries.items()):
        panel = panel.with_target(_target(chart, chr(ord("A") + index), legend, query))
    if chart.kind in ("series", "stacked"):
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
        panel = panel.min(0).legend(legend.show_legend(True)).tooltip(tooltip)
    if chart.kind == "stacked":
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(60)
        for word, colour in COLOURS.items():
            panel = panel.override_by_name(word, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    if chart.kind in ("stat", "bars"):
        panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if chart.kind == "stat":
        panel = panel.graph_mode(BigValueGraphMode.NONE)
    if chart.kind == "table":
        columns = {f"Value #{chr(ord('A') + index)}": name for index, name in enumerate(chart.queries)}
        hidden = dict.fromkeys(("Time", "__name__", "container", "endpoint", "instance", "job", "namespace"), True)
        options = {"excludeByName": hidden, "renameByName": columns | {"Value": next(iter(chart.queries))}}
        panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
        panel = panel.with_transformation(DataTransformerConfig(id_val="organize", options=options))
    return panel


def _target(chart: Chart, name: str, legend: str, query: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(name).expr(query).datasource(SOURCE)
    if chart.kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    return (target.instant() if chart.kind in ("stat", "bars") else target.range()).legend_format(legend)
