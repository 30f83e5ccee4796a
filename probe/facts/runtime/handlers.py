"""Shims, base specifications and CNI directories in containerd's configuration in force."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from probe.facts.around import NO_PLACE, Added, Cni, HandlerAround
from probe.facts.go_json import fold
from probe.facts.nearest import nearest
from probe.facts.runtime.base_spec import gather_added
from probe.facts.runtime.shim_cgroup import gather_shim_cgroup
from probe.host.host import Host
from probe.host.places import Place, above
from probe.reading import Reading, problem_of

CONF = re.compile(r".+\.(conf|conflist|json)", re.DOTALL)
CONF_LIMIT = 1 << 20
_PLUGINS_LIMIT = 100
_CONFS = 20
_PLAIN = re.compile(r"[\w.-]{1,100}", re.ASCII)
_LOOPBACK = "loopback"
HANDLERS_LIMIT = 50
_PATH_LIMIT = 30
_OCI_RUNTIMES = ("runc", "crun")
"""What wrappers look for. *Source*: NVIDIA Container Toolkit, `runtimes` of its configuration."""


class _Options(Struct):
    systemd_cgroup: bool = field(default=False, name="SystemdCgroup")
    no_new_keyring: bool = field(default=False, name="NoNewKeyring")
    root: str = field(default="", name="Root")
    shim_cgroup: str = field(default="", name="ShimCgroup")


class _Runtime(Struct, rename="camel"):
    runtime_type: str = ""
    runtime_path: str = ""
    base_runtime_spec: str = ""
    cni_conf_dir: str = ""
    sandboxer: str = ""
    options: _Options | None = None


class _Containerd(Struct, rename="camel"):
    default_runtime_name: str = ""
    runtimes: dict[str, _Runtime] | None = None


class _Cni(Struct, rename="camel"):
    bin_dir: str = ""
    bin_dirs: tuple[str, ...] | None = None
    conf_dir: str = ""
    max_conf_num: int = 1
    use_internal_loopback: bool = False


class InForce(Struct, rename="camel"):
    """`config` of containerd's verbose Status, as far as it names files and switches."""

    containerd: _Containerd
    restrict_oom_score_adj: bool = field(default=False, name="restrictOOMScoreAdj")
    cni: _Cni = field(default_factory=_Cni)


def parse_in_force(text: str) -> InForce:
    """The same out of its JSON. *Errors*: ValueError for anything else."""
    try:
        return msgspec.json.decode(text, type=InForce)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def gather_handlers(
    host: Host, pid: int, in_force: Reading[InForce], search_path: Reading[tuple[str, ...]]
) -> tuple[HandlerAround, ...]:
    """One row per configured handler, and one for the default; only the latter when the configuration is not known."""
    if in_force.value is None:
        return unknown_handlers(in_force)
    containerd = in_force.value.containerd
    named = (containerd.runtimes or {}).items()
    runtimes = dict(sorted(named, key=lambda one: one[0] != containerd.default_runtime_name)[:HANDLERS_LIMIT])
    specs: dict[str, Reading[Added]] = {}
    rows = []
    for name, runtime in runtimes.items():
        path = runtime.base_runtime_spec
        if path not in specs:
            specs[path] = gather_added(host, pid, path)
        options = runtime.options or _Options()
        rows.append(
            HandlerAround(
                name=name,
                shim=_shim(host, pid, runtime, search_path),
                systemd_cgroup=options.systemd_cgroup,
                own_network=bool(runtime.cni_conf_dir),
                no_new_keyring=options.no_new_keyring,
                oci_root=nearest(host, pid, options.root) if options.root.startswith("/") else NO_PLACE,
                shim_cgroup=gather_shim_cgroup(host, pid, options.shim_cgroup),
                sandboxer=runtime.sandboxer,
                added=specs[path],
            )
        )
    default = next((row for row in rows if row.name == containerd.default_runtime_name), None)
    return (*((replace(default, name=""),) if default else ()), *rows)


def unknown_handlers(configuration: Reading[Any]) -> tuple[HandlerAround, ...]:
    """The default handler of a runtime whose configuration could not be read."""
    kind = "not-readable" if configuration.kind == "absent" else configuration.kind
    problem: Reading[Any] = Reading(configuration.source, None, configuration.problem, kind)
    row = HandlerAround(
        name="", shim=problem, systemd_cgroup=False, no_new_keyring=False, own_network=False, added=problem
    )
    return (row,)


def _shim(host: Host, pid: int, runtime: _Runtime, search_path: Reading[tuple[str, ...]]) -> Reading[str]:
    """Path of the shim; absent where the daemon finds none.

    *Source*: containerd, `BinaryName` and `resolveRuntimePath`: the last two words of the type make the name, which is
    looked for along PATH, then in the folder of containerd itself.
    """
    path = runtime.runtime_path or runtime.runtime_type
    if path.startswith("/"):
        return first_program(host, pid, [path])
    words = runtime.runtime_type.split(".")
    if len(words) < 2 or not all(map(_PLAIN.fullmatch, words)):
        return Reading.without("CRI Status", "not-readable", "names no shim")
    if search_path.value is None:
        return problem_of(search_path)
    own = os.path.dirname(host.read_link(f"/proc/{pid}/exe").value or "")
    name = f"containerd-shim-{words[-2]}-{words[-1]}"
    return first_program(host, pid, [os.path.join(each, name) for each in (*search_path.value, own) if each])


def first_program(host: Host, pid: int, paths: list[str]) -> Reading[str]:
    found = host.places(pid, paths)
    for path in paths:
        place = found[path]
        if place.value and is_program(place.value):
            return Reading(path, path)
        if place.value and (why := why_not_run(place.value)):  # the first that its mode lets execute is taken
            return Reading.without(path, "absent", f"{path} {why}")
        if place.value is None and place.kind != "absent":
            return problem_of(place)
    name = os.path.basename(paths[-1])
    return Reading.without(name, "absent", f"no executable {name} in {', '.join(map(os.path.dirname, paths))}"[:500])


def trusted_path(host: Host, daemon: Reading[int], search_path: Reading[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders of the daemon's PATH from which a program may be run: only root can have put anything there.

    A folder counts with each folder above it, of which a sticky one may be writable, and with the OCI runtimes in it.
    """
    if daemon.value is None or search_path.value is None:
        return ()
    folders = [path for path in search_path.value if ":" not in path and "\0" not in path][:_PATH_LIMIT]
    runtimes = [f"{folder}/{name}" for folder in folders for name in _OCI_RUNTIMES]
    wanted = {step for folder in folders for step in above(folder)} | set(runtimes)
    found = host.places(daemon.value, sorted(wanted))
    further = {step for place in found.values() if place.value for step in above(place.value.path)} - wanted
    found |= host.places(daemon.value, sorted(further)) if further else {}

    def trusted(path: str) -> bool:
        place = found[path]
        if place.value is None:
            return place.kind == "absent"
        real = place.value.path
        return _only_root_writes(place.value) and all(
            (seen := found[step].value) is not None and (_only_root_writes(seen) or _is_sticky(seen))
            for step in {*above(path)[:-1], *above(real)[:-1]}
        )

    return tuple(
        folder
        for folder in folders
        if found[folder].value and trusted(folder) and all(trusted(f"{folder}/{name}") for name in _OCI_RUNTIMES)
    )


def _only_root_writes(place: Place) -> bool:
    return place.uid == 0 and not place.mode & 0o022 and not place.acl


def _is_sticky(place: Place) -> bool:
    """Whether nobody can move what is root's there. *Source*: unlink(2), rename(2)."""
    return place.uid == 0 and stat.S_ISDIR(place.mode) and bool(place.mode & stat.S_ISVTX)


def is_program(place: Place) -> bool:
    """True when root can execute it, as root."""
    return (
        stat.S_ISREG(place.mode)
        and bool(place.mode & 0o111)
        and not place.flags & os.ST_NOEXEC
        and not why_not_run(place)
    )


def why_not_run(place: Place) -> str:
    """Why execve(2) refuses an executable file, or runs it as another user than root; empty for a good one."""
    return place.defect or (f"runs as UID {place.runs_as} (set-user-ID)" if place.runs_as else "")


def gather_cni(host: Host, pid: int, in_force: Reading[InForce]) -> Reading[Cni]:
    """The network configurations that are loaded, by default the first of the directory, and plugins that cannot run.

    *Source*: libcni, `ConfFiles` (sorted by name) and `invoke.FindInPath` (the first regular file in the directories);
    containerd, `maxConfNum`, and `useInternalLoopback`, without which it runs the plugin `loopback` for each Pod.
    """
    if in_force.value is None:
        return problem_of(in_force)
    cni = in_force.value.cni
    directories = tuple(path for path in (cni.bin_dirs or (cni.bin_dir,)) if path.startswith("/"))[:10]
    if not cni.conf_dir.startswith("/") or not directories:
        return Reading.without(in_force.source, "absent", "no directories of CNI are told")
    listed = host.list_directory(f"/proc/{pid}/root{cni.conf_dir}")
    names = [name for name in listed.value or () if CONF.fullmatch(name)]
    if not names:
        nothing: Reading[Cni] = Reading.without(cni.conf_dir, "absent", "no network is configured")
        return nothing if listed.value is not None else problem_of(listed)
    needed: dict[str, str] = {}
    most = cni.max_conf_num if 0 < cni.max_conf_num < _CONFS else _CONFS
    for conf in (os.path.join(cni.conf_dir, name) for name in names[:most]):
        plugins = host.read_text(f"/proc/{pid}/root{conf}", CONF_LIMIT).parse(parse_plugins)
        if plugins.value is None:
            return problem_of(plugins)
        needed = dict.fromkeys(plugins.value, conf) | needed
    if not cni.use_internal_loopback:
        needed.setdefault(_LOOPBACK, os.path.join(cni.conf_dir, names[0]))
    return _judge_plugins(host, pid, directories, needed)


def _judge_plugins(host: Host, pid: int, directories: tuple[str, ...], needed: dict[str, str]) -> Reading[Cni]:
    """Which of *needed*, the configuration by the name of its plugin, cannot be run."""
    found = host.places(pid, [os.path.join(path, name) for path in directories for name in needed])
    missing: dict[str, str] = {}
    for name in needed:
        tried = [found[os.path.join(path, name)] for path in directories]
        if any(each.value is None and each.kind != "absent" for each in tried):
            return problem_of(next(each for each in tried if each.value is None and each.kind != "absent"))
        files = [each.value for each in tried if each.value and stat.S_ISREG(each.value.mode)]
        if not files or not is_program(replace(files[0], runs_as=0)):  # a plugin may need no rights
            missing[name] = f"{name} ({files[0].defect})" if files and files[0].defect else name
    conf = needed[next(iter(missing or needed))]
    return Reading(conf, Cni(conf=conf, missing=tuple(missing.values()), directories=directories))


def parse_plugins(text: str) -> tuple[str, ...]:
    """The `type` of each plugin of a configuration or a list of them. *Errors*: ValueError without any."""
    try:
        content: Any = msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    listed = content.get("plugins", [content]) if isinstance(content, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= _PLUGINS_LIMIT:
        raise ValueError("names no plugins")
    types = [_type_of(each) if isinstance(each, dict) else None for each in listed]
    if not all(isinstance(each, str) and _PLAIN.fullmatch(each) for each in types):
        raise ValueError("names plugins that are no file names")
    return tuple(dict.fromkeys(map(str, types)))


def _type_of(plugin: dict[str, Any]) -> Any:
    """Its `type`, by a name in any case. Of several the last in the order of names, in which libcni writes them again.

    *Source*: libcni, ConfListFromBytes and ConfFromBytes; Go, encoding/json.
    """
    found = [value for name, value in sorted(plugin.items()) if fold(name) == "type" and value is not None]
    return found[-1] if found else None
