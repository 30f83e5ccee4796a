"""A process that mounts and unmounts volumes of a node until its stdin is closed: ROOT COUNT SEED.

Each has a place of its own, as Pods have. Half of them are ramfs, which cannot be idmapped, and half tmpfs, which can.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import shutil
import sys

from lab.real import kernel

libc = ctypes.CDLL(None, use_errno=True)


def main(root: str, count: int, seed: int) -> None:
    """Make so many, say so in a line, replace one after another, and in the end take everything away."""
    chance, made = random.Random(seed), 0
    mounted = []

    def mount() -> str:
        nonlocal made
        made += 1
        place = f"{root}/pods/{made:08x}-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~empty-dir/v"
        os.makedirs(place)
        kernel.mount("volume", place, chance.choice(("ramfs", "tmpfs")))
        return place

    def unmount(place: str) -> None:
        libc.umount2(place.encode(), 0)
        shutil.rmtree(place.partition("/volumes/")[0])

    while made < count:
        mounted.append(mount())
    os.write(1, b"mounted\n")
    while not select.select([0], [], [], 0)[0]:
        index = chance.randrange(count)
        unmount(mounted[index])
        mounted[index] = mount()
    for place in mounted:
        unmount(place)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
