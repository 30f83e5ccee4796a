"""Volumes on a small node, as many as one likes."""

from __future__ import annotations

import os
from collections.abc import Callable

from lab.real import kernel
from lab.real.node import Node

PODS = 250
"""No node has more than a few hundred."""


def mount_volumes(node: Node, total: int, mount: Callable[[str], None]) -> None:
    """Mount volumes of Pods, each by *mount*, until the node's kubelet has *total*."""
    for number in range(len(kernel.mounts_below(node.root)), total):
        pod = f"{node.root}/pods/01234567-89ab-cdef-0123-{number % PODS:012}"
        path = f"{pod}/volumes/kubernetes.io~empty-dir/volume-{number}"
        os.makedirs(path, exist_ok=True)
        mount(path)


def bind_volumes(node: Node, total: int) -> None:
    """The same with one file system for all of them."""
    source = f"{node.root}/volume"
    if not os.path.ismount(source):
        os.makedirs(source, exist_ok=True)
        kernel.mount("volume", source, "tmpfs")
        # Or all binds would tell each other of mounts, and the kernel's table take a second to be read.
        kernel.mount("none", source, "", kernel.MS_PRIVATE)
    mount_volumes(node, total, lambda path: kernel.mount(source, path, "", 0x1000))


def unmount_volumes(node: Node) -> None:
    """Take them all away again."""
    for target in kernel.mounts_below(node.root):
        kernel.detach(target)
