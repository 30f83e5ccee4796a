"""The Report: everything that is said about a node, in one immutable, versioned document."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from probe.devices import DeviceKind
from probe.finding import Finding
from probe.forecast import EventForecast
from probe.nested import Nested
from probe.proof import Proof
from probe.terms import Role, Status, Usable
from probe.verdict import Verdict, decisive

SCHEMA: Literal["userns-probe.io/v1"] = "userns-probe.io/v1"

VOLUME_ROWS = 1000
"""Volumes that get a row of their own: a single Pod may have ten thousand file systems, and a report is bounded."""

STATUS_OF: dict[Verdict, Status] = {"ready": "pass", "not-ready": "fail", "unknown": "unknown"}
"""The status of a finding that alone makes a verdict."""


class Node(Struct, frozen=True, kw_only=True):
    """The node of the Report, and its boot."""

    name: str | None
    boot_id: str
    """Empty when it could not be read; compare with `.status.nodeInfo.bootID`."""
    distribution: str
    hostname: str = ""
    """The kernel's host name, to show where `name` is null; empty when the probe cannot see it."""
    uptime_seconds: float | None = None
    """Uptime at the start of the probe (CLOCK_BOOTTIME): the age of the report, independent of the wall clock."""


class HandlerVerdict(Struct, frozen=True, kw_only=True):
    """Verdict for Pods whose RuntimeClass names this handler; the empty name is the default handler."""

    name: str
    verdict: Verdict
    reason: str
    levels: dict[str, Verdict] = {}
    """As `levels` of the Report; empty in reports of older agents."""


class FilesystemRow(Struct, frozen=True, kw_only=True):
    """One attempt at an idmapped mount."""

    role: Role
    path: str | None
    """None for volumes, whose paths name Pods, unless they were asked for."""
    fstype: str
    device: str
    result: Literal["supported", "refused", "unknown"]
    reason: str
    step: str
    errno: str
    usable: Usable | None
    mounts_below: int
    below: tuple[str, ...] = ()
    """Some of the mount points below a path given to `path`; empty in a report."""
    mount_read_only: bool = False
    """Whether the mount is read-only, not only its file system: mounted read-write, a Pod then fails with runc."""
    driver: str | UnsetType = UNSET
    """Of a volume: its CSI driver, or the kubelet's plugin (`kubernetes.io~nfs`); left out of other rows."""
    expected: str | UnsetType = UNSET
    """Of a volume whose result is unknown: what kernel and driver lead to, which was not tried; else left out."""


class VolumeRow(Struct, frozen=True, kw_only=True):
    """A CSI driver or plugin on one kind of file system, learned from the mounts of Pods on this node."""

    driver: str
    fstype: str
    result: Literal["supported", "refused", "unknown"]
    reason: str
    usable: Usable | None
    count: int
    """Number of mounted file systems of this kind."""
    expected: str = ""
    """As `expected` of a file system's row."""


_Id = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
"""Python writes no number of more than 4300 digits, so a report must not make us add two such."""


class IdRange(Struct, frozen=True, kw_only=True):
    """The host IDs that the kubelet gives to Pods, one slot each."""

    first: _Id
    count: _Id
    ids_per_pod: _Id
    configured: bool
    """False for the kubelet's default: all IDs but the first slot."""
    slots: int
    used: int | None
    """None when it is not known."""


class RestartForecast(Struct, frozen=True, kw_only=True):
    """Forecast of the next start of the kubelet."""

    outcome: Literal["starts", "fails", "unknown"]
    reason: str
    """Reason of `fails` or unknown; empty for `starts`."""
    message: str
    """Of a failure: the line with which the kubelet will exit, as its log will have it."""


class OciRuntime(Struct, frozen=True, kw_only=True):
    """The OCI runtime behind one handler; empty fields could not be read."""

    handler: str
    name: str
    version: str
    idmap: bool | None
    user_namespaces: bool | None
    """CRI's answer for the handler."""
    host_network_claimed: bool | None = None
    """Whether CRI says that Pods of the handler may have hostNetwork beside a user namespace; None: it says nothing."""
    host_network_supported: bool | None = None
    """Whether this release of the container runtime can do so, whatever it says; None: not known."""


class ReportFacts(Struct, frozen=True, kw_only=True):
    """The parsed values behind the findings: an allow-list, so nothing private slips out. Empty: not read."""

    kernel_release: str
    architecture: str
    kubelet_version: str
    kubelet_distribution: str
    runtime_name: str
    runtime_version: str
    snapshotter: str
    oci_runtimes: tuple[OciRuntime, ...]


class Previous(Struct, frozen=True, kw_only=True):
    """A verdict with its reason."""

    verdict: Verdict
    reason: str


class Difference(Struct, frozen=True, kw_only=True):
    """A difference between the reports before and after a change of the verdict."""

    what: str
    """`boot`, `kernel`, `kubelet`, `runtime`, `setting user/max_user_namespaces`, `filesystem tmpfs`, `check ID`, …"""
    before: str
    """Empty: absent or not known; of a check: no problem."""
    after: str


class VerdictChange(Struct, frozen=True, kw_only=True):
    """A change of the verdict or its reason."""

    at: str | None
    """RFC 3339, UTC: the first probe with the new verdict. None when the clock was wrong then."""
    before: Previous
    after: Previous
    difference: tuple[Difference, ...]
    """The likeliest causes first."""


class Report(Struct, frozen=True, kw_only=True):
    """The spine: outputs read only this."""

    schema: Literal["userns-probe.io/v1"] = SCHEMA
    agent_version: str
    node: Node
    probed_at: str
    """RFC 3339, UTC."""
    expires_at: str
    """RFC 3339, UTC: after that the report is void."""
    confirmed_at: str | None
    """RFC 3339, UTC: when `watch` last saw that nothing had changed since the probe. None before the first look."""
    duration_seconds: float
    verdict: Verdict
    reason: str
    message: str
    since: str | None
    """RFC 3339, UTC: the probe of this boot since which verdict and reason are the same. None outside of `watch`."""
    previous: Previous | None
    """Verdict and reason until then. None when `watch` knows of no other in this boot."""
    changes: tuple[VerdictChange, ...]
    """The last changes of the verdict, the newest last, also of earlier boots. Empty outside of `watch`."""
    changes_problem: str
    """Reason why earlier changes, which the Node's annotations keep, are not among them; empty without a problem."""
    levels: dict[str, Verdict]
    handlers: tuple[HandlerVerdict, ...]
    findings: tuple[Finding, ...]
    filesystems: tuple[FilesystemRow, ...]
    """One row per attempt; of more than VOLUME_ROWS volumes some of each kind."""
    volumes: tuple[VolumeRow, ...]
    """All of them, counted."""
    id_ranges: tuple[IdRange, ...]
    """Empty when they are not known, or the kubelet does not take them up."""
    forecast: RestartForecast | None
    """None on a node without a kubelet."""
    forecasts: tuple[EventForecast, ...]
    """Forecasts for a boot of the node and a restart of its runtime; empty when the report expired."""
    contradictions: tuple[str, ...]
    """Ids of findings in which a layer claims what the live attempt disproves, or the reverse."""
    proof: Proof
    """Basis of the verdict; it is the same whichever Pods run now."""
    facts: ReportFacts
    nested: Nested | None
    """Abilities of builders and engines inside a Pod; None when the report expired."""
    devices: tuple[DeviceKind, ...]
    """Kinds of devices that the node offers: a row holds for the handlers that it names, and for no other."""


def decisive_finding(report: Report) -> Finding | None:
    """The finding whose reason the verdict carries; none when ready, or when no finding explains the verdict."""
    found = decisive(report.findings)
    explains = found is not None and (found.status, found.reason) == (STATUS_OF[report.verdict], report.reason)
    return found if explains else None
