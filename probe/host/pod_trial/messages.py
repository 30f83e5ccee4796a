"""The requests of a Pod trial, as a kubelet would make them, and the names by which its Pods are known again."""

from __future__ import annotations

import time

from probe.host import cri_pb2
from probe.host.pod_trial.plan import MAP_LENGTH, POD_CGROUP, POD_SLICE, Role

NAME = "userns-probe-trial"
NAMESPACE = "userns-probe"
LABEL = "userns-probe.io/trial"
DESTINATIONS: dict[Role, str] = {"kubelet-root": "/userns-probe-kubelet-root", "tmpfs": "/userns-probe-tmpfs"}

# systemd makes the slice for the first scope in it and forgets it after the last. The other one is ours to remove.
CGROUP_PARENTS = {cri_pb2.SYSTEMD: f"/{POD_SLICE}", cri_pb2.CGROUPFS: f"/{POD_CGROUP}"}


def sandbox_config(first_id: int | None, cgroup_driver: cri_pb2.CgroupDriver) -> cri_pb2.PodSandboxConfig:
    """A sandbox with a user namespace from *first_id* on, or without one.

    It names no log directory: containerd then writes no log, CRI-O takes the directory that it is configured with.
    """
    return cri_pb2.PodSandboxConfig(
        # The runtime reserves name and UID together, for some time also for a sandbox whose making was cut off.
        metadata=cri_pb2.PodSandboxMetadata(name=NAME, uid=f"{NAME}-{time.monotonic_ns()}", namespace=NAMESPACE),
        hostname=NAME,
        labels={LABEL: "1"},
        linux=cri_pb2.LinuxPodSandboxConfig(
            cgroup_parent=CGROUP_PARENTS.get(cgroup_driver, CGROUP_PARENTS[cri_pb2.CGROUPFS]),
            security_context=cri_pb2.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(first_id), seccomp=_runtime_default()
            ),
        ),
    )


def container_config(image: str, first_id: int | None, sources: dict[Role, str]) -> cri_pb2.ContainerConfig:
    """A container of *image* with read-only mounts of *sources*, mapped where it has a user namespace."""
    return cri_pb2.ContainerConfig(
        metadata=cri_pb2.ContainerMetadata(name="trial"),
        image=cri_pb2.ImageSpec(image=image),
        labels={LABEL: "1"},
        mounts=[
            cri_pb2.Mount(
                container_path=DESTINATIONS[role],
                host_path=path,
                readonly=True,
                uidMappings=_mappings(first_id),
                gidMappings=_mappings(first_id),
            )
            for role, path in sources.items()
        ],
        linux=cri_pb2.LinuxContainerConfig(
            resources=cri_pb2.LinuxContainerResources(oom_score_adj=1000),  # the first to go where memory is short
            security_context=cri_pb2.LinuxContainerSecurityContext(
                namespace_options=_namespaces(first_id), seccomp=_runtime_default()
            ),
        ),
    )


def own_sandboxes(answer: cri_pb2.ListPodSandboxResponse) -> list[cri_pb2.PodSandbox]:
    """Those of the trial, whatever the runtime makes of a filter: no other one may ever be stopped."""
    return [
        one
        for one in answer.items
        if one.id and one.labels.get(LABEL) == "1" and (one.metadata.name, one.metadata.namespace) == (NAME, NAMESPACE)
    ]


def _namespaces(first_id: int | None) -> cri_pb2.NamespaceOption:
    option = cri_pb2.NamespaceOption(network=cri_pb2.POD, pid=cri_pb2.CONTAINER, ipc=cri_pb2.POD)
    if first_id is not None:
        ids = _mappings(first_id)
        option.userns_options.CopyFrom(cri_pb2.UserNamespace(mode=cri_pb2.POD, uids=ids, gids=ids))
    return option


def _mappings(first_id: int | None) -> list[cri_pb2.IDMapping]:
    if first_id is None:
        return []
    return [cri_pb2.IDMapping(host_id=first_id, container_id=0, length=MAP_LENGTH)]


def _runtime_default() -> cri_pb2.SecurityProfile:
    return cri_pb2.SecurityProfile(profile_type=cri_pb2.SecurityProfile.RuntimeDefault)
