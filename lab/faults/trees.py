"""What a Pod can put below the kubelet's root directory, and what nobody should have put there."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.faults.command import probe, try_paths
from lab.faults.mutate import mutated
from lab.faults.stage import Fault, Stage, demand
from lab.faults.targets.kubelet import USERNS
from lab.real import kernel
from lab.real.imitations import Watch
from lab.real.node import Probed

NAMES = (
    *(b"a\nkubelet ready", b"\x1b[2J\x1b]0;owned\x07", "\u202eydaer".encode(), b"\xff\xfe", b"x" * 255, b"-rf", b"..."),
    *(b"<img src=x onerror=alert(1)>", b"{{7*7}}", b"%s%n", b"a b\tc", b"'\"`$(reboot)`", b"vol_data.json", b"userns"),
)
MANY = 3000
"""Entries of one directory; the kubelet's own has a few hundred."""
TOO_MANY = 20_001
LONGEST_NAME = 250
LONG = (4095, 4267)
"""Bytes of paths: as long as the kernel takes one, and longer."""
VOLATILE = ("ids-slots", "ids-restart-forecast", "hazard-last-block", "hazard-mapping-ignored")
"""Checks that read the records of Pods."""


@dataclass
class Tree:
    """A hostile directory: what in it must never be opened, and what is mounted there."""

    root: bytes
    chance: random.Random
    secret: str
    """A file outside, to which symlinks lead."""
    forbidden: list[bytes] = field(default_factory=list)
    mounted: list[str] = field(default_factory=list)

    def plant(self, directory: bytes, name: bytes = b"") -> bytes:
        """Make something there that is no plain file, or is none of ours to read; its path."""
        path = os.path.join(directory, name or self.chance.choice(NAMES))
        if not os.path.lexists(path):
            make = self.chance.choice(list(SHAPES.values()))
            make(self, path)
            if not stat.S_ISLNK(os.lstat(path).st_mode) and not os.path.isdir(path):
                self.forbidden.append(path)
        return path


def _file(tree: Tree, path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(tree.chance.randbytes(100))


def _sparse(tree: Tree, path: bytes) -> None:
    _file(tree, path)
    os.truncate(path, 1 << 30)


def _device(tree: Tree, path: bytes) -> None:
    kind, major, minor = tree.chance.choice(((stat.S_IFCHR, 1, 5), (stat.S_IFCHR, 5, 0), (stat.S_IFBLK, 7, 0)))
    os.mknod(path, kind | 0o666, os.makedev(major, minor))  # /dev/zero, /dev/tty, a loop device


def _socket(_: Tree, path: bytes) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o666)


def _link(tree: Tree, path: bytes) -> None:
    target = tree.chance.choice((b"/proc/1/root", b"/dev", b"/", b"..", path, tree.secret.encode(), b"/dev/zero"))
    os.symlink(target, path)


def _deep(_: Tree, path: bytes) -> None:
    """A path of more than 4,096 bytes."""
    os.mkdir(path)
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _again in range(17):
        os.mkdir(b"d" * 250, dir_fd=here)
        below = os.open(b"d" * 250, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def long_path(directory: bytes, length: int) -> bytes:
    """A new directory below another, whose path has so many bytes."""
    path, here = directory, os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    while (left := length - len(path) - 1) > 0:
        name = b"%d-" % length + b"d" * 300
        name = name[: left if left <= LONGEST_NAME else min(LONGEST_NAME, left - 2)]  # what is left has a name
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        path, here = path + b"/" + name, below
    os.close(here)
    return path


def _wide(_: Tree, path: bytes) -> None:
    os.mkdir(path)
    for number in range(MANY):
        os.mkdir(b"%s/%d" % (path, number))


SHAPES: dict[str, Callable[[Tree, bytes], None]] = {
    "file": _file,
    "1 GiB": _sparse,
    "FIFO": lambda _, path: os.mkfifo(path),
    "device": _device,
    "socket": _socket,
    "symlink": _link,
    "directory": lambda _, path: os.mkdir(path),
    "deep": _deep,
    "wide": _wide,
}


@contextmanager
def planted(stage: Stage, chance: random.Random) -> Iterator[Tree]:
    """An empty tree at the kubelet's directory of Pods, gone at the end with all that is in it."""
    secret = stage.node.path("secret")
    with open(secret, "w") as file:
        file.write("secret")
    root = os.fsencode(f"{stage.node.root}/pods")
    tree = Tree(root, chance, secret, [secret.encode()])
    try:
        yield tree
    finally:
        for path in reversed(tree.mounted):
            kernel.detach(path)
        for name in os.listdir(root):
            path = os.path.join(root, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        os.unlink(secret)


def volumes_of_pods(stage: Stage, chance: random.Random) -> None:
    """What containers can make in their volumes: no file of theirs is opened, and no word of the report changes."""
    with _kubelet(stage, chance) as verdict, planted(stage, chance) as tree:
        places = []
        for _ in range(chance.randrange(1, 4)):
            pod = b"%s/%08x-0000-4000-8000-000000000000" % (tree.root, chance.getrandbits(32))
            os.makedirs(pod + b"/volumes/kubernetes.io~empty-dir")
            for number in range(chance.randrange(1, 4)):
                name = chance.choice((b"v%d", b"v%d\n0 0 0:1 - proc proc rw"))  # as lines of a mount table
                volume = b"%s/volumes/kubernetes.io~empty-dir/%s" % (pod, name % number)
                os.mkdir(volume)
                if chance.random() < 0.5:
                    tree.mounted.append(os.fsdecode(volume))
                    kernel.mount("tmpfs", tree.mounted[-1], "tmpfs")
                places.append(volume)
        plants = [tree.plant(chance.choice(places)) for _ in range(20)]
        probed = probe_beside(stage, tree)
        demand(probed.report["verdict"] == verdict, f"{verdict} became {probed.verdict}")
        if verdict == "ready":
            volumes = {"filesystem-volumes": ("pass",)} if tree.mounted else {}
            stage.expect(probed, "ready", unknown=(), right=volumes)
        with Watch(*tree.forbidden) as watch:
            try_paths(stage, [*chance.sample(plants, 8), *(long_path(tree.root, length) for length in LONG)])
            demand(not watch.seen(), f"opened for `path`: {watch.seen()}")


def records_of_pods(stage: Stage, chance: random.Random) -> None:
    """What nobody should have put in place of Pods, of the kubelet's records of them, and of drivers' names."""
    with planted(stage, chance) as tree:
        for _ in range(chance.randrange(1, 12)):
            pod = os.path.join(tree.root, chance.choice((*NAMES, b"%032x" % chance.getrandbits(128))))
            if os.path.lexists(pod):
                continue
            if chance.random() < 0.2:
                tree.plant(tree.root, os.path.basename(pod))
                continue
            os.mkdir(pod)
            _record(tree, pod)
            if chance.random() < 0.3:
                _csi(tree, pod)
        if chance.random() < 0.1:
            for number in range(TOO_MANY):
                os.mkdir(b"%s/%d" % (tree.root, number))
        probed = probe_beside(stage, tree)
        right = dict.fromkeys(VOLATILE, ("warn", "pass", "skipped", "fail")) | {"filesystem-volumes": ("pass",)}
        stage.expect(probed, "ready", unknown=VOLATILE, right=right)


@contextmanager
def _kubelet(stage: Stage, chance: random.Random) -> Iterator[str]:
    """The stage's own kubelet, or one whose gate is off; the verdict that the node deserves then."""
    if chance.random() < 0.7:
        yield "ready"
        return
    with stage.other_kubelet(version="1.34.1", config="featureGates: {UserNamespacesSupport: false}\n"):
        yield "not-ready"


def _record(tree: Tree, pod: bytes) -> None:
    """The kubelet's record: any file but a plain one is forbidden, and of a plain one any content is allowed."""
    if tree.chance.random() < 0.5:
        with open(pod + b"/userns", "wb") as file:
            file.write(mutated([USERNS.encode()], [b'"hostId":', b"65536"], tree.chance)[: 1 << 17])
    else:
        _allow(tree, tree.plant(pod, b"userns"))


def _csi(tree: Tree, pod: bytes) -> None:
    """A driver's mount, and beside it what should tell the driver's name."""
    volume = pod + b"/volumes/kubernetes.io~csi/pv-1"
    os.makedirs(volume + b"/mount")
    tree.mounted.append(os.fsdecode(volume + b"/mount"))
    kernel.mount("tmpfs", tree.mounted[-1], "tmpfs")
    _allow(tree, tree.plant(volume, b"vol_data.json"))


def _allow(tree: Tree, path: bytes) -> None:
    """It may be read, if it is a plain file."""
    if os.path.isfile(path) and not os.path.islink(path):
        tree.forbidden.remove(path)


def probe_beside(stage: Stage, tree: Tree) -> Probed:
    """A probe that opens nothing that is forbidden, and says nothing that could do harm where it is read."""
    with Watch(*tree.forbidden) as watch:
        probed = probe(stage, *tree.chance.choice(((), ("--volume-paths",))))
        demand(not watch.seen(), f"opened: {watch.seen()}")
    return probed


FAULTS = (
    Fault("Pods' volumes full of symlinks, FIFOs, devices, strange names", 100, volumes_of_pods),
    Fault("Pods' directories and records that are none", 100, records_of_pods),
)
