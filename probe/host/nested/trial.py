"""Trial of what builders, engines and rootless engines do inside a Pod with a user namespace, without a Pod.

A child process enters a user namespace with a full map and becomes the first process of a container with a root of its
own. Below it, one process acts as the Pod's root and two act in a second user namespace: before and after parts of
/proc are masked. All ends with process 1 of the PID namespace, also after SIGKILL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.in_child import become_root
from probe.host.nested.container import Container
from probe.host.nested.network import known_modules
from probe.host.nested.pod import read_minors
from probe.host.nested.processes import MORE, TIMEOUT, Write, available
from probe.host.sandbox.root import read_filesystems
from probe.host.sandbox.steps import StepAnswer, run_step

_POD = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
    | syscalls.CLONE_NEWNET
)
STEP_NAMES: tuple[str, ...] = (
    "pod user namespace",
    "idmapped volume",
    "pod root",
    "pod namespaces",
    "/dev/fuse",
    "/dev/net/tun",
    "private root",
    "full user namespace",
    "full map",
    "unmasked tmpfs",
    "unmasked proc",
    "masks",
    "namespaces",
    "tmpfs",
    "proc",
    "writable sysfs",
    "sysfs",
    "overlay",
    "overlay files",
    "idmap of a volume",
    "idmap of a tmpfs",
    "fuse",
    "keyring",
    "pivot_root",
    "rootless user namespace",
    "rootless map",
    "rootless tmpfs",
    "rootless proc",
    "rootless proc subset",
    "rootless overlay",
    "ip_forward",
    "ip_tables",
    "nat",
    "bridge",
    "veth",
    "vxlan",
    "tun",
)
"""Names of all steps, in order of execution."""


class NestedAnswer(Struct, frozen=True, kw_only=True):
    """Result of the trial."""

    steps: tuple[StepAnswer, ...] = ()
    """One for each of STEP_NAMES, in that order; those that were not reached say so."""
    seconds: float = 0.0
    late: bool = False
    """True when the time was over before its end."""


def nested_child(own_proc: int, codec: Any, userns: tuple[int, StepAnswer], write: Write) -> None:
    """Run the trial and write a NestedAnswer as JSON. Call it in a child: the caller changes its namespaces for good.

    *own_proc* is a descriptor of the /proc of our own PID namespace; *codec* is what `load_codec` returns, and *userns*
    what `make_user_namespace` returned.
    """
    started = time.perf_counter()
    found = {answer.name: answer for answer in _try_nested(own_proc, codec, userns, os.getppid())}
    steps = tuple(found.get(name, StepAnswer(name, "not-reached")) for name in STEP_NAMES)
    seconds = round(time.perf_counter() - started + steps[0].seconds, 6)
    write(msgspec.json.encode(NestedAnswer(steps=steps, seconds=seconds)))


def read_nested(child: Child, deadline: float) -> NestedAnswer | None:
    """Answer of a child that runs `nested_child` by *deadline* (time.monotonic()), `late` when that is over.

    None when the child ended without an answer.
    """
    try:
        return msgspec.json.decode(child.read(deadline), type=NestedAnswer)
    except TimeoutError:
        return NestedAnswer(late=True)
    except (ChildError, msgspec.DecodeError, OSError):
        return None


def _try_nested(own_proc: int, codec: Any, userns: tuple[int, StepAnswer], parent: int) -> Iterator[StepAnswer]:
    filesystems, knows_module, minors = read_filesystems(own_proc), known_modules(own_proc), read_minors(own_proc)
    userns_fd, first = userns
    yield msgspec.structs.replace(first, name="pod user namespace")
    done = {"pod user namespace"} if first.outcome == "done" else set()
    volume = [-1]

    def make_volume() -> None:
        clone = syscalls.mount_detached("tmpfs", mode="0755", size="1m")
        syscalls.mount_setattr(clone, syscalls.MOUNT_ATTR_IDMAP, userns_fd)
        volume[0] = clone

    yield run_step("idmapped volume", ("pod user namespace",), done, make_volume)
    yield run_step("pod root", ("pod user namespace",), done, partial(become_root, userns_fd, parent))
    yield run_step("pod namespaces", ("pod root",), done, partial(syscalls.unshare, _POD))
    if "pod namespaces" in done:
        container = Container(filesystems, codec, knows_module, minors, volume[0], done)
        for answer, _ in available(container.first_process, TIMEOUT + 3 * MORE):
            yield answer
