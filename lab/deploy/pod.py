"""A Pod of ours on a small node: real containers of the real image, with the settings of the manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.deploy.image import Image
from lab.deploy.pod_to_oci import Surroundings, config, quantity
from lab.real import bundle, kernel
from lab.real.node import Node
from lab.real.packages import Runtime
from lab.serve.api_double import ApiDouble

NODE_NAME = "node-1.example"
SHARED = {"network": "net", "ipc": "ipc", "uts": "uts"}  # by the containers of a Pod; name in OCI and in /proc
NAMESPACE = "userns-probe"

_GET = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1])
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
sys.stdout.write(answer.read().decode())
"""
_LOOPBACK_UP = "from pyroute2 import IPRoute; IPRoute().link('set', index=1, state='up')"


@dataclass
class Container:
    """A running container."""

    node: Node
    command: tuple[str, ...]  # the runtime's
    identity: str
    log: Path

    @property
    def state(self) -> dict[str, Any]:
        """What the runtime says of it."""
        return dict(json.loads(self.node.run(*self.command, "state", self.identity)))

    @property
    def proc(self) -> str:
        """Its process 1 in the node's /proc, seen from outside."""
        return f"{self.node.proc}/{self.state['pid']}"

    @property
    def processes(self) -> list[str]:
        """The same of all its processes that a thread of process 1 started and that still run."""
        first = self.proc
        lists = [each.read_text() for each in Path(first, "task").glob("*/children")]
        return [first, *(f"{os.path.dirname(first)}/{child}" for child in " ".join(lists).split())]

    def status(self) -> dict[str, str]:
        """/proc/PID/status of its process 1."""
        return dict(line.split(":\t", 1) for line in Path(self.proc, "status").read_text().splitlines())

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """As `kubectl exec`."""
        command = self.node.inside(*self.command, "exec", self.identity, *argv)
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def signal(self, name: str) -> None:
        """Send a signal to its process 1."""
        self.node.run(*self.command, "kill", self.identity, name)

    def terminate(self) -> None:
        """As the kubelet ends a container; returns when it did end."""
        self.signal("TERM")
        while self.state["status"] != "stopped":
            time.sleep(0.01)


@dataclass
class Pod:
    """A running Pod."""

    node: Node
    sandbox: int  # process that holds its namespaces, as the node counts
    containers: dict[str, Container]
    volumes: dict[str, str]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of what its port answers, asked from inside of its network namespace."""
        url = f"http://127.0.0.1:9476{path}"
        status, _, body = self.node.run(*self._inside_network(_GET, url)).partition("\n")
        return int(status), body

    def report(self) -> dict[str, Any]:
        """The report, once it is there; the test's own timeout is the only limit."""
        file = Path(self.volumes["report"], "report.json")
        while not file.exists():
            assert all(each.state["status"] == "running" for each in self.containers.values()), self.logs()
            time.sleep(0.05)
        return dict(json.loads(file.read_text()))

    def logs(self) -> str:
        """What all its containers logged."""
        return "".join(f"{name}: {each.log.read_text()}\n" for name, each in self.containers.items())

    def _inside_network(self, program: str, *arguments: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.sandbox}/ns/net", "--", sys.executable, "-c", program, *arguments]


@contextmanager
def run_pod(
    spec: Mapping[str, Any], image: Image, node: Node, runtime: Runtime, api: ApiDouble | None = None
) -> Iterator[Pod]:
    """The Pod of that spec, running on *node* for as long as the block lasts; *api* is its cluster, if it has one.

    The server listens in the Pod's own network namespace, where nothing else is.
    """
    directory = Path(node.path("pod"))
    directory.mkdir()
    cgroup = f"{bundle.CGROUPS}{directory.name}"
    command = (runtime.path, "--root", f"{directory}/state")
    unshare = ("unshare", *(f"--{kind}" for kind in SHARED.values()))
    with ExitStack() as stack:
        stack.callback(bundle.sweep, cgroup)
        given = [each for each in spec["volumes"] if "hostPath" not in each]
        volumes = {each["name"]: _volume(each, directory, stack, api) for each in given}
        sandbox = _pid_inside(stack.enter_context(node.process("sleep", "infinity", wrapper=unshare)))
        pod = Pod(node, sandbox, {}, volumes)
        node.run(*pod._inside_network(_LOOPBACK_UP))
        if api:
            _listen_inside(f"{node.proc}/{sandbox}/ns/net", api)
            stack.callback(api.stop)
        for each in spec["containers"]:
            home = directory / each["name"]
            rootfs = _root(image, home, stack)
            around = Surroundings(
                image=image.configuration,
                rootfs=rootfs,
                volumes=volumes,
                namespaces={name: f"/proc/{sandbox}/ns/{kind}" for name, kind in SHARED.items()},
                node_name=NODE_NAME,
                variables=_service(api) if api else {},
                cgroup=f"/{cgroup}",
            )
            (home / "config.json").write_text(json.dumps(config(spec, each["name"], around)))
            made = Container(node, command, f"{directory.name}-{each['name']}", home / "log")
            stack.callback(_delete, made)
            with open(made.log, "w") as log:
                start = node.inside(*command, "run", "--detach", "--bundle", str(home), made.identity)
                done = subprocess.run(start, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
            assert done.returncode == 0, made.log.read_text()
            pod.containers[each["name"]] = made
        yield pod


def project(volume: Mapping[str, Any], path: str, api: ApiDouble | None) -> None:
    """Fill a projected volume, or swap all its files at once, as the kubelet's AtomicWriter does it."""
    projected = volume["projected"]
    data = Path(path, f"..{time.monotonic_ns()}")
    data.mkdir()
    for source in projected["sources"]:
        for name, content in _files(source, api).items():
            (data / name).write_bytes(content)
            (data / name).chmod(projected["defaultMode"])
            if not Path(path, name).is_symlink():
                Path(path, name).symlink_to(f"..data/{name}")
    Path(path, "..data_tmp").symlink_to(data.name)
    os.replace(Path(path, "..data_tmp"), Path(path, "..data"))


def _files(source: Mapping[str, Any], api: ApiDouble | None) -> dict[str, bytes]:
    """What one source of a projected volume gives, by the names that the manifest chose."""
    (kind, asked), *others = source.items()
    assert not others
    if kind == "serviceAccountToken":
        return {asked["path"]: (api.directory / "token").read_bytes() if api else b"nobody.checks.it"}
    if kind == "configMap":
        assert asked["name"] == "kube-root-ca.crt"
        found = {"ca.crt": api.ca_pem if api else b""}
        return {each["path"]: found[each["key"]] for each in asked["items"]}
    assert kind == "downwardAPI", kind
    values = {"metadata.namespace": NAMESPACE}
    return {each["path"]: values[each["fieldRef"]["fieldPath"]].encode() for each in asked["items"]}


def _service(api: ApiDouble) -> dict[str, str]:
    """What a kubelet tells each container of the Service `kubernetes`, also without enableServiceLinks."""
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}


def _listen_inside(namespace: str, api: ApiDouble) -> None:
    """Let *api* listen in another network namespace: a socket stays in the one it was made in."""

    def listen() -> None:
        kernel.enter(namespace, kernel.CLONE_NEWNET)
        api.start()

    thread = threading.Thread(target=listen)  # which no other thread follows there
    thread.start()
    thread.join()
    assert api.port, "the API server does not listen"


def _volume(volume: Mapping[str, Any], directory: Path, stack: ExitStack, api: ApiDouble | None) -> str:
    """The directory that a kubelet would make for a volume."""
    path = directory / f"volume-{volume['name']}"
    path.mkdir()
    if "emptyDir" in volume:
        assert volume["emptyDir"]["medium"] == "Memory"
        size = int(quantity(volume["emptyDir"]["sizeLimit"]))
        kernel.mount("tmpfs", str(path), "tmpfs", 0, f"size={size},mode=0777")
        stack.callback(kernel.detach, str(path))
    else:
        project(volume, str(path), api)
    return str(path)


def _root(image: Image, home: Path, stack: ExitStack) -> str:
    """The image as a container's root, which the runtime makes mount points in."""
    for name in ("rootfs", "upper", "work"):
        (home / name).mkdir(parents=True)
    options = f"lowerdir={image.rootfs},upperdir={home}/upper,workdir={home}/work"
    kernel.mount("overlay", f"{home}/rootfs", "overlay", 0, options)
    stack.callback(kernel.detach, f"{home}/rootfs")
    return f"{home}/rootfs"


def _delete(container: Container) -> None:
    with suppress(subprocess.CalledProcessError):
        container.node.run(*container.command, "delete", "--force", container.identity)


def _pid_inside(pid: int) -> int:
    """How a process of the node counts itself there."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])
