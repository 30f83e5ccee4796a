"""Facts of a Pod from other objects in the same manifests: its volumes, its runtime handler, its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from probe.pod.model import Claim
from probe.pod.sources import sources_of
from probe.pod.spec import ClaimSpec, PersistentVolumeSpec
from probe.tables.drivers import says_nfs

T = TypeVar("T")

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_FSTYPE = frozenset(("csi.storage.k8s.io/fstype", "fstype"))
"""Parameters of a StorageClass that name a file system, in lower case: external-provisioner takes `fsType`, too."""
_ONE_NODE = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


class _StorageClass(Struct):
    provisioner: str
    parameters: dict[str, str] | None = None


class _Scheduling(Struct, rename="camel"):
    node_selector: dict[str, str] | None = None


class RuntimeClass(Struct):
    """A RuntimeClass."""

    handler: str
    scheduling: _Scheduling | None = None

    @property
    def selector(self) -> dict[str, str] | None:
        """What it adds to the nodeSelector of its Pods."""
        return self.scheduling.node_selector if self.scheduling else None


class _ServiceAccount(Struct, rename="camel"):
    automount_service_account_token: bool | None = None


class Context(Struct, kw_only=True):
    """Objects that Pods name. A malformed one counts as not given."""

    _claims: dict[tuple[str, str], ClaimSpec] = field(default_factory=dict)
    _volumes: dict[str, PersistentVolumeSpec] = field(default_factory=dict)
    _unclaimed: dict[str, list[str]] = field(default_factory=dict)
    """Name of a StorageClass, empty for none -> PersistentVolumes of it without `claimRef`."""
    _reserved: dict[tuple[str, str], str] = field(default_factory=dict)
    """Claim that the `claimRef` of a PersistentVolume names -> that volume; also without the claim's namespace."""
    _classes: dict[str, _StorageClass] = field(default_factory=dict)
    _default_class: str = ""
    _runtimes: dict[str, RuntimeClass] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    _resolved: dict[str, dict[str, Claim]] | None = None
    _claims_of_class: dict[str, Claim] | None = None

    def take(self, value: Mapping[str, Any]) -> bool:
        """Keep the content of *value*; False when it is of another kind."""
        kind, name = value["kind"], text_of(value, "metadata", "name")
        key = (text_of(value, "metadata", "namespace"), name)
        if kind == "PersistentVolumeClaim":
            if spec := _convert(value.get("spec"), ClaimSpec):
                self._claims[key] = spec
        elif kind == "PersistentVolume":
            if claim := text_of(value, "spec", "claimRef", "name"):
                for namespace in ("", text_of(value, "spec", "claimRef", "namespace")):
                    self._reserved[namespace, claim] = name
            volume = _convert(value.get("spec"), PersistentVolumeSpec)
            if volume and len(sources_of(volume)) < 2:
                self._volumes[name] = volume
                if not claim:
                    self._unclaimed.setdefault(volume.storage_class_name or "", []).append(name)
        elif kind == "StorageClass":
            if name and (storage := _convert(value, _StorageClass)):
                self._classes[name] = storage
                if text_of(value, "metadata", "annotations", _DEFAULT_CLASS) == "true":
                    self._default_class = name
        elif kind == "RuntimeClass":
            if runtime := _convert(value, RuntimeClass):
                self._runtimes[name] = runtime
        elif kind == "ServiceAccount":
            if account := _convert(value, _ServiceAccount):
                self._tokens[key] = account.automount_service_account_token
        else:
            return False
        return True

    def runtime(self, runtime_class: str) -> RuntimeClass | None:
        """The RuntimeClass of that name; None when it was not given."""
        return self._runtimes.get(runtime_class)

    def token(self, namespace: str, account: str) -> bool | None:
        """A ServiceAccount's value of automountServiceAccountToken."""
        return self._tokens.get((namespace, account))

    def claims_of(self, namespace: str) -> dict[str, Claim]:
        """Name of a PersistentVolumeClaim -> what is known of it. To be asked when all objects were taken."""
        if self._resolved is None:
            self._resolved = {}
            for (space, name), spec in self._claims.items():
                self._resolved.setdefault(space, {})[name] = self.claim(spec, self._reserved.get((space, name), ""))
        return self._resolved.get(namespace, {})

    def classes(self) -> dict[str, Claim]:
        """Name of a StorageClass, empty for the default one -> its claims. To be asked when all objects were taken."""
        if self._claims_of_class is None:
            found = {
                name: Claim(
                    provisioner=one.provisioner,
                    fstype=_fstype(one),
                    shared=_says_nfs(one) or None,
                    unclaimed=tuple(self._unclaimed.get(name, ())),
                )
                for name, one in self._classes.items()
            }
            if self._default_class:
                found[""] = found[self._default_class]
            self._claims_of_class = found
        return self._claims_of_class

    def claim(self, spec: ClaimSpec, reserved: str = "") -> Claim:
        """The facts of a claim; *reserved* is the PersistentVolume that names it, where it names none itself."""
        volume_name = spec.volume_name or reserved
        volume = self._volumes.get(volume_name)
        name = self._default_class if spec.storage_class_name is None else spec.storage_class_name
        storage = self._classes.get(name)
        return Claim(
            block=spec.volume_mode == "Block",
            shared=_says_nfs(storage, volume) or is_shared(spec.access_modes, volume.access_modes if volume else None),
            volume_name=volume_name,
            volume=volume,
            unclaimed=() if volume_name else tuple(self._unclaimed.get(name, ())),
            provisioner=storage.provisioner if storage else "",
            fstype=_fstype(storage) if storage else "",
        )


def _says_nfs(storage: _StorageClass | None, volume: PersistentVolumeSpec | None = None) -> bool:
    """Whether the parameters of the class, or the attributes of the volume, make it NFS."""
    attributes = volume.csi.volume_attributes if volume and volume.csi else None
    return says_nfs(storage.parameters if storage else None) or says_nfs(attributes)


def _fstype(storage: _StorageClass) -> str:
    return next((value for key, value in (storage.parameters or {}).items() if value and key.lower() in _FSTYPE), "")


def is_shared(*access_modes: Sequence[str] | None) -> bool | None:
    """True when many nodes may write a volume, by the *access_modes* of its claim and of itself; None: not known."""
    modes = frozenset(mode for each in access_modes for mode in each or ())
    return True if "ReadWriteMany" in modes else False if modes and modes <= _ONE_NODE else None


def claim_templates(value: Mapping[str, Any]) -> dict[str, ClaimSpec | None]:
    """Name of each of `spec.volumeClaimTemplates`, empty where it has none -> its spec; None: malformed."""
    spec = value.get("spec")
    found = spec.get("volumeClaimTemplates") if isinstance(spec, dict) else None
    if found is None:
        return {}
    return {
        text_of(one, "metadata", "name"): _convert(one.get("spec") if isinstance(one, dict) else None, ClaimSpec)
        for one in (found if isinstance(found, list) else [None])
    }


def text_of(value: Any, *keys: str) -> str:
    """The string at *keys* of nested mappings; empty when it is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _convert(value: Any, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
