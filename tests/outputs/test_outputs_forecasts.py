"""Events to come, in every output: text, page, annotation, metric."""

from __future__ import annotations

from typing import Any

import pytest

from lab.reports import make_forecast, make_report
from probe.forecast import Change, EventForecast
from probe.outputs.annotations import node_annotations
from probe.outputs.forecasts import forecast_rows
from probe.outputs.metrics import families
from probe.outputs.page import render_page
from probe.outputs.staleness import expired
from probe.outputs.terminal import render_report
from probe.report import Report
from tests.outputs.test_outputs_terminal import assert_harmless

CHANGE = Change(what="kernel", now="6.12.9", then="6.1.0-30", source="/boot/grub/grub.cfg")
WORSE: dict[str, Any] = {
    "outcome": "turns",
    "verdict": "not-ready",
    "reason": "TmpfsNotIdmappable",
    "message": "a fresh tmpfs: Linux 6.3 is needed",
    "remediation": "Keep the kernel:\n  grubby --set-default X",
    "changes": (CHANGE,),
}


def report(**boot: Any) -> Report:
    """A node that is ready, with this forecast of its next boot."""
    return make_report(forecasts=(make_forecast("boot", **boot), make_forecast("runtime-restart")), nested=None)


def samples(made: Report) -> dict[str, float]:
    found = [one for one in families(made) if one.name == "userns_probe_forecast_ready"]
    return {sample.labels["event"]: sample.value for metric in found for sample in metric.samples}


def test_a_turn_for_the_worse() -> None:
    """A warning with its cause and fix everywhere, and the verdict of today is the same."""
    made = report(**WORSE)
    assert made.verdict == "ready"
    assert [row.status for row in forecast_rows(made)] == ["warn", "pass"]
    text = render_report(made, width=100, colour=False)
    assert "ABOUT TO CHANGE" in text
    page = render_page(made)
    for words in ("turns not ready", "TmpfsNotIdmappable", "6.1.0-30", "grubby --set-default X"):
        assert words in text
        assert words in page
    assert samples(made) == {"boot": 0.0, "runtime-restart": 1.0}
    assert node_annotations(made)["userns-probe.io/forecasts"] == "boot=not-ready,runtime-restart=ready"


@pytest.mark.parametrize(
    ("boot", "status", "shown", "sample"),
    [
        ({}, "pass", False, 1.0),
        ({"pending": "the system asks for a reboot"}, "pass", True, 1.0),
        ({"changes": (CHANGE,)}, "pass", True, 1.0),
        ({"outcome": "unknown", "verdict": "unknown", "message": "it is unknown: /boot: no"}, "unknown", True, None),
        ({"outcome": "unknown", "verdict": "unknown", "reason": "NotTried"}, "unknown", False, None),
    ],
)
def test_what_is_shown(boot: dict[str, Any], status: str, shown: bool, sample: float | None) -> None:
    """Nothing where nothing changes, except for -v; an unknown one has no sample."""
    made = report(**boot)
    assert forecast_rows(made)[0].status == status
    assert ("ABOUT TO CHANGE" in render_report(made, width=100, colour=False)) is shown
    assert "ABOUT TO CHANGE" in render_report(made, width=100, colour=False, verbose=1)
    assert samples(made).get("boot") == sample


def test_an_event_that_changes_nothing_is_not_shown_beside_one_that_does() -> None:
    """Not even where newer versions or the other event have something to say; -v shows both."""
    made = report(changes=(CHANGE,))
    text, verbose = (render_report(made, width=100, colour=False, verbose=level) for level in (0, 1))
    assert "next boot" in text
    assert "next runtime restart" not in text
    assert "next runtime restart" in verbose


def test_to_stay_not_ready_is_no_success() -> None:
    """No tick beside it, and no warning: the verdict of today has said it."""
    bad = make_report(forecasts=(make_forecast("boot", outcome="stays", verdict="not-ready"),), verdict="not-ready")
    assert [row.status for row in forecast_rows(bad)] == ["skipped"]


def test_a_turn_for_the_better_is_no_warning() -> None:
    """A node that is not ready now may be afterwards."""
    better = make_forecast("boot", outcome="turns", verdict="ready")
    worse = make_report(forecasts=(better,), verdict="not-ready")
    assert [row.status for row in forecast_rows(worse)] == ["pass"]


def test_an_expired_report_foretells_nothing() -> None:
    """Nor does a metric or an annotation of it."""
    old = expired(report(**WORSE))
    assert old.forecasts == ()
    assert samples(old) == {}
    assert "userns-probe.io/forecasts" not in node_annotations(old)


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\nb\n  rm -rf /", "\u202eevil", "<script>alert(1)</script>", "x" * 5000]
)
def test_a_hostile_report_is_harmless(text: str) -> None:
    """Whatever its strings hold."""
    change = Change(what=text, now=text, then=text, source=text)
    forecast = EventForecast(
        event="boot", outcome="turns", verdict="not-ready", levels={text: "ready"}, reason=text, message=text,
        remediation=text, pending=text, changes=(change,),
    )  # fmt: skip
    made = make_report(forecasts=(forecast,))
    assert_harmless(render_report(made, width=80, colour=False), 80)
    assert "<script>" not in render_page(made).partition("</style>")[2]
    assert len(node_annotations(made)["userns-probe.io/forecasts"]) < 100
