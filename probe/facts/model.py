"""What is known of each part of a node; probe.facts.node puts the parts together."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from probe.facts.tried import Role, Usable
from probe.reading import Reading


class ProbeFacts(Struct, frozen=True, kw_only=True):
    """How confined the probe itself is: what it may not, it cannot say of the node."""

    uid: int
    effective_capabilities: int
    seccomp: Reading[int]
    """`Seccomp:` of proc_pid_status(5): 0 off, 1 strict, 2 filter."""
    in_initial_user_namespace: Reading[bool]
    chrooted: bool
    threads: int
    entered: Reading[bool]
    """True when the node's mount namespace was entered or is our own; a problem when it could not be."""
    supported_architecture: bool
    """False where the system call numbers of this machine are not known: nothing is attempted."""


class KernelFacts(Struct, frozen=True, kw_only=True):
    """The kernel and its switches."""

    release: Reading[str]
    architecture: str
    boot_id: Reading[str]
    user_namespace_file: Reading[str]
    """The link `/proc/self/ns/user`; absent where the kernel was built without CONFIG_USER_NS."""
    namespace_limits: dict[str, Reading[int]]
    """`user.max_user_namespaces` and its siblings, by sysctl name."""
    unprivileged_userns_clone: Reading[int]
    apparmor_restrict_unprivileged_userns: Reading[int]
    lsm: Reading[str]
    """The active security modules, as /sys/kernel/security/lsm lists them."""
    selinux_enforcing: Reading[bool]
    cgroup_version: Reading[int]
    container: Reading[str] = Reading("/run/systemd/container", None, "not looked for", "not-tried")
    """Of a node that is a container itself: its manager (`docker`, `lxc`, `wsl`); absent on a machine."""


class NamespaceAttempt(Struct, frozen=True, kw_only=True):
    """One live user namespace with a full map, as the runtime makes it for a Pod."""

    result: Literal["supported", "refused", "unknown"]
    step: str
    """Where it ended: `unshare`, `uid_map`, `gid_map`, `read back`, or `done`."""
    errno: str
    message: str
    kind: Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"]
    """Of an unknown result: why nobody knows."""
    map: str
    """The line written to uid_map, as user_namespaces(7) spells it: inside, outside, count."""


Role = Literal["kubelet-root", "runtime-root", "overlay-layers", "tmpfs", "volume", "path"]
Usable = Literal["yes", "read-only", "partly", "no"]


class Attempt(Struct, frozen=True, kw_only=True):
    """What the kernel answered when one file system was asked for an idmapped mount."""

    role: Role
    path: str
    fstype: str
    device: str
    """`major:minor` from mountinfo; empty for a file system that only the probe mounted."""
    result: Literal["supported", "refused", "unknown"]
    reason: str
    """Half a sentence: why it was refused or is unknown; empty when supported."""
    kind: Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"] = ""
    step: str
    """The call that decided: `open_tree`, `mount_setattr`, `fstat`, …"""
    errno: str
    """The name of the error (`EINVAL`), or empty."""
    usable: Usable | None
    """None when the result is unknown."""
    mounts_below: int
    owner: tuple[int, int] | None = None
    """Owner of the file system's root before and through the mapping; only where the probe may ask."""
    plugin: str = ""
    """Of a volume: the CSI driver or the in-tree plugin (`kubernetes.io~csi`)."""


class Visibility(Struct, frozen=True, kw_only=True):
    """Whether a new user namespace may mount this kind of file system (`mount_too_revealing` in the kernel)."""

    visible: bool
    covering: tuple[str, ...]
    """Mount points that hide a part of it, or the mount options that forbid a fresh mount."""


class MountFacts(Struct, frozen=True, kw_only=True):
    """The runtime's mount table, as far as checks need it."""

    count: int
    proc: Visibility
    sysfs: Visibility
    pods_options: Reading[tuple[str, ...]] = Reading("mount of the kubelet's root", None, "not looked for", "not-tried")
    """Options of the mount that holds `<kubelet root>/pods`, as mount(8) spells them: `ro`, `noexec`, `nosymfollow`."""
    root_mode: Reading[int] = Reading("/", None, "not looked for", "not-tried")
    """Permission bits of the node's root directory, as chmod(2) takes them."""


class DropIn(Struct, frozen=True, kw_only=True):
    """A file that a daemon read when it started."""

    path: str
    newer: bool
    """Changed after the daemon started, so what it says takes effect at the next start only."""


class KubeletFacts(Struct, frozen=True, kw_only=True):
    """The node's own kubelet and the configuration that it runs with."""

    pid: int
    distribution: Literal["kubelet", "k3s", "rke2", "k0s", "microk8s"]
    others: int
    """How many further kubelets of this node run; none of them is judged."""
    version: Reading[str]
    """As the running executable tells it: `1.36.2`."""
    started_at: Reading[float]
    """Seconds since the epoch."""
    files: Reading[tuple[DropIn, ...]]
    """The configuration files it names, in the order in which they are merged."""
    executable: Reading[DropIn] = Reading("/proc/<pid>/exe", None, "not looked for", "not-tried")
    """What it runs; `newer` when that path holds another program by now."""
    unit: Reading[str] = Reading("/proc/<pid>/cgroup", None, "not looked for", "not-tried")
    """The systemd unit of its cgroup: `kubelet.service`, `snap.kubelet-eks.daemon.service`."""
    root_dir: Reading[str]
    """Absolute, without a trailing slash, in the mount namespace of the kubelet."""
    endpoint: Reading[str]
    """CRI endpoint: absolute path of the socket."""
    max_pods: Reading[int]
    ids_per_pod: Reading[int]
    gate: Reading[bool]
    """UserNamespacesSupport in force: as configured, else the default of the version."""
    gate_configured: Reading[bool]
    """What flags and files say of the gate; absent when they are silent."""
    fail_cgroup_v1: Reading[bool]


class Handler(Struct, frozen=True, kw_only=True):
    """One runtime handler as CRI names it, and the OCI runtime behind it."""

    name: str
    """Empty for the handler of Pods without a RuntimeClass."""
    user_namespaces: bool | None
    """CRI's `features.user_namespaces`; None when the handler carries no features message at all."""
    binary: Reading[str]
    oci_runtime: Reading[str]
    """`runc` or `crun`, from `--version`."""
    oci_version: Reading[str]
    oci_idmap: Reading[bool]
    """`linux.mountExtensions.idmap.enabled` of the binary's own `features`."""
    oci_user_namespace: Reading[bool]
    """Whether `linux.namespaces` of its `features` has `user`."""
    binary_newer: Reading[bool]
    """Whether the binary changed after the daemon, which asked it once, had started."""
    snapshotter: Reading[str]
    executable: Reading[bool] = Reading("OCI runtime", None, "not looked for", "not-tried")
    """Whether the daemon finds the OCI runtime where it looks for it, with permission to execute it."""


class Confinement(Struct, frozen=True, kw_only=True):
    """What binds the runtime's daemon, from its pid."""

    pid: int
    effective_capabilities: Reading[int]
    seccomp: Reading[int]
    in_initial_user_namespace: Reading[bool]
    label: Reading[str]
    """LSM label of attr/current; `unconfined` or empty binds nothing."""


class RuntimeFacts(Struct, frozen=True, kw_only=True):
    """The container runtime: what CRI says, what its daemon tells of its configuration."""

    endpoint: str
    name: Reading[str]
    """CRI's `runtime_name`: `containerd`, `cri-o`."""
    version: Reading[str]
    handlers: Reading[tuple[Handler, ...]]
    """In CRI's order; empty when Status has no `runtime_handlers` (containerd < 2.0, CRI-O < 1.30)."""
    root_dir: Reading[str]
    """containerd's root, CRI-O's storage root: the files that it adds to each Pod lie there."""
    snapshotter: Reading[str]
    """Of the default handler: `overlayfs`, `native`, …; CRI-O's storage driver `overlay`."""
    slow_chown: Reading[bool]
    confinement: Reading[Confinement]
    layers_dir: Reading[str] = Reading("CRI ImageFsInfo", None, "not asked", "not-tried")
    """Where the default snapshotter keeps image layers: below the root unless configured elsewhere."""
