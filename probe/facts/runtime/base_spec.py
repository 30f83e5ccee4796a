"""The base specification, which containerd makes each container of a handler from."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from probe.facts.around import Added, Hook
from probe.host.host import Host
from probe.host.places import Place, above
from probe.reading import Reading

_LIMIT = 1 << 20
_ENTRIES = 200
_START_UNCERTAINTY = 2.0


class _Hook(Struct):
    path: str


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
    options: tuple[str, ...] | None = None


class _Linux(Struct):
    sysctl: dict[str, str] | None = None


class _Spec(Struct):
    hooks: _Hooks | None = None
    mounts: tuple[_Mount, ...] | None = None
    linux: _Linux | None = None


def gather_added(host: Host, pid: int, path: str) -> Reading[Added]:
    """What the file at *path* adds; absent without one. A missing file is `not-readable`: no container is made."""
    if not path:
        return Reading.without("CRI Status", "absent", "no base specification is configured")
    if not path.startswith("/"):
        return Reading.without("CRI Status", "not-readable", "the base specification has no absolute path")
    own = f"/proc/{pid}/root{path}"
    spec = host.read_text(own, _LIMIT).parse(parse_spec)
    if spec.value is None:
        return Reading.without(path, "not-readable" if spec.kind == "absent" else spec.kind or "absent", spec.problem)
    started, file = host.started_at(pid), host.status(own)
    since = (started.value or 0.0) + _START_UNCERTAINTY
    newer = started.value is None or file.value is None or file.value.newest > since
    hooks, sysctls, mounts = spec.value
    way = {step for _, program in hooks for step in above(program)}
    places = host.places(pid, sorted(way)) if way else {}
    return Reading(
        path,
        Added(
            hooks=tuple(
                Hook(when=when, path=program, steps=_steps(host, pid, program, places)) for when, program in hooks
            ),
            sysctls=sysctls,
            mounts=mounts,
            newer=newer,
        ),
    )


def _steps(host: Host, pid: int, program: str, places: dict[str, Reading[Place]]) -> tuple[Reading[Place], ...]:
    """The program and each folder above it, as written and without symlinks."""
    steps = above(program)
    real = places[steps[-1]]
    further = [step for step in above(real.value.path) if step not in places] if real.value else []
    more = host.places(pid, further) if further else {}
    return tuple(dict.fromkeys((real, *(places[step] for step in steps[:-1]), *more.values())))


_Pairs = tuple[tuple[str, str], ...]


def parse_spec(text: str) -> tuple[_Pairs, _Pairs, _Pairs]:
    """Hooks by time and program, sysctls, and mounts by destination and type of an OCI runtime specification.

    *Errors*: ValueError for what is none, or has more entries than anybody writes.
    """
    try:
        spec = msgspec.json.decode(text, type=_Spec)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    hooks = [
        (field.encode_name, hook.path)
        for field in msgspec.structs.fields(_Hooks)
        for hook in getattr(spec.hooks or _Hooks(), field.name) or ()
    ]
    sysctls = tuple((spec.linux.sysctl or {}).items()) if spec.linux else ()
    mounts = [
        (each.destination, each.type)
        for each in spec.mounts or ()
        if not {"bind", "rbind"} & set(each.options or ()) and each.type != "bind"
    ]
    if max(len(hooks), len(sysctls), len(mounts)) > _ENTRIES:
        raise ValueError(f"has more than {_ENTRIES} entries")
    if not all(path.startswith("/") and len(path) < 4096 for _, path in hooks):
        raise ValueError("names a hook without an absolute path")
    return tuple(hooks), sysctls, tuple(mounts)
