"""Volumes whose servers can be made to hang."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.real import kernel
from lab.real.fuse_server import FuseServer
from lab.real.node import Node
from lab.waiting import wait_for

WAYS = ["stop", "mute"]
"""How a server hangs: it reads no requests any more, or reads them and never answers."""


def pod(number: int) -> str:
    """The directory of a Pod's volumes, below the kubelet's root directory."""
    return f"pods/01234567-89ab-cdef-0123-{number:012}/volumes"


@contextmanager
def csi_volume(node: Node, number: int = 0, *, waiter: bool = True, **options: bool) -> Iterator[FuseServer]:
    """A volume of a CSI driver that is a FUSE mount, and something mounted inside of it.

    Once it hangs somebody waits in it, as the kubelet does when it counts the space of volumes.
    """
    path = f"{node.root}/{pod(number)}/kubernetes.io~csi/pv/mount"
    os.makedirs(path)
    with FuseServer(path, **options) as server:
        if options.get("init", True):
            kernel.mount("inside", f"{path}/d", "tmpfs")
        yield server


@contextmanager
def volume_behind(node: Node, number: int = 0) -> Iterator[FuseServer]:
    """A tmpfs as a volume, on a directory of a FUSE mount: nobody finds it without that server."""
    path = f"{node.root}/{pod(number)}/kubernetes.io~empty-dir"
    os.makedirs(path)
    with FuseServer(path) as server:
        kernel.mount("behind", f"{path}/d", "tmpfs")
        yield server


@contextmanager
def waiting_in(server: FuseServer) -> Iterator[None]:
    """Somebody who asks a hanging server for its free space, until the server is gone."""
    process = subprocess.Popen(["stat", "--file-system", server.mountpoint], stdout=-3, stderr=-3)
    wait_for(server.waiting)
    try:
        yield
    finally:
        server.close()
        process.wait()
