"""Reports of nodes as they are met, built by hand: a new check changes none of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec.structs import replace

from lab import factory
from probe.checks.nested.catalog import judge_nested
from probe.devices import DeviceCause, DeviceKind
from probe.finding import Evidence, Finding
from probe.forecast import EVENTS, Event, EventForecast
from probe.nested import Base, Nested
from probe.proof import Proof
from probe.report import (
    Difference,
    FilesystemRow,
    HandlerVerdict,
    IdRange,
    Node,
    OciRuntime,
    Previous,
    Report,
    ReportFacts,
    RestartForecast,
    VerdictChange,
    VolumeRow,
)
from probe.terms import LEVELS
from probe.verdict import conclude

KUBELET_ROOT = "/var/lib/kubelet"
CONTAINERD_ROOT = "/var/lib/containerd"


def make_finding(**overrides: Any) -> Finding:
    """A gating check that passed."""
    fields: dict[str, Any] = {
        "id": "kernel-user-namespaces",
        "level": "stateless",
        "gating": True,
        "status": "pass",
        "reason": "",
        "message": "a user namespace with a full map was made",
        "remediation": "",
        "documentation": "user_namespaces(7)",
        "evidence": (Evidence("unshare(CLONE_NEWUSER)", "0 65536 65536"),),
    }
    return Finding(**fields | overrides)


def make_row(**overrides: Any) -> FilesystemRow:
    """An idmapped mount that worked."""
    fields: dict[str, Any] = {
        "role": "kubelet-root",
        "path": KUBELET_ROOT,
        "fstype": "ext4",
        "device": "8:1",
        "result": "supported",
        "reason": "",
        "step": "mount_setattr",
        "errno": "",
        "usable": "yes",
        "mounts_below": 0,
    }
    return FilesystemRow(**fields | overrides)


def make_volume(**overrides: Any) -> VolumeRow:
    """Volumes that can be idmapped."""
    fields: dict[str, Any] = {
        "driver": "ebs.csi.aws.com",
        "fstype": "ext4",
        "result": "supported",
        "reason": "",
        "usable": "yes",
        "count": 1,
    }
    return VolumeRow(**fields | overrides)


def make_facts(**overrides: Any) -> ReportFacts:
    """containerd 2.1.9 with runc 1.3.6."""
    fields: dict[str, Any] = {
        "kernel_release": "6.12.38+deb13-amd64",
        "architecture": "x86_64",
        "kubelet_version": "1.36.2",
        "kubelet_distribution": "kubelet",
        "runtime_name": "containerd",
        "runtime_version": "2.1.9",
        "snapshotter": "overlayfs",
        "oci_runtimes": (make_oci_runtime(handler=""), make_oci_runtime(handler="runc")),
    }
    return ReportFacts(**fields | overrides)


def make_oci_runtime(**overrides: Any) -> OciRuntime:
    """runc 1.3.6 as the default handler."""
    fields = {"handler": "", "name": "runc", "version": "1.3.6", "idmap": True, "user_namespaces": True}
    return OciRuntime(**fields | overrides)


FINDINGS = (
    make_finding(),
    make_finding(
        id="kernel-proc-visible",
        message="nothing covers /proc or /sys",
        evidence=(Evidence("/proc/700/mountinfo", "42 mounts"),),
        documentation="mount_namespaces(7)",
    ),
    make_finding(
        id="kernel-apparmor",
        gating=False,
        status="skipped",
        message="this kernel has no such switch",
        evidence=(Evidence("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "", "No such file or directory"),),
    ),
    make_finding(
        id="kubelet-running",
        message="kubelet 1.36.2 has user namespaces",
        evidence=(Evidence("/proc/800/exe --version", "1.36.2"),),
        documentation="KEP-127",
    ),
    make_finding(
        id="runtime-handler",
        message="the default handler has user namespaces",
        evidence=(Evidence("CRI /run/containerd/containerd.sock", "user_namespaces"),),
        documentation="CRI, RuntimeHandlerFeatures",
    ),
    make_finding(
        id="filesystem-runtime-root",
        message="the container runtime's root (ext4) can be idmapped",
        evidence=(Evidence(f"idmapped mount of {CONTAINERD_ROOT}", "accepted, UID 0 is seen as 65536"),),
        documentation="mount_setattr(2)",
    ),
    make_finding(
        id="filesystem-kubelet-root",
        message="the kubelet's root directory (ext4) can be idmapped",
        evidence=(Evidence(f"idmapped mount of {KUBELET_ROOT}", "accepted, UID 0 is seen as 65536"),),
        documentation="mount_setattr(2)",
    ),
    make_finding(
        id="filesystem-tmpfs",
        level="projected",
        message="a fresh tmpfs can be idmapped",
        evidence=(Evidence("idmapped mount of tmpfs", "accepted, UID 0 is seen as 65536"),),
        documentation="Kubernetes documentation, User Namespaces",
    ),
    make_finding(
        id="filesystem-volumes",
        level="volumes",
        gating=False,
        status="skipped",
        message="no Pod has a volume with a file system of its own mounted here",
        evidence=(),
        documentation="Kubernetes documentation, User Namespaces",
    ),
)
ROWS = (
    make_row(),
    make_row(role="runtime-root", path=CONTAINERD_ROOT),
    make_row(role="overlay-layers", path=CONTAINERD_ROOT, fstype="overlay", device=""),
    make_row(role="tmpfs", path="", fstype="tmpfs", device=""),
)


def make_report(*changed: Finding, **overrides: Any) -> Report:
    """The report of a node where all is well but for the *changed* findings, which take the place of their like."""
    by_id = {finding.id: finding for finding in changed}
    findings = tuple(by_id.pop(finding.id, finding) for finding in FINDINGS) + tuple(by_id.values())
    conclusion = conclude(findings)
    base = Base(verdict=conclusion.verdict, reason=conclusion.reason, message=conclusion.message)
    fields: dict[str, Any] = {
        "agent_version": "0.1.0",
        "node": Node(name="node-1", boot_id="0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11", distribution="debian 13"),
        "probed_at": "2026-11-21T21:30:00Z",
        "expires_at": "2026-11-21T21:45:00Z",
        "confirmed_at": None,
        "since": None,
        "previous": None,
        "changes": (),
        "changes_problem": "",
        "duration_seconds": 0.31,
        "verdict": conclusion.verdict,
        "reason": conclusion.reason,
        "message": conclusion.message,
        "levels": conclusion.levels,
        "handlers": tuple(
            HandlerVerdict(name=name, verdict=conclusion.verdict, reason=conclusion.reason) for name in ("", "runc")
        ),
        "findings": findings,
        "filesystems": ROWS,
        "volumes": (),
        "id_ranges": (
            IdRange(first=65536, count=4294901760, ids_per_pod=65536, configured=False, slots=65535, used=2),
        ),
        "forecast": RestartForecast(outcome="starts", reason="", message=""),
        "forecasts": tuple(
            make_forecast(event, verdict=conclusion.verdict, levels=conclusion.levels, reason=conclusion.reason)
            for event in EVENTS
        ),
        "contradictions": (),
        "proof": Proof(),
        "facts": make_facts(),
        "devices": (),
        "nested": _nested(base),
    }
    return Report(**fields | overrides)


def make_forecast(event: Event, **overrides: Any) -> EventForecast:
    """An event that changes nothing."""
    fields: dict[str, Any] = {
        "outcome": "stays",
        "verdict": "ready",
        "levels": dict.fromkeys(LEVELS, "ready"),
        "reason": "",
        "message": "",
        "remediation": "",
        "pending": "",
        "changes": (),
    }
    return EventForecast(event=event, **fields | overrides)


@cache
def _nested(base: Base) -> Nested:
    return judge_nested(factory.make_facts(), dict.fromkeys(("", "runc"), base))


def tmpfs_refused() -> Report:
    """Debian 12: all but tmpfs."""
    reason = "tmpfs cannot be idmapped on this kernel"
    return make_report(
        make_finding(
            id="filesystem-tmpfs",
            level="projected",
            status="fail",
            reason="TmpfsNotIdmappable",
            message=f"a fresh tmpfs: {reason}",
            remediation="Boot Linux 6.3 or later, for instance on Debian 12:\n"
            "  apt-get install -t bookworm-backports linux-image-amd64 && reboot",
            evidence=(Evidence("idmapped mount of tmpfs", "EINVAL from mount_setattr"),),
            documentation="Kubernetes documentation, User Namespaces",
        ),
        make_finding(
            id="runtime-claim",
            gating=False,
            status="warn",
            message="CRI says user_namespaces of the default handler, and this kernel refuses a tmpfs to it",
            remediation="Believe the attempt: the Node object promises what this kernel does not keep.",
            evidence=(
                Evidence("CRI /run/containerd/containerd.sock", "user_namespaces: true"),
                Evidence("idmapped mount of tmpfs", "EINVAL from mount_setattr"),
            ),
        ),
        contradictions=("runtime-claim",),
        node=Node(name="worker-7", boot_id="5d1f", distribution="debian 12"),
        facts=make_facts(kernel_release="6.1.0-44-amd64"),
        filesystems=(
            *ROWS[:3],
            make_row(
                role="tmpfs", path="", fstype="tmpfs", device="", result="refused", reason=reason, errno="EINVAL",
                usable="no",
            ),
        ),
    )  # fmt: skip


def user_namespaces_off() -> Report:
    """Bottlerocket as it comes: no namespace, so no file system could be tried either."""
    return make_report(
        make_finding(
            status="fail",
            reason="UserNamespacesDisabled",
            message="user.max_user_namespaces is 0, so no user namespace can be made",
            remediation="Allow user namespaces, now and after each boot:\n"
            "  sysctl -w user.max_user_namespaces=16384\n"
            "  echo user.max_user_namespaces=16384 > /etc/sysctl.d/90-user-namespaces.conf",
            evidence=(
                Evidence("unshare(CLONE_NEWUSER)", "ENOSPC"),
                Evidence("/proc/sys/user/max_user_namespaces", "0"),
            ),
        ),
        *(
            make_finding(
                id=name, level=level, status="unknown", reason="NotTried", evidence=(),
                message=f"{what}: there is no user namespace to map it to",
                remediation="Make user namespaces work first; then this can be tried.",
            )
            for name, level, what in (
                ("filesystem-runtime-root", "stateless", "the container runtime's root"),
                ("filesystem-kubelet-root", "stateless", "the kubelet's root directory"),
                ("filesystem-tmpfs", "projected", "a fresh tmpfs"),
            )
        ),
        node=Node(name="ip-10-0-3-7.ec2.internal", boot_id="77aa", distribution="bottlerocket 1.42.0"),
        facts=make_facts(kernel_release="6.1.141"),
        filesystems=tuple(_not_tried(row, "there is no user namespace to map it to") for row in ROWS),
    )  # fmt: skip


def no_kubelet() -> Report:
    """A machine that could be a node."""
    return make_report(
        make_finding(
            id="kubelet-running",
            status="unknown",
            reason="KubeletNotFound",
            message="no kubelet of this node is running",
            remediation="Start the kubelet, then probe again:\n  systemctl start kubelet && userns-probe",
            evidence=(Evidence("/proc/*/exe", "", "no kubelet, k3s, rke2, k0s or kubelite"),),
        ),
        make_finding(
            id="runtime-handler",
            status="unknown",
            reason="NotTried",
            message="the runtime is unknown: no kubelet names its endpoint",
            remediation="Start the kubelet first.",
            evidence=(),
        ),
        node=Node(name=None, boot_id="5d1f", distribution="debian 13", hostname="build-host"),
        handlers=(),
        forecast=None,
        id_ranges=(),
        facts=make_facts(
            kubelet_version="", kubelet_distribution="", runtime_name="", runtime_version="", snapshotter="",
            oci_runtimes=(),
        ),
    )  # fmt: skip


def not_permitted() -> Report:
    """Started by a user, or in a Pod with too few rights."""
    remediation = "Run the probe as root on the node:\n  sudo userns-probe"
    problem = "the probe may not map mounts (CAP_SYS_ADMIN, seccomp, security module)"
    return make_report(
        make_finding(
            status="unknown",
            reason="NotPermitted",
            message="the probe may not make a user namespace with a full map",
            remediation=remediation,
            evidence=(Evidence("uid_map", "", "EPERM"), Evidence("/proc/self/status", "UID 1000, no capabilities")),
        ),
        *(
            make_finding(
                id=name,
                status="unknown",
                reason="NotPermitted",
                message=f"{what}: {problem}",
                remediation=remediation,
                evidence=(Evidence(f"idmapped mount of {path}", "EPERM from mount_setattr"),),
            )
            for name, what, path in (
                ("filesystem-runtime-root", "the container runtime's root (ext4)", CONTAINERD_ROOT),
                ("filesystem-kubelet-root", "the kubelet's root directory (ext4)", KUBELET_ROOT),
            )
        ),
        filesystems=tuple(_not_tried(row, problem, errno="EPERM", step="mount_setattr") for row in ROWS),
    )


def hung_mount() -> Report:
    """Ready, with a volume whose server answers no more."""
    reason = "timed out: its server does not answer"
    return make_report(
        make_finding(
            id="filesystem-volumes",
            level="volumes",
            gating=False,
            status="unknown",
            reason="TimedOut",
            message=f"1 of 3 volume file systems could not be judged: {reason}",
            remediation="Bring its server back, or unmount it; the next probe tries it again.",
            evidence=(Evidence("idmapped mount of fuse.s3fs 0:97", reason),),
        ),
        filesystems=(
            *ROWS,
            make_row(role="volume", path=None, device="8:17"),
            make_row(role="volume", path=None, fstype="xfs", device="8:33", usable="read-only"),
            _not_tried(make_row(role="volume", path=None, fstype="fuse.s3fs", device="0:97"), reason, step="open_tree"),
        ),
        volumes=(
            make_volume(),
            make_volume(fstype="xfs", usable="read-only"),
            make_volume(driver="s3.csi.aws.com", fstype="fuse.s3fs", result="unknown", reason=reason, usable=None),
        ),
    )


def old_containerd() -> Report:
    """containerd 1.7 knows nothing of runtime handlers."""
    return make_report(
        make_finding(
            id="runtime-handler",
            status="fail",
            reason="HandlerWithoutUserNamespaces",
            message="containerd 1.7.24 names no runtime handlers, so the kubelet refuses hostUsers: false",
            remediation="Use containerd 2.0 or later.",
            evidence=(Evidence("CRI /run/containerd/containerd.sock", "no runtime_handlers"),),
        ),
        handlers=(),
        facts=make_facts(runtime_version="1.7.24", oci_runtimes=()),
    )


_CLOSED = DeviceCause(
    outcome="fails",
    reason="DeviceMode",
    message="/dev/kfd has mode 0660 and owner 0:44, which no Pod has: open(2) fails with EACCES",
    remediation="Let others open the device:\n  chmod 0666 /dev/kfd",
    devices=1,
    example="0",
)
_NOT_TRIED = DeviceCause(
    outcome="unknown",
    reason="HookNotTried",
    message="the createContainer hook /usr/bin/audit runs as the Pod's root, and its work there was not tried",
    remediation="Run one such Pod with hostUsers: false.",
    devices=2,
    example="0",
)


def make_device_kind(**overrides: Any) -> DeviceKind:
    """Two devices of a kind by CDI, of which one fails with runc."""
    fields: dict[str, Any] = {
        "kind": "amd.com/gpu",
        "handler": "",
        "way": "cdi",
        "outcome": "partly",
        "message": _CLOSED.message,
        "tried": False,
        "devices": {"0": "fails", "1": "unknown"},
        "omitted": 0,
        "causes": (_CLOSED, _NOT_TRIED),
    }
    return DeviceKind(**fields | overrides)


_WORKS = "a Pod gets all mounts, and it can use device nodes"
_DEVICES = (
    make_device_kind(),
    make_device_kind(
        kind="devices.kubevirt.io/kvm", way="device-plugin", outcome="works", devices={}, causes=(), message=_WORKS
    ),
    make_device_kind(handler="crun", outcome="unknown", devices={"0": "unknown", "1": "unknown"}, causes=(_NOT_TRIED,)),
)


def several_handlers() -> Report:
    """Each handler is judged by itself; the node by its default one."""
    oci = (("", "runc", "1.3.6"), ("runc", "runc", "1.3.6"), ("crun", "crun", "1.28"), ("oldrunc", "runc", "1.1.15"))
    return make_report(
        make_finding(
            id="runtime-stale",
            gating=False,
            status="warn",
            message="/usr/bin/crun changed after containerd started, which asked it once for its features",
            remediation="Let containerd ask again:\n  systemctl restart containerd",
            evidence=(Evidence("/usr/bin/crun", "newer than pid 700"),),
        ),
        handlers=tuple(
            HandlerVerdict(
                name=name,
                verdict="not-ready" if name in ("oldrunc", "kata") else "ready",
                reason="HandlerWithoutUserNamespaces" if name in ("oldrunc", "kata") else "",
            )
            for name in ("", "runc", "crun", "oldrunc", "kata")
        ),
        facts=make_facts(
            kubelet_distribution="rke2",
            oci_runtimes=(
                *(make_oci_runtime(handler=handler, name=name, version=version) for handler, name, version in oci[:3]),
                make_oci_runtime(handler="oldrunc", version="1.1.15", idmap=None, user_namespaces=False),
                make_oci_runtime(handler="kata", name="", version="", idmap=None, user_namespaces=None),
            ),
        ),
        devices=_DEVICES,
    )


def many_volumes() -> Report:
    """Two hundred volumes: kinds and numbers, not a list."""
    nfs = make_row(
        role="volume", path=None, fstype="nfs4", device="0:50", result="refused", errno="EINVAL", usable="no",
        reason="nfs4 cannot be idmapped on this kernel",
    )  # fmt: skip
    partly = make_row(role="volume", path=None, device="8:65", usable="partly", mounts_below=2)
    return make_report(
        make_finding(
            id="filesystem-volumes",
            level="volumes",
            gating=False,
            status="fail",
            reason="VolumesNotIdmappable",
            message="12 of 200 volume file systems cannot be idmapped: nfs4",
            remediation="Pods with such volumes need hostUsers: true, or a volume on a file system that can be "
            "idmapped (ext4, xfs, btrfs).",
            evidence=tuple(
                Evidence(f"idmapped mount of nfs4 0:{50 + i}", "EINVAL from mount_setattr") for i in range(12)
            ),
        ),
        filesystems=(
            *ROWS,
            *[make_row(role="volume", path=None, device=f"8:{i}") for i in range(177)],
            *[nfs] * 12,
            partly,
            *[
                make_row(role="volume", path=None, fstype="squashfs", device=f"7:{i}", usable="read-only")
                for i in range(10)
            ],
        ),
        volumes=(
            make_volume(count=177),
            make_volume(driver="kubernetes.io~iscsi", usable="partly"),
            make_volume(driver="nfs.csi.k8s.io", fstype="nfs4", result="refused", reason=nfs.reason, count=12),
            make_volume(driver="", fstype="squashfs", usable="read-only", count=10),
        ),
    )


def _not_tried(row: FilesystemRow, reason: str, **changes: Any) -> FilesystemRow:
    fields = {name: getattr(row, name) for name in FilesystemRow.__struct_fields__}
    return FilesystemRow(**fields | {"result": "unknown", "reason": reason, "step": "", "usable": None} | changes)


PATH_ROWS = (
    make_row(role="path", path="/data", fstype="xfs"),
    make_row(role="path", path="/srv/images", fstype="squashfs", usable="read-only"),
    make_row(role="path", path="/mnt", usable="partly", mounts_below=2),
    make_row(
        role="path", path="/mnt/nfs", fstype="nfs4", result="refused", errno="EINVAL", usable="no",
        reason="nfs4 cannot be idmapped on this kernel",
    ),
    make_row(
        role="path", path="/mnt/s3", fstype="fuse.s3fs", result="unknown", usable=None, step="open_tree",
        reason="timed out: its server does not answer",
    ),
    make_row(
        role="path", path="/no/such/place", fstype="", device="", result="unknown", usable=None, step="open_tree",
        errno="ENOENT", reason="the path is gone: No such file or directory",
    ),
)  # fmt: skip


def changed() -> Report:
    """Debian 12 after a boot of an older kernel: what was before, and what was different."""
    report = tmpfs_refused()
    ready, refused = Previous(verdict="ready", reason=""), Previous(verdict=report.verdict, reason=report.reason)
    difference = (
        Difference(what="boot", before="0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11", after=report.node.boot_id),
        Difference(what="kernel", before="6.12.38+deb13-amd64", after="6.1.0-44-amd64"),
        Difference(what="check filesystem-tmpfs", before="", after="fail TmpfsNotIdmappable"),
    )
    changes = (
        VerdictChange(at=None, before=Previous(verdict="unknown", reason="TimedOut"), after=ready, difference=()),
        VerdictChange(at="2026-11-21T20:00:00Z", before=ready, after=refused, difference=difference),
    )
    return replace(report, since="2026-11-21T20:00:00Z", changes=changes)


REPORTS: dict[str, Report] = {
    "ready": make_report(),
    "tmpfs-refused": tmpfs_refused(),
    "user-namespaces-off": user_namespaces_off(),
    "no-kubelet": no_kubelet(),
    "not-permitted": not_permitted(),
    "hung-mount": hung_mount(),
    "containerd-1.7": old_containerd(),
    "several-handlers": several_handlers(),
    "many-volumes": many_volumes(),
    "changed": changed(),
}
