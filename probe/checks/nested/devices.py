"""Can Pods use /dev/fuse and /dev/net/tun?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge
from probe.facts.model import Facts
from probe.nested import PodRequest
from probe.reading import Reading

_NEEDS = (
    PodRequest("device", "/dev/net/tun", "pasta(1) and slirp4netns(1) give inner containers a network through it"),
    PodRequest("device", "/dev/fuse", "fuse-overlayfs(1) needs it where the kernel's overlay does not serve"),
)
_MODE = (
    "Open the devices to everybody: the root of a Pod is another user outside.\n"
    "  chmod 0666 /dev/fuse /dev/net/tun\n"
    '  echo \'KERNEL=="fuse|tun", MODE="0666"\' > /etc/udev/rules.d/90-nested.rules'
)
_LOAD = (
    "Load the modules, also at the next boot.\n"
    "  modprobe -a fuse tun\n"
    "  printf 'fuse\\ntun\\n' > /etc/modules-load.d/90-nested.conf"
)
_OFFER = "Hand the devices out: a generic device plugin or CDI for containerd; with CRI-O, allowed_devices."


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
        message = f"only root of the node may open {' and '.join(closed)}: a rootless engine has no network of its own"
        return judge(Outcome.warn(message, *modes, seen, remediation=_MODE), *_NEEDS)
    missing = [mode.source for mode in modes if mode.kind == "absent"]
    if missing:
        message = f"{' and '.join(missing)} does not exist on the node"
        return judge(Outcome.warn(message, *modes, seen, remediation=_LOAD), *_NEEDS)
    if any(step.result != "passed" for step in (fuse, tun)):
        message = "the devices are open to everybody, and their use was not seen to work"
        return judge(Outcome.warn(message, seen, *modes), *_NEEDS)
    allowed: Reading[tuple[str, ...]] = runtime.allowed_devices if runtime else facts.runtime  # type: ignore[assignment]
    if {"/dev/fuse", "/dev/net/tun"} <= set(allowed.value or ()):
        message = "CRI-O hands out /dev/fuse and /dev/net/tun by annotation, and the root of a Pod can use them"
        return judge(Outcome.passed(message, seen, allowed), *_NEEDS)
    if nested.device_plugins.value:
        message = "the root of a Pod can use /dev/fuse and /dev/net/tun; unknown whether a device plugin hands them out"
        return judge(Outcome.warn(message, seen, nested.device_plugins, remediation=_OFFER), *_NEEDS)
    message = "the root of a Pod can use /dev/fuse and /dev/net/tun, and nothing hands them to Pods"
    return judge(Outcome.warn(message, seen, nested.device_plugins, remediation=_OFFER), *_NEEDS)


CHECKS = (
    NestedCheck(
        id="nested-devices",
        levels=("rootless",),
        question="Can Pods use /dev/fuse and /dev/net/tun?",
        why="Rootless engines take their network from /dev/net/tun and, where overlay fails, their storage from "
        "/dev/fuse. Without them they still run containers with the Pod's own network.",
        documentation="fuse(4), docs.kernel.org/networking/tuntap; CRI-O, allowed_devices",
        check=check_devices,
    ),
)
