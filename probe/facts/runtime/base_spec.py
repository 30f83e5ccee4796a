"""The base specification, which containerd makes each container of a handler from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from probe.facts.around import NO_PLACE, Added, AddedDevice, AddedMount, Hook
from probe.facts.runtime.spec import parse_spec
from probe.facts.tried import doubt_of
from probe.host.host import Host
from probe.host.places import Place, above
from probe.host.processes import START_UNCERTAINTY
from probe.host.sysctls import sysctl_path
from probe.reading import Reading

_LIMIT = 1 << 20
_PING_RANGE = "net/ipv4/ping_group_range"
_INTERPRETERS = 6
"""A program, and the interpreters of interpreters that execve(2) follows."""


def gather_added(host: Host, pid: int, path: str) -> Reading[Added]:
    """Additions of the file at *path*; absent without one. A missing file is `not-readable`: no container is made."""
    if not path:
        return Reading.without("CRI Status", "absent", "no base specification is configured")
    if not path.startswith("/"):
        return Reading.without("CRI Status", "not-readable", "the base specification has no absolute path")
    own = f"/proc/{pid}/root{path}"
    spec = host.read_text(own, _LIMIT).parse(parse_spec)
    if spec.value is None:
        return Reading.without(path, doubt_of(spec.kind), spec.problem)
    started, file = host.started_at(pid), host.status(own)
    since = (started.value or 0.0) + START_UNCERTAINTY
    newer = started.value is None or file.value is None or file.value.newest > since
    sources = [mount.source for mount in spec.value.mounts if mount.source.startswith("/")]
    sources += [device for device in spec.value.devices if device.startswith("/")]
    places = host.places(pid, sources) if sources else {}
    return Reading(
        path,
        Added(
            hooks=place_hooks(host, pid, spec.value.hooks),
            sysctls=spec.value.sysctls,
            now={name: _now(host, name) for name, _ in spec.value.sysctls},
            tried=try_sysctls(host, spec.value.sysctls),
            mounts=tuple(
                AddedMount(
                    destination=mount.destination,
                    fstype=mount.fstype,
                    options=mount.options,
                    source=places.get(mount.source, NO_PLACE),
                )
                for mount in spec.value.mounts
            ),
            devices=tuple(AddedDevice(path=path, source=places.get(path, NO_PLACE)) for path in spec.value.devices),
            limits=spec.value.limits,
            unjudged=spec.value.unjudged,
            newer=newer,
        ),
    )


def try_sysctls(host: Host, sysctls: Sequence[tuple[str, str]]) -> dict[str, Reading[str]]:
    """Outcome of each but the range of groups that may ping, which depends on the number of IDs of a Pod."""
    wanted = {name: value for name, value in sysctls if sysctl_path(name) != _PING_RANGE}
    return host.try_sysctls(wanted) if wanted else {}


def _now(host: Host, name: str) -> Reading[str]:
    """The present value in /proc/sys."""
    path = sysctl_path(name)
    if not path:
        return Reading.without(name, "not-readable", "is not a sysctl")
    return host.read_text(f"/proc/sys/{path}").parse(str.strip)


def place_hooks(host: Host, pid: int, hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    """*hooks* with what the daemon *pid* finds on the way to each program.

    On the way lie the interpreter of a script, too, the dynamic linker, and shared libraries.
    """
    places: dict[str, Reading[Place]] = {}
    files = {hook.path for hook in hooks}
    for _ in range(_INTERPRETERS):
        _look(host, pid, places, (step for file in files for step in above(file)))
        found = [place for file in files if (place := places[above(file)[-1]].value)]
        _look(host, pid, places, (step for place in found for step in above(place.path)))
        files = {file for place in found for file in (*_starters(place), *place.libraries)}
    return tuple(_placed(hook, places) for hook in hooks)


def _look(host: Host, pid: int, places: dict[str, Reading[Place]], paths: Iterable[str]) -> None:
    """Add to *places* what the daemon finds at those of *paths* that are not there yet."""
    if further := sorted(set(paths) - places.keys()):
        places |= host.places(pid, further)


def _starters(place: Place) -> tuple[str, ...]:
    """The files that execve(2) and env(1) open to start a program."""
    return tuple(filter(None, (place.interpreter, place.command)))


def _placed(hook: Hook, places: dict[str, Reading[Place]]) -> Hook:
    """*hook* with its program and each folder above, as written and without symlinks, then the same of its starters."""
    steps: dict[str, Reading[Place]] = {}
    libraries: dict[str, Reading[Place]] = {}
    files = [hook.path]
    for _ in range(_INTERPRETERS):
        for file in files:
            steps |= _way(file, places)
        found = [place for file in files if (place := places[above(file)[-1]].value)]
        for library in (each for place in found for each in place.libraries):
            way = _way(library, places)
            libraries[library] = way.pop(library)
            steps |= way
        files = [file for place in found for file in _starters(place)]
    return replace(hook, steps=tuple(steps.values()), libraries=tuple(libraries.values()))


def _way(file: str, places: dict[str, Reading[Place]]) -> dict[str, Reading[Place]]:
    """The file, then each folder above it, as written and without symlinks."""
    way = above(file)
    place = places[way[-1]].value
    real = above(place.path)[:-1] if place else []
    return {step: places[step] for step in (way[-1], *way[:-1], *real)}
