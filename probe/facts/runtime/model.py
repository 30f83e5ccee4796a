"""Types of the container runtime: configuration, handlers and networks, confinement, and changes by a restart."""

from __future__ import annotations

from msgspec import Struct

from probe.reading import Reading


class Difference(Struct, frozen=True, kw_only=True):
    """One setting that the files give another value than the running daemon has."""

    setting: str
    """`default handler`, `snapshotter`, `root`, or `handler NAME`."""
    now: str
    then: str


class RuntimePending(Struct, frozen=True, kw_only=True):
    """All that is known of the next start of the daemon."""

    executable: Reading[str]
    """Path of the program."""
    replaced: bool = False
    """True when that path holds another program than the running one."""
    version: Reading[str]
    """Version of that other program; `absent` where the same one starts again."""
    changed_file: str = ""
    """A file of the configuration that may be newer than the daemon; empty when there is none."""
    differences: Reading[tuple[Difference, ...]]
    """Settings that differ; a problem where the configuration of the next start is not known."""
    refused: str = ""
    """Message with which the daemon's own command rejects its configuration."""
    without_cri: bool = False
    """True when the configuration switches the CRI plugin off."""


NOT_LOOKED_AT: Reading[RuntimePending] = Reading.without("the next start of the runtime", "not-tried", "not looked at")


NO_LINK: Reading[str] = Reading("the runtime's daemon", None, "not looked for", "not-tried")


class Confinement(Struct, frozen=True, kw_only=True):
    """Confinement of the runtime's daemon, from its pid."""

    pid: int
    effective_capabilities: Reading[int]
    seccomp: Reading[int]
    in_initial_user_namespace: Reading[bool]
    label: Reading[str]
    """LSM label of attr/current; `unconfined` or empty binds nothing."""
    root: Reading[str] = NO_LINK
    """Its root directory, `/` unless it runs in a chroot(2): of a root that pivot_root(2) made this is `/`, too."""
    unit: Reading[str] = NO_LINK
    """Its systemd unit, by its cgroup."""


class ConfiguredHandler(Struct, frozen=True):
    """Configuration of one runtime handler."""

    binary: str
    """Path of the OCI runtime, or a name to search in the daemon's PATH; empty when the handler runs none."""
    shim: str
    """Shim or runtime type used instead of an OCI runtime: `io.containerd.kata.v2`, `vm`."""
    snapshotter: str = ""
    monitor: str = ""
    """CRI-O's `monitor_path`: the program that watches over each container."""
    state: str = ""
    """CRI-O's `runtime_root`: where the OCI runtime keeps the state of containers."""


class CrioAdded(Struct, frozen=True, kw_only=True):
    """CRI-O's additions to each Pod, and the programs that it needs for them. *Source*: crio.conf(5)."""

    sysctls: tuple[str, ...] = ()
    """`default_sysctls`: `net.ipv4.ping_group_range=0 0`."""
    ulimits: tuple[str, ...] = ()
    """`default_ulimits`: `nofile=1024:2048`."""
    hooks_dirs: tuple[str, ...] | None = None
    """`hooks_dir` in its order: a hook of a later directory replaces one of the same file name. None: not told."""
    pinns: str = ""
    """The program that makes the namespaces of a Pod."""
    network_dir: str = ""
    """The directory of network configurations; empty for the default, and in CRI's Status, which does not tell it."""
    devices: tuple[str, ...] = ()
    """`additional_devices`: `/dev/fuse:/dev/fuse:rwm`."""
    systemd_cgroup: bool = False
    pids_limit: int = 0
    """`pids_limit`: processes of each container; 0 or less without a limit."""
    directories: tuple[str, ...] = ()
    """Where it makes namespaces, sockets and exit files for each container."""


class RuntimeConfig(Struct, frozen=True, kw_only=True):
    """Relevant settings of a daemon; empty or None if it does not print them."""

    default_handler: str = ""
    handlers: dict[str, ConfiguredHandler] = {}
    root: str = ""
    state: str = ""
    snapshotter: str = ""
    slow_chown: bool | None = None
    """Option of containerd's overlayfs snapshotter, since 2.0."""
    overlay_options: tuple[str, ...] = ()
    """`mount_options` of containerd's overlayfs snapshotter, which each root file system is mounted with."""
    extra_path: str = ""
    """Directory that containerd puts before its PATH, invisible from outside. *Source*: its plugin `opt`."""
    imports: tuple[str, ...] = ()
    """Files that the daemon lists as merged."""
    pause_image: str = ""
    """The image of the container that holds a Pod's namespaces."""
    crio: CrioAdded | None = None
    """Of CRI-O: what its configuration adds to each Pod."""
    without_cri: bool = False
    """True when containerd's `disabled_plugins` names the CRI plugin."""
    proxies: dict[str, tuple[str, ...]] = {}
    """Capabilities by the name of each proxy plugin: `remap-ids` of a snapshotter that maps owners."""
    required_plugins: tuple[str, ...] = ()
    """NRI plugins without which containerd makes no container, since 2.2. *Source*: containerd, docs/NRI.md."""
    shim_environment: tuple[str, ...] = ()
    """Variables that containerd adds to the environment of shims, `TMPDIR=/var/tmp`; they win over its own."""
    addresses: dict[str, str] = {}
    """The socket of each proxy plugin."""


class Cni(Struct, frozen=True, kw_only=True):
    """The network configuration in force, and the programs that it names."""

    conf: str
    missing: tuple[str, ...]
    """Plugins that are in none of the directories, or that may not be executed."""
    directories: tuple[str, ...]


class IstioCni(Struct, frozen=True, kw_only=True):
    """istio-cni, which sets up redirection in the network namespaces of Pods."""

    conf: str
    """The network configuration that names it."""
    nsenter: Reading[str]
    """nsenter(1) in the PATH of the runtime's daemon."""
    version: Reading[tuple[int, int]]
    """Major and minor version of the release that installs it."""


NO_ISTIO: Reading[IstioCni] = Reading.without("CNI", "not-tried", "not looked for")


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
    """True when `linux.namespaces` of its `features` contains `user`."""
    binary_newer: Reading[bool]
    """True when the binary changed after the start of the daemon, which reads its features once."""
    snapshotter: Reading[str]
    cgroup_writable: Reading[bool]
    """containerd's `cgroup_writable`; of CRI-O, True when Pods may ask for it by annotation."""
    systemd_cgroup: Reading[bool]
    """True when the OCI runtime asks systemd for cgroups."""
    executable: Reading[bool]
    """True when the daemon finds the OCI runtime and may execute it."""

    def runs_the_same(self, other: Handler) -> bool:
        """True when both handlers run the same OCI runtime on the same snapshotter; False for an unknown binary."""
        mine, its = (self.binary.value, self.snapshotter.value), (other.binary.value, other.snapshotter.value)
        return self.binary.value is not None and mine == its


class Profile(Struct, frozen=True):
    """A loaded profile of AppArmor."""

    name: str
    mode: str
    """`enforce` or `kill`."""
    attached: str
    """The path or pattern of the programs that it is for; empty where the kernel does not tell it."""


NO_PROFILES: Reading[tuple[Profile, ...]] = Reading("AppArmor", None, "not looked for", "not-tried")
NO_SWITCH: Reading[bool] = Reading("the node's settings", None, "not looked for", "not-tried")
