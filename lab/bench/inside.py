"""What is measured inside of a node. Run as a program it does what its one argument says, and prints JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.bench import container
from lab.bench.account import Command, account
from lab.bench.processes import memory
from lab.real import kernel
from lab.real.node import CHECKOUT, Node, descendants, environment


def ask(node: Node, **order: Any) -> Any:
    """Have a process inside of *node* measure something: `commands` by name, `peak` of one, or `idmapped` mounts.

    `rootfs` is where the image lies that some of them run in.
    """
    told = json.dumps(order, default=asdict)
    command = node.inside(sys.executable, "-m", __name__, told)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment(), cwd=CHECKOUT)
    return json.loads(done.stdout)


def measure(commands: dict[str, Command], runs: int) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of each, all of them in turn; the first round warms up."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with account() as cgroup:
        for _ in range(runs + 1):
            for name, command in commands.items():
                seen[name].append(cgroup.run(command))
    return {
        name: {
            "wall": statistics.median(wall for wall, _ in times[1:]),
            "cpu": statistics.median(cpu for _, cpu in times[1:]),
        }
        for name, times in seen.items()
    }


def peak(command: Command) -> dict[str, int]:
    """The most memory that the whole tree of a command had: PSS counts what is shared once, RSS each time."""
    process = subprocess.Popen(
        command.argv, env=command.environment, stdout=subprocess.DEVNULL, preexec_fn=lambda: _enter(command)
    )
    most = {"pss": 0, "rss": 0, "processes": 0}
    while process.poll() is None:
        now = dict.fromkeys(most, 0)
        for pid in descendants(process.pid):
            try:
                held = memory(pid)
            except OSError:
                continue
            for key, value in (*held.items(), ("processes", 1)):
                now[key] += value
        most = {key: max(most[key], now[key]) for key in most}
        time.sleep(0.002)
    return most


def _enter(command: Command) -> None:
    if command.root:
        os.chroot(command.root)
    os.chdir("/")


def idmapped_mounts(path: str, times: int) -> float:
    """Seconds that an idmapped mount of *path* takes when somebody really attaches it and takes it away again."""
    kernel.own_mount_namespace()
    target = "/mnt"
    began = time.perf_counter()
    for _ in range(times):
        kernel.mount_idmapped(path, target, 200_000)
        kernel.detach(target)
    return (time.perf_counter() - began) / times


def _answer(order: dict[str, Any]) -> Any:
    if rootfs := order.get("rootfs"):
        container.enter(rootfs)
    if "peak" in order:
        found = [peak(Command(**order["peak"])) for _ in range(order["runs"])]
        return {key: statistics.median(each[key] for each in found) for key in found[0]}
    if "idmapped" in order:
        return idmapped_mounts(order["idmapped"], order["runs"])
    return measure({name: Command(**each) for name, each in order["commands"].items()}, order["runs"])


if __name__ == "__main__":
    Path("/proc/self/fd/1").write_text(json.dumps(_answer(json.loads(sys.argv[1]))))
