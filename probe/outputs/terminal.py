"""The Report for people: the verdict and its fix at a glance, then the stack, then only what is wrong."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from probe.finding import Finding
from probe.outputs import view
from probe.outputs.about_to_change import add_forecasts
from probe.outputs.changes import since_words
from probe.outputs.devices import add_devices
from probe.outputs.filesystems import add_filesystems, add_volumes, render_paths
from probe.outputs.nested import add_nested
from probe.outputs.preflight import preflight
from probe.outputs.text import FEW, MARKS, STYLES, WORST_FIRST, Cell, Page, mark, shortened, spaced
from probe.report import STATUS_OF, Report, decisive_finding

__all__ = ["render_paths", "render_report"]

_FEW_EVIDENCE = 4  # pieces of a finding's evidence without -v
_LONG, _LONG_VERBOSE = 600, 20_000  # characters of one string


def render_report(report: Report, *, width: int | None, colour: bool, verbose: int = 0) -> str:
    """The whole report, folded at *width* columns (at least 40) or not at all; *verbose* adds all evidence."""
    page = Page(width=width, colour=colour, limit=_LONG_VERBOSE if verbose else _LONG)
    decisive = decisive_finding(report)
    others = [finding for finding in report.findings if finding is not decisive]
    _add_verdict(page, report, decisive, others, verbose)
    _add_rows(page, "PREFLIGHT", "without a kubelet, this machine allows", preflight(report))
    _add_stack(page, report, verbose)
    _add_levels(page, report)
    add_nested(page, report, verbose)
    add_devices(page, report, verbose)
    add_filesystems(page, report, verbose)
    add_volumes(page, report.volumes, verbose)
    add_forecasts(page, report, verbose)
    _add_problems(page, report, others, decisive, verbose)
    _add_rest(page, report, verbose)
    return str(page)


def _add_verdict(page: Page, report: Report, decisive: Finding | None, others: list[Finding], verbose: int) -> None:
    """The answer, its reason and cause, since when, whether the kubelet will start again, and what to do now."""
    page.line(*_headline(report))
    page.line(report.message, indent=2)
    for cause in view.causes(report):
        page.line(cause.message, indent=2)
    if since := since_words(report):
        page.line(since, indent=2)
    restart = view.restart(report)
    if restart is not None:
        page.table([[mark(restart.status), f"{restart.name}: {restart.words}"]], marked=True)
    page.blank()
    if decisive is not None:
        _add_decisive(page, decisive, verbose)
        page.blank()
    counts = view.counted(others)
    if counts:
        but = "; none of them changes the verdict" if report.verdict == "ready" else ""
        page.line(f"{'Further problems' if decisive else 'Problems'} below: {counts}{but}", indent=2)
    node = report.node
    about = [view.node_name(report), node.distribution, f"probed {report.probed_at} in {report.duration_seconds:.2f} s"]
    if verbose:
        about += [f"expires {report.expires_at}", f"boot {node.boot_id}", f"userns-probe {report.agent_version}"]
    page.line((" · ".join(word for word in about if word), "dim"), indent=2)


def _headline(report: Report) -> tuple[tuple[str, str], str]:
    status = STATUS_OF[report.verdict]
    title = f"{MARKS[status]} {spaced(report.verdict).upper()}"
    return (title, f"bold {STYLES[status]}"), f"{report.reason and '  '}{report.reason}"


def _add_decisive(page: Page, finding: Finding, verbose: int) -> None:
    """The fix first, with room around it, since it is what gets pasted."""
    service = view.silent_runtime(finding)
    if service:
        page.remediation(
            ("CAUSE  ", "bold"),
            f"{service} does not run, or not at the kubelet's socket:\n  systemctl status {service}",
        )
    if finding.remediation:
        page.remediation((_label(finding).upper(), "bold"), finding.remediation)
    if service or finding.remediation:
        page.blank()
    _add_details(page, replace(finding, remediation=""), verbose, indent=2)
    page.table([[("check", "dim"), finding.id]])


def _add_rows(page: Page, title: str, words: str, rows: list[view.Row]) -> None:
    if rows:
        page.heading((title, "bold"), f"  {words}" if words else "")
        page.table([_row(row) for row in rows], marked=True)


def _row(row: view.Row) -> list[Cell]:
    return ["" if row.status == "skipped" else mark(row.status), row.name, row.words]


def _add_stack(page: Page, report: Report, verbose: int) -> None:
    *above, filesystems = view.layers(report)
    page.heading(("STACK", "bold"))
    page.table([*map(_row, above), *_handlers(report, verbose), _row(filesystems)], marked=True)


def _handlers(report: Report, verbose: int) -> list[list[Cell]]:
    """One row for all handlers that share an OCI runtime and an answer."""
    rows: list[list[Cell]] = []
    for row in view.handlers(report):
        said = ""
        if verbose and row.runtime is not None:
            answer = {True: "yes", False: "no", None: "not said"}
            claims = (answer[row.runtime.user_namespaces], answer[row.runtime.idmap])
            said = " (user_namespaces: {}, idmap: {})".format(*claims)
        names = row.names if verbose or len(row.names) <= FEW else (*row.names[:FEW], f"{len(row.names) - FEW} more")
        words = f"{view.runtime_words(row.runtime)}{said} for {', '.join(names)}: {row.answer}"
        rows.append([mark(row.status), "OCI runtime", f"{words}{row.reason and ', '}{row.reason}"])
    if not rows:
        return [["", "OCI runtime", "not known"]]
    return rows if verbose else shortened(rows)


def _add_levels(page: Page, report: Report) -> None:
    names = {} if page.narrow else view.LEVEL_NAMES
    page.heading(("LEVELS", "bold"), "  of what Pods need")
    page.table(
        [
            [mark(STATUS_OF[verdict]), level, spaced(verdict), (names.get(level, ""), "dim")]
            for level, verdict in report.levels.items()
        ],
        marked=True,
    )


def _add_problems(page: Page, report: Report, others: list[Finding], decisive: Finding | None, verbose: int) -> None:
    counts = view.counted(others)
    if not counts:
        return
    page.heading(("FURTHER PROBLEMS" if decisive else "PROBLEMS", "bold"), f"  {counts}")
    said = {decisive.remediation} if decisive else set()
    same, untried = ([], []) if verbose else (view.consequences(report), _untried(others, decisive))
    for status in WORST_FIRST:
        for finding in others:
            if finding.status == status and finding not in same and finding not in untried:
                _add_finding(page, report, _unrepeated(finding, decisive, said), verbose)
                said.add(finding.remediation)
        _add_folded(page, "for the same reason", [finding for finding in same if finding.status == status])
        _add_folded(page, "could not be tried", untried if status == "unknown" else [])


def _untried(others: list[Finding], decisive: Finding | None) -> list[Finding]:
    """Findings that wait for another one, where more than one has the same remediation."""
    if decisive is None or decisive.reason == "NotTried":
        return []
    waiting = [finding for finding in others if finding.status == "unknown" and finding.reason == "NotTried"]
    repeated = Counter(finding.remediation for finding in waiting)
    return [finding for finding in waiting if repeated[finding.remediation] > 1]


def _add_folded(page: Page, label: str, folded: list[Finding]) -> None:
    if folded:
        page.table([[mark(folded[0].status), f"{label}: {', '.join(finding.id for finding in folded)}"]], marked=True)


def _unrepeated(finding: Finding, decisive: Finding | None, said: set[str]) -> Finding:
    """A finding without the remediation that was shown already, and without the decisive finding's evidence."""
    if not finding.remediation or finding.remediation not in said:
        return finding
    if decisive is not None and finding.evidence == decisive.evidence:
        return replace(finding, remediation="", evidence=())
    return replace(finding, remediation="same as above")


def _add_finding(page: Page, report: Report, finding: Finding, verbose: int) -> None:
    notes = [finding.reason] if finding.reason else []
    if finding.status == "fail" and finding.level == "volumes":
        notes.append("does not change the verdict")
    if finding.id in report.contradictions:
        notes.append("contradiction")
    page.table([[mark(finding.status), (finding.id, "bold"), ", ".join(notes)]], marked=True)
    page.line(finding.message, indent=4)
    _add_details(page, finding, verbose, indent=4)


def _add_details(page: Page, finding: Finding, verbose: int, indent: int) -> None:
    """Remediation, evidence and documentation, each after a label of five columns."""
    if finding.remediation:
        page.remediation((_label(finding), "dim"), finding.remediation, indent)
    evidence = [view.evidence_words(one) for one in finding.evidence]
    if len(evidence) > _FEW_EVIDENCE and not verbose:
        evidence = [*evidence[:_FEW_EVIDENCE], f"and {len(evidence) - _FEW_EVIDENCE} more (-v)"]
    rows: list[list[Cell]] = [[("seen ", "dim"), [*evidence]]] if evidence else []
    if verbose and finding.status not in ("pass", "skipped"):
        rows.append([("docs ", "dim"), finding.documentation])
    page.table(rows, indent)


def _label(finding: Finding) -> str:
    """`next` for an unknown: the remediation of a failure would not make it known, so it is not a fix."""
    return "next " if finding.status == "unknown" else "fix  "


def _add_rest(page: Page, report: Report, verbose: int) -> None:
    passed, skipped = ([f for f in report.findings if f.status == status] for status in ("pass", "skipped"))
    if verbose and (passed or skipped):
        page.heading(("PASSED", "bold"))
        for finding in (*passed, *skipped):
            _add_finding(page, report, finding, verbose)
    page.blank()
    words = [f"{len(passed)} {'check' if len(passed) == 1 else 'checks'} passed"]
    if skipped:
        words.append(f"{len(skipped)} {'does' if len(skipped) == 1 else 'do'} not apply here")
    page.line(*_headline(report))
    page.line((", ".join(words) + ("" if verbose else "; -v shows all, with evidence"), "dim"), indent=2)
