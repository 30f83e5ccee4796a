"""The attempt at an overlay with an idmapped layer: without a mount namespace where the kernel allows it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from lab.prerequisites import require
from lab.real import kernel
from probe.host import idmap
from probe.host.child import run_child
from probe.host.idmap import Answer

FIRST = 200_000
MAPPED = Answer("done", 0, (0, FIRST))
REFUSED = Answer("overlay", errno.EINVAL)


@pytest.mark.real
@pytest.mark.parametrize(
    ("attempt", "since"), [(idmap._attempt_attached_overlay, (5, 19)), (idmap._attempt_detached_overlay, (6, 15))]
)
def test_both_ways_map_the_layer(tmp_path: Path, attempt: Callable[[str, int], Answer], since: tuple[int, int]) -> None:
    """Neither leaves a mount behind."""
    require(os.geteuid() == 0, "root")
    require(since <= kernel.RELEASE, f"Linux {since[0]}.{since[1]}")
    require("\toverlay\n" in Path("/proc/filesystems").read_text(), "the overlay module")
    before = Path("/proc/self/mountinfo").read_bytes()
    with kernel.user_namespace(FIRST) as userns_fd:
        answer = run_child(lambda: msgspec.json.encode(attempt(str(tmp_path), userns_fd)), 10)
    assert msgspec.json.decode(answer, type=Answer) == MAPPED
    assert Path("/proc/self/mountinfo").read_bytes() == before


@pytest.mark.parametrize(
    ("release", "tried"),
    [
        ("5.10.0-1-amd64", ["attached"]),
        ("6.14.11", ["attached"]),
        ("6.15.0-rc1", ["detached", "attached"]),
        ("7.0", ["detached", "attached"]),
        ("next", ["attached"]),
    ],
)
def test_a_refusal_is_that_of_a_runtime(monkeypatch: pytest.MonkeyPatch, release: str, tried: list[str]) -> None:
    """Layers outside of any namespace may be refused for that alone; an older kernel would log each attempt."""
    seen = []

    def detached(layers: str, userns_fd: int) -> Answer:
        seen.append("detached")
        raise PermissionError(errno.EPERM, layers)

    def attached(layers: str, userns_fd: int) -> Answer:
        seen.append("attached")
        return REFUSED

    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    monkeypatch.setattr(idmap, "_attempt_detached_overlay", detached)
    monkeypatch.setattr(idmap, "_attempt_attached_overlay", attached)
    assert idmap.attempt_overlay("/layers", -1) == REFUSED
    assert seen == tried
