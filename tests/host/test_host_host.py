"""The node's files and processes, where nothing can be relied upon."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.prerequisites import require
from lab.real import kernel
from probe.host import files, operations, processes, syscalls
from probe.host import host as root
from probe.host.child import run_child
from probe.host.host import LocalHost
from probe.host.namespaces import open_own_proc, read_hostname
from probe.host.processes import in_pod_cgroup, parse_status
from probe.host.syscalls import CLONE_NEWPID, CLONE_NEWUTS

HOST = LocalHost()


@pytest.fixture(autouse=True)
def fresh_host() -> Iterator[None]:
    """A Host that has seen nothing yet: it remembers the process table, and where it had to wait."""
    global HOST
    HOST = LocalHost()
    yield
    HOST.close()


LIMIT = 1000
POD = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1016ccda_7106_423b_8e89_c559de9a4139.slice/x\n"


# --- files


@pytest.mark.parametrize("content", [b"", b"x", b"x" * LIMIT, b"\xff\x00"])
def test_a_file_is_read_whole(tmp_path: Path, content: bytes) -> None:
    """Up to the limit, byte for byte."""
    (tmp_path / "file").write_bytes(content)
    reading = HOST.read(str(tmp_path / "file"), LIMIT)
    assert (reading.source, reading.value) == (str(tmp_path / "file"), content)


@pytest.mark.parametrize("size", [LIMIT + 1, 2 << 30])
def test_a_file_that_is_too_large(tmp_path: Path, size: int) -> None:
    """Two gibibytes cost no more than one byte too many: a problem, and no half truth."""
    os.truncate(os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY), size)
    reading = HOST.read(str(tmp_path / "file"), LIMIT)
    assert (reading.kind, reading.problem) == ("not-readable", f"is larger than {LIMIT} bytes")


def test_a_file_without_end() -> None:
    """/dev/zero is not a regular file, and a file that grows is cut off by the same limit."""
    assert HOST.read("/dev/zero", LIMIT).problem == "is not a regular file"
    assert HOST.read("/proc/kallsyms", LIMIT).kind in ("not-readable", "absent")


def _fifo(path: str) -> None:
    os.mkfifo(path)


def _socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


@pytest.mark.parametrize("make", [_fifo, _socket, os.mkdir])
def test_what_is_no_file_is_not_opened(
    make: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A FIFO without a writer would block for ever."""
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make("odd")
    for name in (str(tmp_path / "odd"), str(tmp_path / "link")):
        if not os.path.lexists(tmp_path / "link"):
            os.symlink("odd", tmp_path / "link")
        assert HOST.read(name).problem == "is not a regular file"


def test_a_device_node_is_not_opened(tmp_path: Path) -> None:
    """Opening one may rewind a tape, or arm a watchdog."""
    require(os.geteuid() == 0, "root")
    path = str(tmp_path / "watchdog")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 130))
    assert HOST.read(path).problem == "is not a regular file"


def test_symlinks(tmp_path: Path) -> None:
    """They are followed; a loop and a dead end are problems."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "good").symlink_to("file")
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    kinds = [HOST.read_text(str(tmp_path / name)) for name in ("good", "dead", "loop")]
    assert [(reading.value, reading.kind) for reading in kinds] == [
        ("x", None),
        (None, "absent"),
        (None, "not-readable"),
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    """Missing files are absent, also those below a file, and names that cannot be."""
    (tmp_path / "file").write_text("x")
    assert HOST.read(str(tmp_path / "none")).kind == "absent"
    assert HOST.read(str(tmp_path / "file/below")).kind == "absent"
    assert HOST.read(str(tmp_path / ("x" * 300))).kind == "not-readable"
    assert HOST.read("/etc/\0").kind == "not-readable"
    assert HOST.read("").kind == "absent"


def test_text_has_to_be_text(tmp_path: Path) -> None:
    """Other bytes are a problem, not a guess."""
    (tmp_path / "file").write_bytes(b"caf\xe9")
    assert HOST.read_text(str(tmp_path / "file")).kind == "not-readable"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A path is bytes to the kernel."""
    directory = os.fsencode(tmp_path) + b"/\xff\n"
    os.mkdir(directory)
    with open(directory + b"/\xfe", "wb") as file:
        file.write(b"x")
    path = os.fsdecode(directory)
    assert HOST.list_directory(path).value == ("\udcfe",)
    assert HOST.read(f"{path}/\udcfe").value == b"x"
    assert HOST.resolve(path).value == path
    assert HOST.status(path).value


@pytest.mark.parametrize("path", ["/proc/sys/kernel/osrelease", "/proc/self/status", "/proc/self/mountinfo"])
def test_files_of_the_kernel(path: str) -> None:
    """They are read with a high limit too: the kernel has no memory for a buffer of many mebibytes."""
    reading = HOST.read(path, 64 << 20)
    with open(path, "rb") as file:
        assert reading.value is not None, reading
        assert reading.value.split()[0] == file.read().split()[0]


@pytest.mark.parametrize(
    "path",
    ["/proc/1/root/x", "/proc/self/root/x", "/proc/self/cwd/x", "/proc/7/fd/3", "/proc/../mnt/x", "/etc/x", "/procx/y"],
)
def test_paths_that_leave_the_kernels_own_files(path: str) -> None:
    """They may lead anywhere, so a child has to go."""
    assert not root._is_kernel_file(path)


def test_a_file_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the kernel's own files is touched by a child that may be given up."""
    monkeypatch.setattr(root, "_TIMEOUT", 0.1)
    monkeypatch.setattr(root.files, "open_path", lambda path: signal.pause())
    monkeypatch.setattr(root.os, "readlink", lambda path: signal.pause())
    path = str(tmp_path)
    readings = [HOST.read(path), HOST.list_directory(path), HOST.status(path), HOST.read_link(f"{path}/link")]
    assert [(reading.kind, reading.problem) for reading in readings] == [("timed-out", "no answer in time")] * 4


def test_nothing_below_is_followed(tmp_path: Path) -> None:
    """Where others choose the names, no symlink leads out, neither at the end nor on the way."""
    (tmp_path / "pods/a").mkdir(parents=True)
    (tmp_path / "pods/a/file").write_text("x")
    (tmp_path / "pods/link").symlink_to("a")
    (tmp_path / "pods/a/shadow").symlink_to("/etc/shadow")
    base = str(tmp_path)
    assert HOST.read_beneath(base, "pods/a/file").value == b"x"
    for path in ("pods/a/shadow", "pods/link/file"):
        assert HOST.read_beneath(base, path).value is None
    assert HOST.read_beneath(base, "pods/none").kind == "absent"
    together = HOST.read_all_beneath(base, ["pods/a/file", "pods/a/shadow", "pods/none"])
    assert [reading.value for reading in together.values()] == [b"x", None, None]
    assert together["pods/none"].kind == "absent"


def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are sorted; a directory with too many is a problem; what is none has no names."""
    for name in "cab":
        (tmp_path / name).write_text("")
    assert HOST.list_directory(str(tmp_path)).value == ("a", "b", "c")
    assert HOST.list_directory(str(tmp_path / "a")).kind == "absent"
    assert HOST.list_directory(str(tmp_path / "none")).kind == "absent"
    monkeypatch.setattr(root, "LISTING_LIMIT", 2)
    assert "more than 2" in HOST.list_directory(str(tmp_path)).problem


def test_status_and_links(tmp_path: Path) -> None:
    """Symlinks are followed by one, and named by the other."""
    (tmp_path / "file").write_text("four")
    (tmp_path / "link").symlink_to("file")
    status = HOST.status(str(tmp_path / "link")).value
    assert status is not None
    assert (status.size, stat.S_ISREG(status.mode), status.uid) == (4, True, os.getuid())
    assert HOST.read_link(str(tmp_path / "link")).value == "file"
    assert HOST.read_link(str(tmp_path / "file")).kind == "not-readable"
    assert HOST.resolve(str(tmp_path / "link")).value == str(tmp_path / "file")
    assert HOST.resolve(str(tmp_path / "none")).kind == "absent"


# --- processes


@contextmanager
def process(change: Callable[[], None]) -> Iterator[int]:
    """A process after *change*, until the end of the block."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent()
            change()
            kernel.die_with_parent()  # new credentials clear it
            os.write(write_end, b"%d" % os.getpid())
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        assert os.read(read_end, 10), "the process could not be made"
        yield pid
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_status_lines_end_with_a_newline_only() -> None:
    """A process may put a carriage return into its name, and so a line that looks like another field."""
    fields = parse_status("Name:\ta\rUid:0\x0bNSpid:1\u2028x\nUid:\t1000\t1000\t1000\t1000\nNSpid:\t7\t1\n")
    assert (fields["Uid"], fields["NSpid"]) == ("1000\t1000\t1000\t1000", "7\t1")


@pytest.mark.real
def test_a_name_that_pretends_to_be_root() -> None:
    """Fifteen bytes are enough for a field that lies; they are not believed."""
    require(os.geteuid() == 0, "root")

    def pretend() -> None:
        with open("/proc/self/comm", "w", newline="") as file:
            file.write("\rUid:0\rNSpid:1")
        os.setresuid(1000, 1000, 1000)

    with process(pretend) as pid:
        fields = HOST.process_status(pid).value
        assert fields is not None
        assert fields["Uid"].split()[0] == "1000"
        assert HOST.node_daemon(pid).value is False


@given(st.text(max_size=200))
def test_any_status_is_fields_or_a_value_error(content: str) -> None:
    """Nothing else comes of it."""
    try:
        assert "Uid" in parse_status(content)
    except ValueError:
        assert "Uid" not in {line.partition(":")[0] for line in content.split("\n") if ":" in line}


@pytest.mark.parametrize(
    "cgroup",
    [
        POD,
        "0::/kubepods/besteffort/pod1016ccda-7106-423b-8e89-c559de9a4139/0a1b\n",
        "12:memory:/kubepods/burstable/podx/y\n0::/\n",
        "0::/system.slice/cri-containerd-0a1b.scope\n",
        "0::/system.slice/docker-0a1b.scope\n",
        "0::/docker/0a1b\n",
        "0::/machine.slice/libpod-0a1b.scope\n",
        "0::/kubelet.slice/kubelet-kubepods.slice/x\n",
    ],
)
def test_cgroups_of_pods(cgroup: str) -> None:
    """With either driver, of either version, and of other engines."""
    assert in_pod_cgroup(cgroup)


@pytest.mark.parametrize(
    "cgroup",
    [
        "",
        "0::/\n",
        "0::/system.slice/kubelet.service\n",
        "0::/podruntime/kubelet\n",
        "0::/system.slice/docker.service\n",
    ],
)
def test_cgroups_of_daemons(cgroup: str) -> None:
    """Daemons of the node, also that of Talos and an engine's own."""
    assert not in_pod_cgroup(cgroup)


def test_a_node_that_is_a_container() -> None:
    """What lies above process 1 counts for nobody, and a Pod below it still is one."""
    init = "0::/docker/0a1b/init.scope\n"
    assert not in_pod_cgroup("0::/docker/0a1b/kubelet.slice/kubelet.service\n", init)
    assert in_pod_cgroup("0::/docker/0a1b" + POD.removeprefix("0::"), init)
    assert in_pod_cgroup("0::/docker/other\n", init)


@given(st.text(max_size=100), st.text(max_size=100))
def test_any_cgroup_is_judged(content: str, init: str) -> None:
    """No content is an error."""
    assert in_pod_cgroup(content, init) in (True, False)


@pytest.mark.real
def test_whose_process_it_is() -> None:
    """The node's own has UID 0, the node's PID and user namespaces; each of them missing is enough."""
    require(os.geteuid() == 0, "root")
    with process(lambda: None) as pid:
        assert HOST.node_daemon(pid).value is True
    for change in (
        lambda: os.setresuid(65534, 65534, 65534),
        lambda: os.setresuid(0, 65534, 0),
        lambda: kernel.unshare(kernel.CLONE_NEWUSER),
    ):
        with process(change) as pid:
            assert HOST.node_daemon(pid).value is False


@pytest.mark.real
def test_a_process_in_a_pid_namespace_of_its_own() -> None:
    """It has more than one number, of which the node sees the first."""
    require(os.geteuid() == 0, "root")

    def become_first() -> None:
        kernel.unshare(CLONE_NEWPID)
        if child := os.fork():
            os.waitpid(child, 0)
            os._exit(1)

    with process(become_first) as pid:
        (child,) = (p.pid for p in HOST.processes().value or () if _parent(p.pid) == pid)
        assert HOST.node_daemon(child).value is False
        assert HOST.node_daemon(pid).value is True


def _parent(pid: int) -> int:
    fields = HOST.process_status(pid).value or {}
    return int(fields.get("PPid", 0))


def test_a_process_that_has_ended() -> None:
    """It is absent, whatever is asked of it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for reading in (
        HOST.process_status(gone.pid),
        HOST.node_daemon(gone.pid),
        HOST.started_at(gone.pid),
        HOST.run_daemon(gone.pid, "--version"),
    ):
        assert reading.kind == "absent"


@pytest.fixture
def open_directory() -> Iterator[str]:
    """A directory that other users can pass."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield directory


@pytest.mark.real
def test_the_process_table(open_directory: str) -> None:
    """Names of all, arguments of root's own that may be kubelets; those of other users are not even read."""
    require(os.geteuid() == 0, "root")
    os.chmod(open_directory, 0o755)
    program = f"{open_directory}/hyperkube"
    shutil.copy(os.path.realpath("/bin/sh"), program)
    arguments = ["/bin/sh", "-c", "read never", "a b", "", "\udcff"]
    by_executable = subprocess.Popen(arguments, executable=program, stdin=subprocess.PIPE)
    renamed = ["/bin/sh", "-c", "echo -n other > /proc/$$/comm && echo && read never"]
    under_another_name = subprocess.Popen(renamed, executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    plain = subprocess.Popen(arguments, stdin=subprocess.PIPE)
    other = subprocess.Popen(arguments, executable=program, stdin=subprocess.PIPE, user=65534)
    try:
        under_another_name.stdout.readline()  # type: ignore[union-attr]
        found = {p.pid: p for p in HOST.processes().value or ()}
        assert list(found) == sorted(found)
        assert (found[by_executable.pid].name, found[by_executable.pid].argv) == ("hyperkube", tuple(arguments))
        assert (found[under_another_name.pid].name, found[under_another_name.pid].argv) == ("other", tuple(renamed))
        assert (found[plain.pid].name, found[other.pid].name) == ("sh", "hyperkube")
        assert found[plain.pid].argv == found[other.pid].argv == ()
        assert found[2].name == "kthreadd" or len(found) < 10
    finally:
        for each in (by_executable, under_another_name, plain, other):
            each.kill()
            each.communicate()


def test_a_crowd_of_processes_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pod without a limit of processes may not hide the kubelet among them."""
    monkeypatch.setattr(root, "_TIMEOUT", 0.0)
    read = operations.read_process
    monkeypatch.setattr(
        operations, "read_process", lambda pid, init: time.sleep(0.5 / len(os.listdir("/proc"))) or read(pid, init)
    )
    assert HOST.processes().value


def test_a_process_table_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process can make the reading of its arguments hang."""
    monkeypatch.setattr(root, "_TIMEOUT_FOR_ALL", 0.1)
    monkeypatch.setattr(operations, "read_process", lambda pid, init: signal.pause())
    assert HOST.processes().kind == "timed-out"


def test_when_a_process_started() -> None:
    """In seconds since the epoch, as /proc counts them."""
    started = HOST.started_at(os.getpid()).value
    assert started is not None
    assert os.stat("/proc/self").st_mtime >= started > os.stat("/proc/self").st_mtime - 86_400


# --- programs


@pytest.mark.real
def test_what_a_program_of_the_node_says() -> None:
    """The command line is the source, and every way to fail is a problem."""
    require(os.geteuid() == 0, "root")
    good = HOST.run("/bin/sh", "-c", "echo $X", environment={"X": "y"})
    assert good.value is not None
    assert (good.source, good.value.stdout) == ("/bin/sh -c echo $X", "y\n")
    assert HOST.run("/bin/none").kind == "absent"
    assert HOST.run("/etc").kind == "not-readable"
    assert HOST.run("/bin/sh", "-c", "exec sleep 100", environment={"PATH": "/bin"}, timeout=0.1).kind == "timed-out"
    assert "signal 9" in HOST.run("/bin/sh", "-c", "kill -9 $$").problem
    assert "more than" in HOST.run("/bin/sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").problem


@pytest.mark.real
def test_a_program_runs_while_work_is_done(tmp_path: Path) -> None:
    """The program ends by that work, which is done for the first one alone."""
    require(os.geteuid() == 0, "root")
    fifo, done = f"{tmp_path}/fifo", []
    os.mkfifo(fifo)

    def work() -> None:
        done.append("work")
        Path(fifo).write_text("done meanwhile")

    host = LocalHost()
    host.meanwhile = work
    try:
        outputs = [host.run("/bin/cat", file).value for file in (fifo, "/dev/null")]
    finally:
        host.close()
    assert [output and output.stdout for output in outputs] == ["done meanwhile", ""]
    assert done == ["work"]


@pytest.mark.real
def test_a_tenants_program_is_not_run(tmp_path: Path) -> None:
    """It is named as what it is."""
    require(os.geteuid() == 0, "root")
    proof = tmp_path / "proof"
    script = tmp_path / "runc"
    script.write_text(f"#!/bin/sh\ntouch {proof}\n")
    script.chmod(0o755)
    os.chown(script, 1000, 1000)
    reading = HOST.run(str(script))
    assert reading.kind == "not-readable"
    assert "not run" in reading.problem
    assert not proof.exists()


@pytest.mark.real
def test_the_executable_of_a_running_daemon(tmp_path: Path) -> None:
    """It is the one that runs, though another file has its place now; an imitator's is never run."""
    require(os.geteuid() == 0, "root")
    with process(lambda: None) as pid:
        answer = HOST.run_daemon(pid, "--version")
        assert answer.value is not None, answer
        assert answer.value.stdout == f"Python {sys.version.split()[0]}\n"
    for change in (lambda: os.setresuid(1000, 1000, 1000), lambda: kernel.unshare(kernel.CLONE_NEWUSER)):
        with process(change) as pid:
            assert "not run" in HOST.run_daemon(pid, "--version").problem


# --- when something has run out


def test_when_the_time_is_over_what_answers_at_once_is_still_read(tmp_path: Path) -> None:
    """Attempts need to know where they lead."""
    assert HOST.resolve(str(tmp_path)).value  # the child that is asked is there
    HOST.deadline = time.monotonic() - 1
    assert HOST.resolve(str(tmp_path)).value == str(tmp_path)


def test_a_slow_node_is_waited_for_longer() -> None:
    """As far as its time goes."""
    HOST.slowness = 3.0
    assert HOST._timeout(2.0) == 6.0
    HOST.deadline = time.monotonic() + 5
    assert 4 < HOST._timeout(2.0) <= 5


def test_when_the_time_is_over_nobody_else_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as little as a program; each could take seconds otherwise."""
    HOST.deadline = time.monotonic() - 1
    assert HOST._timeout(3.0) == root._AT_ONCE
    monkeypatch.setattr(root.files, "open_path", lambda path: signal.pause())
    assert HOST.list_directory(str(tmp_path)).kind == "timed-out"
    assert HOST.run("/bin/sleep", "1000", timeout=1000.0).kind == "timed-out"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_processes_that_cannot_be_looked_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that has ended nothing remains; but where no file can be opened any more nobody knows who runs."""

    def refuse(name: str) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(processes, "read_proc", refuse)
    assert HOST.processes().kind == "not-readable"
    assert HOST.processes().problem == os.strerror(number)


def test_where_nothing_can_be_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files say so, and nothing stays open."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", refuse)
    reading = HOST.list_directory(str(tmp_path))
    assert (reading.kind, reading.problem) == ("not-readable", "Resource temporarily unavailable")
    assert HOST.run("/bin/true").problem == "Resource temporarily unavailable"
    assert sorted(os.listdir("/proc/self/fd")) == before


# --- when the clock is set


def test_setting_the_clock_restarts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As others tell it, and the same again although the clock was set by a year: it was not restarted."""
    mine = HOST.started_at(os.getpid())
    assert mine.value == pytest.approx(psutil.Process().create_time(), abs=1)
    monkeypatch.setattr(root, "boot_time", lambda: 0.0)
    assert HOST.started_at(os.getpid()) == mine


def test_a_process_that_has_ended_did_not_start() -> None:
    """Its number may be another's before long."""
    with subprocess.Popen(["true"]) as process:
        pass
    assert HOST.started_at(process.pid).kind == "absent"


@pytest.mark.real
def test_the_host_name_in_another_uts_namespace() -> None:
    """A child that enters it reads its name, and the caller keeps its own."""
    require(os.geteuid() == 0, "root")

    def rename() -> None:
        kernel.unshare(CLONE_NEWUTS)
        socket.sethostname("container")

    own = os.uname().nodename
    with process(rename) as pid:
        assert run_child(lambda: read_hostname(f"/proc/{pid}/ns/uts"), timeout=10) == b"container"
    assert os.uname().nodename == own


@pytest.mark.real
def test_a_proc_of_processes_alone_hides_nothing_that_the_kernel_says_elsewhere() -> None:
    """proc(5), `subset=pid`: the files of the kernel, and the start of a process, are still read."""
    require(os.geteuid() == 0, "root")
    require(kernel.RELEASE >= (5, 8), "a kernel from 5.8 on, with that option")

    def look() -> bytes:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount("proc", "/proc", "proc", 0, "subset=pid")
        host = LocalHost()
        before = host.read_text("/proc/filesystems").kind
        host.own_proc = open_own_proc()
        after = host.read_text("/proc/filesystems").value or ""
        gone = host.read_text("/proc/4194305/status").kind
        return json.dumps([before, "\ttmpfs\n" in after, gone, host.started_at(os.getpid()).value]).encode()

    before, after, gone, started = json.loads(run_child(look, 10))
    assert (before, after, gone) == ("absent", True, "absent")
    assert started == pytest.approx(time.time(), abs=60)


def test_a_server_that_says_try_again_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of FUSE may answer EAGAIN, since it is opened with O_NONBLOCK: that is no empty file."""
    (tmp_path / "file").write_text("content")

    def again(*_: int) -> bytes:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "read", again)
    with pytest.raises(BlockingIOError):
        files.read_path(str(tmp_path / "file"), 100)
