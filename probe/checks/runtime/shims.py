"""Shims of containerd, and the monitor and pinns of CRI-O, which run for each Pod."""

from __future__ import annotations

import os.path

from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.remedies.around import INSTALL_THE_NEEDED, USE_FIFOS
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import (
    handler_around,
    is_containerd,
    oci_runtime_of,
    surroundings_of,
    told_by,
    why_no_socket,
)
from probe.facts.around import NEEDS
from probe.facts.model import Facts
from probe.finding import Evidence

_SANDBOXERS = ("", "podsandbox")
"""*Source*: containerd, docs/cri/config.md, `sandboxer`."""
_SHIMS_WITHOUT_SANDBOXES = ("containerd-shim-runc-v1", "containerd-shim-runc-v2")
"""Seen with containerd 2.1.9; the one that makes sandboxes is to be a program of another name.

*Source*: containerd/containerd issue #8369, pull request #14135.
"""
_STREAMING = "streaming"
_LOOK_FOR_PLUGINS = (
    "Probe with --try-pod, which settles it, or look for the plugins, which are connected to the socket of NRI:\n"
    "  ss -xp | grep nri.sock; ls /opt/nri/plugins"
)


def check_shim(facts: Facts, handler: str) -> Outcome:
    """Containerd runs a shim for each Pod, which runs the OCI runtime; CRI-O runs pinns and a monitor."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    crio = told_by(facts).value == "cri-o"
    what = "pinns or its monitor" if crio else "its shim"
    if around.value is None:
        return Outcome.not_read(f"whether the runtime finds {what}", around)
    if own is None or own.shim.kind == "not-tried":
        return Outcome.skipped("this runtime reports no shim or monitor for this handler", told_by(facts))
    if own.shim.kind == "absent":
        message = f"the runtime cannot execute {what}: {own.shim.problem}"
        remediation = INSTALL_THE_NEEDED if f" {NEEDS}" in own.shim.problem else ""
        return Outcome.fail("MonitorMissing" if crio else "ShimMissing", message, own.shim, remediation=remediation)
    if own.shim.value is None:
        return Outcome.not_read(f"whether the runtime finds {what}", own.shim)
    return Outcome.passed(f"the runtime finds {inline(own.shim.value)}", own.shim)


def check_preloaded(facts: Facts, handler: str) -> Outcome:
    """Fail when the dynamic linker complains on stderr of each shim: containerd reads an address there.

    *Source*: ld.so(8), LD_PRELOAD; containerd, core/runtime/v2/binary.go, `CombinedOutput`.
    """
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if around.value is None:
        return Outcome.not_read("whether shims start without warnings", around)
    missing = around.value.missing_libraries
    if not missing or own is None or not is_containerd(facts):
        return Outcome.skipped("LD_PRELOAD of the runtime names no missing library", told_by(facts))
    seen = Evidence("LD_PRELOAD of the runtime", missing[0], "does not exist")
    if own.shim.value is None or own.shim.value not in around.value.linked_shims:
        return Outcome.warn(f"LD_PRELOAD of the runtime names {inline(missing[0])}, which does not exist", seen)
    message = (
        f"LD_PRELOAD of containerd names {inline(missing[0])}, which does not exist: containerd takes ld.so's warning "
        "for the address of its shim"
    )
    return Outcome.fail("PreloadMissing", message, seen)


def check_shim_cgroup(facts: Facts, handler: str) -> Outcome:
    """Fail when the cgroup that `ShimCgroup` of containerd's configuration names does not exist: no shim makes it."""
    own = handler_around(facts, handler)
    if own is None or own.shim_cgroup.kind == "not-tried":
        return Outcome.skipped("no cgroup is configured for shims of this handler", told_by(facts))
    if own.shim_cgroup.kind == "absent":
        message = f"each shim joins the cgroup {inline(own.shim_cgroup.source)} (ShimCgroup), which does not exist"
        return Outcome.fail("ShimCgroupMissing", message, own.shim_cgroup)
    if own.shim_cgroup.value is None:
        return Outcome.not_read("whether the cgroup of shims exists", own.shim_cgroup)
    return Outcome.passed("the cgroup of shims exists", own.shim_cgroup)


def check_required_plugins(facts: Facts) -> Outcome:
    """Unknown whether the NRI plugins are connected without which containerd makes no container: only they know."""
    around = surroundings_of(facts)
    required = around.value.required_plugins if around.value else ()
    if not required:
        return Outcome.skipped("no NRI plugins are required", told_by(facts))
    named = ", ".join(map(inline, required[:5]))
    message = f"containerd makes no container without the NRI plugins {named}; whether they are connected is unknown"
    seen = Evidence("containerd config dump", f"required_plugins: {named}")
    return replace(Outcome.unknown("not-tried", message, seen, remediation=_LOOK_FOR_PLUGINS), decides=True)


def check_sandboxer(facts: Facts, handler: str) -> Outcome:
    """A handler of containerd 2 names what makes its sandboxes: containerd, the handler's shim, or a proxy plugin."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if own and own.io_type == _STREAMING and own.sandboxer in _SANDBOXERS:
        message = f"the handler's io_type is {_STREAMING}, for which containerd's own sandboxes have no address"
        seen = Evidence("CRI Status", f"io_type {_STREAMING}")
        return Outcome.fail("SandboxerMissing", message, seen, remediation=USE_FIFOS)
    if around.value is None or own is None or own.sandboxer in _SANDBOXERS:
        return Outcome.skipped("this handler has the usual sandboxes", told_by(facts))
    seen = Evidence("CRI Status", f"sandboxer {own.sandboxer}")
    if own.sandboxer == "shim":
        if oci_runtime_of(facts, handler) not in ("runc", "crun"):
            return Outcome.skipped("the handler's own shim makes its sandboxes", seen)
        if os.path.basename(own.shim.value or "") not in _SHIMS_WITHOUT_SANDBOXES:
            return Outcome.unknown("not-tried", "unknown whether the handler's shim makes sandboxes", seen, own.shim)
        message = "the handler's sandboxer is shim, but the shim of runc and crun cannot make sandboxes"
        return Outcome.fail("SandboxerMissing", message, seen, own.shim)
    proxies = around.value.proxies
    if proxies.value is None:
        return Outcome.not_read("whether the handler's sandboxer is there", proxies)
    if own.sandboxer in proxies.value:
        socket = around.value.sockets.get(own.sandboxer)
        if socket and (why := why_no_socket(socket)):
            message = f"the sandboxer {inline(own.sandboxer)} does not run: its socket {inline(socket.source)} {why}"
            return Outcome.fail("SandboxerMissing", message, seen, Evidence(socket.source, problem=why))
        if socket and socket.value is None:
            return Outcome.not_read("whether the handler's sandboxer runs", socket, seen)
        return Outcome.passed("the handler's sandboxer is configured", seen)
    message = f"containerd has no sandboxer {inline(own.sandboxer)}, which this handler names"
    named = proxies.parse(lambda names: ", ".join(names) or "no proxy plugins")
    return Outcome.fail("SandboxerMissing", message, seen, named)
