"""Recorded answers of real container runtimes, as the child that asks CRI would hand them over."""

from __future__ import annotations

from pathlib import Path

from probe.host.cri import CriAnswer
from probe.host.cri_call import read_outcomes
from probe.reading import Reading

FOLDER = Path(__file__).parents[1] / "tests/data/cri"
_FILES = ("version.pb", "status-verbose.pb", "image-fs-info.pb")


def recorded_answer(name: str, endpoint: str, listener: int = 0, folder: Path = FOLDER) -> CriAnswer:
    """What `containerd-2.1.9` and its siblings said; *listener* is the pid behind the socket, 0 when not visible."""
    replies = [(folder / name / file).read_bytes() for file in _FILES]
    return read_outcomes(endpoint, Reading(f"CRI {endpoint}", listener), replies)
