"""Arguments of a k3s that hides them, on the command line of the process that started it.

*Source*: OpenRC, supervise-daemon(8), which keeps the command line of its child; docker-init of k3d.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from probe.host.host import Host, Process
from probe.reading import Reading

_SUPERVISOR = "supervise-daemo"
"""Name of supervise-daemon, of which the kernel keeps 15 characters."""
_GENERATIONS = 5
_SUPERVISORS = 50


def arguments_above(host: Host, process: Process) -> Reading[list[str]]:
    """Arguments after `k3s server` in the command line of an ancestor or supervisor; absent when none has them."""
    subcommand = process.name.removeprefix("k3s-")
    for pid in _candidates(host, process):
        line = host.read(f"/proc/{pid}/cmdline") if host.node_daemon(pid).value else None
        words = [os.fsdecode(word) for word in line.value.split(b"\0")[:-1]] if line and line.value else []
        found = parse_started(words, subcommand)
        if found is not None:
            return Reading(f"/proc/{pid}/cmdline", found)
    return Reading.without(f"/proc/{process.pid}/cmdline", "absent", "no parent process shows its arguments")


def parse_started(words: Sequence[str], subcommand: str) -> list[str] | None:
    """Arguments after *subcommand* of k3s in the command line of its starter; None for another command line.

    `supervise-daemon k3s --start … /usr/local/bin/k3s -- server --x`, `docker-init -- /bin/k3d-entrypoint.sh server`.
    """
    for index, word in enumerate(words[1:], 1):
        before = [each for each in words[:index] if each != "--"]
        if word == subcommand and before and os.path.basename(before[-1]).startswith(("k3s", "k3d-entrypoint")):
            return list(words[index + 1 :])
    return None


def _candidates(host: Host, process: Process) -> Iterator[int]:
    """Ancestors of *process*, the nearest first, then the supervisors of OpenRC."""
    pid = process.pid
    for _ in range(_GENERATIONS):
        parent = (host.process_status(pid).value or {}).get("PPid", "")
        if not parent.isdecimal() or int(parent) < 1:
            break
        pid = int(parent)
        yield pid
    supervisors = [each.pid for each in host.processes().value or () if each.name.startswith(_SUPERVISOR)]
    yield from supervisors[:_SUPERVISORS]
