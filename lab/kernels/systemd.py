"""systemd as process 1 of Pods with a user namespace, in a guest: cgroup v2 is there, whatever this machine has.

`observe` boots the guest; run as a program this is what observes inside: for each runtime handler what the probe says
of the nested level `system`, and how far systemd then comes in a Pod.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.kernels import image, machine, wide
from lab.kernels.inside import BUDGET, DISK, PODS, Job, tell
from lab.kernels.packages import Kernel
from lab.kernels.wide_servers import DAEMONS
from lab.real import engines, kernel, pods
from lab.real.engines import Ask
from lab.real.node import CHECKOUT, Node, environment

SYSTEMD = "systemd"
"""The disk with systemd's files: a squashfs, as the root of a guest takes no ID mapping before Linux 7.3."""
MODULES = (
    *("ext4", "squashfs", "overlay", "fuse", "tun", "bridge", "veth", "vxlan"),
    *("nf_tables", "nft_chain_nat", "nft_masq", "ip_tables", "iptable_nat"),
)
HANDLERS = ("", "owned", "unowned")
"""Cgroup mounted read-only; writable and given to the Pod's root, by crun; writable and nobody's, as runc leaves it
with the driver cgroupfs."""

_FILES = "/var/systemd"
_MS_RDONLY = 1
_WRITABLE = """
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
  cgroup_writable = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}.options]
    BinaryName = "{path}"
"""
# The command, which waits longer for its trial: an emulated processor takes a multiple of the time.
_PATIENT = """
import runpy, sys
from probe.host.nested import processes
processes.TIMEOUT, processes.MORE = 20.0, 8.0
from probe.host.sandbox import trial
trial.NESTED_TIMEOUT = 50.0
runpy.run_module("probe", run_name="__main__", alter_sys=True)
"""
_BOOT = 90  # seconds for systemd


def observe(booted: Kernel, *, timeout: float = 1200) -> machine.Outcome:
    """Boot it, and observe each handler: `handler`, `predicted`, `reason`, `fate`.

    *Errors*: debian.Unavailable where something cannot be had; machine.GuestError.
    """
    given = image.runtimes()
    tools = (given["containerd"].beside("ctr"), *(program for program, _ in engines.MAPPERS.values()))
    with wide.node_disk() as node:
        return machine.boot(
            booted,
            [image.python_packages("grpcio"), *image.images(*tools)],
            wide.inside(Job(given, ()), module="lab.kernels.systemd"),
            modules=MODULES,
            disks={DISK: node, SYSTEMD: wide.daemons([SYSTEMD])},
            memory=wide.MEMORY,
            timeout=timeout,
        )


def main() -> None:
    """In the guest: a line for each handler."""
    job = Job.decode(sys.argv[1])
    kernel.mount(f"/dev/disk/{DISK}", "/var", "ext4")
    os.mkdir(_FILES)
    kernel.mount(f"/dev/disk/{SYSTEMD}", _FILES, "squashfs", _MS_RDONLY)
    with _running_node(job) as node:
        said = {one["name"]: one for one in _probe()["nested"]["handlers"]}
        for number, handler in enumerate(HANDLERS):
            ask = Ask(capabilities=("SYS_ADMIN", "NET_ADMIN"))
            fate = engines.run_systemd(node, number, ask, Path(f"{_FILES}{DAEMONS}/{SYSTEMD}"), handler, _BOOT)
            level, reason = said[handler]["levels"]["system"], said[handler]["reasons"].get("system", "")
            tell(handler=handler, predicted=level, reason=reason, fate=fate)


@contextmanager
def _running_node(job: Job) -> Iterator[Node]:
    """A node with the handlers, a kubelet, and the image."""
    os.mkdir("/var/node")
    node, runtimes = Node("/var/node", 1), job.runtimes
    more = _WRITABLE.format(name="owned", path=runtimes["crun"].path)
    more += _WRITABLE.format(name="unowned", path=runtimes["runc"].path)
    with pods.pod_runtime(node, runtimes["containerd"], {"runc": runtimes["runc"].path}, more=more) as node.endpoint:
        archive = node.path("engines.tar")
        engines.write_image(archive)
        ctr = (runtimes["containerd"].beside("ctr"), "--address", node.endpoint, "--namespace", "k8s.io", "images")
        subprocess.run([*ctr, "import", "--local", archive], check=True, capture_output=True)
        with node.kubelet(root=os.path.dirname(PODS)):
            yield node


def _probe() -> dict[str, Any]:
    """The report; what is not `pass` of nested containers goes to the console."""
    command = [sys.executable, "-c", _PATIENT, "report", "-o", "json", "--budget", BUDGET]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment())
    report = dict(json.loads(done.stdout))
    for one in report["nested"]["findings"]:
        sys.stderr.write(f"{one['id']}: {one['status']} {one['reason']}: {one['message']}\n")
    return report


if __name__ == "__main__":
    main()
