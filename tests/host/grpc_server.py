"""Real gRPC servers as processes of their own: their threads would keep the tests' process from making namespaces.

They are forked from one process that has imported gRPC, as importing it takes longer than most tests of them. Run as a
program, this is that process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, NoReturn

from lab.command import ROOT
from lab.real.kernel import die_with_parent

SERVERS = ("tests.host.cri_server", "tests.host.pod_trial.pod_server")
"""Modules whose function `main` serves what `sys.argv` says, and prints a line once it listens."""
_REQUEST = 1 << 16  # bytes


class Server:
    """One that runs."""

    def __init__(self, pid: int, stdout: IO[str]) -> None:
        self.pid = pid
        self.stdout = stdout

    def end(self) -> list[str]:
        """What it printed since it listened; it is killed. Nothing the second time."""
        if self.stdout.closed:
            return []
        os.kill(self.pid, signal.SIGKILL)
        with self.stdout:
            return self.stdout.read().splitlines()  # to the end, which comes when the process is gone


class Servers:
    """The process that forks them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def start(self, module: str, *arguments: str) -> Server:
        """One of SERVERS that listens."""
        ours, its = os.pipe()
        socket.send_fds(self._connection, [json.dumps([module, *arguments]).encode()], [its])
        os.close(its)
        server = Server(int(self._connection.recv(_REQUEST)), os.fdopen(ours))
        assert server.stdout.readline() == "listening\n"
        return server


@contextmanager
def servers() -> Iterator[Servers]:
    """Start that process; it ends with all its servers."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", __name__, str(its.fileno())]
    with ours, its:
        process = subprocess.Popen(command, pass_fds=[its.fileno()], cwd=ROOT, stderr=subprocess.DEVNULL)
        its.close()
        yield Servers(ours)
        ours.shutdown(socket.SHUT_RDWR)  # not close alone: a child that a test left behind may have a copy
    process.wait()


def main() -> None:
    """Fork a server for each request, until nobody is left to ask.

    Nothing waits for them: as long as one that died is a zombie, its PID is nobody else's.
    """
    mains = {name: importlib.import_module(name).main for name in SERVERS}
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while True:
            request, descriptors, _, _ = socket.recv_fds(connection, _REQUEST, 1)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                _serve(mains, descriptors[0], request)
            os.close(descriptors[0])
            connection.send(str(pid).encode())


def _serve(mains: Mapping[str, Callable[[], None]], stdout: int, request: bytes) -> NoReturn:
    """In the forked child."""
    try:
        die_with_parent()
        os.dup2(stdout, sys.stdout.fileno())
        os.close(stdout)
        module, *sys.argv[1:] = json.loads(request)
        mains[module]()
    finally:
        os._exit(1)  # neither comes back nor goes on


if __name__ == "__main__":
    main()
