"""The smallest Pod in which a builder or an engine works on a node, as YAML with the reason of each line. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from probe.nested import Field, NestedLevel, NestedVerdict, PodRequest
from probe.outputs.text import visible
from probe.outputs.view import node_name
from probe.outputs.workloads import Workload
from probe.report import Report
from probe.verdict import Verdict

_PLAIN = re.compile(r"[A-Za-z0-9._/=:-]{1,200}")
"""Values that need no quoting in YAML; a report may come from anywhere."""
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Handlers that a RuntimeClass can name. *Source*: k8s.io/api node/v1, RuntimeClass.handler."""
_SCRIPT = (
    "mkdir -p /sys/fs/cgroup/init",
    "# A process that ends meanwhile cannot be moved (ESRCH).",
    "xargs -rn1 < /sys/fs/cgroup/cgroup.procs > /sys/fs/cgroup/init/cgroup.procs || :",
)


class Manifest(Struct, frozen=True):
    """The manifest, and whether a Pod made of it works."""

    verdict: Verdict
    text: str


class _Lines:
    """Lines of YAML, each with its reason as a comment."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, indent: int, text: str, why: str = "") -> None:
        self.lines.append(f"{'  ' * indent}{text}{f'  # {visible(why)}' if why else ''}")

    def say(self, text: str) -> None:
        """A comment of its own, line by line."""
        self.lines += [f"# {visible(line)}".rstrip() for line in text.split("\n")]


def render_manifest(report: Report, name: str, workload: Workload) -> Manifest:
    """The manifest of *workload* called *name*; of a level that is not ready, only what the node must change."""
    level, out = workload.level, _Lines()
    where = node_name(report) or "this node"
    told = report.nested.levels.get(level) if report.nested else None
    if told is None:
        out.say(f"{name} on {where}: unknown, as the report says nothing of it or has expired")
        return Manifest("unknown", _text(out))
    handler = _handler(report, level)
    verdict: Verdict = "ready" if handler else told.verdict
    if verdict == "not-ready":
        out.say(f"{name} does not run in a Pod on {where}: {told.reason}: {told.message}")
        if told.node:
            out.say(f"\nThe node must change first:\n{told.node}")
        return Manifest(verdict, _text(out))
    with_handler = f', with the runtime handler "{handler}"' if handler else ""
    proven = "works" if verdict == "ready" else f"is not proven to work ({told.reason}: {told.message})"
    out.say(f"{name} {proven} on {where} as of {report.probed_at}: level {level}{with_handler}")
    _pod(out, name, workload, _requests(workload, told), handler)
    return Manifest(verdict, _text(out))


def _handler(report: Report, level: NestedLevel) -> str:
    """A handler that is ready where the default one is not; empty when the default one is, or none."""
    rows = report.nested.handlers if report.nested else ()
    ready = [row.name for row in rows if row.levels.get(level) == "ready" and _LABEL.fullmatch(row.name or "x")]
    return "" if "" in ready or not ready else ready[0]


def _requests(workload: Workload, told: NestedVerdict) -> list[PodRequest]:
    """The requests of the level and the workload; ALL includes each other capability."""
    asked = [*(one for one in told.pod if one.field not in workload.left), *workload.more]
    wanted = [one for one in asked if one.field == "entrypoint" or _PLAIN.fullmatch(one.value)]
    if any(one.field == "capability" and one.value == "ALL" for one in wanted):
        wanted = [one for one in wanted if one.field != "capability" or one.value == "ALL"]
    return wanted


def _pod(out: _Lines, name: str, workload: Workload, wanted: list[PodRequest], handler: str) -> None:
    def of(*fields: Field) -> list[PodRequest]:
        return [one for one in wanted if one.field in fields]

    for one in of("subordinate-ids"):
        out.say(f"In the image, /etc/subuid and /etc/subgid of UID {workload.user or 1000} say {one.value}: {one.why}.")
    for one in of("file-capability"):
        program, _, capability = one.value.partition("=")
        out.say(f"In the image, setcap {capability}=ep /usr/bin/{program}: {one.why}.")
    for one in of("device"):
        out.say(f"{one.value}, if a device plugin or CDI hands it out: {one.why}.")
    for note in workload.notes:
        out.say(note)
    out.add(0, "apiVersion: v1")
    out.add(0, "kind: Pod")
    out.add(0, "metadata:")
    out.add(1, f"name: {name}")
    if annotations := of("annotation"):
        out.add(1, "annotations:")
        for one in annotations:
            key, _, value = one.value.partition("=")
            out.add(2, f'{key}: "{value}"', one.why)
    out.add(0, "spec:")
    out.add(1, "hostUsers: false", "the Pod has a user namespace")
    if handler:
        out.add(1, f"runtimeClassName: {handler}", "a RuntimeClass of this handler, as the default one will not do")
    out.add(1, "containers:")
    out.add(2, f"- name: {name}")
    out.add(3, f"image: {name}", f"an image with {name}")
    _command(out, workload, of("entrypoint"))
    if environment := of("environment"):
        out.add(3, "env:")
        for one in environment:
            key, _, value = one.value.partition("=")
            out.add(4, f"- {{name: {key}, value: {value}}}", one.why)
    _security(out, workload, of)
    _volumes(out, workload, of)


def _command(out: _Lines, workload: Workload, script: list[PodRequest]) -> None:
    if script:
        out.add(3, "command:")
        for word in ("sh", "-ec"):
            out.add(4, f"- {word}")
        out.add(4, "- |")
        for one in script:
            out.add(5, f"# {visible(one.why)}")
        for line in _SCRIPT:
            out.add(5, line)
        out.add(5, f"exec {' '.join(workload.command)}")
    elif workload.command:
        out.add(3, f"command: [{', '.join(workload.command)}]")


def _security(out: _Lines, workload: Workload, of: Callable[..., list[PodRequest]]) -> None:
    """The security context; capabilities are written one to a line."""
    out.add(3, "securityContext:")
    if workload.user:
        out.add(4, f"runAsUser: {workload.user}", "a rootless engine is not the Pod's root")
    if capabilities := of("capability"):
        out.add(4, "capabilities:")
        out.add(5, "add:")
        for one in capabilities:
            out.add(6, f"- {one.value}", one.why)
    for one in of("escalation"):
        out.add(4, f"allowPrivilegeEscalation: {one.value}", one.why)
    for one in of("seccomp"):
        out.add(4, f"seccompProfile: {{type: {one.value}}}", one.why)
    for one in of("apparmor"):
        out.add(4, f"appArmorProfile: {{type: {one.value}}}", one.why)
    for one in of("selinux"):
        out.add(4, f"seLinuxOptions: {{type: {one.value}}}", one.why)
    for one in of("proc-mount")[:1]:
        out.add(4, f"procMount: {one.value}", one.why)


def _volumes(out: _Lines, workload: Workload, of: Callable[..., list[PodRequest]]) -> None:
    volumes = [("storage", workload.storage or one.value, "{}", one.why) for one in of("volume")[:1]]
    volumes += [
        (f"memory-{number}", one.value, "{medium: Memory}", one.why) for number, one in enumerate(of("tmpfs"), 1)
    ]
    if not volumes:
        return
    out.add(3, "volumeMounts:")
    for name, path, _, why in volumes:
        out.add(4, f"- {{name: {name}, mountPath: {path}}}", why)
    out.add(1, "volumes:")
    for name, _, source, _ in volumes:
        out.add(2, f"- {{name: {name}, emptyDir: {source}}}")


def _text(out: _Lines) -> str:
    return "".join(f"{line}\n" for line in out.lines)
