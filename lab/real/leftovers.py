"""What a probe could leave behind on a node."""

from __future__ import annotations

import glob
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

from lab.real.node import Node, descendants

_TIMEOUT = 60.0  # seconds in which the kernel, and a probe whose supervisor was killed, have cleared everything away
_DAEMONS = ("containerd", "kubelet")
_NOT_OURS = "userns-probe-test-"  # what other tests on this machine make

State = dict[str, list[str]]


def look(node: Node) -> State:
    """All that must be the same before and after, by the name under which it is reported."""
    return {
        "mounts of the node": Path(f"/proc/{node.pid}/mountinfo").read_text().splitlines(),
        "mounts around the node": Path("/proc/self/mountinfo").read_text().splitlines(),
        "processes": _processes(node),
        "namespaces": _namespaces(node),
        "descriptors of daemons": _descriptors(node),
        # Runtimes make theirs right below each hierarchy; further down the machine lives its own life.
        "cgroups": _without_others(glob.glob("/sys/fs/cgroup/*/") + glob.glob("/sys/fs/cgroup/*/*/")),
        "loop devices": _without_others(_read_all("/sys/block/", "/loop/backing_file")),
        "network links": sorted(os.listdir("/sys/class/net")),
        "files of the kubelet": sorted(
            f"{at}/{name}" for at, directories, files in os.walk(node.root) for name in directories + files
        ),
        "modules": sorted(os.listdir("/sys/module")),
    }


def differences(node: Node, before: State, after: State) -> dict[str, list[str]]:
    """What came, with `+` in front, and what went, with `-`; empty when nothing did.

    A mount from outside of the node goes when somebody out there removes its directory.
    """
    changed = {}
    for name, lines in before.items():
        gone = [f"-{each}" for each in lines if each not in after[name]]
        come = [f"+{each}" for each in after[name] if each not in lines]
        if name.startswith("mounts"):
            gone = [each for each in gone if node.directory in each]
        if gone or come:
            changed[name] = gone + come
    return changed


def look_without_pids(node: Node) -> State:
    """The same where daemons were started again: their processes are counted by name."""
    names = Counter(process.partition(" ")[2] for process in _processes(node))
    return look(node) | {"processes": sorted(f"{count} x {name}" for name, count in names.items())}


def settled(node: Node, before: State, look: Callable[[Node], State] = look) -> dict[str, list[str]]:
    """The differences that remain; the kernel may take a moment to clear away what was killed."""
    deadline = time.monotonic() + _TIMEOUT
    while (found := differences(node, before, look(node))) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def interrupted(node: Node, after: float, interrupt: Callable[[list[int]], None]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command whose processes were handed to *interrupt* *after* so many seconds."""
    with node.start_probe("-o", "json", stdout=PIPE, stderr=PIPE) as command:
        tree = _started(command)
        time.sleep(after)
        interrupt(tree and descendants(tree[1]))
        stdout, stderr = command.communicate()
    return command.returncode, stdout.decode(), stderr.decode()


def _started(command: Popen[bytes]) -> list[int]:
    """nsenter and the command, once that runs inside the node; empty if it ended already."""
    while len(tree := descendants(command.pid)) < 2:
        if command.poll() is not None:
            return []
        time.sleep(0.001)
    return tree


def _processes(node: Node) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir(node.proc)):
        with suppress(OSError), open(f"{node.proc}/{pid}/comm") as comm:
            found.append(f"{pid} {comm.read().rstrip()}")
    return sorted(found)


def _descriptors(node: Node) -> list[str]:
    """How many the daemons hold: a connection that nobody ends costs its server one, whoever made it."""
    found = []
    for process in _processes(node):
        pid, _, name = process.partition(" ")
        with suppress(OSError):
            if pid == "1" or name in _DAEMONS:
                found.append(f"{len(os.listdir(f'{node.proc}/{pid}/fd'))} of {name}")
    return sorted(found)


def _namespaces(node: Node) -> list[str]:
    """Every namespace in which a process of the node lives."""
    found = set()
    for pid in filter(str.isdigit, os.listdir(node.proc)):
        with suppress(OSError):
            found |= {os.readlink(f"{node.proc}/{pid}/ns/{kind}") for kind in os.listdir(f"{node.proc}/{pid}/ns")}
    return sorted(found)


def _read_all(directory: str, name: str) -> list[str]:
    found = []
    for each in os.listdir(directory):
        with suppress(OSError), open(f"{directory}{each}{name}") as file:
            found.append(f"{each}: {file.read().rstrip()}")
    return found


def _without_others(names: list[str]) -> list[str]:
    return sorted(name for name in names if _NOT_OURS not in name)
