"""The container runtime's configuration, as its CRI status and its own command print it."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec.structs import replace

from probe.facts.runtime.config import find_handler, parse_containerd_dump, parse_containerd_info
from probe.facts.runtime.cri import STORAGE, parse_root, parse_snapshotter
from probe.facts.runtime.crio_config import parse_crio_dump, parse_crio_info
from probe.facts.runtime.daemon import is_called, read_configuration_flags, read_search_path
from probe.facts.runtime.handlers import first_program
from probe.facts.runtime.model import ConfiguredHandler, RuntimeConfig, RuntimePending
from probe.facts.runtime.oci import read_stdout
from probe.facts.runtime.pending import (
    differences,
    find_changed_of_containerd,
    find_changed_of_crio,
    gather_executable,
)
from probe.host.cri import CriAnswer
from probe.host.environ import parse_environment
from probe.host.environ import search_path as path_of
from probe.host.host import Host
from probe.reading import Reading, or_problem, problem_of

_TIMEOUT = 3.0  # seconds for the daemon's command that prints its configuration
_CONTAINERD_BIN = "/opt/containerd/bin"  # before its PATH, unless configured otherwise


class RuntimeSettings:
    """The configuration that the CRI call Status returns, supplemented by the output of the daemon's own command.

    The command reads the files again, so a setting that it prints may take effect at the next start only.
    """

    def __init__(self, host: Host, answer: CriAnswer, daemon: Reading[int]) -> None:
        self._host = host
        self._answer = answer
        self._daemon = daemon
        self._containerd = answer.name.value == "containerd"
        unknown = answer.name.parse(_demand_known_runtime)
        self._in_force: Reading[RuntimeConfig] = problem_of(unknown)
        self._printed: Reading[RuntimeConfig] = problem_of(unknown)
        if self._containerd:
            self._in_force = answer.config.parse(parse_containerd_info)
            self._printed = self._print(parse_containerd_dump, "config", "dump")
        elif answer.name.value == "cri-o":
            self._in_force = answer.config.parse(parse_crio_info)
            self._printed = self._in_force
            if self._in_force.value is None:
                self._printed = self._print(parse_crio_dump, "config")
        self._changed: str | None = None
        self._best = self._printed if self._in_force.value is None else self._in_force

    @property
    def of_containerd(self) -> bool:
        """True when the daemon is containerd, of which shims and OCI runtimes have the environment."""
        return self._containerd

    def root_dir(self) -> Reading[str]:
        """The root of containerd, or CRI-O's storage root."""
        if self._best.value and self._best.value.root:
            return Reading(self._best.source, self._best.value.root)
        return self._answer.image_filesystem.parse(parse_root)

    def layers_dir(self) -> Reading[str]:
        """The directory in which the default snapshotter keeps its layers."""
        return self._answer.image_filesystem.parse(lambda path: STORAGE.sub(r"\1", path))

    def state_dir(self) -> str:
        """The directory of the running containers' state; empty when the runtime does not name it."""
        return self._best.value.state if self._best.value else ""

    def pause_image(self) -> Reading[str]:
        """The image that the runtime runs first in each Pod, and would pull where it is missing."""
        for config in (self._in_force, self._printed):
            if config.value and config.value.pause_image:
                return Reading(config.source, config.value.pause_image)
        if self._printed.value is None:
            return problem_of(self._printed)
        return Reading.without(self._printed.source, "absent", "the runtime tells no pause image")

    def snapshotter(self, handler: str) -> Reading[str]:
        """The snapshotter of *handler*, which may have its own; the configuration in force precedes the printed one."""
        configured = self._configured(handler)
        if configured.value and configured.value.snapshotter:
            return Reading(configured.source, configured.value.snapshotter)
        if self._in_force.value and self._in_force.value.snapshotter:
            return Reading(self._in_force.source, self._in_force.value.snapshotter)
        running = self._answer.image_filesystem.parse(parse_snapshotter)
        if running.value is None and self._printed.value and self._printed.value.snapshotter:
            return Reading(self._printed.source, self._printed.value.snapshotter)
        return running

    @or_problem
    def slow_chown(self) -> Reading[bool]:
        """True when containerd's overlayfs snapshotter copies layers that it cannot map."""
        if not self._containerd:
            return Reading.without(self._answer.name.source, "absent", "only containerd has such a setting")
        printed, source = self._printed.need(), self._printed.source
        if printed.slow_chown is None:
            return Reading.without(source, "absent", "its overlayfs snapshotter has no such setting")
        if changed := self._changed_file(printed):
            told = "on" if printed.slow_chown else "off"
            problem = f"slow_chown is {told}, and perhaps not in force: {changed} may be newer than the daemon"
            return Reading.without(source, "not-readable", problem)
        return Reading(source, printed.slow_chown)

    @or_problem
    def overlay_options(self) -> Reading[tuple[str, ...]]:
        """Options with which containerd's overlayfs snapshotter mounts layers; some may be of the next start only."""
        if not self._containerd:
            return Reading.without(self._answer.name.source, "absent", "only containerd has such a setting")
        return Reading(self._printed.source, self._printed.need().overlay_options)

    def binary_of(self, handler: str) -> str:
        """The OCI runtime that a handler is configured to run, a path or a name; empty when that is not known."""
        configured = self._configured(handler)
        return configured.value.binary if configured.value else ""

    @or_problem
    def binary(self, handler: str) -> Reading[str]:
        """Path of the OCI runtime behind a handler."""
        reading = self._configured(handler)
        source, configured = reading.source, reading.need()
        name = configured.binary
        if not name:
            return Reading.without(source, "absent", f"{configured.shim or 'its shim'} runs no runtime like runc")
        if name.startswith("/"):
            return Reading(source, name)
        if "/" in name:
            return Reading.without(source, "not-readable", f"is not an absolute path: {name[:100]}")
        return self._search(name)

    def config(self) -> Reading[RuntimeConfig]:
        """The settings in force, else those that were printed."""
        return self._best

    def changed_file(self) -> str:
        """A file newer than the daemon, where nothing but the printed configuration is known; empty otherwise."""
        printed = self._printed.value
        return self._changed_file(printed) if printed and self._in_force.value is None else ""

    def pending(self) -> RuntimePending:
        """The settings of the daemon's next start; CRI-O's files are printed only after a change."""
        executable, replaced, version = gather_executable(self._host, self._daemon)
        printed, changed = self._printed, self._changed_file(self._printed.value or RuntimeConfig())
        if changed and not self._containerd and self._answer.name.value == "cri-o" and self._in_force.value:
            printed = self._print(parse_crio_dump, "config")
        return RuntimePending(
            executable=executable,
            replaced=replaced,
            version=version,
            changed_file=changed,
            differences=self._in_force.then(lambda now: printed.parse(lambda then: differences(now, then))),
            refused=printed.problem if changed and printed.problem.startswith("exit status") else "",
            without_cri=bool(printed.value and printed.value.without_cri),
        )

    @or_problem
    def hooks_dirs(self) -> Reading[tuple[str, ...]]:
        """The directories in which CRI-O looks for hooks."""
        crio = self._best.need().crio
        if crio is None:
            return Reading.without(self._best.source, "absent", "only CRI-O looks for OCI hooks")
        if crio.hooks_dirs is None:
            return Reading.without(self._best.source, "not-readable", "CRI-O does not tell where it looks for hooks")
        return Reading(self._best.source, tuple(path for path in crio.hooks_dirs if path.startswith("/")))

    @or_problem
    def proxies(self) -> Reading[dict[str, tuple[str, ...]]]:
        """Name of each proxy plugin of containerd -> its capabilities; only the printed configuration has them."""
        printed, source = self._printed.need(), self._printed.source
        if changed := self._changed_file(printed):
            problem = f"perhaps not in force: {changed} may be newer than the daemon"
            return Reading.without(source, "not-readable", problem)
        return Reading(source, printed.proxies)

    def proxy_sockets(self) -> dict[str, str]:
        """Name of each proxy plugin -> the absolute path of its socket; none where that may not be in force."""
        printed = self._printed.value or RuntimeConfig()
        if not printed.addresses or self._changed_file(printed):
            return {}
        return {name: path for name, path in printed.addresses.items() if path.startswith("/")}

    def required_plugins(self) -> tuple[str, ...]:
        """NRI plugins that containerd demands for each container, as printed."""
        return self._printed.value.required_plugins if self._printed.value else ()

    def shim_environment(self) -> bytes:
        """Variables that containerd adds to the environment of shims, in the form of proc_pid_environ(5)."""
        printed = self._printed.value or RuntimeConfig()
        variables = printed.shim_environment
        if variables and self._changed_file(printed):
            return b""  # perhaps not in force
        return b"".join(os.fsencode(f"{each}\0") for each in variables if "\0" not in each)

    def search_path(self) -> Reading[tuple[str, ...]]:
        """The folders in which the daemon looks for programs, in its order."""
        if self._daemon.value is None:
            return problem_of(self._daemon)
        own = (self._printed.value.extra_path if self._printed.value else _CONTAINERD_BIN) if self._containerd else ""
        return read_search_path(self._host, self._daemon.value).parse(lambda path: (*filter(None, (own,)), *path))

    def _configured(self, handler: str) -> Reading[ConfiguredHandler]:
        return self._best.parse(lambda config: find_handler(config, handler))

    @or_problem
    def _search(self, name: str) -> Reading[str]:
        """The program of that name that execvp(3) takes along the PATH that the daemon, or its shim, has."""
        own = parse_environment(self.shim_environment())
        search_path = self.search_path()
        if "PATH" in own:
            search_path = Reading(self._printed.source, path_of(own))
        paths = [os.path.join(directory, name) for directory in search_path.need()]
        found = first_program(self._host, self._daemon.need(), paths, inherits=self._containerd)
        told = found.kind in (None, "absent")
        return replace(found, source=search_path.source if told else found.source)

    @or_problem
    def _print(self, parser: Callable[[str], RuntimeConfig], *command: str) -> Reading[RuntimeConfig]:
        """The configuration that the daemon's executable prints, called with the flags that name the daemon's files."""
        pid = self._daemon.need()
        flags = read_configuration_flags(self._host, pid, self._containerd).need()
        executable = self._host.read_link(f"/proc/{pid}/exe").value or ""
        if not is_called(self._host, pid, "containerd" if self._containerd else "crio"):
            problem = "not run: the runtime is a part of another program, or behind it"
            return Reading.without(executable or f"/proc/{pid}/exe", "not-readable", problem)
        if executable.endswith("/k3s"):  # which is containerd when it is called so
            path = os.path.join(os.path.dirname(executable), "containerd")
            printed = self._host.run(path, *flags, *command, timeout=_TIMEOUT)
        else:
            printed = self._host.run_daemon(pid, *flags, *command, timeout=_TIMEOUT)
        return read_stdout(printed).parse(parser)

    def _changed_file(self, printed: RuntimeConfig) -> str:
        """A configuration file that may have changed since the daemon started; empty when there is none."""
        if self._changed is None:
            pid = self._daemon.value or 0
            words = read_configuration_flags(self._host, pid, self._containerd).value or ()
            given = dict(zip(words[::2], words[1::2], strict=True))
            if self._containerd:
                self._changed = find_changed_of_containerd(self._host, pid, given, printed.imports)
            else:
                self._changed = find_changed_of_crio(self._host, pid, given)
        return self._changed


def _demand_known_runtime(name: str) -> str:
    raise ValueError(f"how {name[:60]} tells its configuration")
