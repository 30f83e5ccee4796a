"""The ground that real tests stand on: each thing is what it says it is, and leaves nothing behind."""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.real import bundle, daemon, debian, kernel, packages
from lab.real.filesystems import CATALOG, IDMAPPED_FIRST, filesystem
from lab.real.fuse_server import FuseServer
from lab.waiting import wait_for
from tests.real.fixtures import UNIFIED

pytestmark = pytest.mark.real

GetRuntime = Callable[..., packages.Runtime]
Container = Callable[..., bundle.Outcome]
Volume = Callable[[str], str]

IDMAPPING = [("runc", (1, 2)), ("crun", (1, 9))]


def assert_gone(path: str, workspace: str) -> None:
    """The directory that the catalog made for *path* is gone, and so is, in a moment, the loop device on its image."""
    directory = os.path.join(workspace, os.path.relpath(path, workspace).split("/")[0])
    assert not os.path.exists(directory)
    wait_for(lambda: not any(image.startswith(directory) for image in images_on_loop_devices()))


def images_on_loop_devices() -> Iterator[str]:
    for file in glob.glob("/sys/block/loop*/loop/backing_file"):
        with suppress(OSError):  # other loop devices come and go meanwhile
            yield Path(file).read_text()


# The catalog


@pytest.mark.parametrize("name", CATALOG)
def test_a_file_system_is_there_and_gone(name: str, workspace: str) -> None:
    require(not CATALOG[name].missing(), CATALOG[name].missing())
    before = kernel.mounts_below(workspace)
    with filesystem(name, workspace) as path:
        assert os.stat(path).st_uid == (IDMAPPED_FIRST if name == "idmapped" else 0)
        assert os.path.isfile(path) == (name == "file")
        assert os.path.islink(path) == (name == "symlink")
        assert (os.statvfs(path).f_flag & os.ST_RDONLY != 0) == CATALOG[name].readonly
    assert kernel.mounts_below(workspace) == before
    assert_gone(path, workspace)


def test_nothing_is_left_when_a_test_fails_and_still_uses_the_mount(workspace: str) -> None:
    require(not CATALOG["ext4"].missing(), CATALOG["ext4"].missing())
    before = kernel.mounts_below(workspace)
    with ExitStack() as user:
        with suppress(ZeroDivisionError), filesystem("ext4", workspace) as path:
            user.enter_context(open(f"{path}/f"))
            raise ZeroDivisionError
        assert kernel.mounts_below(workspace) == before
    assert_gone(path, workspace)


def test_a_full_disk_takes_nothing_more(volume: Volume) -> None:
    with pytest.raises(OSError, match="No space left"), open(f"{volume('ext4-full')}/more", "wb", buffering=0) as file:
        file.write(bytes(1 << 20))


def test_the_machine_sees_no_mount_of_ours(volume: Volume) -> None:
    path = volume("tmpfs")
    if os.getpid() == 1:
        pytest.skip("the first process of this machine is the test run itself")
    with open("/proc/1/mountinfo") as mounts:
        assert path not in mounts.read()


# Runtimes


@pytest.mark.parametrize(("name", "at_least"), IDMAPPING)
def test_a_fetched_runtime_runs_by_its_path_alone(name: str, at_least: tuple[int, ...], runtime: GetRuntime) -> None:
    done = subprocess.run([runtime(name, at_least).path, "features"], env={}, capture_output=True, check=True)
    assert json.loads(done.stdout)["linux"]["mountExtensions"]["idmap"]["enabled"] is True


@pytest.mark.parametrize(("name", "at_least"), IDMAPPING)
@pytest.mark.parametrize("row", ["ext4", "ext4-readonly", "file", "tmpfs", "fuse-below-ext4"])
def test_a_container_sees_its_volume_as_its_own(
    row: str, name: str, at_least: tuple[int, ...], runtime: GetRuntime, container: Container, volume: Volume
) -> None:
    require(row != "tmpfs" or kernel.RELEASE >= (6, 3), "a kernel from 6.3 on, which idmaps tmpfs")
    found = container(runtime(name, at_least), volume(row), readonly=CATALOG[row].readonly)
    assert found == bundle.Outcome(started=True, error="", owner_seen=0)


@pytest.mark.parametrize(("name", "at_least"), IDMAPPING)
def test_a_container_without_idmapping_does_not_start(
    name: str, at_least: tuple[int, ...], runtime: GetRuntime, container: Container, volume: Volume
) -> None:
    found = container(runtime(name, at_least), volume("fuse"))
    assert not found.started
    assert found.owner_seen is None
    assert re.search("(MOUNT_ATTR_IDMAP|mount_setattr).*doesn't support idmap mounts on this kernel", found.error)


def test_runc_names_a_read_only_file_system_that_is_asked_for_writing(
    runtime: GetRuntime, container: Container, volume: Volume
) -> None:
    found = container(runtime("runc", (1, 2)), volume("ext4-readonly"))
    assert "cannot clear locked flags MS_RDONLY" in found.error


def test_an_old_runc_ignores_the_mapping_without_a_word(
    machine_runtime: GetRuntime, container: Container, volume: Volume
) -> None:
    runc = machine_runtime("runc")
    require(runc.version < (1, 2), f"a runc older than 1.2 (the machine's is {runc})")
    assert container(runc, volume("ext4")) == bundle.Outcome(True, "", bundle.UNMAPPED)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_container_leaves_no_cgroup_and_no_file(
    hangs: bool, runtime: GetRuntime, container: Container, workspace: str, tmp_path: Path
) -> None:
    require(kernel.RELEASE >= (6, 12), "a kernel from 6.12 on, which idmaps FUSE at all")
    before = sorted(os.listdir(workspace))
    with FuseServer(str(tmp_path), idmap=True, default_permissions=True) as server:
        if hangs:
            server.stop()
            with pytest.raises(subprocess.TimeoutExpired):
                container(runtime("runc", (1, 2)), str(tmp_path), timeout=1)
        else:
            assert container(runtime("runc", (1, 2)), str(tmp_path)).started
    assert sorted(os.listdir(workspace)) == before
    # Below UNIFIED may lie a tmpfs of this test run in which crun made plain directories, see fixtures.py.
    cgroups = glob.glob(f"/sys/fs/cgroup/**/{bundle.CGROUPS}*", recursive=True)
    assert not [path for path in cgroups if not path.startswith(f"{UNIFIED}/")]


def test_containerd_serves_with_the_shim_of_its_package(
    containerd: packages.Runtime, runtime: GetRuntime, workspace: str
) -> None:
    before = sorted(os.listdir(workspace))
    with daemon.serving(containerd, runtime("runc", (1, 2)), workspace) as socket:
        ask = [containerd.beside("ctr"), "--address", socket, "version"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert answer.split("Server:")[1].split()[1].startswith(".".join(map(str, containerd.version)))
    shim = [containerd.beside("containerd-shim-runc-v2"), "-v"]
    assert "Version" in subprocess.run(shim, capture_output=True, text=True, check=True, env={}).stdout
    assert sorted(os.listdir(workspace)) == before


def test_a_mirror_that_fails_means_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(suite: str, directory: Path, architecture: str) -> tuple[str, ...]:
        raise debian.Unavailable("the mirror is down")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "_private_apt", fails)
    with pytest.raises(debian.Unavailable, match="the mirror is down"):
        debian.fetch("runc", "sid")
    cache = tmp_path / "userns-probe/packages/sid"
    (cache / "runc-of-last-week").mkdir()
    entry = {"version": "1.2.3-4", "directory": "runc-of-last-week", "archives": "", "asked": "0"}
    (cache / "versions.json").write_text(json.dumps({"runc": entry}))
    assert debian.fetch("runc", "sid") == cache / "runc-of-last-week"
    assert debian.recorded("sid") == {"runc": "1.2.3-4"}
