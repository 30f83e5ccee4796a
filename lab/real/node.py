"""A small node: a mount and a PID namespace with a /proc of its own, in which a kubelet and a runtime really run.

Process 1 is ours, the runtime is a real containerd with real OCI runtimes, and the kubelet is a tiny program of that
name with real flags and files: the probe runs inside as on any other node, and sees nothing of this machine's
processes. With process 1 everything in it ends, and the machine keeps nothing of its mounts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.real import kernel
from lab.real.packages import Runtime
from lab.real.programs import KUBELET_HEADER, write_kubelet

CHECKOUT = str(Path(__file__).parents[2])
MOUNTED = "/opt/checkout"
"""The checkout in nodes that have a root of their own, whatever becomes of the directories above it there."""
MS_SHARED = 1 << 20

# Who ignores SIGCHLD has no zombies, also after execve: orphans are gone when they end.
_INIT = "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp('sleep', ['sleep', 'infinity'])"

# The largest process of the probe's tree. Asked in a process of its own, as the kernel remembers for each process how
# large those were that it came from.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10, file=open(sys.argv[1], "w"))
sys.exit(code if code >= 0 else 128 - code)
"""

_CONTAINERD = """
version = 3
root = "{root}"
state = "{home}/state"
disabled_plugins = [{disabled}]
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
"""

# Root of this machine may lack CAP_SYS_RESOURCE; the plugin gives each Pod the same address and makes no interface.
_NETWORK = """
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{home}/cni"]
  conf_dir = "{home}/cni"
"""
_PLUGIN = """#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) echo '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.2/24"}]}' ;;
*) cat > /dev/null ;;
esac
"""

_HANDLER = """
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{name}.options]
    BinaryName = "{path}"
"""


@dataclass(frozen=True)
class Probed:
    """What became of one run of the command."""

    code: int
    stdout: str
    stderr: str
    memory: int  # bytes of the largest process of its tree
    seconds: float

    @property
    def document(self) -> Any:
        """What `-o json` printed."""
        return json.loads(self.stdout)

    @property
    def report(self) -> dict[str, Any]:
        """The same of a whole node."""
        return dict(self.document)

    @property
    def verdict(self) -> tuple[int, str, str]:
        """Exit code, verdict and reason."""
        return self.code, self.report["verdict"], self.report["reason"]

    def finding(self, check: str) -> dict[str, Any]:
        """What one check found."""
        return next(each for each in self.report["findings"] if each["id"] == check)

    def rows(self, role: str) -> list[dict[str, Any]]:
        """The file systems that were tried as *role*."""
        return [row for row in self.report["filesystems"] if row["role"] == role]


@dataclass
class Node:
    """A running node; `directory` is its only place for files, and what is mounted there it sees at once."""

    directory: str
    pid: int  # of its process 1, as this machine counts
    endpoint: str = ""  # where its runtime listens
    root: str = ""  # of its kubelet, a new one for each
    python: str = sys.executable  # as the node finds it
    _names: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    @property
    def proc(self) -> str:
        """The node's /proc, seen from outside."""
        return f"/proc/{self.pid}/root/proc"

    def path(self, name: str) -> str:
        """A path of the node that nobody used before."""
        return f"{self.directory}/{name}-{next(self._names)}"

    def inside(self, *argv: str) -> list[str]:
        """*argv* as a command of the node."""
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--pid=/proc/{self.pid}/ns/pid", "--", *argv]

    def run(self, *argv: str) -> str:
        """What a command of the node prints; it must succeed."""
        return subprocess.run(self.inside(*argv), capture_output=True, text=True, check=True).stdout

    @contextmanager
    def process(self, *argv: str, wrapper: tuple[str, ...] = (), **options: Any) -> Iterator[int]:
        """A process of the node for as long as the block lasts; its pid as this machine counts.

        *wrapper* is a command that becomes *argv* in the end, the same process or a child of it.
        """
        parent = subprocess.Popen(self.inside(*wrapper, *argv), **options)
        name = os.path.basename(argv[0])[:15]
        try:
            yield descendant(parent, name)
        finally:
            # nsenter ends with its child, which is really gone then.
            for pid in descendants(parent.pid)[1:] or [parent.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            parent.send_signal(signal.SIGCONT)  # nsenter stops itself with a child that is stopped
            parent.wait()

    @contextmanager
    def kubelet(
        self,
        *flags: str,
        config: str | Callable[[str], object] = "",
        endpoint: str | None = None,
        root: str | None = None,
        pods: bool = True,
        version: str = "1.36.2",
        wrapper: tuple[str, ...] = (),
    ) -> Iterator[str]:
        """A running kubelet; yields the path of its configuration file.

        *config* is what that file says, or what is called to make it; *endpoint* is where the kubelet finds CRI, None
        for where the node's own runtime listens; *pods* makes the Pods' directory.
        """
        self.root, home = self.path("root") if root is None else root, self.path("bin")
        if pods:
            os.makedirs(f"{self.root}/pods", exist_ok=True)
        os.mkdir(home)
        path = f"{home}/config.yaml"
        write_kubelet(f"{home}/kubelet", version)
        if callable(config):
            config(path)
        else:
            Path(path).write_text(KUBELET_HEADER + "maxPods: 50\n" + config)
        argv = [
            f"{home}/kubelet",
            f"--config={path}",
            f"--root-dir={self.root}",
            f"--container-runtime-endpoint=unix://{self.endpoint if endpoint is None else endpoint}",
            *flags,
        ]
        with self.process(*argv, wrapper=wrapper):
            yield path

    @contextmanager
    def containerd(
        self,
        containerd: Runtime,
        handlers: Mapping[str, str],
        *,
        disabled: tuple[str, ...] = (),
        root: str = "",
        wrapper: tuple[str, ...] = (),
        more: str = "",
    ) -> Iterator[str]:
        """A real containerd with its CRI, whose socket it yields; *handlers*: name -> path of the OCI runtime.

        `runc` is the default handler. *disabled* are plugins, *root* is where containerd keeps its images, *more* is
        what its configuration says besides.
        """
        home = self.path("containerd")
        os.mkdir(home)
        words = ", ".join(f'"{one}"' for one in disabled)
        text = _CONTAINERD.format(home=home, root=root or f"{home}/root", disabled=words)
        text += "".join(_HANDLER.format(name=name, path=path) for name, path in handlers.items()) + more
        if "restrict_oom_score_adj" not in text:
            text += _NETWORK.format(home=home)
            os.mkdir(f"{home}/cni")
            for plugin in ("loopback", "own"):
                Path(home, "cni", plugin).write_text(_PLUGIN)
                os.chmod(f"{home}/cni/{plugin}", 0o755)
            Path(home, "cni/10-own.conf").write_text('{"cniVersion":"1.0.0","name":"own","type":"own"}')
        Path(home, "config.toml").write_text(text)
        socket = f"{home}/containerd.sock"
        command = [containerd.path, "--config", f"{home}/config.toml", "--address", socket]
        search = f"{Path(containerd.path).parent}:{os.defpath}:/usr/sbin:/sbin"  # it looks for its shim along PATH
        with (
            open(f"{home}/log", "w") as log,
            self.process(*command, wrapper=wrapper, env={"PATH": search}, stderr=log) as pid,
        ):
            while not os.path.exists(socket):
                assert is_alive(pid), Path(home, "log").read_text()[-500:]
                time.sleep(0.01)
            yield socket

    def names(self, beginning: str) -> list[str]:
        """The names of the node's processes that begin so; of zombies, too."""
        found = []
        for pid in filter(str.isdigit, os.listdir(self.proc)):
            with suppress(OSError), open(f"{self.proc}/{pid}/comm") as comm:
                found.append(comm.read().rstrip("\n"))
        return sorted(name for name in found if name.startswith(beginning))

    def probe_command(self, *arguments: str) -> list[str]:
        """The real command, run inside."""
        return self.inside(self.python, "-m", "probe", *arguments)

    def start_probe(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """The real command, running."""
        return subprocess.Popen(self.probe_command(*arguments), cwd=CHECKOUT, env=environment(), **options)

    def probe(self, *arguments: str, wrapper: tuple[str, ...] = (), inside: bool = True) -> Probed:
        """What the real command says, as JSON unless told otherwise; *wrapper* is a command that runs it."""
        python = self.python if inside else sys.executable
        command = [*wrapper, python, "-m", "probe", *(arguments or ("-o", "json"))]
        return measured(self.inside(*command) if inside else command)


def measured(command: list[str]) -> Probed:
    """Run a command of this checkout, and see how large it grew."""
    with tempfile.NamedTemporaryFile("r") as memory:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, memory.name, *command],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Probed(done.returncode, done.stdout, done.stderr, int(memory.read() or 0), time.monotonic() - began)


def environment() -> dict[str, str]:
    """Of a command that is run from this checkout, wherever it enters."""
    return {
        "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
        "PYTHONPATH": f"{CHECKOUT}:{MOUNTED}",
        "LC_ALL": "C.UTF-8",
    }


@contextmanager
def make_workspace() -> Iterator[str]:
    """As the fixture `workspace`, for programs that are no tests."""
    kernel.own_mount_namespace()
    directory = tempfile.mkdtemp(prefix="userns-probe-test-", dir="/tmp")
    kernel.mount("test", directory, "tmpfs", 0, "mode=0711")
    try:
        yield directory
    finally:
        kernel.detach(directory)
        os.rmdir(directory)


@contextmanager
def make_node(workspace: str) -> Iterator[Node]:
    """A node without daemons."""
    directory = tempfile.mkdtemp(prefix="node-", dir=workspace)
    with ExitStack() as stack:
        stack.callback(os.rmdir, directory)
        kernel.mount("node", directory, "tmpfs", 0, "mode=0755")
        stack.callback(kernel.detach, directory)
        kernel.mount("none", directory, "", MS_SHARED)
        unshare = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "--mount-proc"]
        first = subprocess.Popen([*unshare, sys.executable, "-c", _INIT], preexec_fn=kernel.die_with_parent)
        stack.callback(first.wait)
        stack.callback(first.kill)
        made = Node(directory, descendant(first, "sleep"))
        write_kubelet(f"{directory}/version", "1.36.2")
        # Wherever its configuration points, containerd makes directories and sockets in /run and /opt.
        made.run("sh", "-c", "mount -t tmpfs node /run && mount -t tmpfs node /opt")
        yield made


def descendants(pid: int) -> list[int]:
    """*pid* and every process that came from it and still has its parent, parents first."""
    found = [pid]
    for each in found:
        found += children(each)
    return found


def children(pid: int) -> list[int]:
    """The processes that came from any thread of *pid* itself; none when it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendant(parent: subprocess.Popen[Any], name: str) -> int:
    """The descendant of that name, once it is there; the test's own timeout is the only limit.

    Never *parent* itself, which for a moment still has our own name.
    """
    while True:
        for pid in descendants(parent.pid)[1:]:
            with suppress(OSError), open(f"/proc/{pid}/comm") as comm:
                if comm.read() == f"{name}\n":
                    return pid
        if parent.poll() is not None:
            raise OSError(f"{parent.args!r} ended with status {parent.returncode}")
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(") ")[2][0] != "Z"
    return False
