"""Devices by CDI in real Pods: a runtime that reads a folder of its own, and Pods that use what they are given."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.real import engines, packages, pods
from lab.real.node import Node
from lab.sabotage import cri
from lab.sabotage.cri import RefusedError, Volume, field

TARGET = "/opt"
FIRST = 65_536 * 3000  # the host's first ID of the first Pod
_CDI_DEVICES = 17  # number of the field in ContainerConfig of CRI


def make_node(path: str, mode: int, major: int = 1, minor: int = 3) -> str:
    """A character device node, /dev/null by default."""
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
    os.chmod(path, mode)
    return path


@contextmanager
def runtime_with_devices(
    node: Node,
    containerd: packages.Runtime,
    handlers: Mapping[str, str],
    kinds: Mapping[str, Mapping[str, dict[str, Any]]],
) -> Iterator[str]:
    """As `pods.pod_runtime`, with a CDI specification of each kind: its devices by name, with their edits."""
    folder = node.path("cdi")
    os.makedirs(folder)
    for number, (kind, devices) in enumerate(kinds.items()):
        named = [{"name": name, "containerEdits": edits} for name, edits in devices.items()]
        specification = {"cdiVersion": "0.6.0", "kind": kind, "devices": named}
        Path(folder, f"{number}.json").write_text(json.dumps(specification))
    settings = f'  enable_cdi = true\n  cdi_spec_dirs = ["{folder}"]\n'
    with pods.pod_runtime(node, containerd, handlers, settings=settings) as endpoint:
        archive = f"{folder}.tar"
        engines.write_image(archive)
        command = (containerd.beside("ctr"), "--address", endpoint, "--namespace", "k8s.io", "images", "import")
        subprocess.run(node.inside(*command, "--local", archive), check=True, capture_output=True)
        yield endpoint


def fate(node: Node, client: cri.Client, number: int, device: str, handler: str, script: str, userns: bool) -> str:
    """`works` when *script* succeeds in a container with that device (`KIND=NAME`), else what was said."""
    out = node.path("out")
    os.mkdir(out)
    os.chmod(out, 0o777)
    first = FIRST + number * cri.LENGTH if userns else None
    config = cri.sandbox_config(f"device-{number}", f"00000000-0000-4000-8000-{number:012}", "userns-probe-test", first)
    well, badly = "/busybox echo works > /out/said", "/busybox cp /out/log /out/said"
    command = (
        "/busybox",
        "sh",
        "-c",
        f"if ({script}) > /out/log 2>&1; then {well}; else {badly}; fi; /busybox touch /out/done",
    )
    container = cri.container_config("main", engines.IMAGE, command, [Volume(out, "/out")], first)
    container += field(_CDI_DEVICES, field(1, device))
    sandbox = ""
    try:
        sandbox = client.run_sandbox(config, handler)
        client.run_container(sandbox, container, config)
        until = time.monotonic() + 20
        while not os.path.exists(f"{out}/done") and time.monotonic() < until:
            time.sleep(0.01)
        return Path(f"{out}/said").read_text().strip() if os.path.exists(f"{out}/said") else "nothing was said"
    except RefusedError as refusal:
        return str(refusal)
    finally:
        if sandbox:
            with suppress(RefusedError):  # what has ended meanwhile; the rest goes with the node
                client.remove_sandbox(sandbox)
