"""The process of the container runtime, and its confinement."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from probe.facts.model import Confinement
from probe.facts.runtime.model import Profile
from probe.host.cri import CriAnswer
from probe.host.environ import parse_environment, search_path
from probe.host.host import Host
from probe.host.namespaces import INITIAL_USER_NAMESPACE
from probe.host.processes import parse_unit, status_field
from probe.reading import Reading, or_problem

_PROCESS_NAMES = {"containerd": "containerd", "cri-o": "crio", "docker": "cri-dockerd"}
_LISTENS = 0x10000  # __SO_ACCEPTCON in the column Flags
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,16}")
_NO_LABEL = os.strerror(errno.EINVAL)  # no active security module labels processes

_APPARMOR = "/sys/kernel/security/apparmor"
_PROFILE = re.compile(r"(?!:|snap[._]|docker-|cri-|crio-)((?:(?!//).){1,300}) \((enforce|kill|prompt|user)\)")
"""Not of another namespace, no child of a profile, and none that is entered by its name alone, as those of containers.
"""
_PROFILES, _PROFILE_FOLDERS = 200, 2000


@or_problem
def find_daemon(host: Host, answer: CriAnswer) -> Reading[int]:
    """Pid of the daemon that answered on the socket; a problem unless it provably belongs to the node.

    SO_PEERCRED names the listener, unless it is in a PID namespace that the probe cannot see; then it is the daemon
    with the name of the runtime, and of several the one with the listening socket open. A daemon of another name that
    listens is a proxy of CRI, such as Koordinator's, where a process has the runtime's name; else the runtime is a part
    of it.
    """
    listener = answer.listener
    name = _PROCESS_NAMES.get(answer.name.value or "")
    if listener.value is not None and listener.value > 1:  # 0: not visible; 1: socket activation by systemd
        itself = _confirmed(host, listener.value)
        alone = itself.value is None or name is None or is_called(host, listener.value, name)
        if alone or not any(each.value for each in _named(host, name or "")):
            return itself
    answer.name.need()
    if name is None:
        return Reading.without(answer.name.source, "not-readable", "the name of its daemon is not known")
    processes = host.processes()
    processes.need()
    named = _named(host, name)
    daemons = [reading for reading in named if reading.value is not None]
    if not daemons:
        nobody: Reading[int] = Reading.without(processes.source, "not-readable", f"no process is called {name}")
        return named[0] if named else nobody
    if len(daemons) > 1:
        daemons = [reading for reading in daemons if _holds_socket(host, reading.value or 0, answer.endpoint)]
    if len(daemons) == 1:
        return daemons[0]
    problem = f"several processes are called {name}; unknown which of them listens"
    return Reading.without(processes.source, "not-readable", problem)


def is_called(host: Host, pid: int, name: str) -> bool:
    """Whether *name* is a part of the name of a process or of its executable: `.crio-wrapped`, `containerd-2.1`."""
    known = next((process.name for process in host.processes().value or () if process.pid == pid), name)
    return name in known or name in os.path.basename(host.read_link(f"/proc/{pid}/exe").value or "")


def _named(host: Host, name: str) -> list[Reading[int]]:
    return [_confirmed(host, process.pid) for process in host.processes().value or () if process.name == name]


@or_problem
def _confirmed(host: Host, pid: int) -> Reading[int]:
    belongs = host.node_daemon(pid)
    if not belongs.need():
        why = "it lacks UID 0, or the node's PID or user namespace, or it is in a Pod"
        problem = f"process {pid} is not a daemon of this node: {why}"
        return Reading.without(belongs.source, "not-readable", problem)
    return Reading(belongs.source, pid)


def _holds_socket(host: Host, pid: int, endpoint: str) -> bool:
    """True when process *pid* has the listening socket *endpoint* open."""
    table = host.read(f"/proc/{pid}/net/unix").value or b""  # any user may bind a socket whose name is not UTF-8
    inodes = parse_listeners(table.decode(errors="replace"), endpoint)
    descriptors = host.list_directory(f"/proc/{pid}/fd").value or ()
    return any(host.read_link(f"/proc/{pid}/fd/{fd}").value in inodes for fd in descriptors)


def parse_listeners(table: str, endpoint: str) -> frozenset[str]:
    """Links (`socket:[123]`) in /proc/PID/fd of sockets that listen at *endpoint*.

    *Source*: /proc/net/unix in proc(5): Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
    """
    found = set()
    for line in table.split("\n"):
        fields = line.split(maxsplit=7)
        if len(fields) < 8 or _natural(fields[7]) != _natural(endpoint) or not _HEXADECIMAL.fullmatch(fields[3]):
            continue
        if int(fields[3], 16) & _LISTENS:
            found.add(f"socket:[{fields[6]}]")
    return frozenset(found)


def _natural(path: str) -> str:
    """*path* with /run for /var/run, a symlink on every distribution that runs Kubernetes."""
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


@or_problem
def gather_confinement(host: Host, daemon: Reading[int]) -> Reading[Confinement]:
    """Confinement of the daemon: seccomp, security module, capabilities."""
    pid = daemon.need()
    status = host.process_status(pid)
    return Reading(
        f"/proc/{pid}",
        Confinement(
            pid=pid,
            effective_capabilities=status.parse(lambda fields: int(status_field(fields, "CapEff"), 16)),
            seccomp=status.parse(lambda fields: int(fields.get("Seccomp", "0"))),
            in_initial_user_namespace=host.read_link(f"/proc/{pid}/ns/user").parse(
                lambda link: link == INITIAL_USER_NAMESPACE
            ),
            label=read_label(host, pid),
            root=host.read_link(f"/proc/{pid}/root"),
            unit=host.read_text(f"/proc/{pid}/cgroup").parse(parse_unit),
        ),
    )


def read_label(host: Host, pid: int) -> Reading[str]:
    """Label of a security module; empty without one."""
    label = host.read_text(f"/proc/{pid}/attr/current")
    if label.problem == _NO_LABEL or label.kind == "absent":  # the latter without CONFIG_SECURITY
        return Reading(label.source, "")
    return label.parse(lambda text: text.rstrip("\0\n"))


def gather_profiles(host: Host) -> Reading[tuple[Profile, ...]]:
    """Profiles of AppArmor that refuse something, with the programs that they are for; absent without AppArmor.

    *Source*: Linux, security/apparmor/apparmorfs.c; apparmor.d(5), a name that begins with a slash is the attachment.
    """
    loaded = host.read_text(f"{_APPARMOR}/profiles")
    found = [match for line in (loaded.value or "").split("\n") if (match := _PROFILE.fullmatch(line))][:_PROFILES]
    named = {_mangled(match[1]) for match in found if not match[1].startswith("/")}
    folder = f"{_APPARMOR}/policy/profiles"
    entries = (host.list_directory(folder).value or ()) if named else ()
    attached = {
        entry.rpartition(".")[0]: (host.read_text(f"{folder}/{entry}/attach").value or "").strip()
        for entry in entries[:_PROFILE_FOLDERS]
        if entry.rpartition(".")[0] in named
    }

    def profile(name: str, mode: str) -> Profile:
        told = name if name.startswith("/") else attached.get(_mangled(name), "")
        return Profile(name, mode, told if told.startswith(("/", "{")) else "")

    return loaded.parse(lambda _: tuple(profile(match[1], match[2]) for match in found))


def _mangled(name: str) -> str:
    """The name of a profile's directory, up to its number. *Source*: security/apparmor/apparmorfs.c, mangle_name."""
    return re.sub(r"[^\w.-]", "", re.sub(r"\s", "_", name.lstrip("/.").replace("/", ".")), flags=re.ASCII)


def read_arguments(host: Host, pid: int) -> Reading[tuple[str, ...]]:
    """Command line of a daemon."""
    return host.read(f"/proc/{pid}/cmdline").parse(
        lambda content: tuple(os.fsdecode(argument) for argument in content.split(b"\0")[:-1])
    )


def read_configuration_flags(host: Host, pid: int, containerd: bool) -> Reading[tuple[str, ...]]:
    """The flags of a daemon that name its configuration, with absolute paths; *containerd* or CRI-O."""
    directory = host.read_link(f"/proc/{pid}/cwd").value or "/"
    names = [("c", "config")] if containerd else [("c", "config"), ("d", "config-dir")]

    def flags(arguments: tuple[str, ...]) -> tuple[str, ...]:
        values = {f"--{long}": parse_flag(arguments, short, long) for short, long in names}
        given = ((flag, os.path.join(directory, value)) for flag, value in values.items() if value)
        return tuple(word for pair in given for word in pair)

    return read_arguments(host, pid).parse(flags)


def read_search_path(host: Host, pid: int) -> Reading[tuple[str, ...]]:
    """Absolute directories in the PATH of a daemon; no other variable is kept."""
    return host.environment(pid).parse(parse_environment).parse(_demand_search_path)


def _demand_search_path(environment: dict[str, str]) -> tuple[str, ...]:
    if "PATH" not in environment:
        raise ValueError("no PATH")
    return search_path(environment)


def parse_flag(arguments: Sequence[str], *names: str) -> str | None:
    """Value of a flag by any of *names*: `--config X`, `-config=X`, `-c X`; the last one wins."""
    value = None
    for index, argument in enumerate(arguments):
        flag, separator, attached = argument.partition("=")
        if flag.startswith("-") and flag.lstrip("-") in names:
            following = arguments[index + 1] if index + 1 < len(arguments) else None
            value = attached if separator else following
    return value
