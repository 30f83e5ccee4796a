"""Remediations for a kubelet's range of IDs, and for other causes that prevent its next start."""

from __future__ import annotations

from collections.abc import Iterable

from probe.checks.remedies.platforms import inline, kubelet_unit, quoted, restart_kubelet
from probe.facts.defaults import BLOCK, KUBELET_ROOT, MAX_UINT32
from probe.facts.ids.manager import Cause
from probe.facts.model import Facts, IdFacts, KubeletFacts

_MAX_PODS = 110
"""Default of the kubelet's maxPods."""
_FIRST = 4_194_304
"""First candidate for a range: high above the users of the node."""

_REMEDIATIONS: dict[Cause, str] = {
    "gate": "Remove UserNamespacesSupport from --feature-gates and featureGates before the kubelet restarts.",
    "configuration": "Correct maxPods in the kubelet's configuration before it restarts.",
    "cgroup": "Boot with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1), or set failCgroupV1: false in"
    " the kubelet's configuration before it restarts.",
    "ids-per-pod": "Set userNamespaces.idsPerPod in the kubelet's configuration to a multiple of 65536, or remove it.",
    "root": "Put the kubelet's root directory on ext4, xfs or btrfs before it restarts.",
}
"""Remediations that do not depend on the node."""


_GETSUBIDS = {
    **dict.fromkeys(("debian", "ubuntu"), "  apt-get install -y uidmap"),
    **dict.fromkeys(("rhel", "rocky", "almalinux", "centos", "fedora", "amzn"), "  dnf install -y shadow-utils-subid"),
    **dict.fromkeys(("opensuse-leap", "opensuse-tumbleweed", "opensuse-microos", "sles"), "  zypper install -y shadow"),
    "alpine": "  apk add shadow-subids",
    "arch": "  pacman -S --noconfirm shadow",
    "nixos": "  systemd.services.kubelet.path = [ pkgs.shadow ];",
}
"""Command, or setting, by `ID` of os-release(5). *Source*: RootlessKit, docs/subid.md; NixOS/nixpkgs#440973."""
_ANY_GETSUBIDS = f"{_GETSUBIDS['debian']} || dnf install -y shadow-utils-subid"


def install_getsubids(facts: Facts) -> str:
    """Commands of this distribution that install getsubids(1) on the PATH of the kubelet."""
    system = (facts.distribution.value or "").partition(" ")[0]
    unit = kubelet_unit(facts)
    return (
        "Install getsubids on the kubelet's PATH before it restarts. Remove the account kubelet instead only"
        " if it was not created to give Pods a range.\n"
        f"{_GETSUBIDS.get(system, _ANY_GETSUBIDS)}\n"
        f"  systemctl restart {unit}; journalctl -u {unit} -n 50 --no-pager"
    )


def start_remediation(cause: Cause, facts: Facts) -> str:
    """Remediation for *cause* on this node, to apply before its kubelet restarts."""
    if cause in ("subids", "range"):
        return give_a_range(facts.ids.value, facts.kubelet.value)
    if cause == "files":
        return _fit_the_files(facts)
    if cause == "getsubids":
        return install_getsubids(facts)
    return _REMEDIATIONS[cause]


def give_a_range(ids: IdFacts | None = None, kubelet: KubeletFacts | None = None) -> str:
    """Commands that give the account a range accepted by its kubelet and, as far as known, not used by others."""
    known_length, known_pods = _ids_per_pod(kubelet), _max_pods(kubelet)
    length, pods = known_length or BLOCK, known_pods or _MAX_PODS
    slots = f"{pods} x {length}"
    if not known_length or not known_pods:
        slots += ", the defaults where unknown"
    owners, accounts = (ids.owners.value, ids.accounts.value) if ids else (None, None)
    taken = [(each.first, each.first + each.count) for each in owners or ()]
    taken += [(each.id, each.id + 1) for each in accounts or ()]
    count = pods * length
    start = _free(taken, length, count)
    if start is None:
        return f"No range is free that has a slot for each of maxPods ({slots}): set maxPods or idsPerPod lower."
    look = ""
    if owners is None or accounts is None:
        look = " First make sure that /etc/subuid, /etc/subgid, /etc/passwd and /etc/group give none of it to others."
    return (
        f"{_ask_the_files(ids)}Give the account kubelet one range in /etc/subuid and /etc/subgid: the same in both, a"
        f" multiple of idsPerPod, at least maxPods x idsPerPod ({slots}), overlapping no other range. Then restart the"
        f" kubelet on the drained node.{look}\n"
        '  sed -i -E "/^(kubelet|$(id -u kubelet)):/d" /etc/subuid /etc/subgid\n'
        f"  echo kubelet:{start}:{count} | tee -a /etc/subuid >> /etc/subgid\n"
        "  getsubids kubelet; getsubids -g kubelet"
    )


def make_an_account(facts: Facts, ids: IdFacts, kubelet: KubeletFacts) -> str:
    """Commands that replace the default range by that of an account, with getsubids, without which it cannot start."""
    system = (facts.distribution.value or "").partition(" ")[0]
    return (
        "No action is needed while the others run no containers. Else give the kubelet a range by an account, for"
        " which it needs getsubids:\n"
        f"{_GETSUBIDS.get(system, _ANY_GETSUBIDS)}\n"
        "  id kubelet || useradd --system --no-create-home --shell /usr/sbin/nologin kubelet\n"
        f"{give_a_range(ids, kubelet)}"
    )


def _ask_the_files(ids: IdFacts | None) -> str:
    """First step on nodes where getsubids(1) queries a directory service instead of /etc/subuid and /etc/subgid."""
    service = ids.service.value if ids else None
    if service in (None, "files"):
        return ""
    return (
        f"getsubids asks the service {inline(service or '')} (subid: in /etc/nsswitch.conf), not the files. Either"
        " give the account such a range in that directory, or, if nothing else on the node needs the service, let"
        " getsubids read the files:\n"
        "  sed -i -E 's/^subid:.*/subid: files/' /etc/nsswitch.conf\n"
    )


def _ids_per_pod(kubelet: KubeletFacts | None) -> int | None:
    """Configured `idsPerPod`; None if unknown or refused by the kubelet."""
    length = kubelet.ids_per_pod.value if kubelet else None
    return length if length and length >= BLOCK and length % BLOCK == 0 else None


def _max_pods(kubelet: KubeletFacts | None) -> int | None:
    pods = kubelet.max_pods.value if kubelet else None
    return pods if pods and pods > 0 else None


def _free(taken: Iterable[tuple[int, int]], length: int, count: int) -> int | None:
    """First of *count* free IDs, a multiple of *length*; None if there are none."""
    ordered = sorted(taken)
    for lowest in (_FIRST, length):
        start = _up(lowest, length)
        for first, end in ordered:
            if first < start + count and start < end:
                start = _up(end, length)
        if start + count < MAX_UINT32:
            return start
    return None


def _up(number: int, length: int) -> int:
    """*number* rounded up to a multiple of *length*."""
    return -(-number // length) * length


def _fit_the_files(facts: Facts) -> str:
    """Remediation for a range that does not fit the records of Pods: fit the range, or remove the Pods."""
    root = (facts.kubelet.value.root_dir.value if facts.kubelet.value else None) or KUBELET_ROOT
    node = quoted(facts.node_name) if facts.node_name else "NODE"
    return (
        "Before the kubelet restarts, either restore the range and the idsPerPod with which these Pods were started,"
        f" or drain the node and wait until no Pod with a user namespace is left:\n"
        f"  kubectl drain {node} --ignore-daemonsets; ls {quoted(root)}/pods/*/userns"
    )


def admit_pods(facts: Facts) -> str:
    """Remediation for a kubelet whose arguments let it admit no Pod."""
    where = "the kubelet's arguments (kubelet-arg of K3s and RKE2)"
    return f"Remove max-pods from {where}, or raise it, then:\n{restart_kubelet(facts)}"
