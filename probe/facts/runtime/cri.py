"""Child process that sends the CRI requests, in parallel to all other gathering.

It is the first that a probe starts: it imports h2 and protobuf while all others import and look around. Its
answer has paths that tell where the runtime keeps images.
"""

from __future__ import annotations

import re
import time

import msgspec

from probe.facts.model import KubeletFacts
from probe.host.background import BackgroundChild
from probe.host.child import ChildError
from probe.host.cri import CriAnswer
from probe.host.cri_call import ANSWER_LIMIT, TIMEOUT, cri_child
from probe.host.host import Host
from probe.host.namespaces import enter_node
from probe.reading import Reading
from probe.settings import Settings

_SNAPSHOTTER = re.compile(r"(/.+)/io\.containerd\.snapshotter\.v1\.([^/]+)")
STORAGE = re.compile(r"(/.+)/([^/]+)-images")

_ANSWER_TIMEOUT = 5.0

USUAL_SOCKETS = (
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/cri-dockerd.sock",
)
"""Default CRI sockets of kubeadm, K3s, k0s and MicroK8s."""


def start_cri(settings: Settings) -> BackgroundChild:
    """Child that enters the node, waits for the socket of the runtime, sends the CRI requests and ends."""
    timeout = TIMEOUT * settings.slowness
    return BackgroundChild(lambda receive: cri_child(receive, lambda: enter_node(settings.proc), timeout))


def cri_answer(cri: BackgroundChild, endpoint: str, deadline: float, slowness: float = 1.0) -> Reading[CriAnswer]:
    """Answer from *endpoint*, which was sent to *cri*, by *deadline* (time.monotonic())."""
    if not endpoint:
        return Reading.without("CRI", "not-tried", "no kubelet names the runtime's socket")
    source = f"CRI {endpoint}"
    try:
        answer = cri.read(min(deadline, time.monotonic() + _ANSWER_TIMEOUT * slowness), limit=ANSWER_LIMIT)
        if not answer:
            raise ChildError("it ended without an answer")
        return Reading(source, msgspec.json.decode(answer, type=CriAnswer))
    except TimeoutError:
        return Reading.without(source, "timed-out", "no answer in time")
    except (ChildError, msgspec.DecodeError) as error:
        return Reading.without(source, "not-readable", f"the process that asks it failed: {error}")


def endpoint_of(host: Host, kubelet: Reading[KubeletFacts]) -> str:
    """The CRI socket that the kubelet names; without a kubelet, as before `kubeadm join`, the only usual one there is.

    Empty when there is none, or more than one: a kubelet to come could use either.
    """
    if kubelet.value:
        return kubelet.value.endpoint.value or ""
    if kubelet.kind != "absent":
        return ""
    found = [path for path in USUAL_SOCKETS if host.status(path).value]
    return found[0] if len(found) == 1 else ""


def parse_root(path: str) -> str:
    """The runtime's root directory, which is part of the path that the CRI call ImageFsInfo returns."""
    found = _SNAPSHOTTER.fullmatch(path) or STORAGE.fullmatch(path)
    return found[1] if found else path


def parse_snapshotter(path: str) -> str:
    """The snapshotter, or CRI-O's storage driver, in the path that the CRI call ImageFsInfo returns.

    *Errors*: ValueError for another path.
    """
    found = _SNAPSHOTTER.fullmatch(path) or STORAGE.fullmatch(path)
    if not found:
        raise ValueError(f"no snapshotter in {path[:100]}")
    return found[2]
