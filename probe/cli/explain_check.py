"""`explain CHECK`: a check of the node, of nested containers or of an event to come, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.cli.console import width

if TYPE_CHECKING:
    from probe.checks.check import Check
    from probe.checks.forecasts.catalog import ForecastCheck
    from probe.checks.nested.check import NestedCheck

    AnyCheck = Check | NestedCheck | ForecastCheck


def known_checks() -> dict[str, AnyCheck]:
    """Every check by its id: of the node, of nested containers, of events to come."""
    from probe.checks.catalog import CHECKS
    from probe.checks.forecasts.catalog import CHECKS as FORECASTS
    from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS

    checks: tuple[AnyCheck, ...] = (*CHECKS, *NESTED_CHECKS, *FORECASTS)
    return {check.id: check for check in checks}


def has_platforms(check: AnyCheck | None) -> bool:
    """True when the check has remediations of its own for a platform."""
    from probe.checks.check import Check

    return isinstance(check, Check)


def text_of(found: AnyCheck | None, platform: str, *, nested: bool, colours: bool) -> str:
    """One check, or all of them: those of *nested* containers, or those of the node."""
    from probe.checks.catalog import CHECKS
    from probe.checks.forecasts.catalog import ForecastCheck
    from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS
    from probe.checks.nested.check import NestedCheck
    from probe.outputs.explain import render_catalog, render_check
    from probe.outputs.explain_forecasts import render_forecast_check
    from probe.outputs.explain_nested import render_nested_catalog, render_nested_check

    columns = width()
    if isinstance(found, ForecastCheck):
        return render_forecast_check(found, width=columns, colour=colours)
    if isinstance(found, NestedCheck):
        return render_nested_check(found, width=columns, colour=colours)
    if found:
        return render_check(found, width=columns, colour=colours, platform=platform)
    if nested:
        return render_nested_catalog(NESTED_CHECKS, width=columns, colour=colours)
    return render_catalog(CHECKS, width=columns, colour=colours)


def json_of(found: AnyCheck | None, *, nested: bool) -> str:
    """The same as a JSON list."""
    from probe.checks.catalog import CHECKS
    from probe.checks.forecasts.catalog import ForecastCheck
    from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS
    from probe.checks.nested.check import NestedCheck
    from probe.outputs.explain import render_checks_json
    from probe.outputs.explain_forecasts import render_forecasts_json
    from probe.outputs.explain_nested import render_nested_json

    if isinstance(found, ForecastCheck):
        return render_forecasts_json((found,))
    if isinstance(found, NestedCheck) or nested:
        return render_nested_json((found,) if isinstance(found, NestedCheck) else NESTED_CHECKS)
    return render_checks_json((found,) if found else CHECKS)
