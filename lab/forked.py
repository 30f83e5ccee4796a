"""The command in a process forked from the tests': with its own streams, signals and exit code, as a shell starts it.

It need not start an interpreter and import the command, which costs more CPU than most of what tests ask of it. Tests
of just that (`python -m probe`, imports, memory, closed streams) start a program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, NoReturn

from lab.command import ROOT
from probe.cli import start


class Forked:
    """A running command, as subprocess.Popen has it. *stderr*: where it writes; nothing else is inherited."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], *, stdin: int, stdout: int, stderr: int
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, environment, stdin, stdout, stderr)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        code = self._reap(0)
        assert code is not None
        return code

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """One run to its end, in the environment of the tests unless another is given, and with *variables* more."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        given.write(stdin)
        given.seek(0)
        streams = {"stdin": given.fileno(), "stdout": stdout.fileno(), "stderr": stderr.fileno()}
        code = Forked(
            arguments, {**(os.environ if environment is None else environment), **variables}, **streams
        ).wait()
        return subprocess.CompletedProcess(arguments, code, _content(stdout), _content(stderr))


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _become(arguments: tuple[str, ...], environment: Mapping[str, str], *streams: int) -> NoReturn:
    """The child's life: the command, which never returns into the tests."""
    code: object = 255
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, descriptor in enumerate([os.dup(stream) for stream in streams]):
            os.dup2(descriptor, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(ROOT)
        start.main(list(arguments))
    except SystemExit as ending:
        code = ending.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 255)
