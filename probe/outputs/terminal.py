"""The Report for people: the verdict and its fix at a glance, then the stack, then only what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from probe.checks.check import Finding
from probe.outputs.filesystems import add_filesystems, add_volumes, render_paths
from probe.outputs.text import FEW, MARKS, STYLES, WORST_FIRST, Cell, Page, Part, mark, shortened, spaced
from probe.report import STATUS_OF, OciRuntime, Report, decisive_finding
from probe.verdict import Verdict

__all__ = ["render_paths", "render_report"]

LEVEL_NAMES = {
    "stateless": "user namespace, image, the files every Pod has",
    "projected": "and tokens, Secrets, memory-backed emptyDir",
    "local": "and emptyDir and ConfigMap on disk",
    "volumes": "and every file system mounted for Pods here",
}

_ONE_CAUSE = ("KubeletNotFound", "NotPermitted", "NotTried")  # others tell of several servers, or several files
_FEW_EVIDENCE = 4  # pieces of a finding's evidence without -v
_LONG, _LONG_VERBOSE = 600, 20_000  # characters of one string


def render_report(report: Report, *, width: int, colour: bool, verbose: int = 0) -> str:
    """The whole report in lines of at most *width* columns (40 at least); *verbose* adds all findings and evidence."""
    page = Page(width=width, colour=colour, limit=_LONG_VERBOSE if verbose else _LONG)
    decisive = decisive_finding(report)
    others = [finding for finding in report.findings if finding is not decisive]
    _add_verdict(page, report, decisive, others, verbose)
    _add_stack(page, report, verbose)
    _add_levels(page, report)
    add_filesystems(page, report.filesystems, verbose)
    add_volumes(page, report.volumes, verbose)
    _add_problems(page, report, others, decisive, verbose)
    _add_rest(page, report, verbose)
    return str(page)


def _add_verdict(page: Page, report: Report, decisive: Finding | None, others: list[Finding], verbose: int) -> None:
    """What to know when nothing else is read: the answer, why, and what to do now."""
    status = STATUS_OF[report.verdict]
    title = f"{MARKS[status]} {spaced(report.verdict).upper()}"
    page.line((title, f"bold {STYLES[status]}"), f"{report.reason and '  '}{report.reason}")
    page.line(report.message, indent=2)
    page.blank()
    if decisive is not None:
        _add_decisive(page, decisive, verbose)
        page.blank()
    counts = _counted(others)
    if counts:
        but = "; none of them changes the verdict" if report.verdict == "ready" else ""
        page.line(f"{'Further problems' if decisive else 'Problems'} below: {counts}{but}", indent=2)
    node = report.node
    about = [node.name, node.distribution, f"probed {report.probed_at} in {report.duration_seconds:.2f} s"]
    if verbose:
        about += [f"expires {report.expires_at}", f"boot {node.boot_id}", f"userns-probe {report.agent_version}"]
    page.line((" · ".join(word for word in about if word), "dim"), indent=2)


def _add_decisive(page: Page, finding: Finding, verbose: int) -> None:
    """The fix first, with room around it: it is what gets pasted."""
    if finding.remediation:
        page.advice((_label(finding).upper(), "bold"), finding.remediation)
        page.blank()
    _add_details(page, replace(finding, remediation=""), verbose, indent=2)
    page.table([[("check", "dim"), finding.id]])


def _add_stack(page: Page, report: Report, verbose: int) -> None:
    facts = report.facts
    distribution = facts.kubelet_distribution if facts.kubelet_distribution != "kubelet" else ""
    runtime = _words(facts.runtime_name, facts.runtime_version)
    snapshotter = f", snapshotter {facts.snapshotter}" if facts.snapshotter else ""
    page.heading(("STACK", "bold"))
    page.table(
        [
            [_layer_mark(report, "kernel-"), "kernel", _words(facts.kernel_release, facts.architecture)],
            [_layer_mark(report, "kubelet-"), "kubelet", _words(facts.kubelet_version, distribution)],
            [_layer_mark(report, "runtime-"), "container runtime", f"{runtime}{snapshotter}"],
            *_handlers(report, verbose),
        ],
        marked=True,
    )


def _handlers(report: Report, verbose: int) -> list[list[Cell]]:
    """One row for all handlers that share an OCI runtime and a verdict."""
    runtimes = {runtime.handler: runtime for runtime in report.facts.oci_runtimes}
    groups: dict[tuple[str, Verdict, str], list[str]] = {}
    for handler in report.handlers:
        runtime = _oci_runtime(runtimes.get(handler.name), verbose)
        groups.setdefault((runtime, handler.verdict, handler.reason), []).append(handler.name or "(default)")
    rows: list[list[Cell]] = []
    for (runtime, verdict, reason), names in groups.items():
        answer = f"{runtime} for {_listed(names, verbose)}: {spaced(verdict)}{reason and ', '}{reason}"
        rows.append([mark(STATUS_OF[verdict]), "OCI runtime", answer])
    if not rows:
        return [["", "OCI runtime", "not known"]]
    return rows if verbose else shortened(rows)


def _oci_runtime(runtime: OciRuntime | None, verbose: int) -> str:
    if runtime is None:
        return "not known"
    words = _words(runtime.name, runtime.version)
    if not verbose:
        return words
    answer = {True: "yes", False: "no", None: "not said"}
    return f"{words} (user_namespaces: {answer[runtime.user_namespaces]}, idmap: {answer[runtime.idmap]})"


def _add_levels(page: Page, report: Report) -> None:
    names = {} if page.narrow else LEVEL_NAMES
    page.heading(("WHAT WORKS", "bold"))
    page.table(
        [
            [mark(STATUS_OF[verdict]), level, spaced(verdict), (names.get(level, ""), "dim")]
            for level, verdict in report.levels.items()
        ],
        marked=True,
    )


def _add_problems(page: Page, report: Report, others: list[Finding], decisive: Finding | None, verbose: int) -> None:
    counts = _counted(others)
    if not counts:
        return
    page.heading(("FURTHER PROBLEMS" if decisive else "PROBLEMS", "bold"), f"  {counts}")
    said = {decisive.remediation} if decisive else set()
    same, untried = ([], []) if verbose else (_consequences(others, decisive), _untried(others, decisive))
    for status in WORST_FIRST:
        for finding in others:
            if finding.status == status and finding not in same and finding not in untried:
                _add_finding(page, report, _unrepeated(finding, decisive, said), verbose)
                said.add(finding.remediation)
        if status == "unknown":
            _add_folded(page, "also unknown for the same reason", same)
            _add_folded(page, "also unknown, since they could not be tried", untried)


def _consequences(others: list[Finding], decisive: Finding | None) -> list[Finding]:
    """What is unknown for no other reason than the decisive one, and goes away with it."""
    if decisive is None:
        return []
    return [
        finding
        for finding in others
        if finding.status == "unknown"
        and finding.reason == decisive.reason
        and (finding.reason in _ONE_CAUSE or finding.evidence == decisive.evidence)
    ]


def _untried(others: list[Finding], decisive: Finding | None) -> list[Finding]:
    """What waits for something before it, where there is more than one of that kind and the same to be done."""
    if decisive is None or decisive.reason == "NotTried":
        return []
    waiting = [finding for finding in others if finding.status == "unknown" and finding.reason == "NotTried"]
    advice = Counter(finding.remediation for finding in waiting)
    return [finding for finding in waiting if advice[finding.remediation] > 1]


def _add_folded(page: Page, label: str, folded: list[Finding]) -> None:
    if folded:
        page.table([[mark("unknown"), f"{label}: {', '.join(finding.id for finding in folded)}"]], marked=True)


def _unrepeated(finding: Finding, decisive: Finding | None, said: set[str]) -> Finding:
    """What follows from the decisive finding needs its message only; advice that was given is given once."""
    if not finding.remediation or finding.remediation not in said:
        return finding
    if decisive is not None and finding.evidence == decisive.evidence:
        return replace(finding, remediation="", evidence=())
    return replace(finding, remediation="as above")


def _add_finding(page: Page, report: Report, finding: Finding, verbose: int) -> None:
    notes = [finding.reason] if finding.reason else []
    if finding.status == "fail" and finding.level == "volumes":
        notes.append("not gating")
    if finding.id in report.contradictions:
        notes.append("contradiction")
    page.table([[mark(finding.status), (finding.id, "bold"), ", ".join(notes)]], marked=True)
    page.line(finding.message, indent=4)
    _add_details(page, finding, verbose, indent=4)


def _add_details(page: Page, finding: Finding, verbose: int, indent: int) -> None:
    """What to do, what was seen, where to read on, each behind a label of five columns."""
    if finding.remediation:
        page.advice((_label(finding), "dim"), finding.remediation, indent)
    evidence = [str(one) for one in finding.evidence]
    if len(evidence) > _FEW_EVIDENCE and not verbose:
        evidence = [*evidence[:_FEW_EVIDENCE], f"and {len(evidence) - _FEW_EVIDENCE} more (-v)"]
    rows: list[list[Cell]] = [[("seen ", "dim"), [*evidence]]] if evidence else []
    if verbose:
        rows.append([("read ", "dim"), finding.documentation])
    page.table(rows, indent)


def _label(finding: Finding) -> str:
    """An unknown is not mended by what would mend a failure, so it is not called a fix."""
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
    page.line((", ".join(words) + ("" if verbose else "; -v shows all, with evidence"), "dim"))


def _layer_mark(report: Report, prefix: str) -> Part:
    """The worst of what is wrong in one layer, whose checks' ids begin with its name; nothing when nothing is."""
    found = {finding.status for finding in report.findings if finding.id.startswith(prefix)}
    return next((mark(status) for status in WORST_FIRST if status in found), "")


def _counted(findings: Sequence[Finding]) -> str:
    counts = ((status, sum(finding.status == status for finding in findings)) for status in WORST_FIRST)
    return ", ".join(f"{count} {status}" for status, count in counts if count)


def _listed(names: list[str], verbose: int) -> str:
    if verbose or len(names) <= FEW:
        return ", ".join(names)
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def _words(*words: str) -> str:
    return " ".join(word for word in words if word) or "not known"
