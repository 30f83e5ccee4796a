"""Devices by CDI in a real containerd, runc and crun: what the report says of each is what becomes of a Pod with it."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import bundle, cdi, packages, pods
from lab.real.node import Node
from lab.sabotage import cri

pytestmark = pytest.mark.real

MANY, GOOD, BAD = "many.example.com/gpu", "good.example.com/gpu", "bad.example.com/gpu"


@dataclass(frozen=True)
class Device:
    """One device, and what is said of it by handler; without a user namespace each of them but `broken` works."""

    edits: dict[str, Any]
    script: str
    runc: str
    crun: str
    broken: bool = False


def node_of(path: str, mode: int, runc: str, **more: Any) -> Device:
    """A device node like /dev/null, which a Pod reads to its end, and writes; another one has no end."""
    script = f"/busybox head -c 4 {path} > /out/read && [ ! -s /out/read ] && echo x > {path}"
    return Device({"deviceNodes": [{"path": path, **more}]}, script, runc, "works")


def mount_of(source: str, options: list[str], runc: str, crun: str, **more: Any) -> Device:
    """A mount of which a Pod reads a file."""
    mount = {"hostPath": source, "containerPath": cdi.TARGET, "options": options, **more}
    return Device({"mounts": [mount]}, f"/busybox cat {cdi.TARGET}/f", runc, crun)


def hook_of(when: str, path: str, runc: str, crun: str, **more: Any) -> Device:
    return Device({"hooks": [{"hookName": when, "path": path}]}, "true", runc, crun, **more)


def make_devices(node: Node) -> dict[str, Device]:
    """Devices of every kind that works or fails, made in the node's directory."""
    home, hooks = node.path("dev"), node.path("hooks")
    for folder in (home, f"{home}/shut", f"{home}/nodev", hooks):
        os.makedirs(folder)
    closed = cdi.make_node(f"{home}/closed", 0o660)
    opened = cdi.make_node(f"{home}/open", 0o666)
    shut = cdi.make_node(f"{home}/shut/open", 0o666)
    os.chmod(f"{home}/shut", 0o700)
    zero = cdi.make_node(f"{home}/zero", 0o666, minor=5)
    node.run("sh", "-c", f"mount -t tmpfs -o nodev,mode=755 x {home}/nodev && mknod -m 666 {home}/nodev/n c 1 3")
    for name, mode in (("ok", 0o755), ("closed", 0o700)):
        Path(hooks, name).write_text("#!/bin/sh\nexit 0\n")
        os.chmod(f"{hooks}/{name}", mode)
    driver, plain, own = (node.path(name) for name in ("driver", "plain", "own"))
    for folder in (driver, plain, own):
        os.makedirs(f"{folder}/below")
        Path(folder, "f").write_text("library\n")
    os.chmod(own, 0o750)
    layers = node.path("layers")
    node.run("sh", "-c", f"mkdir {layers} {layers}/a {layers}/b && echo x > {layers}/a/f")
    node.run("mount", "-t", "overlay", "-o", f"lowerdir={layers}/a:{layers}/b", "overlay", f"{driver}/below")
    node.run("mount", "-t", "tmpfs", "x", f"{plain}/below")
    typed = {"type": "bind"}
    return {
        "closed": node_of(closed, 0o660, "fails"),
        "open": node_of(opened, 0o666, "works"),
        "shut": node_of(shut, 0o666, "fails"),
        "nodev": node_of(f"{home}/nodev/n", 0o666, "fails"),
        "elsewhere": node_of("/dev/gadget", 0o666, "fails", hostPath=opened),
        "another": node_of(zero, 0o666, "fails", hostPath=closed),
        "unmapped": mount_of(driver, ["rbind", "ro"], "works", "works", **typed),
        "untyped": mount_of(plain, ["rbind", "ro"], "works", "fails"),
        "unreadable": mount_of(own, ["rbind"], "fails", "fails", **typed),
        "mapped": mount_of(plain, ["rbind", "ridmap"], "works", "works", **typed),
        "mapped-overlay": mount_of(driver, ["rbind", "ridmap"], "fails", "fails", **typed),
        "mapped-top": mount_of(driver, ["bind", "idmap"], "fails", "works", **typed),
        "open-hook": hook_of("createRuntime", f"{hooks}/closed", "unknown", "unknown"),
        "closed-hook": hook_of("createContainer", f"{hooks}/closed", "fails", "fails"),
        "own-hook": hook_of("createContainer", f"{hooks}/ok", "unknown", "unknown"),
        "missing-hook": hook_of("createContainer", f"{hooks}/gone", "fails", "fails", broken=True),
    }


@pytest.fixture
def node(bare_node: Callable[..., AbstractContextManager[Node]]) -> Iterator[Node]:
    require(pods.can_run_pods(), "a pause program for this machine")
    require(os.path.exists("/bin/busybox"), "/bin/busybox (package busybox-static)")
    with bare_node() as made:
        yield made
    bundle.sweep(bundle.CGROUPS)


def test_what_is_said_of_a_device_happens(node: Node, runtime: Callable[..., packages.Runtime]) -> None:
    """With runc and crun: a device that works can be used, one that fails cannot, and both work without the namespace.

    What fails only fails with a user namespace, so no other fault of this test can be taken for the predicted one. A
    mount with a mapping has no control: OCI runtimes take none without a user namespace.
    """
    devices = make_devices(node)
    handlers = {"runc": runtime("runc", (1, 2)).path, "crun": runtime("crun", (1, 9)).path}
    kinds = {
        MANY: {name: device.edits for name, device in devices.items()},
        GOOD: {"0": devices["open"].edits, "1": devices["mapped"].edits},
        BAD: {"0": devices["closed"].edits},
    }
    with cdi.runtime_with_devices(node, packages.containerd(), handlers, kinds) as node.endpoint:
        with node.kubelet("--fail-cgroupv1=false"):
            probed = node.probe()
            manifest = node.path("pod") + ".json"
            Path(manifest).write_text("\n".join(json.dumps(pod_with(kind)) for kind in kinds))
            asked = node.probe("pod", "-o", "json", manifest)
        numbers = itertools.count()
        fates: dict[tuple[str, str, bool], str] = {}
        with cri.connected(node.endpoint) as client:
            for (name, device), handler in itertools.product(devices.items(), handlers):
                controlled = getattr(device, handler) == "fails" and not device.broken and "map" not in name
                for userns in (True, False) if controlled else (True,):
                    fates[name, handler, userns] = cdi.fate(
                        node, client, next(numbers), f"{MANY}={name}", handler, device.script, userns
                    )
    of_kind = [row for row in probed.report["devices"] if row["kind"] == MANY]
    rows = {name: row for row in of_kind for name in (row["handler"], *row["also"])}
    for handler in handlers:
        said = rows[handler]["devices"]
        assert said == {name: getattr(device, handler) for name, device in devices.items()}, rows
        for name in devices:
            fate = fates[name, handler, True]
            assert said[name] == "unknown" or said[name] == ("works" if fate == "works" else "fails"), (name, fate)
            assert fates.get((name, handler, False), "works") == "works", (name, handler)
    finding = probed.finding("hazard-device-hooks")
    assert finding["status"] == "warn"
    assert MANY in finding["message"]
    outcomes = {row["name"]: row["outcome"] for row in asked.document["pods"]}
    # Which of many devices a Pod gets is not known.
    assert outcomes == {"many": "unknown", "good": "runs", "bad": "fails"}, asked.document["pods"]


def pod_with(kind: str) -> dict[str, Any]:
    """A Pod that requests one device of *kind*."""
    container = {"resources": {"limits": {kind: 1}}}
    spec = {"hostUsers": False, "automountServiceAccountToken": False, "containers": [container]}
    return {"kind": "Pod", "metadata": {"name": kind.split(".")[0]}, "spec": spec}
