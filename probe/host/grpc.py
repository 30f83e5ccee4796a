"""gRPC's unary calls over one HTTP/2 connection on a unix socket: all requests at once, all answers by one deadline.

*Source*: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc/grpc). h2 keeps the state of HTTP/2 and touches no socket, so
no thread is started. Whatever the server does is bounded: bytes and frames, the size of headers and messages, time.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

MESSAGE_LIMIT = 8 << 20
"""Bytes of one answer; a real one has ten thousand."""
REQUEST_LIMIT = 16 << 10
"""Bytes of one request with its prefix: one frame, which every server accepts unasked (RFC 9113, 4.2, 6.9.2)."""

_PREFIX = 5  # bytes before a message: whether it is compressed, and its length
_WINDOW = MESSAGE_LIMIT + _PREFIX  # bytes that a server may send for one call, never extended
_OVERHEAD = 1 << 20  # bytes of headers and of frames that carry no message
_FRAMES_LIMIT = 20_000
_HEADERS_LIMIT = 16 << 10
_DETAILS_LIMIT = 4096  # characters of a status message
_CHUNK = 1 << 16
_GRACE = 1000  # milliseconds

# Names of gRPC's status codes, in order (doc/statuscodes.md).
_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_STATUSES = {str(number) for number in range(1, len(_CODES))}
# What a client makes of HTTP's own status where gRPC's is missing (doc/http-grpc-status-mapping.md).
_CODE_OF_HTTP = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    **dict.fromkeys(("429", "502", "503", "504"), "UNAVAILABLE"),
}
# What a client makes of a call that was reset ("Errors" in PROTOCOL-HTTP2.md); INTERNAL of all others.
_CODE_OF_RESET: dict[int, str] = {
    ErrorCodes.REFUSED_STREAM: "UNAVAILABLE",
    ErrorCodes.CANCEL: "CANCELLED",
    ErrorCodes.ENHANCE_YOUR_CALM: "RESOURCE_EXHAUSTED",
    ErrorCodes.INADEQUATE_SECURITY: "PERMISSION_DENIED",
}


class RpcError(Exception):
    """A call that got no answer. *code* is the name of its gRPC status, also where the connection itself failed.

    *by_server* tells whether the server said so; else it is what the client makes of what it saw.
    """

    def __init__(self, code: str, details: str, by_server: bool = False) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.by_server = by_server


Outcome = bytes | RpcError
"""The one message of an answer, or why there is none."""


def call_all(connection: socket.socket, calls: Sequence[tuple[str, bytes]], deadline: float) -> list[Outcome]:
    """The outcome of each of *calls* (a method such as `/runtime.v1.RuntimeService/Version`, and its request).

    *connection* is connected and serves this once; *deadline* in seconds of time.monotonic(). A call that is answered
    keeps its answer whatever becomes of the others.
    *Errors*: ValueError for a request larger than REQUEST_LIMIT.
    """
    http = _begin(len(calls))
    pending: dict[int, _Call] = {}
    for method, request in calls:
        message = b"\0" + len(request).to_bytes(4, "big") + request
        if len(message) > REQUEST_LIMIT:
            raise ValueError(f"a request of {len(message)} bytes")
        stream = http.get_next_available_stream_id()
        http.send_headers(stream, _headers(method, deadline))
        http.send_data(stream, message, end_stream=True)
        pending[stream] = _Call()
    try:
        _converse(connection, http, pending, deadline)
        failure = RpcError("UNAVAILABLE", "connection closed before the answer")
    except RpcError as error:
        failure = error
    except TimeoutError:
        failure = RpcError("DEADLINE_EXCEEDED", "no answer in time")
    except OSError as error:
        failure = RpcError("UNAVAILABLE", error.strerror or str(error))
    except (H2Error, ValueError) as error:
        failure = RpcError("UNAVAILABLE", f"not understood as HTTP/2: {error}"[:_DETAILS_LIMIT])
    return [failure if call.outcome is None else call.outcome for call in pending.values()]


def _begin(calls: int) -> H2Connection:
    http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: _HEADERS_LIMIT,
        },
    )
    http.decoder.max_header_list_size = _HEADERS_LIMIT
    http.initiate_connection()
    http.increment_flow_control_window(calls * _WINDOW)
    return http


def _headers(method: str, deadline: float) -> list[tuple[str, str]]:
    # A little more than we wait: a server whose time is over resets the call, and tells no timeout.
    milliseconds = max(int((deadline - time.monotonic()) * 1000), 0) + _GRACE
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),  # Go's HTTP/2 refuses a socket path there
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "userns-probe"),
        ("grpc-accept-encoding", "identity"),  # what is not unpacked cannot explode
        ("grpc-timeout", f"{min(milliseconds, 99_999_999)}m"),
    ]


def _converse(connection: socket.socket, http: H2Connection, pending: dict[int, _Call], deadline: float) -> None:
    """Send and receive until each call has its outcome or the server closes the connection."""
    bytes_left, frames_left = len(pending) * _WINDOW + _OVERHEAD, _FRAMES_LIMIT
    while any(call.outcome is None for call in pending.values()):
        if output := http.data_to_send():
            connection.settimeout(_remaining(deadline))
            with suppress(BrokenPipeError, ConnectionResetError):  # what the server sent before it went is still there
                connection.sendall(output)
        connection.settimeout(_remaining(deadline))
        received = connection.recv(_CHUNK)
        if not received:
            return
        events = http.receive_data(received)
        bytes_left, frames_left = bytes_left - len(received), frames_left - len(events)
        if bytes_left < 0 or frames_left < 0:
            raise RpcError("RESOURCE_EXHAUSTED", "more frames than any answer has")
        for event in events:
            if isinstance(event, ConnectionTerminated):
                details = f"the server closes the connection (GOAWAY, error code {event.error_code})"
                raise RpcError("UNAVAILABLE", details)
            call = pending.get(getattr(event, "stream_id", None) or 0)
            if call and call.outcome is None:
                call.receive(event)


def _remaining(deadline: float) -> float:
    """Seconds until *deadline*. *Errors*: TimeoutError when it is over; a timeout of 0 would mean something else."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


class _Call:
    """One call and what has come of its answer."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._message = bytearray()
        self._http_status = ""

    def receive(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            headers = _texts(event.headers)
            self._http_status = headers.get(":status", "")
            content_type = headers.get("content-type", "")
            is_grpc = self._http_status == "200" and content_type.startswith("application/grpc")
            if "grpc-status" not in headers and not is_grpc:
                code = _CODE_OF_HTTP.get(self._http_status, "UNKNOWN")
                self._fail(code, f"not gRPC: HTTP status {self._http_status}, content type {content_type!r}"[:200])
            elif event.stream_ended:
                self._end(headers)
        elif isinstance(event, DataReceived):
            self._take(event.data or b"")
        elif isinstance(event, TrailersReceived):
            self._end(_texts(event.headers))
        elif isinstance(event, StreamReset):
            code = _CODE_OF_RESET.get(event.error_code, "INTERNAL")
            self._fail(code, f"the server reset the call (RST_STREAM, error code {event.error_code})")
        elif isinstance(event, StreamEnded):
            self._fail("UNKNOWN", "the answer ended without a status")

    def _take(self, data: bytes) -> None:
        self._message += data
        if len(self._message) < _PREFIX:
            return
        if self._message[0]:
            self._fail("INTERNAL", "the answer is compressed, which was not asked for")
        elif self._length() > MESSAGE_LIMIT:
            self._fail("RESOURCE_EXHAUSTED", f"an answer of {self._length()} bytes, more than {MESSAGE_LIMIT}")
        elif len(self._message) > _PREFIX + self._length():
            self._fail("INTERNAL", "more than one answer")

    def _length(self) -> int:
        """Bytes of the message, as its prefix tells."""
        return int.from_bytes(self._message[1:_PREFIX], "big")

    def _end(self, headers: dict[str, str]) -> None:
        status = headers.get("grpc-status", "")
        if status == "0" and len(self._message) >= _PREFIX and len(self._message) == _PREFIX + self._length():
            self.outcome = bytes(self._message[_PREFIX:])
        elif status == "0":
            self._fail("INTERNAL", "the answer ended before its message did")
        else:
            code = _CODES[int(status)] if status in _STATUSES else "UNKNOWN"
            self._fail(code, _unquote(headers.get("grpc-message", ""))[:_DETAILS_LIMIT], by_server=True)

    def _fail(self, code: str, details: str, by_server: bool = False) -> None:
        self.outcome = RpcError(code, details, by_server)
        self._message.clear()


def _texts(headers: object) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in headers or ()}  # type: ignore[attr-defined]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _unquote(text: str) -> str:
    """Percent-encoding undone; not by urllib.parse, whose import takes a tenth of all that is imported here."""
    return _text(re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()))
