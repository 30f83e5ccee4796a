"""Mount namespace of the container runtime; usually that of process 1."""

from __future__ import annotations

import errno
from collections.abc import Callable

from probe.facts.model import RuntimeFacts
from probe.host.host import Host
from probe.host.namespaces import enter_mount_namespace
from probe.reading import Reading


def mount_namespace_of(runtime: Reading[RuntimeFacts]) -> str:
    """Path of the runtime's mount namespace (`/proc/PID/ns/mnt`); empty when its process is unknown."""
    confinement = runtime.value.confinement.value if runtime.value else None
    return f"/proc/{confinement.pid}/ns/mnt" if confinement else ""


def entering(host: Host, runtime: Reading[RuntimeFacts]) -> Callable[[], None]:
    """Function that moves its caller, a child process, into the runtime's mount namespace.

    *Errors*: OSError from that function: ESRCH when the runtime has exited, EPERM without the privilege.
    """
    link = mount_namespace_of(runtime)
    if not link:
        return lambda: None

    def enter() -> None:
        entered = enter_mount_namespace(link)
        if entered.value is None and host.read_link(link).value != host.read_link("/proc/self/ns/mnt").value:
            raise OSError(errno.ESRCH if entered.kind == "absent" else errno.EPERM, entered.problem)

    return enter


def read_mountinfo(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[bytes]:
    """The runtime's mount table, else that of process 1, else our own."""
    confinement = runtime.value.confinement.value if runtime.value else None
    for owner in (confinement.pid if confinement else 1, "self"):
        reading = host.mountinfo(owner)
        if reading.value is not None:
            break
    return reading


def running_since(host: Host, runtime: Reading[RuntimeFacts]) -> float:
    """Start time of the container runtime's daemon, as `Host.started_at`. *Errors*: ValueError when unknown."""
    confinement = runtime.value.confinement.value if runtime.value else None
    started = host.started_at(confinement.pid) if confinement else None
    if started is None or started.value is None:
        raise ValueError("unknown when the container runtime started")
    return started.value
