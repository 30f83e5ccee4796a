"""Programs and settings that each Pod needs, whether it has a user namespace or not."""

from __future__ import annotations

import stat

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import (
    handler_around,
    is_containerd,
    oci_runtime_of,
    of_containerd_alone,
    surroundings_of,
    told_by,
    worst,
)
from probe.checks.runtime.names import may_be_stale, no_kubelet
from probe.checks.runtime.shims import (
    check_preloaded,
    check_required_plugins,
    check_sandboxer,
    check_shim,
    check_shim_cgroup,
)
from probe.facts.around import HandlerAround
from probe.facts.kubelet.versions import parse_release
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import Reading, problem_of

_NETWORK_READY = "NetworkReady"
_START_DBUS = (
    "Start D-Bus, which makes the socket, or let the runtime see it: without InaccessiblePaths= and "
    "TemporaryFileSystem= of its unit for /run/dbus and /run/systemd:\n"
    "  systemctl start dbus.socket; systemctl cat containerd crio | grep -E 'Paths=|FileSystem='"
)
_DRIVER_FROM_CRI = (1, 31)
"""Since when KubeletCgroupDriverFromCRI is on by default."""


def check_condition(facts: Facts, name: str, reason: str) -> Outcome:
    """Without RuntimeReady the kubelet starts no Pod, without NetworkReady none that has a network of its own.

    *Source*: kubelet, `updateRuntimeUp` in `pkg/kubelet/kubelet.go`.
    """
    runtime = facts.runtime.value
    conditions = runtime.conditions if runtime else problem_of(facts.runtime)
    if conditions.value is None:
        return Outcome.not_read(f"whether the runtime reports {name}", conditions)
    found = next((one for one in conditions.value if one.type == name), None)
    if found is None:
        seen = Evidence(conditions.source, ", ".join(inline(one.type) for one in conditions.value) or "no conditions")
        message = f"the runtime does not report {name}, so the kubelet takes it for false and starts no Pod"
        return Outcome.fail(reason, message, seen)
    seen = Evidence(
        conditions.source, f"{name} {str(found.met).lower()}{f', {found.message}' if found.message else ''}"
    )
    if found.met:
        return Outcome.passed(f"the runtime reports {name}", seen)
    why = f": {inline(found.message)}" if found.message else ""
    return Outcome.fail(reason, f"the runtime reports {name} false, so the kubelet starts no such Pod{why}", seen)


def _network_is_ready(facts: Facts) -> bool | None:
    conditions = (facts.runtime.value.conditions.value if facts.runtime.value else None) or ()
    return next((one.met for one in conditions if one.type == _NETWORK_READY), None)


def check_network(facts: Facts, handler: str) -> Outcome:
    """A Pod with a user namespace never has the node's network: the API server refuses hostNetwork for it."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if around.value is None:
        return Outcome.not_read("whether Pods get a network", around)
    cni = around.value.cni
    if own is None or not is_containerd(facts):
        return Outcome.skipped("this runtime does not say where it looks for networks", told_by(facts))
    if own.own_network:
        return Outcome.skipped("this handler has a network configuration of its own", told_by(facts))
    if cni.kind == "absent" and _network_is_ready(facts):
        message = f"the runtime reports {_NETWORK_READY}, though no network is configured in {inline(cni.source)}"
        return Outcome.unknown("not-readable", message, cni)
    if cni.kind == "absent":
        message = f"no network is configured in {inline(cni.source)}, so the runtime refuses each Pod"
        refused = Outcome.fail("NetworkNotConfigured", message, cni)
        return replace(refused, stands=_network_is_ready(facts) is False)  # the cause of what the kubelet acts on
    if cni.value is None:
        return Outcome.not_read("whether Pods get a network", cni)
    directories = ", ".join(map(inline, cni.value.directories))
    if cni.value.missing:
        missing = ", ".join(map(inline, cni.value.missing))
        message = f"{inline(cni.value.conf)} needs the CNI plugin {missing}; {directories} has no such executable"
        return Outcome.fail("CniPluginMissing", message, Evidence(cni.value.conf, f"cannot be executed: {missing}"))
    return Outcome.passed("each configured CNI plugin is installed", Evidence(cni.value.conf, directories))


def check_hosts(facts: Facts) -> Outcome:
    """Containerd copies the node's /etc/hosts for each Pod, before the kubelet's own takes its place.

    *Source*: containerd, internal/cri/server/sandbox_run_linux.go, `setupSandboxFiles`.
    """
    around = surroundings_of(facts)
    if around.value is None:
        return Outcome.not_read("whether the runtime can copy /etc/hosts", around)
    hosts = around.value.hosts
    if not is_containerd(facts) or hosts.kind == "not-tried":
        message = "only containerd copies /etc/hosts for each Pod"
        return of_containerd_alone(facts, "whether the runtime can copy /etc/hosts", message)
    if hosts.kind == "absent" or (hosts.value and not stat.S_ISREG(hosts.value.mode)):
        why = "is not a regular file" if hosts.value else "does not exist"
        message = f"containerd copies /etc/hosts for each Pod, but the file {why}"
        return Outcome.fail("HostsFileMissing", message, Evidence(hosts.source, problem=why))
    if hosts.value is None:
        return Outcome.not_read("whether the runtime can copy /etc/hosts", hosts)
    return Outcome.passed("the runtime can copy /etc/hosts", Evidence(hosts.source, "a file"))


def check_resolv_conf(facts: Facts) -> Outcome:
    """The kubelet reads it for each Pod, whatever the Pod's dnsPolicy, before it asks the runtime for a sandbox.

    *Source*: kubelet, pkg/kubelet/network/dns, `GetPodDNS` and `getHostDNSConfig`.
    """
    around, what = facts.kubelet_around, "whether the kubelet can read its resolv.conf"
    if around.value is None:
        return no_kubelet(facts, what, around)
    file = around.value.resolv_conf
    if file.kind == "not-tried":
        return Outcome.skipped("the kubelet reads no resolv.conf that is known", file)
    if file.kind == "absent" or (file.value and not (stat.S_ISREG(file.value.mode) or stat.S_ISCHR(file.value.mode))):
        why = "is not a regular file" if file.value else "does not exist"
        message = f"the kubelet reads {inline(file.source)} (resolvConf) for each Pod, but that {why}"
        if stale := may_be_stale(facts, facts.kubelet.value.resolv_conf if facts.kubelet.value else None):
            doubt = f"{message}; unknown whether that setting is in force: {stale} changed since the kubelet started"
            unknown = Outcome.unknown("not-readable", doubt, Evidence(file.source, problem=why))
            return replace(unknown, decides=True, stands=True)
        found = Outcome.fail("ResolvConfMissing", message, Evidence(file.source, problem=why))
        return replace(found, stands=True)  # the runtime, which alone a trial asks, does not read it
    if file.value is None:
        return Outcome.not_read(what, file)
    return Outcome.passed("the kubelet can read its resolv.conf", Evidence(file.source, "a file"))


def check_cgroup_driver(facts: Facts, handler: str) -> Outcome:
    """Runc's driver for systemd takes no path of cgroupfs, and asks systemd for each cgroup."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if around.value is None:
        return Outcome.not_read("which cgroup driver is used", around)
    oci, hybrid = oci_runtime_of(facts, handler), around.value.hybrid_controllers
    if oci == "crun" and hybrid.value:
        message = (
            f"with cgroup v1 mounted, crun makes no container while cgroup v2 has controllers: {inline(hybrid.value)}"
        )
        return Outcome.fail("HybridCgroups", message, hybrid)
    driver, old = _kubelets_driver(facts)
    if own and told_by(facts).value == "cri-o" and old and driver and driver.value not in (None, _driver_of(own)):
        message = f"cgroup_manager of CRI-O is {_driver_of(own)}, but the kubelet's cgroupDriver is {driver.value}"
        return Outcome.fail("CgroupDriverMismatch", f"{message}: CRI-O then refuses each sandbox", driver)
    if own is None or not own.systemd_cgroup:
        return Outcome.skipped("this handler does not ask systemd for cgroups", told_by(facts))
    setting = "SystemdCgroup is true" if is_containerd(facts) else "cgroup_manager is systemd"
    seen, systemd = Evidence("CRI Status", setting), around.value.systemd
    if systemd.value is None:
        return Outcome.not_read("whether systemd runs on this node", systemd, seen)
    if not systemd.value and oci in ("runc", "crun"):
        message = f"{setting}, but systemd does not run on this node, so {oci} makes no container"
        return Outcome.fail("CgroupDriverMismatch", message, seen, systemd)
    if not systemd.value and not oci:
        return Outcome.unknown("not-readable", f"{setting}, but systemd does not run on this node", seen)
    if around.value.bus.value is False and oci in ("runc", "crun"):
        message = f"{setting}, but no socket is there by which {oci} could ask systemd: {around.value.bus.source}"
        return Outcome.fail("CgroupDriverMismatch", message, seen, around.value.bus, remediation=_START_DBUS)
    if old and driver is not None and driver.value == "cgroupfs" and oci == "runc":
        message = f"{setting}, but the kubelet's cgroupDriver is cgroupfs: runc then refuses the kubelet's cgroup paths"
        return Outcome.fail("CgroupDriverMismatch", message, seen, driver)
    return Outcome.passed("systemd makes the cgroups of Pods", seen, systemd)


def _kubelets_driver(facts: Facts) -> tuple[Reading[str] | None, bool]:
    """`cgroupDriver` of the kubelet, and whether it is so old that this counts, and not what CRI tells."""
    kubelet = facts.kubelet.value
    release = kubelet.version.parse(parse_release).value if kubelet else None
    return kubelet.cgroup_driver if kubelet else None, release is not None and release < _DRIVER_FROM_CRI


def _driver_of(own: HandlerAround) -> str:
    return "systemd" if own.systemd_cgroup else "cgroupfs"


def check_parts(facts: Facts, handler: str) -> Outcome:
    """Judges the runtime's own status, its shim, the network, and the cgroup driver."""
    return worst(
        {
            "RuntimeNotReady": check_condition(facts, "RuntimeReady", "RuntimeNotReady"),
            "ShimMissing": check_shim(facts, handler),
            "PreloadMissing": check_preloaded(facts, handler),
            "ShimCgroupMissing": check_shim_cgroup(facts, handler),
            "": check_required_plugins(facts),  # never a warning
            "HostsFileMissing": check_hosts(facts),
            "ResolvConfMissing": check_resolv_conf(facts),
            "SandboxerMissing": check_sandboxer(facts, handler),
            "CniPluginMissing": check_network(facts, handler),
            "NetworkNotReady": check_condition(facts, _NETWORK_READY, "NetworkNotReady"),
            "CgroupDriverMismatch": check_cgroup_driver(facts, handler),
        }
    )


CHECKS = (
    Check(
        id="runtime-parts",
        level="stateless",
        gating=False,
        question="Is the runtime ready, with its programs, a network and a matching cgroup driver?",
        why="The kubelet starts no Pod while CRI's Status says RuntimeReady or NetworkReady false, or without the "
        "resolv.conf that it reads for each. containerd runs a shim for each Pod and copies /etc/hosts, CRI-O runs "
        "pinns and a monitor, and both run plugins that the network configuration names. With SystemdCgroup = true, "
        "runc refuses each container where systemd does not run, or where the kubelet's cgroupDriver is cgroupfs; "
        "crun refuses where cgroup v2 has controllers beside v1. containerd makes no container without the NRI plugins "
        "that its configuration requires.",
        reasons=(
            "RuntimeNotReady",
            "ShimMissing",
            "MonitorMissing",
            "PreloadMissing",
            "ShimCgroupMissing",
            "HostsFileMissing",
            "ResolvConfMissing",
            "SandboxerMissing",
            "CniPluginMissing",
            "NetworkNotConfigured",
            "NetworkNotReady",
            "CgroupDriverMismatch",
            "HybridCgroups",
        ),
        remediation=AROUND["runtime-parts"],
        documentation="https://www.cni.dev/docs/spec/; containerd, core/runtime/v2/README.md",
        check=lambda facts: check_parts(facts, ""),
        per_handler=check_parts,
    ),
)
