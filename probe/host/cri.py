"""What the container runtime answers over its own socket, by its real protocol.

gRPC starts threads that outlive its channel, after which no namespace can be entered or made any more. So all of
this runs in a child of its own, which neither forks nor unshares, and nobody else imports grpc.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from probe.reading import ProblemKind, Reading

ANSWER_LIMIT = 4 << 20
"""Bytes that `cri_child` returns at most."""
TIMEOUT = 3.0
"""Seconds for all calls together."""

_MESSAGE_LIMIT = 8 << 20  # bytes of one reply; a real one has ten thousand
_CONFIG_LIMIT = 512 << 10
_HANDLERS_LIMIT = 256
_NAME_LIMIT = 256
_IDENTITY_ONLY = 1  # the bit of "no compression": what is not unpacked cannot explode

_RUNTIME = "/runtime.v1.RuntimeService"
_IMAGES = "/runtime.v1.ImageService"

_KIND_OF_CODE: dict[str, ProblemKind] = {
    "DEADLINE_EXCEEDED": "timed-out",
    "PERMISSION_DENIED": "not-permitted",
    "UNAUTHENTICATED": "not-permitted",
    "UNIMPLEMENTED": "absent",  # containerd whose CRI plugin is disabled, as Docker's packages ship it
}

Ask = Callable[[str, float], "CriAnswer"]


class CriHandler(Struct, frozen=True):
    """One entry of `runtime_handlers`."""

    name: str
    user_namespaces: bool | None
    """None when the entry has no features message at all; an empty message says False."""


class CriAnswer(Struct, frozen=True, kw_only=True):
    """What one runtime said, each part a Reading of its own."""

    endpoint: str
    listener: Reading[int]
    """Pid of the process that listens on the socket, as the PID namespace of the probe numbers it."""
    name: Reading[str]
    version: Reading[str]
    handlers: Reading[tuple[CriHandler, ...]]
    """Empty when Status has no `runtime_handlers` at all."""
    config: Reading[str]
    """The configuration in force: JSON, in the runtime's own shape. It may hold credentials of registries."""
    image_filesystem: Reading[str]
    """Mount point or directory that holds the images of the default snapshotter."""


def no_answer(endpoint: str, kind: ProblemKind, problem: str) -> CriAnswer:
    """The answer of a runtime that could not be asked."""
    source = f"CRI {endpoint}".strip()
    return CriAnswer(
        endpoint=endpoint,
        listener=Reading.without(source, kind, problem),
        name=Reading.without(source, kind, problem),
        version=Reading.without(source, kind, problem),
        handlers=Reading.without(source, kind, problem),
        config=Reading.without(source, kind, problem),
        image_filesystem=Reading.without(source, kind, problem),
    )


def cri_child(read_endpoint: Callable[[], str | None], enter: Callable[[], object], timeout: float = TIMEOUT) -> bytes:
    """The answer as JSON, for a child of its own that ends afterwards.

    grpc is imported while *read_endpoint*, called last, still waits for the endpoint. *enter* comes between:
    after the import, which needs our own files, and before the channel, whose threads would forbid it.
    """
    ask = load_grpc()
    enter()
    endpoint = read_endpoint()
    answer = ask(endpoint, timeout) if endpoint else no_answer("", "not-tried", "no endpoint is known")
    return msgspec.json.encode(answer)


def ask_cri(endpoint: str, timeout: float = TIMEOUT) -> CriAnswer:
    """What the runtime on the socket *endpoint* (an absolute path) answers; only for a process of its own."""
    return load_grpc()(endpoint, timeout)


def load_grpc() -> Ask:
    """Import grpc, with the modules that it would import when first used, and hand back what asks with it."""
    os.environ.update(GRPC_VERBOSITY="NONE", GRPC_ENABLE_FORK_SUPPORT="0")
    os.environ.pop("GRPC_TRACE", None)
    import grpc
    import grpc._channel

    from probe.host import cri_pb2

    def ask(endpoint: str, timeout: float) -> CriAnswer:
        deadline = time.monotonic() + timeout
        listener = _read_listener(endpoint, timeout)
        if listener.kind:
            return no_answer(endpoint, listener.kind, listener.problem)
        with grpc.insecure_channel("unix:" + quote(os.fsencode(endpoint)), options=_OPTIONS) as channel:
            return _Conversation(grpc, cri_pb2, channel, endpoint, deadline).answer(listener)

    return ask


_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.default_authority", "localhost"),  # Go's HTTP/2 refuses a socket path there
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
)


def _read_listener(endpoint: str, timeout: float) -> Reading[int]:
    """Who listens; 0 for a process of another PID namespace. *Source*: SO_PEERCRED in unix(7)."""
    source = f"CRI {endpoint}"
    try:
        if not stat.S_ISSOCK(os.stat(endpoint).st_mode):
            return Reading.without(source, "not-readable", "is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(endpoint)
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except BlockingIOError:
        return Reading.without(source, "timed-out", "accepts no connections, its queue is full")
    except ConnectionRefusedError:
        return Reading.without(source, "not-readable", "nobody listens on it (connection refused)")
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            return Reading.without(source, "not-readable", "is a socket of another type")
        return Reading.from_error(source, error)
    except ValueError as error:  # a NUL byte in the path
        return Reading.without(source, "not-readable", str(error))
    return Reading(source, struct.unpack("3i", credentials)[0])


class _Conversation:
    """The calls, one after another, until one of them gets no answer in time."""

    def __init__(self, grpc: Any, messages: Any, channel: Any, endpoint: str, deadline: float) -> None:
        self._grpc = grpc
        self._messages = messages
        self._channel = channel
        self._endpoint = endpoint
        self._deadline = deadline
        self._silent = False

    def answer(self, listener: Reading[int]) -> CriAnswer:
        messages = self._messages
        version = self._call(f"{_RUNTIME}/Version", messages.VersionRequest(), messages.VersionResponse)
        status = self._call(f"{_RUNTIME}/Status", messages.StatusRequest(verbose=True), messages.StatusResponse)
        images = self._call(f"{_IMAGES}/ImageFsInfo", messages.ImageFsInfoRequest(), messages.ImageFsInfoResponse)
        return CriAnswer(
            endpoint=self._endpoint,
            listener=listener,
            name=version.parse(lambda reply: _short(reply.runtime_name)),
            version=version.parse(lambda reply: _short(reply.runtime_version)),
            handlers=status.parse(_parse_handlers),
            config=_read_config(status),
            image_filesystem=images.parse(_parse_image_filesystem),
        )

    def _call(self, method: str, request: Any, reply_type: Any) -> Reading[Any]:
        source = f"CRI {method.rpartition('/')[2]} {self._endpoint}"
        remaining = self._deadline - time.monotonic()
        if self._silent or remaining <= 0:
            return Reading.without(source, "timed-out", "no answer in time to an earlier call")
        try:
            # Bytes in, bytes out: grpc would log the traceback of a reply that cannot be parsed.
            reply = self._channel.unary_unary(method)(request.SerializeToString(), timeout=remaining)
        except self._grpc.RpcError as error:
            code = error.code().name
            self._silent = code == "DEADLINE_EXCEEDED"
            problem = "no answer in time" if self._silent else f"{code}: {str(error.details())[:200]}"
            return Reading.without(source, _KIND_OF_CODE.get(code, "not-readable"), problem)
        try:
            return Reading(source, reply_type.FromString(reply))
        except Exception as error:  # DecodeError, whose base class differs between protobuf's implementations
            return Reading.without(source, "not-readable", f"not understood: {str(error)[:200]}")


def _parse_handlers(reply: Any) -> tuple[CriHandler, ...]:
    if len(reply.runtime_handlers) > _HANDLERS_LIMIT:
        raise ValueError(f"more than {_HANDLERS_LIMIT} runtime handlers")
    return tuple(
        CriHandler(_short(one.name), one.features.user_namespaces if one.HasField("features") else None)
        for one in reply.runtime_handlers
    )


def _read_config(status: Reading[Any]) -> Reading[str]:
    config = status.parse(lambda reply: _short(reply.info.get("config", ""), _CONFIG_LIMIT))
    if config.value == "":
        return Reading.without(status.source, "absent", "the runtime tells nothing of its configuration")
    return config


def _parse_image_filesystem(reply: Any) -> str:
    """The first one belongs to the default snapshotter."""
    paths = [one.fs_id.mountpoint for one in reply.image_filesystems]
    if not paths or not paths[0].startswith("/"):
        raise ValueError("names no directory")
    return _short(paths[0], 4096)


def _short(text: str, limit: int = _NAME_LIMIT) -> str:
    if len(text) > limit:
        raise ValueError(f"longer than {limit} characters")
    return text
