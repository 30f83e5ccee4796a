"""The tree of mounts: finds the mount of a path, its ancestors and the mounts below it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from probe.host.mountinfo import Mount, is_served


class MountTable:
    """The tree of mounts of one mount table."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._by_id = {mount.mount_id: mount for mount in mounts}
        self._at = {mount.mount_point: mount for mount in self._by_id.values()}  # of stacked mounts the last
        self._found: dict[str, Mount | None] = {}  # by path

    def __iter__(self) -> Iterator[Mount]:
        return iter(self._by_id.values())

    def mount_of(self, path: str) -> Mount | None:
        """The mount that contains an absolute path without symlinks: the topmost one of stacked mounts.

        The lookup descends as the kernel does, so a mount hidden by a later one is not found.
        """
        if not path.startswith("/") or path.endswith("/") or "//" in path:
            path = plain(path)
        if path not in self._found:
            directory = path.rpartition("/")[0] or "/"
            if directory not in self._found:
                here: Mount | None = None
                for prefix in _prefixes(directory):
                    here = self._found[prefix] = self._step(here, prefix)
            if path != "/":
                self._found[path] = self._step(self._found[directory], path)
        return self._found[path]

    def _step(self, here: Mount | None, point: str) -> Mount | None:
        """The mount at *point*, a directory whose parent lies in *here*; *here* itself when none is mounted there."""
        if point not in self._at:
            return here
        stack = self._stacks.get(point) or (self._at[point],)
        for mount in reversed(stack):
            if self._is_top(mount):
                here = mount
                break
        return _topmost(here, stack)

    @cached_property
    def _stacks(self) -> dict[str, list[Mount]]:
        """By mount points that several mounts have, in the order of the table."""
        stacks: dict[str, list[Mount]] = defaultdict(list)
        if len(self._at) < len(self._by_id):
            for mount in self._by_id.values():
                stacks[mount.mount_point].append(mount)
        return stacks

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
        return (child for child in self._children.get(mount.mount_id, ()) if child.mount_id != mount.mount_id)

    @cached_property
    def _children(self) -> dict[int, list[Mount]]:
        """By the ID of their parent, which the table may lack. No lookup of a path needs it."""
        children: dict[int, list[Mount]] = defaultdict(list)
        for mount in self._by_id.values():
            children[mount.parent_id].append(mount)
        return children

    def _is_top(self, mount: Mount) -> bool:
        """True when the table has no mount that holds the mount point."""
        return mount.parent_id == mount.mount_id or mount.parent_id not in self._by_id

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

    def _descendants(self, mount: Mount) -> Iterator[Mount]:
        passed, pending = {mount.mount_id}, [mount]
        while pending:
            for child in self.children(pending.pop()):
                if child.mount_id not in passed:
                    passed.add(child.mount_id)
                    pending.append(child)
                    yield child


def _topmost(here: Mount | None, stack: Sequence[Mount]) -> Mount | None:
    """The mount that covers *here*, or covers the one that does, of a *stack* of mounts at one point."""
    above = {mount.parent_id: mount for mount in stack if mount.parent_id != mount.mount_id}
    while here is not None and here.mount_id in above:
        here = above.pop(here.mount_id)  # once, or a table with a cycle would have no end
    return here


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
