"""The command as a whole, on a node made for it: time, CPU, memory, and how both grow with what is mounted."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.bench import kubectl, nested
from lab.bench.account import Command
from lab.bench.container import Image
from lab.bench.inside import ask
from lab.bench.table import Row, mib, ms
from lab.bench.volumes import bind_volumes, mount_volumes, unmount_volumes
from lab.real import kernel, packages
from lab.real.node import Node, environment, make_node, make_workspace

FEW, MANY, FILE_SYSTEMS = 50, 5000, 200
_TURNS = 5

# The same facts as far as a shell gets them: kernel, mount table, kubelet, containerd, OCI runtime, a sandbox, and a
# mount of each file system. $1: the kubelet's root, $2: containerd's, $3: its socket, $4: ctr, $5: the OCI runtime.
SHELL = r"""
cat /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id /proc/sys/user/max_*_namespaces /proc/self/status
cat /etc/os-release
findmnt --list --noheadings --output TARGET,SOURCE,FSTYPE,OPTIONS,PROPAGATION,MAJ:MIN
kubelet=$(pgrep -o -x kubelet) && tr '\0' '\n' < /proc/$kubelet/cmdline && /proc/$kubelet/exe --version
cat "$(tr '\0' '\n' < /proc/$kubelet/cmdline | sed -n 's/--config=//p')"
containerd=$(pgrep -o -x containerd) && cat /proc/$containerd/status
/proc/$containerd/exe --config "$(tr '\0' '\n' < /proc/$containerd/cmdline | sed -n '/^--config$/{n;p}')" config dump
"$4" --address "$3" version
"$5" --version; "$5" features
unshare --user --map-root-user --mount --pid --fork --ipc --uts --net --cgroup sh -c '
    mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /mnt; mount -t mqueue mqueue /mnt'
for path in "$1/pods" "$2"; do
    unshare --mount sh -c 'mount --bind "$0" /mnt && mount -o remount,bind,nosuid /mnt && stat /mnt' "$path"
done
unshare --mount sh -c 'mount -t tmpfs tmpfs /mnt && stat /mnt'
"""


def measure(runs: int, many: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    containerd, runc = packages.containerd(), packages.runtime("runc", (1, 2))
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        say("the image")
        image = Image()
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program, found["kubectl"] = kubectl.program()
        get_nodes = stack.enter_context(kubectl.get_node(program, home))
        node = stack.enter_context(make_node(stack.enter_context(make_workspace())))
        node.endpoint = stack.enter_context(node.containerd(containerd, {"runc": runc.path}))
        root = f"{os.path.dirname(node.endpoint)}/root"
        with node.kubelet():
            say("the whole command, bare Python, a shell script, kubectl")
            script = (SHELL, "sh", node.root, root, node.endpoint, containerd.beside("ctr"), runc.path)
            commands = {
                "bare": image.bare,
                "probe": image.probe,
                "pod": image.pod,
                "pod by report": image.pod_by_report,
                "shell": Command(("/bin/sh", "-c", *script), environment()),
                "kubectl": get_nodes,
                "kubelet": _kubelet_version(node),
            }
            found["one shot"] = ask(node, rootfs=image.rootfs, commands=commands, runs=runs)
            say("memory")
            found["memory"] = ask(node, rootfs=image.rootfs, peak=image.probe, runs=min(runs, 5))
            found["memory bare"] = ask(node, rootfs=image.rootfs, peak=image.bare, runs=min(runs, 5))
            say(f"{FILE_SYSTEMS} file systems, and real idmapped mounts")
            without = probe_on(node, image, runs)["wall"]
            mount_volumes(node, FILE_SYSTEMS, lambda path: kernel.mount("volume", path, "tmpfs", 0, "size=4k"))
            found["per file system"] = (probe_on(node, image, runs)["wall"] - without) / FILE_SYSTEMS
            found["real idmapped mount"] = ask(node, idmapped=f"{node.root}/pods", runs=200)
        say("the trial of nested containers")
        found["nested"] = nested.measure(runs)
        with node.kubelet():
            say(f"{FEW} and {many} mounts in turn")
            found["mounts"] = _in_turn(node, image, runs, (FEW, many))
    return found


def _in_turn(node: Node, image: Image, runs: int, totals: Sequence[int]) -> dict[int, dict[str, float]]:
    """Median wall and CPU seconds with each number of mounts: minutes apart, the machine itself differs by a fifth."""
    seen: dict[int, list[dict[str, float]]] = {total: [] for total in totals}
    for _ in range(_TURNS):
        for total in totals:
            unmount_volumes(node)
            bind_volumes(node, total)
            seen[total].append(probe_on(node, image, max(1, runs // _TURNS)))
    return {
        total: {unit: statistics.median(each[unit] for each in blocks) for unit in ("wall", "cpu")}
        for total, blocks in seen.items()
    }


def probe_on(node: Node, image: Image, runs: int) -> dict[str, float]:
    """Median wall and CPU seconds of the command."""
    return dict(ask(node, rootfs=image.rootfs, commands={"probe": image.probe}, runs=runs)["probe"])


def _kubelet_version(node: Node) -> Command:
    """What every probe has the kubelet say; this machine's own kubelet where there is one."""
    found = shutil.which("kubelet")
    running = node.run("sh", "-c", "tr '\\0' '\\n' < /proc/$(pgrep -o -x kubelet)/cmdline").split()
    return Command((found or next(word for word in running if word.endswith("/kubelet")), "--version"), environment())


def rows(found: dict[str, Any]) -> list[Row]:
    """The figures beside what they are compared with."""
    return [*_one_shot_rows(found), *nested.rows(found["nested"]), *_growth_rows(found), *_memory_rows(found)]


def _one_shot_rows(found: dict[str, Any]) -> list[Row]:
    shot = found["one shot"]
    rivals = (
        ("bare", "python3 -c pass in the image", ("at most 15", "at most 16")),
        ("shell", "shell script", ("", "")),
        ("kubectl", f"kubectl {found['kubectl']} get nodes", ("", "")),
    )
    made = []
    for other, name, aims in rivals:
        for unit, aim in zip(("wall", "cpu"), aims, strict=True):
            own, theirs = shot["probe"][unit], shot[other][unit]
            made.append(Row(f"one shot, {unit}", ms(own), f"{name}: {ms(theirs)}", own / theirs, aim))
    for name, title, aim in (
        ("pod by report", "pod --report, one manifest", "under 1"),
        ("pod", "pod, one manifest with a hostPath", ""),
    ):
        for unit in ("wall", "cpu"):
            own, whole = shot[name][unit], shot["probe"][unit]
            made.append(Row(f"{title}, {unit}", ms(own), f"one shot: {ms(whole)}", own / whole, aim))
    version = shot["kubelet"]["cpu"]
    name = "kubelet --version" if shutil.which("kubelet") else "--version of a script for a kubelet; real: 57-68 ms"
    made.append(
        Row("one shot, cpu", ms(shot["probe"]["cpu"]), f"{name}: {ms(version)}", shot["probe"]["cpu"] / version)
    )
    return made


def _growth_rows(found: dict[str, Any]) -> list[Row]:
    each, real = found["per file system"], found["real idmapped mount"]
    (few, before), (many, after) = found["mounts"].items()
    compared = f"{few} mounts: {ms(before['wall'])}"
    return [
        Row("each file system more", ms(each), f"mounted and unmounted: {ms(real)}", each / real, "under 0.30 ms"),
        Row(f"{many} mounts", ms(after["wall"]), compared, after["wall"] / before["wall"], "at most 1.30"),
    ]


def _memory_rows(found: dict[str, Any]) -> list[Row]:
    made = []
    for unit in ("pss", "rss"):
        own, bare = found["memory"][unit], found["memory bare"][unit]
        what = f"peak {unit.upper()} of {found['memory']['processes']:.0f} processes"
        made.append(Row(what, mib(own), f"python3 -c pass in the image: {mib(bare)}", own / bare))
    return made
