"""What a probe could do to a node: leave something behind, hold a volume, load a module, flood a log. It does not."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.faults import quiet, volumes
from tests.faults.campaign import Progress, Row, times
from tests.faults.stage import CHECKOUT, make_stage, run_fault
from tests.real.kernel import die_with_parent
from tests.real.node import make_workspace

WORKERS = 2
"""Nodes on which probes are killed side by side."""

KILLED = (
    ("SIGKILL of a probe, or any of its processes, at any instant", "probe", 10_000),
    ("SIGKILL during a trial of the runtime; then the next probe", "trial", 500),
    ("SIGKILL of `watch` at any instant", "watch", 500),
)


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each way to do harm."""
    with make_workspace() as workspace:
        yield from on_this_kernel(workspace, seed, scale, progress)
    yield from in_guests(seed, scale, progress)


def in_guests(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """What takes a kernel with device mapper."""
    from tests.faults import guest  # it needs what boots kernels

    yield from guest.campaign("harm", seed, scale, progress)


def on_this_kernel(workspace: str, seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """All that needs no machine of its own, on a node below *workspace* and on those where probes are killed."""
    for name, kind, published in KILLED:
        yield killed(name, kind, seed, times(published, scale), progress)
    with make_stage(workspace) as stage:
        for fault in (*volumes.FAULTS, *quiet.FAULTS):
            yield run_fault(stage, fault, seed, scale, progress)


def killed(name: str, kind: str, seed: int, count: int, progress: Progress) -> Row:
    """What was left of so many that were killed, by several processes at once."""
    shares = [count // WORKERS + (number < count % WORKERS) for number in range(WORKERS)]
    workers = [_start(kind, f"{seed}.{number}", share) for number, share in enumerate(shares) if share]
    done: list[dict[str, Any]] = []
    try:
        for line in _lines(workers):
            done.append(json.loads(line))
            progress(f"{name}: {len(done)} of {count}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    problems = [problem for one in done for problem in one["problems"]]
    if len(done) < count:
        problems.append(f"seed {seed}: only {len(done)} of {count} were killed, then it ended: see stderr")
    survived = sum(not one["problems"] for one in done)
    worst = max((one["worst"] for one in done), default=0.0)
    return Row(name, count, survived, worst, sum(one["leftovers"] for one in done), tuple(problems))


def _start(kind: str, seed: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.killing", kind, seed, str(count)]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent
    )


def _lines(workers: list[subprocess.Popen[bytes]]) -> Iterator[bytes]:
    """What they print, a line when it comes."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            for key, _ in selector.select():
                if line := key.fileobj.readline():  # type: ignore[union-attr]
                    yield line
                else:
                    selector.unregister(key.fileobj)
