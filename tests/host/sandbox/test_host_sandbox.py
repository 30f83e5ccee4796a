"""The trial of a sandbox on the real kernel: what it says, and that nothing of it remains."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.prerequisites import require
from lab.real import kernel
from probe.host import syscalls
from probe.host.child import Child, run_child
from probe.host.namespaces import open_own_proc
from probe.host.sandbox import trial as sandbox
from probe.host.sandbox.links import LO, Links, load_codec
from probe.host.sandbox.root import parse_cgroup, read_cgroup, read_lines
from probe.host.sandbox.steps import Step, parse_filesystems
from probe.reading import Reading

CLONE_NEWNET = 0x40000000
CLONE_NEWPID = 0x20000000
KILLS = int(os.environ.get("USERNS_PROBE_KILLS", "12"))
SEED = int(os.environ.get("USERNS_PROBE_SEED", str(time.time_ns() % 1_000_000)))

real = pytest.mark.real


@pytest.fixture(autouse=True)
def _root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real"):
        require(os.geteuid() == 0, "root")
        load_codec()  # once here instead of in every trial


def isolated(function: Callable[[], Any]) -> Any:
    """What *function* returns as process 1 of new PID, mount and network namespaces, with a /proc of their own."""

    def outer(write: Callable[[bytes], None]) -> None:
        kernel.unshare(CLONE_NEWPID | CLONE_NEWNET)
        kernel.own_mount_namespace()
        pid = os.fork()
        if pid == 0:
            kernel.die_with_parent()
            try:
                kernel.mount("proc", "/proc", "proc")
                write(json.dumps({"value": function()}).encode())
            except BaseException:
                write(json.dumps({"error": traceback.format_exc()}).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    return _value_of(outer)


def forked(function: Callable[[], Any]) -> Any:
    """What *function* returns in a process of its own, which it may ruin."""

    def body(write: Callable[[bytes], None]) -> None:
        try:
            write(json.dumps({"value": function()}).encode())
        except BaseException:
            write(json.dumps({"error": traceback.format_exc()}).encode())

    return _value_of(body)


def _value_of(body: Callable[[Callable[[bytes], None]], None]) -> Any:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent()
            body(lambda data: write_all(write_end, data))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        assert select.select([pipe], [], [], 60)[0], "no answer in a minute"
        answer = json.loads(pipe.read() or b'{"error": "no answer"}')
    os.waitpid(pid, 0)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def write_all(fd: int, data: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(data)


def trial(
    enter: Callable[[], object] = lambda: None, enter_node: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Any]]:
    """The steps of one trial, by name, run as the gatherer runs it."""
    own_proc = open_own_proc()
    try:
        tried = run_child(lambda: sandbox.sandbox_child(own_proc, enter, enter_node), 20, sandbox.ANSWER_LIMIT)
        answer = json.loads(tried)
    finally:
        os.close(own_proc)
    return {step["name"]: step for step in answer["steps"]}


def outcomes(steps: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Step -> `done`, `failed EPERM`, ..."""
    names = {name: errno.errorcode.get(step.get("error", 0), "") for name, step in steps.items()}
    return {name: f"{step['outcome']} {names[name]}".strip() for name, step in steps.items()}


def snapshot() -> dict[str, Any]:
    """Everything that a trial could leave behind in the namespaces of this process."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    namespaces = set()
    for pid in pids:
        try:
            namespaces |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in os.listdir(f"/proc/{pid}/ns")}
        except OSError:
            namespaces.add(f"{pid} is ending")
    return {
        "processes": pids,
        "namespaces": sorted(namespaces),
        "mounts": _content("/proc/self/mountinfo"),
        "links": sorted(line.split(":")[0].strip() for line in _content("/proc/net/dev").splitlines()[2:]),
        "modules": sorted(os.listdir("/sys/module")),
        "loaded": _content("/proc/modules") if os.path.exists("/proc/modules") else "",
        "filesystems": _content("/proc/filesystems"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "ipc": _content("/proc/sysvipc/shm") + _content("/proc/sysvipc/msg"),
        "hostname": os.uname().nodename,
    }


def settled(before: dict[str, Any]) -> dict[str, Any]:
    """The snapshot once it equals *before*, or the last one after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        _reap()
        after = snapshot()
        if after == before or time.monotonic() > deadline:
            return after
        time.sleep(0.01)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _content(path: str) -> str:
    with open(path) as file:
        return file.read()


@real
def test_every_step_works_here() -> None:
    """On a kernel that can do everything, every step is done, and both controls are refused as they must be."""
    steps = forked(trial)
    assert tuple(steps) == sandbox.STEP_NAMES
    optional = {"writable sysfs", "overlay", "mqueue", "veth"}
    for name, outcome in outcomes(steps).items():
        assert outcome == "done" or (name in optional and outcome == "absent"), (name, outcome)


@real
def test_nothing_remains() -> None:
    """Processes, namespaces, mounts, links, modules and descriptors are afterwards exactly what they were before."""

    def before_and_after() -> list[Any]:
        before = snapshot()
        for _ in range(3):
            trial()
        return [before, settled(before)]

    before, after = isolated(before_and_after)
    assert before["processes"] == [1]
    assert after == before


@real
def test_the_nodes_network_never_sees_a_link() -> None:
    """Not even for a moment does a link appear in the network namespace that the trial came from."""

    def watched() -> list[int]:
        rtmgrp_link = 1
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as monitor:
            monitor.bind((0, rtmgrp_link))
            monitor.setblocking(False)
            assert outcomes(trial())["veth"] in ("done", "absent")
            before = _events(monitor)
            with Links(load_codec()) as links:
                links.raise_link(LO)  # the control: this one must be seen
            return [before, _events(monitor)]

    assert isolated(watched) == [0, 1]


def _events(monitor: Any) -> int:
    count = 0
    try:
        while monitor.recv(1 << 16):
            count += 1
    except BlockingIOError:
        return count
    return count


@real
def test_no_network_namespace_leaks() -> None:
    """Twenty trials in a row fit under a limit of eight network namespaces, so each of them gives its two back."""

    def trials() -> list[str]:
        _nested_user_namespace({"max_net_namespaces": 8})
        seen = []
        for _ in range(20):
            deadline = time.monotonic() + 10
            while "failed ENOSPC" in (found := outcomes(trial())).values() and time.monotonic() < deadline:
                time.sleep(0.05)  # the kernel takes network namespaces apart a moment later
            seen.append(found["veth"])
        return seen

    require("veth" in _kinds(), "veth in the kernel")
    assert forked(trials) == ["done"] * 20


@real
def test_killed_at_any_instant_nothing_remains() -> None:
    """kill -9 of any process of the trial, at any instant, leaves nothing."""

    def campaign() -> list[str]:
        chance = random.Random(SEED)
        failures = []
        before = snapshot()
        for turn in range(KILLS):
            gatherer = os.fork()
            if gatherer == 0:
                try:
                    trial()
                finally:
                    os._exit(0)
            pause = chance.uniform(0, 0.04)
            time.sleep(pause)
            alive = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
            victim = chance.choice(alive) if alive else gatherer
            if turn % 3 == 0:
                victim = gatherer  # the one whose end must take all others with it
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            after = settled(before)
            if after != before:
                changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
                failures.append(f"turn {turn}, killed {victim} after {pause:.4f} s: {changed}")
        return failures

    print(f"USERNS_PROBE_SEED={SEED} USERNS_PROBE_KILLS={KILLS}")  # noqa: T201
    assert isolated(campaign) == []


@real
def test_hanging_processes_die_with_the_gatherer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a step hangs, both processes of the trial end with the process that wanted the answer."""
    monkeypatch.setattr(sandbox, "STEP_TIMEOUT", 60.0)
    hang = Step("hang", ("pid namespace",), lambda _: signal.pause())  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(sandbox, "INSIDE", (hang,))

    def orphaned() -> list[Any]:
        before = snapshot()
        gatherer = os.fork()
        if gatherer == 0:
            try:
                trial()
            finally:
                os._exit(0)
        deadline = time.monotonic() + 20
        while len(snapshot()["processes"]) < 4 or not _sleeping():
            assert time.monotonic() < deadline, "the step never hung"
            time.sleep(0.01)
        os.kill(gatherer, signal.SIGKILL)
        return [before, settled(before)]

    before, after = isolated(orphaned)
    assert after == before


def _sleeping() -> bool:
    """Whether the innermost process waits for a signal, as the hanging step does."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    try:
        status = _content(f"/proc/{pids[-1]}/status")
    except OSError:
        return False
    deepest = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return len(deepest.split()) == 3 and "State:\tS" in status


@real
def test_after_entering_nothing_is_imported() -> None:
    """After entering our own files may be out of sight, so every import comes before."""

    class Refuse:
        def find_spec(self, name: str, *_: object) -> None:
            os.write(2, f"imported {name}\n".encode())
            os._exit(3)

    def refuse_imports() -> None:
        sys.meta_path.insert(0, Refuse())  # type: ignore[arg-type]

    assert outcomes(forked(lambda: trial(refuse_imports)))["veth"] in ("done", "absent")


@real
def test_covered_proc_is_refused() -> None:
    """A tmpfs over /proc/tty in the runtime's mount namespace: no fresh /proc, while /sys is fine."""

    def enter() -> None:
        kernel.own_mount_namespace()
        kernel.mount("cover", "/proc/tty", "tmpfs")

    seen = outcomes(forked(lambda: trial(enter)))
    assert seen["proc"] == "failed EPERM"
    assert {name for name, outcome in seen.items() if outcome.startswith("failed")} == {"proc"}


@real
def test_a_second_uncovered_proc_heals() -> None:
    """With another, uncovered proc anywhere in that mount namespace the kernel gives one again."""

    def enter() -> None:
        kernel.own_mount_namespace()
        kernel.mount("second", "/mnt", "proc")
        kernel.mount("cover", "/proc/tty", "tmpfs")

    assert outcomes(forked(lambda: trial(enter)))["proc"] == "done"


@real
def test_read_only_sys_is_given_read_only() -> None:
    """With /sys read-only, a read-only /sys is still given, and one that can be written is not."""

    def enter() -> None:
        kernel.own_mount_namespace()
        ms_remount_bind_rdonly = 0x20 | 0x1000 | 0x1
        kernel.mount("none", "/sys", "", ms_remount_bind_rdonly)

    seen = outcomes(forked(lambda: trial(enter)))
    assert (seen["sysfs"], seen["writable sysfs"]) == ("done", "failed EPERM")


@real
def test_covered_sys_is_refused() -> None:
    """A tmpfs over a directory of /sys: no fresh /sys at all, while /proc is fine."""

    def enter() -> None:
        kernel.own_mount_namespace()
        kernel.mount("cover", "/sys/kernel", "tmpfs")

    seen = outcomes(forked(lambda: trial(enter)))
    assert (seen["sysfs"], seen["writable sysfs"], seen["proc"]) == ("failed EPERM", "failed EPERM", "done")


@real
@pytest.mark.parametrize(
    ("limit", "step", "unreached"),
    [
        ("max_net_namespaces", "net namespace", {"sysfs", "writable sysfs", "lo", "veth"}),
        ("max_ipc_namespaces", "ipc namespace", {"mqueue"}),
        ("max_uts_namespaces", "uts namespace", {"hostname"}),
        ("max_cgroup_namespaces", "cgroup namespace", {"cgroup"}),
        ("max_pid_namespaces", "pid namespace", {"first process", "proc"}),
        ("max_user_namespaces", "user namespace", set(sandbox.STEP_NAMES) - {"user namespace"}),
    ],
)
def test_limit_of_namespaces(limit: str, step: str, unreached: set[str]) -> None:
    """A limit of 0 is ENOSPC at exactly that namespace; what needs it is not reached, all else is still tried."""

    def limited() -> Any:
        _nested_user_namespace({limit: 0})
        return trial()

    seen = outcomes(forked(limited))
    assert {name for name, outcome in seen.items() if outcome.startswith("failed")} == {step}
    assert seen[step] == "failed ENOSPC"
    assert {name for name, outcome in seen.items() if outcome == "not-reached"} == unreached


@real
def test_seccomp_filter_on_mount() -> None:
    """Under a filter that forbids mount(2) the trial says EPERM at the first mount, and goes on where it can."""

    def filtered() -> Any:
        _forbid({"x86_64": 165, "aarch64": 40}[os.uname().machine])
        return trial()

    seen = outcomes(forked(filtered))
    assert seen["mount propagation"] == "failed EPERM"
    assert (seen["proc"], seen["hostname"], seen["lo"]) == ("not-reached", "done", "done")


@real
def test_seccomp_filter_on_unshare() -> None:
    """Under a filter that forbids unshare(2) nothing is reached, and the first step says why."""

    def filtered() -> Any:
        _forbid({"x86_64": 272, "aarch64": 97}[os.uname().machine])
        return trial()

    steps = forked(filtered)
    assert outcomes(steps)["user namespace"] == "failed EPERM"
    assert steps["user namespace"]["detail"] == "unshare"
    assert {step["outcome"] for name, step in steps.items() if name != "user namespace"} == {"not-reached"}


@real
def test_without_privileges() -> None:
    """Somebody without capabilities may make a user namespace, but gives it no IDs."""

    def unprivileged() -> Any:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return trial()

    steps = forked(unprivileged)
    assert steps["user namespace"]["outcome"] == "failed"
    assert errno.errorcode[steps["user namespace"]["error"]] in ("EPERM", "EACCES")


@real
def test_unknown_types_are_never_asked_for() -> None:
    """A type that /proc/filesystems does not list is left out: mount(2) would make the kernel load a module."""

    def without_them() -> Any:
        kernel.own_mount_namespace()
        lines = [line for line in _content("/proc/filesystems").splitlines() if line.split()[-1] in ("tmpfs", "sysfs")]
        kernel.mount("list", "/mnt", "tmpfs")
        with open("/mnt/filesystems", "w") as file:
            file.write("\n".join(lines))
        kernel.mount("/mnt/filesystems", "/proc/filesystems", "", 0x1000)
        return trial()

    seen = outcomes(forked(without_them))
    absent = {name for name, outcome in seen.items() if outcome == "absent"}
    assert {"proc", "mqueue", "devpts", "cgroup", "overlay", "block file system"} <= absent
    assert seen["sysfs"] == "done"


def _kinds() -> set[str]:
    """Which of a few kinds of links the kernel knows."""

    def known() -> list[str]:
        kernel.unshare(CLONE_NEWNET)
        with Links(load_codec()) as links:
            return [kind for kind in ("veth", "userns-nothing") if links.knows_kind(kind)]

    return set(forked(known))


@real
def test_kinds_of_links_are_found_without_asking_for_one() -> None:
    """What the kernel knows is told from what it does not, by a dump alone; making a link agrees with it."""

    def made(kind: str) -> bool:
        kernel.unshare(CLONE_NEWNET)
        with Links(load_codec()) as links, suppress(OSError):
            links.add_link("try", kind)
            return True
        return False

    require("veth" in _kinds(), "veth in the kernel")
    assert _kinds() == {"veth"}
    assert forked(lambda: made("veth"))
    assert not forked(lambda: made("userns-nothing"))


@real
def test_a_step_that_hangs_ends_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without an answer is ETIMEDOUT, the rest is not reached, and the answers before it are kept."""
    monkeypatch.setattr(sandbox, "STEP_TIMEOUT", 0.3)
    hang = Step("hang", (), lambda _: signal.pause())  # type: ignore[arg-type,return-value]
    steps = (Step("before", (), lambda _: None), hang, Step("after", (), lambda _: None))

    def answers() -> list[Any]:
        found = sandbox._run_inside(None, set(), steps)  # type: ignore[arg-type]
        return [[one.name, one.outcome, one.error] for one in found]

    assert forked(answers) == [["before", "done", 0], ["hang", "failed", errno.ETIMEDOUT], ["after", "not-reached", 0]]


@real
def test_a_crash_inside_ends_the_trial() -> None:
    """A first process that dies in the middle is EIO at the step that it was busy with."""
    crash = Step("crash", (), lambda _: os.kill(os.getpid(), signal.SIGKILL))

    def answers() -> list[Any]:
        return [[one.name, one.error] for one in sandbox._run_inside(None, set(), (crash, crash))]  # type: ignore[arg-type]

    assert forked(answers) == [["crash", errno.EIO], ["crash", 0]]


@real
def test_a_node_that_cannot_be_entered_is_not_tried() -> None:
    """In another mount namespace than the runtime's the answers would say nothing of the node, so there are none."""
    problem: Reading[bool] = Reading.without("/proc/1/ns/mnt", "not-permitted", "Operation not permitted")
    own_proc = open_own_proc()
    answer = json.loads(run_child(lambda: sandbox.sandbox_child(own_proc, lambda: problem), 20))
    os.close(own_proc)
    assert "steps" not in answer or answer["steps"] == []
    assert answer["not_entered"]["kind"] == "not-permitted"


@real
def test_a_threaded_process_is_not_used() -> None:
    """With a thread, unshare(2) would answer EINVAL, which looks like a kernel without user namespaces."""

    def threaded() -> Any:
        import threading

        def start() -> None:
            threading.Thread(target=signal.pause, daemon=True).start()

        return trial(enter_node=start)

    steps = forked(threaded)
    assert steps["user namespace"]["detail"] == "threads"


@real
def test_a_child_in_a_new_pid_namespace_dies_with_its_parent() -> None:
    """getppid(2) is 0 there, which must not be taken for a parent that has ended."""

    def child_answers() -> str:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        with Child(lambda write: write(b"%d %d" % (os.getpid(), os.getppid()))) as child:
            return child.read(time.monotonic() + 10).decode()

    assert forked(child_answers) == "1 0"


def test_block_types_are_told_from_others() -> None:
    """Types without `nodev` need a block device."""
    text = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n\tfuseblk\n\n"
    assert parse_filesystems(text) == {"sysfs": False, "tmpfs": False, "ext4": True, "fuseblk": True}


UNIFIED = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
TMPFS = "31 24 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"
CPU = "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
HYBRID = "42 31 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
SYSTEMD = "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/bin/x,name=systemd"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (UNIFIED, ("cgroup2", "")),
        (f"{CPU}\n{HYBRID}", ("cgroup", "cpu,cpuacct")),
        (f"{HYBRID}\n{SYSTEMD}\n{CPU}", ("cgroup", "xattr,name=systemd")),
        (HYBRID, None),
        ("", None),
        ("a - b\nx", None),
        ("1 2 0:1 / /a\x0b1\x1f2\x1f0:1\x1f/\x1f/sys/fs/cgroup rw - cgroup2 x rw\n", None),
    ],
)
def test_cgroup_of_a_node(mountinfo: str, expected: tuple[str, str] | None) -> None:
    """cgroup2 where it is the whole of /sys/fs/cgroup, else the first hierarchy of version 1 with its controllers."""
    assert parse_cgroup(mountinfo.encode().splitlines(keepends=True)) == expected


@pytest.mark.parametrize(
    ("lines", "top", "expected", "unread"),
    [
        ((TMPFS, CPU, HYBRID), b"31", ("cgroup", "cpu,cpuacct"), 1),
        ((CPU, TMPFS, UNIFIED), b"31", ("cgroup", "cpu,cpuacct"), 1),  # the tmpfs covers the cgroup2
        ((TMPFS, CPU, UNIFIED, HYBRID), b"35", ("cgroup2", ""), 1),  # the cgroup2 covers the tmpfs
        ((TMPFS, CPU, UNIFIED), b"3", ("cgroup2", ""), 0),  # not in the table, so it decides nothing
    ],
)
def test_the_table_is_read_to_the_line_that_decides(
    lines: tuple[str, ...], top: bytes, expected: tuple[str, str], unread: int
) -> None:
    """A table of 50,000 mounts would keep the trial waiting."""
    rest = (f"{line}\n".encode() for line in lines)
    assert parse_cgroup(rest, top) == expected
    assert len(list(rest)) == unread


@pytest.mark.skipif(not os.path.isdir("/sys/fs/cgroup"), reason="no /sys/fs/cgroup")
def test_what_is_not_read_changes_no_answer() -> None:
    """The directory's mount, by its descriptor, and the whole table of this machine."""
    own_proc = open_own_proc()
    try:
        assert read_cgroup(own_proc) == read_lines(own_proc, "self/mountinfo", parse_cgroup)
    finally:
        os.close(own_proc)


@given(st.text())
def test_parsers_never_raise(text: str) -> None:
    """Whatever these files hold, it becomes a value."""
    parse_filesystems(text)
    for line in (text, f"1 2 3:4 / /sys/fs/cgroup rw - {text}", f"1 2 3:4 / /sys/fs/cgroup rw - cgroup{text}"):
        parse_cgroup([line.encode()])


def _nested_user_namespace(limits: dict[str, int]) -> None:
    """Move into a user namespace in which every ID is what it is outside, with limits of its own."""
    ready, done = os.pipe(), os.pipe()
    target = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(ready[0], 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{target}/{name}", "wb", buffering=0) as file:
                file.write(b"0 0 4294967295")
        os.write(done[1], b"x")
        os._exit(0)
    kernel.unshare(kernel.CLONE_NEWUSER)
    os.write(ready[1], b"x")
    os.read(done[0], 1)
    os.waitpid(helper, 0)
    for fd in (*ready, *done):
        os.close(fd)
    kernel.own_mount_namespace()
    for name, value in limits.items():
        with open(f"/proc/sys/user/{name}", "w") as file:
            file.write(str(value))


def _forbid(number: int) -> None:
    """A seccomp filter that answers one system call with EPERM."""
    ret_errno, ret_allow = 0x00050000, 0x7FFF0000
    program = b"".join(
        struct.pack("=HBBI", *row)
        for row in (
            (0x20, 0, 0, 0),  # the number of the call
            (0x15, 0, 1, number),
            (0x06, 0, 0, ret_errno | errno.EPERM),
            (0x06, 0, 0, ret_allow),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_no_new_privs, pr_set_seccomp, mode_filter = 38, 22, 2
    assert libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) == 0
    address = ctypes.c_ulong(ctypes.addressof(fprog))
    assert libc.prctl(pr_set_seccomp, ctypes.c_ulong(mode_filter), address, 0, 0) == 0
