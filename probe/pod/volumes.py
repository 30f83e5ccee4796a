"""Volumes of a Pod: what was tried of each on that node, else what kernel and driver lead to."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from probe.pod.api import minor_version
from probe.pod.devices import judge_image_volume
from probe.pod.host_paths import judge_missing, judge_type
from probe.pod.level import Levels
from probe.pod.model import Claim, Node, Note, Outcome, Pod, Reason
from probe.pod.objects import is_shared
from probe.pod.sources import source_of, sources_of
from probe.pod.spec import ClaimSpec, HostPath, Volume, VolumeSources
from probe.pod.tried import Mounted, judge_driver, judge_mount, mounted_at, try_there, way_around
from probe.pod.walk import mounts_of, reason
from probe.report import FilesystemRow
from probe.tables.driver import NOT_SHARED, Driver
from probe.tables.drivers import IN_TREE, csi_driver, driver_of_provisioner, plugin_of, says_nfs
from probe.tables.gone_plugins import GONE
from probe.tables.version import spelled

_PROBE = "probe a node that has such a volume"
_HUGE = "HugePages"
_NAMES = 5
_NOT_KNOWN = "unknown which volume it is"
_GIVE = "give the PersistentVolumeClaim, its PersistentVolume and its StorageClass in the same files"


class Volumes:
    """Judge of the volumes of one Pod."""

    def __init__(self, pod: Pod, node: Node, levels: Levels) -> None:
        self._pod, self._node, self._levels, self._mounts = pod, node, levels, mounts_of(pod)
        self.notes: list[Note] = []
        """What is to be known of volumes with which the Pod runs."""

    def judge(self) -> Iterator[Reason]:
        """Reasons of each volume that a container mounts; no runtime maps the others, no API takes one of two types."""
        for index, volume in enumerate(self._pod.spec.volumes or ()):
            if (mounts := self._mounts.get(volume.name)) and len(sources_of(volume)) < 2:
                field = source_of(volume)[0]
                path = f"{self._pod.path}.volumes[{index}]{field and '.'}{field}"
                yield self._of_volume(path, volume, Mounted(tuple(mounts)), field)
        above = self._pod.path.removesuffix("template.spec")
        for index, (name, claim) in enumerate(self._pod.templates.items()):
            if name and (mounts := self._mounts.get(name)):
                yield self._claimed(f"{above}volumeClaimTemplates[{index}]", claim, Mounted(tuple(mounts)))

    def _of_volume(self, path: str, volume: Volume, mounted: Mounted, field: str) -> Reason:
        if field in IN_TREE and (level := IN_TREE[field].level):
            return self._levels.judge(path, level)
        if volume.empty_dir is not None:
            return self._empty_dir(path, volume.empty_dir.medium or "")
        if volume.host_path is not None:
            return self._host_path(path, volume.host_path, mounted)
        if volume.persistent_volume_claim is not None:
            return self._claimed(path, self._pod.claims.get(volume.persistent_volume_claim.claim_name), mounted)
        if volume.ephemeral is not None:
            template = volume.ephemeral.volume_claim_template
            own = self._pod.claims.get(f"{self._pod.name}-{volume.name}") if self._pod.name else None
            return self._claimed(path, own or (self._ephemeral(template.spec) if template else None), mounted)
        if field == "image":
            return judge_image_volume(path, self._node)
        if not field:
            message = "of an unknown type; without a type it is an emptyDir"
            return reason(path, "unknown", "unknown", "VolumeTypeNotKnown", message, "name its type")
        nfs = volume.csi is not None and says_nfs(volume.csi.volume_attributes)
        return self._driven(path, volume, Claim(shared=nfs or None), mounted)

    def _empty_dir(self, path: str, medium: str) -> Reason:
        if medium.startswith(_HUGE):
            return self._by_kernel(path, Driver(filesystems=("hugetlbfs",)), Claim(), "", "")
        if medium not in ("", "Memory"):
            return reason(path, "unknown", "unknown", "MediumNotKnown", f"medium {medium} is not known", "")
        return self._levels.judge(path, "projected" if medium else "local")

    def _host_path(self, path: str, volume: HostPath, mounted: Mounted) -> Reason:
        missing = judge_missing(path, volume, mounted, self._node)
        if missing is not None:
            return missing
        rows = mounted_at(self._node, volume.path, mounted)
        if wrong := judge_type(path, volume, self._node):
            return wrong
        if rows:
            for each, above in ((each, self._node.above.get(each)) for each in mounted.paths(volume.path)):
                message = f"{each} does not exist: it is made on {above.path}" if above else ""
                self.notes += [Note(field=path, message=message)] if message else []
            return judge_mount(path, rows, mounted, self._oci_runtime(), self.notes)
        message = f"unknown which file system {volume.path} is on: not tried on that node"
        return reason(path, "unknown", "unknown", "PathNotTried", message, try_there(volume.path))

    def _ephemeral(self, spec: ClaimSpec) -> Claim | None:
        """The claim of an ephemeral volume; None where its class is not known, or has no provisioner (`""`)."""
        found = self._pod.classes.get(spec.storage_class_name or "")
        if found is None or spec.storage_class_name == "" or spec.volume_name:
            return None
        return replace(found, block=spec.volume_mode == "Block", shared=found.shared or is_shared(spec.access_modes))

    def _claimed(self, path: str, claim: Claim | None, mounted: Mounted) -> Reason:
        if claim is None:
            return reason(path, "unknown", "unknown", "VolumeNotKnown", _NOT_KNOWN, _GIVE)
        if claim.block:
            message = "a claim with volumeMode: Block cannot be mounted"
            return reason(path, "fails", "rule", "VolumeDevices", message, "volumeMode: Filesystem")
        if claim.unclaimed:
            names = ", ".join(claim.unclaimed[:_NAMES]) + (" …" if len(claim.unclaimed) > _NAMES else "")
            message = f"unknown which PersistentVolume it gets: it is not bound, and its class has {names}"
            return reason(path, "unknown", "unknown", "VolumeNotBound", message, "give the claim when it is bound")
        volume = claim.volume
        if volume is not None and (place := volume.local or volume.host_path):
            return self._host_path(path, replace(place, type="local") if volume.local else place, mounted)
        return self._driven(path, volume, claim, mounted)

    def _driven(self, path: str, volume: VolumeSources | None, claim: Claim, mounted: Mounted) -> Reason:
        """A volume of a driver: this very one, another one of the driver, or what the tables say."""
        field, name, fstype = source_of(volume) if volume is not None else ("", "", "")
        name, fstype = name if field else claim.provisioner, fstype or claim.fstype
        if rows := self._mounted(field, name, claim.volume_name):
            return judge_mount(path, rows, mounted, self._oci_runtime(), self.notes)
        since, version = GONE.get(field), minor_version(self._node.kubelet_version)
        if since and version and version >= since:
            message = f"kubelets since {spelled(since)} have no plugin for it, whatever users the Pod has"
            return reason(path, "fails", "rule", "VolumePluginMissing", message, "a CSI driver of the same storage")
        driver = csi_driver(name) if field == "csi" else IN_TREE.get(field) if field else driver_of_provisioner(name)
        if claim.shared and driver is not None and driver.serves_one_node:
            if field in ("", "csi"):
                return reason(path, "unknown", "unknown", "FilesystemNotKnown", f"{name}: {NOT_SHARED}", _PROBE)
            claim = replace(claim, shared=False)  # the kubelet mounts the block device, whatever the claim says
        kinds = driver.kinds(fstype, claim.shared) if driver else (fstype,) if fstype and not claim.shared else ()
        tried = judge_driver(path, name or plugin_of(field), kinds, self._node, self.notes)
        if tried is not None:
            return tried
        if not name and not field:
            return reason(path, "unknown", "unknown", "VolumeNotKnown", _NOT_KNOWN, _GIVE)
        if driver is None:
            message = f"unknown as which file system volumes of {name or field} reach a node"
            return reason(path, "unknown", "unknown", "DriverNotKnown", message, _PROBE)
        if driver.bind:
            message = f"{name or field} binds a directory of the node, whose file system decides: not tried"
            return reason(
                path, "unknown", "unknown", "PathNotTried", message, "userns-probe path DIRECTORY, on the node"
            )
        return self._by_kernel(path, driver, claim, fstype, name or field)

    def _mounted(self, field: str, driver: str, volume: str) -> list[FilesystemRow]:
        """Attempts with the PersistentVolume *volume*; of CSI only where *driver* has such a file system there."""
        if field != "csi" and (field or not driver or driver.startswith("kubernetes.io/")):
            return self._node.mounted.get((plugin_of(field), volume), [])
        rows = self._node.mounted.get(("kubernetes.io~csi", volume), [])
        own = {row.fstype for row in self._node.volumes if row.driver == driver}
        return rows if {row.fstype for row in rows} <= own else []

    def _by_kernel(self, path: str, driver: Driver, claim: Claim, fstype: str, name: str) -> Reason:
        """The answer of the tables."""
        filesystems, release = driver.kinds(fstype, claim.shared), self._node.kernel_release
        if filesystems == ("tmpfs",):
            return self._levels.judge(path, "projected")
        found = driver.judge(release, fstype, claim.shared)
        outcomes: dict[str, Outcome] = {"yes": "runs", "no": "fails", "unknown": "unknown"}
        outcome = outcomes[found.taken]
        message = (f"{name} reaches the node as {' or '.join(filesystems)}: " if name else "") + found.why
        if outcome == "runs" and driver.hint:
            self.notes.append(Note(field=path, message=driver.hint))
        return reason(
            path,
            outcome,
            "unknown" if outcome == "unknown" else "kernel-and-driver",
            {"runs": "FilesystemIdmappable", "fails": "FilesystemNotIdmappable"}.get(outcome, "FilesystemNotKnown"),
            message,
            {"fails": way_around(filesystems[0], release), "unknown": _PROBE if name else ""}.get(outcome, ""),
        )

    def _oci_runtime(self) -> str:
        handler = self._levels.handler
        return self._node.oci_runtimes.get(handler, "") if handler is not None else ""


def paths_of(pod: Pod) -> Iterator[str]:
    """Paths on the node that containers of *pod* mount, to be tried there."""
    mounts = mounts_of(pod)
    for volume in pod.spec.volumes or ():
        claim = volume.persistent_volume_claim
        behind = pod.claims.get(claim.claim_name) if claim else None
        place = volume.host_path or (behind and behind.volume and (behind.volume.local or behind.volume.host_path))
        if place and volume.name in mounts:
            yield from Mounted(tuple(mounts[volume.name])).paths(place.path)
