"""Links of processes in /proc: what they execute, their namespaces, their directories."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

_DIRECTORIES = ("/cwd", "/root")


class Links:
    """Links and where they led."""

    def __init__(self, links: Iterable[tuple[str, str]]) -> None:
        """*links*: path and target of each."""
        found = list(links)
        self.paths = [path for path, _ in found]
        self._targets = [target for _, target in found]
        self._held: tuple[list[int], list[str], list[str]] = ([], [], [])

    def difference(self) -> str:
        """The first path that leads elsewhere, or nowhere; empty when all lead to where they led."""
        for path, target in zip(self.paths, self._targets, strict=True):
            try:
                if os.readlink(path) != target:
                    return path
            except OSError:
                return path
        return self.held_difference()

    def held_difference(self) -> str:
        """The path of an open link when one leads elsewhere, or a process has ended, whoever has its number now."""
        descriptors, targets, paths = self._held
        with contextlib.suppress(OSError):
            if [os.readlink("", dir_fd=descriptor) for descriptor in descriptors] == targets:
                return ""
        return paths[0]

    def hold(self) -> None:
        """Open those that do not lead to a directory, which keeps no process and no namespace. *Errors*: OSError."""
        descriptors, targets, paths = self._held
        for path, target in zip(self.paths, self._targets, strict=True):
            if not path.endswith(_DIRECTORIES):
                descriptors.append(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
                targets.append(target)
                paths.append(path)

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in self._held[0]:
            os.close(descriptor)
        self._held[0].clear()
