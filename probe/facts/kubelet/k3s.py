"""k3s runs the kubelet inside itself and wipes its own command line, so its settings come from elsewhere.

*Source*: docs.k3s.io, "Configuration Options"; k3s, `pkg/daemons/agent` (the managed `kubelet.conf.d` since 1.32) and
`pkg/cli/server` (the process title that hides arguments).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from probe.facts.kubelet.config import CONFIG_LIMIT, Flags, parse_document, parse_flags
from probe.host.environ import parse_environment
from probe.host.host import Host, Process
from probe.reading import Reading, problem_of

DEFAULT_ENDPOINT = "unix:///run/k3s/containerd/containerd.sock"
DEFAULTS_FILE = "00-k3s-defaults.conf"
"""k3s writes it at every start, when it is about to run the kubelet."""
_DOCKER_ENDPOINT = "unix:///run/k3s/cri-dockerd/cri-dockerd.sock"
_CONFIG = "/etc/rancher/k3s/config.yaml"
_CONFIG_VARIABLE = "K3S_CONFIG_FILE"
_DATA_DIR = "/var/lib/rancher/k3s"
_UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_UNIT = re.compile(r"/([\w:.\\@-]+\.service)(?:/|$)", re.MULTILINE)
_DATA_DIR_OF_EXECUTABLE = re.compile(r"(/.+)/data/[^/]+/bin/[^/]+")
_SUBCOMMANDS = ("server", "agent")


class K3s(Struct, frozen=True):
    """What a k3s process gives the kubelet inside it."""

    flags: Reading[Flags]
    """The kubelet's, from `kubelet-arg`."""
    sources: tuple[str, ...]
    """The files in which these stand."""
    directories: tuple[str, ...]
    """Where further ones may have stood when it started."""
    endpoint: str
    runs_kubelet: bool
    """False for a server that was told `disable-agent`."""
    config_dir: str | None
    """The managed directory of drop-in files; None before k3s 1.32."""


def is_k3s(process: Process) -> bool:
    """Whether that is the daemon, and not one of the many other things that k3s does under its name."""
    words = command_words(process)
    name = words[0].rsplit("/", 1)[-1] if words else ""
    return process.name in ("k3s-server", "k3s-agent") or (name == "k3s" and words[1:2] in (["server"], ["agent"]))


def command_words(process: Process) -> list[str]:
    """Its command line; a process title is one string with spaces."""
    return [word for argument in process.argv for word in argument.split(" ") if word]


def gather_k3s(host: Host, process: Process) -> K3s:
    """The options of a k3s process from its configuration files, and from its unit where its title hides them."""
    arguments, unit_files, unit_directories = _arguments(host, process)
    flags = arguments.parse(lambda words: parse_flags(_long(words)))
    config = _configuration_file(host, process.pid, flags)
    options, files = _file_options(host, process.pid, config)
    directories = (*unit_directories, f"{config.value}.d") if config.value else unit_directories
    if options.value is None or flags.value is None:
        problem = problem_of(flags if options.value is not None else options)
        managed = _managed(host, process.pid, None)
        return K3s(problem, files + unit_files, directories, DEFAULT_ENDPOINT, runs_kubelet=True, config_dir=managed)
    merged = {name: tuple(_texts(value)) for name, value in options.value.items()}
    for name, given in flags.value.items():
        merged[name] = (*merged.get(name, ()), *given)
    managed = _managed(host, process.pid, _last(merged, "data-dir"))
    kubelet_flags = Reading("kubelet-arg", merged.get("kubelet-arg", ())).parse(
        lambda given: _with_managed_directory(parse_flags(_as_flags(given)), managed)
    )
    docker = _last(merged, "docker") == "true"
    return K3s(
        kubelet_flags,
        files + unit_files,
        directories,
        _last(merged, "container-runtime-endpoint") or (_DOCKER_ENDPOINT if docker else DEFAULT_ENDPOINT),
        runs_kubelet=_last(merged, "disable-agent") != "true",
        config_dir=managed,
    )


def parse_exec_start(unit: str) -> list[str]:
    """The arguments behind `k3s server` in a systemd.service(5) file; empty when it has no ExecStart.

    Variables in it have values that only systemd knows: a ValueError.
    """
    command = ""
    for line in unit.replace("\\\n", " ").split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals and name.strip() == "ExecStart":
            command = value.strip().lstrip("@-:+!")
    words = shlex.split(command)
    if "$" in command:
        raise ValueError("ExecStart uses variables")
    for index, word in enumerate(words):
        if word in _SUBCOMMANDS:
            return words[index + 1 :]
    return []


def merge_options(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Configuration files of k3s laid over each other: a later one replaces, `name+` adds to the list before."""
    merged: dict[str, Any] = {}
    for document in documents:
        for name, value in document.items():
            key = str(name)
            if key.endswith("+"):
                merged[key[:-1]] = [*_texts(merged.get(key[:-1])), *_texts(value)]
            else:
                merged[key] = value
    return merged


def _arguments(host: Host, process: Process) -> tuple[Reading[list[str]], tuple[str, ...], tuple[str, ...]]:
    """Its arguments; the files that tell them, and the directories of those, where the command line does not."""
    words = command_words(process)
    if len(words) > 2:
        return Reading(f"/proc/{process.pid}/cmdline", words[2:]), (), ()
    cgroup = host.read_text(f"/proc/{process.pid}/cgroup").value or ""
    unit = _UNIT.search(cgroup)
    hidden = "k3s hides its arguments, and no systemd unit tells them"
    if not unit:
        return Reading.without(f"/proc/{process.pid}/cmdline", "not-readable", hidden), (), ()
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
    """The unit's own file and its drop-in files, as systemd.unit(5) orders them; and the directories of the latter."""
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


def _long(words: Sequence[str]) -> list[str]:
    """The arguments with k3s' only shorthand that matters here spelled out."""
    return [f"--config{word[2:]}" if word == "-c" or word.startswith("-c=") else word for word in words]


def _configuration_file(host: Host, pid: int, flags: Reading[Flags]) -> Reading[str]:
    """Where its configuration file lies: told by a flag, by the environment, or at the usual place."""
    if flags.value is None:
        return problem_of(flags)
    if given := flags.value.get("config"):
        return Reading("--config", given[-1])
    environment = host.read(f"/proc/{pid}/environ").parse(parse_environment)
    return environment.parse(lambda variables: variables.get(_CONFIG_VARIABLE) or _CONFIG)


def _file_options(host: Host, pid: int, config: Reading[str]) -> tuple[Reading[dict[str, Any]], tuple[str, ...]]:
    if config.value is None:
        return problem_of(config), ()
    if not config.value.startswith("/"):
        return Reading.without(config.source, "not-readable", "is no absolute path"), ()
    root, directory = f"/proc/{pid}/root", f"{config.value}.d"
    extra = host.list_directory(root + directory)
    if extra.value is None and extra.kind != "absent":
        return problem_of(extra), ()
    names = [name for name in extra.value or () if name.endswith((".yaml", ".yml"))]
    paths = [config.value, *(f"{directory}/{name}" for name in names)]
    documents: list[dict[str, Any]] = []
    found: list[str] = []
    for path in paths:
        reading = host.read_text(root + path, CONFIG_LIMIT).parse(parse_document)
        if reading.kind == "absent":
            continue
        found.append(path)
        if reading.value is None:
            return Reading(path, None, reading.problem, reading.kind), tuple(found)
        documents.append(reading.value)
    return Reading(config.value, merge_options(documents)), tuple(found)


def _managed(host: Host, pid: int, data_dir: str | None) -> str | None:
    executable = _DATA_DIR_OF_EXECUTABLE.fullmatch(host.read_link(f"/proc/{pid}/exe").value or "")
    directory = f"{data_dir or (executable[1] if executable else _DATA_DIR)}/agent/etc/kubelet.conf.d"
    return directory if host.list_directory(f"/proc/{pid}/root{directory}").value is not None else None


def _with_managed_directory(flags: Flags, managed: str | None) -> Flags:
    """Since 1.32 k3s copies what `config` and `config-dir` name into its own directory, and passes only that."""
    if managed is None:
        return flags
    return {name: value for name, value in flags.items() if name != "config"} | {"config-dir": (managed,)}


def _as_flags(given: Sequence[str]) -> list[str]:
    return [f"--{text.lstrip('-')}" for text in given]


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return ["true" if each is True else "false" if each is False else str(each) for each in values]


def _last(options: dict[str, tuple[str, ...]], name: str) -> str | None:
    return options.get(name, (None,))[-1]
