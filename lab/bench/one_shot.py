"""The command as a whole, on a node made for it: time, CPU, memory, and how both grow with what is mounted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from lab.bench.inside import ask
from lab.bench.table import Row, mib, ms
from lab.bench.volumes import bind_volumes, mount_volumes
from lab.real import kernel, packages
from lab.real.node import make_node, make_workspace

FEW, MANY, FILE_SYSTEMS = 50, 5000, 200

BARE = [sys.executable, "-c", "pass"]
PROBE = [sys.executable, "-m", "probe", "-o", "json"]

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
    with make_workspace() as workspace, make_node(workspace) as node:
        with node.containerd(containerd, {"runc": runc.path}) as node.endpoint:
            root = f"{os.path.dirname(node.endpoint)}/root"
            with node.kubelet():
                say("the whole command, bare Python, a shell script")
                shell = ["sh", "-c", SHELL, "sh", node.root, root, node.endpoint, containerd.beside("ctr"), runc.path]
                found["one shot"] = ask(node, commands={"bare": BARE, "probe": PROBE, "shell": shell}, runs=runs)
                say("memory")
                found["memory"] = ask(node, peak=PROBE, runs=5)
                found["memory bare"] = ask(node, peak=BARE, runs=5)
                say(f"{FILE_SYSTEMS} file systems, and real idmapped mounts")
                without = ask(node, commands={"probe": PROBE}, runs=runs)["probe"]["wall"]
                mount_volumes(node, FILE_SYSTEMS, lambda path: kernel.mount("volume", path, "tmpfs", 0, "size=4k"))
                full = ask(node, commands={"probe": PROBE}, runs=runs)["probe"]["wall"]
                found["per file system"] = (full - without) / FILE_SYSTEMS
                found["real idmapped mount"] = ask(node, idmapped=f"{node.root}/pods", runs=200)
            with node.kubelet():
                found["mounts"] = {}
                for total in (FEW, many):
                    say(f"{total} mounts")
                    bind_volumes(node, total)
                    found["mounts"][total] = ask(node, commands={"probe": PROBE}, runs=runs)["probe"]
    return found


def rows(found: dict[str, Any]) -> list[Row]:
    """The figures beside what they are compared with."""
    shot, memory = found["one shot"], found["memory"]
    each, real = found["per file system"], found["real idmapped mount"]
    (few, before), (many, after) = found["mounts"].items()
    made = []
    for other, name, aims in (("bare", "python3 -c pass", ("under 20", "")), ("shell", "shell script", ("", ""))):
        for unit, aim in zip(("wall", "cpu"), aims, strict=True):
            own, theirs = shot["probe"][unit], shot[other][unit]
            made.append(Row(f"one shot, {unit}", ms(own), f"{name}: {ms(theirs)}", own / theirs, aim))
    made.append(
        Row("each file system more", ms(each), f"mounted and unmounted: {ms(real)}", each / real, "under 0.30 ms")
    )
    slower = after["wall"] / before["wall"]
    made.append(Row(f"{many} mounts", ms(after["wall"]), f"{few} mounts: {ms(before['wall'])}", slower, "under 2"))
    for unit in ("pss", "rss"):
        own, bare = memory[unit], found["memory bare"][unit]
        what = f"peak {unit.upper()} of {memory['processes']:.0f} processes"
        made.append(Row(what, mib(own), f"python3 -c pass: {mib(bare)}", own / bare))
    return made
