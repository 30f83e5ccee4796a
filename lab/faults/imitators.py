"""Tenants that imitate the node's daemons, and rubbish where the daemons' own files are expected."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lab.faults.command import probe
from lab.faults.mutate import mutated
from lab.faults.stage import Fault, Stage, demand
from lab.faults.targets.kubelet import GATE, read_by_others
from lab.real.imitations import DISGUISES, disguise, imitations
from lab.real.node import Node, descendants
from lab.real.programs import KUBELET_HEADER

GATE_ON = KUBELET_HEADER + "maxPods: 50\nfeatureGates: {UserNamespacesSupport: true}\n"
ALL_AT_ONCE = ("cgroup", "PID namespace", "user namespace")
"""Disguises that a single process can wear, in the order in which it puts them on."""
OLDER = dict.fromkeys(("kubelet-cgroup-v1", "ids-range", "ids-restart-forecast", "ids-slots"), ("pass",))
"""What a kubelet 1.34, whose gate is not locked, does otherwise than the stage's own on cgroup v1."""
CONFIGURED = (
    *("kubelet-user-namespaces", "kubelet-configuration-pending", "kubelet-gate-restart", "kubelet-cgroup-v1"),
    *("ids-range", "ids-restart-forecast", "ids-slots", "runtime-directories", "runtime-parts"),
)
"""Checks that need to know how the kubelet is configured."""
STRANGE = (
    *("up 8:1", "kubelet\nkubelet", "\x1b[2Jkubelet", "k\udcffbelet", "containerd", "x" * 255, "(", "kubelet) S 1"),
)
"""Names of programs; the first is how the probe calls its own children."""
Make = Callable[[str, random.Random], object]


def tenants(stage: Stage, chance: random.Random) -> None:
    """Several sets of imitations at once, in disguises of their own: none is read, run or asked."""
    with ExitStack() as stack:
        kinds = [kind for kind in ALL_AT_ONCE if chance.random() < 0.6] or [chance.choice(DISGUISES)]
        wrappers = [stack.enter_context(disguise(kind)) for kind in kinds]
        nested = any("namespace" in kind for kind in kinds)
        if chance.random() < 0.3:
            wrappers = [tuple(word for wrapper in wrappers for word in wrapper)]  # all on one process
            nested = nested and "cgroup" not in kinds
        if chance.random() < 0.5:
            stage.stop_kubelet()
            stack.callback(stage.start_kubelet)
            expected = "unknown"
        else:
            expected = "ready"
        seen = [stack.enter_context(imitations(stage.node, wrapper)) for wrapper in wrappers]
        probed = probe(stage)
        for watch, server in seen:
            demand(not watch.seen(), f"as {kinds}: read or run: {watch.seen()}")
            try:
                server.accept()[0].close()
                demand(False, f"as {kinds}: its socket was asked")
            except BlockingIOError:
                pass
        if expected == "ready":
            stage.expect(probed, "ready", unknown=())
        else:
            reason = "NotReadable" if nested else "KubeletNotFound"  # a nested kubelet outside of Pods is named
            demand(probed.verdict == (2, "unknown", reason), f"as {kinds}: {probed.verdict}")


def strange_names(stage: Stage, chance: random.Random) -> None:
    """Processes whose names and arguments are anything: those of the probe's own helpers, escapes, a megabyte."""
    with ExitStack() as stack:
        for name, kind in zip(chance.sample(STRANGE, 4), DISGUISES, strict=True):
            home = stage.node.path("strange")
            os.mkdir(home)
            program = f"{home}/{name}"
            os.link(f"{stage.node.directory}/version", program)
            words = [
                chance.choice(("--config=/x", "\x1b]0;x\x07", "server", "a" * 100_000, "--", "")) for _ in range(3)
            ]
            wrapper = stack.enter_context(disguise(kind))
            stack.enter_context(running([*stage.node.inside(*wrapper), program, *words]))
        probed = probe(stage)
    stage.expect(probed, "ready", unknown=())


@contextmanager
def running(command: Sequence[str]) -> Iterator[None]:
    """That command with all that it starts, once it became the program that has no other name than that."""
    program = next(word for word in command if "/strange-" in word)
    parent = subprocess.Popen(command)
    try:
        while not any(_executable(pid) == program for pid in descendants(parent.pid)):
            demand(parent.poll() is None, f"{command!r} ended")
            time.sleep(0.005)
        yield
    finally:
        for pid in descendants(parent.pid)[1:] or [parent.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        parent.wait()


def _executable(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def _bytes(content: bytes) -> Make:
    return lambda path, _: Path(path).write_bytes(content)


def _sparse(path: str, _: random.Random) -> None:
    Path(path).write_text(GATE_ON)
    os.truncate(path, 1 << 30)


def _node(kind: int, major: int, minor: int) -> Make:
    return lambda path, _: os.mknod(path, kind | 0o666, os.makedev(major, minor))


RUBBISH: dict[str, Make] = {
    "FIFO": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: os.mknod(path, stat.S_IFSOCK | 0o666),
    "/dev/zero": _node(stat.S_IFCHR, 1, 5),
    "/dev/tty": _node(stat.S_IFCHR, 5, 0),
    "loop device": _node(stat.S_IFBLK, 7, 0),
    "directory": lambda path, _: os.mkdir(path),
    "symlink loop": lambda path, _: os.symlink(path, path),
    "symlink to a device": lambda path, _: os.symlink("/dev/zero", path),
    "symlink to /proc/kmsg": lambda path, _: os.symlink("/proc/kmsg", path),
    "1 GiB": _sparse,
    "NULs": _bytes(bytes(1 << 16)),
    "no text": lambda path, chance: Path(path).write_bytes(chance.randbytes(5000)),
}
"""What cannot be read or understood as a configuration by anybody."""


def configuration(stage: Stage, chance: random.Random) -> None:
    """The kubelet's own file, or a drop-in file of it: with rubbish in it nobody knows whether the gate is on."""
    name, make = chance.choice(list(RUBBISH.items()))
    if chance.random() < 0.5:
        with stage.other_kubelet(version="1.34.1", config=lambda path: make(path, chance)):
            probed = probe(stage)
    else:
        directory = stage.node.path("drop-in")
        os.mkdir(directory)
        make(f"{directory}/10-{chance.randrange(100)}.conf", chance)
        with stage.other_kubelet(f"--config-dir={directory}", version="1.34.1"):
            probed = probe(stage)
        if name == "directory":  # nothing that the kubelet would read
            stage.expect(probed, "ready", unknown=(), right=OLDER)
            return
    # A file of /proc is as new as the first look at it.
    pending = {"kubelet-configuration-pending": ("warn",)} if "/proc" in name else {}
    stage.expect(probed, "unknown", unknown=CONFIGURED, right=OLDER | pending)


def almost_right(stage: Stage, chance: random.Random) -> None:
    """A configuration with a few words changed: what is not understood is unknown, and all else is as it says."""
    content = mutated([GATE_ON.encode()], [b"UserNamespacesSupport: false", b"AllBeta: false"], chance)
    with stage.other_kubelet(version="1.34.1", config=lambda path: Path(path).write_bytes(content)):
        probed = probe(stage)
    allowed = {"unknown", *({True: ("ready",), False: ("not-ready",)}.get(gate_as_others_read_it(content), ()))}
    demand(probed.report["verdict"] in allowed, f"{probed.verdict} from {content[:500]!r}")


def gate_as_others_read_it(content: bytes) -> bool | None:
    """Whether the gate of user namespaces is on, as a reader has it that is not the probe's; None: nobody knows."""
    try:
        gates = read_by_others(content.decode()).get("featureGates")
    except Exception:  # PyYAML raises what comes up, and what it cannot read is read by nobody
        return None
    if gates is None:
        return True
    gate = gates.get(GATE, gates.get("AllBeta", True)) if isinstance(gates, dict) else None
    return gate if isinstance(gate, bool) else None


@contextmanager
def bound(node: Node, target: str, make: Make, chance: random.Random) -> Iterator[None]:
    """Something else in place of a file of the node's, for as long as the block lasts."""
    source = node.path("rubbish")
    make(source, chance)
    node.run("mount", "--bind", source, target)
    try:
        yield
    finally:
        node.run("umount", target)


def files_of_the_node(stage: Stage, chance: random.Random) -> None:
    """Accounts, ranges of IDs, os-release, hooks: what explains and never gates says that it is not known."""
    names = [name for name in RUBBISH if not name.startswith(("symlink", "directory"))]  # what can be bound on a file
    with ExitStack() as stack:
        for target in chance.sample(("/etc/passwd", "/etc/group", "/etc/os-release"), 2):
            target = os.path.realpath(target)
            stack.enter_context(bound(stage.node, target, RUBBISH[chance.choice(names)], chance))
        probed = probe(stage)
    stage.expect(probed, "ready", unknown=("ids-range", "ids-restart-forecast", "ids-slots"))


FAULTS = (
    Fault("tenants that imitate kubelet, containerd and CRI-O", 75, tenants),
    Fault("processes with strange names and arguments", 50, strange_names),
    Fault("rubbish where the kubelet's configuration is expected", 75, configuration),
    Fault("a kubelet's configuration that is almost right", 75, almost_right),
    Fault("rubbish where files of the node are expected", 50, files_of_the_node),
)
