"""The OCI runtime specification in a file, as containerd reads it. Pure.

*Source*: config.md and config-linux.md of the OCI runtime specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from probe.facts.around import Hook, Limit
from probe.facts.go_json import Object, convert, fold, parse
from probe.facts.runtime.limits import INFINITY, PIDS

_ENTRIES = 200


_PATH_LIMIT = 4096


class _Hook(Struct):
    path: str
    env: tuple[str, ...] | None = None
    timeout: int | None = None


class _Hooks(Struct, rename="camel"):
    prestart: tuple[_Hook, ...] | None = None
    create_runtime: tuple[_Hook, ...] | None = None
    create_container: tuple[_Hook, ...] | None = None
    start_container: tuple[_Hook, ...] | None = None
    poststart: tuple[_Hook, ...] | None = None
    poststop: tuple[_Hook, ...] | None = None


class _Mount(Struct):
    destination: str = ""
    type: str = ""
    source: str = ""
    options: tuple[str, ...] | None = None


class _Limit(Struct):
    type: str = ""
    soft: int = 0
    hard: int = 0


class _Process(Struct):
    rlimits: tuple[_Limit, ...] | None = None


class _Device(Struct):
    path: str = ""


class _Pids(Struct):
    limit: int = 0


class _Resources(Struct):
    pids: _Pids | None = None


class _Namespace(Struct):
    type: str = ""
    path: str = ""


class _Linux(Struct):
    namespaces: tuple[_Namespace, ...] | None = None
    resources: _Resources | None = None
    sysctl: dict[str, str] | None = None
    devices: tuple[_Device, ...] | None = None


_STEERING = re.compile(r"run\.oci\.(?:handler|seccomp)|org\.systemd\.property\.|org\.criu\.config$|module\.wasm\.")
"""Annotations that change how crun or runc makes a container. *Source*: crun(1), runc, docs/systemd.md."""


class _Spec(Struct):
    annotations: dict[str, str] | None = None
    hooks: _Hooks | None = None
    mounts: tuple[_Mount, ...] | None = None
    linux: _Linux | None = None
    process: _Process | None = None


_JUDGED = {
    "process": {
        *("args", "capabilities", "consoleSize", "cwd", "env", "noNewPrivileges", "oomScoreAdj"),
        *("rlimits", "selinuxLabel", "terminal", "user"),
    },
    "linux": {
        *("cgroupsPath", "devices", "maskedPaths", "mountLabel", "namespaces", "personality", "readonlyPaths"),
        *("resources", "rootfsPropagation", "seccomp", "sysctl"),
    },
    "linux.resources": {"cpu", "devices", "memory", "pids"},
}
"""Parts of a specification that are judged, that CRI replaces for each container, or with which Pods ran."""


_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "uts")
"""Those with which Pods ran; one that has a path, of a process of the node, may be another's."""


def unjudged(spec: object) -> tuple[str, ...]:
    """Names of further parts that are set, `process.scheduler`, of a specification that go_json has parsed."""
    return tuple(
        f"{section}.{name}"
        for section, known in _JUDGED.items()
        for name, value in _section(spec, section)
        if value and fold(name) not in map(fold, known)
    )


def _section(spec: object, name: str) -> Iterator[tuple[str, Any]]:
    """Names and values of that part, `linux.resources`, however often the specification has it."""
    first, _, rest = name.partition(".")
    for key, value in spec if isinstance(spec, Object) else ():
        if fold(key) == first:
            yield from _section(value, rest) if rest else value if isinstance(value, Object) else ()


class SpecMount(Struct, frozen=True):
    """A mount as the file has it; *source* is empty where nothing is bound, *fstype* where something is."""

    destination: str
    fstype: str
    source: str
    options: tuple[str, ...]


class SpecParts(Struct, frozen=True, kw_only=True):
    """Those parts of a specification that may be refused."""

    hooks: tuple[Hook, ...]
    """Without the way to each program, which only the node has."""
    sysctls: tuple[tuple[str, str], ...]
    mounts: tuple[SpecMount, ...]
    devices: tuple[str, ...]
    limits: tuple[tuple[str, Limit], ...]
    unjudged: tuple[str, ...]


def parse_spec(text: str) -> SpecParts:
    """An OCI runtime specification. *Errors*: ValueError for what is none, or has more entries than anybody writes."""
    whole = parse(text, stream=True)
    spec, further = convert(whole, _Spec), unjudged(whole)
    if any(one.path or one.type not in _NAMESPACES for one in (spec.linux and spec.linux.namespaces) or ()):
        further = (*further, "linux.namespaces")
    further = (*further, *(f"annotations.{name}" for name in spec.annotations or () if _STEERING.match(name)))
    rlimits = (spec.process.rlimits or ()) if spec.process else ()
    pids = spec.linux.resources.pids if spec.linux and spec.linux.resources else None
    parts = SpecParts(
        hooks=tuple(
            Hook(when=field.encode_name, path=one.path, variables=names_of(one.env or ()), timeout=one.timeout)
            for field in msgspec.structs.fields(_Hooks)
            for one in getattr(spec.hooks or _Hooks(), field.name) or ()
        ),
        sysctls=tuple((spec.linux.sysctl or {}).items()) if spec.linux else (),
        mounts=tuple(map(_mount, spec.mounts or ())),
        devices=tuple(device.path for device in spec.linux.devices or ()) if spec.linux else (),
        limits=(
            *((one.type, Limit(_limit(one.soft), _limit(one.hard))) for one in rlimits),
            *((PIDS, Limit(pids.limit, pids.limit)) for pids in (pids,) if pids and pids.limit > 0),
        ),
        unjudged=further[-_ENTRIES:],
    )
    if max(len(parts.hooks), len(parts.sysctls), len(parts.mounts), len(parts.devices), len(parts.limits)) > _ENTRIES:
        raise ValueError(f"has more than {_ENTRIES} entries")
    if not all(hook.path.startswith("/") and len(hook.path) < _PATH_LIMIT for hook in parts.hooks):
        raise ValueError("names a hook without an absolute path")
    if not all(len(path) < _PATH_LIMIT for path in (*(mount.source for mount in parts.mounts), *parts.devices)):
        raise ValueError("binds a path that is too long")
    return parts


def names_of(environment: Iterable[str]) -> tuple[str, ...]:
    """The names of variables, `PATH` of `PATH=/bin`."""
    return tuple(dict.fromkeys(entry.partition("=")[0] for entry in environment))


def _mount(mount: _Mount) -> SpecMount:
    options = mount.options or ()
    binds = mount.type == "bind" or bool({"bind", "rbind"} & set(options))
    fstype = "" if binds else mount.type or "none"
    return SpecMount(mount.destination, fstype, mount.source if binds else "", options)


def _limit(number: int) -> int:
    return number if 0 <= number < INFINITY else -1
