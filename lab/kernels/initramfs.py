"""The initramfs of a guest: busybox, a script that is its process 1, and the modules it needs, with all that they need.

The format is described in Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.kernels.packages import HERE, Kernel, decompressed
from lab.real import debian
from lab.real.debian import Broken, Unavailable, run

BASIC = ("virtio_pci", "virtio_blk", "virtio_console", "squashfs", "overlay")
"""The modules without which no guest comes as far as its root."""

_HERE = Path(__file__).parent
_DIRECTORIES = ("bin", "dev", "guest", "modules")
_CONSOLE = (5, 1)  # device number; process 1 has no stdout without /dev/console


def initramfs(kernel: Kernel, command: str, modules: Iterable[str] = ()) -> bytes:
    """An archive for that kernel, which runs *command*, a line of shell, as root."""
    files = {
        "bin/busybox": (0o755, _busybox(kernel.architecture)),
        "init": (0o755, (_HERE / "init.sh").read_bytes()),
        "guest/run.sh": (0o755, (_HERE / "run.sh").read_bytes()),
        "guest/command": (0o755, f"{command}\n".encode()),
    }
    loaded = list(_load_order(kernel, (*BASIC, *modules)))
    files |= {f"modules/{path.name}": (0o644, decompressed(path.read_bytes())) for path in loaded}
    files["modules/order"] = (0o644, "".join(f"{path.name}\n" for path in loaded).encode())
    return _archive(files)


def _busybox(architecture: str) -> bytes:
    if architecture != HERE:
        fetched = debian.fetch(
            "busybox-static", "trixie", debian.Recipe(finish=debian.as_root, architecture=architecture)
        )
        return (fetched / "bin/busybox").read_bytes()
    path = shutil.which("busybox")
    if not path:
        raise Unavailable("command busybox is not there (package busybox-static)")
    return Path(path).read_bytes()


def _load_order(kernel: Kernel, names: Iterable[str]) -> Iterator[Path]:
    """The files of these modules and of those they need, each once, in the order they are loaded in.

    modprobe(8) knows soft dependencies and aliases, too: without an implementation of crc32c, which is both, ext4,
    xfs, btrfs, f2fs and erofs do not mount. What this kernel has built in, or has not at all, is left out.
    """
    seen = set()
    for name in names:
        words = ("--dirname", kernel.directory, "--set-version", kernel.release, "--show-depends", name)
        try:
            said = run("/usr/sbin/modprobe", *words, failure=Broken)
        except Broken:
            continue
        for line in said.splitlines():
            action, _, path = line.strip().partition(" ")
            if action == "insmod" and path not in seen:
                seen.add(path)
                yield Path(path.split(" ")[0])


def _archive(files: dict[str, tuple[int, bytes]]) -> bytes:
    entries = [_entry(name, stat.S_IFDIR | 0o755) for name in _DIRECTORIES]
    entries.append(_entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE))
    entries += [_entry(name, stat.S_IFREG | mode, content) for name, (mode, content) in files.items()]
    return b"".join([*entries, _entry("TRAILER!!!", 0)])


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    # ino mode uid gid nlink mtime filesize, device and number of the device, namesize and a checksum that is not used
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)
