"""A Host that records its sources, so that `watch` can look whether any of them changed."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from probe.host.abstract import FILE_LIMIT
from probe.host.child import ChildError
from probe.host.files import FileStatus
from probe.host.host import LocalHost
from probe.host.imports import files_of_dump
from probe.host.look import CHURN, UNSEEN, is_settled, look, meaning
from probe.host.places import Place
from probe.host.program import Output
from probe.host.sources import KERNEL_FILE, PROCESS, RESTLESS, UNREAD, kind_of
from probe.host.sysctls import sysctl_path
from probe.reading import Reading

Source = tuple[str, str, str]
"""Kind and path of a look, and the look from before the source was read."""

_CONSTANT = frozenset(("--version", "-v", "features", "version"))
"""Arguments for which a program's output depends on the executable alone, not on files."""
_SETTLED = 1_000_000_000  # nanoseconds; a file that changed so long ago gets another time by a change
KEPT_FOR = 6 * 3600.0
"""Seconds for which an output is used again: an executable's identity does not cover its shared libraries."""


class Kept(Struct, frozen=True):
    """The output of a program, and when it was printed."""

    at: float
    """Seconds of CLOCK_BOOTTIME."""
    output: Output


class RecordingHost(LocalHost):
    """A LocalHost that looks at each source before it reads it, and runs a program of known identity only once."""

    def __init__(self, outputs: dict[str, Kept]) -> None:
        self.outputs = outputs
        """Name, look of the executable and arguments -> the output."""
        self._looks: dict[tuple[str, str], str] = {}
        self._daemons = {1}
        self._table, self._table_look = b"", ""
        self._rooms: dict[str, str] = {}  # device -> the directory on it that is looked at

    def sources(self) -> list[Source]:
        """The looks at all sources but processes that are no daemons of the node and files that change all the time."""
        return [(kind, path, seen) for (kind, path), seen in self._looks.items() if self._counts(path)]

    def read(self, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """As of Host."""
        self._note(kind_of(path), path)
        return super().read(path, limit)

    def mountinfo(self, owner: int | str) -> Reading[bytes]:
        """As of Host; the look is that of the very table that is returned."""
        path = f"/proc/{owner}/mountinfo"
        self._note_others()
        reading = super().mountinfo(owner)
        if self._is_new("mounts", path):
            self._looks["mounts", path] = UNSEEN if reading.value is None else self._meaning(reading.value)
        return reading

    def _meaning(self, table: bytes) -> str:
        """The look at a mount table; namespaces of which one table is cached share its look, too."""
        if table is not self._table:
            self._table, self._table_look = table, meaning("mounts", table)
        return self._table_look

    def read_beneath(self, directory: str, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """As of Host."""
        self._note("file", f"{directory}/{path}")
        return super().read_beneath(directory, path, limit)

    def read_all_beneath(self, directory: str, paths: Sequence[str], limit: int = 1 << 16) -> dict[str, Reading[bytes]]:
        """As of Host."""
        self._note_all("file", f"{directory}/", paths)
        return super().read_all_beneath(directory, paths, limit)

    def read_sections(self, path: str) -> Reading[dict[str, str]]:
        """As of Host."""
        self._note("file", path)
        return super().read_sections(path)

    def resolve(self, path: str, automounts: Sequence[str] = ()) -> Reading[str]:
        """As of Host."""
        self._note("place", path)
        return super().resolve(path, automounts)

    def read_link(self, path: str) -> Reading[str]:
        """As of Host."""
        self._note("link", path)
        return super().read_link(path)

    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """As of Host."""
        if not path.endswith("/pods"):  # the kubelet's, in which each Pod has a directory
            self._note("file", path)
        return super().list_directory(path)

    def status(self, path: str) -> Reading[FileStatus]:
        """As of Host."""
        self._note("file", path)
        return super().status(path)

    def places(self, owner: int | str, paths: Sequence[str]) -> dict[str, Reading[Place]]:
        """As of Host. One request looks at all paths; when one of them hangs, none was seen."""
        root = f"/proc/{owner}/root"
        self._note_all("place", root, paths)
        self._note_all("room", root, paths)
        began = time.time_ns()
        found = super().places(owner, paths)
        self._keep_rooms(root, found)
        seen = [reading.value for reading in found.values() if reading.value]
        self._note_all("file", root, [path for place in seen for path in place.started_by], began - _SETTLED)
        return found

    def _keep_rooms(self, root: str, found: Mapping[str, Reading[Place]]) -> None:
        """Keep the look at the room of one directory for each file system that counts it."""
        for path, reading in found.items():
            place, whole = reading.value, f"{root}{path}"
            device = self._looks.get(("room", whole), "").partition(" ")[0]
            counts = place and stat.S_ISDIR(place.mode) and (place.size or place.inodes)
            if not counts or self._rooms.setdefault(device, whole) != whole:
                self._looks.pop(("room", whole), None)

    def _note_all(self, kind: str, root: str, paths: Sequence[str], before: int | None = None) -> None:
        """Look at *paths* below *root*. A file that was read already has to have changed *before* a time, if at all."""
        new = [path for path in (f"{root}{each}" for each in paths) if self._is_new(kind, path)]
        if new:
            self._note_others()
            try:
                seen = json.loads(self._touch(root, "looks", kind, tuple(new), limit=1 << 20))
            except (OSError, ChildError, ValueError):
                seen = [UNSEEN] * len(new)
            if before is not None:
                seen = [each if each[:1].isdecimal() and is_settled(each, before) else UNSEEN for each in seen]
            self._looks |= {(kind, path): each for path, each in zip(new, seen, strict=True)}

    def note(self, path: str) -> None:
        """As of Host."""
        self._note("place", path)

    def try_sysctls(self, wanted: Mapping[str, str]) -> dict[str, Reading[str]]:
        """As of Host. A module that is loaded or removed brings or takes the files of its sysctls."""
        for path in filter(None, map(sysctl_path, wanted)):
            self._note("content", f"/proc/sys/{path}")
        return super().try_sysctls(wanted)

    def started_at(self, pid: int) -> Reading[float]:
        """As of Host."""
        self._note("start", f"/proc/{pid}/stat")
        return super().started_at(pid)

    def node_daemon(self, pid: int) -> Reading[bool]:
        """As of Host; the sources of such a process are recorded."""
        belongs = super().node_daemon(pid)
        if belongs.value:
            self._daemons.add(pid)
            self._note("start", f"/proc/{pid}/stat")
        return belongs

    def run(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 3.0
    ) -> Reading[Output]:
        """As of Host, or the remembered output of an unchanged executable about itself or unchanged files."""
        run = partial(super().run, path, *arguments, environment=environment, timeout=timeout)
        return self._once(path, run, arguments if not environment else ("environment",))

    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """As of Host, or the remembered output, as for `run`."""
        return self._once(f"/proc/{pid}/exe", partial(super().run_daemon, pid, *arguments, timeout=timeout), arguments)

    def run_in(self, pid: int, path: str, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """As of Host."""
        self._note("file", f"/proc/{pid}/root{path}")
        return super().run_in(pid, path, *arguments, timeout=timeout)

    def _once(self, path: str, run: Callable[[], Reading[Output]], arguments: Sequence[str]) -> Reading[Output]:
        self._note("file", path)
        files = [] if set(arguments) <= _CONSTANT else files_of_dump(self, arguments)
        identity = self._identity(path, *(files or ()))
        if files is None or not identity:
            return run()
        key, now = " ".join((path.rpartition("/")[2], identity, *arguments)), time.clock_gettime(time.CLOCK_BOOTTIME)
        kept = self.outputs.get(key)
        if kept and 0 <= now - kept.at < KEPT_FOR:
            return Reading(" ".join((path, *arguments)), kept.output)
        reading = run()
        # Nobody replaced a file meanwhile: looks of before and after are the same.
        same = all(self._look("file", each) == self._looks["file", each] for each in (path, *files))
        if reading.value is not None and reading.value.status == 0 and same:
            self.outputs[key] = Kept(now, reading.value)
        return reading

    def _identity(self, path: str, *files: str) -> str:
        """The looks at an executable and the files that its output depends on; empty where one would miss a change."""
        executable, *others = (self._looks.get(("file", each), UNSEEN) for each in (path, *files))
        settled = time.time_ns() - _SETTLED
        if not executable[:1].isdecimal() or any(not is_settled(seen, settled) for seen in others):
            return ""
        return " ".join((executable, *others))

    def _note(self, kind: str, path: str) -> None:
        """Look at *path* unless there is a look at it."""
        self._note_others()
        if self._is_new(kind, path):
            self._looks[kind, path] = self._look(kind, path)

    def _is_new(self, kind: str, path: str) -> bool:
        """Whether there is no look at *path* yet, and looks at it would tell something."""
        return (kind, path) not in self._looks and not RESTLESS.match(path) and not CHURN.search(path)

    def _note_others(self) -> None:
        """Look at UNREAD, once: by the first call the node is entered."""
        if not self._looks:
            for each in UNREAD:
                also = "link" if "/ns/" in each else "content"
                self._looks[also, each] = look(also, each)

    def _look(self, kind: str, path: str) -> str:
        if KERNEL_FILE.match(path):
            return look(kind, path)
        try:
            return self._touch(path, "look", kind, path).decode(errors="surrogateescape")
        except (OSError, ChildError, ValueError):
            return UNSEEN

    def _counts(self, path: str) -> bool:
        process = PROCESS.match(path)
        return not process or (int(process[1]) in self._daemons and not re.match(r"fd(/|$)|net/", process[2]))
