"""`watch` on a real node, in a container of its own: what changes on the node is in the metrics soon, whatever it is.

The interval is a day and nobody sends SIGHUP, so a second report comes from a look alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.real.node import CHECKOUT, Node, descendants, environment
from lab.real.packages import Runtime
from lab.serve.serving import wait_for
from probe.outputs.metrics import render_prom
from probe.report import Report

pytestmark = pytest.mark.real

LIMIT = "/proc/sys/user/max_user_namespaces"
HASTY = """
import sys
sys.path.insert(0, sys.argv[1])
from probe.watch import pace
pace.LOOK, pace.SPACING = 0.2, 0.0
from probe.watch import rounds
rounds.RENEWAL, rounds.PATIENCE = 0.5, 0.0
from probe.watch.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
"""The real `watch` with other times, so that no test has to wait for a minute."""


class Watching:
    """A `watch` that runs in a container of *node*, which has the node's /proc at another place than its own."""

    def __init__(self, node: Node) -> None:
        place = node.path("watching")
        os.makedirs(f"{place}/proc")
        self.file = Path(place, "report.json")
        hide = f'mount --bind /proc {place}/proc && mount -t proc proc /proc && mount -t tmpfs hidden /run && exec "$@"'
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", hide, "sh"]
        script = [sys.executable, "-I", "-S", "-c", HASTY, CHECKOUT, str(self.file), "86400", "20"]
        command = node.inside(*alone, *script, f"--proc={place}/proc", "--budget=20s")
        self.log: list[dict[str, Any]] = []
        self.process = subprocess.Popen(command, cwd=CHECKOUT, env=environment(), stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read_log(self) -> None:
        for line in self.process.stderr or ():
            with contextlib.suppress(ValueError):
                self.log.append(json.loads(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["event"] == name]

    def report(self) -> Report:
        return msgspec.json.decode(self.file.read_bytes(), type=Report)

    @property
    def pids(self) -> list[int]:
        """`watch` itself, and its looker once there is one."""
        return [pid for pid in descendants(self.process.pid) if _command(pid).startswith(os.fsencode(sys.executable))]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[0], signal.SIGTERM)
        self.process.wait()


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def watching(node: Node) -> Iterator[Watching]:
    """A `watch` that has probed *node* and looks at it."""
    made = Watching(node)
    try:
        wait_for(lambda: made.events("probed"))
        assert made.report().verdict != "unknown", made.report().message
        wait_for(lambda: made.report().confirmed_at)
        assert made.events("changed") == []
        yield made
    finally:
        made.end()


@pytest.fixture
def own_node(
    bare_node: Callable[..., contextlib.AbstractContextManager[Node]],
    containerd: Runtime,
    runtime: Callable[..., Runtime],
) -> Iterator[Node]:
    """A node of this test alone, whose programs are copies that may be changed."""
    with bare_node() as node:
        for name, found in (("runc", runtime("runc", (1, 2))), ("crun", runtime("crun", (1, 9)))):
            shutil.copy2(found.path, f"{node.directory}/{name}")
        handlers = {name: f"{node.directory}/{name}" for name in ("runc", "crun")}
        with node.containerd(containerd, handlers) as node.endpoint:
            yield node


def replace_runtime(node: Node, _config: str) -> None:
    shutil.copy2(f"{node.directory}/runc", f"{node.directory}/new")
    os.rename(f"{node.directory}/new", f"{node.directory}/runc")


def change_kubelet_file(_node: Node, config: str) -> None:
    with open(config, "a") as file:
        file.write("podPidsLimit: 100\n")


def mount_more(node: Node, _config: str) -> None:
    os.mkdir(f"{node.directory}/data")
    node.run("mount", "-t", "tmpfs", "data", f"{node.directory}/data")


CHANGES: dict[str, tuple[Callable[[Node, str], None], str]] = {
    "a runtime's binary": (replace_runtime, "/runc"),
    "a kubelet's file": (change_kubelet_file, "/config.yaml"),
    "the mount table": (mount_more, "/mountinfo"),
}


@pytest.mark.parametrize(("change", "where"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_in_the_metrics(own_node: Node, change: Callable[[Node, str], None], where: str) -> None:
    """The look names what changed, and a full probe tells of it; before, look after look saw nothing."""
    with own_node.kubelet() as config, watching(own_node) as watch:
        before = watch.report()
        change(own_node, config)
        wait_for(lambda: len(watch.events("probed")) == 2)
        assert watch.events("changed")[0]["what"].endswith(where)
        assert _series(render_prom(watch.report())) != _series(render_prom(before))


def test_a_change_of_a_sysctl_is_in_the_metrics(own_node: Node) -> None:
    """A file in place of the sysctl, which not every machine's root may write, tells of another limit."""
    limit = Path(own_node.directory, "limit")
    limit.write_text("15000\n")
    own_node.run("mount", "--bind", str(limit), LIMIT)
    with own_node.kubelet(), watching(own_node) as watch:
        before = _status(watch.report(), "kernel-user-namespaces")
        limit.write_text("0\n")
        wait_for(lambda: len(watch.events("probed")) == 2)
        assert watch.events("changed")[0]["what"] == f"content {LIMIT}"
        assert _status(watch.report(), "kernel-user-namespaces") != before


def _status(report: Report, check: str) -> tuple[str, object]:
    return next((one.status, one.evidence) for one in report.findings if one.id == check)


def _series(text: str) -> str:
    """Metrics that speak of the node or of the probe, and not of confirmations."""
    return "\n".join(line for line in text.splitlines() if "confirmed" not in line and "expires" not in line)


def write_in_place(path: str) -> None:
    """The script is no program any more; its size and its time of modification stay as they are."""
    seen = os.stat(path)
    content = Path(path).read_bytes()
    Path(path).write_bytes(b"#!/no" + content[5:])
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_a_change_that_leaves_names_and_modes_alone_is_probed(own_node: Node) -> None:
    """A plugin is written to in place, a directory made immutable, a mount unbindable, and the socket removed."""
    home = os.path.dirname(own_node.endpoint)
    changes: list[tuple[Callable[[], object], str, str]] = [
        (lambda: write_in_place(f"{home}/cni/own"), "/cni/own", "runtime-parts"),
        (lambda: own_node.run("chattr", "+i", f"{home}/state"), "/state", "runtime-directories"),
        (
            lambda: own_node.run("mount", "--make-unbindable", own_node.directory),
            "/mountinfo",
            "filesystem-overlay-layers",
        ),
        (lambda: os.unlink(own_node.endpoint), "/containerd.sock", "runtime-user-namespaces"),
    ]
    with own_node.kubelet(), watching(own_node) as watch:
        for number, (change, where, check) in enumerate(changes, 1):
            wait_for(lambda: watch.report().confirmed_at)
            before = _status(watch.report(), check)
            change()
            wait_for(lambda number=number: len(watch.events("probed")) > number)
            assert watch.events("changed")[-1]["what"].endswith(where)
            assert _status(watch.report(), check) != before


def test_a_runtime_that_ends_is_probed_again(own_node: Node) -> None:
    """With its process go its files in /proc, its mount namespace, and whatever it was bound by."""
    with own_node.kubelet(), watching(own_node) as watch:
        _end_daemon(own_node, own_node.endpoint)
        wait_for(lambda: len(watch.events("probed")) == 2)
        assert "/proc/" in watch.events("changed")[0]["what"]
        assert watch.report().verdict != "ready"


def _end_daemon(node: Node, endpoint: str) -> None:
    for name in filter(str.isdecimal, os.listdir(node.proc)):
        with contextlib.suppress(OSError):
            if endpoint.encode() in Path(f"{node.proc}/{name}/cmdline").read_bytes():
                node.run("kill", "-9", name)


def test_a_looker_that_is_killed_makes_a_probe(own_node: Node) -> None:
    """Nobody looks any more, so nobody can tell; then there is a new one."""
    with own_node.kubelet(), watching(own_node) as watch:
        os.kill(watch.pids[1], signal.SIGKILL)
        wait_for(lambda: len(watch.events("probed")) == 2)
        assert watch.events("changed")[0]["what"].startswith("no look: ")
        wait_for(lambda: len(watch.pids) == 2)


def test_a_looker_that_hangs_makes_a_probe(own_node: Node) -> None:
    """As one does on a server that never answers; it is killed."""
    with own_node.kubelet(), watching(own_node) as watch:
        stuck = watch.pids[1]
        os.kill(stuck, signal.SIGSTOP)
        wait_for(lambda: len(watch.events("probed")) == 2)
        assert watch.events("changed")[0]["what"] == "no look: no answer within 5 s"
        wait_for(lambda: len(watch.pids) == 2 and stuck not in watch.pids)


def test_pods_that_come_and_go_make_no_probe(own_node: Node) -> None:
    """Mounts below the kubelet's pods, of containers and of network namespaces come and go with them."""
    with own_node.kubelet(), watching(own_node) as watch:
        volume = f"{own_node.root}/pods/8d5f0c4e-1f2a-4b7e-9d51-000000000001/volumes/v"
        for _ in range(5):
            os.makedirs(volume)
            own_node.run("mount", "-t", "tmpfs", "pod", volume)
            seen = watch.report().confirmed_at
            wait_for(lambda seen=seen: watch.report().confirmed_at != seen)
            own_node.run("umount", volume)
            shutil.rmtree(os.path.dirname(os.path.dirname(volume)))
        assert watch.events("changed") == []
        assert len(watch.events("probed")) == 1


def test_what_an_unchanged_program_said_is_remembered(own_node: Node) -> None:
    """The next probe reports the same versions, though no program tells them again: nobody executed it since."""
    with own_node.kubelet() as config, watching(own_node) as watch:
        first = watch.report()
        os.utime(f"{own_node.directory}/runc", (1, os.stat(f"{own_node.directory}/runc").st_mtime))
        # Execution would set the time of access, which is older than that of the last change.
        wait_for(lambda: len(watch.events("probed")) == 2)
        read = os.stat(f"{own_node.directory}/crun").st_atime_ns
        change_kubelet_file(own_node, config)
        wait_for(lambda: len(watch.events("probed")) == 3)
        assert watch.report().facts == first.facts
        assert os.stat(f"{own_node.directory}/crun").st_atime_ns == read
