"""Hazards of a working node: bugs of versions, device hooks, Pods without the user namespace they requested."""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.devices.check import check_device_hooks, judge_device_hooks
from probe.checks.faults import IMAGE_VOLUMES, before_fix, version_of
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import delete_holder, replace_pods
from probe.checks.remedies.runtime import upgrade_containerd, upgrade_runc
from probe.checks.runtime.names import find_handler, handlers_told, no_runtime, oci_name, runtime_name
from probe.facts.defaults import ALL_IDS, BLOCK
from probe.facts.model import Facts, PodFacts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence


def check_selinux_runc(facts: Facts, name: str = "") -> Outcome:
    """With SELinux, runc 1.2.0 fails: it labels /dev/mqueue before it becomes root of the user namespace."""
    selinux = facts.kernel.selinux_enforcing
    if selinux.kind == "absent":
        return Outcome.skipped("SELinux is not active on this node", selinux)
    what = "whether SELinux and runc 1.2.0 are used together"
    if facts.runtime.value is None:
        return no_runtime(facts, what)
    if facts.runtime.value.handlers.value is None:
        return Outcome.not_read(what, facts.runtime.value.handlers)
    handler = find_handler(facts, name)
    if handler is None:
        message = f"{runtime_name(facts.runtime.value)} has no such handler"
        return Outcome.skipped(message, handlers_told(facts.runtime.value))
    if handler.binary.kind == "absent":
        return Outcome.skipped("this handler runs no OCI runtime like runc", handler.binary)
    for reading in (handler.oci_runtime, handler.oci_version):
        if reading.value is None:
            return Outcome.not_read(what, reading, selinux)
    if handler.oci_runtime.value != "runc" or parse_version_number(handler.oci_version.value or "") != (1, 2, 0):
        return Outcome.passed(f"{oci_name(handler)} labels /dev/mqueue as it should", handler.oci_version, selinux)
    if selinux.value is None:
        return Outcome.not_read("whether SELinux is active, with runc 1.2.0", selinux, handler.oci_version)
    return Outcome.warn(
        f"SELinux is active, and {oci_name(handler)} cannot label /dev/mqueue in user namespaces: if the container "
        "runtime labels containers, each Pod with a user namespace fails with “setxattr …/dev/mqueue: operation not "
        "permitted”",
        handler.oci_version,
        selinux,
        remediation=upgrade_runc(facts, handler.binary.value),
    )


def check_image_volumes(facts: Facts) -> Outcome:
    """Before the fix, containerd requests an idmapped mount of an overlay, which kernels refuse."""
    what = "whether volumes of type image work with user namespaces"
    found = version_of(facts, IMAGE_VOLUMES.program, what)
    if isinstance(found, Outcome):
        return found
    runtime, number = found
    if unsure := before_fix(IMAGE_VOLUMES, runtime, number, what):
        return unsure
    if number < IMAGE_VOLUMES.since:
        return Outcome.skipped(f"{runtime_name(runtime)} has no volumes of type image", runtime.version)
    fixed = IMAGE_VOLUMES.fixed.get(number[:2], 0)
    if number[2] >= fixed:
        return Outcome.passed(f"{runtime_name(runtime)} maps volumes of type image", runtime.version)
    wanted = f"containerd {number[0]}.{number[1]}.{fixed} or newer"
    return Outcome.warn(
        f"with {runtime_name(runtime)} a Pod with a user namespace and a volume of type image fails with “failed to "
        "set MOUNT_ATTR_IDMAP … invalid argument”",
        runtime.version,
        remediation=upgrade_containerd(facts, wanted),
    )


def check_mapping_ignored(facts: Facts) -> Outcome:
    """Pods that requested a user namespace and run without one; nothing else reports them."""
    if facts.pods.value is None:
        return Outcome.not_read("whether Pods have the user namespace that they asked for", facts.pods)
    return judge_mapping_ignored(facts.pods.value, facts)


def judge_mapping_ignored(pods: PodFacts, facts: Facts) -> Outcome:
    """Only the kubelet's records name Pods with the request; a kubelet that ignores the field has none."""
    seen = Evidence(
        "kubelet's records against running processes",
        f"{pods.recorded} Pods: {pods.own_namespace} with IDs of their own, {pods.host_namespace} with the node's",
    )
    if pods.host_namespace:
        message = (
            f"{pods.host_namespace} of {pods.recorded} Pods that asked for a user namespace run with the node's IDs: "
            "root in them is root on the node, and nothing else reports it"
        )
        return Outcome.warn(message, seen, remediation=replace_pods(facts))
    if pods.unread:
        return _unread(pods, "whether Pods have the user namespace that they asked for", seen)
    if not pods.recorded:
        return Outcome.skipped("the kubelet has recorded no Pod with a user namespace", seen)
    message = f"none of {pods.recorded} Pods that asked for a user namespace runs with the node's IDs"
    return Outcome.passed(message, seen)


def check_last_block(facts: Facts) -> Outcome:
    """With the default range, one Pod of 65535 gets the last block of IDs."""
    if facts.pods.value is None:
        return Outcome.not_read("whether a Pod holds the last block of IDs", facts.pods)
    return judge_last_block(facts.pods.value, facts)


def judge_last_block(pods: PodFacts, facts: Facts) -> Outcome:
    """The kernel refuses a map with ID 4294967295, which means "no ID"."""
    seen = Evidence("kubelet's records", f"{pods.recorded} Pods recorded, {pods.last_block} up to 4294967295")
    if not pods.last_block:
        if pods.unread:
            return _unread(pods, "whether a Pod holds the last block of IDs", seen)
        return Outcome.passed("no Pod holds the last block of IDs, which the kernel refuses", seen)
    kubelet = facts.kubelet.value
    first = ALL_IDS - ((kubelet.ids_per_pod.value if kubelet else None) or BLOCK)
    message = (
        "a Pod has the last block of IDs, which the kernel refuses: it stays in ContainerCreating forever, with "
        "“fork/exec /proc/self/exe: invalid argument”"
    )
    return Outcome.warn(message, seen, remediation=delete_holder(facts, first))


def _unread(pods: PodFacts, what: str, seen: Evidence) -> Outcome:
    message = f"unknown {what}: {pods.unread} of the kubelet's records could not be read"
    return Outcome.unknown("not-readable", message, seen)


CHECKS = (
    Check(
        id="hazard-selinux-runc-1-2-0",
        level="stateless",
        gating=False,
        question="Is the node free of runc 1.2.0 with SELinux?",
        why="runc 1.2.0 labels /dev/mqueue, which it may not do in a user namespace that the container runtime made. "
        "1.1 and 1.2.1 do not have this fault.",
        remediation=GENERIC["hazard-selinux-runc-1-2-0"],
        documentation="https://github.com/opencontainers/runc/issues/4466",
        check=check_selinux_runc,
        per_handler=check_selinux_runc,
    ),
    Check(
        id="hazard-image-volumes",
        level="stateless",
        gating=False,
        question="Can Pods with a user namespace have volumes of type image?",
        why="containerd before 2.1.7 and 2.2.2 asks the kernel to idmap the mounted overlay instead of its layers, and "
        "the kernel refuses. Pods without such volumes are not affected.",
        remediation=GENERIC["hazard-image-volumes"],
        documentation="https://github.com/containerd/containerd/issues/12812",
        check=check_image_volumes,
    ),
    Check(
        id="hazard-device-hooks",
        level="stateless",
        gating=False,
        question="Can Pods with a user namespace use the devices that this node offers?",
        why="runc binds the node's own device file, whose mode must allow other users; crun creates one for the Pod's "
        "root. Since CDI 1.1.0 the mounts of a device must be idmapped, which overlay allows from Linux 7.3 on, and a "
        "createContainer hook runs as the Pod's root, which NVIDIA does not support. Pods without devices are not "
        "affected.",
        remediation=GENERIC["hazard-device-hooks"],
        documentation="Container Device Interface, SPEC.md; https://github.com/NVIDIA/nvidia-container-toolkit/issues/648",
        check=check_device_hooks,
        per_handler=judge_device_hooks,
    ),
    Check(
        id="hazard-mapping-ignored",
        level="stateless",
        gating=False,
        question="Do all Pods that asked for a user namespace have one?",
        why="containerd 1.6 and older ignore the request, and kubelets before 1.30 do not check. The Pod runs, and "
        "nothing shows that its root is the node's root.",
        remediation=GENERIC["hazard-mapping-ignored"],
        documentation="KEP-127; user_namespaces(7)",
        check=check_mapping_ignored,
    ),
    Check(
        id="hazard-last-block",
        level="stateless",
        gating=False,
        question="Is the last block of IDs unused?",
        why="The kubelet's default range ends with 4294967295, which is not a valid ID. The kernel refuses the map of "
        "the Pod that gets this block by chance, and the kubelet retries forever.",
        remediation=GENERIC["hazard-last-block"],
        documentation="https://github.com/kubernetes/kubernetes/issues/139916; user_namespaces(7)",
        check=check_last_block,
    ),
)
