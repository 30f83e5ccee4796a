"""The trial of nested containers on this machine's own kernel."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import kernel
from probe.host import syscalls
from probe.host.child import run_child
from probe.host.namespaces import open_own_proc
from probe.host.nested import container, network, pod, processes
from probe.host.nested.trial import STEP_NAMES
from probe.host.sandbox import trial as sandbox
from tests.host.sandbox.test_host_sandbox import forked, isolated, settled, snapshot

pytestmark = pytest.mark.real

KILLS = int(os.environ.get("USERNS_PROBE_KILLS", "12"))
SEED = 20261129
# What the kernel answers by its version; all else must be done. *Source*: fs/proc/root.c, fs/namespace.c of each.
REFUSED = {"writable sysfs", "idmap of a volume", "rootless proc"}


def nested() -> dict[str, str]:
    """Step -> `done`, `failed EPERM`, …, of one trial, run as the gatherer runs it."""
    own_proc = open_own_proc()
    try:
        answer = json.loads(run_child(lambda: sandbox.sandbox_child(own_proc, lambda: None), 20, sandbox.ANSWER_LIMIT))
    finally:
        os.close(own_proc)
    assert answer["nested"], "the trial gave no answer"
    return {step["name"]: _outcome(step) for step in answer["nested"]["steps"]}


def _outcome(step: dict[str, Any]) -> str:
    return f"{step['outcome']} {errno.errorcode.get(step.get('error', 0), '')}".strip()


def with_devices(mode: int) -> Callable[[], dict[str, str]]:
    """The trial where /dev/fuse and /dev/net/tun have permission bits *mode*, in a mount namespace of its own."""

    def run() -> dict[str, str]:
        kernel.own_mount_namespace()
        kernel.mount("dev", "/mnt", "tmpfs", 0, "mode=0755")
        for name, minor in (("fuse", 229), ("tun", 200)):
            os.mknod(f"/mnt/{name}", stat.S_IFCHR | 0o600, os.makedev(10, minor))
            os.chmod(f"/mnt/{name}", mode)
        kernel.mount("/mnt/fuse", "/dev/fuse", "", syscalls.MS_BIND)
        kernel.mount("/mnt/tun", "/dev/net/tun", "", syscalls.MS_BIND)
        return nested()

    return run


def require_devices() -> None:
    """Skip the test where a driver or a device node is missing."""
    own_proc = open_own_proc()
    there = all(map(os.path.exists, pod.MISC_MINORS)) and pod.read_minors(own_proc) >= {*pod.MISC_MINORS.values()}
    os.close(own_proc)
    require(there, "/dev/fuse and /dev/net/tun")


def test_each_step_ends_as_the_kernel_of_this_version_decides() -> None:
    """What no kernel allows is refused with EPERM, what only 7.2 and later allow by the version; all else is done.

    That the masked /proc is refused proves that the trial has left the node's root, whose /proc nothing masks.
    """
    require_devices()
    found = forked(with_devices(0o666))
    release = tuple(int(word) for word in platform.release().split(".")[:2])
    refused = REFUSED | ({"rootless proc subset"} if release < (7, 2) else set())
    assert tuple(found) == STEP_NAMES
    optional = {"nat", "ip_tables", "bridge", "veth", "vxlan", "overlay", "overlay files", "rootless overlay", "fuse"}
    for name, outcome in found.items():
        if name in refused:
            assert outcome == "failed EPERM", (name, outcome)
        else:
            assert outcome == "done" or (name in optional and outcome in ("absent", "not-reached")), (name, outcome)


def test_closed_devices_are_refused() -> None:
    """Mode 0600 keeps the root of a Pod out, and nothing else fails for it."""
    require_devices()
    found = forked(with_devices(0o600))
    assert (found["/dev/fuse"], found["fuse"]) == ("failed EACCES", "not-reached")
    assert (found["/dev/net/tun"], found["tun"]) == ("failed EACCES", "not-reached")
    assert found["pivot_root"] == "done"


def test_nothing_remains() -> None:
    """Processes, namespaces, mounts, links, modules and descriptors are afterwards exactly what they were before."""

    def before_and_after() -> list[Any]:
        before = snapshot()
        for _ in range(3):
            nested()
        return [before, settled(before)]

    before, after = isolated(before_and_after)
    assert after == before


def test_killed_at_any_instant_nothing_remains() -> None:
    """kill -9 of any process of the trial, at any instant, leaves nothing, and loads no module."""

    def campaign() -> list[str]:
        chance = random.Random(SEED)
        failures = []
        before = snapshot()
        for turn in range(KILLS):
            gatherer = os.fork()
            if gatherer == 0:
                with suppress(BaseException):
                    nested()
                os._exit(0)
            time.sleep(chance.uniform(0, 0.1))
            alive = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
            with suppress(ProcessLookupError):
                os.kill(chance.choice(alive) if alive else gatherer, signal.SIGKILL)
            os.waitpid(gatherer, 0)
            if (after := settled(before)) != before:
                failures.append(f"turn {turn}: {after} instead of {before}")
        return failures

    assert isolated(campaign) == []


def test_a_step_that_hangs_costs_its_timeout_and_no_other_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hanging step is ETIMEDOUT, those after it in its process are not reached, and all others have answers."""
    monkeypatch.setattr("probe.host.nested.inside.Rootful.mount_overlay", lambda _: time.sleep(3600))
    monkeypatch.setattr(processes, "TIMEOUT", 0.2)
    found = forked(nested)
    assert found["overlay"] == "failed ETIMEDOUT"
    assert found["pivot_root"] == "not-reached"
    assert (found["sysfs"], found["rootless tmpfs"]) == ("done", "done")


def test_a_step_that_ends_its_process_is_not_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash is EIO for the step that it happened in."""
    monkeypatch.setattr("probe.host.nested.inside.Rootful.use_overlay", lambda _: os._exit(3))
    found = forked(nested)
    assert found["overlay files"] == "failed EIO"
    assert found["rootless tmpfs"] == "done"


def test_the_first_process_that_hangs_leaves_the_sandbox_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is nested is unknown then, and the sandbox's own steps are all there."""
    monkeypatch.setattr(container, "mask", lambda: time.sleep(3600))
    # It lives for twice as long, and on a busy machine the sandbox's own steps take a second of that.
    monkeypatch.setattr(sandbox, "NESTED_TIMEOUT", 1.5)

    def run() -> Any:
        own_proc = open_own_proc()
        return json.loads(run_child(lambda: sandbox.sandbox_child(own_proc, lambda: None), 20, sandbox.ANSWER_LIMIT))

    answer = forked(run)
    assert answer["nested"] == {"steps": [], "seconds": 0.0, "late": True}
    assert tuple(step["name"] for step in answer["steps"]) == sandbox.STEP_NAMES


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
def test_a_trial_that_never_left_the_nodes_user_namespace(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Root of a user namespace may not kill it, nor does its death: it ends itself, and the answer is whole."""

    def stays(*_: object) -> None:
        if not ends:
            time.sleep(3600)

    monkeypatch.setattr(sandbox, "nested_child", stays)
    monkeypatch.setattr(sandbox, "NESTED_TIMEOUT", 0.2)

    def run() -> Any:
        own_proc, before = open_own_proc(), snapshot()
        answer = run_child(lambda: sandbox.sandbox_child(own_proc, lambda: None), 20, sandbox.ANSWER_LIMIT)
        after = settled(before)
        os.close(own_proc)
        return [json.loads(answer), before["processes"], after["processes"]]

    answer, before, after = isolated(run)
    assert (answer["nested"] is None) == ends
    assert {step["outcome"] for step in answer["steps"] if step["name"] != "writable sysfs"} == {"done"}
    assert after == before


def test_a_process_without_the_right_to_dump_keeps_its_map_from_the_pods_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without PR_SET_DUMPABLE the map of UID 1000 belongs to the node's root, and the write is EACCES."""

    def not_dumpable(option: int, argument: int) -> None:
        if option != syscalls.PR_SET_DUMPABLE:
            prctl(option, argument)

    prctl = syscalls.prctl
    monkeypatch.setattr(syscalls, "prctl", not_dumpable)
    assert forked(nested)["rootless map"] == "failed EACCES"


def test_a_trial_that_keeps_the_nodes_root_would_be_allowed_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with the node's own /proc in sight, the kernel gives a second user namespace what a Pod's is refused."""

    def keep_old_root(root: str) -> None:
        os.mkdir(f"{root}/old")
        os.chdir(root)
        syscalls.pivot_root(".", "old")
        os.chdir("/")

    monkeypatch.setattr(pod, "pivot", keep_old_root)
    assert forked(nested)["rootless proc"] == "done"


def test_modules(tmp_path: Any) -> None:
    """A module that is not loaded is never requested where the kernel can load some; where it cannot, all is tried."""
    own_proc = os.open(tmp_path, os.O_PATH)
    assert network.known_modules(own_proc)("no_such_module")
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "modules").write_text("")
    (tmp_path / "sys/kernel/modules_disabled").write_text("0\n")
    assert not network.known_modules(own_proc)("no_such_module")
    assert network.known_modules(own_proc)(os.listdir("/sys/module")[0])
    (tmp_path / "sys/kernel/modules_disabled").write_text("1\n")
    assert network.known_modules(own_proc)("no_such_module")
    os.close(own_proc)


def test_what_is_not_known_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without drivers, tables and kinds of links, their steps are absent, and no request reaches the kernel."""
    monkeypatch.setattr("probe.host.nested.trial.known_modules", lambda _: lambda _: False)
    monkeypatch.setattr("probe.host.nested.trial.read_minors", lambda _: frozenset())
    monkeypatch.setattr("probe.host.sandbox.links.Links.knows_kind", lambda _, kind: False)
    monkeypatch.setattr("probe.host.sandbox.links.Links.add_link", _never)
    monkeypatch.setattr(network, "send_batch", _never)
    found = forked(nested)
    absent = ("/dev/fuse", "/dev/net/tun", "nat", "ip_tables", "bridge", "veth", "vxlan")
    assert {found[name] for name in absent} == {"absent"}


def _never(*_: object) -> None:
    os._exit(9)
