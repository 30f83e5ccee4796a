"""States that a look asks for by system calls."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat

from probe.watch.states import FIELDS, Descriptors, directory_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any

    from probe.watch.states import State

SETTLED = 1_000_000_000
"""Nanoseconds, more than the granularity of st_ctime: a directory that changed so long ago gets another time."""


class Asked:
    """States and what they were.

    A look every 15 seconds finds all caches of the processor cold, so it touches as little memory as it can: states of
    one kind are asked for in one go, and compared as lists.
    """

    def __init__(self, states: Iterable[State], entries: Mapping[str, Sequence[State]]) -> None:
        """*entries*: directory -> the states of the entries that paths name."""
        self._states: dict[Callable[[str], Any], tuple[list[str | int], list[str], list[Any]]] = {}
        self._descriptors: Descriptors | None = None
        self._entries = entries
        self.add(states)

    def add(self, states: Iterable[State]) -> None:
        """Ask for these, too."""
        for state, path, result in states:
            places, paths, results = self._states.setdefault(state, ([], [], []))
            places.append(path)
            paths.append(path)
            results.append(result)

    def hold(self) -> None:
        """Ask descriptors from now on, in place of paths; to be called once."""
        self._descriptors = Descriptors()
        for state, (places, paths, results) in self._states.items():
            if state in FIELDS:
                places[:] = map(self._descriptors.of, paths, repeat(FIELDS[state]), results)

    def close(self) -> None:
        """Close all descriptors; `difference` is not called again."""
        if self._descriptors:
            self._descriptors.close()

    def difference(self) -> str:
        """The first path that is in another state, or cannot be looked at; empty when all is the same."""
        for state, (places, paths, results) in self._states.items():
            try:
                # Not one call of `state` for each path: calls take as long as system calls.
                fields = FIELDS.get(state)
                found = [fields(os.stat(place)) for place in places] if fields else list(map(state, paths))
            except OSError:
                return next((path for path in paths if not os.path.exists(path)), paths[0])
            if found != results and (path := self._other(state, paths, found, results)):
                return path
        return ""

    def _other(self, state: Callable[[str], Any], paths: list[str], found: list[Any], results: list[Any]) -> str:
        """The first path whose result counts as another one; the time of a directory without a change counts anew."""
        for index, path in enumerate(paths):
            if found[index] == results[index]:
                continue
            if state is not directory_of or not self._is_same_directory(path, found[index], results[index]):
                return path
            if found[index][-1] < time.time_ns() - SETTLED:
                results[index] = found[index]
        return ""

    def _is_same_directory(self, path: str, found: Any, result: Any) -> bool:
        """Whether it is a directory in which no entry changed that a path names."""
        return found[:-1] == result[:-1] and all(same(entry) == before for same, entry, before in self._entries[path])
