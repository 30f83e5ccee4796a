"""The runtime handler that gives a Pod its own cgroup subtree."""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge
from probe.checks.remedies.platforms import BOOT_CGROUP_V2
from probe.checks.runtime.names import find_handler
from probe.facts.model import Facts, Handler, RuntimeFacts
from probe.finding import Evidence
from probe.nested import PodRequest

_SCRIPT = PodRequest(
    "entrypoint",
    "move all processes into a child cgroup",
    "a cgroup with processes in it gives no controllers to those below (EBUSY)",
)
_ANNOTATION = PodRequest(
    "annotation", "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw=true", "CRI-O mounts the cgroup read-only otherwise"
)
_V2 = f"Boot with cgroup v2 alone, on the drained node.\n{BOOT_CGROUP_V2}\n  reboot"
_CONTAINERD = (
    "With containerd 2.1 or newer, add a runtime handler with a writable cgroup, and name it in a RuntimeClass.\n"
    '  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nested]\n'
    '    runtime_type = "io.containerd.runc.v2"\n'
    "    cgroup_writable = true\n"
    '    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nested.options]\n'
    "      SystemdCgroup = true\n"
    "  systemctl restart containerd"
)
_CRIO = (
    "Allow the annotation for the runtime handler, and restart CRI-O.\n"
    '  [crio.runtime.runtimes.runc]\n    allowed_annotations = ["io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw"]\n'
    "  systemctl restart crio"
)
_DRIVER = (
    "Use crun, or the cgroup driver systemd (SystemdCgroup = true, and cgroupDriver: systemd in the kubelet's "
    "configuration): with another driver runc does not give the cgroup to the Pod's root."
)
_BROKEN = "Upgrade CRI-O to 1.35.1: 1.35.0 omits the ID mappings if the cgroup is writable (cri-o#9705)."


def check_cgroup(facts: Facts, handler: str) -> NestedOutcome:
    """The mount must be writable, and the directory must belong to the Pod's root."""
    version, runtime = facts.kernel.cgroup_version, facts.runtime.value
    if version.value == 1:
        message = "the node uses cgroup v1, which cannot be delegated to a user namespace"
        return judge(Outcome.fail("NestedCgroupV1", message, version, remediation=_V2))
    if version.value is None or runtime is None:
        problem = facts.runtime if version.value is not None else version
        return judge(Outcome.not_read("whether a Pod gets a cgroup of its own", problem))
    found = find_handler(facts, handler)
    if found is None:
        message = "unknown whether a Pod gets a cgroup of its own: the runtime names no such handler"
        return judge(Outcome.unknown("not-readable", message, runtime.handlers))
    return _of_handler(facts, runtime, found)


def _of_handler(facts: Facts, runtime: RuntimeFacts, handler: Handler) -> NestedOutcome:
    crio = runtime.name.value == "cri-o"
    requests = (_SCRIPT, _ANNOTATION) if crio else (_SCRIPT,)
    writable = handler.cgroup_writable
    name = f"runtime handler {handler.name}" if handler.name else "the default runtime handler"
    if writable.value is None and not _too_old(runtime):
        return judge(Outcome.not_read("whether the cgroup of a Pod is writable", writable), *requests)
    if not writable.value:
        others = _writable_handlers(runtime, handler)
        hint = f"; {', '.join(others)} would" if others else ""
        message = f"{name} mounts a container's cgroup read-only{hint}"
        remediation = _CRIO if crio else _CONTAINERD
        return judge(Outcome.fail("CgroupReadOnly", message, writable, remediation=remediation), *requests)
    if crio and runtime.version.value == "1.35.0":
        message = "CRI-O 1.35.0 starts no Pod with a user namespace and a writable cgroup"
        return judge(Outcome.fail("CgroupDelegationBroken", message, runtime.version, remediation=_BROKEN), *requests)
    seen = (writable, handler.systemd_cgroup, handler.oci_runtime, _options(facts), facts.nested.controllers)
    if handler.oci_runtime.value is None:
        return judge(Outcome.not_read("whether the cgroup belongs to the Pod's root", handler.oci_runtime), *requests)
    if not _is_owned(handler):
        if handler.systemd_cgroup.value is None:
            return judge(Outcome.not_read("the handler's cgroup driver", handler.systemd_cgroup), *requests)
        message = f"{name} mounts the cgroup writable, and it belongs to nobody: runc with the driver cgroupfs"
        return judge(Outcome.fail("CgroupNotOwned", message, *seen, remediation=_DRIVER), *requests)
    message = f"{name} gives a Pod its own writable cgroup"
    if facts.nested.max_descendants.value == "max":
        told = f"{message}; the node limits no number of cgroups (cgroup.max.descendants), so one Pod can exhaust it"
        return judge(Outcome.warn(told, *seen, facts.nested.max_descendants), *requests)
    return judge(Outcome.passed(message, *seen), *requests)


def _too_old(runtime: RuntimeFacts) -> bool:
    """True for containerd before 2.1, which has no such setting."""
    words = (runtime.version.value or "").split(".")[:2]
    numbers = [int(word) for word in words if word.isdigit()]
    return runtime.name.value == "containerd" and len(numbers) == 2 and tuple(numbers) < (2, 1)


def _writable_handlers(runtime: RuntimeFacts, handler: Handler) -> list[str]:
    """Names of other handlers that give a Pod a cgroup of its own."""
    return [
        one.name
        for one in runtime.handlers.value or ()
        if one.name and one != handler and one.cgroup_writable.value and _is_owned(one)
    ][:5]


def _is_owned(handler: Handler) -> bool:
    """True when the OCI runtime gives the cgroup to the Pod's root: crun always, runc by systemd."""
    return handler.oci_runtime.value == "crun" or (
        handler.oci_runtime.value is not None and handler.systemd_cgroup.value is True
    )


def _options(facts: Facts) -> Evidence:
    options = facts.mounts.value.cgroup2_options if facts.mounts.value else None
    return Evidence("options of cgroup2", ",".join(options)) if options else Evidence("cgroup2", problem="not seen")


CHECKS = (
    NestedCheck(
        id="nested-cgroup",
        levels=("engine",),
        question="Which runtime handler gives a Pod a cgroup subtree of its own?",
        why="dockerd makes a cgroup for each container, systemd one for each unit. A Pod's cgroup is mounted read-only "
        "unless the handler says otherwise; privileged: true removes the cgroup namespace, and makes it worse.",
        reasons=("NestedCgroupV1", "CgroupReadOnly", "CgroupNotOwned", "CgroupDelegationBroken"),
        documentation="cgroups(7), Delegation; containerd, cgroup_writable; KEP-5474",
        check=check_cgroup,
    ),
)
