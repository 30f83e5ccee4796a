"""The trial of nested containers: what it adds to that of the sandbox, in whose time it runs.

Run as a program it prints the medians as JSON; a process of its own has no threads, without which nothing is tried.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from lab.bench.table import Row, ms
from lab.real.node import CHECKOUT, environment
from probe.host.child import run_child
from probe.host.namespaces import open_own_proc
from probe.host.sandbox import trial


def measure(runs: int) -> dict[str, float]:
    """Seconds: `wall` of the nested trial beside the other one, `cpu` of both, and `alone` of the other without it.

    `end` is the wall time of both together, `end alone` that of the other without it.
    """
    command = [sys.executable, "-m", "lab.bench.nested", str(runs)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def rows(found: dict[str, float]) -> list[Row]:
    """The figures beside what they are compared with."""
    added = found["cpu"] - found["alone"]
    return [
        Row("nested trial, wall", ms(found["wall"]), f"sandbox trial: {ms(found['sandbox'])}",
            found["wall"] / found["sandbox"], "at most 120 ms"),
        Row("both trials, wall", ms(found["end"]), f"sandbox trial alone: {ms(found['end alone'])}",
            found["end"] / found["end alone"], "at most 120 ms later"),
        Row("nested trial, cpu", ms(added), f"sandbox trial: {ms(found['alone'])}", added / found["alone"]),
    ]  # fmt: skip


def _main(runs: int) -> None:
    own_proc = open_own_proc()
    with_it, without = [], []
    for _ in range(runs):  # in turn, so that whatever slows the machine slows both
        with_it.append(_once(own_proc))
        without.append(_once(own_proc, lambda *_: None))
    found = {
        "wall": median(answer["nested"]["seconds"] for answer, _, _ in with_it),
        "sandbox": median(answer["seconds"] for answer, _, _ in with_it),
        "end": median(wall for _, wall, _ in with_it),
        "end alone": median(wall for _, wall, _ in without),
        "cpu": median(cpu for _, _, cpu in with_it),
        "alone": median(cpu for _, _, cpu in without),
    }
    sys.stdout.write(json.dumps(found))


def _once(own_proc: int, nested: Callable[..., None] = trial.nested_child) -> tuple[dict[str, Any], float, float]:
    """The answer of one trial, its seconds, and the CPU seconds of all its processes."""
    trial.nested_child = nested
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run_child(lambda: trial.sandbox_child(own_proc, lambda: None), 20, trial.ANSWER_LIMIT)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(answer), wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    _main(int(sys.argv[1]))
