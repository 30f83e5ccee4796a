"""Hooks into the creation of containers: OCI hooks and the programs of NVIDIA's container toolkit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from probe.facts.around import Hook
from probe.facts.go_json import convert, parse
from probe.facts.model import HookFacts, HookFiles, RuntimeFacts
from probe.facts.runtime.base_spec import place_hooks
from probe.facts.runtime.spec import names_of
from probe.host.host import Host
from probe.reading import Reading, problem_of

OCI_HOOK_DIRECTORIES = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")
"""Directories in which CRI-O looks for OCI hooks. *Source*: crio.conf(5), hooks_dir; oci-hooks(5)."""
TOOLKIT_DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/usr/local/nvidia/toolkit")
"""Directories into which distributions and NVIDIA's operator install the toolkit."""

_TOOLKIT = (
    "nvidia-cdi-hook",
    "nvidia-container-runtime",
    "nvidia-container-runtime-hook",
    "nvidia-container-toolkit",
    "nvidia-ctk",
)
_FILES = 300  # maximum files read of one directory; a driver that writes one per claim may leave thousands
_FILE_LIMIT = 1 << 17
_LINKS = 20
_STAGES = 6
_GENERAL = 50
_PATH_LIMIT = 4095

_OCI_HOOK = re.compile(rb"\"(createContainer|startContainer)\"|nvidia")


def gather_hooks(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[HookFacts]:
    """Installed hooks, used by a container or not. Each part is a Reading of its own."""
    facts = HookFacts(toolkit=_gather_toolkit(host), oci_hooks=_gather_oci_hooks(host, runtime))
    return Reading("device hooks", facts)


def has_oci_hook(content: bytes) -> bool:
    """True when an OCI hook file names a stage inside the container's namespaces, or runs NVIDIA's program."""
    return bool(_OCI_HOOK.search(content))


class _When(Struct, rename="camel"):
    always: bool | None = None
    has_bind_mounts: bool | None = None
    annotations: dict[str, str] | None = None
    commands: tuple[str, ...] | None = None


class _Program(Struct):
    path: str = ""
    env: tuple[str, ...] | None = None


class _OciHook(Struct):
    hook: _Program
    when: _When
    stages: tuple[str, ...]


class _OldHook(Struct):
    """Schema 0.1.0, of which `version` may be missing."""

    hook: str
    stages: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    cmds: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    hasbindmounts: bool = False


_ANYTHING = frozenset(("", ".", "^", ".*", "^.*", ".*$", "^.*$", ".+", "^.+", ".+$", "^.+$", "/", "^/", "^/.*", "/.*"))
"""Regular expressions that match each command of a container."""
_COMMANDS = ("/pause", "/bin/sh", "/opt/x-1.0/run")
_ANNOTATIONS = ("io.kubernetes.container.hash", "io.kubernetes.container.restartCount", "kubernetes.io/config.source")
"""Some that the kubelet gives to each container or Pod. *Source*: kubelet, pkg/kubelet/kuberuntime/labels.go."""
_PATTERN_LIMIT, _REPEATS_LIMIT = 100, 3
_REPEAT = re.compile(r"[*+?{]")
_UNLIKE_GO = re.compile(r"\)[*+?{]|\[.*(?:\[|--|&&|~~|\|\|)", re.DOTALL)
"""A group that is repeated, which may take long, and sets of which a later Python may think otherwise."""


def _matches_each(pattern: str, subjects: tuple[str, ...]) -> bool:
    """Whether a regular expression is found in each of *subjects*; False for one that may take long to search for."""
    repeats = len(_REPEAT.findall(pattern))
    if len(pattern) > _PATTERN_LIMIT or repeats > _REPEATS_LIMIT or _UNLIKE_GO.search(pattern):
        return False
    try:
        return all(re.search(pattern, subject) for subject in subjects)
    except (re.error, OverflowError, RecursionError):
        return False


def _matches_commands(patterns: Iterable[str]) -> bool:
    return any(pattern in _ANYTHING or _matches_each(pattern, _COMMANDS) for pattern in patterns)


def _matches_annotations(patterns: Mapping[str, str]) -> bool:
    """Whether an annotation that each container has matches, whatever its value is."""
    keys = [key for key, value in patterns.items() if value in _ANYTHING]
    return any(key in _ANYTHING or any(_matches_each(key, (name,)) for name in _ANNOTATIONS) for key in keys)


def parse_general_hooks(content: bytes) -> tuple[Hook, ...]:
    """The hooks of a file, one for each stage, that match each container of a Pod; none for any other file.

    All of its conditions have to match. The kubelet mounts /etc/hosts into each container, so hasBindMounts does.
    *Source*: oci-hooks(5), schemas 1.0.0 and 0.1.0.
    """
    try:
        whole = parse(content.decode(errors="replace"))
    except ValueError:
        return ()
    try:
        hook = convert(whole, _OciHook)
    except ValueError:
        return _parse_old_hook(whole)
    when = hook.when
    conditions = (
        when.always,
        when.has_bind_mounts,
        None if when.annotations is None else _matches_annotations(when.annotations),
        None if when.commands is None else _matches_commands(when.commands),
    )
    given = [one for one in conditions if one is not None]
    if not given or not all(given) or not hook.hook.path.startswith("/") or len(hook.hook.path) > _PATH_LIMIT:
        return ()
    made = Hook(when="", path=hook.hook.path, variables=names_of(hook.hook.env or ()))
    return tuple(replace(made, when=stage) for stage in dict.fromkeys(hook.stages[:_STAGES]))


def _parse_old_hook(whole: object) -> tuple[Hook, ...]:
    """The same of schema 0.1.0, of whose conditions any has to match."""
    try:
        hook = convert(whole, _OldHook)
    except ValueError:
        return ()
    values = {*hook.annotations, *hook.annotation}
    if not hook.hasbindmounts and not _matches_commands((*hook.cmds, *hook.cmd)) and not _ANYTHING & values:
        return ()
    if not hook.hook.startswith("/") or len(hook.hook) > _PATH_LIMIT:
        return ()
    stages = dict.fromkeys((*hook.stages, *hook.stage)[:_STAGES])
    return tuple(Hook(when=stage, path=hook.hook) for stage in stages)


def _gather_toolkit(host: Host) -> Reading[tuple[str, ...]]:
    found: list[str] = []
    failed: Reading[tuple[str, ...]] | None = None
    for directory in TOOLKIT_DIRECTORIES:
        names = host.list_directory(directory)
        found += [f"{directory}/{name}" for name in names.value or () if name in _TOOLKIT]
        failed = names if names.kind not in (None, "absent") else failed
    if failed is not None and not found:
        return failed
    return Reading(", ".join(TOOLKIT_DIRECTORIES), tuple(found))


def _gather_oci_hooks(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[HookFiles]:
    known = runtime.value
    if known and known.name.value == "containerd":
        return Reading.without(", ".join(OCI_HOOK_DIRECTORIES), "not-tried", "containerd looks at no OCI hooks")
    told = known.hooks_dirs.value if known else None
    # A later directory replaces hooks of the same file name in an earlier one, also by an empty file.
    files = _read_files(host, OCI_HOOK_DIRECTORIES if told is None else told, (".json",))
    confinement = known.confinement.value if known else None

    def count(found: dict[str, bytes | None]) -> HookFiles:
        read = list(found.values())
        hooked = [one for one in read if one and has_oci_hook(one)]
        general = tuple(hook for one in read if one for hook in parse_general_hooks(one))[:_GENERAL]
        always = place_hooks(host, confinement.pid, general) if confinement else general
        return HookFiles(found=len(read), hooked=len(hooked), unread=read.count(None), always=always)

    return files.parse(count)


def _read_files(host: Host, directories: tuple[str, ...], endings: tuple[str, ...]) -> Reading[dict[str, bytes | None]]:
    """Name -> content of each file, None if not read; of two with one name, that of the later directory.

    Drivers write these files, so symlinks are followed only one by one, and not many.
    """
    contents: dict[str, bytes | None] = {}
    for directory in directories:
        names = host.list_directory(directory)
        if names.kind not in (None, "absent"):
            return problem_of(names)
        wanted = [name for name in names.value or () if name.endswith(endings)]
        asked = [name for name in wanted if name.isprintable()][:_FILES]
        read = host.read_all_beneath(directory, asked, _FILE_LIMIT) if asked else {}
        links = [name for name in read if read[name].value is None and host.read_link(f"{directory}/{name}").value]
        read |= {name: host.read(f"{directory}/{name}", _FILE_LIMIT) for name in links[:_LINKS]}
        contents |= dict.fromkeys(wanted)
        contents |= {name: reading.value for name, reading in read.items() if reading.kind != "absent"}
        for name, reading in read.items():
            if reading.kind == "absent":
                del contents[name]
    return Reading(", ".join(directories), contents)
