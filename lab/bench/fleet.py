"""`userns-probe fleet` over a generated cluster, beside `kubectl get pods -A -o json | jq`, which counts one field.

Both read distinct Pods of about 10 kB over TLS from a server that is a process of its own and not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.bench import kubectl
from lab.bench.table import Row, mib
from lab.command import ROOT
from lab.fleet.scale import serving_large
from lab.real.debian import Unavailable

SIZES = (10_000, 30_000)
"""Pods, between which the slope is measured."""
PODS_PER_NODE = 20
COUNT = "[.items[] | select(.spec.hostUsers == false)] | length"


def measure(pods: int, say: Callable[[str], None]) -> dict[str, Any]:
    """CPU and peak memory of both at SIZES, and of the inventory alone at *pods*. *Units*: seconds, bytes."""
    found: dict[str, Any] = {"fleet": {}, "kubectl": {}}
    program = _kubectl(say)
    for size in sorted({*SIZES, pods}):
        say(f"fleet: {size} Pods on {size // PODS_PER_NODE} nodes")
        with tempfile.TemporaryDirectory() as folder:
            with serving_large(Path(folder), size // PODS_PER_NODE, size) as kubeconfig:
                found["fleet"][str(size)] = _account([_fleet(kubeconfig)])
                if program and size in SIZES:
                    found["kubectl"][str(size)] = _account(
                        [[program, f"--kubeconfig={kubeconfig}", *_GET], ["jq", COUNT]]
                    )
    return found


_GET = ("get", "pods", "--all-namespaces", "--output=json")


def rows(found: dict[str, Any]) -> list[Row]:
    """CPU per 10,000 Pods, as the slope between SIZES, and peak memory."""
    small, large = map(str, SIZES)
    largest = max(found["fleet"], key=int)
    cpu, peer = _slope(found["fleet"]), _slope(found["kubectl"]) if found["kubectl"] else None
    lines = [
        Row(
            "fleet: CPU for 10,000 more Pods",
            f"{cpu:.2f} s",
            _or_none(peer, "kubectl | jq {:.1f} s"),
            peer and cpu / peer,
            "1 s",
        )
    ]
    for size in dict.fromkeys((small, large, largest)):
        peak = found["fleet"][size]["peak"]
        other = found["kubectl"].get(size)
        compared = "" if other is None else f"kubectl | jq {mib(other['peak'])}"
        aim = "120 MB at 300,000" if size == largest else ""
        words = f"fleet: peak memory, {int(size):,} Pods"
        lines.append(Row(words, mib(peak), compared, other and peak / other["peak"], aim))
    return lines


def _slope(sizes: dict[str, dict[str, float]]) -> float:
    small, large = (sizes[str(size)]["cpu"] for size in SIZES)
    return (large - small) / (SIZES[1] - SIZES[0]) * 10_000


def _or_none(value: float | None, text: str) -> str:
    return "" if value is None else text.format(value)


def _fleet(kubeconfig: Path) -> list[str]:
    return [sys.executable, "-m", "lab.fleet.peak", "fleet", "-o", "json", f"--kubeconfig={kubeconfig}"]


def _account(pipeline: Sequence[Sequence[str]]) -> dict[str, float]:
    """CPU of all programs of a pipeline, and the sum of their peaks. *Errors*: RuntimeError, when one of them fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes: list[subprocess.Popen[bytes]] = []
    for index, command in enumerate(pipeline):
        source = processes[-1].stdout if processes else subprocess.DEVNULL
        sink = subprocess.DEVNULL if index == len(pipeline) - 1 else subprocess.PIPE
        told = subprocess.PIPE if "lab.fleet.peak" in command else None
        processes.append(subprocess.Popen(command, stdin=source, stdout=sink, stderr=told, env=environment, cwd="/"))
    for process in processes[:-1]:
        assert process.stdout
        process.stdout.close()
    cpu = peak = 0.0
    for process, command in zip(processes, pipeline, strict=True):
        said = process.stderr.read().split() if process.stderr else []
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command[0]} exited with {process.returncode}")
        cpu += usage.ru_utime + usage.ru_stime
        peak += (int(said[-1]) if said else usage.ru_maxrss) * 1024
    return {"cpu": cpu, "peak": peak}


def _kubectl(say: Callable[[str], None]) -> str | None:
    if shutil.which("jq") is None:
        say("fleet: no jq, so nothing to compare with")
        return None
    try:
        return kubectl.program()[0]
    except Unavailable as problem:
        say(f"fleet: {problem}")
        return None
