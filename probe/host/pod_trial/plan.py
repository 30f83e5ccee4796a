"""Plan and answer of a Pod trial."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from probe.host.oci_trial.steps import Bind
from probe.reading import Reading

MAP_LENGTH = 65_536
"""IDs of a Pod's user namespace, as a kubelet gives them."""
POD_CGROUP = "userns-probe-pod-trial"
"""The cgroup of the trial's Pods; not that of an OCI runtime trial, which every probe sweeps."""
POD_SLICE = "usernsprobe.slice"
"""The same with the systemd cgroup driver. A slice without a dash has no parents but the root slice."""
HANDLERS_LIMIT = 4
"""Runtime handlers that are tried, the default one first."""

# What says nothing of Pods: nobody answered in time, or not to us.
_NO_REFUSALS = {
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
}
_OUT_OF_TIME = re.compile(r"context (deadline exceeded|canceled)")  # as Go's errors end; their code may be UNKNOWN

_SWEPT = re.compile(rf"{POD_CGROUP}.*no such (file|device)", re.IGNORECASE | re.DOTALL)
"""The trial's own cgroup is gone: a trial of another node on the same machine, which shares its cgroups, removed it."""

Role = Literal["kubelet-root", "tmpfs"]
Method = Literal["RunPodSandbox", "CreateContainer", "StartContainer", "ContainerStatus"]


class PodPlan(Struct, frozen=True, kw_only=True):
    """Plan of the trial."""

    endpoint: str
    """Absolute path of the CRI socket."""
    handlers: tuple[str, ...]
    """Names of runtime handlers; empty for the default one."""
    pause_image: str
    """The image that the runtime would pull if it were missing: then nothing is tried."""
    first_id: int
    """The first of the IDs of the Pod's user namespace, which belong to nobody."""
    pods_directory: str
    """The directory of the Pods below the kubelet's root, without symlinks."""


class Call(Struct, frozen=True, kw_only=True):
    """One call of CRI."""

    method: Method
    code: str = ""
    """Name of the gRPC status; empty for an answer."""
    words: str = ""
    """Error message of the runtime."""
    by_runtime: bool = False
    """True when the runtime itself answered with the error."""
    seconds: float = 0.0

    @property
    def late(self) -> bool:
        """True when the call timed out."""
        return self.code == "DEADLINE_EXCEEDED" or _OUT_OF_TIME.search(self.words) is not None


class TriedPod(Struct, frozen=True, kw_only=True):
    """One Pod and how far it came."""

    handler: str
    user_namespace: bool
    mounts: tuple[Role, ...]
    calls: tuple[Call, ...] = ()
    """In their order; the last one failed unless the container was found running."""
    ended_by_others: bool = False
    """The runtime had the sandbox no more, or it was not ready any more: a kubelet ends what it does not know."""
    uid_map: tuple[int, ...] = ()
    gid_map: tuple[int, ...] = ()
    """Of the container's process, as user_namespaces(7) spells them; empty when it could not be looked at."""
    binds: tuple[Bind, ...] = ()
    unseen: str = ""
    """Reason why the running container could not be inspected."""

    @property
    def failed(self) -> Call | None:
        """The call that got no good answer."""
        return next((call for call in self.calls if call.code), None)

    @property
    def refused(self) -> bool:
        """True when the runtime itself failed to create the Pod, without interference of others."""
        call = self.failed
        if call is None or self.ended_by_others:
            return False
        return call.by_runtime and call.code not in _NO_REFUSALS and not call.late and not _SWEPT.search(call.words)

    @property
    def runs(self) -> bool:
        """True when its container was seen running."""
        return bool(self.calls) and self.calls[-1].method == "ContainerStatus" and not self.failed


class PodAnswer(Struct, frozen=True, kw_only=True):
    """Result of the trial."""

    obstacle: Reading[bool] | None = None
    """Reason why nothing, or nothing more, was tried."""
    pods: tuple[TriedPod, ...] = ()
    """In the order in which they were made."""
    left: str = ""
    """Reason why a part of the trial could not be removed."""
    done: bool = False
    """False when the trial ended before its end."""
    seconds: float = 0.0
