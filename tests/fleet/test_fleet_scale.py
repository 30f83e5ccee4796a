"""A generated cluster of distinct Pods: counts by arithmetic, and memory that does not grow with Pods.

A tenth of scripts/bench fleet; with --fast a hundredth.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lab.fleet.scale import DAEMONSETS, PER_WORKLOAD, Nodes, Pods, serving_large
from probe.fleet import wire
from probe.fleet.fold import Fold
from probe.fleet.outputs.documents import parse_inventory
from probe.fleet.volumes import Volumes

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("nodes", "pods"), [(150, 3000), pytest.param(1500, 30_000, marks=pytest.mark.slow)])
def test_a_large_cluster(tmp_path: Path, nodes: int, pods: int) -> None:
    """Each Pod and node is counted once, from another process over TLS; memory for pages, not for lists."""
    with serving_large(tmp_path, nodes, pods) as kubeconfig:
        command = [sys.executable, "-m", "lab.fleet.peak", "fleet", "-o", "json", f"--kubeconfig={kubeconfig}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    found = parse_inventory(done.stdout)
    daemons = min(DAEMONSETS * nodes, pods // 2)
    workloads = -(-(pods - daemons) // PER_WORKLOAD)
    assert found.summary.pods == pods == sum(pool.nodes for row in found.workloads for pool in row.pools)
    assert found.summary.nodes == nodes
    assert found.summary.workloads == workloads + -(-daemons // nodes)
    full = (pods - daemons) // PER_WORKLOAD
    assert found.summary.asking == sum(
        min(PER_WORKLOAD, pods - daemons - PER_WORKLOAD * index) for index in range(0, workloads, 5)
    )
    assert full <= workloads
    assert found.summary.unknown == nodes // 100
    assert int(done.stderr.splitlines()[-1]) < 120 * 1024, "kB"


def test_what_is_kept_grows_with_workloads_alone() -> None:
    """Ten times the Pods of the same workloads leave as many owners, specs and cells."""
    template = Pods(1000, 10).workload(1)
    groups = {f"node-{index}": index % 3 for index in range(1000)}

    def kept(pods: int) -> tuple[int, int, int]:
        fold = Fold(groups.__getitem__, Volumes(), lambda placement, node: False)
        for index in range(pods):
            name = f"app-1-{index:05d}"
            spec = template["spec"] | {"nodeName": f"node-{index % 1000}"}
            pod = template | {"metadata": template["metadata"] | {"name": name, "uid": name}, "spec": spec}
            fold.add([msgspec.convert(pod, wire.Pod)])
        cells = list(fold.cells(0))
        assert sum(cell.pods for cell in cells) == pods
        return len(fold.controllers), len(fold.shapes), len(cells)

    assert kept(50) == kept(500) == (1, 1, 3)


def test_generated_pods_are_distinct() -> None:
    """No two Pods or Nodes are equal, so nothing is decoded cheaper than in a real cluster; a Pod has about 10 kB."""
    pods = Pods(2000, 100)
    assert len({pods.make(index) for index in range(2000)}) == 2000
    assert 9000 < sum(len(pods.make(index)) for index in range(0, 2000, 50)) / 40 < 12_000
    nodes = Nodes(200)
    assert len({nodes.make(index) for index in range(200)}) == 200
