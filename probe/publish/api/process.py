"""The process that makes the requests of `serve`: `process.py SERVICE-ACCOUNT SILENCE DEADLINE [SYS.PATH]...`.

It rests as a bare interpreter and forks a child for each connection to the API server, so that the megabytes of
OpenSSL and of the client are held for less than a second. Requests come as lines from stdin, answers go to stdout as
`KIND SIZE`, a line feed, and so many bytes. An empty line ends a connection, which `end 0` confirms, and the end of
stdin the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_CHUNK = 1 << 16


def main(arguments: Sequence[str]) -> int:
    """Fork a child for each connection until `serve` has ended, or a child ended before its connection."""
    sys.path[:] = arguments[3:]
    while line := _read_line():
        try:
            child = os.fork()
        except OSError as error:  # EAGAIN, ENOMEM
            reason = f'[0, "Unreachable", "no process for the request: {os.strerror(error.errno or 0)}", null]'
            os.write(1, b"failed %d\n%b" % (len(reason), reason.encode()))
            return 1
        if child == 0:
            try:
                _connection(line, arguments[0], float(arguments[1]), float(arguments[2]))
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            return 1
        try:
            os.write(1, b"end 0\n")
        except BrokenPipeError:
            return 1
    return 0


def _read_line() -> bytes:
    """The next line; empty at the end."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, _CHUNK)
        if not part:
            return b""
        line += part
    return line


def _connection(line: bytes, service_account: str, silence: float, deadline: float) -> None:
    """Answer requests until an empty line comes."""
    from probe.publish.api.child import Child

    child = Child(service_account, silence, deadline)
    while line.strip():
        kind, content = child.answer(line)
        answer = memoryview(b"%b %d\n%b" % (kind, len(content), content))
        while answer:
            answer = answer[os.write(1, answer) :]
        line = _read_line()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
