"""Guests: what comes home from one, and what is said of one that does not end well."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.kernels import machine, packages
from lab.kernels.initramfs import initramfs
from lab.kernels.packages import NEWEST, Kernel
from lab.prerequisites import require
from lab.real.debian import Unavailable
from tests.extent import ALL

pytestmark = [pytest.mark.real, pytest.mark.qemu, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """The newest, or a missing prerequisite."""
    require(shutil.which("qemu-system-x86_64"), "command qemu-system-x86_64 (package qemu-system-x86)")
    try:
        return packages.kernel(NEWEST)
    except Unavailable as problem:
        require(False, str(problem))
        raise


def test_what_a_command_prints_comes_home(kernel: Kernel, tmp_path: Path) -> None:
    """Documents, exit code, console; and a disk by its name, which keeps nothing of what is written there."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"as it was".ljust(1 << 16, b"\0"))
    command = (
        'echo "[1, \\"$(uname -r)\\"]"; echo aside >&2; head -c 9 /dev/disk/it >&2; echo new >/dev/disk/it; exit 3'
    )
    outcome = machine.boot(kernel, [], command, disks={"it": disk})
    assert (outcome.code, outcome.documents) == (3, [[1, kernel.release]])
    assert "aside" in outcome.console
    assert "as it was" in outcome.console
    assert disk.read_bytes().startswith(b"as it was")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo c >/proc/sysrq-trigger", "sysrq triggered crash"),
        ("sleep 1000000", "the guest did not end by itself after 1"),
        *([("echo no json", "printed what is not JSON")] if ALL else []),
    ],
)
def test_a_guest_that_does_not_end_well(kernel: Kernel, command: str, words: str) -> None:
    """A panic, a hang and rubbish are told with the end of the console."""
    with pytest.raises(machine.GuestError) as caught:
        machine.boot(kernel, [], command, timeout=10 if "sleep" in command else 300)
    assert words in str(caught.value)


def test_the_archive_is_one(kernel: Kernel, tmp_path: Path) -> None:
    """As others read it: process 1, and the modules, each after those it needs."""
    (tmp_path / "archive").write_bytes(initramfs(kernel, "true", ["ext4", "no_such_module"]))
    with open(tmp_path / "archive", "rb") as archive:
        subprocess.run(["busybox", "cpio", "-i", "-d"], cwd=tmp_path, stdin=archive, check=True)
    order = (tmp_path / "modules/order").read_text().split()
    assert {"init", "guest", "modules"} <= {path.name for path in tmp_path.iterdir()}
    assert sorted(path.name for path in (tmp_path / "modules").iterdir()) == sorted([*order, "order"])
    assert len(set(order)) == len(order)
    names = [name.partition(".")[0] for name in order]
    assert names.index("jbd2") < names.index("ext4")
    assert (tmp_path / "modules" / order[0]).read_bytes().startswith(b"\x7fELF")
