"""The surroundings of the container runtime's daemon, read in its own mount namespace; nothing is tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from probe.facts.around import NO_PLACE, Daemon, HandlerAround, Keys, Pipes, Surroundings
from probe.facts.nearest import first_existing, nearest
from probe.facts.runtime.daemon import gather_profiles
from probe.facts.runtime.handlers import InForce
from probe.facts.runtime.limits import (
    gather_cgroups_full,
    gather_frozen,
    gather_pids_left,
    gather_pods_left,
    parse_limits,
)
from probe.facts.runtime.mesh import gather_istio_cni
from probe.facts.runtime.model import NO_SWITCH, Cni
from probe.host.environ import parse_environment
from probe.host.host import Host
from probe.host.places import Place, above
from probe.host.processes import status_field
from probe.reading import Reading, problem_of

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""The device nodes of each container. *Source*: OCI runtime specification, config-linux.md, Default Devices."""

_TASKS = "io.containerd.runtime.v2.task/k8s.io"
_CRI = ("io.containerd.grpc.v1.cri/sandboxes", "io.containerd.grpc.v1.cri/containers")
_MOUNTS = "tmpmounts"
"""Where containerd mounts an image to read its users. *Source*: core/mount, `SetTempMountLocation`."""
_FIXED = ("/run/containerd/s", "/run/containerd/runc/k8s.io", "/run/netns")
_MAX_LIBRARIES = 20
_MAX_SOCKETS = 50
_BUSES = ("/run/dbus/system_bus_socket", "/run/systemd/private")
_DEV, _CGROUPS, _HOSTS = "/dev", "/sys/fs/cgroup", "/etc/hosts"
_CONTROLLERS = tuple(f"{_CGROUPS}/{name}" for name in ("cpuset", "devices", "memory", "pids", "systemd"))
_CNI_CACHE = "/var/lib/cni/results"
"""Files of networks that libcni keeps. *Source*: libcni, `CacheDir` and `cacheAdd`, whose error ends RunPodSandbox."""
_HYBRID = "/sys/fs/cgroup/unified/cgroup.controllers"


class Setup(Struct, frozen=True):
    """Configuration of a runtime, as far as its surroundings depend on it."""

    in_force: Reading[InForce]
    root_dir: Reading[str]
    state_dir: str
    """Empty where it is not told."""
    handlers: Callable[[int], tuple[HandlerAround, ...]]
    """Needs of the handlers, by the pid of the daemon."""
    networks: Callable[[int], Reading[Cni]]
    """Networks and their plugins, by the pid of the daemon."""
    proxies: Reading[dict[str, tuple[str, ...]]]
    folders: Sequence[str] = ()
    """Where the daemon makes something for each Pod."""
    network_dirs: tuple[str, ...] = ()
    sockets: dict[str, str] = {}
    """The socket of each proxy plugin by its name."""
    required_plugins: tuple[str, ...] = ()
    shim_environment: bytes = b""
    """Variables that shims have before those of the daemon."""


def gather_surroundings(host: Host, daemon: Reading[int], setup: Setup, logs_dir: str = "") -> Reading[Surroundings]:
    """The directories, devices, limits and programs that the daemon uses for containers; a problem without a daemon.

    It writes the logs of containers below *logs_dir*.
    """
    if daemon.value is None:
        return problem_of(daemon)
    pid = daemon.value
    environment = host.environment(pid).parse(lambda own: setup.shim_environment + own)
    temporary, preloaded = environment.parse(parse_temporary), environment.parse(parse_preloaded).value or ()
    devices = tuple(f"/dev/{name}" for name in DEVICES)
    named = filter(None, (temporary.value, setup.root_dir.value, setup.state_dir))
    ways = [above(folder)[:0:-1] for folder in setup.folders]
    wanted = [
        *devices,
        _DEV,
        _CGROUPS,
        *_CONTROLLERS,
        _HOSTS,
        *_BUSES,
        *preloaded,
        *(path for path in named if path[0] == "/"),
    ]
    wanted += dict.fromkeys(step for way in ways for step in way)
    found = host.places(pid, wanted)
    missing = tuple(path for path in preloaded if found[path].kind == "absent")
    around = setup.handlers(pid)
    return Reading(
        f"/proc/{pid}",
        Surroundings(
            state=_state(host, pid, setup.state_dir),
            state_dir=found.get(setup.state_dir, NO_PLACE),
            root_dir=_root(setup.root_dir, found),
            logs_dir=nearest(host, pid, logs_dir) if logs_dir else NO_PLACE,
            folders=tuple(dict.fromkeys(first_existing(host, pid, found, way) for way in ways)),
            temporary=_temporary(temporary.value, found) if temporary.value else problem_of(temporary),
            hosts=found[_HOSTS],
            devices=tuple(found[path] for path in devices),
            dev=found[_DEV],
            cgroups=tuple(found[path] for path in _CONTROLLERS if found[path].kind != "absent") or (found[_CGROUPS],),
            daemon=_daemon(host, pid),
            pods_left=gather_pods_left(host),
            files_left=host.read_text("/proc/sys/fs/file-nr").parse(_files_left),
            pipes=Pipes(soft=_sysctl(host, "fs/pipe-user-pages-soft"), hard=_sysctl(host, "fs/pipe-user-pages-hard")),
            keys=Keys(count=_sysctl(host, "kernel/keys/maxkeys"), size=_sysctl(host, "kernel/keys/maxbytes")),
            restricts_oom_score=setup.in_force.parse(lambda config: config.restrict_oom_score_adj),
            missing_libraries=missing,
            linked_shims=_linked(host, pid, (one.shim.value for one in around)) if missing else (),
            handlers=around,
            cni=setup.networks(pid),
            istio_cni=gather_istio_cni(host, pid, setup.network_dirs),
            cni_cache=nearest(host, pid, _CNI_CACHE),
            hybrid_controllers=host.read_text(f"/proc/{pid}/root{_HYBRID}").parse(str.strip),
            open_files=host.read_text("/proc/sys/fs/nr_open").parse(int),
            systemd=_systemd(host),
            bus=_bus(found) if _names_no_bus(environment) else NO_SWITCH,
            proxies=setup.proxies,
            sockets=_sockets(host, pid, setup.sockets),
            required_plugins=setup.required_plugins,
            cgroups_full=gather_cgroups_full(host),
            frozen=gather_frozen(host),
            profiles=gather_profiles(host),
        ),
    )


def _sockets(host: Host, pid: int, sockets: dict[str, str]) -> dict[str, Reading[Place]]:
    named = dict(list(sockets.items())[:_MAX_SOCKETS])
    found = host.places(pid, list(named.values())) if named else {}
    return {name: found[path] for name, path in named.items()}


def folders_of_containerd(root: str, state: str, layers: str) -> tuple[str, ...]:
    """The directories in which containerd makes something for each Pod; *layers* is that of the default snapshotter.

    *Source*: containerd 2.1, internal/cri/server (`getSandboxRootDir`), core/runtime/v2 (`NewBundle`), pkg/shim
    (`SocketAddress`), pkg/netns; cmd/containerd-shim-runc-v2, RuncRoot.
    """
    below = [f"{root}/{name}" for name in (_TASKS, *_CRI, _MOUNTS)] if root.startswith("/") else []
    below += [f"{state}/{name}" for name in (_TASKS, *_CRI)] if state.startswith("/") else []
    return (*below, *([f"{layers}/snapshots"] if layers.startswith("/") else ()), *_FIXED)


def parse_temporary(environment: bytes) -> str:
    """The directory in which containerd mounts layers for a moment: $XDG_RUNTIME_DIR, else $TMPDIR, else /tmp.

    *Source*: containerd, core/mount/temp.go, `getTempDir`; Go, os.TempDir.
    """
    variables = parse_environment(environment)
    return variables.get("XDG_RUNTIME_DIR") or variables.get("TMPDIR") or "/tmp"  # noqa: S108


def parse_preloaded(environment: bytes) -> tuple[str, ...]:
    """Paths of the libraries that ld.so(8) loads before all others.

    Names without a folder are left out, as are those with `$ORIGIN` and the like.
    """
    named = re.split(r"[ :]", parse_environment(environment).get("LD_PRELOAD", ""))
    return tuple(path for path in named if path.startswith("/") and "$" not in path)[:_MAX_LIBRARIES]


def _linked(host: Host, pid: int, programs: Iterable[str | None]) -> tuple[str, ...]:
    """Those that ld.so(8) starts."""
    paths = sorted({path for path in programs if path})
    found = host.places(pid, paths)
    return tuple(path for path in paths if (place := found[path].value) and place.linked)


def _root(root_dir: Reading[str], found: dict[str, Reading[Place]]) -> Reading[Place]:
    """A relative one is meant from the working directory of the daemon."""
    unclear: Reading[Place] = Reading.without(root_dir.source, "not-readable", "is not an absolute path")
    return found.get(root_dir.value, unclear) if root_dir.value else problem_of(root_dir)


def _temporary(path: str, found: dict[str, Reading[Place]]) -> Reading[Place]:
    """A relative one is meant from the bundle of each container on, which has no such directory."""
    nothing: Reading[Place] = Reading.without(path, "absent", "is not an absolute path")
    return found[path] if path.startswith("/") else nothing


def _state(host: Host, pid: int, state_dir: str) -> Reading[tuple[Reading[Place], ...]]:
    """Each directory on the path to the tasks, both as configured and with symlinks resolved."""
    if not state_dir.startswith("/"):
        return Reading.without("the runtime's state directory", "absent", "is not told")
    way = above(f"{state_dir.rstrip('/')}/{_TASKS}")
    seen = host.places(pid, way)
    real = {step for place in seen.values() if place.value for step in above(place.value.path)}
    seen |= host.places(pid, sorted(real - set(way))) if real - set(way) else {}
    existing = tuple(place for place in seen.values() if place.kind != "absent")
    return Reading(state_dir, existing)


def _daemon(host: Host, pid: int) -> Reading[Daemon]:
    status = host.process_status(pid)
    limits = host.read_text(f"/proc/{pid}/limits")
    return Reading(
        f"/proc/{pid}",
        Daemon(
            umask=status.parse(lambda fields: int(status_field(fields, "Umask"), 8)),
            no_new_privileges=status.parse(lambda fields: status_field(fields, "NoNewPrivs") == "1"),
            effective_capabilities=status.parse(lambda fields: int(status_field(fields, "CapEff"), 16)),
            limits=limits.parse(parse_limits),
            oom_score_adj=host.read_text(f"/proc/{pid}/oom_score_adj").parse(int),
            pids_left=gather_pids_left(host, pid),
        ),
    )


def _files_left(text: str) -> int:
    """*Source*: proc_sys_fs(5), file-nr. *Errors*: ValueError for another form."""
    used, _, most = map(int, text.split())
    return most - used


def _sysctl(host: Host, name: str) -> Reading[int]:
    return host.read_text(f"/proc/sys/{name}").parse(int)


def _names_no_bus(environment: Reading[bytes]) -> bool:
    """False where a variable names another bus than the usual one."""
    return "DBUS_SYSTEM_BUS_ADDRESS" not in (environment.parse(parse_environment).value or {})


def _bus(found: dict[str, Reading[Place]]) -> Reading[bool]:
    """True when there is a socket by which the OCI runtime can ask systemd for cgroups.

    *Source*: coreos/go-systemd, dbus, `New`: the system bus, else systemd's own socket.
    """
    buses = [found[path] for path in _BUSES]
    if any(place.value for place in buses):
        return Reading(_BUSES[0], True)
    unread = next((place for place in buses if place.kind != "absent"), None)
    return problem_of(unread) if unread else Reading(", ".join(_BUSES), False)


def _systemd(host: Host) -> Reading[bool]:
    found = host.status("/run/systemd/system")
    return Reading(found.source, False) if found.kind == "absent" else found.parse(lambda _: True)
