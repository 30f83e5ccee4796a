"""Files that are replaced as a whole: whatever ends the writing, nothing but the old file or the new one stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from probe.watch.atomic import replace_file


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "report").write_bytes(b"old")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_file_is_replaced(directory: int, tmp_path: Path) -> None:
    """With its mode, whatever the umask; what a predecessor left of its own is gone."""
    (tmp_path / ".report.new").write_bytes(b"half")
    before = os.umask(0o077)
    try:
        replace_file(directory, "report", b"new")
    finally:
        os.umask(before)
    assert os.listdir(directory) == ["report"]
    assert (tmp_path / "report").read_bytes() == b"new"
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fchmod", "rename"])
@pytest.mark.parametrize("end", [SystemExit(143), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_what_ends_the_writing_leaves_the_old_file_alone(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, end: BaseException
) -> None:
    """SIGTERM and SIGINT among it, which raise at any instruction."""
    monkeypatch.setattr(os, call, _raising(end))
    with pytest.raises(type(end)) as raised:
        replace_file(directory, "report", b"new")
    assert raised.value is end
    assert os.listdir(directory) == ["report"]
    assert (tmp_path / "report").read_bytes() == b"old"


def test_a_signal_after_the_rename_ends_the_process_all_the_same(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing left to remove then, which is not an error."""
    monkeypatch.setattr(os, "rename", _raising(SystemExit(143), os.rename))
    with pytest.raises(SystemExit):
        replace_file(directory, "report", b"new")
    assert os.listdir(directory) == ["report"]
    assert (tmp_path / "report").read_bytes() == b"new"


def _raising(end: BaseException, first: Callable[..., object] = lambda *_, **__: None) -> Callable[..., None]:
    def call(*arguments: object, **options: object) -> None:
        first(*arguments, **options)
        raise end

    return call
