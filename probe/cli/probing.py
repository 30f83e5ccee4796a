"""A probe of this node, for the verbs that need its Report."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from probe import __version__
from probe.cli.console import Progress, rfc3339
from probe.lean_import import late_patterns

if TYPE_CHECKING:  # importing it takes a third of the time of `--help`
    from probe.report import Report
    from probe.settings import Settings


def probe_node(
    settings: Settings, *, quiet: bool, volume_paths: bool = False, needed_afterwards: Sequence[str] = ()
) -> Report:
    """The Report of this node; *quiet* shows no progress. Call it once in a process, which ends with its report.

    *needed_afterwards* are modules that render the report: they are imported while the node is probed.
    """
    with late_patterns():
        from probe.facts.runtime.cri import start_cri

    gc.disable()
    probed_at, uptime, began = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    with contextlib.nullcontext() if quiet else Progress(settings.budget), start_cri(settings) as cri:
        with late_patterns():
            from probe.facts.gather import gather_facts  # while that process imports, too

        facts = gather_facts(settings, cri, lambda: _import("probe.make_report", *needed_afterwards))
    from probe.make_report import make_report

    return make_report(
        facts,
        agent_version=__version__,
        probed_at=rfc3339(probed_at),
        expires_at=rfc3339(probed_at + settings.lifetime),
        duration_seconds=round(time.monotonic() - began, 3),
        uptime_seconds=round(uptime, 3),
        volume_paths=volume_paths,
    )


@late_patterns()
def _import(*modules: str) -> None:
    for module in modules:
        import_module(module)
