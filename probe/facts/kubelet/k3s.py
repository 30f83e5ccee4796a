"""Settings of the kubelet inside k3s: k3s overwrites its own command line, so they come from its files and unit.

*Source*: docs.k3s.io, "Configuration Options"; k3s, `pkg/daemons/agent` (the managed `kubelet.conf.d` since 1.32) and
`pkg/cli/server` (the process title that hides arguments).
"""

from __future__ import annotations

import re
import shlex
import stat
from typing import Any

from msgspec import Struct

from probe.facts.kubelet.config import CONFIG_LIMIT, Flags, parse_document
from probe.facts.kubelet.k3s_above import arguments_above
from probe.facts.kubelet.k3s_arguments import (
    configuration_path,
    is_drop_in,
    is_on,
    kubelet_flags,
    merge_options,
    parse_arguments,
)
from probe.host.environ import parse_environment
from probe.host.host import Host, Process
from probe.reading import Reading, problem_of

DEFAULT_ENDPOINT = "unix:///run/k3s/containerd/containerd.sock"
DEFAULTS_FILE = "00-k3s-defaults.conf"
"""Drop-in file that k3s writes at every start, just before it runs the kubelet."""
_DOCKER_ENDPOINT = "unix:///run/k3s/cri-dockerd/cri-dockerd.sock"
_DATA_DIR = "/var/lib/rancher/k3s"
_UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_UNIT = r"(?m)/([\w:.\\@-]+\.service)(?:/|$)"
_DATA_DIR_OF_EXECUTABLE = r"(/.+)/data/[^/]+/bin/[^/]+"
_SUBCOMMANDS = ("server", "agent")
_HIDDEN = "k3s hides its arguments, and neither a systemd unit nor its parent process shows them"


class K3s(Struct, frozen=True):
    """Settings that a k3s process passes to its kubelet."""

    flags: Reading[Flags]
    """Flags of the kubelet, from `kubelet-arg`."""
    sources: tuple[str, ...]
    """Files that contain the flags."""
    directories: tuple[str, ...]
    """Directories that may have contained more files at the start of k3s."""
    endpoint: str
    runs_kubelet: bool
    """False for a server with `disable-agent`."""
    config_dir: str | None
    """Drop-in directory that k3s manages; None before k3s 1.32."""


def is_k3s(process: Process) -> bool:
    """True for the k3s daemon, not for other commands of the k3s binary."""
    words = command_words(process)
    name = words[0].rsplit("/", 1)[-1] if words else ""
    return process.name in ("k3s-server", "k3s-agent") or (name == "k3s" and words[1:2] in (["server"], ["agent"]))


def command_words(process: Process) -> list[str]:
    """Words of the command line; a process title is one string with spaces."""
    return [word for argument in process.argv for word in argument.split(" ") if word]


def gather_k3s(host: Host, process: Process) -> K3s:
    """Options of a k3s process from its configuration files, and from its unit if the process title hides them."""
    words, unit_files, unit_directories = _arguments(host, process)
    seen = words.value or []
    environment = host.environment(process.pid).parse(parse_environment)
    known = environment.value or {}
    config = environment.parse(lambda variables: configuration_path(seen, variables))
    options, files = _file_options(host, process.pid, config if words.value is not None else problem_of(words))
    directories = (*unit_directories, f"{config.value}.d") if config.value else unit_directories
    flags: Flags = parse_arguments(options.value, seen, known) if options.value is not None else {}
    managed = _managed(host, process.pid, flags.get("data-dir", (None,))[-1])
    endpoint, given = _endpoint(flags), Reading("kubelet-arg", flags.get("kubelet-arg", ()))
    return K3s(
        problem_of(options) if options.value is None else given.parse(lambda g: kubelet_flags(g, endpoint, managed)),
        files + unit_files,
        directories,
        endpoint,
        runs_kubelet=not is_on(flags, "disable-agent"),
        config_dir=managed,
    )


def parse_exec_start(unit: str) -> list[str]:
    """Arguments after `k3s server` in a systemd.service(5) file; empty without ExecStart.

    ValueError for variables, whose values only systemd knows. *Source*: systemd.syntax(7): a comment between the lines
    of a continued one is left out.
    """
    command = ""
    lines = (line for line in unit.replace("\r\n", "\n").split("\n") if not line.lstrip().startswith(("#", ";")))
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals and name.strip() == "ExecStart":
            command = value.strip().lstrip("@-:+!|")
    words = shlex.split(command)
    if "$" in command:
        raise ValueError("ExecStart uses variables")
    for index, word in enumerate(words):
        if word in _SUBCOMMANDS:
            return words[index + 1 :]
    return []


def _arguments(host: Host, process: Process) -> tuple[Reading[list[str]], tuple[str, ...], tuple[str, ...]]:
    """(arguments, files that contain them, directories of these files); no files if they are on the command line."""
    words = command_words(process)
    if len(words) > 2:
        return Reading(f"/proc/{process.pid}/cmdline", words[2:]), (), ()
    cgroup = host.read_text(f"/proc/{process.pid}/cgroup").value or ""
    unit = re.search(_UNIT, cgroup)
    hidden = "k3s hides its arguments, and no systemd unit shows them"
    if not unit:
        given = arguments_above(host, process)
        told = given if given.value is not None else Reading.without(given.source, "not-readable", _HIDDEN)
        return told, (), ()
    texts: list[str] = []
    files: list[str] = []
    paths, directories = _unit_files(host, process.pid, unit[1])
    if paths.value is None:
        return problem_of(paths), (), directories
    for path in paths.value:
        text = host.read_text(f"/proc/{process.pid}/root{path}", CONFIG_LIMIT)
        if text.value is None:
            return Reading.without(path, "not-readable", f"{hidden}: {text.problem}"), (), directories
        texts.append(text.value)
        files.append(path)
    if not any("ExecStart" in text for text in texts):
        return Reading.without(unit[1], "not-readable", hidden), (), directories
    return Reading(files[0], "\n".join(texts)).parse(parse_exec_start), tuple(files), directories


def _unit_files(host: Host, pid: int, unit: str) -> tuple[Reading[list[str]], tuple[str, ...]]:
    """(unit file and drop-in files in the order of systemd.unit(5), directories of drop-in files)."""
    root = f"/proc/{pid}/root"
    own = next((f"{each}/{unit}" for each in _UNIT_DIRECTORIES if host.status(f"{root}{each}/{unit}").value), None)
    names: dict[str, str] = {}
    directories = tuple(f"{each}/{unit}.d" for each in reversed(_UNIT_DIRECTORIES))
    for directory in directories:
        listed = host.list_directory(root + directory)
        if listed.value is None and listed.kind != "absent":
            return problem_of(listed), directories
        names |= {name: f"{directory}/{name}" for name in listed.value or () if name.endswith(".conf")}
    return Reading(unit, [*([own] if own else []), *(names[name] for name in sorted(names))]), directories


def _file_options(host: Host, pid: int, config: Reading[str]) -> tuple[Reading[dict[str, list[str]]], tuple[str, ...]]:
    """(merged configuration file and drop-in files, paths of the existing ones)."""
    if config.value is None:
        return problem_of(config), ()
    if not config.value:
        return Reading(config.source, {}), ()
    if not config.value.startswith("/"):
        return Reading.without(config.source, "not-readable", "is not an absolute path"), ()
    paths = _configuration_files(host, f"/proc/{pid}/root", config.value)
    documents: list[dict[str, Any]] = []
    found: list[str] = []
    for path in paths.value or ():
        reading = host.read_text(f"/proc/{pid}/root{path}", CONFIG_LIMIT).parse(parse_document)
        if reading.kind == "absent":
            continue
        found.append(path)
        if reading.value is None:
            return Reading(path, None, reading.problem, reading.kind), tuple(found)
        documents.append(reading.value)
    return paths.parse(lambda _: merge_options(documents)), tuple(found)


def _configuration_files(host: Host, root: str, config: str) -> Reading[list[str]]:
    """Configuration file, then drop-in files in the order of their names; directories are skipped."""
    directory = f"{config}.d"
    names = host.list_directory(root + directory)
    if names.value is None and names.kind != "absent":
        return problem_of(names)
    paths = [config]
    for path in (f"{directory}/{name}" for name in names.value or () if is_drop_in(name)):
        status = host.status(root + path)
        if status.value is None or not stat.S_ISDIR(status.value.mode):
            paths.append(path)
    return Reading(config, paths)


def _managed(host: Host, pid: int, data_dir: str | None) -> str | None:
    executable = re.fullmatch(_DATA_DIR_OF_EXECUTABLE, host.read_link(f"/proc/{pid}/exe").value or "")
    directory = f"{data_dir or (executable[1] if executable else _DATA_DIR)}/agent/etc/kubelet.conf.d"
    return directory if host.list_directory(f"/proc/{pid}/root{directory}").value is not None else None


def _endpoint(flags: Flags) -> str:
    """CRI endpoint: of the runtime that k3s starts, unless `container-runtime-endpoint` is set."""
    told = flags.get("container-runtime-endpoint", ("",))[-1]
    return told or (_DOCKER_ENDPOINT if is_on(flags, "docker") else DEFAULT_ENDPOINT)
