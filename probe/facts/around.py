"""Facts of what surrounds the container runtime's daemon, and of what it adds to each container."""

from __future__ import annotations

from msgspec import Struct

from probe.host.places import Place as Place
from probe.reading import Reading

NO_PLACE: Reading[Place] = Reading("the daemon's files", None, "not looked for", "not-tried")


class Daemon(Struct, frozen=True, kw_only=True):
    """What binds the runtime's daemon, and with it all that it starts. *Source*: proc(5), pids of cgroup-v2."""

    umask: Reading[int]
    no_new_privileges: Reading[bool]
    effective_capabilities: Reading[int]
    processes: Reading[int]
    """RLIMIT_NPROC, the soft limit; -1 without one."""
    oom_score_adj: Reading[int]
    pids_left: Reading[int]
    """How many processes its cgroup and those above may still get; absent where none is limited."""


class Keys(Struct, frozen=True, kw_only=True):
    """The quota of each UID other than root. *Source*: keyrings(7)."""

    count: Reading[int]
    size: Reading[int]
    """Bytes."""


class Propagation(Struct, frozen=True, kw_only=True):
    """Whether the runtime sees what the kubelet mounts below its root directory."""

    same_namespace: bool
    arrives: bool
    """Whether the runtime's mount there is in the peer group of the kubelet's, or receives from it."""
    kubelet: str
    """The optional fields of mountinfo: `shared:5 master:1`; empty for a private mount."""
    runtime: str


class Hook(Struct, frozen=True, kw_only=True):
    """A program that the base specification runs with each container."""

    when: str
    """`createContainer` or another name of the OCI specification."""
    path: str
    steps: tuple[Reading[Place], ...]
    """The program, then each folder above it."""


class Added(Struct, frozen=True, kw_only=True):
    """What the base specification of a handler adds to each of its containers."""

    hooks: tuple[Hook, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    """Destination and file system type of each mount that is no bind."""
    newer: bool = False
    """Whether the file changed after the daemon had read it."""


class HandlerAround(Struct, frozen=True, kw_only=True):
    """What a handler needs beside its OCI runtime."""

    name: str
    """As CRI names it; empty for the default one."""
    shim: Reading[str]
    """Where the daemon finds the shim of its `runtime_type`."""
    systemd_cgroup: bool
    no_new_keyring: bool
    own_network: bool
    """Whether it has a directory of network configurations of its own, which is not looked at."""
    added: Reading[Added]
    """Absent without a base specification."""


class Cni(Struct, frozen=True, kw_only=True):
    """The network configuration in force, and the programs that it names."""

    conf: str
    missing: tuple[str, ...]
    """Plugins that are in none of the directories."""
    directories: tuple[str, ...]


class Surroundings(Struct, frozen=True, kw_only=True):
    """What surrounds the runtime's daemon, as the daemon sees it."""

    state: Reading[tuple[Reading[Place], ...]]
    """Each folder from `/` down to where the tasks of containerd lie; absent for other runtimes."""
    state_dir: Reading[Place]
    root_dir: Reading[Place]
    temporary: Reading[Place]
    """$TMPDIR or /tmp."""
    devices: tuple[Reading[Place], ...]
    daemon: Reading[Daemon]
    keys: Keys
    restricts_oom_score: Reading[bool]
    """containerd's `restrict_oom_score_adj`."""
    handlers: tuple[HandlerAround, ...]
    cni: Reading[Cni]
    proxies: Reading[dict[str, tuple[str, ...]]]
    """Capabilities of containerd's proxy plugins by their names."""
    systemd: Reading[bool]
    """Whether systemd is the node's process 1, as sd_booted(3) asks."""


class KubeletAround(Struct, frozen=True, kw_only=True):
    """What binds the kubelet, and how its mounts reach the runtime."""

    effective_capabilities: Reading[int]
    propagation: Reading[Propagation]
    root_dir: Reading[Place]
    cgroup_driver: Reading[str]
    """`systemd` or `cgroupfs`, as configured; absent when nothing is said."""
