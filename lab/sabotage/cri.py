"""A client of CRI that makes Pods: messages written by hand, as the numbers of k8s.io/cri-api runtime/v1 have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

SERVICE = "/runtime.v1.RuntimeService"
LENGTH = 65536
"""IDs of a Pod."""
NAMESPACE_POD, NAMESPACE_CONTAINER = 0, 1  # NamespaceMode


class RefusedError(Exception):
    """A call that failed, in the runtime's own words."""


@dataclass(frozen=True)
class Volume:
    """One mount of a container."""

    host_path: str
    container_path: str
    readonly: bool = False


class Client:
    """One runtime; every call is bounded by `timeout` seconds."""

    def __init__(self, socket: str, timeout: float = 30) -> None:
        # Go's HTTP/2 refuses the path of a socket as the authority.
        options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._timeout = timeout

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: str, request: bytes) -> dict[int, list[bytes | int]]:
        try:
            reply = self._channel.unary_unary(f"{SERVICE}/{method}")(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise RefusedError(f"{method}: {error.code().name}: {error.details()}") from None
        return decode(reply)

    def run_sandbox(self, config: bytes, handler: str) -> str:
        """The id of a new sandbox."""
        return _text(self._call("RunPodSandbox", field(1, config) + field(2, handler)), 1)

    def run_container(self, sandbox: str, config: bytes, sandbox_config: bytes) -> str:
        """The id of a container that was started."""
        request = field(1, sandbox) + field(2, config) + field(3, sandbox_config)
        made = _text(self._call("CreateContainer", request), 1)
        self._call("StartContainer", field(1, made))
        return made

    def remove_sandbox(self, sandbox: str) -> None:
        self._call("StopPodSandbox", field(1, sandbox))
        self._call("RemovePodSandbox", field(1, sandbox))


@contextmanager
def connected(socket: str) -> Iterator[Client]:
    client = Client(socket)
    try:
        yield client
    finally:
        client.close()


def sandbox_config(name: str, uid: str, cgroup: str, first: int | None) -> bytes:
    """PodSandboxConfig; *first* is the host's ID of the Pod's root, None for the node's user namespace."""
    metadata = field(1, name) + field(2, uid) + field(3, "sabotage")
    linux = field(1, f"/{cgroup}") + field(2, field(1, namespaces(first)))
    return field(1, metadata) + field(2, "sabotage") + field(3, f"/var/log/pods/{uid}") + field(8, linux)


def container_config(
    name: str,
    image: str,
    command: Sequence[str],
    volumes: Sequence[Volume],
    first: int | None,
    security: bytes = b"",
) -> bytes:
    """ContainerConfig, each volume with the mappings that the kubelet would send.

    *security* is a LinuxContainerSecurityContext; empty for the namespaces of the Pod alone.
    """
    words = b"".join(field(3, word) for word in command)
    mounts = b"".join(field(7, _mount(volume, first)) for volume in volumes)
    linux = field(2, security or field(3, namespaces(first)))
    whole = field(1, field(1, name)) + field(2, field(1, image)) + words + mounts
    return whole + field(11, f"{name}.log") + field(15, linux)


def namespaces(first: int | None) -> bytes:
    """NamespaceOption."""
    block = field(1, NAMESPACE_POD) + field(2, NAMESPACE_CONTAINER)
    if first is None:
        return block
    return block + field(5, field(1, NAMESPACE_POD) + field(2, _mapping(first)) + field(3, _mapping(first)))


def _mount(volume: Volume, first: int | None) -> bytes:
    block = field(1, volume.container_path) + field(2, volume.host_path) + field(3, int(volume.readonly))
    return block if first is None else block + field(6, _mapping(first)) + field(7, _mapping(first))


def _mapping(first: int) -> bytes:
    return field(1, first) + field(2, 0) + field(3, LENGTH)


def field(number: int, value: str | bytes | int) -> bytes:
    """One field of a message, in protobuf's wire format."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def decode(message: bytes) -> dict[int, list[bytes | int]]:
    """Number -> values of the varint and length-delimited fields of a message."""
    found: dict[int, list[bytes | int]] = {}
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        number, position = _read_varint(message, position)
        end = position + number if key & 7 == 2 else position
        found.setdefault(key >> 3, []).append(message[position:end] if key & 7 == 2 else number)
        position = end
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _text(reply: dict[int, list[bytes | int]], number: int) -> str:
    value = reply.get(number, [b""])[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
