"""What goes wrong for a while: the server's port, its certificates, our credentials, the Node, our report."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import trustme

from lab.faults.api_world import NODE, RULES, World
from lab.serve.api_store import APPLY, Request
from lab.serve.serving import changed, put, report_of_now

RESET = struct.pack("ii", 1, 0)  # of SO_LINGER
OTHER_BOOT = "aaaaaaaa-7b1d-4f0e-9a55-2d7f3c0a9b11"
NO_TLS = (b"", b"220 hello\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\xff\xff" + b"\0" * 100)
SPOILED = (None, b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n", "geheim\u20ac\n".encode())

Report = Callable[[World, random.Random], None]
"""Puts something in the place of the last report."""


class Trouble(NamedTuple):
    """Breaks something, yields, and heals it."""

    during: Callable[[World, random.Random], Iterator[None]]
    felt: bool = True
    """Whether no publication can succeed meanwhile."""


def down(world: World, dice: random.Random) -> Iterator[None]:
    """Nobody listens; then the server is back on its port."""
    world.api.stop()
    yield
    world.api.start(world.api.port)


def half_open(world: World, dice: random.Random) -> Iterator[None]:
    """The kernel takes connections, and nobody ever accepts one."""
    world.api.stop()
    with _listener(world.api.port):
        yield
    world.api.start(world.api.port)


def no_server(world: World, dice: random.Random) -> Iterator[None]:
    """Something else has the port: it resets each connection, or says what is no TLS."""
    world.api.stop()
    with _listener(world.api.port) as listener:
        thread = threading.Thread(target=_answer_all, args=(listener, dice.choice(NO_TLS)))
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    world.api.start(world.api.port)


def new_certificate(world: World, dice: random.Random) -> Iterator[None]:
    """The serving certificate is renewed, and ca.crt is in time."""
    ca = trustme.CA()
    world.api.rotate_ca(ca)
    yield
    world.api.rotate_ca(ca)


def new_ca(world: World, dice: random.Random) -> Iterator[None]:
    """The CA is another one, and ca.crt is late."""
    world.api.rotate_ca(tell=False)
    yield
    world.api.tell_ca()


def new_token(world: World, dice: random.Random) -> Iterator[None]:
    """The old token is not accepted any more, and the new one is late."""
    token = f"token-{dice.getrandbits(64)}"
    world.api.rotate_token(token, tell=False)
    yield
    world.api.rotate_token(token)


def spoiled_credentials(world: World, dice: random.Random) -> Iterator[None]:
    """Token or CA are missing, empty or rubbish."""
    path = world.api.directory / dice.choice(["token", "ca.crt"])
    content, spoiled = path.read_bytes(), dice.choice(SPOILED)
    path.unlink()
    if spoiled is not None:
        put(path, spoiled)
    yield
    put(path, content)


def another_node(world: World, dice: random.Random) -> Iterator[None]:
    """The Node is deleted; then another one of its name registers."""
    with world.api.lock:
        del world.api.store.nodes[NODE]
    yield
    with world.api.lock:
        world.api.add_node(NODE, uid=f"uid-{dice.getrandbits(64)}")
        world.changes += 1


def taken_keys(world: World, dice: random.Random) -> Iterator[None]:
    """Another manager applies our keys by force; at our next change they are ours again."""
    taken = dict.fromkeys(dice.choice([("verdict",), ("verdict", "message", "boot-id")]), "mine")
    annotations = {f"userns-probe.io/{key}": text for key, text in taken.items()}
    body = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"annotations": annotations}}).encode()
    store, target = world.api.store, f"/api/v1/nodes/{NODE}?fieldManager=somebody&force=true"
    with world.api.lock:
        policy, store.policy = store.policy, None
        store.answer(Request("PATCH", target, APPLY, next(iter(store.tokens)), body))
        store.policy = policy
        world.changes += 1
    yield


def withdrawn_rule(world: World, dice: random.Random) -> Iterator[None]:
    """RBAC or an admission policy does not let us any more."""
    gone: set[tuple[str, str]] = dice.choice([{("patch", "nodes")}, RULES, set()])
    world.api.store.rules -= gone
    world.api.store.own_node = NODE if gone else "another"
    yield
    world.api.store.own_node = NODE
    world.api.store.rules |= gone


TROUBLES: Mapping[str, Trouble] = {
    "the Node is gone, then another one of its name": Trouble(another_node),
    "another manager takes our keys": Trouble(taken_keys, felt=False),
    "an RBAC rule or a policy forbids it": Trouble(withdrawn_rule),
    "the token rotates, its file is late": Trouble(new_token),
    "the serving certificate is renewed": Trouble(new_certificate, felt=False),
    "the cluster's CA rotates, ca.crt is late": Trouble(new_ca),
    "token or CA missing, empty or garbage": Trouble(spoiled_credentials),
    "the API server is down, then back on its port": Trouble(down),
    "a port that accepts and never speaks": Trouble(half_open),
    "a port that resets, or speaks no TLS": Trouble(no_server),
}
"""From the inside out: of two that are there at once, the later one hides the earlier one, and ends first."""
EITHER_OR = (set(list(TROUBLES)[:2]), set(list(TROUBLES)[-3:]))
"""What is done to one Node, or to one port: one at a time."""


def expiring(world: World, dice: random.Random) -> None:
    """The last report grows too old."""
    world.probe_once(dice.choice(["ready", "not-ready"]))


def vanishing(world: World, dice: random.Random) -> None:
    """The report file is gone."""
    world.spoil(lambda path: None)


def corrupt(world: World, dice: random.Random) -> None:
    """In its place is something else than a report of now."""
    report = report_of_now(name=NODE)
    whole = changed(report)
    node = {"name": NODE, "boot_id": report.node.boot_id, "distribution": "", "uptime_seconds": 1e12}
    contents = (
        *(b"", whole[: len(whole) // 2], b"\x00" * 100, b"[" * 100_000, b" " * (2 << 20) + whole),
        *(changed(report, schema="userns-probe.io/v9"), changed(report, verdict="perhaps"), changed(report, node=None)),
        *(changed(report, node=node), changed(report, node=node | {"boot_id": OTHER_BOOT})),
        changed(report, node=node | {"name": "elsewhere", "uptime_seconds": 1.0}),
    )
    puts: list[Callable[[Path], object]] = [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/hostname")]
    choice = dice.randrange(len(contents) + len(puts))
    world.spoil(puts[choice] if choice < len(puts) else lambda path: put(path, contents[choice - len(puts)]))


def doubtful(world: World, dice: random.Random) -> None:
    """A probe could not look, and those after it neither."""
    world.probe("unknown")


def restless(world: World, dice: random.Random) -> None:
    """Each probe comes to something else than the one before."""
    for _ in range(8):
        world.probe(dice.choice(["ready", "not-ready", "unknown"]))
        time.sleep(dice.uniform(0, 0.1))


REPORTS: Mapping[str, Report] = {
    "the report expires": expiring,
    "the report file vanishes": vanishing,
    "the report file is corrupt, foreign or no file": corrupt,
    "probes that could not look": doubtful,
    "eight changes in a row": restless,
}


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2)
        yield listener


def _answer_all(listener: socket.socket, said: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.sendall(said)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
