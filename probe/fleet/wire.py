"""Objects of the Kubernetes API, of each only the fields that the inventory needs; all others are skipped unread."""

from __future__ import annotations

from msgspec import Struct, field

from probe.pod.spec import PersistentVolumeSpec, PodSpec, Required


class Owner(Struct, rename="camel", gc=False):
    """An owner reference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    controller: bool | None = None


class Meta(Struct, rename="camel", gc=False):
    """Metadata of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Owned(Struct, rename="camel", gc=False):
    """Metadata of an object whose owners alone count."""

    uid: str = ""
    owner_references: list[Owner] | None = None


class OwnedObject(Struct, gc=False):
    """A ReplicaSet or Job."""

    metadata: Owned


class Object(Struct, gc=False):
    """Any object, of which the metadata counts."""

    metadata: Meta


class TemplateHash(Struct, rename={"pod_template_hash": "pod-template-hash"}, gc=False):
    """Labels of a Pod that name its controller."""

    pod_template_hash: str = ""


class PodMeta(Struct, rename="camel", gc=False):
    """Metadata of a Pod."""

    name: str = ""
    namespace: str = ""
    labels: TemplateHash | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Toleration(Struct, frozen=True, gc=False):
    """A toleration."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class Spec(PodSpec, frozen=True, kw_only=True, rename="camel", gc=False):
    """Spec of a Pod: the fields that the Pod question asks for, and those that say where it may run."""

    node_name: str = ""
    tolerations: tuple[Toleration, ...] | None = None


class PodStatus(Struct, gc=False):
    """Status of a Pod."""

    phase: str = ""


class Pod(Struct, gc=False):
    """A Pod."""

    metadata: PodMeta
    spec: Spec
    status: PodStatus | None = None


class ClaimRef(Struct, gc=False):
    """The claim of a PersistentVolume."""

    name: str = ""
    namespace: str = ""


class VolumeAffinity(Struct, frozen=True):
    """The nodes on which a PersistentVolume can be mounted."""

    required: Required | None = None


class VolumeSpec(PersistentVolumeSpec, frozen=True, kw_only=True, rename="camel"):
    """Spec of a PersistentVolume, its claim and its nodes."""

    claim_ref: ClaimRef | None = None
    node_affinity: VolumeAffinity | None = None


class PersistentVolume(Struct):
    """A PersistentVolume."""

    spec: VolumeSpec
    metadata: Meta = field(default_factory=Meta)


class RuntimeClass(Struct):
    """A RuntimeClass."""

    metadata: Meta
    handler: str = ""


class Version(Struct, rename="camel"):
    """Answer of /version."""

    git_version: str = ""


class StorageClass(Struct):
    """A StorageClass."""

    metadata: Meta
    provisioner: str = ""
    parameters: dict[str, str] | None = None
