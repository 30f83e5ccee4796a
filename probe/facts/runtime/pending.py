"""Changes that a restart of the container runtime puts in force: another program, another configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from probe.facts.runtime.model import Difference, RuntimeConfig
from probe.facts.runtime.oci import read_stdout
from probe.host.host import Host
from probe.host.processes import START_UNCERTAINTY
from probe.reading import Reading, problem_of

_DAEMONS = ("containerd", "crio")
_VERSION = r"\s[vV]?(\d{1,4}\.\d{1,4}\.\d{1,6}[\w.+~-]{0,60})(?=\s|$)"
_DELETED = " (deleted)"
_CONTAINERD_CONFIG = "/etc/containerd/config.toml"
_CONTAINERD_DROP_INS = "/etc/containerd/conf.d"
"""Imported by default, since 2.2."""
_CRIO_CONFIG, _CRIO_DROP_INS = "/etc/crio/crio.conf", "/etc/crio/crio.conf.d"
_FILES_LIMIT = 50
_GLOB = re.compile(r"[*?\[]")


def gather_executable(host: Host, daemon: Reading[int]) -> tuple[Reading[str], bool, Reading[str]]:
    """Path of the program, whether another one lies there now, and that one's version: only such a one is run."""
    if daemon.value is None:
        return problem_of(daemon), False, problem_of(daemon)
    link = host.read_link(f"/proc/{daemon.value}/exe")
    if link.value is None:
        return link, False, problem_of(link)
    path = link.value.removesuffix(_DELETED)
    if path == link.value:
        return link, False, Reading.without(path, "absent", "the same program starts again")
    if os.path.basename(path) not in _DAEMONS:
        return Reading(link.source, path), True, Reading.without(path, "not-tried", "holds the runtime among others")
    said = read_stdout(host.run(path, "--version")).parse(parse_version)
    return Reading(link.source, path), True, said


def parse_version(text: str) -> str:
    """`2.1.9` of `containerd containerd.io v2.1.9 abc`, or of `crio version 1.35.0`. *Errors*: ValueError."""
    found = re.search(_VERSION, text[:1000])
    if not found:
        raise ValueError("no version")
    return found[1]


def differences(in_force: RuntimeConfig, printed: RuntimeConfig) -> tuple[Difference, ...]:
    """Settings that both tell and that differ, handlers by name."""
    pairs = [
        ("default handler", in_force.default_handler, printed.default_handler),
        ("snapshotter", in_force.snapshotter, printed.snapshotter),
        ("root", in_force.root, printed.root),
    ]
    found = [Difference(setting=name, now=now, then=then) for name, now, then in pairs if now and then and now != then]
    for name in sorted({*in_force.handlers, *printed.handlers}):
        now, then = (config.handlers.get(name) for config in (in_force, printed))
        old, new = (
            " ".join(filter(None, (one.binary or one.shim, one.snapshotter))) if one else "" for one in (now, then)
        )
        if old != new:
            found.append(Difference(setting=f"handler {name}", now=old, then=new))
    return tuple(found[:100])


def find_changed(host: Host, pid: int, paths: Sequence[str]) -> str:
    """The first of *paths* that may have changed since process *pid* started; empty when there is none.

    Of a pattern that names many files the folder is looked at.
    """
    started = host.started_at(pid)
    for path in paths:
        seen = host.status(os.path.dirname(path) if _GLOB.search(path) else path)
        if seen.kind == "absent":
            continue
        if seen.value is None or started.value is None or seen.value.newest > started.value + START_UNCERTAINTY:
            return path
    return ""


def find_changed_of_containerd(host: Host, pid: int, flags: Mapping[str, str], imports: Sequence[str]) -> str:
    """As `find_changed`, of the files of a containerd with these *flags*, which said that it merged *imports*."""
    config = flags.get("--config", _CONTAINERD_CONFIG)
    # Of a file that was taken away only the folder tells.
    folders = {os.path.dirname(path) for path in imports} - {os.path.dirname(config)}
    return find_changed(host, pid, [config, *imports, *sorted({*folders, _CONTAINERD_DROP_INS})])


def find_changed_of_crio(host: Host, pid: int, flags: Mapping[str, str]) -> str:
    """As `find_changed`, of the files of a CRI-O with these *flags*; its folder where that cannot be looked through."""
    config, directory = flags.get("--config", _CRIO_CONFIG), flags.get("--config-dir", _CRIO_DROP_INS)
    names = host.list_directory(directory)
    if names.kind not in (None, "absent") or len(names.value or ()) > _FILES_LIMIT:
        return directory
    return find_changed(host, pid, [config, directory, *(f"{directory}/{name}" for name in names.value or ())])
