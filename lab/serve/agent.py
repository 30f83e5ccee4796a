"""Both halves of the DaemonSet as real processes on a small node, and the API server that one of them publishes to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.real.node import CHECKOUT, Node, descendants, environment
from lab.serve import api_double
from lab.serve.api_double import ApiDouble
from lab.serve.serving import Serving, serving, wait_for
from probe.serve.report_file import read_boot_id

NODE_NAME = "k8slab"
EVERYTHING = "--publish=annotations,label,condition,events"
IMAGE = {"MALLOC_ARENA_MAX": "1"}
"""What the image has in its environment and `serve` takes notice of."""
_TOKEN = "/run/secrets/kubernetes.io/serviceaccount"


@dataclass
class Watch:
    """A running `watch`."""

    pid: int  # as this machine counts
    report: Path

    @property
    def pids(self) -> list[int]:
        """`watch` and its looker, a new one after each probe."""
        return descendants(self.pid)

    def probe(self) -> None:
        """Have it probe at once, by SIGHUP; returns when no process of the probe runs any more, and `watch` rests."""
        before = self._report()
        os.kill(self.pid, signal.SIGHUP)
        wait_for(lambda: self._report() != before)
        wait_for(self.is_resting)

    def is_resting(self) -> bool:
        """Whether it sleeps with no process left but its looker, which there is none of after `unknown`.

        From the report until the looker has been made `watch` never sleeps.
        """
        asleep = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("S")
        return asleep and len(self.pids) <= 2

    def _report(self) -> tuple[int, int]:
        seen = self.report.stat()
        return seen.st_ino, seen.st_mtime_ns


@contextmanager
def watching(node: Node, *options: str) -> Iterator[Watch]:
    """`watch` on *node*, whose first probe has ended. Each further one is asked for, by SIGHUP."""
    home = Path(node.path("watch"))
    home.mkdir()
    report = home / "report.json"
    command = (sys.executable, "-m", "probe", "watch", f"--report-file={report}", f"--node-name={NODE_NAME}", *options)
    with open(home / "log", "w") as log, node.process(*command, cwd=CHECKOUT, env=environment(), stderr=log) as pid:
        watch = Watch(pid, report)
        wait_for(report.exists)
        wait_for(watch.is_resting)
        yield watch


@contextmanager
def publishing(node: Node, report: Path, parts: str = EVERYTHING) -> Iterator[tuple[Serving, ApiDouble]]:
    """`serve` that publishes *report* to an API server, with its token where a Pod has it."""
    account = Path(node.path("serviceaccount"))
    account.mkdir()
    with api_double.running(account) as api:
        api.store.rules |= {("create", "events")}
        api.store.nodes[NODE_NAME]["status"]["nodeInfo"] = {"bootID": read_boot_id()}
        node.run("sh", "-c", f"mkdir -p {_TOKEN} && mount --bind {account} {_TOKEN}")
        variables = (
            environment()
            | IMAGE
            | {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(api.port),
                "NODE_NAME": NODE_NAME,
            }
        )
        inside = ("nsenter", f"--mount=/proc/{node.pid}/ns/mnt", "--")  # it sees the Pod's files, and stays one process
        try:
            with serving(report, parts, wrapper=inside, variables=variables) as server:
                yield server, api
        finally:
            node.run("umount", _TOKEN)


def published(api: ApiDouble) -> Any:
    """The verdict that stands on the Node."""
    return api.store.nodes[NODE_NAME]["metadata"]["annotations"].get("userns-probe.io/verdict")
