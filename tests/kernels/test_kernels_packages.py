"""A series that Debian no longer offers comes from the cache, or is gone; one that is offered and breaks has failed."""

from __future__ import annotations

import json
import lzma
import os
import struct
from pathlib import Path

import pytest

from lab.kernels import matrix, packages
from lab.prerequisites import require
from lab.real import debian
from lab.real.debian import Broken, Unavailable


@pytest.fixture
def dead_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No suite can be had; the empty cache."""

    def fails(suite: str, directory: Path, architecture: str) -> tuple[str, ...]:
        raise Unavailable(f"404 {suite}")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "_private_apt", fails)
    monkeypatch.setattr(packages, "kernel", packages.kernel.__wrapped__)  # which remembers outcomes
    return tmp_path / "userns-probe/packages"


def test_a_series_that_is_gone_is_not_run(dead_mirror: Path) -> None:
    """And does not fail: each of its suites says why."""
    run = matrix.run("5.10")
    assert (
        run.not_run == "gone: no Linux 5.10 for amd64: bullseye-security: 404 bullseye-security; bullseye: 404 bullseye"
    )
    assert run.disagreements == []


def test_a_series_that_is_gone_comes_from_the_cache(dead_mirror: Path) -> None:
    """Here from the second of its suites, after the first was gone without a trace."""
    cache = dead_mirror / "bullseye"
    (cache / "linux/lib/modules/5.10.0-32-amd64").mkdir(parents=True)
    entry = {"version": "5.10.223-1", "directory": "linux", "archives": "", "asked": "0"}
    (cache / "versions.json").write_text(json.dumps({"linux-image-amd64": entry}))
    kernel = packages.kernel("5.10", "amd64")
    assert str(kernel) == "5.10.0-32-amd64 (5.10.223-1, bullseye)"


def image(payload: bytes) -> bytes:
    """A bzImage with that payload: one sector, then the code that would unpack it, then the payload and its size."""
    content = bytearray(1024)
    content[0x1F1] = 1
    struct.pack_into("<II", content, 0x248, 16, len(payload) + 4)
    return bytes(content) + b"unpack it by me." + payload + struct.pack("<I", 99)


def test_the_kernel_proper_is_taken_out_of_its_image() -> None:
    """Whatever is no kernel says so, and is not booted."""
    kernel = b"\x7fELF and so on" * 100
    assert packages._vmlinux(image(lzma.compress(kernel))) == kernel
    for rubbish, words in (
        (image(b"\x1f\x8b\x08\0\0\0"), "unknown way: 1f8b08"),
        (image(lzma.compress(b"MZ")), "no ELF"),
        (image(lzma.compress(kernel)[:-20]), "no archive though it looks like one"),
        (b"404 not found", "a kernel of 13 bytes"),
    ):
        with pytest.raises(Broken, match=words):
            packages._vmlinux(rubbish)


def test_a_kernel_that_cannot_be_prepared_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was offered: the cached one before it must not stand in for it."""
    require(os.path.exists(packages.DEPMOD), f"{packages.DEPMOD} (package kmod)")

    def fetched(package: str, suite: str, recipe: debian.Recipe) -> Path:
        assert recipe.finish
        recipe.finish(tmp_path, tmp_path)
        return tmp_path

    monkeypatch.setattr(packages, "kernel", packages.kernel.__wrapped__)
    monkeypatch.setattr(debian, "fetch", fetched)
    run = matrix.run("6.1")
    assert (run.failed, run.not_run) == ("lib/modules is in none of the packages", "")
    (tmp_path / "usr/lib/modules/6.1-test").mkdir(parents=True)
    assert matrix.run("6.1").disagreements == ["vmlinuz is in none of the packages"]


def test_a_command_that_is_missing_breaks_nothing() -> None:
    """It cannot be had here; one that fails has failed in the way that its caller says."""
    with pytest.raises(Unavailable, match="command no-such-tool is not there"):
        debian.run("no-such-tool", failure=Broken)
    with pytest.raises(Broken, match="exit code 1"):
        debian.run("false", failure=Broken)
    with pytest.raises(Unavailable, match="exit code 1"):
        debian.run("false")
