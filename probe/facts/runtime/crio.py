"""Programs that CRI-O needs in addition to its OCI runtimes, and additions of its configuration to each Pod."""

from __future__ import annotations

from msgspec.structs import replace

from probe.facts.around import NO_PLACE, Added, AddedDevice, HandlerAround, Limit
from probe.facts.nearest import nearest
from probe.facts.runtime.base_spec import try_sysctls
from probe.facts.runtime.handlers import HANDLERS_LIMIT, first_program, unknown_handlers
from probe.facts.runtime.limits import PIDS, parse_ulimit
from probe.facts.runtime.model import Cni, CrioAdded, RuntimeConfig
from probe.host.host import Host
from probe.reading import Reading, problem_of

_NETWORK_DIR = "/etc/cni/net.d"
_ENTRIES = 200


def gather_crio_handlers(
    host: Host, pid: int, config: Reading[RuntimeConfig], changed: str
) -> tuple[HandlerAround, ...]:
    """One row per configured handler, and one for the default; *changed* is a file that may not be in force."""
    told = config.value
    if told is None or told.crio is None:
        return unknown_handlers(config)
    crio = told.crio
    added = Reading(config.source, crio).parse(parse_added)
    devices = _devices(host, pid, crio.devices)
    added = added.parse(
        lambda one: replace(one, newer=bool(changed), tried=try_sysctls(host, one.sysctls), devices=devices)
    )
    default_first = sorted(told.handlers.items(), key=lambda one: one[0] != told.default_handler)
    rows = [
        HandlerAround(
            name=name,
            shim=_programs(host, pid, crio.pinns, handler.monitor),
            systemd_cgroup=crio.systemd_cgroup,
            no_new_keyring=False,
            oci_root=nearest(host, pid, handler.state) if handler.state.startswith("/") else NO_PLACE,
            own_network=False,
            added=added,
        )
        for name, handler in default_first[:HANDLERS_LIMIT]
    ]
    default = next((row for row in rows if row.name == told.default_handler), None)
    return (*((replace(default, name=""),) if default else ()), *rows)


def crio_network_dir(config: Reading[RuntimeConfig]) -> str:
    """The directory of networks, as configured or by default."""
    directory = (config.value.crio.network_dir if config.value and config.value.crio else "").rstrip("/")
    return directory if directory.startswith("/") else _NETWORK_DIR


def gather_crio_networks(host: Host, pid: int, config: Reading[RuntimeConfig]) -> Reading[Cni]:
    """Absent: which plugins CRI-O runs is not told. Lists the directory of networks, so that `watch` looks at it.

    Status, which is all that is asked since 1.34, does not tell `network_dir`, so then the usual directory is listed.
    A network elsewhere needs no more: CRI-O watches its own directory, and NetworkReady says what it found there.
    *Source*: crio.conf(5), `network_dir`; cri-o/ocicni, `monitorConfDir`.
    """
    directory = crio_network_dir(config)
    host.list_directory(f"/proc/{pid}/root{directory}")
    return Reading.without(directory, "absent", "CRI-O does not report the plugins of its networks")


def parse_added(crio: CrioAdded) -> Added:
    """Sysctls and limits. *Errors*: ValueError for entries that CRI-O does not start with."""
    if len(crio.sysctls) + len(crio.ulimits) > _ENTRIES:
        raise ValueError(f"has more than {_ENTRIES} entries")
    pairs = [entry.partition("=") for entry in crio.sysctls]
    return Added(
        sysctls=tuple((name.strip(), value.strip()) for name, equals, value in pairs if equals),
        limits=(
            *map(parse_ulimit, crio.ulimits),
            *([(PIDS, Limit(crio.pids_limit, crio.pids_limit))] if crio.pids_limit > 0 else []),
        ),
    )


def _devices(host: Host, pid: int, entries: tuple[str, ...]) -> tuple[AddedDevice, ...]:
    """The device nodes that each container gets: `HOST`, `HOST:CONTAINER` or `HOST:CONTAINER:PERMISSIONS`."""
    named = [entry.split(":")[0] for entry in entries[:_ENTRIES]]
    paths = [path for path in named if path.startswith("/")]
    places = host.places(pid, paths) if paths else {}
    return tuple(AddedDevice(path=path, source=places[path]) for path in dict.fromkeys(paths))


def _programs(host: Host, pid: int, *paths: str) -> Reading[str]:
    """The last of *paths*, the first problem among them; what is configured by name alone was found at the start."""
    known = [path for path in paths if path.startswith("/")]
    if not known:
        return Reading.without("crio config", "not-tried", "names no path of pinns or of a monitor")
    for path in known:
        found = first_program(host, pid, [path], inherits=False)
        if found.value is None:
            return problem_of(found)
    return Reading(known[-1], known[-1])
