"""Remediations for the kernel, the kubelet and the Pods of a node, by its facts."""

from __future__ import annotations

from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.kernel import mount_uncovered, raise_limits
from probe.checks.remedies.platforms import inline, nested, platforms_of, quoted, restart_kubelet
from probe.checks.remedies.table import fitting
from probe.facts.defaults import KUBELET_ROOT
from probe.facts.kubelet.versions import GATE, parse_release, version_rule
from probe.facts.model import Facts, KubeletFacts
from probe.facts.trials.sandbox import limit_of
from probe.facts.tried import Attempt, SandboxStep

NOT_BUILT = "Boot a kernel built with CONFIG_USER_NS=y, as the kernels of all current distributions are."
READ_THE_LOG = "Read the kernel's log, and probe again:\n  dmesg | tail"
OTHER_MACHINE = "Use a node with x86-64 or arm64."
OPEN_ROOT = "Let every user search the root directory, as all distributions do:\n  chmod 0755 /"
DISTRUST = (
    "The node needs no repair: an LSM or a patched kernel answers differently inside user namespaces here. "
    "Start a Pod with hostUsers: false on this node to be sure, and report this as a bug of userns-probe."
)
LEFT_BEHIND = "The trial left nothing behind. Look for other containers that could not be removed:\n  crictl ps -a"
REFUSED_TO_ALL = "The kernel refuses it in every container: see this report's finding about that file system."
MOUNT_APART = "Give each file system mounted below it to the Pod as a volume of its own."
COPY_LESS = "Use Linux 5.19 or newer with containerd's root on ext4, xfs or btrfs: then nothing is copied."
CRIO_STORAGE = "Put /var/lib/containers/storage on ext4, xfs or btrfs, with Linux 5.19 or newer."


def another_kernel(facts: Facts, attempt: Attempt) -> str:
    """Kernel upgrade. Only EL9 answers EPERM, and later EL9 kernels do not; older systems need a new release."""
    if nested(facts):
        return newest_kernel(facts)
    if attempt.errno == "EPERM":
        return (
            "EL9 kernels before 5.14.0-334.el9 have idmapped mounts switched off. On the drained node:\n"
            "  dnf upgrade -y kernel && reboot"
        )
    return (
        "Boot Linux 6.3 or newer, which has idmapped mounts. If this release of the distribution has no such kernel, "
        "upgrade to one that does: Debian 13, Ubuntu 24.04, EL 9.3 or newer."
    )


def newest_kernel(facts: Facts) -> str:
    """Kernel version with support for everything, so that one upgrade suffices."""
    row = fitting("filesystem-tmpfs", "TmpfsNotIdmappable", platforms_of(facts))
    return row.text if row else GENERIC["filesystem-tmpfs"]


def repeat_step(step: SandboxStep, limits: dict[str, int | None]) -> str:
    """Remediation for a refused step of the sandbox trial; empty without a specific one."""
    limit = limit_of(step.name)
    if step.errno == "ENOSPC" and limit:
        return raise_limits({limit: limits.get(limit)})
    if step.errno == "EPERM" and step.name in ("proc", "sysfs"):
        place = "/proc" if step.name == "proc" else "/sys"
        return f"{mount_uncovered([step.name])}\nTo see the cover:\n  findmnt -R -o TARGET,FSTYPE,OPTIONS {place}"
    return ""


def switch_gate_back(facts: Facts, kubelet: KubeletFacts) -> str:
    """Remediation for a feature gate that is switched off."""
    release = kubelet.version.parse(parse_release).value
    remove = release is not None and version_rule(release).default
    what = f"Remove {GATE}" if remove else f"Set {GATE} to true in the API server, and here"
    return f"{what} {'from' if remove else 'in'} {_where(kubelet)}, then:\n{restart_kubelet(facts)}"


def remove_gate(kubelet: KubeletFacts) -> str:
    """Remediation, before the restart, for a gate that the kubelet does not accept."""
    return f"Before the kubelet restarts, remove {GATE} from {_where(kubelet)}."


def _where(kubelet: KubeletFacts) -> str:
    """Files and flags that may set the gates of the kubelet."""
    places = ("--feature-gates", *(inline(file.path) for file in kubelet.files.value or ()))
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} or {places[-1]}"


def restart_it(facts: Facts, when: str) -> str:
    """Sentence and command for a restart of the kubelet; *when* completes the sentence."""
    return f"Restart the kubelet{when}:\n{restart_kubelet(facts)}"


def delete_holder(facts: Facts, first: int) -> str:
    """Commands that find and delete the Pod whose block of IDs begins with *first*."""
    kubelet = facts.kubelet.value
    root_dir = (kubelet.root_dir.value if kubelet else None) or KUBELET_ROOT
    return (
        "Delete the Pod whose UID this prints; the next one gets another block:\n"
        f"  grep -l '\"hostId\":{first},' {quoted(root_dir)}/pods/*/userns | awk -F/ '{{print $(NF-1)}}'\n"
        "  kubectl get pods -A -o custom-columns=UID:.metadata.uid,NAMESPACE:.metadata.namespace,NAME:.metadata.name"
    )


def keep_devices(facts: Facts) -> str:
    """Remediation for Pods with devices."""
    return (
        "Pods without such devices are not affected. Pods with one need hostUsers: true for now. These have false:"
        f"{_list_pods(facts.node_name)}"
    )


def replace_pods(facts: Facts) -> str:
    """Remediation for Pods that run without the requested user namespace."""
    return (
        "Treat these Pods as unprotected. Upgrade to kubelet 1.30 and containerd 2.0 or CRI-O 1.30, or newer, then "
        "delete the Pods, so that their controllers recreate them:"
        f"{_list_pods(facts.node_name)}"
    )


def _list_pods(node_name: str | None) -> str:
    """Command that lists the Pods of this node with `hostUsers: false`."""
    node = quoted(node_name) if node_name else "NODE"
    whose = "" if node_name else "\nNODE is the name of this node in kubectl get nodes."
    return (
        f"\n  kubectl get pods -A --field-selector spec.nodeName={node} -o json | "
        "jq -r '.items[] | select(.spec.hostUsers == false) | .metadata.namespace + \"/\" + .metadata.name'" + whose
    )
