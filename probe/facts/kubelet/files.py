"""Configuration files of a running kubelet, read below its own root."""

from __future__ import annotations

import os
import stat
from typing import Any

from msgspec import Struct

from probe.facts.kubelet.config import CONFIG_LIMIT, Flags, merge_patch, parse_configuration
from probe.facts.kubelet.find import Daemon
from probe.facts.kubelet.k3s import DEFAULTS_FILE
from probe.facts.model import DropIn
from probe.facts.tried import doubt_of
from probe.host.host import FileStatus, Host
from probe.host.processes import START_UNCERTAINTY
from probe.reading import Reading, or_problem, problem_of

MICROSHIFT_CONFIG = "/var/lib/microshift/resources/kubelet/config/config.yaml"
"""File that MicroShift writes at each start and gives to its kubelet. *Source*: openshift/microshift, pkg/node."""
_BEFORE_ITS_KUBELET = 60.0
"""Seconds in which MicroShift, once started, has written it."""
_MAX_FILES = 200
_MAX_DEPTH = 8


class ConfigurationFiles(Struct, frozen=True):
    """Configuration files named by flags."""

    paths: Reading[tuple[str, ...]]
    """Paths of the files in merge order."""
    directory: str
    """Directory whose entries decide which drop-in files there are; empty without `--config-dir`."""


def find_files(host: Host, daemon: Daemon, flags: Reading[Flags]) -> ConfigurationFiles:
    """File of `--config`, then `*.conf` below `--config-dir` in lexical order of their full paths."""
    if flags.value is None:
        return ConfigurationFiles(problem_of(flags), "")
    named = [flags.value.get(name, ("",))[-1] for name in ("config", "config-dir")]
    working_directory = host.read_link(f"/proc/{daemon.process.pid}/cwd")
    if any(path and not path.startswith("/") for path in named) and working_directory.value is None:
        return ConfigurationFiles(problem_of(working_directory), "")
    config, directory = (os.path.join(working_directory.value or "/", path) if path else "" for path in named)
    found = [config] if config else []
    if directory and not _is_walked(host, daemon.root + directory):
        found += [directory] if directory.endswith(".conf") else []
        return ConfigurationFiles(Reading("configuration files", tuple(found)), os.path.dirname(directory))
    problem = _walk(host, daemon.root, directory, found, _MAX_DEPTH) if directory else None
    return ConfigurationFiles(problem or Reading("configuration files", tuple(found)), directory)


@or_problem
def read_merged(host: Host, daemon: Daemon, paths: Reading[tuple[str, ...]]) -> Reading[dict[str, Any]]:
    """Merged configuration files; a problem if any of them cannot be read or parsed."""
    merged: dict[str, Any] | None = None
    for path in paths.need():
        document = read_file(host, daemon, path).parse(parse_configuration).need()
        # Null removes only in a file merged over another. In the first file Go decodes the null of a gate as false.
        merged = document if merged is None else merge_patch(merged, document)
    return Reading("configuration files", merged or {})


@or_problem
def read_ages(
    host: Host, daemon: Daemon, extra: tuple[str, ...], files: ConfigurationFiles
) -> Reading[tuple[DropIn, ...]]:
    """File -> True if it changed or vanished after the daemon started.

    A directory of drop-in files is listed if an entry was added, removed or replaced.
    """
    paths, started_at = files.paths.need(), daemon.started_at.need()
    drop_ins: list[DropIn] = []
    # Most of k3s' directories exist on no node; the former files of a removed directory are unknown.
    optional = daemon.k3s.directories if daemon.k3s else ()
    directories = (*optional, *filter(None, [files.directory]))
    for path in (*extra, *paths, *directories):
        status = host.status(daemon.root + path)
        if status.value is None and status.kind != "absent":
            return Reading(path, None, status.problem, status.kind)
        if status.value is None and path in optional:
            continue
        # Not mtime alone: `cp -p` restores an old file with its old mtime.
        since = _read_at(host, daemon, path, started_at) + START_UNCERTAINTY
        newer = status.value is None or status.value.newest > since
        if newer or path not in directories:
            same = newer and status.value is not None and status.value.modified <= since and path not in directories
            drop_ins.append(DropIn(path=path, newer=newer, maybe_the_same=same))
    return Reading("configuration files", tuple(drop_ins))


def read_file(host: Host, daemon: Daemon, path: str) -> Reading[str]:
    """Text of a file named by the kubelet. A missing file is not `absent`: its former content is unknown."""
    content = host.read_text(daemon.root + path, CONFIG_LIMIT)
    return Reading(path, content.value, content.problem, None if content.kind is None else doubt_of(content.kind))


def _read_at(host: Host, daemon: Daemon, path: str, started: float) -> float:
    """Time at which the daemon read the file: its start, or later for the drop-in files that k3s writes itself."""
    if daemon.distribution == "microshift" and path == MICROSHIFT_CONFIG:
        return started + _BEFORE_ITS_KUBELET
    managed = daemon.k3s.config_dir if daemon.k3s else None
    if managed is None or not (path == managed or path.startswith(f"{managed}/")):
        return started
    written = host.status(f"{daemon.root}{managed}/{DEFAULTS_FILE}").value
    return max(started, written.newest if written else 0.0)


def _is_walked(host: Host, path: str) -> bool:
    """False for a symlink or a file, which the kubelet takes for one drop-in file; a slash at the end follows the link.

    *Source*: Go, `filepath.WalkDir`, which asks lstat(2) of its root.
    """
    status = host.status(path)
    return host.read_link(path).value is None and (status.value is None or _is_directory(status))


def _walk(host: Host, root: str, directory: str, found: list[str], depth: int) -> Reading[Any] | None:
    """Add the drop-in files below *directory* to *found*, without symlinked directories; returns the first problem."""
    names = host.list_directory(root + directory)
    if names.value is None:
        return Reading.without(directory, doubt_of(names.kind), names.problem)
    for name in names.value:
        path = f"{directory.rstrip('/')}/{name}"
        is_directory = _is_directory(host.status(root + path))
        if len(found) > _MAX_FILES or (is_directory and depth == 0):
            return Reading.without(directory, "not-readable", "holds too many files, or too deep ones")
        if is_directory and host.read_link(root + path).value is None:
            if problem := _walk(host, root, path, found, depth - 1):
                return problem
        elif not is_directory and name.endswith(".conf"):
            found.append(path)
    return None


def _is_directory(status: Reading[FileStatus]) -> bool:
    return status.value is not None and stat.S_ISDIR(status.value.mode)
