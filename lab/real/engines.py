"""podman and buildah of Debian in real Pods: an image for their containers, and Pods that ask for more than usual."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.real.node import Node
from lab.sabotage import cri
from lab.sabotage.cri import RefusedError, Volume, field
from lab.sabotage.images import make_archive

IMAGE = "local.test/engines:1"
FIRST = 65536 * 3000  # the host's first ID of the first Pod
USER = 1000
MAPPERS = {"newuidmap": ("/usr/bin/newuidmap", 7), "newgidmap": ("/usr/bin/newgidmap", 6)}
"""Program of this machine and its capability: CAP_SETUID, CAP_SETGID. *Source*: linux/capability.h."""
CAPABLE, SETUID = "capable", "setuid"
"""Directories of the image with these programs: with file capabilities, and setuid as Debian has them."""

MASKED = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What a kubelet sends for `procMount: Default`. *Source*: k8s.io/kubernetes, pkg/securitycontext."""

_ETC = {
    "passwd": "root:x:0:0:root:/root:/busybox\nuser:x:1000:1000:user:/home/user:/busybox\n",
    "group": "root:x:0:\nuser:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n",
    "machine-id": "0123456789abcdef0123456789abcdef\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
    "subuid": "user:1001:64535\n",
    "subgid": "user:1001:64535\n",
    "containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}\n',
    "containers/registries.conf": "",
    "containers/storage.conf": '[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\ngraphroot = "/store"\n'
    'rootless_storage_path = "/store"\n',
    "containers/containers.conf": '[containers]\nnetns = "host"\ncgroups = "disabled"\n'
    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n',
}
_UNIT = """[Service]
ExecStart=/busybox sh -c "until /usr/bin/systemctl is-system-running > /out/state || \
/busybox grep -q degraded /out/state; do /busybox sleep 0.2; done; \
/busybox cp /out/state /out/result; /busybox touch /out/done"
"""
_MASKED_UNITS = ("systemd-logind.service", "systemd-user-sessions.service", "getty.target")
"""Units of multi-user.target that want a D-Bus daemon or a terminal."""
BOOTED = ("running", "degraded")
"""States of a systemd that has started all units of its target; degraded: some failed. *Source*: systemctl(1)."""
_ENDED = ("Exiting PID 1", "Freezing execution")
"""Words of a systemd that goes no further."""
# Layers: the shell, and what it writes; the second is made by a container of the build.
_SCRIPT = """
set -e
exec > /out/log 2>&1
export PATH=/{programs}:/usr/bin:/opt/buildah/usr/bin XDG_RUNTIME_DIR=/run/user HOME=/home/user TMPDIR=/store
/busybox mkdir /store/context
cd /store/context
/busybox cp /busybox busybox
/busybox echo first > one
/busybox cat > Containerfile <<'END'
FROM scratch
COPY busybox /busybox
COPY one /one
RUN ["/busybox", "sh", "-c", "/busybox cat /one > /two; /busybox echo second >> /two"]
END
{build}
{run}
"""
_BUILD = "buildah build --layers --isolation=oci --network=host -t localhost/two ."
_RUN = """podman run --rm localhost/two /busybox cat /two > /out/printed
/busybox echo $(/busybox cat /out/printed) > /out/result"""


@dataclass(frozen=True)
class Ask:
    """What a Pod asks for."""

    capabilities: tuple[str, ...] = ()
    user: int = 0
    unmasked: bool = False


def write_image(path: str) -> None:
    """The image: a static shell, newuidmap(1) in both forms, configuration, and mount points for all else."""
    names = "proc sys dev tmp run var var/tmp etc etc/containers etc/systemd etc/systemd/system usr opt opt/buildah"
    directories = [*names.split(), "out", "store", "home", "root", CAPABLE, SETUID]
    files = {f"etc/{name}": (content.encode(), 0o644) for name, content in _ETC.items()}
    files["etc/systemd/system/booted.service"] = (_UNIT.encode(), 0o644)
    capabilities: dict[str, int] = {}
    files["busybox"] = (Path("/bin/busybox").read_bytes(), 0o755)
    for name, (program, capability) in MAPPERS.items():
        content = Path(program).read_bytes()
        files[f"{CAPABLE}/{name}"], files[f"{SETUID}/{name}"] = (content, 0o755), (content, 0o4755)
        capabilities[f"{CAPABLE}/{name}"] = capability
    links = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}
    owned = {"home/user": USER, "run/user": USER}
    Path(path).write_bytes(make_archive(IMAGE, directories, files, links, owned, capabilities))


def run_engine(node: Node, number: int, ask: Ask, podman: Path, buildah: Path, programs: str = CAPABLE) -> str:
    """What the inner container printed, `first second` when all works; else the last lines of what the engines said.

    *programs*: directory of newuidmap(1) and newgidmap(1) in the image.
    """
    volumes = [Volume(f"{podman}/usr", "/usr", readonly=True), Volume(f"{buildah}", "/opt/buildah", readonly=True)]
    script = _SCRIPT.format(build=_BUILD, run=_RUN, programs=programs)
    return run_pod(node, number, ask, volumes, ("/busybox", "sh", "-c", f"({script}); /busybox echo $? > /out/status"))


def run_systemd(node: Node, number: int, ask: Ask, systemd: Path, handler: str, timeout: float = 20) -> str:
    """State of systemd as process 1 of a Pod when it has started multi-user.target; else its last messages."""
    volumes = [Volume(f"{systemd}/usr", "/usr", readonly=True)]
    for name in ("run", "tmp"):
        volumes.append(Volume(node.path(name), f"/{name}"))
        os.mkdir(volumes[-1].host_path)
    # Of all places for messages, only the kernel's log is opened without asking whether it is a terminal.
    script = (
        "/busybox touch /out/log /etc/.updated /var/.updated; /busybox ln -s /out/log /dev/kmsg; "
        f"for unit in {' '.join(_MASKED_UNITS)}; do /busybox ln -s /dev/null /etc/systemd/system/$unit; done; "
        "/busybox mkdir /etc/systemd/system/multi-user.target.wants; "
        "/busybox ln -s ../booted.service /etc/systemd/system/multi-user.target.wants; "
        "container=docker exec /usr/lib/systemd/systemd --unit=multi-user.target --log-target=kmsg"
    )
    return run_pod(node, number, ask, volumes, ("/busybox", "sh", "-c", script), handler, timeout)


def run_pod(
    node: Node,
    number: int,
    ask: Ask,
    volumes: Sequence[Volume],
    command: Sequence[str],
    handler: str = "",
    timeout: float = 90,
) -> str:
    """What a new Pod wrote into /out/result, else into /out/log; or why the runtime refused it."""
    home, first = node.path("pod"), FIRST + number * cri.LENGTH
    for name in ("out", "store"):
        os.makedirs(f"{home}/{name}")
        os.chown(f"{home}/{name}", ask.user, ask.user)
    own = [Volume(f"{home}/{name}", f"/{name}") for name in ("out", "store")]
    config = cri.sandbox_config(f"nested-{number}", f"00000000-0000-4000-8000-{number:012}", "userns-probe-test", first)
    with cri.connected(node.endpoint) as client:
        sandbox = ""
        try:
            sandbox = client.run_sandbox(config, handler)
            client.run_container(sandbox, _container(command, [*own, *volumes], first, ask), config)
            return _result(f"{home}/out", timeout)
        except RefusedError as refusal:
            return str(refusal)
        finally:
            if sandbox:
                with suppress(RefusedError):  # what has ended meanwhile; the rest goes with the node
                    client.remove_sandbox(sandbox)


def _result(directory: str, timeout: float) -> str:
    until = time.monotonic() + timeout
    while not _has_ended(directory) and time.monotonic() < until:
        time.sleep(0.02)
    for name in ("result", "log"):
        with suppress(FileNotFoundError):
            if text := Path(directory, name).read_text(errors="replace").strip():
                return text[-1000:]
    return "nothing was said"


def _has_ended(directory: str) -> bool:
    if any(os.path.exists(f"{directory}/{name}") for name in ("status", "done")):
        return True
    with suppress(FileNotFoundError):
        return any(words in Path(directory, "log").read_text(errors="replace") for words in _ENDED)
    return False


def _container(command: Sequence[str], volumes: Sequence[Volume], first: int, ask: Ask) -> bytes:
    """ContainerConfig with the security context that the kubelet makes of what the Pod asks for."""
    security = field(1, b"".join(field(1, name) for name in ask.capabilities))
    security += field(3, cri.namespaces(first)) + field(5, field(1, ask.user)) + field(12, field(1, ask.user))
    security += field(15, field(1, 1)) + field(16, field(1, 1))  # seccomp and AppArmor: Unconfined
    if not ask.unmasked:
        security += b"".join(field(13, path) for path in MASKED) + b"".join(field(14, path) for path in READ_ONLY)
    return cri.container_config("engine", IMAGE, command, volumes, first, security)
