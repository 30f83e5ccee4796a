"""`--try-pod` against a real containerd and runc: what it says is what became of real Pods, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import packages, pods
from lab.real.node import Node, descendants
from lab.waiting import wait_for
from probe.host import cri_pb2
from probe.host.child import Child
from probe.host.grpc import RpcError
from probe.host.pod_trial.client import Runtime
from probe.host.pod_trial.plan import POD_CGROUP
from tests.extent import ALL

pytestmark = pytest.mark.real

TRY = ("-o", "json", "--try-pod")
CHECKS = ("pod-trial", "pod-trial-projected")


@pytest.fixture
def node(bare_node: Callable[..., AbstractContextManager[Node]]) -> Iterator[Node]:
    """A node without daemons."""
    with bare_node() as made:
        yield made


@pytest.fixture
def start(node: Node) -> Iterator[Callable[..., str]]:
    """Start a containerd that can run Pods, and a kubelet; gives containerd's directory."""
    require(pods.can_run_pods(), "a pause program for this machine")
    with ExitStack() as stack:

        def start(**options: Any) -> str:
            containerd, runc = packages.containerd(), packages.runtime("runc", (1, 2))
            handlers = {"runc": runc.path} | options.pop("handlers", {})
            node.endpoint = stack.enter_context(pods.pod_runtime(node, containerd, handlers, **options))
            stack.enter_context(node.kubelet())
            return os.path.dirname(node.endpoint)

        yield start


def runtime(node: Node) -> Runtime:
    return Runtime(node.endpoint, time.monotonic() + 60, 60)


def listed(node: Node, what: str) -> list[str]:
    """What containerd itself lists: `containers`, `tasks` or `images`."""
    ctr = packages.containerd().beside("ctr")
    return node.run(ctr, "--address", node.endpoint, "--namespace", "k8s.io", what, "list", "-q").split()


def assert_nothing_left(node: Node, processes: bool = True) -> None:
    assert runtime(node).sandboxes() == []
    assert listed(node, "containers") == []
    assert listed(node, "tasks") == []
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{POD_CGROUP}"))
    if not processes:  # containerd can lose a shim when a Pod is stopped while its container starts
        return
    wait_for(lambda: not {"pause", "containerd-shim"} & set(node.names("")))  # a shim ends after it has answered


def test_a_pod_runs_and_is_removed(node: Node, start: Callable[..., str]) -> None:
    """On a node that can, the Pod runs with both mounts, and afterwards everything is as before."""
    start()
    before = Path(f"{node.proc}/1/mountinfo").read_text()
    probed = node.probe(*TRY)
    assert [probed.finding(check)["status"] for check in CHECKS] == ["pass", "pass"], probed.finding(CHECKS[0])
    assert probed.verdict == (0, "ready", "")
    assert_nothing_left(node)
    assert Path(f"{node.proc}/1/mountinfo").read_text() == before


def test_not_without_being_asked(node: Node, start: Callable[..., str]) -> None:
    """Without the option no sandbox is made."""
    home = start()
    assert node.probe("-o", "json").finding("pod-trial")["status"] == "skipped"
    assert "RunPodSandbox" not in Path(home, "log").read_text()


def read_only_tmp(node: Node, home: str) -> None:
    """containerd makes a directory there for each container with idmapped layers."""
    node.run("sh", "-c", "mount --rbind /tmp /tmp && mount -o remount,bind,ro /tmp")


def private_state(node: Node, home: str) -> None:
    """The root of a user namespace has to get through it."""
    os.chmod(f"{home}/state", 0o700)


@pytest.mark.parametrize(
    ("break_it", "words"), [(read_only_tmp, "read-only file system"), (private_state, "permission denied")]
)
def test_a_node_on_which_only_user_namespaces_fail(
    node: Node, start: Callable[..., str], break_it: Callable[[Node, str], None], words: str
) -> None:
    """Every such Pod fails while others run: the trial fails with the runtime's own words, and leaves nothing."""
    home = start()
    break_it(node, home)
    probed = node.probe(*TRY)
    found = probed.finding("pod-trial")
    assert (found["status"], found["reason"]) == ("fail", "PodRefused"), found
    assert words in found["message"]
    assert probed.verdict[:2] == (1, "not-ready")
    assert {"source": "pod trial, the same Pod without a user namespace", "value": "runs"} in found["evidence"]
    assert_nothing_left(node)


def test_a_node_on_which_no_pod_runs(node: Node, start: Callable[..., str]) -> None:
    """What fails without a user namespace, too, does not blame user namespaces; the node is never ready."""
    start()
    home = next(Path(node.directory).glob("cni-*"))
    (home / "own").write_text("#!/bin/sh\nexit 1\n")
    probed = node.probe(*TRY)
    found = probed.finding("pod-trial")
    assert found["status"] == "unknown"
    assert "makes no Pod" in found["message"]
    assert 'plugin type="own"' in found["message"]
    assert probed.verdict == (2, "unknown", "NotReadable")
    assert_nothing_left(node)


def test_nothing_is_pulled(node: Node, start: Callable[..., str]) -> None:
    """Without the pause image nothing is tried."""
    home = start(image=False)
    found = node.probe(*TRY).finding("pod-trial")
    assert (found["status"], found["reason"]) == ("unknown", "NotTried")
    assert "pause image is not present" in found["message"]
    assert listed(node, "images") == []
    assert "RunPodSandbox" not in Path(home, "log").read_text()


def test_only_handlers_that_claim_support(node: Node, start: Callable[..., str]) -> None:
    """A handler whose runtime says no is not tried; two names of one runtime are tried once."""
    start(handlers={"old": packages.machine_runtime("runc").path})
    evidence = node.probe(*TRY).finding("pod-trial")["evidence"]
    assert evidence[0]["value"].endswith("for the default handler")


def test_a_killed_probe_leaves_nothing(node: Node, start: Callable[..., str]) -> None:
    """The process that talks to the runtime removes its Pod before it ends."""
    start()
    killed = node.start_probe(*TRY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: runtime(node).sandboxes() or killed.poll() is not None)
    probe = descendants(killed.pid)[1]
    os.kill(probe, signal.SIGKILL)
    killed.wait()
    wait_for(lambda: not node.names("python"))
    assert_nothing_left(node)


def test_what_a_killed_trial_leaves_is_swept(node: Node, start: Callable[..., str]) -> None:
    """Killed in the middle, it leaves a sandbox that keeps its name; the next trial removes it and runs."""
    start()
    killed = node.start_probe(*TRY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: runtime(node).sandboxes() or killed.poll() is not None)
    for pid in reversed(descendants(killed.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    killed.wait()
    assert node.probe(*TRY).finding("pod-trial")["status"] == "pass"
    assert_nothing_left(node, processes=False)


@contextmanager
def cleaning(node: Node, times: int) -> Iterator[None]:
    """Somebody who stops a sandbox as soon as it is there, as a kubelet does, as often as *times*."""

    def clean(_: object) -> None:
        left, seen = times, set()
        while left:
            for sandbox in runtime(node).sandboxes():
                if sandbox.id not in seen:
                    seen.add(sandbox.id)
                    left -= 1
                    _stop(node, sandbox.id)

    with Child(clean):
        yield


def _stop(node: Node, sandbox: str) -> None:
    with suppress(RpcError):
        request = cri_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        runtime(node).call("StopPodSandbox", request, cri_pb2.Nothing)


@pytest.mark.parametrize("times", [1, 2])
def test_a_kubelet_that_cleans_up(node: Node, start: Callable[..., str], times: int) -> None:
    """A sandbox that others end says nothing of the node: it is made again."""
    start()
    with cleaning(node, times):
        found = node.probe(*TRY).finding("pod-trial")
    assert found["status"] == "pass", str(found)
    assert_nothing_left(node, processes=False)


def test_a_kubelet_that_never_stops_cleaning_up(node: Node, start: Callable[..., str]) -> None:
    """After three times it is unknown, and never a refusal."""
    start()
    with cleaning(node, 1000):
        found = node.probe(*TRY).finding("pod-trial")
    assert found["status"] in ("unknown", "pass"), found  # it may be quicker than whoever cleans up
    assert_nothing_left(node, processes=False)


def remembering(node: Node, memory: int) -> dict[str, Any]:
    """The finding of a probe of `watch`, which has *memory* of the last one and leaves it to the next."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "pass_fds": (memory,)}
    report = json.loads(node.start_probe(*TRY, f"--memory={memory}", **options).communicate()[0])
    return next(each for each in report["findings"] if each["id"] == "pod-trial")


def test_watch_tries_again_only_what_has_changed(node: Node, start: Callable[..., str]) -> None:
    """On a node that stays as it is one Pod stands for all probes; with another /tmp it is made again, and refused."""
    home = start()

    def made() -> int:
        return Path(home, "log").read_text().count('"RunPodSandbox for')

    memory = os.memfd_create("memory")
    try:
        found = [remembering(node, memory) for _ in range(2)]  # the first Pod of a node makes folders of the runtime
        once = made()
        found += [remembering(node, memory) for _ in range(2)]
        assert [one["status"] for one in found] == ["pass"] * 4, found
        assert ["earlier probe" in one["evidence"][0]["value"] for one in found[2:]] == [True, True]
        assert made() == once > 0
        read_only_tmp(node, home)
        assert remembering(node, memory)["status"] == "fail"
        assert made() > once
    finally:
        os.close(memory)
    assert_nothing_left(node)


def in_the_middle(node: Node, do: Callable[[], object]) -> dict[str, Any]:
    """The finding of a probe that saw *do* happen while its sandbox was there."""
    probe = node.start_probe(*TRY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(lambda: runtime(node).sandboxes() or probe.poll() is not None)
    do()
    report = json.loads(probe.communicate()[0])
    return next(each for each in report["findings"] if each["id"] == "pod-trial")


def test_a_kubelet_that_restarts(node: Node, start: Callable[..., str]) -> None:
    """No kubelet takes part in it, so it goes on."""
    start()
    with ExitStack() as stack:

        def restart() -> None:
            node.run("pkill", "-KILL", "-x", "kubelet")
            stack.enter_context(node.kubelet(root=node.root))

        assert in_the_middle(node, restart)["status"] == "pass"
    assert_nothing_left(node)


def test_a_runtime_that_dies(node: Node, start: Callable[..., str]) -> None:
    """Nobody knows what it would have done; a Pod that ran before that has run."""
    start()
    found = in_the_middle(node, lambda: node.run("pkill", "-KILL", "-x", "containerd"))
    assert found["status"] in ("unknown", "pass", "warn"), found


def test_many_at_once(node: Node, start: Callable[..., str]) -> None:
    """Of probes at the same time each waits for its turn or says so, and none takes another's Pod for its own."""
    start()
    many = 10 if ALL else 4
    probes = [node.start_probe(*TRY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(many)]
    said = [probe.communicate()[0].decode() for probe in probes]
    assert sum("another trial runs" in each for each in said) < len(probes)
    found = [finding for each in said for finding in json.loads(each)["findings"]]
    assert [finding for finding in found if finding["status"] == "fail"] == []
    assert_nothing_left(node)
