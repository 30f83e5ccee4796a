"""Can Pods use /dev/fuse and /dev/net/tun?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge
from probe.facts.model import Facts
from probe.nested import PodRequest
from probe.reading import Reading

_NEEDS = (
    PodRequest("device", "/dev/net/tun", "pasta(1) and slirp4netns(1) give inner containers a network through it"),
    PodRequest("device", "/dev/fuse", "fuse-overlayfs(1) needs it where the kernel's overlay does not work"),
)
_MODE = (
    "Open the devices to all users: on the node, the root of a Pod is an ordinary user.\n"
    "  chmod 0666 /dev/fuse /dev/net/tun\n"
    '  echo \'KERNEL=="fuse|tun", MODE="0666"\' > /etc/udev/rules.d/90-nested.rules'
)
_LOAD = (
    "Load the modules, now and at each boot.\n"
    "  modprobe -a fuse tun\n"
    "  printf 'fuse\\ntun\\n' > /etc/modules-load.d/90-nested.conf"
)
_OFFER = "Give the devices to Pods by a generic device plugin or CDI, or by allowed_devices of CRI-O."


def check_devices(facts: Facts, handler: str) -> NestedOutcome:
    """The device nodes need o+rw, and something must hand them to Pods."""
    trial, nested, runtime = facts.nested.trial, facts.nested, facts.runtime.value
    if trial.value is None:
        return judge(Outcome.not_read("whether Pods can use /dev/fuse and /dev/net/tun", trial), *_NEEDS)
    fuse, tun = trial.value.step("fuse"), trial.value.step("tun")
    seen = evidence_of(trial.value.step("/dev/fuse"), fuse, trial.value.step("/dev/net/tun"), tun)
    modes = (nested.fuse_mode, nested.tun_mode)
    closed = [mode.source for mode in modes if mode.value is not None and mode.value & 0o006 != 0o006]
    if closed:
        message = f"only the node's root may open {' and '.join(closed)}, so a rootless engine has no own network"
        return judge(Outcome.warn(message, *modes, seen, remediation=_MODE), *_NEEDS)
    missing = [mode.source for mode in modes if mode.kind == "absent"]
    if missing:
        message = f"missing on the node: {' and '.join(missing)}"
        return judge(Outcome.warn(message, *modes, seen, remediation=_LOAD), *_NEEDS)
    if any(step.result != "passed" for step in (fuse, tun)):
        message = "all users may open the devices; unknown whether they work"
        return judge(Outcome.warn(message, seen, *modes), *_NEEDS)
    allowed: Reading[tuple[str, ...]] = runtime.allowed_devices if runtime else facts.runtime  # type: ignore[assignment]
    if {"/dev/fuse", "/dev/net/tun"} <= set(allowed.value or ()):
        message = "CRI-O gives Pods /dev/fuse and /dev/net/tun by annotation, and the root of a Pod can use them"
        return judge(Outcome.passed(message, seen, allowed), *_NEEDS)
    if nested.device_plugins.value:
        message = "the root of a Pod can use /dev/fuse and /dev/net/tun; unknown whether a device plugin offers them"
        return judge(Outcome.warn(message, seen, nested.device_plugins, remediation=_OFFER), *_NEEDS)
    message = "the root of a Pod can use /dev/fuse and /dev/net/tun, but nothing gives them to Pods"
    return judge(Outcome.warn(message, seen, nested.device_plugins, remediation=_OFFER), *_NEEDS)


CHECKS = (
    NestedCheck(
        id="nested-devices",
        levels=("rootless",),
        question="Can Pods use /dev/fuse and /dev/net/tun?",
        why="Rootless engines need /dev/net/tun for their network and, where overlay fails, /dev/fuse for storage. "
        "Without them they still run containers with the Pod's own network.",
        documentation="fuse(4), docs.kernel.org/networking/tuntap; CRI-O, allowed_devices",
        check=check_devices,
    ),
)
