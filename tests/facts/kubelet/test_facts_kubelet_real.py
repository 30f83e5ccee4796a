"""Real processes called kubelet: the node's own is found and asked, an imitation is neither read nor run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.real.kernel import CLONE_NEWUSER, unshare
from lab.real.programs import KUBELET_HEADER, write_kubelet
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.model import DropIn, KubeletFacts
from probe.host.host import LocalHost, Process
from probe.reading import Reading

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86-64: the program below is written for it"),
]


class Here(LocalHost):
    """This machine, seen as if it had these processes only, so that tests beside this one do not matter."""

    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.touched: list[str] = []

    def processes(self) -> Reading[tuple[Process, ...]]:
        return super().processes().parse(lambda found: tuple(each for each in found if each.pid in self.pids))

    def read(self, path: str, limit: int = 1 << 20) -> Reading[bytes]:
        self.touched.append(path)
        return super().read(path, limit)

    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Any]:
        self.touched.append(f"run {pid}")
        return super().run_daemon(pid, *arguments, timeout=timeout)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of root's that everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="userns-probe-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def running(*argv: str | Path, before: Callable[[], None] | None = None, **options: Any) -> Iterator[int]:
    """A process for as long as the block lasts."""
    command = [str(argument) for argument in argv]
    process = subprocess.Popen(command, preexec_fn=before, **options)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def found(pid: int) -> KubeletFacts:
    with closing(Here(pid)) as host:
        reading = gather_kubelet(host)
    assert reading.value is not None, reading
    return reading.value


def make_node(directory: Path) -> tuple[str | Path, ...]:
    """Program, files and command line of a kubelet."""
    write_kubelet(directory / "kubelet", "1.34.1")
    (directory / "kubelet.yaml").write_text(
        KUBELET_HEADER + "maxPods: 5\nfeatureGates: {UserNamespacesSupport: false}\n"
    )
    drop_ins = directory / "kubelet.conf.d" / "more"
    drop_ins.mkdir(parents=True)
    (drop_ins / "10.conf").write_text(KUBELET_HEADER + "maxPods: 6\nfeatureGates: {UserNamespacesSupport: null}\n")
    # The kubelet walks through no symlink to a directory, so this one counts for nothing.
    (directory / "elsewhere").mkdir()
    (directory / "elsewhere" / "99.conf").write_text(KUBELET_HEADER + "maxPods: 99\n")
    (drop_ins.parent / "linked").symlink_to(directory / "elsewhere")
    old = time.time() - 3600
    for path in (directory / "kubelet.yaml", drop_ins / "10.conf", drop_ins.parent, drop_ins):
        os.utime(path, (old, old))
    return (
        directory / "kubelet",
        f"--config={directory}/kubelet.yaml",
        "--config-dir",
        f"{drop_ins.parent}",
        "--root-dir=state",
        "--container-runtime-endpoint=unix:///run/x.sock",
    )


def test_a_real_kubelet_is_found_with_all_that_it_was_told(directory: Path) -> None:
    """Process, executable, flags, files and working directory are real."""
    with running(*make_node(directory), cwd=directory) as pid:
        facts = found(pid)
    assert (facts.pid, facts.distribution, facts.others) == (pid, "kubelet", 0)
    assert (facts.version.value, facts.max_pods.value) == ("1.34.1", 6)
    assert (facts.root_dir.value, facts.endpoint.value) == (f"{directory}/state", "/run/x.sock")
    assert (facts.gate.value, facts.gate_configured.kind) == (True, "absent")
    assert facts.executable.value == DropIn(path=f"{directory}/kubelet", newer=False)
    assert [file.newer for file in facts.files.value or ()] == [False, False]


def test_a_file_written_now_is_newer_than_a_kubelet_that_ran_before(directory: Path) -> None:
    """Its gate is the one it read, and nobody knows that one any more."""
    with running(*make_node(directory), cwd=directory) as pid:
        later = time.time() + 60
        os.utime(directory / "kubelet.yaml", (later, later))
        facts = found(pid)
    assert [file.newer for file in facts.files.value or ()] == [True, False]
    assert facts.gate.kind == "not-readable"


def test_after_an_upgrade_the_running_program_tells_its_version(directory: Path) -> None:
    """Not the one that lies at its path by now."""
    with running(*make_node(directory), cwd=directory) as pid:
        write_kubelet(directory / "new", "1.36.2")
        (directory / "new").rename(directory / "kubelet")
        facts = found(pid)
    assert facts.version.value == "1.34.1"
    assert facts.executable.value == DropIn(path=f"{directory}/kubelet", newer=True)


def test_a_program_that_others_may_write_is_not_run(directory: Path) -> None:
    """Whoever may change it could have it run as root."""
    with running(*make_node(directory), cwd=directory) as pid:
        (directory / "kubelet").chmod(0o777)
        facts = found(pid)
    assert facts.version.value is None
    assert "writable by others" in facts.version.problem


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o2777), (1000, 0o755)])
def test_the_running_program_is_asked_wherever_it_lies(directory: Path, owner: int, mode: int) -> None:
    """The file that runs as root is root's, though others may put another one in its place."""
    with running(*make_node(directory), cwd=directory) as pid:
        os.chown(directory, owner, 0)
        directory.chmod(mode)
        facts = found(pid)
    assert facts.version.value == "1.34.1"


def test_a_kubelet_in_a_root_of_its_own_is_read_there(directory: Path) -> None:
    """An absolute symlink leads to where the kubelet finds it (Talos runs its kubelet like that)."""
    write_kubelet(directory / "kubelet", "1.36.2")
    (directory / "real.yaml").write_text(KUBELET_HEADER + "maxPods: 77\n")
    (directory / "etc").mkdir()
    (directory / "etc" / "kubelet.yaml").symlink_to("/real.yaml")
    (directory / "etc" / "up.yaml").symlink_to("../../../../../../etc/passwd")
    with running("/kubelet", "--config=/etc/kubelet.yaml", "--v=1", before=lambda: os.chroot(directory)) as pid:
        assert found(pid).max_pods.value == 77
    with running("/kubelet", "--config=/etc/up.yaml", "--v=1", before=lambda: os.chroot(directory)) as pid:
        assert found(pid).max_pods.problem == "No such file or directory"


@contextmanager
def pod_cgroup() -> Iterator[Callable[[], None]]:
    """A cgroup with the name of a Pod's, and what moves a process there."""
    places = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
    parent = next(Path(place) for place in places if Path(place, "cgroup.procs").exists())
    cgroup = parent / f"kubepods-userns-probe-test-{os.getpid()}"
    cgroup.mkdir()

    def enter() -> None:
        (cgroup / "cgroup.procs").write_text("0")

    try:
        yield enter
    finally:
        for _ in range(100):
            try:
                cgroup.rmdir()
                break
            except OSError:
                time.sleep(0.02)


@pytest.mark.parametrize("disguise", ["cgroup", "user", "user namespace"])
def test_an_imitation_is_neither_read_nor_run(directory: Path, disguise: str) -> None:
    """The same program with the same files, but a Pod's, another user's, or rootless: it is no kubelet of this node."""
    with pod_cgroup() as enter_cgroup:
        disguises: dict[str, dict[str, Any]] = {
            "cgroup": {"before": enter_cgroup},
            "user": {"user": 65_534},
            "user namespace": {"before": lambda: unshare(CLONE_NEWUSER)},
        }
        with running(*make_node(directory), **disguises[disguise]) as pid:
            with closing(Here(pid)) as host:
                answer = gather_kubelet(host)
                assert answer.kind == ("not-readable" if disguise == "user namespace" else "absent")
            # Children of other probes that run beside this one are looked at to see whether they are stuck.
            mine = {path for path in host.touched if path.startswith((f"/proc/{pid}/", "run "))}
            assert mine <= {f"/proc/{pid}/{name}" for name in ("status", "cgroup", "ns/user")}
            # Even asked directly, nobody runs it.
            with closing(LocalHost()) as local:
                assert "not run" in local.run_daemon(pid, "--version").problem


def test_an_imitation_in_a_pid_namespace_of_its_own_is_not_run(directory: Path) -> None:
    """In no Pod's cgroup it is a kubelet of a node in a container, as kind makes them."""
    with running("unshare", "--pid", "--fork", "--kill-child", *make_node(directory)) as parent:
        children: list[str] = []
        while not children:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        while Path(f"/proc/{children[0]}/comm").read_text() != "kubelet\n":
            time.sleep(0.01)
        with closing(Here(int(children[0]))) as host:
            assert "run the probe in there" in gather_kubelet(host).problem
        assert f"run {children[0]}" not in host.touched
