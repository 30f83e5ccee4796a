"""Types of the Pod question: the Pod as it is judged, the node that it is judged for, and the Judgement."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from probe.devices import DeviceKind
from probe.pod.spec import PersistentVolumeSpec, PodSpec
from probe.report import FilesystemRow, VolumeRow
from probe.terms import Level, Status
from probe.verdict import Verdict

Outcome = Literal["runs", "fails", "unknown", "refused"]
"""Outcomes of a Pod. `refused`: by the API server; `fails`: on the node, where it stays Pending or ends."""
WORST_FIRST: tuple[Outcome, ...] = ("refused", "fails", "unknown", "runs")

Origin = Literal["tried", "kernel-and-driver", "rule", "unknown"]
"""Basis of a Reason.

`tried`: on this node; `kernel-and-driver`: by tables of kernels and drivers, not tried; `rule`: by the specification of
Kubernetes and the node's settings, for which nothing needs to be tried; `unknown`: nothing.
"""


class Claim(Struct, frozen=True, kw_only=True):
    """The facts of a PersistentVolumeClaim, or of those of one StorageClass."""

    block: bool = False
    """volumeMode: Block."""
    shared: bool | None = None
    """Whether many nodes may write it (ReadWriteMany); None: not known."""
    volume_name: str = ""
    """Name of its PersistentVolume, which the kubelet also gives the directory of its mount."""
    volume: PersistentVolumeSpec | None = None
    unclaimed: tuple[str, ...] = ()
    """PersistentVolumes of its class that no claim has, of which it may get one; empty for a bound claim."""
    provisioner: str = ""
    """Of its StorageClass."""
    fstype: str = ""
    """Of its StorageClass's parameters."""


class Pod(Struct, frozen=True, kw_only=True):
    """A Pod, or the template of one, with what is known of the objects that it names."""

    spec: PodSpec
    path: str = "spec"
    """Field path of the spec in its object: `spec.template.spec` in a Deployment."""
    name: str = ""
    """Of a Pod, after which the claims of its ephemeral volumes are called; empty for a template."""
    uid: str = ""
    """Of a Pod that the API server has admitted: its volumes are complete, a token's among them."""
    assume: bool = False
    """Judge it as if it said `hostUsers: false` where it does not say anything."""
    handler: str | None = None
    """Handler of its RuntimeClass; None: not known, which does not matter without `runtimeClassName`."""
    class_selector: dict[str, str] | None = None
    """`scheduling.nodeSelector` of its RuntimeClass, which the API server adds to its own."""
    token: bool | None = None
    """The field automountServiceAccountToken of its ServiceAccount; None: not set, or not known."""
    devices: dict[str, str] = field(default_factory=dict)
    """Annotation (`cdi.k8s.io/...`) -> the CDI devices that it names; empty: not known."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Name of a PersistentVolumeClaim of its namespace -> what is known of it."""
    classes: dict[str, Claim] = field(default_factory=dict)
    """Name of a StorageClass -> what its claims will be; the empty name is the default class."""
    templates: dict[str, Claim | None] = field(default_factory=dict)
    """Name of a volumeClaimTemplate, in their order -> what is known of its claims; None: it is malformed."""
    complete: bool = True
    """Whether nothing adds volumes or containers; False for a kind of another API, and with malformed templates."""


class Answer(Struct, frozen=True, kw_only=True):
    """A node's answer for one level of Pods."""

    verdict: Verdict
    reason: str = ""
    message: str = ""
    remediation: str = ""


class Hazard(Struct, frozen=True, kw_only=True):
    """The outcome of a check that bears upon some Pods only."""

    status: Status
    message: str = ""
    remediation: str = ""


class HostNetwork(Struct, frozen=True, kw_only=True):
    """A handler's answers for hostNetwork together with a user namespace."""

    claimed: bool | None = None
    """Answer of CRI; None: none, or not known."""
    supported: bool | None = None
    """By the release of the container runtime; None: not known."""


class Node(Struct, frozen=True, kw_only=True):
    """The facts of a node, from any source; empty and None: not known. See probe.pod.node for its makers."""

    told_by: Literal["probe", "report", "annotations"]
    name: str = ""
    os: str = ""
    architecture: str = ""
    """As Kubernetes spells them: `linux`, `amd64`; empty for a virtual kubelet, which may stand for any."""
    handlers: dict[str, dict[Level, Answer]] = field(default_factory=dict)
    """Handler -> its levels, without `volumes`; the default handler has the empty name."""
    handlers_complete: bool = False
    """Whether a handler that is not among them does not exist."""
    oci_runtimes: dict[str, str] = field(default_factory=dict)
    """Handler -> `runc`, `crun`."""
    kernel_release: str = ""
    kubelet_version: str = ""
    runtime_name: str = ""
    runtime_version: str = ""
    ids_per_pod: int | None = None
    declared_features: tuple[str, ...] | None = None
    """`.status.declaredFeatures`; None: not known."""
    host_network: dict[str, HostNetwork] = field(default_factory=dict)
    """Handler -> its hostNetwork."""
    volumes: tuple[VolumeRow, ...] = ()
    """Attempts with volumes mounted there, by driver."""
    mounts: dict[str, FilesystemRow] = field(default_factory=dict)
    """Path of a hostPath -> what was tried there."""
    above: dict[str, FilesystemRow] = field(default_factory=dict)
    """Path of a hostPath that does not exist -> the directory above it that does, and what was tried there."""
    file_types: dict[str, int] = field(default_factory=dict)
    """Path of a hostPath -> S_IFMT of its mode, symlinks followed (inode(7))."""
    mounted: dict[tuple[str, str], list[FilesystemRow]] = field(default_factory=dict)
    """Plugin, as the kubelet's directory spells it (`kubernetes.io~csi`), and name of a PersistentVolume that is
    mounted there -> what was tried of it."""
    devices: tuple[DeviceKind, ...] | None = None
    """Kinds of devices; None: not known."""
    hazards: dict[str, Hazard] = field(default_factory=dict)
    """Id of a check `hazard-*` -> its outcome."""


class Reason(Struct, frozen=True, kw_only=True):
    """The consequence of one field of a Pod on that node."""

    field: str
    """`spec.volumes[2].nfs`."""
    outcome: Outcome
    source: Origin
    reason: str
    """CamelCase, from a closed list."""
    message: str
    remediation: str = ""
    """Change in the Pod or on the node; empty when none is needed."""


class Note(Struct, frozen=True, kw_only=True):
    """The meaning of a field with a user namespace, where it does not decide whether the Pod runs."""

    field: str
    message: str


class Judgement(Struct, frozen=True, kw_only=True):
    """The fate of a Pod on a node."""

    outcome: Outcome
    asks: bool
    """It sets `hostUsers: false`; without, and without being judged as if it did, it needs nothing that is judged."""
    level: Level | None
    """The level that it needs; None without a user namespace."""
    source: Origin
    """Of the reasons of that outcome, the weakest."""
    reasons: tuple[Reason, ...]
    """The worst first, then in the order of the spec; what runs has its reasons, too."""
    notes: tuple[Note, ...]


POD_LEVELS: tuple[Level, ...] = ("stateless", "projected", "local")
"""Levels of the node; what its volumes can do is judged for each volume."""
