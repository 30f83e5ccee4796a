"""Two tiny images around the machine's static busybox, made without any registry."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import struct
import tarfile
from collections.abc import Iterable, Mapping

PAUSE, TOOLS = "sabotage.test/pause:1", "sabotage.test/tools:1"
_BUSYBOX = "/bin/busybox"
_DIRECTORIES = ("bin", "etc", "proc", "sys", "dev", "tmp")


def write(directory: str) -> None:
    """Write both images as archives that `ctr images import` reads."""
    os.makedirs(directory)
    for reference, applets in ((PAUSE, ()), (TOOLS, ("sh", "cat", "stat"))):
        name = reference.partition("/")[2].partition(":")[0]
        with open(f"{directory}/{name}.tar", "wb") as file:
            file.write(_archive(reference, _layer(applets)))


def _layer(applets: Iterable[str]) -> bytes:
    """The only layer of an image; /home belongs to UID 1000 of the image."""
    with open(_BUSYBOX, "rb") as file:
        busybox = file.read()
    entries: dict[tarfile.TarInfo, bytes] = {_directory(name): b"" for name in _DIRECTORIES}
    entries[_directory("home", 1000)] = b""
    program = tarfile.TarInfo("bin/busybox")
    program.mode, program.size = 0o755, len(busybox)
    entries[program] = busybox
    for applet in applets:
        link = tarfile.TarInfo(f"bin/{applet}")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        entries[link] = b""
    return _tar(entries)


def make_archive(
    reference: str,
    directories: Iterable[str],
    files: Mapping[str, tuple[bytes, int]],
    links: Mapping[str, str],
    owned: Mapping[str, int],
    capabilities: Mapping[str, int] = {},
) -> bytes:
    """An image of one layer for `ctr images import`; *files* have content and mode, *owned* directories a UID.

    *capabilities*: file -> the one capability that it gets when it is executed, as setcap(8) `CAPABILITY=ep`.
    """
    entries: dict[tarfile.TarInfo, bytes] = {_directory(name): b"" for name in directories}
    entries |= {_directory(name, owner): b"" for name, owner in owned.items()}
    for name, (content, mode) in files.items():
        file = _file(name, content)
        file.mode = mode
        if name in capabilities:
            file.pax_headers = {"SCHILY.xattr.security.capability": _file_capability(capabilities[name])}
        entries[file] = content
    for name, target in links.items():
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, target
        entries[link] = b""
    return _archive(reference, _tar(entries))


def _file_capability(number: int) -> str:
    """vfs_cap_data of revision 2, effective: magic, permitted and inheritable, low words first; capabilities(7)."""
    return struct.pack("<5I", 0x02000001, 1 << number, 0, 0, 0).decode("utf-8", "surrogateescape")


def _directory(name: str, owner: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o755, owner, owner
    return info


def _archive(reference: str, layer: bytes) -> bytes:
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/bin/busybox", "sleep", "3600"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    content = json.dumps(config).encode()
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": [f"{digest}.tar"]}]
    parts = {f"{digest}.tar": layer, name: content, "manifest.json": json.dumps(manifest).encode()}
    return _tar({_file(each, data): data for each, data in parts.items()})


def _file(name: str, data: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def _tar(entries: dict[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries.items():
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()
