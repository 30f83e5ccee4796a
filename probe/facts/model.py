"""Facts of a node: what was read of each of its parts; probe.facts.tried has what was tried on it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from probe.facts.around import HookFacts as HookFacts
from probe.facts.around import HookFiles as HookFiles
from probe.facts.around import KubeletAround, Surroundings
from probe.facts.boot.model import NOT_LOOKED_AT, BootFacts, MountAtBoot
from probe.facts.devices.model import CdiSettings, DeviceFacts
from probe.facts.ids.model import Account as Account
from probe.facts.ids.model import IdFacts as IdFacts
from probe.facts.ids.model import Mapping as Mapping
from probe.facts.ids.model import PodFacts as PodFacts
from probe.facts.ids.model import PodUserns as PodUserns
from probe.facts.ids.model import SubIds as SubIds
from probe.facts.ids.model import UsernsFile as UsernsFile
from probe.facts.nested.model import NestedFacts
from probe.facts.runtime.model import NOT_LOOKED_AT as NOT_PENDING
from probe.facts.runtime.model import Confinement as Confinement
from probe.facts.runtime.model import Handler as Handler
from probe.facts.runtime.model import RuntimePending
from probe.facts.tried import Attempt, NamespaceAttempt, PodTrialFacts, RuntimeTrialFacts, SandboxFacts
from probe.host.cri import NO_HOST_NETWORK, CriCondition
from probe.proof import Proof
from probe.reading import Reading


class ProbeFacts(Struct, frozen=True, kw_only=True):
    """Privileges and confinement of the probe itself; without a privilege, the answer about the node is unknown."""

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
    hostname: str = ""
    """Of the node's UTS namespace; empty when the probe is seen to have another one, or it could not be read."""
    boot_id: Reading[str]
    user_namespace_file: Reading[str]
    """The link `/proc/self/ns/user`; absent where the kernel was built without CONFIG_USER_NS."""
    namespace_limits: dict[str, Reading[int]]
    """`user.max_user_namespaces` and its siblings, by sysctl name."""
    boot_limits: dict[str, Reading[int]] = {}
    """Those that a file of sysctl.d(5) sets at each boot, with the file that wins as source."""
    unprivileged_userns_clone: Reading[int]
    apparmor_restrict_unprivileged_userns: Reading[int]
    lsm: Reading[str]
    """The active security modules, as /sys/kernel/security/lsm lists them."""
    selinux_enforcing: Reading[bool]
    cgroup_version: Reading[int]
    container: Reading[str]
    """Of a node that is a container itself: its manager (`docker`, `lxc`, `wsl`); absent on a machine."""


class Visibility(Struct, frozen=True, kw_only=True):
    """True when a new user namespace may mount this type of file system (`mount_too_revealing` in the kernel)."""

    visible: bool
    covering: tuple[str, ...]
    """Mount points that hide a part of it, or the mount options that forbid a fresh mount."""


class MountFacts(Struct, frozen=True, kw_only=True):
    """The runtime's mount table, as far as checks need it."""

    count: int
    proc: Visibility
    sysfs: Visibility
    pods_options: Reading[tuple[str, ...]]
    """Options of the mount that holds `<kubelet root>/pods`, as mount(8) spells them: `ro`, `noexec`, `nosymfollow`."""
    pods_unbindable: bool = False
    """Whether that mount is unbindable, as mount_namespaces(7) has it."""
    root_mode: Reading[int]
    """Permission bits of the node's root directory, as chmod(2) takes them."""
    idmapped_layers: int = 0
    """Mounts of layers that containerd makes for a moment while a Pod with a user namespace starts."""
    cgroup2_options: tuple[str, ...] | None = None
    """Options of the file system cgroup2 on /sys/fs/cgroup; None when another one is mounted there."""
    cgroup_controllers: tuple[str, ...] = ()
    """Controllers of the cgroup v1 hierarchies that are mounted and not covered."""
    writable_sysfs: tuple[str, ...] = ()
    """Mount points of sysfs, other than /sys, that can be written."""
    at_boot: tuple[MountAtBoot, ...] = ()
    """Mounts that hold the directories of the kubelet and the runtime, now and after a boot."""
    boot_automounts: tuple[str, ...] = ()
    """Directories of boot loaders that are automounts which nobody has accessed; a look into one would mount it."""


class DropIn(Struct, frozen=True, kw_only=True):
    """A file that a daemon read when it started."""

    path: str
    newer: bool
    """Changed after the daemon started, so what it says takes effect at the next start only."""
    maybe_the_same: bool = False
    """Newer by its ctime alone: chmod(1) and chown(1) do that, and so does an older file that took its place."""


class KubeletFacts(Struct, frozen=True, kw_only=True):
    """The node's own kubelet and the configuration that it runs with."""

    pid: int
    distribution: Literal["kubelet", "k3s", "rke2", "k0s", "microk8s", "microshift", "kubeedge"]
    others: int
    """Number of further running kubelets on this node; they are not judged."""
    version: Reading[str]
    """As the running executable prints it: `1.36.2`."""
    started_at: Reading[float]
    """Seconds since the epoch."""
    files: Reading[tuple[DropIn, ...]]
    """The configuration files it names, in the order in which they are merged."""
    executable: Reading[DropIn]
    """Executable of the process; `newer` when its path holds another program now."""
    unit: Reading[str]
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
    """Value of the gate in flags and files; `absent` if not set."""
    fail_cgroup_v1: Reading[bool]
    logs_dir: Reading[str]
    """`podLogsDir`, where each Pod gets a directory of its own."""
    cgroup_driver: Reading[str]
    """`systemd` or `cgroupfs`, as flags and files say; CRI's answer, which kubelets since 1.31 use, is not in it."""
    seccomp_default: Reading[bool]
    """True when Pods without a seccomp profile get RuntimeDefault, False when they are unconfined."""
    resolv_conf: Reading[str]
    """`resolvConf`, which the kubelet reads for each Pod; empty when it reads none."""
    pod_pids_limit: Reading[int]
    """`podPidsLimit`, processes of each Pod; negative without a limit."""


NO_OVERLAY_OPTIONS: Reading[tuple[str, ...]] = Reading.without("config dump", "absent", "not looked for")


class RuntimeFacts(Struct, frozen=True, kw_only=True):
    """The container runtime: CRI's answers and its daemon's configuration."""

    endpoint: str
    name: Reading[str]
    """CRI's `runtime_name`: `containerd`, `cri-o`."""
    version: Reading[str]
    handlers: Reading[tuple[Handler, ...]]
    """In CRI's order; empty when Status has no `runtime_handlers` (containerd < 2.0, CRI-O < 1.30)."""
    conditions: Reading[tuple[CriCondition, ...]]
    host_network: Reading[bool] = NO_HOST_NETWORK
    """CRI's `features.user_namespaces_host_network`: what the runtime says of hostNetwork with a user namespace."""
    root_dir: Reading[str]
    """containerd's root, CRI-O's storage root: the files that it adds to each Pod lie there."""
    snapshotter: Reading[str]
    """Of the default handler: `overlayfs`, `native`, …; CRI-O's storage driver `overlay`."""
    slow_chown: Reading[bool]
    overlay_options: Reading[tuple[str, ...]] = NO_OVERLAY_OPTIONS
    """`mount_options` of containerd's overlayfs snapshotter."""
    confinement: Reading[Confinement]
    layers_dir: Reading[str]
    """Directory of image layers of the default snapshotter: below the root unless configured elsewhere."""
    pause_image: Reading[str]
    """The image of the container that holds a Pod's namespaces, as the runtime is configured."""
    hooks_dirs: Reading[tuple[str, ...]]
    """CRI-O's `hooks_dir` in its order; absent for other runtimes."""
    surroundings: Reading[Surroundings]
    allowed_devices: Reading[tuple[str, ...]]
    """Devices that CRI-O gives to Pods which ask by annotation; absent for containerd, which has no such list."""
    cdi: Reading[CdiSettings]
    pending: Reading[RuntimePending] = NOT_PENDING
    """Configuration that the next start of the daemon reads."""


class Facts(Struct, frozen=True, kw_only=True):
    """One node at one moment. Every part may be a problem; none is ever left out silently."""

    node_name: str | None
    distribution: Reading[str]
    """`ID` and `VERSION_ID` of os-release(5): `debian 12`."""
    probe: ProbeFacts
    kernel: KernelFacts
    mounts: Reading[MountFacts]
    user_namespace: NamespaceAttempt
    kubelet: Reading[KubeletFacts]
    """Absent: no kubelet runs on this node."""
    getsubids_missing: Reading[bool]
    """True where kubelets exit at once: their account exists, getsubids does not. Not tried while one runs."""
    runtime: Reading[RuntimeFacts]
    attempts: tuple[Attempt, ...]
    ids: Reading[IdFacts]
    sandbox: Reading[SandboxFacts]
    runtime_trial: Reading[RuntimeTrialFacts]
    pod_trial: Reading[PodTrialFacts]
    pods: Reading[PodFacts]
    hooks: Reading[HookFacts]
    devices: Reading[DeviceFacts]
    kubelet_around: Reading[KubeletAround]
    nested: NestedFacts
    """Needs of builders and engines inside a Pod."""
    userns_pod_runs: Reading[bool]
    """True when a Pod with a user namespace, started by the present process of the container runtime, runs or ran.

    The Pod of a trial counts, though it is gone by now. No better proof exists; an older Pod shows what an earlier
    daemon could do.
    """
    proof: Proof = Proof()
    boot: Reading[BootFacts] = NOT_LOOKED_AT
    """Next boot, as files describe it."""
