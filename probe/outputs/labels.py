"""Values of labels and keys: closed lists, so that no report, whoever wrote it, adds another."""

from __future__ import annotations

from typing import Literal, get_args

from probe.outputs.text import visible
from probe.report import Report
from probe.terms import Role, UnknownReason

Result = Literal["supported", "refused", "unknown"]

OTHER = "other"
CHECK_IDS: tuple[str, ...] = (
    "probe-privileges", "kernel-user-namespaces", "kernel-namespace-limits", "kernel-unprivileged-switches",
    "kernel-security-modules", "kernel-proc-sysfs", "kubelet-running", "kubelet-user-namespaces",
    "kubelet-configuration-pending", "kubelet-gate-restart", "kubelet-cgroup-v1", "ids-range",
    "ids-restart-forecast", "ids-slots", "runtime-user-namespaces", "runtime-confinement", "runtime-oci-features",
    "runtime-kernel-claim", "runtime-snapshotter", "runtime-state-search", "runtime-devices", "runtime-directories",
    "runtime-limits", "runtime-parts", "runtime-base-spec", "kubelet-confinement", "runtime-mount-propagation",
    "sandbox-trial", "runtime-trial", "pod-trial", "pod-trial-projected", "filesystem-runtime-root",
    "filesystem-overlay-layers", "filesystem-kubelet-root", "filesystem-tmpfs", "filesystem-local-volumes",
    "filesystem-volumes", "hazard-selinux-runc-1-2-0", "hazard-image-volumes", "hazard-device-hooks",
    "hazard-mapping-ignored", "hazard-last-block", "hazard-crio-restart", "hazard-declared-volumes",
    "hazard-crun-modes", "hazard-leaked-mounts", "hazard-istio-cni",
)  # fmt: skip
"""Ids of all checks, in the order of the catalog, which `serve` does not import."""
REASONS: frozenset[str] = frozenset((
    "UserNamespacesDisabled", "UserNamespacesNotBuilt", "UserNamespaceRefused", "NamespacesDisabled", "ProcCovered",
    "SysfsCovered", "KubeletTooOld", "KubeletGateOff", "RuntimeTooOld", "HandlerWithoutUserNamespaces",
    "HandlerUnknown", "OciRuntimeMissing", "CriServiceMissing", "RuntimeConfined", "SnapshotterWithoutRemap",
    "StateNotSearchable", "DeviceMissing", "TemporaryDirectoryUnusable", "UmaskTooStrict", "DirectoryNotWritable",
    "KeyringQuotaTooSmall", "ProcessLimitTooSmall", "OpenFilesLimitTooSmall", "OomScoreRefused", "RuntimeNotReady",
    "FileTableFull", "PipeLimitTooSmall",
    "ShimMissing", "MonitorMissing", "CniPluginMissing", "NetworkNotConfigured", "NetworkNotReady",
    "CgroupDriverMismatch", "HybridCgroups", "HookNotExecutable", "SysctlRefused", "MountRefused", "LimitRefused",
    "LimitTooSmall", "KubeletDirectoryNotWritable", "HostsFileMissing", "FileSizeLimitTooSmall", "SandboxerMissing",
    "StackLimitTooSmall", "PreloadMissing", "ShimCgroupMissing", "ResolvConfMissing",
    "MemoryLimitTooSmall", "KubeletDirectoryHidden", "SnapshotterNotRunning", "NoPodAdmitted", "MountProgramMissing",
    "KubeletConfined", "VolumesNotPropagated", "SandboxRefused", "RootDirectoryClosed",
    "RuntimeTrialFailed", "PodRefused", "PodTmpfsRefused", "RuntimeRootNotIdmappable", "OverlayLayersNotIdmappable",
    "KubeletRootNotIdmappable", "TmpfsNotIdmappable", "LocalVolumesWithoutLinks", "VolumesNotIdmappable",
    *get_args(UnknownReason),
))  # fmt: skip
"""Reasons that the checks of the catalog give to a failure, and those of an unknown."""
ROLES: tuple[Role, ...] = ("kubelet-root", "runtime-root", "overlay-layers", "tmpfs", "volume")

FSTYPES: frozenset[str] = frozenset((
    "9p", "afs", "autofs", "bcachefs", "beegfs", "btrfs", "ceph", "cifs", "ecryptfs", "efivarfs", "erofs", "exfat",
    "ext2", "ext3", "ext4", "f2fs", "fuse", "fuseblk", "gfs2", "gpfs", "hfsplus", "hugetlbfs", "iso9660", "jfs",
    "lustre", "nfs", "nfs4", "nilfs2", "ntfs", "ntfs3", "ocfs2", "orangefs", "overlay", "pvfs2", "ramfs", "rootfs",
    "smb3", "squashfs", "tmpfs", "udf", "ufs", "vboxsf", "vfat", "virtiofs", "vmhgfs", "wekafs", "xfs", "zfs",
    "zonefs",
))  # fmt: skip
"""Kernel names of file systems that nodes have; each FUSE server's is `fuse`, since a server chooses its own name."""

_BADNESS: tuple[Result, ...] = ("supported", "unknown", "refused")


def blocking_reason(report: Report) -> str:
    """The reason of a verdict that is not ready: from the closed list, `Other` when not on it; empty when ready."""
    if report.verdict == "ready":
        return ""
    return report.reason if report.reason in REASONS else OTHER.capitalize()


def known_fstype(fstype: str) -> str:
    """*fstype* from the closed list, `fuse` for `fuse.sshfs`, `other` for what is not on it; empty stays empty."""
    name = fstype.split(".")[0] if fstype.startswith("fuse.") else fstype
    return name if not name or name in FSTYPES else OTHER


def filesystem_results(report: Report) -> dict[tuple[Role, str], Result]:
    """Role and file system -> the worst result of all such rows, in the order of roles, then of names."""
    worst: dict[tuple[Role, str], Result] = {}
    for row in report.filesystems:
        if row.role in ROLES:
            key = (row.role, known_fstype(row.fstype))
            worst[key] = max(worst.get(key, "supported"), row.result, key=_BADNESS.index)
    return {key: worst[key] for key in sorted(worst, key=lambda key: (ROLES.index(key[0]), key[1]))}


def shown(text: str, limit: int) -> str:
    """*text* with all that is not plainly visible escaped, of at most *limit* bytes of UTF-8."""
    clean = visible(text[: limit + 1])
    if len(clean.encode()) <= limit:
        return clean
    return clean.encode()[: limit - 3].decode(errors="ignore") + "…"
