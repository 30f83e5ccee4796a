"""Mounts whose servers are dead: the real command says so in time, judges all else, and adds to nobody's burden."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from lab.prerequisites import require
from lab.real import kernel
from lab.real.fuse_server import FuseServer
from lab.real.hung_volumes import WAYS, csi_volume, pod, volume_behind, waiting_in
from lab.real.node import Node, Probed, descendants
from lab.waiting import wait_for
from probe.host import host as root

pytestmark = [pytest.mark.real, pytest.mark.beside]


def volumes(probed: Probed) -> dict[str, tuple[str, str]]:
    """Path below the volumes' directory -> result and reason."""
    rows = probed.rows("volume")
    return {row["path"].partition("/volumes/")[2]: (row["result"], row["reason"]) for row in rows}


def probe(node: Node, *arguments: str) -> Probed:
    """One probe of a node where nothing but a volume is wrong: all else is judged, whatever hangs."""
    probed = node.probe("-o", "json", "--volume-paths", *arguments)
    assert probed.verdict == (0, "ready", ""), probed
    assert probed.stderr == ""
    return probed


@pytest.mark.parametrize("how", WAYS)
def test_a_volume_that_hangs_is_unknown(node: Node, how: str) -> None:
    """Timed out, and not tried again while the first attempt still hangs; when the server is gone all is clear."""
    inside, behind = "kubernetes.io~csi/pv/mount", "kubernetes.io~empty-dir/d"
    with node.kubelet(), csi_volume(node) as csi, volume_behind(node) as plugin:
        found = volumes(probe(node))
        assert (found[inside][0], found[behind][0]) == ("refused", "supported")

        getattr(csi, how)()
        getattr(plugin, how)()
        with waiting_in(csi):
            first = probe(node)
            for result, reason in volumes(first).values():
                assert result == "unknown"
                assert reason.startswith("timed out: ")
            assert len(volumes(first)) == 2
            assert first.report["levels"] == dict.fromkeys(("stateless", "projected", "local"), "ready") | {
                "volumes": "unknown"
            }
            # Who waits for a mute server cannot be killed.
            helpers = node.names("up ")
            assert len(helpers) == (how == "mute")

            again = volumes(probe(node))
            assert again.keys() == volumes(first).keys()
            assert again[inside] == volumes(first)[inside]
            skipped = again[behind] == ("unknown", "timed out: an earlier attempt at it still hangs")
            assert skipped == (how == "mute")
            assert again[behind][1].startswith("timed out: ")
            assert node.names("up ") == helpers

            for server in (csi, plugin):
                server.abort()
            wait_for(lambda: not node.names("up "))
            after = volumes(probe(node))
            assert after.pop(inside)[0] == "refused"
            # The kernel unmounts what lies behind a dead server when somebody looks for it.
            assert all(reason.startswith("its server is gone: ") for _, reason in after.values()), after
    with node.kubelet():
        assert volumes(probe(node)) == {}


@pytest.mark.parametrize("how", WAYS)
def test_the_report_ends_while_an_attempt_hangs(node: Node, how: str) -> None:
    """Whoever reads what the command prints waits for nobody who is stuck in the kernel."""
    with node.kubelet(), volume_behind(node) as server:
        getattr(server, how)()
        with node.start_probe("-o", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            stdout, stderr = running.communicate()
        assert (running.returncode, stderr) == (0, b"")
        assert stdout.endswith(b"}\n")


def test_a_probe_that_is_killed_while_it_hangs(node: Node) -> None:
    """Its helper cannot die before the server does; the next probe knows it and adds none."""
    with node.kubelet(), volume_behind(node) as server:
        server.mute()
        with node.start_probe("-o", "json", stdout=subprocess.DEVNULL) as running:
            wait_for(server.swallowed)
            os.kill(descendants(running.pid)[1], signal.SIGKILL)
        wait_for(lambda: len(node.names("up ")) == 1)  # the others die one after the other
        helpers = node.names("up ")
        assert volumes(probe(node)) == {
            "kubernetes.io~empty-dir/d": ("unknown", "timed out: an earlier attempt at it still hangs")
        }
        assert node.names("up ") == helpers
        server.abort()
        wait_for(lambda: not node.names("up "))


def test_a_kubelet_whose_directory_hangs(node: Node) -> None:
    """The node's verdict is unknown then, and no probe leaves more behind than the first."""
    path = node.path("fuse")
    os.mkdir(path)
    with FuseServer(path) as server:
        kernel.mount("behind", f"{path}/d", "tmpfs")
        with node.kubelet(root=f"{path}/d"):
            server.mute()
            stuck = []
            for _ in range(3):
                probed = node.probe()
                assert probed.verdict == (2, "unknown", "TimedOut"), probed
                assert {row["result"] for row in probed.rows("runtime-root") + probed.rows("tmpfs")} == {"supported"}
                stuck.append(node.names("up "))
            assert stuck[0] == stuck[1] == stuck[2]
            assert stuck[0]


def test_a_server_that_never_answered_at_all(node: Node) -> None:
    """Until FUSE_INIT is answered the kernel calls each mount incapable; that is no answer."""
    with node.kubelet(), csi_volume(node, init=False):
        assert volumes(probe(node)) == {
            "kubernetes.io~csi/pv/mount": ("unknown", "timed out: its FUSE server leaves requests unanswered")
        }


@pytest.mark.parametrize("how", WAYS)
def test_what_a_server_offered_is_known_while_it_hangs(node: Node, how: str) -> None:
    """The kernel remembers it, so asking needs no server."""
    require(kernel.RELEASE >= (6, 12), "a kernel from 6.12 on, which idmaps FUSE at all")
    with node.kubelet(), csi_volume(node, idmap=True, default_permissions=True) as server:
        getattr(server, how)()
        with waiting_in(server):
            assert volumes(probe(node))["kubernetes.io~csi/pv/mount"][0] == "supported"


def test_fifty_volumes_that_hang(node: Node) -> None:
    """They take the whole budget and no more, and nothing from what does not hang."""
    with node.kubelet(), ExitStack() as stack:
        fine = f"{node.root}/{pod(99)}/kubernetes.io~empty-dir/last"
        os.makedirs(fine)
        kernel.mount("fine", fine, "tmpfs")
        stack.callback(kernel.detach, fine)
        for number in range(50):
            make = csi_volume if number % 4 < 2 else volume_behind
            server = stack.enter_context(make(node, number))
            getattr(server, WAYS[number % 2])()
            stack.enter_context(waiting_in(server))
        rows = probe(node, "--budget", "5s").rows("volume")
        assert len(rows) == 51
        assert rows.pop()["result"] == "supported"
        reasons = {row["reason"] for row in rows if row["result"] == "unknown"}
        assert len([row for row in rows if row["result"] == "unknown"]) == 50
        assert reasons == {
            "timed out: its FUSE server leaves requests unanswered",
            "timed out: its server does not answer",
            "the time for this probe ran out",
        }
    wait_for(lambda: not node.names("up "))


@pytest.mark.parametrize("how", WAYS)
def test_paths_that_hang(node: Node, how: str) -> None:
    """`path` answers for what hangs as well, and for all else."""
    with node.kubelet(), csi_volume(node) as server:
        getattr(server, how)()
        with waiting_in(server):
            paths = [server.mountpoint, f"{server.mountpoint}/d", f"{server.mountpoint}/f", node.root]
            probed = node.probe("path", "-o", "json", *paths)
            assert probed.code == 2
            rows = {row["path"]: row for row in probed.document}
            assert rows.pop(node.root)["result"] == "supported"
            assert [row["result"] for row in rows.values()] == ["unknown"] * 3
            assert all(row["reason"].startswith("timed out: ") for row in rows.values()), rows


def test_paths_on_a_slow_node(node: Node) -> None:
    """Who gives `path` three times as much time has each path waited for three times as long."""
    with node.kubelet(), csi_volume(node) as server:
        server.stop()
        with waiting_in(server):
            began = time.monotonic()
            probed = node.probe("path", "--budget", "60s", "-o", "json", f"{server.mountpoint}/f")
            assert time.monotonic() - began > 3 * root._TIMEOUT
            assert probed.document[0]["reason"].startswith("timed out: ")
