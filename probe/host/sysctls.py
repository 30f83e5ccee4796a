"""Attempt at sysctls in namespaces like those of a Pod with a user namespace, which end with the attempt.

/proc/sys shows the namespaces of the process that opens it. *Source*: sysctl(5); kernel, net/sysctl_net.c.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

import msgspec

from probe.host import syscalls
from probe.host.idmap import attempt_user_namespace
from probe.host.in_child import become_root

_OF_THE_POD = re.compile(r"net/.+|fs/mqueue/.+|kernel/(msg|sem|shm)\w+")
_OF_MODULES = re.compile(r"net/(netfilter|nf_\w+|bridge|ipv4/vs|mpls|sctp|rds|rxrpc|smc|mptcp)(/|$)")
"""What may be one number for the whole node in spite of the namespace: only asked for, never written."""
_CONTROL = "net/ipv4/ip_forward", "0"
"""A sysctl that each network namespace has. Where it is refused, something confines the probe."""
_UNDECIDED = (errno.EROFS, errno.EIO, errno.ENOMEM, errno.EINTR)
"""Errors of /proc as it is mounted here, and of this process, and not of the sysctl."""


def sysctl_path(name: str) -> str:
    """The file below /proc/sys; empty for what is not a sysctl. *Source*: sysctl(8): a name with slashes has dots."""
    path = name if "/" in name else name.replace(".", "/")
    return "" if {"..", "", "."} & set(path.split("/")) or "\0" in path else path


def attempt_sysctls(own_proc: int, wanted: Mapping[str, str]) -> bytes:
    """Name -> errno of setting it to its value, 0 for one that was set, as JSON; call it in a child.

    Left out is what no namespace of a Pod has, and what says nothing. *own_proc* as for `attempt_user_namespace`.
    *Errors*: OSError when there are no such namespaces.
    """
    parent = os.getppid()
    userns_fd, answer = attempt_user_namespace(own_proc)
    if answer.error:
        raise OSError(answer.error, f"{answer.step}: {os.strerror(answer.error)}")
    become_root(userns_fd, parent)
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC)
    if error := _set(own_proc, *_CONTROL):
        raise OSError(error, os.strerror(error), _CONTROL[0])
    found = {}
    for name, value in wanted.items():
        path = sysctl_path(name)
        error = _set(own_proc, path, value) if _OF_THE_POD.fullmatch(path) else errno.EIO
        denied = error in (errno.EACCES, errno.EPERM) and not path.startswith("net/")  # the control was of the network
        if error not in _UNDECIDED and not denied:
            found[name] = error
    return msgspec.json.encode(found)


def _set(own_proc: int, path: str, value: str) -> int:
    """The errno of the write in the node's /proc or, where that shows processes alone, in our own."""
    error = _set_in("/proc", path, value)
    return _set_in(f"/proc/self/fd/{own_proc}", path, value) if error == errno.ENOENT else error


def _set_in(proc: str, path: str, value: str) -> int:
    file = f"{proc}/sys/{path}"
    try:
        if _OF_MODULES.match(path):
            syscalls.access(file, os.W_OK)
            return 0
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, value.encode(errors="replace"))
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
