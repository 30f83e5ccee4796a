"""The FUSE server of the tests behaves, or gets stuck, as real ones do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.real import bundle, kernel
from lab.real.fuse_server import FuseServer
from lab.waiting import wait_for

pytestmark = pytest.mark.real


def answers(mountpoint: Path) -> bool:
    with suppress(OSError):
        return bool(os.stat(mountpoint))
    return False


def idmapped(source: str, target: str) -> int:
    """The errno that an idmapped mount of *source* ends with."""
    try:
        kernel.mount_idmapped(source, target, bundle.FIRST)
    except OSError as error:
        return error.errno or 0
    kernel.detach(target)
    return 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"idmap": True}, 0),
        ({"idmap": False}, errno.EINVAL),
        ({"idmap": True, "init": False}, errno.EINVAL),
    ],
)
def test_fuse_can_be_idmapped_only_when_its_server_has_said_so(
    options: dict[str, bool], expected: int, workspace: str, tmp_path: Path
) -> None:
    require(kernel.RELEASE >= (6, 12), "a kernel from 6.12 on, which idmaps FUSE at all")
    (tmp_path / "fuse").mkdir()
    (tmp_path / "again").mkdir()
    with FuseServer(f"{tmp_path}/fuse", default_permissions=True, **options):
        assert idmapped(f"{tmp_path}/fuse", f"{tmp_path}/again") == expected
    assert not kernel.mounts_below(str(tmp_path))


def test_fuse_that_opts_in_without_default_permissions_is_dead(workspace: str, tmp_path: Path) -> None:
    require(kernel.RELEASE >= (6, 12), "a kernel from 6.12 on, which knows the opt-in")
    with FuseServer(str(tmp_path), idmap=True), pytest.raises(ConnectionRefusedError):
        os.listdir(tmp_path)


def test_fuse_has_entries(workspace: str, tmp_path: Path) -> None:
    with FuseServer(str(tmp_path)):
        assert sorted(os.listdir(tmp_path)) == ["d", "f"]
        assert os.listdir(tmp_path / "d") == []
        assert (tmp_path / "f").read_text() == "served by a test\n"


def test_who_waits_for_a_stopped_server_can_be_killed(workspace: str, tmp_path: Path) -> None:
    with FuseServer(str(tmp_path)) as server:
        server.stop()
        waiting = subprocess.Popen(["stat", f"{tmp_path}/f"])
        wait_for(server.waiting)
        waiting.kill()
        assert waiting.wait() == -signal.SIGKILL
        server.resume()
        assert os.path.isfile(f"{tmp_path}/f")


@pytest.mark.parametrize("freed_by", ["abort", "close"])
def test_who_waits_for_a_mute_server_can_only_be_freed(freed_by: str, workspace: str, tmp_path: Path) -> None:
    with FuseServer(str(tmp_path)) as server:
        server.mute()
        waiting = subprocess.Popen(["stat", f"{tmp_path}/f"])
        wait_for(server.swallowed)
        waiting.kill()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.2)
        getattr(server, freed_by)()
        assert waiting.wait() == -signal.SIGKILL


def test_a_server_does_not_outlive_a_test_run_that_is_killed(workspace: str, tmp_path: Path) -> None:
    code = f"from lab.real import fuse_server; fuse_server.FuseServer({str(tmp_path)!r}); print(); input()"
    command, checkout = [sys.executable, "-c", code], Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=checkout) as run:
        assert run.stdout
        run.stdout.readline()
        os.stat(tmp_path)
        run.kill()
    try:
        wait_for(lambda: not answers(tmp_path))
    finally:
        kernel.detach(str(tmp_path))
