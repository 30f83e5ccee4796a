"""Facts of a node: what was tried on it, and how each attempt ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar, get_args

from msgspec import Struct

from probe.host import oci_trial, pod_trial
from probe.host.nested.trial import NestedAnswer
from probe.reading import ProblemKind, Reading
from probe.terms import Role, Usable

R = TypeVar("R", bound=str)

RUNTIME_TRIAL, POD_TRIAL = oci_trial.SOURCE, pod_trial.SOURCE
"""Sources of the results of trials on request."""

Doubt = Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"]
"""Kind of problem of an unknown result; empty for other results."""


def doubt_of(kind: ProblemKind | None) -> Literal["not-permitted", "timed-out", "not-readable", "not-tried"]:
    """Kind of an unknown result that depends on a reading of that *kind*: what is absent could not be read either."""
    return "not-readable" if kind is None or kind == "absent" else kind


class Tried(Struct, Generic[R], frozen=True, kw_only=True):
    """The end of one thing that was tried."""

    result: R
    reason: str = ""
    """Half a sentence: why it did not work, or why that is unknown."""
    kind: Doubt = ""
    errno: str = ""
    """The name of the error that decided (`EINVAL`), or empty."""


Answered = Literal["supported", "refused", "unknown"]
"""The kernel's answer to an attempt."""


class NamespaceAttempt(Tried[Answered], frozen=True, kw_only=True):
    """One live user namespace with a full map, as the runtime makes it for a Pod."""

    step: str
    """Last step: `unshare`, `uid_map`, `gid_map`, `read back`, or `done`."""
    map: str
    """The line written to uid_map, as user_namespaces(7) spells it: inside, outside, count."""


SHOWN_BELOW = 20


class Attempt(Tried[Answered], frozen=True, kw_only=True):
    """Result of an attempt at an idmapped mount of one file system."""

    role: Role
    path: str
    fstype: str
    device: str
    """`major:minor` from mountinfo; empty for a file system that only the probe mounted."""
    step: str
    """The call that decided: `open_tree`, `mount_setattr`, `fstat`, …"""
    usable: Usable | None
    """None when the result is unknown."""
    mounts_below: int
    below: tuple[str, ...] = ()
    """Mount points below a path that the user named; of more than SHOWN_BELOW the first."""
    mount_read_only: bool = False
    """Whether the mount is read-only, and not only its superblock: the kernel locks that in a user namespace."""
    owner: tuple[int, int] | None = None
    """Owner of the file system's root before and through the mapping; only where the probe may ask."""
    plugin: str = ""
    """Of a volume: the CSI driver or the in-tree plugin (`kubernetes.io~csi`)."""
    file_type: int = 0
    """Of a path that the user named: S_IFMT of its mode, symlinks followed (inode(7)); 0 where it is not known."""


def attempt_of(attempts: Sequence[Attempt], role: Role) -> Attempt | None:
    """The first attempt of that role; None where there was none."""
    return next((attempt for attempt in attempts if attempt.role == role), None)


StepRole = Literal["required", "informational", "control"]
"""`required`: no Pod with a user namespace starts without it; `control`: must be refused, else nothing is proven."""
StepResult = Literal["passed", "failed", "unknown", "skipped", "not-tried"]
"""`skipped`: the kernel does not know it now; `not-tried`: an earlier step stood in the way."""


class SandboxStep(Tried[StepResult], frozen=True, kw_only=True):
    """One thing that a runtime does for a sandbox; *reason* is what the step is for, or what its error means."""

    name: str
    role: StepRole
    seconds: float


class SandboxFacts(Struct, frozen=True, kw_only=True):
    """The whole trial: every step, in the order in which they were taken."""

    steps: tuple[SandboxStep, ...]
    seconds: float
    nested: NestedAnswer | None = None
    """Raw result of the trial of nested containers; None when it gave none."""

    def step(self, name: str) -> SandboxStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


StepName = Literal["create", "maps", "idmapped binds", "owners", "delete"]
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)
Blame = Literal["", "tmpfs", "kubelet root", "mappings of mounts", "user namespace"]
"""Part of the container that the runtime refused, in the order of BUNDLES: without it, the container was created."""


class TrialStep(Tried[StepResult], frozen=True, kw_only=True):
    """One step of the trial of an OCI runtime; *reason* is what was seen, or why nothing was."""

    name: StepName
    said: str = ""
    """The runtime's own words, where it refused."""
    seconds: float = 0.0


class RuntimeTrialFacts(Struct, frozen=True, kw_only=True):
    """The whole trial: every step, in the order in which they were taken."""

    binary: str
    steps: tuple[TrialStep, ...]
    blame: Blame = ""
    seconds: float

    def step(self, name: StepName) -> TrialStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


NOT_ASKED: Reading[RuntimeTrialFacts] = Reading.without("--try-runtime", "not-tried", "not asked for")
"""The reading of a probe that was not asked to try the runtime."""

PodResult = Literal["runs", "refused", "unknown"]
"""`refused`: it fails or is ignored with a user namespace alone, while the same without one runs."""
PodMount = Literal["kubelet-root", "tmpfs"]


class HandlerTrial(Tried[PodResult], frozen=True, kw_only=True):
    """Result of the trial Pod with one handler."""

    handler: str
    step: str = ""
    """The call of CRI that failed, or what was looked at."""
    said: str = ""
    """The runtime's own words, where it refused."""
    control: Literal["", "runs", "fails", "unknown"] = ""
    """Result of the control, the same Pod without a user namespace; empty if not needed."""
    mounts: tuple[PodMount, ...] = ()
    """Idmapped mounts of the running Pod."""
    refused_mount: PodMount | Literal[""] = ""
    """The one mount without which the Pod would run."""
    seconds: float = 0.0
    """Of all calls of CRI for this handler."""


class PodTrialFacts(Struct, frozen=True, kw_only=True):
    """The whole trial."""

    handlers: tuple[HandlerTrial, ...]
    left: str = ""
    """Reason why a part of the trial was not removed."""
    seconds: float
    identity: str = ""
    """Digest of what the Pods met; empty where no later probe may take this trial for its own."""
    kept: bool = False
    """True for the trial of an earlier probe, since when nothing of all that has changed."""

    def of(self, handler: str) -> HandlerTrial | None:
        """The trial of that handler; None when it was not tried."""
        return next((one for one in self.handlers if one.handler == handler), None)


POD_NOT_ASKED: Reading[PodTrialFacts] = Reading.without("--try-pod", "not-tried", "not asked for")
"""The reading of a probe that was not asked to make a Pod."""
