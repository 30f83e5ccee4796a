"""What becomes of real Pods on a node: made by CRI as the kubelet makes them, and looked at from inside.

A Pod of each kind has a user namespace. One container with every volume comes first; only when it fails, each kind is
tried alone, which for a plain one that fails means that all do. A Pod without a user namespace is the control: it tells
a node that runs nothing from one that refuses user namespaces.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from lab.sabotage import cri, images
from lab.sabotage.cri import Client, RefusedError, Volume
from lab.sabotage.fate import FAILS, HANDLERS, KINDS, RUNS, UNUSABLE, Fate, Fates
from lab.sabotage.machine import BIN, CGROUP, SOCKET, Machine

FIRST = 65536 * 1000  # the host's first ID of the first Pod

_FILES = {"token": "token/..data/token", "memory": "memory/mine", "disk": "disk/mine", "configmap": "configmap/key"}
_FILES |= {"hostpath": "hostpath/mine"}
_LOOKED = "looked\n"
_WRITABLE = ("memory", "disk")
_READ_ONLY = ("token", "configmap")  # the kubelet mounts these read-only, whatever the Pod asks for

# The files as a kubelet lays them out. `$1` is the Pod's directory, `$2` a kind.
_VOLUME = """
pod=$1
mkdir -p "$pod/etc" "$pod/volumes" /var/log/pods/sabotage
case $2 in
plain) echo 127.0.0.1 localhost > "$pod/etc/hosts"; : > "$pod/etc/termination" ;;
token | memory)
    mkdir "$pod/volumes/$2"
    mount -t tmpfs -o size=1m,mode=777 tmpfs "$pod/volumes/$2" ;;
disk | configmap) mkdir -m 777 "$pod/volumes/$2" ;;
hostpath) mkdir -p /srv/sabotage; echo content > /srv/sabotage/mine ;;
esac
case $2 in
token | configmap)
    mkdir "$pod/volumes/$2/..2026"
    for key in token key; do
        echo content > "$pod/volumes/$2/..2026/$key"
        ln -s "..data/$key" "$pod/volumes/$2/$key"
    done
    ln -s ..2026 "$pod/volumes/$2/..data" ;;
memory | disk) echo content > "$pod/volumes/$2/mine" ;;
esac
"""


def try_pods(machine: Machine) -> Fates:
    """The fate of every kind of Pod with every handler."""
    with cri.connected(machine.outside(SOCKET)) as client:
        kubelet = _Kubelet(machine, client)
        return {handler: kubelet.fates(handler) for handler in HANDLERS}


def import_images(machine: Machine) -> None:
    """Give containerd the images. *Errors*: OSError."""
    for name in ("pause", "tools"):
        machine.shell(f"{BIN}/ctr -n k8s.io images import --local /opt/images/{name}.tar")


class _Kubelet:
    """Makes Pods, each with IDs of its own."""

    def __init__(self, machine: Machine, client: Client) -> None:
        self._machine = machine
        self._client = client
        self._numbers: Iterator[int] = itertools.count()

    def fates(self, handler: str) -> dict[str, Fate]:
        together = self.run_pod(handler, KINDS)
        if together.runs:
            return dict.fromkeys(KINDS, together)
        control = {"host": self.run_pod(handler, ("plain",), mapped=False)}
        plain = self.run_pod(handler, ("plain",))
        if not plain.runs:  # each other Pod has all of a plain one
            return dict.fromkeys(KINDS, plain) | control
        return {"plain": plain} | {kind: self.run_pod(handler, (kind,)) for kind in KINDS[1:]} | control

    def run_pod(self, handler: str, kinds: Sequence[str], mapped: bool = True) -> Fate:
        """The fate of a new Pod with these volumes, removed afterwards."""
        number = next(self._numbers)
        uid = f"00000000-0000-4000-8000-{number:012}"
        first = FIRST + number * cri.LENGTH if mapped else None
        try:
            volumes = self._volumes(uid, ("plain", *(kind for kind in kinds if kind != "plain")))
        except OSError as error:
            return Fate(FAILS, f"kubelet: {error}")
        config = cri.sandbox_config(f"{handler}-{number}", uid, CGROUP, first)
        sandbox = ""
        try:
            sandbox = self._client.run_sandbox(config, handler)
            command = ["/bin/busybox", "sh", "-c", _inspection(kinds, first)]
            self._client.run_container(
                sandbox, cri.container_config("main", images.TOOLS, command, volumes, first), config
            )
            return self._read_inspection(uid)
        except RefusedError as refusal:
            return Fate(FAILS, str(refusal))
        finally:
            self._remove(sandbox)

    def _volumes(self, uid: str, kinds: Sequence[str]) -> list[Volume]:
        pod = f"{self._machine.kubelet_root}/pods/{uid}"
        calls = "\n".join(f"volume '{pod}' {kind}" for kind in kinds)
        self._machine.shell(f"volume() {{\n{_VOLUME}\n}}\n{calls}")
        made = [Volume(f"{pod}/etc/hosts", "/etc/hosts"), Volume(f"{pod}/etc/termination", "/dev/termination-log")]
        for kind in kinds:
            if kind != "plain":
                source = "/srv/sabotage" if kind == "hostpath" else f"{pod}/volumes/{kind}"
                made.append(Volume(source, f"/{kind}", kind in _READ_ONLY))
        return made

    def _read_inspection(self, uid: str, timeout: float = 8) -> Fate:
        """What the container wrote into its termination log, which needs no further process as `exec` does."""
        path = self._machine.outside(f"{self._machine.kubelet_root}/pods/{uid}/etc/termination")
        until, text = time.monotonic() + timeout, ""
        while not text.endswith(_LOOKED):
            if time.monotonic() > until:
                return Fate(UNUSABLE, f"nothing more in its termination log after {timeout:g} s: {text}")
            time.sleep(0.01)
            with open(path) as file:
                text = file.read()
        problems = text.removesuffix(_LOOKED).strip()
        return Fate(UNUSABLE, "; ".join(problems.splitlines())) if problems else Fate(RUNS)

    def _remove(self, sandbox: str) -> None:
        if not sandbox:
            return
        with suppress(RefusedError):  # it goes with the node
            self._client.remove_sandbox(sandbox)


def _inspection(kinds: Sequence[str], first: int | None) -> str:
    """A script that looks from inside whether owners, content and the user namespace are right, and stays."""
    lines = ["exec > /dev/termination-log 2>&1", "set -- $(cat /proc/self/uid_map)"]
    lines += [f'[ "$2" = {first or 0} ] || echo "uid_map is $*"']
    for path in ("etc/hosts", *(_FILES[kind] for kind in kinds if kind != "plain")):
        lines.append(f'[ "$(stat -L -c %u:%g /{path})" = 0:0 ] || echo owner of {path}')
    for kind in kinds:
        if kind != "plain":
            lines.append(f'[ "$(cat /{_FILES[kind]})" = content ] || echo content of {kind}')
    lines += [f"echo x > /{kind}/new || echo cannot write to {kind}" for kind in kinds if kind in _WRITABLE]
    lines += ["echo x > /home/new || echo cannot write to the root file system"]
    lines += ["echo x > /dev/null || echo no /dev/null", f"echo {_LOOKED.strip()}", "exec /bin/busybox sleep 3600"]
    return "\n".join(lines)
