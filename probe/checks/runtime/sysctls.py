"""Sysctls of a base specification, or of CRI-O's configuration, that a user namespace refuses."""

from __future__ import annotations

import re

from probe.checks.remedies.platforms import inline
from probe.checks.runtime.refusals import Refusal
from probe.finding import Evidence
from probe.reading import Reading

_PING_RANGE = "net.ipv4.ping_group_range"


_HIDDEN = r"net\.(core\.(xfrm_|[rw]mem_(default|max))|ipv6\.route\.|ipv[46]\.neigh\.default\.gc_)"
"""Not there in a network namespace of another user namespace, or in none but the node's.

*Source*: xfrm_sysctl_init, ipv6_route_sysctl_init, neigh_sysctl_register, net_core_table.
"""


_OF_NAMESPACES = (
    r"net\..+|fs\.mqueue\..+|user\..+"
    r"|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|domainname)"
)
"""Sysctls that a container may set. *Source*: runc, libcontainer/configs/validate, `sysctl`; crun, sysctl.c."""


_OF_THE_NODE = (
    r"user\..+|net\.core\.(bpf_jit_|busy_|default_qdisc|dev_weight|devconf_|fb_tunnels_|flow_limit_|gro_normal_|high_order_"
    r"|max_skb_frags|mem_pcpu_rsv|message_|netdev_|optmem_max|rps_sock_flow_|skb_defer_max|warnings)"
    r"|net\.ipv4\.(cipso_|fib_sync_mem|inet_peer_|ipfrag_secret_|route\.(error_|gc_|max_size|redirect_)|udp_mem$"
    r"|tcp_(allowed_congestion_control|available_ulp|low_latency|max_orphans|mem$))"
    r"|net\.ipv6\.(calipso_|ip6frag_secret_|mld_)|net\.ipv[46]\.neigh\.default\."
    r"|net\.nf_conntrack_max|net\.netfilter\.nf_(log_all_netns|conntrack_(buckets|expect_max|max)$)"
)
"""On Linux 6.18 there in the node's network namespace alone, or read-only in others; `user.` is none to runc 1.3."""


_OF_INTERFACES = r"net\.\w+\.(conf|neigh)\.(?!all\.|default\.)"
"""A Pod has interfaces of other names than the node."""


_OF_EACH_POD = frozenset(("all", "default", "lo", "eth0"))
"""Its loopback, and the first interface that containerd and CRI-O make. *Source*: go-cni, `DefaultPrefix`."""


_DIGIT = r"(?a)\s*-?\d"


_NUMBER = r"(?a)-?\d{1,20}"


_IN_C = r"(?a)(0[xX])[0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9]\d{0,19}"


def refused_sysctl(
    name: str, value: str, ids: int, source: str, now: Reading[str] | None = None, tried: Reading[str] | None = None
) -> Refusal | None:
    """A sysctl that is not there in a user namespace, or a range of groups that goes beyond its *ids*.

    *now* is what the node itself has: what does not exist exists nowhere, and a number takes no other text. *tried* is
    the errno of setting it as a Pod would, which is the truth where it is known.
    """
    key = name.replace("/", ".")
    of_interface = bool(re.match(_OF_INTERFACES, key))
    if tried is not None and tried.value is not None and not of_interface:
        return _refused(name, value, source, Evidence(tried.source, tried.value)) if tried.value else None
    absent = now is not None and now.kind == "absent" and not of_interface
    hidden = absent or re.match(_HIDDEN, key) or not re.fullmatch(_OF_NAMESPACES, key)
    no_number = (
        now is not None and bool(re.fullmatch(_NUMBER, now.value or "")) and bool(value) and not re.match(_DIGIT, value)
    )
    if not hidden and not no_number and not (is_ping_range(name) and _beyond(value, ids)):
        return None
    return _refused(name, value, source)


def _refused(name: str, value: str, source: str, *more: Evidence) -> Refusal:
    message = f"a user namespace refuses the sysctl {inline(name)} = {inline(value)}, which is set in each container"
    return Refusal("SysctlRefused", message, (Evidence(source, f"{name} = {value}"), *more))


def is_of_the_node(name: str) -> bool:
    """True when a Pod may have no such sysctl, although a probe in the node's network namespace sees it."""
    return bool(re.match(_OF_THE_NODE, name.replace("/", ".")))


def is_of_an_interface(name: str) -> bool:
    """True when it belongs to an interface that a Pod may lack."""
    path = name if "/" in name else name.replace(".", "/")  # with slashes, dots belong to the name of an interface
    found = re.fullmatch(r"net/\w+/(?:conf|neigh)/([^/]+)/.+", path)
    return found is not None and found[1] not in _OF_EACH_POD


def is_ping_range(name: str) -> bool:
    """True when that sysctl is the range of groups that may ping."""
    return name.replace("/", ".") == _PING_RANGE


def _beyond(value: str, ids: int) -> bool:
    """Whether a group of the range is not mapped, or is not a number to the kernel, in any of C's bases.

    *Source*: net/ipv4/sysctl_net_ipv4.c, ipv4_ping_group_range; kernel/sysctl.c, proc_get_long, which leaves out
    negative numbers.
    """
    return any(_number(word) >= ids for word in value.split() if not word.startswith("-"))


def _number(word: str) -> float:
    """A number as strtoul(3) reads it; infinite for anything else."""
    found = re.fullmatch(_IN_C, word)
    if not found:
        return float("inf")
    return int(word, 16 if found[1] else 8 if word[0] == "0" else 10)
