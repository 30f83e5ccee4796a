"""A trivial container, as a Pod's would be with `hostUsers: false`, run by a real OCI runtime.

It has a user namespace of its own, and one volume: PATH of the host, bound idmapped to /v as containerd and CRI-O ask
for it (mappings on the mount, no `idmap` option). It says who owns the volume, and ends.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab.real.packages import Runtime

FIRST = 200000  # host id of the container's root
COUNT = 65536
NAMESPACES = ("user", "mount", "pid", "ipc", "uts", "cgroup", "network")
CGROUPS = f"userns-probe-test-{os.getpid()}-"  # how the names of this run's cgroups begin
BUSYBOX = "/bin/busybox"
UNMAPPED = 65534  # how an id without a place in the map looks


@dataclass(frozen=True)
class Outcome:
    """What became of a container."""

    started: bool
    error: str  # the runtime's own words when it did not start
    owner_seen: int | None  # the volume's owner as the container sees it: 0 for the host's root if idmapping works


def run(
    runtime: Runtime,
    source: str,
    workspace: str,
    *,
    readonly: bool = False,
    mapped: bool = True,
    timeout: float = 60,
) -> Outcome:
    """Run a container with the volume *source*, a directory or a file; everything it needs lies below *workspace*.

    Without *mapped* the volume is bound as it is.

    *workspace* and all directories above must be passable for others, as the container's root is nobody out here.
    Raises subprocess.TimeoutExpired when the runtime hangs.
    """
    bundle = tempfile.mkdtemp(prefix="bundle-", dir=workspace)
    os.chmod(bundle, 0o711)
    identity = f"{CGROUPS}{uuid.uuid4().hex[:12]}"
    command = [runtime.path, "--root", f"{bundle}/state", "--log-format", "json"]
    done = None
    try:
        _lay_out(bundle, source, identity, readonly, mapped)
        start = [*command, "run", "--bundle", bundle, identity]
        done = subprocess.run(
            start, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
        )
    finally:
        if done is None or done.returncode:  # else it ended by itself, and is gone
            delete = [*command, "delete", "--force", identity]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(delete, capture_output=True, check=False, timeout=timeout)
        sweep(identity)
        shutil.rmtree(bundle)
    if done.returncode == 0:
        return Outcome(True, "", int(done.stdout))
    return Outcome(False, _last_message(done.stderr), None)


def sweep(name: str) -> None:
    """End and remove what is left in cgroups whose name begins with *name*: a runtime killed half-way leaves them.

    Somebody who waits for a mute FUSE server cannot be ended before the server is; workspace sweeps once more.
    """
    left = [*glob.glob(f"/sys/fs/cgroup/{name}*"), *glob.glob(f"/sys/fs/cgroup/*/{name}*")]
    if not left:
        return
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/cgroup") as cgroups:
            if f"/{name}" in cgroups.read():
                os.kill(int(pid), signal.SIGKILL)
    deadline = time.monotonic() + 1
    for top in left:
        for directory, _, _ in os.walk(top, topdown=False):
            while not _removed(directory) and time.monotonic() < deadline:
                time.sleep(0.01)


def take_back_null() -> None:
    """Give /dev/null back to root: crun before 1.24 gives it to the root of a container whose stdin it is."""
    os.chown("/dev/null", 0, 0)


def _removed(directory: str) -> bool:
    """Whether waiting changes nothing any more: only EBUSY ends by itself, with the last process inside."""
    try:
        os.rmdir(directory)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def _last_message(log: str) -> str:
    """The runtime's last words, which say why it gives up."""
    last = (log.strip().splitlines() or ["failed without a word"])[-1]
    try:
        return str(json.loads(last)["msg"])
    except (ValueError, LookupError, TypeError):
        return last


def _lay_out(bundle: str, source: str, identity: str, readonly: bool, mapped: bool) -> None:
    root = f"{bundle}/rootfs"
    os.makedirs(f"{root}/bin")
    shutil.copy(BUSYBOX, f"{root}/bin/busybox")
    os.chown(root, FIRST, FIRST)  # so that the runtime may make the mount points
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(_config(source, identity, readonly, mapped), file)


def _config(source: str, identity: str, readonly: bool, mapped: bool) -> dict[str, Any]:
    mappings = [{"containerID": 0, "hostID": FIRST, "size": COUNT}]
    volume = {
        "destination": "/v",
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", "ro" if readonly else "rw"],
    } | ({"uidMappings": mappings, "gidMappings": mappings} if mapped else {})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/busybox", "stat", "-c", "%u", "/v"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            # Runtimes make device nodes here, and may on nothing but a tmpfs of the container's own.
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            volume,
        ],
        "linux": {
            "namespaces": [{"type": each} for each in NAMESPACES],
            "uidMappings": mappings,
            "gidMappings": mappings,
            "cgroupsPath": f"/{identity}",
        },
    }
