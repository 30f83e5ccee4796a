"""Can the file systems that Pods need be idmapped?"""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.pod_volumes import check_volumes, evidence_of
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import CRIO_STORAGE, another_kernel, newest_kernel
from probe.checks.runtime.around import oci_runtime_of
from probe.checks.runtime.names import find_handler, handlers_of, no_runtime, snapshotter_of
from probe.facts.model import Facts
from probe.facts.tried import Attempt, attempt_of
from probe.finding import Evidence
from probe.reading import Reading
from probe.terms import Role


def check_runtime_root(facts: Facts) -> Outcome:
    """The runtime's root contains image layers and the files that it adds (`/etc/hostname`, `/etc/resolv.conf`)."""
    runtime = facts.runtime.value
    if runtime is not None and runtime.root_dir.value is None:  # the attempt was on the default directory
        return Outcome.not_read("where the container runtime's root lies", runtime.root_dir)
    return _judge_role(facts, "runtime-root", "RuntimeRootNotIdmappable", "the container runtime's root")


def check_overlay_layers(facts: Facts, name: str = "") -> Outcome:
    """Only overlay maps layers; other snapshotters copy them, which works but is slow."""
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, "the snapshotter")
    snapshotter = snapshotter_of(facts, name)
    if snapshotter.value is None:
        return Outcome.not_read("the snapshotter", snapshotter)
    if snapshotter.value == "erofs":
        return _erofs(facts, snapshotter)
    if snapshotter.value not in ("overlayfs", "overlay"):
        message = f"the snapshotter {snapshotter.value} copies layers instead of mapping them"
        return Outcome.skipped(message, snapshotter)
    if runtime.slow_chown.value:
        return Outcome.skipped("slow_chown is on: layers are copied where they cannot be mapped", runtime.slow_chown)
    if runtime.layers_dir.value is None:
        return Outcome.not_read("where the layers of images lie", runtime.layers_dir)
    outcome = _judge_role(facts, "overlay-layers", "OverlayLayersNotIdmappable", "overlay with idmapped layers")
    if outcome.status != "fail":
        return outcome
    if runtime.name.value == "cri-o":
        return Outcome.warn(
            "layers cannot be mapped, so CRI-O copies each image once per ID range",
            *outcome.evidence,
            remediation=CRIO_STORAGE,
        )
    if runtime.slow_chown.value is None:
        return Outcome.not_read("whether slow_chown would help", runtime.slow_chown, *outcome.evidence)
    if any(one.role == "tmpfs" and one.result == "refused" for one in facts.attempts):  # as on Linux before 6.3
        remediation = outcome.remediation or newest_kernel(facts)
        return Outcome.fail(outcome.reason, outcome.message, *outcome.evidence, remediation=remediation)
    return outcome


def _erofs(facts: Facts, snapshotter: Reading[str]) -> Outcome:
    """The erofs snapshotter maps its own mounts and never copies (containerd 2.3); only a Pod proves that it works."""
    able = (one.snapshotter.value for one in handlers_of(facts) if one.user_namespaces)
    others = any(name not in (None, snapshotter.value) for name in able)
    if facts.userns_pod_runs.value and not others:  # of which handler that Pod is, is not told
        return Outcome.passed("a Pod with a user namespace ran from the snapshotter erofs", facts.userns_pod_runs)
    message = (
        "unknown whether the snapshotter erofs can map its layers: not tried, and no Pod with a user namespace runs"
    )
    return Outcome.unknown("not-tried", message, snapshotter, facts.userns_pod_runs)


def check_kubelet_root(facts: Facts, name: str = "") -> Outcome:
    """The kubelet's root contains `/etc/hosts` and the termination log of each container, idmapped for every Pod."""
    kubelet = facts.kubelet.value
    if kubelet is not None and kubelet.root_dir.value is None:
        return Outcome.not_read("where the kubelet's root directory is", kubelet.root_dir)
    mounts = facts.mounts.value
    if mounts and mounts.pods_unbindable and oci_runtime_of(facts, name) == "crun":
        message = "the mount of the kubelet's root directory is unbindable, and crun cannot bind it into a Pod"
        return Outcome.fail("KubeletRootNotIdmappable", message, Evidence(facts.mounts.source, "unbindable"))
    return _judge_role(facts, "kubelet-root", "KubeletRootNotIdmappable", "the kubelet's root directory")


def check_tmpfs(facts: Facts) -> Outcome:
    """Nearly every Pod has a service account token, on a tmpfs."""
    return _judge_role(facts, "tmpfs", "TmpfsNotIdmappable", "a fresh tmpfs")


def check_local_volumes(facts: Facts, name: str = "") -> Outcome:
    """Both volumes are directories below the kubelet's root, bind-mounted with the options of its mount."""
    what = "whether emptyDir and ConfigMap on disk work"
    root = attempt_of(facts.attempts, "kubelet-root")
    if root is None:
        message = f"unknown {what}: the kubelet's root directory was not tried"
        return Outcome.unknown("NotTried", message, _NOBODY_TRIED)
    if root.result == "unknown":
        return Outcome.unknown(root.kind or "not-tried", f"unknown {what}: {root.reason}", evidence_of(root))
    if root.result == "refused":
        message = "no Pod with a user namespace starts here, with or without such a volume"
        return Outcome.skipped(message, evidence_of(root))
    if facts.mounts.value is None:
        return Outcome.not_read(what, facts.mounts, evidence_of(root))
    if facts.probe.entered.value is not True:
        message = f"unknown {what}: the node's mount table could not be reached"
        return Outcome.unknown(facts.probe.entered.kind or "not-permitted", message, facts.probe.entered)
    options = facts.mounts.value.pods_options
    if options.value is None:
        return Outcome.not_read(what, options, evidence_of(root))
    told = options.parse(",".join)
    if "nosymfollow" in options.value:
        return _without_links(facts, name, told)
    return Outcome.passed("emptyDir and ConfigMap on disk can be idmapped and used", evidence_of(root), told)


def _without_links(facts: Facts, name: str, options: Reading[str]) -> Outcome:
    """Files of a ConfigMap are symbolic links; idmapped mounts of runc lose `nosymfollow`, those of crun keep it."""
    handler = find_handler(facts, name)
    oci_runtime = handler.oci_runtime if handler else None
    if oci_runtime is not None and oci_runtime.value == "runc":
        message = "emptyDir and ConfigMap on disk can be idmapped and used: runc's mounts drop the option nosymfollow"
        return Outcome.passed(message, options, oci_runtime)
    message = "the kubelet's root directory is mounted with nosymfollow, but the files of a ConfigMap are symlinks"
    if oci_runtime is not None and oci_runtime.value == "crun":
        message = f"{message}: crun's mounts keep the option, so Pods cannot open them"
        return Outcome.fail("LocalVolumesWithoutLinks", message, options, oci_runtime)
    return Outcome.warn(f"{message}: Pods cannot open them if the OCI runtime keeps the option", options)


def _judge_role(facts: Facts, role: Role, reason: str, what: str) -> Outcome:
    attempt = attempt_of(facts.attempts, role)
    if attempt is None:
        return Outcome.unknown("NotTried", f"{what} was not tried", _NOBODY_TRIED)
    evidence = evidence_of(attempt)
    where = f" ({attempt.fstype})" if attempt.fstype and attempt.role != "tmpfs" else ""
    if attempt.result == "supported":
        return Outcome.passed(f"{what}{where} can be idmapped", evidence)
    if attempt.result == "refused":
        remediation = another_kernel(facts, attempt) if _kernel_refuses_all(facts, attempt) else ""
        if not remediation and attempt.fstype in _MAPPED_BY_NEWER and attempt.role != "overlay-layers":
            remediation = newest_kernel(facts)
        return Outcome.fail(reason, f"{what}{where}: {attempt.reason}", evidence, remediation=remediation)
    return Outcome.unknown(attempt.kind or "not-tried", f"{what}{where}: {attempt.reason}", evidence)


def _kernel_refuses_all(facts: Facts, attempt: Attempt) -> bool:
    """True when the kernel lacks idmapped mounts or has them switched off, so another file system would not help."""
    return attempt.errno in ("ENOSYS", "EPERM") and all(one.result != "supported" for one in facts.attempts)


_MAPPED_BY_NEWER = ("btrfs", "ext4", "xfs")
"""File systems that the generic remediation advises: a kernel that refuses them is too old, as 5.14 for btrfs."""
_NOBODY_TRIED = Evidence("idmapped mounts", problem="not tried")

CHECKS = (
    Check(
        id="filesystem-runtime-root",
        level="stateless",
        gating=True,
        question="Can the file system of the container runtime's root directory be idmapped?",
        why="It holds the image layers, and /etc/hostname and /etc/resolv.conf of every Pod, which are idmapped one by "
        "one. If its file system refuses that, no Pod with a user namespace starts.",
        reasons=("RuntimeRootNotIdmappable",),
        remediation=GENERIC["filesystem-runtime-root"],
        documentation="mount_setattr(2), NOTES: ID-mapped mounts",
        check=check_runtime_root,
    ),
    Check(
        id="filesystem-overlay-layers",
        level="stateless",
        gating=True,
        question="Does overlay accept idmapped layers from the container runtime's root?",
        why="The overlayfs snapshotter idmaps the layers of an image instead of copying them. If it cannot, "
        "containerd refuses the Pod unless slow_chown is on.",
        reasons=("OverlayLayersNotIdmappable",),
        remediation=GENERIC["filesystem-overlay-layers"],
        documentation="containerd docs/user-namespaces; Linux Documentation/filesystems/overlayfs.rst",
        check=check_overlay_layers,
        per_handler=check_overlay_layers,
    ),
    Check(
        id="filesystem-kubelet-root",
        level="stateless",
        gating=True,
        question="Can the file system of the kubelet's root directory be idmapped?",
        why="Its pods directory holds /etc/hosts and the termination log of every container, and emptyDir and "
        "ConfigMap volumes on disk. If its file system cannot be idmapped, no Pod with a user namespace starts.",
        reasons=("KubeletRootNotIdmappable",),
        remediation=GENERIC["filesystem-kubelet-root"],
        documentation="KEP-127, Pod volumes; mount_setattr(2), NOTES: ID-mapped mounts",
        check=check_kubelet_root,
        per_handler=check_kubelet_root,
    ),
    Check(
        id="filesystem-tmpfs",
        level="projected",
        gating=True,
        question="Can tmpfs be idmapped?",
        why="Service account tokens, Secrets, projected volumes and memory-backed emptyDir are on tmpfs. If tmpfs "
        "cannot be idmapped, only Pods without any of them run (automountServiceAccountToken: false).",
        reasons=("TmpfsNotIdmappable",),
        remediation=GENERIC["filesystem-tmpfs"],
        documentation="Kubernetes documentation, User Namespaces: before you begin (Linux 6.3)",
        check=check_tmpfs,
    ),
    Check(
        id="filesystem-local-volumes",
        level="local",
        gating=True,
        question="Can Pods use emptyDir and ConfigMap volumes on disk?",
        why="These are directories below the kubelet's root directory, which the OCI runtime binds and idmaps with the "
        "options of its mount. With nosymfollow, no file of a ConfigMap can be opened in a Pod of crun.",
        reasons=("LocalVolumesWithoutLinks",),
        remediation=GENERIC["filesystem-local-volumes"],
        documentation="mount(2), MS_NOSYMFOLLOW; Kubernetes documentation, ConfigMaps",
        check=check_local_volumes,
        per_handler=check_local_volumes,
    ),
    Check(
        id="filesystem-volumes",
        level="volumes",
        gating=False,
        question="Can each file system that Pods have mounted here be idmapped?",
        why="A Pod with a user namespace starts only if the top mount of each of its volumes can be idmapped. "
        "Other Pods of the node are not affected, so this never decides the node's verdict.",
        reasons=("VolumesNotIdmappable",),
        remediation=GENERIC["filesystem-volumes"],
        documentation="Kubernetes documentation, User Namespaces: limitations",
        check=check_volumes,
    ),
)
