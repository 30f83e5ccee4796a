"""Real processes in real cgroups named like a Pod's, real namespaces, and records as a kubelet writes them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.real.kernel import CLONE_NEWUSER, unshare
from probe.facts.ids.pods import gather_pods
from probe.facts.model import PodFacts
from probe.host.host import LocalHost, Process
from tests.facts.ids.test_facts_ids_pods import counts, timeless

pytestmark = pytest.mark.real

POD = "1bfd8a8e-406a-4bc4-97d8-c73408d6612e"
OTHER = "af3db42d-b184-4fc5-b5e0-b00fb5a547f6"
FIRST = 3_421_437_952
LAST_BLOCK = 4_294_901_760

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "sleep", "infinity")


@pytest.fixture
def cgroup() -> Iterator[Callable[[str], Path]]:
    """Name of a cgroup -> its directory, in the first hierarchy that there is; all go when the test ends."""
    require(os.geteuid() == 0, "root")
    places = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
    above = next((Path(place) for place in places if Path(place, "cgroup.procs").exists()), None)
    require(above is not None, "a cgroup hierarchy")
    assert above is not None
    top = above / f"userns-probe-test-{os.getpid()}"

    def make(name: str) -> Path:
        (top / name).mkdir(parents=True, exist_ok=True)
        return top / name

    yield make
    for directory, _, _ in os.walk(top, topdown=False):
        for _ in range(500):  # a process that was killed stays a moment
            with suppress(OSError):
                os.rmdir(directory)
                break
            time.sleep(0.02)
    assert not top.exists()


@pytest.fixture
def root_dir(tmp_path: Path) -> Path:
    """A kubelet's root directory with a record of one Pod."""
    record(tmp_path, POD, FIRST)
    return tmp_path


def record(root_dir: Path, uid: str, first: int) -> None:
    """Write what a kubelet writes when it gives a Pod the block from *first* on."""
    mappings = [{"hostId": first, "containerId": 0, "length": 65_536}]
    (root_dir / "pods" / uid).mkdir(parents=True)
    (root_dir / "pods" / uid / "userns").write_text(json.dumps({"uidMappings": mappings, "gidMappings": mappings}))


def enter(directory: Path, first: int | None) -> None:
    """Move this process into a cgroup and, with *first*, into a user namespace that has the block from there on."""
    (directory / "cgroup.procs").write_text("0")
    if first is None:
        return
    pid, made = os.getpid(), os.pipe()
    mapper = os.fork()
    if mapper == 0:  # only who stays in the node's user namespace may write such a map
        os.close(made[1])
        os.read(made[0], 1)
        try:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text(f"0 {first} 65536")
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    unshare(CLONE_NEWUSER)
    os.close(made[1])
    status = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


@contextmanager
def running(directory: Path, first: int | None = None, command: tuple[str, ...] = CONTAINER) -> Iterator[int]:
    """A process in that cgroup for as long as the block lasts: the child of *command* where it has one, by its name."""
    with subprocess.Popen(command, preexec_fn=lambda: enter(directory, first)) as parent:
        try:
            yield _sleeper(parent.pid)
        finally:
            for pid in (*_children(parent.pid), parent.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)


def _sleeper(pid: int) -> int:
    """*pid* or its child, as soon as it sleeps; the test's own timeout is the only limit."""
    while True:
        for each in (pid, *_children(pid)):
            with suppress(OSError):
                if Path(f"/proc/{each}/comm").read_text() == "sleep\n":
                    return each
        time.sleep(0.005)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def found(root_dir: Path, *pids: int) -> PodFacts:
    """How many Pods are found of these processes, and of the machine's own first one."""
    processes = [Process(pid, "", ()) for pid in sorted((1, *pids))]
    with closing(LocalHost()) as host:
        return timeless(gather_pods(host, str(root_dir), processes).value)


CGROUPFS = f"kubepods/besteffort/pod{POD}/1f48f05c"
SYSTEMD = (
    "kubepods.slice/kubepods-besteffort.slice/"
    f"kubepods-besteffort-pod{POD.replace('-', '_')}.slice/cri-containerd-1f48f05c.scope"
)


@pytest.mark.parametrize("name", [CGROUPFS, SYSTEMD], ids=["cgroupfs", "systemd"])
def test_a_pod_in_its_own_user_namespace(cgroup: Callable[[str], Path], root_dir: Path, name: str) -> None:
    with running(cgroup(name), FIRST) as pid:
        assert found(root_dir, pid) == counts(own_namespace=1)


@pytest.mark.parametrize("name", [CGROUPFS, SYSTEMD], ids=["cgroupfs", "systemd"])
def test_a_pod_whose_request_was_ignored(cgroup: Callable[[str], Path], root_dir: Path, name: str) -> None:
    with running(cgroup(name)) as pid:
        assert found(root_dir, pid) == counts(host_namespace=1)


def test_all_of_this_machine(cgroup: Callable[[str], Path], root_dir: Path, local_host: LocalHost) -> None:
    """Found among every process, as the probe looks at them."""
    record(root_dir, OTHER, FIRST + 65_536)
    with running(cgroup(CGROUPFS), FIRST), running(cgroup(f"kubepods/pod{OTHER}/2")):
        pods = timeless(gather_pods(local_host, str(root_dir), local_host.processes().value or ()).value)
    assert pods == counts(recorded=2, own_namespace=1, host_namespace=1)


def test_a_user_namespace_that_nobody_recorded(cgroup: Callable[[str], Path], root_dir: Path) -> None:
    with running(cgroup(CGROUPFS), FIRST + 65_536) as pid:
        assert found(root_dir, pid) == counts()


def test_a_monitor_in_the_cgroup_of_the_pod(cgroup: Callable[[str], Path], root_dir: Path) -> None:
    """It lives in the PID namespace of the node, as conmon does."""
    monitor = running(cgroup(f"kubepods/pod{POD}/crio-conmon-1f48f05c"), command=("sleep", "infinity"))
    with monitor as pid, running(cgroup(CGROUPFS), FIRST) as container:
        assert found(root_dir, pid, container) == counts(own_namespace=1)


def test_another_pod_that_entered_the_container(cgroup: Callable[[str], Path], root_dir: Path) -> None:
    """A privileged one with hostPID may: it has the node's IDs, but nobody has ignored what it asked for."""
    with ExitStack() as stack:
        container = stack.enter_context(running(cgroup(CGROUPFS), FIRST))
        nsenter = ("nsenter", f"--target={container}", "--pid", "sleep", "infinity")
        intruder = stack.enter_context(running(cgroup(f"kubepods/pod{OTHER}/3"), command=nsenter))
        assert os.readlink(f"/proc/{intruder}/ns/pid") == os.readlink(f"/proc/{container}/ns/pid")
        assert found(root_dir, container, intruder).host_namespace == 0


def test_a_process_executed_in_the_container(cgroup: Callable[[str], Path], root_dir: Path) -> None:
    """As by `kubectl exec`: all namespaces, and the cgroup."""
    with ExitStack() as stack:
        container = stack.enter_context(running(cgroup(CGROUPFS), FIRST))
        nsenter = ("nsenter", f"--target={container}", "--user", "--pid", "sleep", "infinity")
        executed = stack.enter_context(running(cgroup(CGROUPFS), command=nsenter))
        assert found(root_dir, container, executed) == counts(own_namespace=1)
        assert found(root_dir, executed) == counts(own_namespace=1)


def test_the_kernel_refuses_the_last_block_and_takes_the_one_before(
    cgroup: Callable[[str], Path], root_dir: Path
) -> None:
    """What is counted as the last block is exactly what no Pod can have."""
    record(root_dir, OTHER, LAST_BLOCK)
    assert found(root_dir) == counts(recorded=2, last_block=1)
    with running(cgroup(f"kubepods/pod{OTHER}/4"), LAST_BLOCK - 65_536):
        pass
    child = os.fork()
    if child == 0:
        try:
            enter(cgroup(f"kubepods/pod{OTHER}/4"), LAST_BLOCK)
        except OSError as error:
            os._exit(error.errno or 0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EINVAL
