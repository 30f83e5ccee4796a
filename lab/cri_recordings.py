"""Recorded answers of real container runtimes, as the child that asks CRI would hand them over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from probe.host.cri import CriAnswer, _Conversation
from probe.reading import Reading

FOLDER = Path(__file__).parents[1] / "tests/data/cri"
_FILES = {"Version": "version.pb", "Status": "status-verbose.pb", "ImageFsInfo": "image-fs-info.pb"}


class _Channel:
    class RpcError(Exception):
        pass

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unary_unary(self, method: str) -> Callable[..., bytes]:
        reply = (self.folder / _FILES[method.rpartition("/")[2]]).read_bytes()
        return lambda request, timeout: reply


def recorded_answer(name: str, endpoint: str, listener: int = 0, folder: Path = FOLDER) -> CriAnswer:
    """What `containerd-2.1.9` and its siblings said; *listener* is the pid behind the socket, 0 when not visible."""
    from probe.host import cri_pb2

    conversation = _Conversation(_Channel, cri_pb2, _Channel(folder / name), endpoint, time.monotonic() + 60)
    return conversation.answer(Reading(f"CRI {endpoint}", listener))
