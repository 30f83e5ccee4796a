"""Feature gates of Kubernetes that bear upon Pods with a user namespace, by version."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Version = tuple[int, int]
StageName = Literal["alpha", "beta", "stable"]

KNOWN_TO: Version = (1, 37)
"""The newest version of Kubernetes that the rows tell of."""


class Stage(Struct, frozen=True):
    """A stage of a gate, from one minor version until the next one of its stages."""

    since: Version
    stage: StageName
    default: bool | None
    """Whether the gate is on where nobody sets it; None: not known."""
    source: str
    locked: bool = False
    """Whether nobody can set it."""


class Gate(Struct, frozen=True, kw_only=True):
    """A feature gate."""

    name: str
    about: str
    """What it does for Pods with a user namespace."""
    stages: tuple[Stage, ...]
    gone: Version | None = None
    """The first version without it."""

    def at(self, version: Version) -> Stage | None:
        """Its stage in *version*; None where that version does not have it."""
        if self.gone is not None and version >= self.gone:
            return None
        return next((stage for stage in reversed(self.stages) if stage.since <= version), None)

    def default_on(self) -> Version | None:
        """The first version in which it is on by default."""
        return next((stage.since for stage in self.stages if stage.default), None)


def _gate(name: str, kep: str, about: str, *stages: tuple[int, StageName, bool | None], gone: int = 0) -> Gate:
    """A gate whose stages are all in the `kep.yaml` of its KEP, and that is locked as soon as it is stable."""
    rows = tuple(
        Stage((1, minor), stage, default, f"{kep}, kep.yaml", locked=stage == "stable")
        for minor, stage, default in stages
    )
    return Gate(name=name, about=about, stages=rows, gone=(1, gone) if gone else None)


STATELESS = Gate(
    name="UserNamespacesStatelessPodsSupport",
    about="hostUsers: false for Pods without volumes",
    stages=(Stage((1, 25), "alpha", False, "KEP-127"),),
    gone=(1, 28),
)
SUPPORT = Gate(
    name="UserNamespacesSupport",
    about="hostUsers: false",
    stages=(
        Stage((1, 28), "alpha", False, "KEP-127, renamed in 1.28"),
        Stage((1, 30), "beta", False, "KEP-127: from 1.30 on CRI is asked first"),
        Stage((1, 33), "beta", True, "KEP-127, on by default in 1.33"),
        Stage((1, 36), "stable", True, "KEP-127, stable and locked in 1.36", locked=True),
    ),
)
POD_SECURITY = _gate(
    "UserNamespacesPodSecurityStandards",
    "KEP-127",
    "Pod Security requires less of Pods with a user namespace; from 1.35 on the version of the policy decides",
    (29, "alpha", False),
    gone=35,
)
PROC_MOUNT = _gate(
    "ProcMountType",
    "KEP-4265",
    "procMount: Unmasked, which needs a user namespace; the API server drops the field where it is off",
    (12, "alpha", False),
    (31, "beta", False),
    (33, "beta", True),
    (36, "stable", True),
)
HOST_NETWORK = _gate(
    "UserNamespacesHostNetworkSupport",
    "KEP-5607",
    "hostNetwork: true with a user namespace, which the API server otherwise refuses",
    (35, "alpha", False),
)
IMAGE_VOLUME = _gate(
    "ImageVolume",
    "KEP-4639",
    "volumes of type image",
    (31, "alpha", False),
    (33, "beta", False),
    (35, "beta", True),
    (36, "stable", True),
)
GATES: tuple[Gate, ...] = (
    STATELESS,
    SUPPORT,
    POD_SECURITY,
    PROC_MOUNT,
    HOST_NETWORK,
    _gate(
        "NodeDeclaredFeatures",
        "KEP-5328",
        "nodes declare features in .status; of user namespaces only the one with hostNetwork",
        (35, "alpha", False),
        (36, "beta", True),
        (37, "stable", True),
    ),
    _gate(
        "KubeletInUserNamespace",
        "KEP-2033",
        "a kubelet that runs in a user namespace itself",
        (22, "alpha", False),
        (37, "beta", True),
    ),
    IMAGE_VOLUME,
    _gate(
        "SupplementalGroupsPolicy",
        "KEP-3619",
        "supplementalGroupsPolicy; the groups are the Pod's own",
        (31, "alpha", False),
        (33, "beta", True),
        (35, "stable", True),
    ),
    _gate(
        "InPlacePodVerticalScaling",
        "KEP-1287",
        "resize in place; no interaction is known",
        (27, "alpha", False),
        (33, "beta", True),
        (35, "stable", True),
    ),
    Gate(
        name="DynamicResourceAllocation",
        about="devices by claims, which reach containers through CDI",
        stages=(
            Stage((1, 26), "alpha", False, "KEP-3063"),
            Stage((1, 30), "alpha", False, "KEP-4381, which replaced KEP-3063"),
            Stage((1, 32), "beta", False, "KEP-4381, kep.yaml"),
            Stage((1, 34), "stable", True, "KEP-4381; pkg/features/kube_features.go, not locked"),
            Stage((1, 35), "stable", True, "KEP-4381; pkg/features/kube_features.go, locked in 1.35", locked=True),
        ),
    ),
    _gate(
        "DevicePluginCDIDevices",
        "KEP-4009",
        "device plugins that name CDI devices",
        (28, "alpha", False),
        (29, "beta", True),
        (31, "stable", True),
    ),
    _gate("VolumeBindMountOptions", "KEP-5855", "mount options of volumes", (37, "alpha", False)),
    _gate(
        "AtomicWriteVolumeUserFields", "KEP-5936", "owners in volumes, which are the Pod's IDs", (37, "alpha", False)
    ),
    _gate("CgroupOptions", "KEP-5474", "a writable cgroup; planned for 1.38", (38, "alpha", False)),
    _gate(
        "ContainerUlimits",
        "KEP-5758",
        "limits of containers; nproc counts for each Pod; planned for 1.38",
        (38, "alpha", False),
    ),
    _gate(
        "PodLevelCheckpointRestore",
        "KEP-5823",
        "checkpoints; says nothing of user namespaces; planned for 1.38",
        (38, "alpha", False),
    ),
)
"""Every gate that is known to bear upon them, those of user namespaces first.

Held against the feature gates of Kubernetes 1.37: kubernetes/website, content/en/docs/reference.
"""
