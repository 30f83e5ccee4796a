"""Programs that run containers inside a Pod: the level that each needs, and its other needs. Pure."""

from __future__ import annotations

from msgspec import Struct

from probe.nested import NestedLevel, PodRequest


class Workload(Struct, frozen=True, kw_only=True):
    """One builder or engine."""

    level: NestedLevel
    user: int = 0
    """UID that it runs as; 0 is the Pod's own root."""
    storage: str = ""
    """Directory of images and containers, for an emptyDir; empty when it keeps none."""
    command: tuple[str, ...] = ()
    """Command that must run; empty for the image's own."""
    more: tuple[PodRequest, ...] = ()
    """Requests in addition to those of the level."""
    notes: tuple[str, ...] = ()
    """What the node needs that no check asks for."""
    left: tuple[str, ...] = ()
    """Fields of requests of the level that it does without."""


_SYS = PodRequest("proc-mount", "Unmasked", "it writes to /proc/sys, which is read-only otherwise")

WORKLOADS: dict[str, Workload] = {
    "buildah": Workload(level="build", storage="/var/lib/containers"),
    "buildkit": Workload(level="build", storage="/var/lib/buildkit", command=("buildkitd",)),
    "dockerd": Workload(level="engine", storage="/var/lib/docker", command=("dockerd",), more=(_SYS,)),
    "podman": Workload(level="rootless", user=1000, storage="/home/podman/.local/share/containers"),
    "systemd": Workload(level="system", command=("/sbin/init",), left=("volume", "entrypoint")),
    "k3s": Workload(
        level="system",
        storage="/var/lib/rancher/k3s",
        command=(
            *("k3s", "server", "--kubelet-arg=feature-gates=KubeletInUserNamespace=true"),
            "--kube-proxy-arg=conntrack-max-per-core=0",
        ),
        more=(
            _SYS,
            PodRequest("capability", "ALL", "the kubelet and its Pods need more than the level itself"),
            PodRequest("tmpfs", "/run", "containerd and the kubelet keep their sockets and mounts there"),
        ),
        notes=(
            "On the node, for flannel and kube-proxy: modprobe -a vxlan br_netfilter.",
            "kube-proxy sets no net.netfilter.nf_conntrack_max, which only the node can: conntrack-max-per-core=0.",
            "Privileged Pods inside run only where the check nested-sysfs passes.",
        ),
        left=("environment", "tmpfs"),
    ),
}
"""By the name that `userns-probe explain nested --for` takes."""
