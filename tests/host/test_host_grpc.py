"""gRPC's calls over a socket pair, against servers that do to HTTP/2 whatever they like."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.host.grpc import MESSAGE_LIMIT, Outcome, RpcError, call_all
from tests.extent import EXAMPLES

HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
SOON = 1.0

Serve = Callable[[H2Connection, int], None]


def message(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4, "big") + content


def call(talk: Callable[[socket.socket], None], calls: int = 1, timeout: float = 30.0) -> list[Outcome]:
    """What becomes of *calls* while a thread of the test talks at the other end, which it closes afterwards."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, suppress(OSError, ProtocolError):
            talk(theirs)

    server = threading.Thread(target=serve)
    server.start()
    try:
        return call_all(ours, [("/s/M", b"question")] * calls, time.monotonic() + timeout)
    finally:
        ours.close()
        server.join()


def requests(connection: socket.socket, http: H2Connection) -> Iterator[int]:
    """The stream of each request once it has been read."""
    http.initiate_connection()
    connection.sendall(http.data_to_send())
    while received := connection.recv(65536):
        for event in http.receive_data(received):
            if isinstance(event, StreamEnded):
                yield event.stream_id
        connection.sendall(http.data_to_send())


def answering(answer: Serve, stay: bool = True) -> Callable[[socket.socket], None]:
    """A server of real HTTP/2 that does *answer* to each request, and then waits for the client to go, or goes."""

    def talk(connection: socket.socket) -> None:
        http = H2Connection(
            H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        for stream in requests(connection, http):
            answer(http, stream)
            connection.sendall(http.data_to_send())
            if not stay:
                return

    return talk


def replying(*data: bytes, headers: object = HEADERS, trailers: object = OK) -> Serve:
    def answer(http: H2Connection, stream: int) -> None:
        http.send_headers(stream, headers, end_stream=not data and not trailers)
        for piece in data:
            http.send_data(stream, piece, end_stream=not trailers and piece is data[-1])
        if trailers:
            http.send_headers(stream, trailers, end_stream=True)

    return answer


def test_answers_of_several_calls() -> None:
    """Each call gets the message that was sent for it, in whatever pieces and order."""
    waiting: list[int] = []

    def answer(http: H2Connection, stream: int) -> None:
        waiting.append(stream)
        if len(waiting) == 3:
            for one in reversed(waiting):
                content = message(b"answer %d" % one)
                replying(content[:3], content[3:])(http, one)

    assert call(answering(answer), calls=3) == [b"answer 1", b"answer 3", b"answer 5"]


def test_what_the_server_is_asked() -> None:
    """Method, message and deadline reach the server; it is told that nothing else than plain messages is understood."""
    seen: dict[str, str] = {}

    def talk(connection: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        while not seen:
            for event in http.receive_data(connection.recv(65536)):
                if isinstance(event, RequestReceived):
                    seen.update(event.headers)

    call(talk)
    assert (seen[":path"], seen[":authority"], seen["grpc-accept-encoding"]) == ("/s/M", "localhost", "identity")
    assert 0 < int(seen["grpc-timeout"].rstrip("m")) <= 31_000


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (replying(trailers=[("grpc-status", "12"), ("grpc-message", "unknown%20service")]), "UNIMPLEMENTED"),
        (replying(headers=[*HEADERS, ("grpc-status", "12")], trailers=None), "UNIMPLEMENTED"),
        (replying(headers=[*HEADERS, ("grpc-status", "14")], trailers=None), "UNAVAILABLE"),
        (replying(headers=[*HEADERS, ("grpc-status", "7")], trailers=None), "PERMISSION_DENIED"),
        (replying(headers=[(":status", "404"), ("content-type", "text/html")], trailers=None), "UNIMPLEMENTED"),
        (replying(headers=[(":status", "503")], trailers=None), "UNAVAILABLE"),
        (replying(b"hello", headers=[(":status", "200"), ("content-type", "text/html")], trailers=None), "UNKNOWN"),
        (replying(trailers=[("grpc-status", "17")]), "UNKNOWN"),
        (replying(trailers=[("grpc-status", "-1")]), "UNKNOWN"),
        (replying(trailers=[("grpc-status", "\u0661")]), "UNKNOWN"),
        (replying(trailers=[("x", "y")]), "UNKNOWN"),
        (replying(message(b"whole"), trailers=None), "UNKNOWN"),
        (replying(), "INTERNAL"),
        (replying(b"\0\0"), "INTERNAL"),
        (replying(message(b"whole")[:-1]), "INTERNAL"),
        (replying(message(b"one") + message(b"two")), "INTERNAL"),
        (replying(message(b"one"), message(b"two")), "INTERNAL"),
        (replying(message(b"packed", flag=1)), "INTERNAL"),
        (replying(b"\0" + (MESSAGE_LIMIT + 1).to_bytes(4, "big")), "RESOURCE_EXHAUSTED"),
        (replying(b"\0\xff\xff\xff\xff"), "RESOURCE_EXHAUSTED"),
        (lambda http, stream: http.reset_stream(stream, ErrorCodes.REFUSED_STREAM), "UNAVAILABLE"),
        (lambda http, stream: http.reset_stream(stream, ErrorCodes.CANCEL), "CANCELLED"),
        (lambda http, stream: http.reset_stream(stream, ErrorCodes.NO_ERROR), "INTERNAL"),
        (lambda http, stream: http.close_connection(), "UNAVAILABLE"),
    ],
)
def test_no_answer(answer: Serve, code: str) -> None:
    """An error status, and everything that is not exactly one plain message, is an error with gRPC's name for it."""
    (outcome,) = call(answering(answer))
    assert isinstance(outcome, RpcError)
    assert outcome.code == code


def test_words_of_the_server() -> None:
    """The message of a status is unpacked, whatever it holds, and bounded."""
    (outcome,) = call(answering(replying(trailers=[("grpc-status", "5"), ("grpc-message", "no%20%C3%BC %FF%zz")])))
    assert isinstance(outcome, RpcError)
    assert outcome.details == "no ü \ufffd%zz"
    (outcome,) = call(answering(replying(trailers=[("grpc-status", "5"), ("grpc-message", "x" * 12_000)])))
    assert isinstance(outcome, RpcError)
    assert len(outcome.details) < 5000


@pytest.mark.parametrize("end", ["reset", "leave", "close"])
def test_an_answered_call_keeps_its_answer(end: str) -> None:
    """Whatever becomes of the second call, the answer to the first stays."""

    def answer(http: H2Connection, stream: int) -> None:
        if stream == 1:
            replying(message(b"first"))(http, stream)
        elif end == "reset":
            http.reset_stream(stream)
        elif end == "leave":
            http.close_connection()
        else:
            raise OSError

    first, second = call(answering(answer), calls=2)
    assert first == b"first"
    assert isinstance(second, RpcError)
    assert second.code == ("INTERNAL" if end == "reset" else "UNAVAILABLE")


def flooding(frame: Frame) -> Callable[[socket.socket], None]:
    """Real HTTP/2 up to the request, and then the same frame for ever."""

    def talk(connection: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False))
        stream = next(requests(connection, http))
        http.send_headers(stream, HEADERS)
        connection.sendall(http.data_to_send())
        frames = frame.serialize() * 1000
        threading.Thread(target=drain, args=(connection,), daemon=True).start()
        while True:
            connection.sendall(frames)

    def drain(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 16):
                pass

    return talk


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        DataFrame(1, b""),
        DataFrame(1, b"", pad_length=255, flags=["PADDED"]),
        SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 5}),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_frames_without_end(frame: Frame) -> None:
    """A server that keeps sending frames without an answer is left long before the deadline."""
    (outcome,) = call(flooding(frame), timeout=100.0)
    assert isinstance(outcome, RpcError)
    assert outcome.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE")


def test_headers_without_end() -> None:
    """Header blocks that never end, or are larger than any real one, are refused."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(SettingsFrame(0).serialize())
        connection.sendall(HeadersFrame(1, b"\0\x01a\x7f\xff\xff\x03" + b"x" * 16000).serialize())
        while True:
            connection.sendall(ContinuationFrame(1, b"x" * 4096).serialize())

    (outcome,) = call(talk)
    assert isinstance(outcome, RpcError)
    assert outcome.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    "sent",
    [b"", SettingsFrame(0).serialize(), SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 0}).serialize()],
    ids=["silent", "only settings", "no window"],
)
def test_silence(sent: bytes) -> None:
    """A server that says nothing, or gives no leave to send, is waited for until the deadline."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(sent)
        while connection.recv(65536):
            pass

    (outcome,) = call(talk, timeout=SOON)
    assert isinstance(outcome, RpcError)
    assert outcome.code == "DEADLINE_EXCEEDED"


def test_a_drop_at_a_time() -> None:
    """A server that always sends a little more is waited for until the deadline, too."""

    def talk(connection: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False))
        stream = next(requests(connection, http))
        http.send_headers(stream, HEADERS)
        http.send_data(stream, message(bytes(10_000)))
        connection.settimeout(0.01)
        for byte in http.data_to_send():
            connection.sendall(bytes([byte]))
            with suppress(TimeoutError):
                connection.recv(65536)

    (outcome,) = call(talk, timeout=SOON)
    assert isinstance(outcome, RpcError)
    assert outcome.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"\xff" * 100, b"\n"])
def test_other_protocols(sent: bytes) -> None:
    """A server of another protocol is unavailable."""
    (outcome,) = call(lambda connection: connection.sendall(sent))
    assert isinstance(outcome, RpcError)
    assert outcome.code == "UNAVAILABLE"


FRAMES = st.builds(
    lambda kind, flags, stream, body: len(body).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, stream]) + body,
    st.integers(0, 12),
    st.integers(0, 255),
    st.integers(0, 5),
    st.binary(max_size=60),
)


@settings(max_examples=4 * EXAMPLES)
@given(st.lists(FRAMES, max_size=12), st.booleans())
def test_any_frames(frames: list[bytes], polite: bool) -> None:
    """Whatever frames come, each call has an outcome and nothing is raised."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((SettingsFrame(0).serialize() if polite else b"") + b"".join(frames))
        theirs.shutdown(socket.SHUT_WR)
        outcomes = call_all(ours, [("/s/M", b"")] * 2, time.monotonic() + 30)
    assert len(outcomes) == 2
    assert all(isinstance(outcome, bytes | RpcError) for outcome in outcomes)


def test_a_request_that_is_too_large() -> None:
    """A request that would need the server's leave is a mistake of the caller."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="bytes"):
        call_all(ours, [("/s/M", bytes(20_000))], time.monotonic() + 5)
