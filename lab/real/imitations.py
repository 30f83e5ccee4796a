"""Processes that call themselves like the daemons of a node, in the disguises in which a tenant can appear."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lab.prerequisites import require
from lab.real.node import CHECKOUT, Node
from lab.real.programs import KUBELET_HEADER

RECORDED = f"{CHECKOUT}/tests/data/cri/containerd-2.1.9"


class Watch:
    """Which files were opened or read since, by anybody. *Source*: inotify(7)."""

    ACCESS, OPEN = 0x1, 0x20

    def __init__(self, *paths: str | bytes) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths = {
            self._libc.inotify_add_watch(self._fd, os.fsencode(path), self.ACCESS | self.OPEN): os.fsdecode(path)
            for path in paths
        }
        assert self._fd >= 0
        assert min(self._paths) > 0

    def seen(self) -> set[str]:
        found = set()
        try:
            events = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return found
        while events:
            watch, _, _, length = struct.unpack_from("iIII", events)
            found.add(self._paths[watch])
            events = events[16 + length :]
        return found

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


@contextmanager
def pod_cgroup() -> Iterator[str]:
    """The cgroup.procs file of a real cgroup that is named as a Pod's."""
    places = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
    parent = next((place for place in places if os.access(f"{place}/cgroup.procs", os.W_OK)), "")
    require(parent, "a cgroup hierarchy that can be written to")
    path = f"{parent}/kubepods-userns-probe-test-{os.getpid()}"
    os.mkdir(path)
    try:
        yield f"{path}/cgroup.procs"
    finally:
        while os.path.exists(path):  # until the last process is gone
            with suppress(OSError):
                os.rmdir(path)
            time.sleep(0.01)


DISGUISES = ["user", "user namespace", "PID namespace", "cgroup"]


@contextmanager
def disguise(kind: str) -> Iterator[tuple[str, ...]]:
    """A command that makes of another one a process as Pods have them."""
    if kind == "cgroup":
        with pod_cgroup() as procs:
            yield "sh", "-c", f'echo $$ > {procs} && exec "$0" "$@"'
        return
    yield {
        "user": ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        "user namespace": ("unshare", "--user", "--map-root-user"),
        "PID namespace": ("unshare", "--pid", "--fork", "--kill-child"),
    }[kind]


@contextmanager
def imitations(node: Node, wrapper: tuple[str, ...]) -> Iterator[tuple[Watch, socket.socket]]:
    """Processes called like each daemon, with flags, files, a socket and a PATH of their own.

    Yields what tells whether any of it was opened or run, and the listening socket. With a single argument each
    program would print what the kubelet's `--version` prints.
    """
    home = node.path("imitation")
    os.makedirs(f"{home}/bin")
    socket_path, config = f"{home}/cri.sock", f"{home}/config"
    Path(config).write_text(KUBELET_HEADER + "featureGates: {UserNamespacesSupport: true}\n")
    flags = {
        "kubelet": (f"--config={config}", f"--root-dir={home}", f"--container-runtime-endpoint=unix://{socket_path}"),
        "kubelite": (f"--kubelet-args-file={config}", "--x"),
        "k3s": ("server", f"--config={config}"),
        "containerd": ("--config", config, "--address", socket_path),
        "crio": ("--config", config, "--listen", socket_path),
    }
    with ExitStack() as stack:
        for name in (*flags, "runc", "crun"):
            shutil.copy(f"{node.directory}/version", f"{home}/bin/{name}")
        environment = {"PATH": f"{home}/bin:{os.environ['PATH']}"}
        for name, words in flags.items():
            stack.enter_context(node.process(f"{home}/bin/{name}", *words, wrapper=wrapper, env=environment))
        server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        server.bind(socket_path)
        server.listen()
        server.setblocking(False)
        watch = Watch(config, *(f"{home}/bin/{name}" for name in (*flags, "runc", "crun")))
        yield stack.enter_context(watch), server
