"""The commands of README and docs/troubleshooting.md that run the image on a node, as they are written there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.deploy.image import Image, save
from lab.deploy.manifests import CHECKOUT
from lab.deploy.pod import NODE_NAME, run_pod
from lab.prerequisites import require
from lab.real import debian, packages
from lab.real.debian import Unavailable
from lab.real.node import Node
from lab.real.packages import Runtime
from tests.real.test_entering import comparable

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # building the image without any cache takes two minutes

IMAGE = "REGISTRY/userns-probe:0.1.0"
JSON = ("-o", "json")


def command(page: str, program: str) -> list[str]:
    """The words of the only command of *page* that begins with *program*, without the line breaks."""
    text = (CHECKOUT / page).read_text().replace("\\\n", "")
    (line,) = re.findall(rf"^{program} .*?(?=\s+#|$)", text, re.MULTILINE)
    return shlex.split(line)


def same(report: dict[str, Any]) -> dict[str, Any]:
    """What is the same on the node and in a container, whose own file system is one mount more on the node."""
    report = comparable(report)
    for finding in report["findings"]:
        for each in finding["evidence"]:
            each["value"] = re.sub(r"^\d+ mounts\b", "mounts", each.get("value", ""))
    return report


def judged_as(node: Node, run: Callable[..., subprocess.CompletedProcess[str]], *more: str) -> None:
    """*run* prints the report of the node for people and for machines, and ends with the code of the verdict."""
    with node.kubelet():
        people = run()  # first: containerd makes directories for its first container, which the report names
        bare = node.probe(*JSON, *more)
        machines = run(*JSON)
    assert (people.returncode, machines.returncode) == (0, 0), people.stderr + machines.stderr
    assert people.stdout.startswith("✔ READY\n")
    inside, outside = same(json.loads(machines.stdout)), same(bare.report)
    for one, other in zip(inside.pop("findings"), outside.pop("findings"), strict=True):
        assert one == other
    assert inside == outside


@pytest.fixture(scope="module")
def archive(image: Image, workspace: str) -> str:
    """The image as a file, as troubleshooting.md has it carried to a node."""
    file = f"{workspace}/userns-probe.tar"
    save(file, IMAGE.replace("REGISTRY", "registry.example"))
    return file


def test_with_ctr(archive: str, node: Node, containerd: Runtime) -> None:
    """containerd's own client, on a node that nothing else can be installed on."""
    _, *importing, file = command("docs/troubleshooting.md", "ctr -n k8s.io images import")
    assert file == "userns-probe.tar"
    _, *running = command("README.md", "ctr -n k8s.io run")
    assert ["ctr", *running] == command("docs/troubleshooting.md", "ctr -n k8s.io run")
    at = running.index(IMAGE)
    running[at] = IMAGE.replace("REGISTRY", "registry.example")
    ctr = (containerd.beside("ctr"), "--address", node.endpoint)
    node.run(*ctr, *importing, archive)

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        entrypoint = ("userns-probe", *more) if more else ()  # in place of the image's own, after the container's name
        return subprocess.run(node.inside(*ctr, *running, *entrypoint), capture_output=True, text=True, check=False)

    try:
        judged_as(node, run)
    finally:
        node.run(*ctr, "-n", "k8s.io", "images", "remove", running[at])


def test_with_podman(archive: str, node: Node, runtime: Callable[..., Runtime]) -> None:
    """A container engine without a cluster. The test gives the container no network, which it does not need."""
    _, *running = command("README.md", "podman run")
    running[running.index(IMAGE)] = IMAGE.replace("REGISTRY", "registry.example")
    podman = engine(node, runtime("crun", (1, 9)))
    loaded = subprocess.run(node.inside(*podman, "load", "--quiet", "--input", archive), capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(node.inside(*podman, *running, *more), capture_output=True, text=True, check=False)

    judged_as(node, run)


def engine(node: Node, crun: Runtime) -> tuple[str, ...]:
    """podman, which keeps everything in a directory of the node."""
    home = node.path("podman")
    os.mkdir(home)
    try:
        found, _ = packages.engines()
        podman, conmon = (debian.copy_program(found, f"usr/bin/{name}", home) for name in ("podman", "conmon"))
    except Unavailable as problem:
        require(False, str(problem))
        raise
    files = {
        "storage.conf": f'[storage]\ndriver = "overlay"\nrunroot = "{home}/run"\ngraphroot = "{home}/store"\n',
        "containers.conf": f"""
            [containers]
            netns = "none"
            cgroups = "disabled"
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "none"
            conmon_path = ["{conmon}"]
            helper_binaries_dir = ["{found}/usr/lib/podman"]
            runtime = "crun"
            tmp_dir = "{home}/tmp"
            static_dir = "{home}/static"
            volume_path = "{home}/volumes"
            [engine.runtimes]
            crun = ["{crun.path}"]
            """,
        "registries.conf": "",
    }
    for name, content in files.items():
        Path(home, name).write_text(content)
    variables = {
        "CONTAINERS_CONF": f"{home}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{home}/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{home}/registries.conf",
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
    }
    return ("env", *(f"{name}={value}" for name, value in variables.items()), podman)


def test_with_kubectl_debug(image: Image, node: Node, runtime: Callable[..., Runtime]) -> None:
    """The Pod that `kubectl debug node/NODE` creates of README's command; kubectl 1.32 sends it so."""
    words = [word.replace("NODE", NODE_NAME) for word in command("README.md", "kubectl debug")]
    assert words[:4] == ["kubectl", "debug", f"node/{NODE_NAME}", "-it"]
    assert words[4:-2] == ["--profile=sysadmin", f"--image={IMAGE}", "--"]
    debugger = {
        "name": "debugger",
        "securityContext": {"privileged": True},
        "stdin": True,
        "tty": True,
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "host-root", "mountPath": "/host"}],
    }
    spec = {
        "hostIPC": True,
        "hostNetwork": True,
        "hostPID": True,
        "nodeName": NODE_NAME,
        "restartPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
        "volumes": [{"name": "host-root", "hostPath": {"path": "/"}}],
    }

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        asked = spec | {"containers": [debugger | {"command": [*words[-2:], *more]}]}
        with run_pod(asked, image, node, runtime("runc", (1, 2))) as pod:
            container = pod.containers["debugger"]
            while container.state["status"] != "stopped":
                time.sleep(0.01)
            return subprocess.CompletedProcess(more, 0, container.log.read_text(), "")

    judged_as(node, run, "--node-name", NODE_NAME)
