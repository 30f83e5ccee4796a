"""A node whose root directory is its own: an overlay above this machine's, in a private mount and PID namespace.

A break may change the mode of `/`, cover /dev or remove /usr/local/bin/runc: the change lands in a tmpfs that goes with
the node. So each break gets a fresh node, and needs no undo that could be forgotten. Real containerd, runc and crun
listen and work at their usual places: /run/containerd, /var/lib/containerd, /usr/local/bin, /etc/containerd, /opt/cni.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.real import kernel, packages
from lab.real.node import CHECKOUT, MOUNTED, Node, descendant, is_alive
from lab.real.programs import KUBELET_HEADER, write_kubelet
from lab.sabotage import images

SOCKET = "/run/containerd/containerd.sock"
KUBELET_ROOT = "/var/lib/kubelet"
BIN = "/usr/local/bin"
PATH = f"{BIN}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
CGROUP = f"userns-probe-sabotage-{os.getpid()}"
"""The parent cgroup of all Pods, on this machine: Lab.sweep removes it."""

# The first process of the node; `$0` is the new root, already an overlay. In a network namespace of its own it gets a
# sysfs of its own, too.
_BOOT = """
set -e
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
[ ! -e sys/fs/cgroup/unified ] || mount -t tmpfs none sys/fs/cgroup/unified
mount -t tmpfs -o mode=755 dev dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 kmsg:1:11 fuse:10:229; do
    IFS=: read -r name major minor <<END
$node
END
    mknod -m 666 "dev/$name" c "$major" "$minor"
done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=666,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for place in run:755 tmp:1777 var/lib/containerd:711 var/lib/kubelet:755 srv:755; do
    mkdir -p "${place%:*}"
    mount -t tmpfs -o "mode=${place#*:}" node "${place%:*}"
done
mkdir -p run/lock old opt/checkout
mount --bind "$1" opt/checkout # which may lie in /tmp, for one
pivot_root . old
mount --make-rshared /
umount -l /old
rmdir /old
trap '' CHLD # inherited over execve: no zombies
exec sleep infinity
"""

_CONFIG = """version = 3
root = "/var/lib/containerd"
state = "{state}"
{top}
[plugins."io.containerd.cri.v1.images"]
  {images}
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  {cri}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
"""
_HANDLER = """
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}]
      {type}
      {runtime}
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}.options]
        {binary}
        {options}
"""
DEFAULTS = {
    "state": "/run/containerd",
    "cri": "restrict_oom_score_adj = true",
    "images": 'snapshotter = "overlayfs"',
    "type": 'runtime_type = "io.containerd.runc.v2"',
    "binary": f'BinaryName = "{BIN}/{{name}}"',
}
"""Lines of the configuration; a break replaces them by the same names."""

# A plugin that gives each Pod the same address in its own network namespace, and changes nothing.
_CNI = """#!/bin/sh
cat > /dev/null
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}' ;;
ADD) printf '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"%s"}],' "$CNI_NETNS"
    echo '"ips":[{"address":"10.9.0.2/24","interface":0}]}' ;;
esac
"""


class DidNotStartError(Exception):
    """containerd ended, or never listened; its last words."""


class Lab:
    """What all nodes have in common: the programs, the images, and a place for the layers of the nodes' roots."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.tree = f"{workspace}/tree"
        _furnish(self.tree)

    def sweep(self) -> None:
        """Remove what Pods leave on this machine: their cgroups, and a new owner of /dev/null."""
        from lab.real.bundle import sweep, take_back_null

        sweep(CGROUP)
        take_back_null()

    @contextmanager
    def machine(self) -> Iterator[Machine]:
        """A node without daemons."""
        directory = tempfile.mkdtemp(prefix="machine-", dir=self.workspace)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, directory)
            for name in ("upper", "work", "root"):
                os.mkdir(f"{directory}/{name}", 0o755)
            options = f"lowerdir={self.tree}:/,upperdir={directory}/upper,workdir={directory}/work"
            kernel.mount("node", f"{directory}/root", "overlay", 0, options)
            stack.callback(kernel.detach, f"{directory}/root")
            boot = ["sh", "-c", _BOOT, f"{directory}/root", CHECKOUT]
            death = ["setpriv", "--pdeathsig", "KILL"]
            first = subprocess.Popen(
                [
                    *death,
                    "unshare",
                    "--mount",
                    "--propagation=private",
                    "--net",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    *boot,
                ]
            )
            stack.callback(first.wait)
            stack.callback(first.kill)
            python = sys.executable.replace(CHECKOUT, MOUNTED)
            yield Machine(Node(directory, descendant(first, "sleep"), endpoint=SOCKET, python=python))


class Machine:
    """One node; paths are the node's own."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.kubelet_root = KUBELET_ROOT

    def outside(self, path: str) -> str:
        """The same file as this machine reaches it, also where a break has covered it for everybody else."""
        return f"/proc/{self.node.pid}/root{path}"

    def shell(self, script: str, timeout: float = 60) -> str:
        """What *script* prints in the node. *Errors*: OSError with what it complained of."""
        command = self.node.inside("sh", "-euc", script)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise OSError(f"{script.strip().splitlines()[-1]}: did not end within {timeout:g} s") from None
        if done.returncode:
            last = script.strip().splitlines()[-1]
            raise OSError(f"{last}: exit code {done.returncode}: {done.stderr[-300:].strip()}")
        return done.stdout

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file of the node."""
        place = Path(self.outside(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        place.chmod(mode)

    @contextmanager
    def containerd(
        self,
        config: Mapping[str, str],
        wrapper: tuple[str, ...] = (),
        environment: Mapping[str, str] = {},
    ) -> Iterator[None]:
        """A real containerd with the images, listening. *Errors*: DidNotStartError."""
        self.write("/etc/containerd/config.toml", configuration(config))
        with tempfile.TemporaryFile("w+") as log, ExitStack() as stack:
            try:
                options = {"env": {"PATH": PATH, **environment}, "stderr": log, "stdout": log}
                pid = stack.enter_context(self.node.process(f"{BIN}/containerd", wrapper=wrapper, **options))
                self._wait_for_images(pid)
            except OSError as error:
                log.seek(0)
                raise DidNotStartError(log.read()[-300:].strip() or str(error)) from error
            yield

    def _wait_for_images(self, pid: int, timeout: float = 40) -> None:
        until = time.monotonic() + timeout
        while not os.path.exists(self.outside(SOCKET)):
            if not is_alive(pid):
                raise OSError("containerd ended")
            if time.monotonic() > until:
                raise OSError(f"containerd did not listen within {timeout:g} s")
            time.sleep(0.02)

    @contextmanager
    def kubelet(self) -> Iterator[None]:
        """A running kubelet."""
        command = [
            f"{BIN}/kubelet",
            "--config=/etc/kubernetes/kubelet.yaml",
            f"--root-dir={self.kubelet_root}",
            f"--container-runtime-endpoint=unix://{SOCKET}",
        ]
        with self.node.process(*command):
            yield


def configuration(lines: Mapping[str, str]) -> str:
    """containerd's configuration file; *lines* by the names `state`, `top`, `images`, `cri`, `type`,
    `runtime`, `binary`, `options`.
    """
    values = {"top": "", "images": "", "cri": "", "runtime": "", "options": "", **DEFAULTS, **lines}
    binaries = {name: values["binary"].format(name=name) for name in ("runc", "crun")}
    handlers = "".join(_HANDLER.format(**values | {"name": name, "binary": binaries[name]}) for name in binaries)
    return _CONFIG.format(pause=images.PAUSE, **values) + handlers


def _furnish(tree: str) -> None:
    """The lower layer with the programs, the plugin, the images and the directories of a node."""
    for name in (f"{tree}{BIN}", f"{tree}/opt/cni/bin", f"{tree}/etc/cni/net.d", f"{tree}/etc/kubernetes"):
        os.makedirs(name)
    containerd, runc, crun = packages.containerd(), packages.runtime("runc", (1, 2)), packages.runtime("crun", (1, 22))
    for path in (
        containerd.path,
        containerd.beside("containerd-shim-runc-v2"),
        containerd.beside("ctr"),
        runc.path,
        crun.path,
    ):
        shutil.copy(path, f"{tree}{BIN}")
    os.mkdir(f"{tree}/tmp")
    os.setxattr(f"{tree}/tmp", "trusted.overlay.opaque", b"y")  # nothing of this machine's /tmp shines through
    write_kubelet(f"{tree}{BIN}/kubelet", "1.36.2")
    Path(f"{tree}/etc/kubernetes/kubelet.yaml").write_text(f"{KUBELET_HEADER}maxPods: 50\nfailCgroupV1: false\n")
    for name in ("loopback", "still"):
        Path(f"{tree}/opt/cni/bin/{name}").write_text(_CNI)
        os.chmod(f"{tree}/opt/cni/bin/{name}", 0o755)
    Path(f"{tree}/etc/cni/net.d/10-still.conf").write_text('{"cniVersion":"1.0.0","name":"still","type":"still"}')
    images.write(f"{tree}/opt/images")
