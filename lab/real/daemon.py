"""A real containerd with its CRI, for as long as a test needs it, and nothing of it on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.real.packages import Runtime

# Wherever its configuration points, containerd makes directories and sockets in /run and /opt: here they are its own.
_ALONE = 'mount -t tmpfs test /run && mount -t tmpfs test /opt && exec "$0" "$@"'

_CONFIG = """
version = {version}
root = "{home}/root"
state = "{home}/state"
[plugins."{plugin}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."{plugin}".containerd.runtimes.runc.options]
    BinaryName = "{oci_runtime}"
"""


@contextmanager
def serving(containerd: Runtime, oci_runtime: Runtime, workspace: str) -> Iterator[str]:
    """The path of the socket of a containerd that runs its Pods with *oci_runtime*."""
    home = tempfile.mkdtemp(prefix="c-", dir=workspace)  # short: the path of a socket has a limit of 104 bytes
    of_1, of_2 = (2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")
    version, plugin = of_2 if containerd.version >= (2,) else of_1
    text = _CONFIG.format(home=home, oci_runtime=oci_runtime.path, version=version, plugin=plugin)
    Path(home, "config.toml").write_text(text)
    socket = f"{home}/containerd.sock"
    command = [containerd.path, "--config", f"{home}/config.toml", "--address", socket]
    path = f"{Path(containerd.path).parent}:{os.defpath}:/usr/sbin:/sbin"  # it looks for its shim along PATH
    with open(f"{home}/log", "w") as log:
        daemon = subprocess.Popen(["unshare", "--mount", "sh", "-c", _ALONE, *command], env={"PATH": path}, stderr=log)
    try:
        while not os.path.exists(socket):  # as long as the test's own timeout lets us
            if daemon.poll() is not None:
                raise OSError(f"containerd ended: {Path(home, 'log').read_text()[-500:]}")
            time.sleep(0.01)
        yield socket
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(home)
