"""A Report in the rows and sentences that the terminal and the page share: pure, and without a layout."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from probe.finding import Evidence, Finding
from probe.outputs.text import WORST_FIRST, spaced
from probe.report import STATUS_OF, FilesystemRow, HandlerVerdict, OciRuntime, Report, VolumeRow, decisive_finding
from probe.terms import Status

LEVEL_NAMES = {
    "stateless": "a user namespace, the image, the files of every Pod",
    "projected": "also tokens, Secrets, memory-backed emptyDir",
    "local": "also emptyDir and ConfigMap on disk",
    "volumes": "also every file system mounted for Pods here",
}

_LAYERS = {
    "kernel": "kernel",
    "sandbox": "kernel",
    "kubelet": "kubelet",
    "ids": "kubelet",
    "runtime": "container runtime",
}
"""The layer of a check, by the first word of its id."""
_ONE_CAUSE = ("KubeletNotFound", "NotPermitted", "NotTried")  # other reasons name several servers, or several files
_SERVICES = {"/run/containerd/containerd.sock": "containerd", "/run/crio/crio.sock": "crio"}
"""By socket. K3s and RKE2 have containerd inside of a service whose name depends on the node's role."""
_NO_ANSWER = re.compile("No such file or directory|Connection refused|ENOENT|ECONNREFUSED")


class Row(Struct, frozen=True):
    """One line of the stack, of the restart forecast or of the preflight."""

    status: Status
    name: str
    words: str


class HandlerRow(Struct, frozen=True):
    """All runtime handlers that share an OCI runtime and an answer."""

    status: Status
    runtime: OciRuntime | None
    names: tuple[str, ...]
    answer: str
    reason: str


class Answer(Struct, frozen=True):
    """The answer about a file system: one word, and why."""

    status: Status
    word: str
    why: str
    call: str
    """The call that decided with its errno, for those who want to know: `EINVAL from mount_setattr`."""


def node_name(report: Report) -> str:
    """As Kubernetes names the node, else its host name; empty when neither is known."""
    return report.node.name or report.node.hostname


def layer_of(finding: Finding, report: Report) -> str:
    """The layer that a finding is about; empty when it is about none."""
    if finding.id in ("runtime-oci-features", "runtime-trial"):
        return "OCI runtime"
    if finding.reason in ("HandlerWithoutUserNamespaces", "HandlerUnknown") and report.handlers:
        return "OCI runtime"
    return _LAYERS.get(finding.id.partition("-")[0], "")


def layers(report: Report) -> list[Row]:
    """Kernel, kubelet, container runtime and file systems, each with the worst finding that is its own."""
    facts = report.facts
    distribution = facts.kubelet_distribution if facts.kubelet_distribution != "kubelet" else ""
    snapshotter = f", snapshotter {facts.snapshotter}" if facts.snapshotter else ""
    words = {
        "kernel": words_of(facts.kernel_release, facts.architecture),
        "kubelet": words_of(facts.kubelet_version, distribution),
        "container runtime": words_of(facts.runtime_name, facts.runtime_version) + snapshotter,
        "file systems": tried(report.filesystems),
    }
    told = consequences(report)
    findings = [one for one in report.findings if one not in told and (one.gating or one.status != "unknown")]
    found = {name: {one.status for one in findings if layer_of(one, report) == name} for name in words}
    found["file systems"] = {answer(row).status for row in report.filesystems if row.role != "volume"}
    return [Row(_worst(found[name]), name, text) for name, text in words.items()]


def handlers(report: Report) -> list[HandlerRow]:
    """A row for each OCI runtime and answer, the default handler's first; none fails for another layer's fault."""
    runtimes = {runtime.handler: runtime for runtime in report.facts.oci_runtimes}
    decisive = decisive_finding(report)
    blamed = layer_of(decisive, report) if decisive else ""
    groups: dict[tuple[str, str, str], tuple[HandlerRow, list[str]]] = {}
    for handler in report.handlers:
        runtime = runtimes.get(handler.name)
        status, answer, reason = _handler_answer(handler, runtime, report.reason if blamed != "OCI runtime" else "")
        key = (words_of(runtime.name, runtime.version) if runtime else "", answer, reason)
        groups.setdefault(key, (HandlerRow(status, runtime, (), answer, reason), []))[1].append(
            handler.name or "(default)"
        )
    found = sorted(groups.values(), key=lambda group: "(default)" not in group[1])
    return [HandlerRow(row.status, row.runtime, tuple(names), row.answer, row.reason) for row, names in found]


def _handler_answer(handler: HandlerVerdict, runtime: OciRuntime | None, elsewhere: str) -> tuple[Status, str, str]:
    """Status, answer and reason; *elsewhere* is the reason of a verdict that another layer decides."""
    if handler.verdict == "ready" or not elsewhere or handler.reason != elsewhere:
        return STATUS_OF[handler.verdict], spaced(handler.verdict), handler.reason
    claims: dict[bool | None, tuple[Status, str]] = {
        True: ("pass", "supports user namespaces"),
        False: ("fail", "does not support user namespaces"),
        None: ("skipped", "support for user namespaces is not known"),
    }
    return (*claims[runtime.user_namespaces if runtime else None], "")


def runtime_words(runtime: OciRuntime | None) -> str:
    """`runc 1.3.6`."""
    return words_of(runtime.name, runtime.version) if runtime else "not known"


def restart(report: Report) -> Row | None:
    """Row of the restart forecast; none without a kubelet."""
    forecast = report.forecast
    if forecast is None:
        return None
    status: Status = {"starts": "pass", "fails": "fail", "unknown": "unknown"}[forecast.outcome]  # type: ignore[assignment]
    words = {
        "starts": "the kubelet will start again",
        "fails": f"the kubelet will not start again: {forecast.reason}",
        "unknown": f"unknown whether the kubelet will start again: {forecast.reason}",
    }[forecast.outcome]
    return Row(status, "next restart", words)


def causes(report: Report) -> list[Finding]:
    """Findings that explain why the decisive one could not be answered."""
    decisive = decisive_finding(report)
    if decisive is None or decisive.reason != "NotPermitted":
        return []
    return [one for one in report.findings if one.id == "probe-privileges" and one.status not in ("pass", "skipped")]


def silent_runtime(finding: Finding) -> str:
    """The service behind a CRI socket that does not answer, as systemctl names it; empty when it does."""
    for one in finding.evidence:
        socket = re.search(r"^CRI .*?(/run/\S+)", one.source)
        if finding.status == "unknown" and socket and _NO_ANSWER.search(one.problem):
            return _SERVICES.get(socket[1], "")
    return ""


def consequences(report: Report) -> list[Finding]:
    """Findings that say what the decisive one, or the restart forecast, says already."""
    decisive = decisive_finding(report)
    forecast = report.forecast
    told = []
    for finding in report.findings:
        if finding is decisive:
            continue
        follows = decisive is not None and _follows(finding, decisive, report)
        failing = forecast is not None and forecast.outcome == "fails" and bool(forecast.reason)
        if follows or (failing and finding.status == "unknown" and forecast.reason in finding.message):  # type: ignore[union-attr]
            told.append(finding)
    return told


def _follows(finding: Finding, decisive: Finding, report: Report) -> bool:
    if finding.id in report.contradictions and finding.status == "warn":
        return any(decisive.message in one.value or one in decisive.evidence for one in finding.evidence)
    if finding.status != "unknown" or finding.reason != decisive.reason:
        return False
    return finding.reason in _ONE_CAUSE or finding.evidence == decisive.evidence


def answer(row: FilesystemRow | VolumeRow) -> Answer:
    """`supported`, `refused` or `unknown`, or the way in which it is usable only partly."""
    why = "; ".join(filter(None, (row.reason, row.expected or "")))
    if not why and row.usable == "partly":
        why = "mounts below it appear as nobody's (UID 65534)"
        if isinstance(row, FilesystemRow):
            why = _count(row.mounts_below, "mount below appears", "mounts below appear") + " as nobody's (UID 65534)"
    step, number = (row.step, row.errno) if isinstance(row, FilesystemRow) else ("", "")
    call = f"{number} from {step}" if number and step else number
    if row.result != "supported":
        return Answer("fail" if row.result == "refused" else "unknown", row.result, why, call)
    usable: dict[str, tuple[Status, str]] = {
        "read-only": ("pass", "supported, read-only"),
        "partly": ("warn", "supported in part"),
        "no": ("fail", "not usable"),
    }
    return Answer(*usable.get(row.usable or "", ("pass", "supported")), why, call)


def evidence_words(one: Evidence) -> str:
    """`/proc/44/exe --version: 1.36.2`, with yes and no for true and false."""
    words = {"true": "yes", "false": "no"}
    return f"{one.source}: {one.problem or words.get(one.value, one.value)}"


def counted(findings: Iterable[Finding]) -> str:
    """`1 fail, 2 warn`."""
    statuses = [finding.status for finding in findings]
    return ", ".join(f"{statuses.count(status)} {status}" for status in WORST_FIRST if status in statuses)


def _worst(found: set[Status]) -> Status:
    """The worst status of a layer; `skipped` when no check passed there."""
    order: tuple[Status, ...] = (*WORST_FIRST, "pass")
    return next((status for status in order if status in found), "skipped")


def tried(rows: Iterable[FilesystemRow]) -> str:
    """`3 supported, 1 refused (tmpfs)`, without volumes."""
    words = []
    own = [row for row in rows if row.role != "volume"]
    for result in ("supported", "refused", "unknown"):
        found = [row for row in own if row.result == result]
        names = "" if result == "supported" else f" ({', '.join(dict.fromkeys(row.role for row in found))})"
        words += [f"{len(found)} {result}{names}"] if found else []
    return ", ".join(words) or "not known"


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def words_of(*words: str) -> str:
    return " ".join(word for word in words if word) or "not known"
