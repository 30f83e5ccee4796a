"""Limits of the manifest, held by the real kernel while both containers work as hard as they ever do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from typing import Any

import pytest

from lab.bench.volumes import bind_volumes, unmount_volumes
from lab.deploy.load import Group, probe_again, scrape
from lab.deploy.manifests import MANIFEST, container_of, documents, pod_of
from lab.deploy.pod_to_oci import quantity
from lab.real.node import Node
from lab.serve.api_double import ApiDouble
from lab.serve.serving import wait_for
from tests.deploy.test_image import api, permit, published, running  # noqa: F401
from tests.extent import ALL

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.timeout(900)]

MOUNTS, PROBES, SCRAPES = 5000, 3, 10_000 if ALL else 2_000


def assert_room(group: Group, container: dict[str, Any]) -> None:
    """The kernel holds it to the manifest's limit, killed nothing, and half of that was never needed."""
    assert group.limit == quantity(container["resources"]["limits"]["memory"])
    assert group.killed == 0
    assert group.peak < group.limit / 2
    assert group.held < quantity(container["resources"]["requests"]["memory"])


def test_the_probe_lives_within_its_limit(running: Callable[..., Any], node: Node) -> None:  # noqa: F811
    """On a node with five thousand mounts, whose paths are asked for."""
    spec = pod_of(documents(MANIFEST.read_text()))
    container_of(spec, "probe")["args"].append("--volume-paths")
    with node.kubelet(), ExitStack() as stack:
        stack.callback(unmount_volumes, node)
        bind_volumes(node, MOUNTS)
        with running(spec) as pod:
            volumes = [row for row in pod.report()["filesystems"] if row["role"] == "volume"]
            assert volumes
            assert volumes[0]["path"].startswith(node.root)
            probe_again(pod, PROBES)
            assert '"probe_failed"' not in pod.logs()
            assert_room(Group(pod.containers["probe"]), container_of(spec, "probe"))


def test_a_limit_that_is_too_small(running: Callable[..., Any], node: Node) -> None:  # noqa: F811
    """The control: here the kernel kills, and `watch` lives to say so."""
    spec = deepcopy(pod_of(documents(MANIFEST.read_text())))
    container_of(spec, "probe")["resources"]["limits"]["memory"] = "24Mi"
    with node.kubelet(), running(spec) as pod:
        probe_again(pod, 1)
        assert Group(pod.containers["probe"]).killed > 0
        assert pod.containers["probe"].state["status"] == "running"


def test_the_exporter_lives_within_its_limit(
    running: Callable[..., Any],  # noqa: F811
    node: Node,
    api: ApiDouble,  # noqa: F811
) -> None:
    """Thousands of scrapes while it publishes; that it does not grow with them, tests/serve shows."""
    found = documents(MANIFEST.read_text())
    permit(api, found)
    spec = pod_of(found)
    with node.kubelet(), running(spec, api) as pod:
        assert scrape(pod, SCRAPES) == SCRAPES
        wait_for(lambda: published(api))
        assert_room(Group(pod.containers["exporter"]), container_of(spec, "exporter"))
