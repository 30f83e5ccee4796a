"""What a probe could leave behind on a node, and a campaign of probes that are killed half-way."""

from __future__ import annotations

import glob
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

from tests.real.node import Node, descendants

_PATIENCE = 10.0  # seconds in which the kernel has cleared away what was killed
_NOT_OURS = "userns-probe-test-"  # what other tests on this machine make
_SPREAD = 1.2  # of a whole probe, so that some are killed when they are done

State = dict[str, list[str]]


def look(node: Node) -> State:
    """All that must be the same before and after, by the name under which it is reported."""
    return {
        "mounts of the node": Path(f"/proc/{node.pid}/mountinfo").read_text().splitlines(),
        "mounts around the node": Path("/proc/self/mountinfo").read_text().splitlines(),
        "processes": _processes(node),
        "namespaces": _namespaces(node),
        "descriptors of process 1": sorted(os.listdir(f"/proc/{node.pid}/fd")),
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


def settled(node: Node, before: State) -> dict[str, list[str]]:
    """The differences that remain; the kernel may take a moment to clear away what was killed."""
    deadline = time.monotonic() + _PATIENCE
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


def campaign(node: Node, times: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> list[str]:
    """What is wrong after *times* commands, each killed at a random instant; empty when nothing is.

    Mostly the command itself is killed, sometimes one of its children, and then it has to come to an end by itself.
    """
    chance = random.Random(seed)
    before, whole = look(node), _duration(node)
    problems: list[str] = []
    for number in range(times):
        after, only_child = chance.uniform(0, whole * _SPREAD), chance.random() < 0.25

        def kill(tree: list[int], only_child: bool = only_child) -> None:
            victim = chance.choice(tree[1:]) if only_child and tree[1:] else tree[0] if tree else 0
            with suppress(ProcessLookupError):
                if victim:
                    os.kill(victim, signal.SIGKILL)

        code, _, stderr = interrupted(node, after, kill)
        where = f"seed {seed}, number {number}, killed {'a child ' if only_child else ''}after {after:.3f} s"
        if code not in (0, 1, 2, -signal.SIGKILL) or stderr:
            problems.append(f"{where}: exit code {code}, said {stderr[-300:]!r}")
        if left := settled(node, before):
            problems.append(f"{where}: {left}")
            before = look(node)
        progress(number + 1)
    return problems


def _started(command: Popen[bytes]) -> list[int]:
    """nsenter and the command, once that runs inside the node; empty if it ended already."""
    while len(tree := descendants(command.pid)) < 2:
        if command.poll() is not None:
            return []
        time.sleep(0.001)
    return tree


def _duration(node: Node) -> float:
    """Seconds that a whole command takes here."""
    began = time.monotonic()
    interrupted(node, 0, lambda tree: None)
    return time.monotonic() - began


def _processes(node: Node) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir(node.proc)):
        with suppress(OSError), open(f"{node.proc}/{pid}/comm") as comm:
            found.append(f"{pid} {comm.read().rstrip()}")
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
