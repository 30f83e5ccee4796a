"""What a containerd needs to run Pods: a pause image and a network plugin, both made here."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.real.node import Node
from lab.real.packages import Runtime

PAUSE_IMAGE = "local.test/pause:1"

# pause(2) again and again: mov eax, 34; syscall; jmp to the start.
_PAUSE = {"x86_64": bytes.fromhex("b822000000 0f05 ebf7")}
_GOARCH = {"x86_64": "amd64"}
_BASE = 0x400000

# A plugin that gives every Pod the same address, and makes no interface.
_PLUGIN = """#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],
"ips":[{"address":"192.0.2.2/24","interface":0}]}' ;;
*) cat > /dev/null ;;
esac
"""
_CONFIG = """
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
{settings}  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{home}"]
  conf_dir = "{home}/conf"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{image}"
"""


def can_run_pods() -> bool:
    """Whether a pause program for this machine is known."""
    return platform.machine() in _PAUSE


@contextmanager
def pod_runtime(
    node: Node,
    containerd: Runtime,
    handlers: Mapping[str, str],
    *,
    image: bool = True,
    more: str = "",
    settings: str = "",
    wrapper: tuple[str, ...] = (),
) -> Iterator[str]:
    """As `Node.containerd`, with a network and, unless *image* is False, the pause image.

    *settings* are lines of the CRI plugin's table, *more* is other configuration.
    """
    home = node.path("cni")
    os.makedirs(f"{home}/conf")
    for name in ("loopback", "own"):
        Path(home, name).write_text(_PLUGIN)
        os.chmod(f"{home}/{name}", 0o755)
    Path(home, "conf/10-own.conf").write_text('{"cniVersion":"1.0.0","name":"own","type":"own"}')
    config = _CONFIG.format(home=home, image=PAUSE_IMAGE, settings=settings) + more
    with node.containerd(containerd, handlers, more=config, wrapper=wrapper) as endpoint:
        if image:
            archive = f"{home}/pause.tar"
            write_image(archive)
            command = (containerd.beside("ctr"), "--address", endpoint, "--namespace", "k8s.io", "images", "import")
            subprocess.run(node.inside(*command, "--local", archive), check=True, capture_output=True)
        yield endpoint


def write_image(path: str) -> None:
    """An image with the one program /pause, as `docker save` writes it."""
    program = io.BytesIO(_elf(_PAUSE[platform.machine()]))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.mode, entry.size = 0o755, len(program.getvalue())
        tar.addfile(entry, program)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": _GOARCH[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer.getvalue(),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _elf(code: bytes) -> bytes:
    """A static ELF program of one segment. *Source*: elf(5)."""
    headers = 64 + 56
    whole = headers + len(code)
    number = lambda value, size=8: value.to_bytes(size, "little")  # noqa: E731
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    machine = {"x86_64": 62}[platform.machine()]
    elf = ident + number(2, 2) + number(machine, 2) + number(1, 4) + number(_BASE + headers) + number(64) + number(0)
    elf += number(0, 4) + number(64, 2) + number(56, 2) + number(1, 2) + number(64, 2) + number(0, 2) + number(0, 2)
    segment = number(1, 4) + number(5, 4) + number(0) + number(_BASE) * 2 + number(whole) * 2 + number(0x1000)
    return elf + segment + code
