"""`userns-probe pod` against a real containerd, runc and crun: what it says of a Pod becomes of it, made by CRI."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import bundle, packages, pods
from lab.real.filesystems import CATALOG, filesystem
from lab.real.node import Node, Probed
from lab.sabotage import cri
from lab.sabotage.cri import RefusedError, Volume

pytestmark = pytest.mark.real

FIRST = 65_536 * 1000
OUTCOMES = {"ext4": "runs", "overlay": "fails", "fuse": "fails", "proc": "fails", "fuse-below-ext4": "runs"}


@dataclass
class Case:
    """A Pod: as its manifest has it, and as the kubelet would ask for it."""

    name: str
    outcome: str
    handler: str = "runc"
    user: int | None = None
    group: int | None = None
    volumes: dict[str, bool] = field(default_factory=dict)  # path -> whether it is mounted read-only

    def objects(self) -> list[dict[str, Any]]:
        """The manifest."""
        context = {"runAsUser": self.user, "supplementalGroups": None if self.group is None else [self.group]}
        mounts = [
            {"name": f"v{number}", "mountPath": f"/v{number}", "readOnly": readonly}
            for number, readonly in enumerate(self.volumes.values())
        ]
        spec = {
            "hostUsers": False,
            "automountServiceAccountToken": False,
            "runtimeClassName": None if self.handler == "runc" else self.handler,
            "securityContext": context,
            "containers": [{"name": "main", "image": pods.PAUSE_IMAGE, "volumeMounts": mounts}],
            "volumes": [{"name": f"v{number}", "hostPath": {"path": path}} for number, path in enumerate(self.volumes)],
        }
        return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec}]


def cases(node: Node, volume: Callable[[str], str]) -> list[Case]:
    """Pods that fail for their volumes, for their IDs, or not at all."""
    ext4, locked = volume("ext4"), node.path("locked")
    node.run("sh", "-c", 'mkdir "$1" && mount --bind "$0" "$1" && mount -o remount,bind,ro "$1"', ext4, locked)
    found = [Case(name, outcome, volumes={volume(name): False}) for name, outcome in OUTCOMES.items()]
    return [
        Case("plain", "runs"),
        Case("last-user", "runs", user=65_535),
        Case("no-such-user", "fails", user=70_000),
        Case("no-such-group", "fails", group=70_000),
        Case("reads", "runs", volumes={locked: True}),
        Case("writes-by-runc", "fails", volumes={locked: False}),
        Case("writes-by-crun", "runs", handler="crun", volumes={locked: False}),
        Case("writes-to-a-read-only-disk", "runs", volumes={volume("ext4-readonly"): False}),
        Case("one-of-two", "fails", volumes={ext4: False, volume("overlay"): False}),
        *found,
    ]


@pytest.fixture
def node(
    bare_node: Callable[..., AbstractContextManager[Node]], runtime: Callable[..., packages.Runtime]
) -> Iterator[Node]:
    """A node that runs Pods with runc and crun, and a kubelet."""
    require(pods.can_run_pods(), "a pause program for this machine")
    handlers = {"runc": runtime("runc", (1, 2)).path, "crun": runtime("crun", (1, 9)).path}
    with bare_node() as made, pods.pod_runtime(made, packages.containerd(), handlers) as made.endpoint:
        with made.kubelet("--fail-cgroupv1=false"):
            yield made
    bundle.sweep(bundle.CGROUPS)


@pytest.fixture
def volume(node: Node) -> Iterator[Callable[[str], str]]:
    """Row of the catalog of file systems -> path of a volume on it, where the node sees it."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def get(name: str) -> str:
            if name not in made:
                missing = CATALOG[name].missing()
                require(not missing, missing)
                made[name] = stack.enter_context(filesystem(name, node.directory))
            return made[name]

        yield get


def asked(node: Node, found: list[Case]) -> tuple[Probed, dict[str, dict[str, Any]]]:
    """What the command says of all of them, by their names."""
    objects = [one for case in found for one in case.objects()]
    objects.append({"kind": "RuntimeClass", "metadata": {"name": "crun"}, "handler": "crun"})
    manifest = node.path("pods") + ".json"
    Path(manifest).write_text("\n".join(json.dumps(one) for one in objects))
    probed = node.probe("pod", "-o", "json", manifest)
    return probed, {row["name"]: row for row in probed.document["pods"]}


def fate(client: cri.Client, case: Case, number: int) -> str:
    """`runs`, or what the runtime said."""
    first = FIRST + number * cri.LENGTH
    config = cri.sandbox_config(case.name, f"{number}", f"{bundle.CGROUPS}pod", first)
    config += cri.field(8, cri.field(2, _groups(5, case)))
    volumes = [Volume(path, f"/v{index}", case.volumes[path]) for index, path in enumerate(case.volumes)]
    user = b"" if case.user is None else cri.field(5, cri.field(1, case.user))
    container = cri.container_config("main", pods.PAUSE_IMAGE, ["/pause"], volumes, first)
    container += cri.field(15, cri.field(2, user + _groups(8, case)))
    sandbox = ""
    try:
        sandbox = client.run_sandbox(config, case.handler)
        client.run_container(sandbox, container, config)
    except RefusedError as refusal:
        return str(refusal)
    else:
        return "runs"
    finally:
        if sandbox:
            client.remove_sandbox(sandbox)


def _groups(number: int, case: Case) -> bytes:
    """supplemental_groups, whose number differs between sandbox and container: a packed field without keys."""
    return b"" if case.group is None else cri.field(number, cri.field(1, case.group)[1:])


def test_what_is_said_happens(node: Node, volume: Callable[[str], str]) -> None:
    """Each Pod that is said to run starts, each that is said to fail does not, and nothing is left to doubt."""
    found = cases(node, volume)
    probed, rows = asked(node, found)
    with cri.connected(node.endpoint) as client:
        fates = {case.name: fate(client, case, number) for number, case in zip(itertools.count(), found)}
    said = {name: row["outcome"] for name, row in rows.items()}
    assert said == {case.name: case.outcome for case in found}, {name: row["reasons"][0] for name, row in rows.items()}
    assert probed.code == 1, probed.stderr
    assert {name: "runs" if one == "runs" else "fails" for name, one in fates.items()} == said, fates


def test_a_node_without_able_handlers(node: Node) -> None:
    """A handler that the runtime does not have is said to fail, and the API server's refusals need no node."""
    gone, pid = Case("gone", "fails", handler="gone"), Case("pid", "refused")
    objects = [
        *gone.objects(),
        *pid.objects(),
        {"kind": "RuntimeClass", "metadata": {"name": "gone"}, "handler": "gone"},
    ]
    objects[1]["spec"]["hostPID"] = True
    manifest = node.path("pods") + ".json"
    Path(manifest).write_text("\n".join(json.dumps(one) for one in objects))
    probed = node.probe("pod", "-o", "json", manifest)
    rows = {row["name"]: row for row in probed.document["pods"]}
    assert {name: row["outcome"] for name, row in rows.items()} == {"gone": "fails", "pid": "refused"}
    assert rows["gone"]["reasons"][0]["reason"] == "HandlerUnknown"
    assert probed.code == 1
