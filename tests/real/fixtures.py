"""Where real tests happen: a mount namespace of the test process's own, and what can be made in it.

The first test that asks for `workspace` moves the whole test process into the namespace, for the rest of its life, so
that runtimes and servers started by tests see the same mounts and the machine sees none of them, whatever happens. A
test that enters the mount namespace of process 1 therefore leaves these mounts behind: it takes its own process as
"the host" instead.

tests/conftest.py gives these fixtures to all tests; nobody imports them. A second workspace would be made in a second
mount namespace, from which mounts no longer reach the nodes of the first.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import pytest

from lab.prerequisites import require
from lab.real import bundle, kernel, packages
from lab.real.debian import Unavailable
from lab.real.filesystems import CATALOG, filesystem
from lab.real.node import Node, make_node

UNIFIED = "/sys/fs/cgroup/unified"
_made: list[str] = []
"""The workspace of this process, once there is one."""


@pytest.fixture(scope="session")
def workspace() -> Iterator[str]:
    """An empty directory on a tmpfs, passable for everybody, as a container's root must get through it."""
    require(os.geteuid() == 0, "root")
    assert not _made, f"a second workspace would cut off the nodes in {_made}: do not import this fixture"
    kernel.own_mount_namespace()
    _hide_hybrid_cgroups()
    directory = tempfile.mkdtemp(prefix="userns-probe-test-", dir="/tmp")  # TMPDIR could be private to root
    kernel.mount("test", directory, "tmpfs", 0, "mode=0711")
    _made.append(directory)
    yield directory
    bundle.sweep(bundle.CGROUPS)
    bundle.take_back_null()
    kernel.detach(directory)
    os.rmdir(directory)


def _hide_hybrid_cgroups() -> None:
    """crun refuses a machine whose cgroup v1 stands beside a v2 with controllers; without the v2 it takes the v1."""
    try:
        with open(f"{UNIFIED}/cgroup.controllers") as file:
            if file.read().strip():
                kernel.mount("test", UNIFIED, "tmpfs")
    except FileNotFoundError:
        pass


@pytest.fixture(scope="module")  # no longer, or its servers and mounts would be around in tests that count such things
def volume(workspace: str) -> Iterator[Callable[[str], str]]:
    """Row of the catalog of file systems -> path of a volume on it, made once for the module. Do not change it."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def get(name: str) -> str:
            if name not in made:
                missing = CATALOG[name].missing()
                require(not missing, missing)
                made[name] = stack.enter_context(filesystem(name, workspace))
            return made[name]

        yield get


@pytest.fixture(scope="session")
def runtime() -> Callable[..., packages.Runtime]:
    """packages.runtime, or a missing prerequisite."""
    return partial(_or_missing, packages.runtime)


@pytest.fixture(scope="session")
def machine_runtime() -> Callable[[str], packages.Runtime]:
    """packages.machine_runtime, or a missing prerequisite."""
    return partial(_or_missing, packages.machine_runtime)


@pytest.fixture(scope="session")
def containerd() -> packages.Runtime:
    """containerd 2 or newer, or a missing prerequisite."""
    return _or_missing(packages.containerd)


def _or_missing(get: Callable[..., packages.Runtime], *args: object, **kwargs: object) -> packages.Runtime:
    try:
        return get(*args, **kwargs)
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.fixture(scope="session")
def container(workspace: str) -> Callable[..., bundle.Outcome]:
    """(runtime, source, readonly=False) -> what becomes of a container with that volume."""
    require(os.path.exists(bundle.BUSYBOX), f"{bundle.BUSYBOX} (package busybox-static)")
    return partial(bundle.run, workspace=workspace)


@pytest.fixture(scope="session")
def bare_node(workspace: str) -> Callable[..., AbstractContextManager[Node]]:
    """make_node, or a missing prerequisite."""
    require(platform.machine() == "x86_64", "an x86-64 machine: the tests' kubelet is written for it")
    require(kernel.RELEASE >= (6, 3), "a kernel from 6.3 on, which idmaps tmpfs")
    return partial(make_node, workspace)


@pytest.fixture(scope="session")
def node(
    bare_node: Callable[..., AbstractContextManager[Node]],
    containerd: packages.Runtime,
    runtime: Callable[..., packages.Runtime],
) -> Iterator[Node]:
    """A node where all is well, its runtimes included, but for the kubelet, which each test starts itself."""
    handlers = {"runc": runtime("runc", (1, 2)).path, "crun": runtime("crun", (1, 9)).path}
    with bare_node() as made, made.containerd(containerd, handlers) as made.endpoint:
        yield made
