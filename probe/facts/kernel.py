"""Facts of the kernel, its settings, and the confinement of the probe itself."""

from __future__ import annotations

import os
import re
import shlex

from probe.facts.model import KernelFacts, ProbeFacts
from probe.host import syscalls
from probe.host.environ import parse_environment
from probe.host.host import Host
from probe.host.namespaces import INITIAL_USER_NAMESPACE
from probe.host.processes import parse_status
from probe.reading import Reading

NAMESPACE_KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
"""Kinds of namespaces of a Pod, each limited by `user.max_KIND_namespaces`."""

_OS_RELEASE_LIMIT = 64 << 10  # bytes; shlex is slow
_ROOT_MOUNT = re.compile(rb"^\d+ \d+ \d+:\d+ [^ ]+ / ", re.MULTILINE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RELEASE_WORD = re.compile(r"[A-Za-z0-9._+~^-]{1,64}")


def gather_probe(host: Host, entered: Reading[bool]) -> ProbeFacts:
    """Privileges and confinement of this process; *entered* is the result of entering the node.

    `is_chrooted` adds its own answer, once the mount table was read.
    """
    status = host.read_text("/proc/self/status").parse(parse_status)
    own = status.parse(_parse_own_status)
    uid, capabilities, threads, _ = own.value or (-1, 0, 0, 0)
    return ProbeFacts(
        uid=uid,
        effective_capabilities=capabilities,
        seccomp=own.parse(lambda fields: fields[3]),
        in_initial_user_namespace=_in_initial_user_namespace(host),
        chrooted=False,
        threads=threads,
        entered=entered,
        supported_architecture=syscalls.SUPPORTED_ARCHITECTURE,
    )


def gather_kernel(host: Host) -> KernelFacts:
    """Version, limits and settings of the kernel."""
    return KernelFacts(
        release=_read_word(host, "/proc/sys/kernel/osrelease"),
        architecture=_read_word(host, "/proc/sys/kernel/arch").value or os.uname().machine,  # file since Linux 6.1
        hostname=_hostname(host),
        boot_id=host.read_text("/proc/sys/kernel/random/boot_id").parse(parse_boot_id),
        user_namespace_file=host.read_link("/proc/self/ns/user"),
        namespace_limits={
            f"user.max_{kind}_namespaces": _read_number(host, f"/proc/sys/user/max_{kind}_namespaces")
            for kind in NAMESPACE_KINDS
        },
        unprivileged_userns_clone=_read_number(host, "/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict_unprivileged_userns=_read_number(
            host, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
        ),
        lsm=host.read_text("/sys/kernel/security/lsm").parse(parse_lsm),
        selinux_enforcing=_read_number(host, "/sys/fs/selinux/enforce").parse(bool),
        cgroup_version=host.read_text("/proc/self/cgroup").parse(parse_cgroup_version),
        container=_gather_container(host),
    )


def _gather_container(host: Host) -> Reading[str]:
    """Manager of the container that this node is: `docker`, `podman`. *Source*: systemd's CONTAINER_INTERFACE."""
    told = _read_word(host, "/run/systemd/container")
    if told.kind != "absent":
        return told
    for path, manager in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if host.status(path).value:
            return Reading(path, manager)
    first = host.read("/proc/1/environ").parse(parse_environment)  # LXC and nspawn tell it to any init
    if first.value and first.value.get("container"):
        return Reading(first.source, first.value["container"]).parse(_word)
    return told


def gather_distribution(host: Host) -> Reading[str]:
    """Distribution of the node, such as `debian 12`."""
    reading = host.read_text("/etc/os-release", _OS_RELEASE_LIMIT)
    if reading.kind == "absent":
        reading = host.read_text("/usr/lib/os-release", _OS_RELEASE_LIMIT)
    return reading.parse(parse_os_release)


def parse_os_release(content: str) -> str:
    """`ID` and, if present, `VERSION_ID` of os-release(5); of two equal names the last wins."""
    fields = {}
    for line in content.split("\n"):
        name, separator, value = line.strip().partition("=")
        if separator and name in ("ID", "VERSION_ID"):
            fields[name] = "".join(shlex.split(value, comments=False))
    words = [word for word in (fields.get("ID") or "linux", fields.get("VERSION_ID", "")) if word]
    return " ".join(_word(word) for word in words)


def parse_boot_id(content: str) -> str:
    """UUID of this boot, equal to `.status.nodeInfo.bootID` of the Node."""
    boot_id = content.strip()
    if not _UUID.fullmatch(boot_id):
        raise ValueError("no boot id")
    return boot_id


def parse_lsm(content: str) -> str:
    """Active security modules (LSM), separated by commas, in the order of their calls."""
    lsm = content.strip()
    if not re.fullmatch(r"[a-z0-9_,-]{1,1000}", lsm):
        raise ValueError("no list of security modules")
    return lsm


def parse_cgroup_version(content: str) -> int:
    """2 when the unified hierarchy controls processes and memory, 1 when a version 1 hierarchy does.

    A hybrid system with both counts as 1, as for the kubelet. *Source*: proc_pid_cgroup(5).
    """
    hierarchies = [line.split(":", 2) for line in content.split("\n")]
    controllers = {name for fields in hierarchies if len(fields) == 3 for name in fields[1].split(",")}
    if controllers & {"cpu", "memory", "pids"}:
        return 1
    if "" not in controllers:
        raise ValueError("no cgroup hierarchy")
    return 2


def is_chrooted(host: Host) -> bool:
    """True when our root differs from the root of our mount namespace, by our mount table; False without one.

    Mount points are relative to the reader's root: only a root that is a mount has the entry `/`. A chroot to a mount
    shows by process 1 of the same namespace, whose `/` is another mount.
    """
    mounts = host.mountinfo("self").value
    if mounts is None:
        return False
    own = _ROOT_MOUNT.search(mounts)
    if own is None:
        return True
    if host.read_link("/proc/1/ns/mnt").value != host.read_link("/proc/self/ns/mnt").value:
        return False
    first = _ROOT_MOUNT.search(host.mountinfo(1).value or b"")
    return first is not None and first[0] != own[0]


def _in_initial_user_namespace(host: Host) -> Reading[bool]:
    link = host.read_link("/proc/self/ns/user")
    if link.kind == "absent" and host.read_link("/proc/self/ns/mnt").value:
        return Reading(link.source, True)  # kernel without CONFIG_USER_NS: only one user namespace exists
    return link.parse(lambda target: target == INITIAL_USER_NAMESPACE)


def _parse_own_status(fields: dict[str, str]) -> tuple[int, int, int, int]:
    """(effective UID, effective capabilities, threads, seccomp mode); without seccomp support the mode is 0."""
    try:
        return (
            int(fields["Uid"].split()[1]),
            int(fields["CapEff"], 16),
            int(fields["Threads"]),
            int(fields.get("Seccomp", "0")),
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"no {error}") from error


def _hostname(host: Host) -> str:
    """Host name of the node; /proc/sys/kernel/hostname shows that of the reader, which may be a container's."""
    own, first = (host.read_link(f"/proc/{process}/ns/uts").value for process in ("self", "1"))
    if own and first and own != first:
        return host.init_hostname().parse(_word).value or ""
    return _read_word(host, "/proc/sys/kernel/hostname").value or ""


def _read_number(host: Host, path: str) -> Reading[int]:
    return host.read_text(path).parse(lambda content: int(content.strip()))


def _read_word(host: Host, path: str) -> Reading[str]:
    return host.read_text(path).parse(lambda content: _word(content.strip()))


def _word(text: str) -> str:
    """A name or version of safe characters only, harmless in a terminal and a label."""
    if not _RELEASE_WORD.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a name or version")
    return text
