"""The report of a bundle, made again."""

from __future__ import annotations

from probe.bundle.archive import Bundle, BundleError, Manifest
from probe.facts.bundle.replay import replay
from probe.facts.model import Facts
from probe.make_report import make_report
from probe.report import Report


def report_of(manifest: Manifest, facts: Facts) -> Report:
    """The report of *facts*, of the probe that *manifest* describes."""
    return make_report(
        facts,
        agent_version=manifest.agent_version,
        probed_at=manifest.probed_at,
        expires_at=manifest.expires_at,
        duration_seconds=manifest.duration_seconds,
        uptime_seconds=manifest.uptime_seconds,
        volume_paths=manifest.volume_paths,
    )


def report_again(bundle: Bundle) -> Report:
    """The report that this version makes of what was read. *Errors*: BundleError."""
    try:
        return report_of(bundle.manifest, replay(bundle.asked, bundle.manifest.node_name))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is not understood: {str(error)[:200]}") from error
