"""Answers of the container runtime on its socket, by the Container Runtime Interface (CRI)."""

from __future__ import annotations

from msgspec import Struct

from probe.reading import ProblemKind, Reading


class CriHandler(Struct, frozen=True):
    """One entry of `runtime_handlers`."""

    name: str
    user_namespaces: bool | None
    """None when the entry has no features message at all; an empty message says False."""


class CriCondition(Struct, frozen=True):
    """One condition of the runtime's Status."""

    type: str
    """`RuntimeReady`, `NetworkReady`: without both of them the kubelet starts no Pod; others are the runtime's own."""
    met: bool
    message: str = ""
    """Reason and message, of at most 300 characters."""


NO_HOST_NETWORK: Reading[bool] = Reading.without("CRI Status", "not-tried", "its features were not kept")
_NO_CONDITIONS: Reading[tuple[CriCondition, ...]] = Reading.without(
    "CRI Status", "not-tried", "its conditions were not kept"
)


class CriAnswer(Struct, frozen=True, kw_only=True):
    """Answer of one runtime; each part is a Reading of its own."""

    endpoint: str
    listener: Reading[int]
    """Pid of the process that listens on the socket, as the PID namespace of the probe numbers it."""
    name: Reading[str]
    version: Reading[str]
    handlers: Reading[tuple[CriHandler, ...]]
    """Empty when Status has no `runtime_handlers` at all."""
    conditions: Reading[tuple[CriCondition, ...]] = _NO_CONDITIONS
    """Without them: an answer that an older version kept."""
    host_network: Reading[bool] = NO_HOST_NETWORK
    """`features.user_namespaces_host_network`, of the runtime as a whole; absent where Status has no features."""
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
        conditions=Reading.without(source, kind, problem),
        host_network=Reading.without(source, kind, problem),
        config=Reading.without(source, kind, problem),
        image_filesystem=Reading.without(source, kind, problem),
    )
