"""Specs without what has no bearing on user namespaces, so that thousands of workloads share one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from probe.pod.devices import is_zero
from probe.pod.model import Claim
from probe.pod.spec import ClaimReference, Container, Named, PodSpec, Resources, VolumeMount


def canonical(spec: PodSpec, claims: Mapping[str, Claim]) -> tuple[PodSpec, dict[str, Claim]]:
    """*spec* and *claims* (by volume) without scheduling, names, paths in containers and amounts.

    Volumes are called `v0`, `v1`.
    """
    names = {volume.name: f"v{index}" for index, volume in enumerate(spec.volumes or ())}
    return replace(
        spec,
        service_account_name=None,
        node_selector=None,
        affinity=None,
        volumes=tuple(
            replace(
                volume,
                name=names[volume.name],
                persistent_volume_claim=ClaimReference(names[volume.name]) if volume.persistent_volume_claim else None,
            )
            for volume in spec.volumes or ()
        ),
        init_containers=_containers(spec.init_containers, names),
        containers=_containers(spec.containers, names),
        ephemeral_containers=_containers(spec.ephemeral_containers, names),
    ), {names[volume]: claim for volume, claim in claims.items()}


def _containers(containers: tuple[Container, ...] | None, names: Mapping[str, str]) -> tuple[Container, ...]:
    return tuple(
        replace(
            one,
            name="",
            resources=one.resources and _resources(one.resources),
            volume_mounts=tuple(_mount(mount, names) for mount in one.volume_mounts or ()),
            volume_devices=tuple(Named(names.get(device.name, "")) for device in one.volume_devices or ()),
        )
        for one in containers or ()
    )


def _mount(mount: VolumeMount, names: Mapping[str, str]) -> VolumeMount:
    return replace(mount, name=names.get(mount.name, ""), mount_path="")


def _resources(resources: Resources) -> Resources | None:
    """Extended resources alone, such as `nvidia.com/gpu`: they are devices, whatever their number above 0."""
    asked = {**(resources.requests or {}), **(resources.limits or {})}
    names = sorted(name for name, quantity in asked.items() if "/" in name and not is_zero(quantity))
    if not names and not resources.claims:
        return None
    return Resources(limits=dict.fromkeys(names, 1), claims=resources.claims)
