"""The tree of mounts: finds the mount of a path, its ancestors and the mounts below it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from probe.host.mountinfo import Mount, is_served


class MountTable:
    """The tree of mounts of one mount table."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._by_id = {mount.mount_id: mount for mount in mounts}
        self._points = {mount.mount_point for mount in self._by_id.values()}
        self._children: dict[int, dict[str, list[Mount]]] = defaultdict(lambda: defaultdict(list))
        self._tops: dict[str, list[Mount]] = defaultdict(list)
        self._found: dict[str, Mount | None] = {}  # by directory
        for mount in self._by_id.values():
            if mount.parent_id in self._by_id and mount.parent_id != mount.mount_id:
                self._children[mount.parent_id][mount.mount_point].append(mount)
            else:
                self._tops[mount.mount_point].append(mount)

    def __iter__(self) -> Iterator[Mount]:
        return iter(self._by_id.values())

    def mount_of(self, path: str) -> Mount | None:
        """The mount that contains an absolute path without symlinks: the topmost one of stacked mounts.

        The lookup descends as the kernel does, so a mount hidden by a later one is not found.
        """
        if path.endswith("/") or "//" in path:
            path = plain(path)
        directory = path.rpartition("/")[0] or "/"
        if directory not in self._found:
            here: Mount | None = None
            for prefix in _prefixes(directory):
                here = self._step(here, prefix)
            self._found[directory] = here
        found = self._found[directory]
        return found if path == "/" else self._step(found, path)

    def _step(self, here: Mount | None, point: str) -> Mount | None:
        """The mount at *point*, a directory whose parent lies in *here*; *here* itself when none is mounted there."""
        if point not in self._points:
            return here
        if tops := self._tops.get(point):
            here = tops[-1]
        return self._topmost(here, point)

    def below(self, path: str) -> int:
        """Number of mounts that a non-recursive bind mount of *path* leaves out."""
        return len(self.points_below(path))

    def points_below(self, path: str) -> tuple[str, ...]:
        """Mount points of the mounts below *path*."""
        top = self.mount_of(path)
        beneath = path.rstrip("/") + "/"
        points = (mount.mount_point for mount in self._descendants(top)) if top else ()
        return tuple(point for point in points if point.startswith(beneath))

    def children(self, mount: Mount) -> Iterator[Mount]:
        """Mounts whose mount point is a directory of *mount*."""
        for stack in self._children.get(mount.mount_id, {}).values():
            yield from stack

    def ancestors(self, mount: Mount) -> tuple[Mount, ...]:
        """Mounts that a lookup of the mount point of *mount* passes through, nearest first."""
        found: dict[int, Mount] = {}
        parent = self._by_id.get(mount.parent_id)
        while parent is not None and parent.mount_id not in found and parent.mount_id != mount.mount_id:
            found[parent.mount_id] = parent
            parent = self._by_id.get(parent.parent_id)
        return tuple(found.values())

    def server_above(self, path: str) -> str:
        """Device of the nearest mount whose server must answer a lookup of *path*; empty when there is none.

        The lookup of the root of a mount does not need its own server.
        """
        mount = self.mount_of(path)
        if mount is None:
            return ""
        passed = self.ancestors(mount) if mount.mount_point == path else (mount, *self.ancestors(mount))
        return next((each.device for each in passed if is_served(each.fstype)), "")

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


def plain(path: str) -> str:
    """An absolute path without repeated slashes, and without one at its end."""
    return "/" + "/".join(filter(None, path.split("/")))
