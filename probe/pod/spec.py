"""The fields of a Pod's spec that bear upon its user namespace, as the API spells them; all others are ignored.

*Source*: Kubernetes API, core/v1. Each may be null, as in the API. `gc=False`: no decoded object is part of a cycle.
"""

from __future__ import annotations

from msgspec import Struct, field


class VolumeSource(Struct, frozen=True, rename="camel", gc=False):
    """A volume of which only the type counts, and the file system where one is named."""

    fs_type: str | None = None


class HostPath(Struct, frozen=True, gc=False):
    """`hostPath`, and `local` of a PersistentVolume."""

    path: str
    type: str | None = None


class EmptyDir(Struct, frozen=True, gc=False):
    """`emptyDir`."""

    medium: str | None = None


class CsiVolume(Struct, frozen=True, rename="camel", gc=False):
    """`csi`, in a Pod and in a PersistentVolume."""

    driver: str
    fs_type: str | None = None
    volume_attributes: dict[str, str] | None = None


class FlexVolume(Struct, frozen=True, rename="camel", gc=False):
    """`flexVolume`."""

    driver: str
    fs_type: str | None = None


class ClaimReference(Struct, frozen=True, rename="camel", gc=False):
    """`persistentVolumeClaim` of a Pod."""

    claim_name: str


class ClaimSpec(Struct, frozen=True, rename="camel", gc=False):
    """Spec of a PersistentVolumeClaim."""

    storage_class_name: str | None = None
    volume_name: str | None = None
    volume_mode: str | None = None
    access_modes: tuple[str, ...] | None = None


class ClaimTemplate(Struct, frozen=True, gc=False):
    """Template of the claim that comes and goes with a Pod."""

    spec: ClaimSpec


class Ephemeral(Struct, frozen=True, rename="camel", gc=False):
    """`ephemeral`."""

    volume_claim_template: ClaimTemplate | None = None


class VolumeSources(Struct, frozen=True, rename="camel", gc=False):
    """Types that Pods and PersistentVolumes share; one of them is set."""

    host_path: HostPath | None = None
    csi: CsiVolume | None = None
    nfs: VolumeSource | None = None
    iscsi: VolumeSource | None = None
    fc: VolumeSource | None = None
    flex_volume: FlexVolume | None = None
    aws_elastic_block_store: VolumeSource | None = None
    azure_disk: VolumeSource | None = None
    azure_file: VolumeSource | None = None
    cephfs: VolumeSource | None = None
    cinder: VolumeSource | None = None
    flocker: VolumeSource | None = None
    gce_persistent_disk: VolumeSource | None = None
    glusterfs: VolumeSource | None = None
    photon_persistent_disk: VolumeSource | None = None
    portworx_volume: VolumeSource | None = None
    quobyte: VolumeSource | None = None
    rbd: VolumeSource | None = None
    scale_io: VolumeSource | None = field(name="scaleIO", default=None)
    storageos: VolumeSource | None = None
    vsphere_volume: VolumeSource | None = None


class Volume(VolumeSources, frozen=True, kw_only=True, rename="camel", gc=False):
    """A volume of a Pod."""

    name: str
    empty_dir: EmptyDir | None = None
    config_map: VolumeSource | None = None
    secret: VolumeSource | None = None
    projected: VolumeSource | None = None
    downward_api: VolumeSource | None = field(name="downwardAPI", default=None)
    persistent_volume_claim: ClaimReference | None = None
    ephemeral: Ephemeral | None = None
    image: VolumeSource | None = None
    git_repo: VolumeSource | None = None


class PersistentVolumeSpec(VolumeSources, frozen=True, kw_only=True, rename="camel", gc=False):
    """Spec of a PersistentVolume."""

    local: HostPath | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    access_modes: tuple[str, ...] | None = None


class VolumeMount(Struct, frozen=True, rename="camel", gc=False):
    """A volume in a container."""

    name: str
    mount_path: str = ""
    read_only: bool | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None
    mount_propagation: str | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """Capabilities in addition to the runtime's default ones."""

    add: tuple[str, ...] | None = None


class SecurityContext(Struct, frozen=True, rename="camel", gc=False):
    """Of a container."""

    privileged: bool | None = None
    proc_mount: str | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    capabilities: Capabilities | None = None


class PodSecurityContext(Struct, frozen=True, rename="camel", gc=False):
    """Of a Pod."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] | None = None


class Named(Struct, frozen=True, gc=False):
    """Anything of which only the name counts: a claim of a container, a device, an operating system."""

    name: str


class Resources(Struct, frozen=True, gc=False):
    """Of a container; quantities may be numbers."""

    limits: dict[str, str | int | float] | None = None
    requests: dict[str, str | int | float] | None = None
    claims: tuple[Named, ...] | None = None


class Container(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A container of any kind."""

    name: str = ""
    security_context: SecurityContext | None = None
    resources: Resources | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None
    volume_devices: tuple[Named, ...] | None = None


class Requirement(Struct, frozen=True, gc=False):
    """A node selector requirement."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class Term(Struct, frozen=True, rename="camel", gc=False):
    """A node selector term; its requirements are ANDed."""

    match_expressions: tuple[Requirement, ...] | None = None
    match_fields: tuple[Requirement, ...] | None = None


class Required(Struct, frozen=True, rename="camel", gc=False):
    """A node selector; its terms are ORed."""

    node_selector_terms: tuple[Term, ...] | None = None


class NodeAffinity(
    Struct, frozen=True, rename={"required": "requiredDuringSchedulingIgnoredDuringExecution"}, gc=False
):
    """Node affinity, without preferences."""

    required: Required | None = None


class Affinity(Struct, frozen=True, rename="camel", gc=False):
    """Affinity to nodes."""

    node_affinity: NodeAffinity | None = None


class PodSpec(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Spec of a Pod."""

    host_users: bool | None = None
    host_network: bool | None = None
    host_pid: bool | None = field(name="hostPID", default=None)
    host_ipc: bool | None = field(name="hostIPC", default=None)
    os: Named | None = None
    runtime_class_name: str | None = None
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    security_context: PodSecurityContext | None = None
    init_containers: tuple[Container, ...] | None = None
    containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    resource_claims: tuple[Named, ...] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
