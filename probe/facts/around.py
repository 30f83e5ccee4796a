"""Facts of what surrounds the container runtime's daemon, and of what it adds to each container."""

from __future__ import annotations

from msgspec import Struct

from probe.facts.runtime.model import NO_ISTIO, NO_PROFILES, NO_SWITCH, Cni, IstioCni, Profile
from probe.host.executable import NEEDS as NEEDS
from probe.host.places import Place as Place
from probe.reading import Reading

NO_PLACE: Reading[Place] = Reading("the daemon's files", None, "not looked for", "not-tried")


_NO_NUMBER: Reading[int] = Reading("the node's limits", None, "not looked for", "not-tried")


class Limit(Struct, frozen=True):
    """A resource limit; -1 for RLIM_INFINITY."""

    soft: int
    hard: int


class Daemon(Struct, frozen=True, kw_only=True):
    """Limits on the runtime's daemon, and with it on all that it starts. *Source*: proc(5), pids of cgroup-v2."""

    umask: Reading[int]
    no_new_privileges: Reading[bool]
    effective_capabilities: Reading[int]
    limits: Reading[dict[str, Limit]]
    """By the names of getrlimit(2): `RLIMIT_NPROC`."""
    oom_score_adj: Reading[int]
    pids_left: Reading[int]
    """Number of further processes that its cgroup and those above allow; absent without a limit."""


class Keys(Struct, frozen=True, kw_only=True):
    """The quota of each UID other than root. *Source*: keyrings(7)."""

    count: Reading[int]
    size: Reading[int]
    """Bytes."""


class Pipes(Struct, frozen=True, kw_only=True):
    """The pages that the pipes of one UID may have, 0 without a limit. *Source*: pipe(7)."""

    soft: Reading[int]
    """`fs.pipe-user-pages-soft`: beyond it a new pipe gets 2 pages in place of 16."""
    hard: Reading[int]
    """`fs.pipe-user-pages-hard`: beyond it none is made."""


_NO_PIPES = Pipes(soft=_NO_NUMBER, hard=_NO_NUMBER)


class Propagation(Struct, frozen=True, kw_only=True):
    """Propagation of the kubelet's mounts below its root directory to the runtime."""

    same_namespace: bool
    arrives: bool
    """Whether the runtime's mount there is in the peer group of the kubelet's, or receives from it."""
    same_directory: bool | None = True
    """False where the runtime finds another directory at the path of the Pods' directories; None: not known."""
    kubelet: str
    """The optional fields of mountinfo: `shared:5 master:1`; empty for a private mount."""
    runtime: str


class Hook(Struct, frozen=True, kw_only=True):
    """A program that runs with each container, of the base specification or of oci-hooks(5)."""

    when: str
    """`createContainer` or another name of the OCI specification."""
    path: str
    steps: tuple[Reading[Place], ...] = ()
    """The program, then each folder above it, then the same of what starts it, and the folders of its libraries."""
    libraries: tuple[Reading[Place], ...] = ()
    """Shared libraries, which the program only reads."""
    variables: tuple[str, ...] = ()
    """Names of the variables of its own environment, which takes the place of the runtime's; empty without one."""
    timeout: int | None = None
    """Seconds that it has; None for no limit."""


class AddedMount(Struct, frozen=True, kw_only=True):
    """A mount of the base specification."""

    destination: str
    fstype: str = ""
    """Empty for a bind mount."""
    options: tuple[str, ...] = ()
    source: Reading[Place] = NO_PLACE
    """What a bind mount binds; not looked for where its path is relative."""


class AddedDevice(Struct, frozen=True, kw_only=True):
    """A device node of the base specification."""

    path: str
    source: Reading[Place]
    """The node's own device node by that name."""


class Added(Struct, frozen=True, kw_only=True):
    """The additions of a base specification, or of CRI-O's configuration, to each container."""

    hooks: tuple[Hook, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    now: dict[str, Reading[str]] = {}
    """What the node itself has of each of them, where that was looked for."""
    tried: dict[str, Reading[str]] = {}
    """The errno of setting each as a Pod would, empty for one that could be set."""
    mounts: tuple[AddedMount, ...] = ()
    devices: tuple[AddedDevice, ...] = ()
    limits: tuple[tuple[str, Limit], ...] = ()
    """By the names of getrlimit(2), in the order in which they are set."""
    unjudged: tuple[str, ...] = ()
    """Further parts that are set: `process.scheduler`."""
    newer: bool = False
    """Whether the file changed after the daemon had read it."""


NO_SHIM_CGROUP: Reading[str] = Reading("ShimCgroup", None, "not configured", "not-tried")


class HandlerAround(Struct, frozen=True, kw_only=True):
    """Files that a handler needs besides its OCI runtime."""

    name: str
    """As CRI names it; empty for the default one."""
    shim: Reading[str]
    """Where the daemon finds the shim of its `runtime_type`; of CRI-O, the monitor, or pinns where that is missing."""
    systemd_cgroup: bool
    no_new_keyring: bool
    oci_root: Reading[Place] = NO_PLACE
    """Where its OCI runtime keeps state, if configured, or what exists above."""
    shim_cgroup: Reading[str] = NO_SHIM_CGROUP
    """The cgroup that each shim joins; absent where no hierarchy has it."""
    sandboxer: str = ""
    """containerd's plugin that makes its sandboxes; empty for the usual one."""
    io_type: str = ""
    """How containerd passes on the output of containers: `streaming`, or by FIFOs."""
    own_network: bool
    """Whether it has a directory of network configurations of its own, which is not looked at."""
    added: Reading[Added]
    """Absent without a base specification."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """The surroundings of the runtime's daemon, as the daemon sees them."""

    state: Reading[tuple[Reading[Place], ...]]
    """Each folder from `/` down to where the tasks of containerd lie; absent for other runtimes."""
    state_dir: Reading[Place]
    root_dir: Reading[Place]
    folders: tuple[Reading[Place], ...] = ()
    """Where containerd makes something for each Pod, below its root and elsewhere; or what exists above."""
    logs_dir: Reading[Place] = NO_PLACE
    """Directory in which the runtime writes the logs of containers; or the existing directory above it."""
    temporary: Reading[Place]
    """$TMPDIR or /tmp."""
    hosts: Reading[Place] = NO_PLACE
    """/etc/hosts, which containerd copies for each Pod."""
    devices: tuple[Reading[Place], ...]
    dev: Reading[Place]
    """The directory that holds them."""
    cgroups: tuple[Reading[Place], ...]
    """Directory of the cgroups of Pods: /sys/fs/cgroup, or on cgroup v1 the directories of its main controllers."""
    daemon: Reading[Daemon]
    pods_left: Reading[int] = _NO_NUMBER
    """Number of further processes that the kubelet's cgroup of all Pods allows; absent without a limit."""
    files_left: Reading[int] = Reading("/proc/sys/fs/file-nr", None, "not looked for", "not-tried")
    """Number of further files that all processes of the node may open, `fs.file-max`; negative once root exceeds it."""
    pipes: Pipes = _NO_PIPES
    keys: Keys
    restricts_oom_score: Reading[bool]
    """containerd's `restrict_oom_score_adj`."""
    missing_libraries: tuple[str, ...] = ()
    """Libraries in LD_PRELOAD of the daemon that are not there: ld.so(8) complains of them on stderr."""
    linked_shims: tuple[str, ...] = ()
    """Shims that ld.so(8) starts; looked for only where a library is missing."""
    handlers: tuple[HandlerAround, ...]
    cni: Reading[Cni]
    istio_cni: Reading[IstioCni] = NO_ISTIO
    """Absent where no network names it."""
    cni_cache: Reading[Place]
    """Where libcni keeps the results of networks, or the folder above in which it makes that."""
    proxies: Reading[dict[str, tuple[str, ...]]]
    """Capabilities of containerd's proxy plugins by their names."""
    sockets: dict[str, Reading[Place]] = {}
    """The socket at which containerd asks each of them."""
    open_files: Reading[int]
    """`fs.nr_open`, the upper limit of RLIMIT_NOFILE."""
    required_plugins: tuple[str, ...] = ()
    """NRI plugins without which containerd makes no container."""
    cgroups_full: Reading[bool] = NO_SWITCH
    """True when cgroup v2 allows Pods no further cgroup; absent without a limit."""
    frozen: Reading[bool] = NO_SWITCH
    """True when the cgroup of all Pods is frozen."""
    profiles: Reading[tuple[Profile, ...]] = NO_PROFILES
    """Profiles of AppArmor that may refuse something to a program by its path."""
    hybrid_controllers: Reading[str]
    """Controllers of a cgroup v2 hierarchy beside those of v1, as systemd mounts it; absent without one."""
    systemd: Reading[bool]
    """Whether systemd is the node's process 1, as sd_booted(3) asks."""
    bus: Reading[bool] = NO_SWITCH
    """Whether a socket is there by which the OCI runtime can ask systemd."""


NO_LABEL: Reading[str] = Reading("the kubelet's label", None, "not looked for", "not-tried")
_NO_LIMITS: Reading[dict[str, Limit]] = Reading("the kubelet's limits", None, "not looked for", "not-tried")


NO_PROGRAM: Reading[str] = Reading("the kubelet's PATH", None, "not looked for", "not-tried")


class KubeletAround(Struct, frozen=True, kw_only=True):
    """Limits on the kubelet, and the way in which its mounts reach the runtime."""

    effective_capabilities: Reading[int]
    propagation: Reading[Propagation]
    root_dir: Reading[Place]
    pods_dir: Reading[Place] = NO_PLACE
    """Directory of the Pods' directories."""
    logs_dir: Reading[Place]
    """`podLogsDir`, or the folder above in which the kubelet makes it."""
    limits: Reading[dict[str, Limit]] = _NO_LIMITS
    """By the names of getrlimit(2)."""
    cgroup_driver: Reading[str]
    """`systemd` or `cgroupfs`, as configured; absent when nothing is said."""
    seccomp: Reading[int] = _NO_NUMBER
    """`Seccomp:` of proc_pid_status(5)."""
    label: Reading[str] = NO_LABEL
    """LSM label of attr/current; empty without a security module."""
    mount: Reading[str] = NO_PROGRAM
    """mount(8) in the kubelet's PATH, which it runs for each tmpfs; not looked for in programs that embed a kubelet."""
    resolv_conf: Reading[Place] = NO_PLACE
    """The file that the kubelet reads for each Pod; not looked for where it reads none."""


class HookFiles(Struct, frozen=True, kw_only=True):
    """The OCI hooks in some directories, counted."""

    found: int
    hooked: int
    """Those with a hook that runs in the container's namespaces, with the container's IDs."""
    unread: int
    """Those that could not be read, or that were too many to be read."""
    always: tuple[Hook, ...] = ()
    """The OCI hooks that match each container: `when: always` of oci-hooks(5), and what says the same."""


class HookFacts(Struct, frozen=True, kw_only=True):
    """All that may run a program in a Pod's user namespace that was written for the host's."""

    toolkit: Reading[tuple[str, ...]]
    """Paths of NVIDIA's programs."""
    oci_hooks: Reading[HookFiles]
    """Only CRI-O looks at them."""
