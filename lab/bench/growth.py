"""How CPU and time of the command grow with what a node has: mounts, processes, Pods with user namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

from lab.bench.container import Image
from lab.bench.one_shot import probe_on
from lab.bench.table import Row, ms
from lab.bench.volumes import bind_volumes
from lab.real import packages
from lab.real.node import Node, make_node, make_workspace

MOUNTS = (50, 500, 5_000, 50_000)
PROCESSES = (0, 1_000, 10_000)
PODS = (10, 100, 1_000)

_CROWD = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(86400)
print("there", flush=True)
time.sleep(86400)
"""


def measure(runs: int, say: Callable[[str], None]) -> dict[str, dict[int, dict[str, float]]]:
    """Curve -> how many -> median wall and CPU seconds."""
    found: dict[str, dict[int, dict[str, float]]] = {"mounts": {}, "processes": {}, "Pods": {}}
    with ExitStack() as stack:
        say("the image")
        image = Image()
        node = stack.enter_context(make_node(stack.enter_context(make_workspace())))
        handlers = {"runc": packages.runtime("runc", (1, 2)).path}
        node.endpoint = stack.enter_context(node.containerd(packages.containerd(), handlers))

        def probe(curve: str, total: int) -> None:
            say(f"{total} {curve}")
            found[curve][total] = probe_on(node, image, runs)

        with node.kubelet():
            for total in PROCESSES:
                with _crowd(node, total):
                    probe("processes", total)
        with node.kubelet():
            for total in PODS:
                _write_pods(node, total)
                probe("Pods", total)
        with node.kubelet():
            for total in MOUNTS:
                bind_volumes(node, total)
                probe("mounts", total)
    return found


@contextmanager
def _crowd(node: Node, total: int) -> Iterator[None]:
    """So many processes of root that sleep."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(node.inside(sys.executable, "-c", _CROWD, str(total)), **options) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        try:
            yield
        finally:
            node.run("pkill", "-KILL", "-f", "time.sleep.86400")


def _write_pods(node: Node, total: int) -> None:
    """Records of Pods as the kubelet keeps them, each with a block of IDs of its own."""
    for number in range(total):
        directory = f"{node.root}/pods/01234567-89ab-cdef-0123-{number:012}"
        os.makedirs(directory, exist_ok=True)
        mapping = [{"hostId": 65536 * (number + 1), "containerId": 0, "length": 65536}]
        with open(f"{directory}/userns", "w") as file:
            json.dump({"uidMappings": mapping, "gidMappings": mapping}, file)


def rows(found: dict[str, dict[int, dict[str, float]]]) -> list[Row]:
    """Each point of a curve beside the one before, with what each more costs."""
    made = []
    for curve, points in found.items():
        for (fewer, before), (more, after) in pairwise(points.items()):
            for unit in ("cpu", "wall"):
                slope = (after[unit] - before[unit]) / (more - fewer)
                compared = f"{fewer}: {ms(before[unit])}, each more: {slope * 1e6:.1f} us"
                made.append(Row(f"{more} {curve}, {unit}", ms(after[unit]), compared, after[unit] / before[unit]))
    return made
