"""CRI over a real socket, against real gRPC servers that replay recorded bytes, and against everything else."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.imports import refuse_imports
from lab.prerequisites import require
from probe.host.child import Child, run_child
from probe.host.cri import CriAnswer, CriHandler, no_answer
from probe.host.cri_call import ANSWER_LIMIT, ask_cri, cri_child, read_outcomes
from probe.tables.host_network import RUNTIMES
from tests.host import cri_server
from tests.host.grpc_server import Server, Servers

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/data/cri"

Serve = Callable[..., tuple[str, Server]]


@pytest.fixture
def serve(tmp_path: Path, grpc_servers: Servers) -> Iterator[Serve]:
    """Start a server in a process of its own; gives the path of its socket."""
    running: list[Server] = []

    def start(
        recording: str = "containerd-2.1.9", misbehaviour: str = "", name: str = "runtime.sock"
    ) -> tuple[str, Server]:
        endpoint = str(tmp_path / name)
        running.append(grpc_servers.start(cri_server.__name__, endpoint, str(RECORDED / recording), misbehaviour))
        return endpoint, running[-1]

    yield start
    for server in running:
        server.end()


def ask(endpoint: str, timeout: float = 5.0) -> CriAnswer:
    answer = run_child(lambda: msgspec.json.encode(ask_cri(endpoint, timeout)), timeout + 20, limit=ANSWER_LIMIT)
    return msgspec.json.decode(answer, type=CriAnswer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recording", "name", "version", "handlers", "images"),
    [
        (
            "containerd-1.6.20",
            "containerd",
            "1.6.20~ds1",
            [],
            "/var/lib/containerd-1.6.20/io.containerd.snapshotter.v1.overlayfs",
        ),
        (
            "containerd-1.7.24",
            "containerd",
            "1.7.24~ds1",
            [],
            "/var/lib/containerd-1.7.24/io.containerd.snapshotter.v1.overlayfs",
        ),
        (
            "containerd-2.1.9",
            "containerd",
            "2.1.9+unknown",
            [("", True), ("crun", True), ("oldcrun", None), ("oldrunc", False), ("runc", True)],
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
        ),
        (
            "containerd-2.4.0-beta",
            "containerd",
            "2.4.0-beta+unknown",
            [("", True), ("crun", True), ("oldcrun", None), ("oldrunc", False), ("runc", True)],
            "/var/lib/containerd-2.4.0-beta/io.containerd.snapshotter.v1.overlayfs",
        ),
        (
            "cri-o-1.37.0-dev",
            "cri-o",
            "1.37.0",
            [("oldrunc", False), ("oldcrun", False), ("crun", True), ("runc", True), ("", True)],
            "/var/lib/containers/storage/overlay-images",
        ),
    ],
)
def test_recorded_runtime(
    serve: Serve, recording: str, name: str, version: str, handlers: list[tuple[str, bool | None]], images: str
) -> None:
    """Each recorded runtime gives exactly its handlers: no list, no features message, and an explicit no differ."""
    endpoint, server = serve(recording)
    answer = ask(endpoint)
    assert (answer.name.value, answer.version.value) == (name, version)
    assert answer.handlers.value is not None
    # The order of a protobuf list is the runtime's; containerd sorts, CRI-O walks a Go map.
    assert sorted(answer.handlers.value, key=lambda one: one.name) == sorted(
        (CriHandler(*pair) for pair in handlers), key=lambda one: one.name
    )
    assert answer.image_filesystem.value == images
    said = {one.type: one.met for one in answer.conditions.value or ()}
    assert (said["RuntimeReady"], said["NetworkReady"]) == (True, True)
    assert answer.config.value is not None
    assert msgspec.json.decode(answer.config.value)["containerd" if name == "containerd" else "crio"]
    assert answer.listener.value == server.pid
    assert answer.endpoint == endpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("misbehaviour", "kind", "problem"),
    [
        ("hang", "timed-out", "no answer in time"),
        ("unimplemented", "absent", "UNIMPLEMENTED"),
        ("deny", "not-permitted", "PERMISSION_DENIED: not you"),
        ("crash", "not-readable", "UNKNOWN"),
        ("huge", "not-readable", "RESOURCE_EXHAUSTED"),
        ("bomb", "not-readable", ""),
        ("garbage", "not-readable", "not understood"),
    ],
)
def test_misbehaving_server(serve: Serve, misbehaviour: str, kind: str, problem: str) -> None:
    """Whatever a server does instead of answering becomes a problem of each part, with its kind."""
    endpoint, server = serve(misbehaviour=misbehaviour)
    answer = ask(endpoint, timeout=2.0 if misbehaviour == "hang" else 60.0)
    for part in (answer.name, answer.version, answer.handlers, answer.conditions, answer.config):
        assert part.kind == kind
        assert problem in part.problem
        assert len(part.problem) < 400
    assert answer.image_filesystem.kind == kind
    assert answer.listener.value == server.pid


def test_what_came_before_a_hang_is_kept(serve: Serve) -> None:
    """A runtime that hangs in Status tells its version and its images: nothing waits for another answer."""
    endpoint, _ = serve(misbehaviour="hang in Status")
    answer = ask(endpoint, timeout=1.5)
    assert answer.version.value == "2.1.9+unknown"
    assert (answer.handlers.kind, answer.handlers.problem) == ("timed-out", "no answer in time")
    assert answer.image_filesystem.value


def _listen(path: Path, talk: Callable[[socket.socket], None]) -> Child:
    """A process that talks like that to each connection, one after another."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def accept(_: object) -> None:
        while True:
            connection, _address = server.accept()
            with connection, contextlib.suppress(OSError):
                talk(connection)

    with server:
        return Child(accept)


def _hold(connection: socket.socket) -> None:
    while True:
        if not connection.recv(4096):
            return


def _close(connection: socket.socket) -> None:
    connection.close()


def _babble(connection: socket.socket) -> None:
    for _ in range(1000):
        connection.sendall(b"\x00\xffHTTP/1.1 200 OK\r\n" * 100)


@pytest.mark.parametrize("talk", [_hold, _close, _babble], ids=["mute", "closed", "noise"])
def test_server_without_grpc(tmp_path: Path, talk: Callable[[socket.socket], None]) -> None:
    """A socket behind which nobody speaks gRPC is a problem, in bounded time."""
    with _listen(tmp_path / "s", talk):
        answer = ask(str(tmp_path / "s"), timeout=1.5)
    assert answer.name.kind == ("timed-out" if talk is _hold else "not-readable")
    assert answer.handlers.value is None


@pytest.mark.slow
@pytest.mark.parametrize("stay", [False, True], ids=["then closed", "then silent"])
@pytest.mark.parametrize("length", [9, 40, 90, 120, 1000])
def test_half_a_reply(serve: Serve, tmp_path: Path, length: int, stay: bool) -> None:
    """A reply that ends in the middle of a frame is a problem, whatever was in its first half."""
    endpoint, _ = serve()

    def relay(client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as upstream:
            upstream.connect(endpoint)
            left = length
            while left:
                ready, _, _ = select.select([client, upstream], [], [])
                if client in ready:
                    if not (request := client.recv(4096)):
                        return
                    upstream.sendall(request)
                if upstream in ready:
                    reply = upstream.recv(left)
                    client.sendall(reply)
                    left -= len(reply)
            while stay and client.recv(4096):
                pass

    with _listen(tmp_path / "half", relay):
        answer = ask(str(tmp_path / "half"), timeout=1.5)
    assert answer.handlers.value is None
    assert answer.handlers.kind == ("timed-out" if stay else "not-readable")


def _make_file(path: Path) -> None:
    path.write_text("no socket")


def _make_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))


def _make_datagram(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        os.set_inheritable(server.detach(), False)


def _make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (None, "absent", "No such file"),
        (_make_file, "not-readable", "is not a socket"),
        (os.mkfifo, "not-readable", "is not a socket"),
        (os.mkdir, "not-readable", "is not a socket"),
        (_make_loop, "not-readable", "symbolic links"),
        (_make_stale, "not-readable", "refused"),
        (_make_datagram, "not-readable", "another type"),
    ],
)
def test_no_server_at_all(tmp_path: Path, make: Callable[[Path], object] | None, kind: str, problem: str) -> None:
    """A path behind which nobody listens is told apart by what lies there."""
    path = tmp_path / "s"
    if make:
        make(path)
    answer = ask(str(path))
    assert answer.name.kind == kind
    assert problem in answer.name.problem
    assert answer == no_answer(str(path), answer.name.kind, answer.name.problem)


@pytest.mark.parametrize("endpoint", ["/" + "x" * 200, "/a\0b"], ids=["too long", "NUL"])
def test_impossible_path(endpoint: str) -> None:
    """A path that can be no socket is a problem."""
    assert ask(endpoint).name.value is None


def test_full_queue(tmp_path: Path) -> None:
    """A daemon that accepts no connections is not waited for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(tmp_path / "s"))
            assert ask(str(tmp_path / "s")).name.kind == "timed-out"


def test_odd_path_and_proxies(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with spaces, per cent signs and umlauts is reached, whatever proxies the environment names."""
    for variable in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "http://192.0.2.1:1")
    endpoint, _ = serve(name="a b%20ü.sock")
    assert ask(endpoint).name.value == "containerd"


def test_nothing_is_imported_after_entering(serve: Serve) -> None:
    """With our own files out of sight, as after entering the node's mount namespace, the answer is complete."""
    endpoint, _ = serve()

    answer = run_child(lambda: cri_child(lambda: endpoint, refuse_imports), 20, limit=ANSWER_LIMIT)
    assert msgspec.json.decode(answer, type=CriAnswer).image_filesystem.value


@pytest.mark.slow
def test_what_is_imported_leanly_answers_the_same(serve: Serve) -> None:
    """A process in which nobody imported h2 and protobuf before gets the same answer as one that has all of them."""
    endpoint, _ = serve()
    code = (
        "import sys; from probe.host.cri_call import cri_child\n"
        f"sys.stdout.buffer.write(cri_child(lambda: {endpoint!r}, lambda: None))\n"
        "assert not {'dataclasses', 'google.protobuf.internal.field_mask'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert msgspec.json.decode(done.stdout, type=CriAnswer) == ask(endpoint)


def test_order_of_the_child() -> None:
    """Entering comes after the imports and before the endpoint is waited for."""

    def life() -> bytes:
        seen: list[str] = []

        def enter() -> None:
            seen.extend(name for name in ("h2.connection", "probe.host.cri_pb2") if name in sys.modules)

        def read_endpoint() -> None:
            seen.append("endpoint")

        answer = msgspec.json.decode(cri_child(read_endpoint, enter), type=CriAnswer)
        return msgspec.json.encode((seen, answer.name.kind))

    assert msgspec.json.decode(run_child(life, 20)) == [
        ["h2.connection", "probe.host.cri_pb2", "endpoint"],
        "not-tried",
    ]


@pytest.mark.slow
def test_parent_stays_without_the_imports() -> None:
    """Importing the module, and all that gathers facts from it, leaves what takes long to the child."""
    code = (
        "import sys, probe.facts.runtime.facts, probe.host.cri\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('grpc', 'google', 'h2')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_silence_without_threads(serve: Serve) -> None:
    """Nothing is logged to the administrator's terminal, and who asks can still make namespaces."""
    endpoints = [serve(misbehaviour=misbehaviour)[0] for misbehaviour in ("", "garbage", "huge", "crash")]
    code = (
        "import os; from probe.host.cri_call import ask_cri\n"
        f"for endpoint in {endpoints}: ask_cri(endpoint, 3); assert len(os.listdir('/proc/self/task')) == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


LISTENER = no_answer("/s", "absent", "none").listener


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(reply: bytes) -> None:
    """Any reply gives an answer that survives the way to the parent."""
    answer = read_outcomes("/s", LISTENER, [reply] * 3)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=CriAnswer) == answer


def _status(**fields: object) -> bytes:
    from probe.host import cri_pb2

    return bytes(cri_pb2.StatusResponse(**fields).SerializeToString())


@pytest.mark.parametrize(
    ("reply", "part", "kind"),
    [
        (lambda: _status(runtime_handlers=[{"name": str(n)} for n in range(257)]), "handlers", "not-readable"),
        (lambda: _status(runtime_handlers=[{"name": "x" * 257}]), "handlers", "not-readable"),
        (lambda: _status(status={"conditions": [{"type": "x"}] * 65}), "conditions", "not-readable"),
        (lambda: _status(status={"conditions": [{"type": "x" * 257}]}), "conditions", "not-readable"),
        (lambda: _status(info={"config": "x" * 600_000}), "config", "not-readable"),
        (lambda: _status(info={"golang": "go1.27"}), "config", "absent"),
    ],
)
def test_bounds(reply: Callable[[], bytes], part: str, kind: str) -> None:
    """More handlers, longer names, and a larger configuration than any runtime has are problems."""
    assert getattr(read_outcomes("/s", LISTENER, [reply()] * 3), part).kind == kind


def test_no_features_and_empty_features() -> None:
    """A handler without a features message is told apart from one whose features are all off."""
    reply = _status(runtime_handlers=[{"name": "a"}, {"name": "b", "features": {}}])
    answer = read_outcomes("/s", LISTENER, [reply] * 3)
    assert answer.handlers.value == (CriHandler("a", None), CriHandler("b", False))


@pytest.mark.parametrize(
    ("features", "value"), [({"user_namespaces_host_network": True}, True), ({}, False), (None, None)]
)
def test_host_network(features: dict[str, bool] | None, value: bool | None) -> None:
    """It is said of the runtime as a whole; a runtime that tells no features says nothing of it."""
    answer = read_outcomes("/s", LISTENER, [_status(features=features) if features is not None else _status()] * 3)
    assert answer.host_network.value is value
    assert value is not None or answer.host_network.kind == "absent"


@pytest.mark.parametrize(
    ("recorded", "value"),
    [
        ("containerd-1.7.24", None),
        ("containerd-2.1.9", False),
        ("containerd-2.4.0-beta", True),
        ("cri-o-1.37.0-dev", True),
    ],
)
def test_host_network_of_recorded_runtimes(recorded: str, value: bool | None) -> None:
    """What real releases said, each from the release on that the table has for it."""
    reply = (ROOT / "tests/data/cri" / recorded / "status-verbose.pb").read_bytes()
    assert read_outcomes("/s", LISTENER, [reply] * 3).host_network.value is value
    name, version = recorded.removesuffix("-dev").removesuffix("-beta").rsplit("-", 1)
    (runtime,) = [one for one in RUNTIMES if one.name == name]
    assert (tuple(map(int, version.split("."))) >= runtime.says) == bool(value)


def test_conditions() -> None:
    """What is wrong comes along, bounded, for the one who reads the report."""
    reply = _status(status={"conditions": [{"type": "NetworkReady", "reason": "NoConf", "message": "x" * 10_000}]})
    (told,) = read_outcomes("/s", LISTENER, [reply] * 3).conditions.value or ()
    assert (told.type, told.met, told.message[:9], len(told.message)) == ("NetworkReady", False, "NoConf: x", 300)
    assert read_outcomes("/s", LISTENER, [_status()] * 3).conditions.value == ()


def test_generated_messages(tmp_path: Path) -> None:
    """cri_pb2.py and its types are what the generator makes of cri.proto, but for the version that made it."""
    require(importlib.util.find_spec("grpc_tools"), "Python package grpcio-tools")
    source = ROOT / "probe/host"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--python_out={tmp_path}"]
    subprocess.run([*command, f"--pyi_out={tmp_path}", "cri.proto"], check=True)
    assert (tmp_path / "cri_pb2.pyi").read_text() == (source / "cri_pb2.pyi").read_text()
    assert _descriptor(tmp_path / "cri_pb2.py") == _descriptor(source / "cri_pb2.py")


def _descriptor(generated: Path) -> bytes:
    """The serialized descriptor, which is all that the generator puts in."""
    calls = [
        node
        for node in ast.walk(ast.parse(generated.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "AddSerializedFile"
    ]
    (argument,) = calls[0].args
    return bytes(ast.literal_eval(argument))
