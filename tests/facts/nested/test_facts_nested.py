"""From raw answers to facts: what an error proves, and what it does not."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from lab.cri_recordings import recorded_answer
from lab.factory import make_probe, unread
from lab.fake_host import FakeHost
from probe.facts.filesystems.revealing import cgroup2_options, writable_sysfs
from probe.facts.nested.gather import _AFTER, gather_nested, gather_trial, judge_trial
from probe.facts.nested.model import NestedStep
from probe.facts.runtime.cgroups import devices_of, gather_cgroups, parse_containerd, systemd_of, writable_of
from probe.facts.tried import SandboxFacts
from probe.host.mountinfo import parse_mountinfo
from probe.host.nested.trial import STEP_NAMES, NestedAnswer
from probe.host.sandbox.steps import StepAnswer
from probe.reading import Reading


def step(name: str, error: int, *, unconfined: bool = True, **others: int) -> NestedStep:
    """The step of that name where it failed with *error*; all others worked, unless they are named."""
    errors = {name: error} | {key.replace("_", " "): value for key, value in others.items()}
    steps = tuple(
        StepAnswer(each, "failed", errors[each]) if each in errors else StepAnswer(each, "done") for each in STEP_NAMES
    )
    return judge_trial(NestedAnswer(steps=steps), unconfined).step(name)


@pytest.mark.parametrize("name", ["pivot_root", "keyring", "rootless user namespace", "bridge", "nat"])
def test_a_refusal_under_a_filter_proves_nothing(name: str) -> None:
    """The probe's own seccomp filter may have refused it; without one, the node did."""
    assert step(name, errno.EPERM).result == "failed"
    doubtful = step(name, errno.EPERM, unconfined=False)
    assert (doubtful.result, doubtful.kind) == ("unknown", "not-permitted")


@pytest.mark.parametrize("name", ["rootless proc", "writable sysfs", "idmap of a volume"])
def test_a_refusal_of_a_call_that_was_allowed_before_is_the_kernels(name: str) -> None:
    """No filter tells file system types apart."""
    assert step(name, errno.EPERM, unconfined=False).result == "failed"


def test_mounts_that_were_never_allowed_prove_nothing_under_a_filter() -> None:
    assert step("sysfs", errno.EPERM, unconfined=False, tmpfs=errno.EPERM).kind == "not-permitted"


@pytest.mark.parametrize(
    ("error", "kind"), [(errno.ETIMEDOUT, "timed-out"), (errno.EIO, "not-readable"), (errno.ENOMEM, "not-readable")]
)
def test_what_says_nothing_about_the_node(error: int, kind: str) -> None:
    assert (step("overlay", error).result, step("overlay", error).kind) == ("unknown", kind)


def test_a_step_that_was_not_tried_names_the_one_that_failed() -> None:
    """Over several steps, and nothing where it is not known."""
    steps = {name: StepAnswer(name, "done") for name in STEP_NAMES}
    steps["full user namespace"] = StepAnswer("full user namespace", "failed", errno.ENOSPC)
    for name in ("full map", "unmasked tmpfs", "unmasked proc", "idmap of a tmpfs"):
        steps[name] = StepAnswer(name, "not-reached")
    steps["tun"] = StepAnswer("tun", "not-reached")
    judged = judge_trial(NestedAnswer(steps=tuple(steps.values())), True)
    for name in ("full map", "unmasked proc", "idmap of a tmpfs"):
        assert judged.step(name).reason.endswith(" (full user namespace: ENOSPC)"), name
    assert not judged.step("tun").reason.endswith(")")


def test_each_step_but_the_first_has_one_before_it() -> None:
    assert set(STEP_NAMES) - _AFTER.keys() == {"pod user namespace"}
    assert {before for befores in _AFTER.values() for before in befores} <= set(STEP_NAMES)
    assert all(STEP_NAMES.index(before) < STEP_NAMES.index(name) for name in _AFTER for before in _AFTER[name])


def test_foreign_steps_are_a_problem() -> None:
    """Another list of steps, or none, is never understood as this one."""
    for steps in ((), (StepAnswer("tmpfs", "done"),)):
        facts = Reading("s", SandboxFacts(steps=(), seconds=0.0, nested=NestedAnswer(steps=steps)))
        assert gather_trial(facts, make_probe()).kind == "not-readable"


def test_a_trial_without_an_answer() -> None:
    assert gather_trial(Reading("s", SandboxFacts(steps=(), seconds=0.0)), make_probe()).kind == "not-readable"
    late = SandboxFacts(steps=(), seconds=0.0, nested=NestedAnswer(late=True))
    for told in (unread("s", "timed-out"), Reading("s", late)):
        assert gather_trial(told, make_probe()).kind == "timed-out"


def test_settings_of_the_node() -> None:
    """Files of cgroup v2 by either driver, and the sockets of plugins without the kubelet's own."""
    host = FakeHost(
        files={
            "/proc/sys/fs/inotify/max_user_instances": "128\n",
            "/sys/fs/cgroup/kubepods/cgroup.controllers": "cpu memory pids\n",
            "/sys/fs/cgroup/kubepods/cgroup.max.descendants": "max\n",
            "/var/lib/kubelet/device-plugins/kubelet.sock": "",
            "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint": "",
            "/var/lib/kubelet/device-plugins/fuse.sock": "",
            "/dev/fuse": "",
        },
        modes={"/dev/fuse": 0o666},
    )
    facts = gather_nested(host, make_probe(), unread("s"), "/var/lib/kubelet")
    assert facts.inotify_instances.value == 128
    assert facts.controllers.value == ("cpu", "memory", "pids")
    assert facts.max_descendants.value == "max"
    assert facts.device_plugins.value == ("fuse.sock",)
    assert (facts.fuse_mode.value, facts.tun_mode.kind) == (0o666, "absent")


def test_a_node_that_was_not_entered_tells_nothing() -> None:
    """Files of the probe's own container are not the node's."""
    host = FakeHost(files={"/proc/sys/fs/inotify/max_user_instances": "128\n"})
    facts = gather_nested(host, make_probe(entered=unread("/proc/1/ns/mnt")), unread("s"), "/var/lib/kubelet")
    assert facts.inotify_instances.kind == facts.fuse_mode.kind == "not-permitted"


@pytest.mark.parametrize("content", ["", "x", "-", "9" * 5000, "128 128"])
def test_hostile_numbers(content: str) -> None:
    """Never a traceback, never a value."""
    host = FakeHost(
        files={
            "/proc/sys/fs/inotify/max_user_instances": content,
            "/sys/fs/cgroup/kubepods.slice/cgroup.max.descendants": content,
        }
    )
    facts = gather_nested(host, make_probe(), unread("s"), "/var/lib/kubelet")
    assert facts.inotify_instances.value is None
    assert facts.max_descendants.value is None


RECORDED = ("containerd-1.6.20", "containerd-1.7.24", "containerd-2.1.9", "containerd-2.4.0-beta", "cri-o-1.37.0-dev")


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_cgroups(name: str) -> None:
    """containerd tells it since 2.1; CRI-O as recorded allows the annotation to no handler."""
    cgroups = gather_cgroups(recorded_answer(name, "/run/x.sock"))
    told = writable_of(cgroups, "").value
    assert told is (None if name.startswith("containerd-1") else False)
    assert systemd_of(cgroups, "").value is False
    devices = devices_of(cgroups)
    assert devices.kind == "absent" if name.startswith("containerd") else "/dev/fuse" in (devices.value or ())


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"containerd": 1}', "[" * 5000, '{"containerd": {"runtimes": {"x": 1}}}']
)
def test_hostile_configurations(text: str) -> None:
    """A problem, never a traceback."""
    reading: Reading[Any] = Reading("CRI", text or " ").parse(parse_containerd)
    assert reading.kind == "not-readable"


def test_writable_in_containerd() -> None:
    runc = '{"cgroupWritable": true, "options": {"SystemdCgroup": true}}'
    text = f'{{"containerd": {{"defaultRuntimeName": "runc", "runtimes": {{"runc": {runc}}}}}}}'
    cgroups = Reading("CRI", parse_containerd(text))
    assert (writable_of(cgroups, "").value, systemd_of(cgroups, "runc").value) == (True, True)
    assert writable_of(cgroups, "other").kind == "not-readable"


MOUNTS = b"""21 1 0:20 / /sys rw,nosuid shared:1 - sysfs sysfs rw
22 21 0:21 / /sys/fs/cgroup rw,nosuid shared:2 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
23 1 0:22 / /run/sysfs/sys rw - sysfs sysfs rw
24 1 0:23 / /run/ro/sys ro - sysfs sysfs rw
"""


def test_mounts() -> None:
    """The options of the one file system cgroup2, and writable instances of sysfs that a hostPath could offer."""
    mounts = parse_mountinfo(MOUNTS)
    assert cgroup2_options(mounts) == ("rw", "nsdelegate", "memory_recursiveprot")
    assert cgroup2_options(mounts[:1]) is None
    assert writable_sysfs(mounts) == ("/run/sysfs/sys",)
