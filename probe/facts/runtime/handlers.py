"""Handlers in containerd's configuration in force: their shims, with the cgroup of these, and base specifications."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from probe.facts.around import NO_PLACE, NO_SHIM_CGROUP, Added, HandlerAround
from probe.facts.nearest import nearest
from probe.facts.runtime.base_spec import gather_added
from probe.facts.runtime.config import decode_json
from probe.facts.tried import doubt_of
from probe.host.host import Host
from probe.host.places import Place, above
from probe.reading import Reading, problem_of

HANDLERS_LIMIT = 50
PLAIN = re.compile(r"[\w.-]{1,100}", re.ASCII)
"""A word that may be a part of a file name."""
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
    io_type: str = field(default="", name="io_type")
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
    return decode_json(text, InForce)


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
                io_type=runtime.io_type,
                added=specs[path],
            )
        )
    default = next((row for row in rows if row.name == containerd.default_runtime_name), None)
    return (*((replace(default, name=""),) if default else ()), *rows)


def unknown_handlers(configuration: Reading[Any]) -> tuple[HandlerAround, ...]:
    """The default handler of a runtime whose configuration could not be read."""
    problem: Reading[Any] = Reading.without(configuration.source, doubt_of(configuration.kind), configuration.problem)
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
    if len(words) < 2 or not all(map(PLAIN.fullmatch, words)):
        return Reading.without("CRI Status", "not-readable", "names no shim")
    if search_path.value is None:
        return problem_of(search_path)
    own = os.path.dirname(host.read_link(f"/proc/{pid}/exe").value or "")
    name = f"containerd-shim-{words[-2]}-{words[-1]}"
    return first_program(host, pid, [os.path.join(each, name) for each in (*search_path.value, own) if each])


def first_program(host: Host, pid: int, paths: list[str], inherits: bool = True) -> Reading[str]:
    """The first of *paths* that execvp(3) takes, as process *pid* sees it; absent where none can be executed as root.

    Not *inherits*: the program gets an environment of its own, so its PATH is not known.
    *Source*: exec(3), execvp; Go, exec.LookPath: a file that may be executed is taken, even if execve(2) refuses it.
    """
    if not paths:
        return Reading.without("PATH", "absent", "names no absolute directory")
    found = host.places(pid, paths)
    for path in paths:
        place = found[path]
        if place.value and place.value.unfound and not inherits:
            return Reading.without(path, "not-readable", f"{path} {why_not_run(place.value)}, or has another PATH")
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
    """Whether others than root cannot move root's files there. *Source*: unlink(2), rename(2)."""
    return place.uid == 0 and stat.S_ISDIR(place.mode) and bool(place.mode & stat.S_ISVTX)


def is_program(place: Place) -> bool:
    """True when root can execute it, as root."""
    return may_be_executed(place) and not why_not_run(place)


def may_be_executed(place: Place) -> bool:
    """True when a search along PATH ends here."""
    return stat.S_ISREG(place.mode) and bool(place.mode & 0o111) and not place.flags & os.ST_NOEXEC


def why_not_run(place: Place) -> str:
    """Why an executable file does not start, or runs as another user than root; empty for a good one."""
    if place.defect or place.unfound:
        return place.defect or f"needs {place.unfound}, which env(1) finds nowhere along PATH"
    return f"runs as UID {place.runs_as} (set-user-ID)" if place.runs_as else ""


_HIERARCHIES_LIMIT = 30


_CGROUPS = "/sys/fs/cgroup"


def gather_shim_cgroup(host: Host, pid: int, cgroup: str) -> Reading[str]:
    """Path of the cgroup in the hierarchy of cgroup v2, or in the first one of v1 that has it.

    *Source*: containerd, cmd/containerd-shim-runc-v2/manager; containerd/cgroups, `Load` of cgroup1, which leaves out
    hierarchies without that cgroup, and fails when none has it.
    """
    if not cgroup:
        return NO_SHIM_CGROUP
    below = os.path.normpath(f"/{cgroup}")
    unified = host.status(f"/proc/{pid}/root{_CGROUPS}/cgroup.controllers").kind != "absent"
    names = host.list_directory(f"/proc/{pid}/root{_CGROUPS}")
    if not unified and names.value is None:
        return problem_of(names)
    roots = [_CGROUPS] if unified else [f"{_CGROUPS}/{name}" for name in (names.value or ())[:_HIERARCHIES_LIMIT]]
    found = host.places(pid, [f"{root}{below}" for root in roots])
    seen = next((place for place in found.values() if place.kind != "absent"), None)
    if seen is None:
        return Reading.without(cgroup, "absent", "no cgroup hierarchy has it")
    return seen.parse(lambda place: place.path)
