"""The calls of the Container Runtime Interface (CRI) to a socket, and their replies, each part bounded.

h2 and protobuf take 30 ms to import, so all of this runs in a child that imports them while others look around; and
whatever the runtime does to the one who asks it, it does to that child alone.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from probe.host.cri import CriAnswer, CriCondition, CriHandler, no_answer
from probe.lean_import import late_patterns, stand_in, without_logging, without_threads
from probe.reading import ProblemKind, Reading

if TYPE_CHECKING:
    from probe.host.grpc import Outcome


ANSWER_LIMIT = 4 << 20
"""Bytes that `cri_child` returns at most."""


TIMEOUT = 3.0
"""Seconds for all calls together."""


_CONFIG_LIMIT = 512 << 10


_HANDLERS_LIMIT = 256


_CONDITIONS_LIMIT = 64


_MESSAGE_LIMIT = 300


_NAME_LIMIT = 256


RUNTIME_SERVICE = "/runtime.v1.RuntimeService"


IMAGE_SERVICE = "/runtime.v1.ImageService"


_KIND_OF_CODE: dict[str, ProblemKind] = {
    "DEADLINE_EXCEEDED": "timed-out",
    "PERMISSION_DENIED": "not-permitted",
    "UNAUTHENTICATED": "not-permitted",
    "UNIMPLEMENTED": "absent",  # containerd whose CRI plugin is disabled, as Docker's packages ship it
}


def cri_child(read_endpoint: Callable[[], str | None], enter: Callable[[], object], timeout: float = TIMEOUT) -> bytes:
    """The answer as JSON, for a child of its own that ends afterwards.

    What asks is imported while *read_endpoint*, called last, still waits for the endpoint. *enter* comes between:
    after the import, which needs our own files.
    """
    load()
    enter()
    endpoint = read_endpoint()
    answer = ask_cri(endpoint, timeout) if endpoint else no_answer("", "not-tried", "no endpoint is known")
    return msgspec.json.encode(answer)


def load() -> None:
    """Import h2 and protobuf without what they do not use here, which is half of it.

    protobuf's messages in Python are for machines without its C library. None of CRI's messages is one of protobuf's
    well-known types, such as Timestamp. Dataclasses, each of which compiles methods of its own, are the half of h2: of
    its events an initializer is enough.
    """
    with (
        without_logging(),
        without_threads(),
        late_patterns(),
        stand_in("warnings", warn=lambda *_arguments, **_options: None),
        stand_in("dataclasses", dataclass=_initialized),
        stand_in("google.protobuf.internal.python_message"),
        stand_in("google.protobuf.internal.well_known_types", WKTBASES={}),
    ):
        from probe.host import cri_pb2, grpc  # noqa: F401


def _initialized(cls: type | None = None, **_options: Any) -> Any:
    """A class decorator, with options or without, like `dataclasses.dataclass`: it adds nothing but an initializer."""
    if cls is None:
        return _initialized
    cls.__init__ = lambda self, **fields: self.__dict__.update(fields)  # type: ignore[misc]
    return cls


def ask_cri(endpoint: str, timeout: float = TIMEOUT) -> CriAnswer:
    """Answer of the runtime on the socket *endpoint*, an absolute path."""
    from probe.host import cri_pb2
    from probe.host.grpc import call_all

    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        listener = connect(connection, endpoint, deadline)
        if listener.kind:
            return no_answer(endpoint, listener.kind, listener.problem)
        calls = (
            (f"{RUNTIME_SERVICE}/Version", cri_pb2.VersionRequest()),
            (f"{RUNTIME_SERVICE}/Status", cri_pb2.StatusRequest(verbose=True)),
            (f"{IMAGE_SERVICE}/ImageFsInfo", cri_pb2.ImageFsInfoRequest()),
        )
        return read_outcomes(
            endpoint,
            listener,
            call_all(connection, [(method, request.SerializeToString()) for method, request in calls], deadline),
        )


def connect(connection: socket.socket, endpoint: str, deadline: float) -> Reading[int]:
    """The pid of the process that listens on *endpoint*; 0 for one of another PID namespace.

    *Source*: SO_PEERCRED in unix(7).
    """
    source = f"CRI {endpoint}"
    try:
        if not stat.S_ISSOCK(os.stat(endpoint).st_mode):
            return Reading.without(source, "not-readable", "is not a socket")
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        connection.connect(endpoint)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except BlockingIOError:
        return Reading.without(source, "timed-out", "accepts no connections, its queue is full")
    except ConnectionRefusedError:
        return Reading.without(source, "not-readable", "no process listens on it (connection refused)")
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            return Reading.without(source, "not-readable", "is a socket of another type")
        return Reading.from_error(source, error)
    except ValueError as error:  # a NUL byte in the path
        return Reading.without(source, "not-readable", str(error))
    return Reading(source, struct.unpack("3i", credentials)[0])


def read_outcomes(endpoint: str, listener: Reading[int], outcomes: Sequence[Outcome]) -> CriAnswer:
    """The answer out of the outcomes of Version, Status and ImageFsInfo."""
    from probe.host import cri_pb2

    version = _decode("Version", endpoint, outcomes[0], cri_pb2.VersionResponse)
    status = _decode("Status", endpoint, outcomes[1], cri_pb2.StatusResponse)
    images = _decode("ImageFsInfo", endpoint, outcomes[2], cri_pb2.ImageFsInfoResponse)
    return CriAnswer(
        endpoint=endpoint,
        listener=listener,
        name=version.parse(lambda reply: _short(reply.runtime_name)),
        version=version.parse(lambda reply: _short(reply.runtime_version)),
        handlers=status.parse(_parse_handlers),
        conditions=status.parse(_parse_conditions),
        host_network=_read_host_network(status),
        config=_read_config(status),
        image_filesystem=images.parse(_parse_image_filesystem),
    )


def _decode(method: str, endpoint: str, outcome: Outcome, reply_type: Any) -> Reading[Any]:
    source = f"CRI {method} {endpoint}"
    if not isinstance(outcome, bytes):
        late = outcome.code == "DEADLINE_EXCEEDED"
        problem = "no answer in time" if late else f"{outcome.code}: {outcome.details[:200]}"
        return Reading.without(source, _KIND_OF_CODE.get(outcome.code, "not-readable"), problem)
    try:
        return Reading(source, reply_type.FromString(outcome))
    except Exception as error:  # DecodeError, whose base class differs between protobuf's implementations
        return Reading.without(source, "not-readable", f"not understood: {str(error)[:200]}")


def _parse_handlers(reply: Any) -> tuple[CriHandler, ...]:
    if len(reply.runtime_handlers) > _HANDLERS_LIMIT:
        raise ValueError(f"more than {_HANDLERS_LIMIT} runtime handlers")
    return tuple(
        CriHandler(_short(one.name), one.features.user_namespaces if one.HasField("features") else None)
        for one in reply.runtime_handlers
    )


def _parse_conditions(reply: Any) -> tuple[CriCondition, ...]:
    conditions = reply.status.conditions
    if len(conditions) > _CONDITIONS_LIMIT:
        raise ValueError(f"more than {_CONDITIONS_LIMIT} conditions")
    return tuple(
        CriCondition(_short(one.type), one.status, ": ".join(filter(None, (one.reason, one.message)))[:_MESSAGE_LIMIT])
        for one in conditions
    )


def _read_host_network(status: Reading[Any]) -> Reading[bool]:
    """*Source*: cri-api 0.36; of an older runtime the message is there, without the field, or is not there at all."""
    if status.value is not None and not status.value.HasField("features"):
        return Reading.without(status.source, "absent", "the runtime reports no features")
    return status.parse(lambda reply: bool(reply.features.user_namespaces_host_network))


def _read_config(status: Reading[Any]) -> Reading[str]:
    config = status.parse(lambda reply: _short(reply.info.get("config", ""), _CONFIG_LIMIT))
    if config.value == "":
        return Reading.without(status.source, "absent", "the runtime reports no configuration")
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
