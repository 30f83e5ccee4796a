"""Clients that do their worst to the port of `serve`, for as long as their block lasts."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from lab.serve.serving import Serving

MANY = 20
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER
GARBAGE = (
    *(b"", b"\r\n\r\n", b"\0" * 1000, b"\xff" * 1000, b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET http://[::1/ HTTP/1.1\r\n\r\n", b"a" * (1 << 18)),
    b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 18) + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * (1 << 18) + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n" + b"x" * 100_000,
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
    b"GET /report.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
)

Client = Callable[[Serving, random.Random], None]


def _again_and_again(act: Client) -> Callable[[Serving, random.Random], AbstractContextManager[None]]:
    """*act* in a thread of its own until the block ends."""

    @contextmanager
    def during(serve: Serving, dice: random.Random) -> Iterator[None]:
        over, own = threading.Event(), random.Random(dice.random())

        def run() -> None:
            while not over.wait(0.005):
                with contextlib.suppress(OSError):
                    act(serve, own)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    return during


@contextmanager
def slow(serve: Serving, dice: random.Random) -> Iterator[None]:
    """Half of them say nothing, the others send a header now and then, and never the end of them."""
    connections = [serve.connect() for _ in range(MANY)]

    def drip(serve: Serving, own: random.Random) -> None:
        connections[own.randrange(MANY // 2)].sendall(b"X: y\r\n")

    try:
        for connection in connections[: MANY // 2]:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        with _again_and_again(drip)(serve, dice):
            yield
    finally:
        for connection in connections:
            connection.close()


def garbage(serve: Serving, dice: random.Random) -> None:
    """Something that is no request, or too large a one; the answer is left half read."""
    with serve.connect() as connection:
        connection.settimeout(1)
        connection.sendall(dice.choice(GARBAGE))
        connection.recv(10)


def fleeting(serve: Serving, dice: random.Random) -> None:
    """Open, perhaps ask, and reset."""
    with serve.connect() as connection:
        if dice.random() < 0.5:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[: dice.randrange(40)])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


CLIENTS: Mapping[str, Callable[[Serving, random.Random], AbstractContextManager[None]]] = {
    "slow and silent HTTP clients": slow,
    "garbage, huge headers and bodies sent to the port": _again_and_again(garbage),
    "connections to the port opened and reset": _again_and_again(fleeting),
}
