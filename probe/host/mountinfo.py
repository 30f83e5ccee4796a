"""The mount table, from its text alone: nothing here touches what is mounted."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from msgspec import Struct

# Optional fields end at the first lone dash. Only space, tab, newline and backslash are escaped, so a mount point may
# contain every other byte; the source may be empty.
_LINE = re.compile(
    rb"(\d{1,10}) (\d{1,10}) (\d{1,10}:\d{1,10}) ([^ ]+) ([^ ]+) ([^ ]+) ((?:[^ ]+ )*?)- ([^ ]+) ([^ ]*)(?: (.*))?",
    re.DOTALL,
)
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")

_SERVED = re.compile(
    r"(9p|afs|autofs|beegfs|ceph|cifs|coda|fuse|fuseblk|gpfs|lustre|nfs|nfs4|orangefs|smb3|virtiofs)(\..*)?"
)
"""File systems where looking up a name may wait for a server."""


def is_served(fstype: str) -> bool:
    """Whether looking up a name in such a file system may wait for a server."""
    return _SERVED.fullmatch(fstype) is not None


class Mount(Struct, frozen=True):
    """One line of proc_pid_mountinfo(5)."""

    mount_id: int
    parent_id: int
    device: str
    """`major:minor` of the superblock; not always what stat(2) says of files in it."""
    root: str
    """The directory of the file system that is mounted here; `/` when it is the whole."""
    mount_point: str
    """As os.fsdecode gives it, to be handed to system calls; `printable` makes it fit for text."""
    options: tuple[str, ...]
    """Of this mount: `ro`, `noatime`, `idmapped`."""
    propagation: tuple[str, ...]
    """The optional fields: `shared:5`, `unbindable`."""
    fstype: str
    source: str
    super_options: str
    """Of the file system, separated by commas."""

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through it."""
        return "ro" in self.options or "ro" in self.super_options.split(",")


class Volume(Struct, frozen=True):
    """A mount that the kubelet or a driver made for a Pod's volume."""

    mount: Mount
    plugin: str
    """`kubernetes.io~nfs`; where the path tells it the CSI driver; `subpath` when nothing tells."""
    vol_data: str = ""
    """Path of the file in which the kubelet keeps the name of the CSI driver; empty for other plugins."""


def printable(path: str) -> str:
    """A path as os.fsdecode gives it, with `\\xff` for each byte that is no UTF-8: what JSON can carry."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def parse_mountinfo(content: bytes) -> tuple[Mount, ...]:
    """The mounts in the order of the file; ValueError names the line that is none.

    Mount points and roots keep undecodable bytes as surrogates, so that they can be opened; all else is printable.
    *Source*: proc_pid_mountinfo(5).
    """
    *lines, rest = content.split(b"\n")
    if rest or not lines:
        raise ValueError(f"line {len(lines) + 1} is cut off")
    shared: dict[bytes, tuple[str, ...]] = {}
    return tuple(_parse_line(line, number, shared) for number, line in enumerate(lines, 1))


def _parse_line(line: bytes, number: int, shared: dict[bytes, tuple[str, ...]]) -> Mount:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"line {number} is no mount: {line[:80].decode('utf-8', 'backslashreplace')!r}")
    mount_id, parent_id, device, root, point, options, propagation, fstype, source, super_options = found.groups(b"")
    if options not in shared:
        shared[options] = tuple(_text(options).split(","))
    return Mount(
        int(mount_id),
        int(parent_id),
        device.decode("ascii"),
        os.fsdecode(_unescape(root)),
        os.fsdecode(_unescape(point)),
        shared[options],
        tuple(_text(propagation).split()) if propagation else (),
        _text(fstype),
        _text(source),
        _text(super_options),
    )


def _unescape(field: bytes) -> bytes:
    return _OCTAL.sub(lambda found: bytes((int(found[1], 8),)), field) if b"\\" in field else field


def _text(field: bytes) -> str:
    return _unescape(field).decode("utf-8", "backslashreplace")


class MountTable:
    """The tree that the lines of one mount table form."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._by_id = {mount.mount_id: mount for mount in mounts}
        self._points = {mount.mount_point for mount in self._by_id.values()}
        self._children: dict[int, dict[str, list[Mount]]] = defaultdict(lambda: defaultdict(list))
        self._tops: dict[str, list[Mount]] = defaultdict(list)
        for mount in self._by_id.values():
            if mount.parent_id in self._by_id and mount.parent_id != mount.mount_id:
                self._children[mount.parent_id][mount.mount_point].append(mount)
            else:
                self._tops[mount.mount_point].append(mount)

    def mount_of(self, path: str) -> Mount | None:
        """The mount in which an absolute path without symlinks lies: the topmost one where mounts are stacked.

        It descends as the kernel does, so a mount that a later one hides is not found.
        """
        here: Mount | None = None
        for prefix in _prefixes(path):
            if prefix not in self._points:
                continue
            if tops := self._tops.get(prefix):
                here = tops[-1]
            here = self._topmost(here, prefix)
        return here

    def below(self, path: str) -> int:
        """How many mounts a non-recursive bind mount of *path* would miss."""
        return len(self.points_below(path))

    def points_below(self, path: str) -> tuple[str, ...]:
        """Their mount points."""
        top = self.mount_of(path)
        beneath = path.rstrip("/") + "/"
        points = (mount.mount_point for mount in self._descendants(top)) if top else ()
        return tuple(point for point in points if point.startswith(beneath))

    def children(self, mount: Mount) -> Iterator[Mount]:
        """The mounts that were made on a directory of *mount*."""
        for stack in self._children.get(mount.mount_id, {}).values():
            yield from stack

    def ancestors(self, mount: Mount) -> tuple[Mount, ...]:
        """The mounts through which the mount point of *mount* is found, nearest first."""
        found: dict[int, Mount] = {}
        parent = self._by_id.get(mount.parent_id)
        while parent is not None and parent.mount_id not in found and parent.mount_id != mount.mount_id:
            found[parent.mount_id] = parent
            parent = self._by_id.get(parent.parent_id)
        return tuple(found.values())

    def server_above(self, path: str) -> str:
        """Device of the nearest mount whose server must answer before *path* is found; empty when none must.

        The root of a mount is found without its own server.
        """
        mount = self.mount_of(path)
        if mount is None:
            return ""
        passed = self.ancestors(mount) if mount.mount_point == path else (mount, *self.ancestors(mount))
        return next((each.device for each in passed if is_served(each.fstype)), "")

    def volumes(self, root_dir: str) -> tuple[Volume, ...]:
        """The mounts that Pods have as volumes, below the kubelet's root directory, in the order of their paths.

        What is mounted inside of a volume is none, nor is a mount that a later one hides.
        """
        prefix = root_dir.rstrip("/") + "/"
        found = {
            mount.mount_id: volume
            for mount in self._by_id.values()
            if mount.mount_point.startswith(prefix)
            and (volume := _volume(mount, mount.mount_point[len(prefix) :]))
            and self.mount_of(mount.mount_point) is mount
        }
        outer = (
            volume for volume in found.values() if not any(m.mount_id in found for m in self.ancestors(volume.mount))
        )
        return tuple(sorted(outer, key=lambda volume: volume.mount.mount_point))

    @staticmethod
    def distinct(volumes: Iterable[Volume]) -> tuple[Volume, ...]:
        """One volume per file system, and each one whose mount is idmapped or unbindable: that is up to the mount.

        A writable one whose plugin is known stands for the others, else the shallowest.
        """
        chosen: dict[tuple[str, str, int], Volume] = {}
        for volume in sorted(volumes, key=_preference):
            mount = volume.mount
            peculiar = "idmapped" in mount.options or "unbindable" in mount.propagation
            chosen.setdefault((mount.device, mount.fstype, mount.mount_id if peculiar else 0), volume)
        return tuple(sorted(chosen.values(), key=lambda volume: volume.mount.mount_point))

    def _topmost(self, here: Mount | None, point: str) -> Mount | None:
        passed = set()
        while here is not None and here.mount_id not in passed:
            passed.add(here.mount_id)
            if not (stack := self._children.get(here.mount_id, {}).get(point)):
                break
            here = stack[-1]
        return here

    def _descendants(self, mount: Mount) -> Iterator[Mount]:
        passed, pending = {mount.mount_id}, [mount]
        while pending:
            for child in self.children(pending.pop()):
                if child.mount_id not in passed:
                    passed.add(child.mount_id)
                    pending.append(child)
                    yield child


def _prefixes(path: str) -> Iterator[str]:
    """`/`, `/a`, `/a/b`."""
    yield "/"
    prefix = ""
    for component in path.split("/"):
        if component:
            prefix += f"/{component}"
            yield prefix


def _preference(volume: Volume) -> tuple[bool, bool, int, str]:
    mount = volume.mount
    return volume.plugin == "subpath", mount.read_only, mount.mount_point.count("/"), mount.mount_point


_POD_VOLUME = re.compile(r"pods/([^/]+)/volumes/([^/]+)/[^/]+(/mount)?", re.DOTALL)
_SUBPATH = re.compile(r"pods/([^/]+)/volume-subpaths/[^/]+/[^/]+/[^/]+", re.DOTALL)
_CSI_STAGING = re.compile(r"plugins/kubernetes\.io/csi/([^/]+)/[^/]+/globalmount", re.DOTALL)
_IN_TREE = re.compile(r"plugins/kubernetes\.io/(?!csi/)([^/]+)/(?!volumeDevices/).+", re.DOTALL)
_CSI = "kubernetes.io~csi"


def _volume(mount: Mount, path: str) -> Volume | None:
    """The volume at *path* below the kubelet's root directory. *Source*: kubelet, `kubelet_getters.go`."""
    beside = mount.mount_point.rpartition("/")[0] + "/vol_data.json"
    if found := _POD_VOLUME.fullmatch(path):
        if (found[2] == _CSI) != bool(found[3]):  # only CSI has its mount one level deeper
            return None
        return Volume(mount, printable(found[2]), beside if found[3] else "")
    if found := _SUBPATH.fullmatch(path):
        return Volume(mount, "subpath")
    if found := _CSI_STAGING.fullmatch(path):
        # `csi/pv/NAME/globalmount` until Kubernetes 1.24: there the path names the volume, not the driver
        return Volume(mount, _CSI if found[1] == "pv" else printable(found[1]), beside)
    if found := _IN_TREE.fullmatch(path):
        return Volume(mount, f"kubernetes.io~{printable(found[1])}")
    return None
