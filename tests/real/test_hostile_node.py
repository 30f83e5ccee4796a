"""What a node may hold against the real command: it is never believed, never run, and never the end of the report."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.real import packages
from lab.real.imitations import DISGUISES, RECORDED, Watch, disguise, imitations
from lab.real.node import CHECKOUT, Node, Probed
from lab.real.programs import KUBELET_HEADER, write_program
from lab.waiting import wait_for

pytestmark = pytest.mark.real

GetRuntime = Callable[..., packages.Runtime]

MEMORY = 300 << 20  # bytes; a whole probe takes a seventh of it


def assert_stood(probed: Probed, *causes: str) -> None:
    """The command said why it does not say ready, and nothing else."""
    assert probed.code in (1, 2), probed
    assert probed.stderr == ""
    for cause in causes:
        assert cause in probed.stdout, probed.stdout
    assert probed.memory < MEMORY
    assert probed.report["reason"] in probed.stdout
    # Killed from outside it would know nothing at all.
    assert probed.rows("kubelet-root")[0]["result"] == "supported"


# The kubelet's configuration


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return KUBELET_HEADER + "\n".join(lines) + "\n"


def _sparse(path: str) -> None:
    Path(path).write_text(KUBELET_HEADER)
    os.truncate(path, 2 << 30)


CONFIGURATIONS: dict[str, tuple[Callable[[str], object], str]] = {
    "missing": (lambda path: None, "No such file or directory"),
    "empty": (lambda path: Path(path).write_text(""), "config.yaml: not understood"),
    "2 GiB": (_sparse, "is larger than"),
    "line of 1 MiB": (lambda path: Path(path).write_text("x" * (1 << 20)), "config.yaml: "),
    "key of 1 MiB": (lambda path: Path(path).write_text(KUBELET_HEADER + "x" * (1 << 20) + ": 1"), "config.yaml: "),
    "cut off": (
        lambda path: Path(path).write_text(KUBELET_HEADER + "featureGates: {UserNamesp"),
        "config.yaml: not understood",
    ),
    "binary": (lambda path: Path(path).write_bytes(random.Random(1).randbytes(9999)), "config.yaml: not understood"),
    "UTF-16": (lambda path: Path(path).write_text(KUBELET_HEADER, encoding="utf-16"), "config.yaml: not understood"),
    "bomb": (lambda path: Path(path).write_text(_bomb()), "config.yaml: not understood"),
    "deep": (lambda path: Path(path).write_text(KUBELET_HEADER + "a: " + "[" * 100_000), "config.yaml: not understood"),
    "symlink loop": (lambda path: os.symlink(path, path), "Too many levels of symbolic links"),
    "FIFO": (os.mkfifo, "is not a regular file"),
    "device node": (lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)), "is not a regular file"),
    "directory": (os.mkdir, "is not a regular file"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_kubelets_configuration_that_cannot_be_read(name: str, node: Node) -> None:
    """Nobody knows then whether the gate is on."""
    make, cause = CONFIGURATIONS[name]
    with node.kubelet(version="1.34.1", config=make):
        probed = node.probe()
    assert_stood(probed, cause)
    assert probed.report["reason"] in ("NotReadable", "TimedOut")
    assert probed.finding("kubelet-user-namespaces")["status"] == "unknown"


# CRI's socket


@contextmanager
def _listening(path: str, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server that is not gRPC's: *talk* gets each connection."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextmanager
def _replaying(path: str, misbehaviour: str = "") -> Iterator[None]:
    """A real gRPC server with recorded answers."""
    command = [sys.executable, f"{CHECKOUT}/tests/host/cri_server.py", path, RECORDED, misbehaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        server.stdout.readline()
        yield
        server.kill()


@contextmanager
def _half_a_reply(path: str) -> Iterator[None]:
    """What a real server sends, and after a few bytes nothing any more."""

    def relay(client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as upstream:
            upstream.connect(f"{path}-whole")
            if not (request := client.recv(1 << 16)):
                return
            upstream.sendall(request)
            client.sendall(upstream.recv(30))

    with _replaying(f"{path}-whole"), _listening(path, relay):
        yield


@contextmanager
def _lies(path: str, make: Callable[[str], object]) -> Iterator[None]:
    make(path)
    yield


def _stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)


def _wait(client: socket.socket) -> None:
    while client.recv(4096):
        pass


SOCKETS: dict[str, tuple[Callable[[str], AbstractContextManager[None]], str]] = {
    "absent": (lambda path: _lies(path, lambda path: None), "No such file or directory"),
    "FIFO": (lambda path: _lies(path, os.mkfifo), "is not a socket"),
    "not listening": (lambda path: _lies(path, _stale), "refused"),
    "mute": (lambda path: _listening(path, _wait), "no answer in time"),
    "closed": (lambda path: _listening(path, lambda client: None), "UNAVAILABLE"),
    "hangs": (lambda path: _replaying(path, "hang"), "no answer in time"),
    "hangs later": (lambda path: _replaying(path, "hang in Status"), "no answer in time"),
    "64 MiB": (lambda path: _replaying(path, "huge"), "RESOURCE_EXHAUSTED"),
    "packed 64 MiB": (lambda path: _replaying(path, "bomb"), "CRI Version"),
    "half a reply": (_half_a_reply, "CRI Version"),
    "garbage": (lambda path: _replaying(path, "garbage"), "not understood"),
}


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_behind_which_something_is_wrong(name: str, node: Node) -> None:
    """Nobody knows then what the runtime can do."""
    serve, cause = SOCKETS[name]
    path = node.path("socket")
    with serve(path), node.kubelet(endpoint=path):
        probed = node.probe()
    assert_stood(probed, cause)
    assert probed.finding("runtime-user-namespaces")["status"] == "unknown"


# OCI runtimes

PROGRAMS = {
    # pause() for ever
    "hangs": ("b8220000000f05ebf7", "no answer in time"),
    # write(1, the page of this program, 4096) for ever
    "prints without end": ("b801000000bf01000000be00004000ba001000000f05ebe8", "printed more than"),
    # an instruction that does not exist
    "dies by a signal": ("0f0b", "was ended by signal 4"),
    # exit_group(0)
    "says nothing": ("b8e700000031ff0f05", "not understood"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_oci_runtime_that_does_not_answer(
    name: str, node: Node, containerd: packages.Runtime, runtime: GetRuntime
) -> None:
    """It took the place of one that containerd still speaks well of."""
    code, cause = PROGRAMS[name]
    binary = node.path("runc")
    shutil.copy(runtime("runc", (1, 2)).path, binary)
    with node.containerd(containerd, {"runc": binary}) as socket, node.kubelet(endpoint=socket):
        assert node.probe().code == 0
        os.unlink(binary)
        write_program(binary, code)
        probed = node.probe()
    assert_stood(probed, cause)
    assert probed.finding("runtime-user-namespaces")["status"] == "unknown"


# Imitations


@pytest.mark.parametrize("kind", DISGUISES)
def test_imitations_are_neither_read_nor_run(kind: str, node: Node) -> None:
    """Pods may call their processes as they like: this node has no kubelet. One in a namespace is said to be nested."""
    with disguise(kind) as wrapper, imitations(node, wrapper) as (watch, server):
        probed = node.probe()
        assert watch.seen() == set()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert probed.verdict == (2, "unknown", "NotReadable" if "namespace" in kind else "KubeletNotFound")


def test_the_nodes_own_daemons_are_read_and_run(node: Node) -> None:
    """The same without a disguise: what the test above watches is worth watching."""
    with imitations(node, ("env",)) as (watch, server):
        probed = node.probe()
        assert {"config", "kubelet"} <= {os.path.basename(path) for path in watch.seen()}
        server.accept()[0].close()
    assert probed.report["reason"] != "KubeletNotFound"


@pytest.mark.parametrize("kind", ["user", "user namespace", "cgroup"])
def test_a_runtime_of_a_pod_behind_the_kubelets_socket(kind: str, node: Node) -> None:
    """Whoever took the socket does not choose what root runs, and nobody believes that Pods would run with it."""
    home = node.path("pod")
    os.mkdir(home)
    os.chmod(home, 0o777)
    command = [sys.executable, f"{CHECKOUT}/tests/host/cri_server.py", f"{home}/socket", RECORDED]
    environment = {"PATH": f"{home}:{os.environ['PATH']}", "PYTHONPATH": CHECKOUT}
    with disguise(kind) as wrapper, ExitStack() as stack:
        shutil.copy(f"{node.directory}/version", f"{home}/runc")
        stack.enter_context(node.process(*command, wrapper=wrapper, env=environment, stdout=subprocess.DEVNULL))
        wait_for(lambda: os.path.exists(f"{home}/socket"))
        watch = stack.enter_context(Watch(f"{home}/runc"))
        with node.kubelet(endpoint=f"{home}/socket"):
            probed = node.probe()
        assert watch.seen() == set()
    assert_stood(probed, "is not a daemon of this node")
    assert probed.finding("runtime-confinement")["status"] == "unknown"
