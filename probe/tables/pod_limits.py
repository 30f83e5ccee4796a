"""Limits of Pods with a user namespace that hold on each node: no node shows any of them."""

from __future__ import annotations

from msgspec import Struct


class Limit(Struct, frozen=True, kw_only=True):
    """One such fact."""

    subject: str
    """The field, command or feature."""
    what: str
    """What is different."""
    instead: str = ""
    """What to do about it."""
    source: str


LIMITS: tuple[Limit, ...] = (
    Limit(
        subject="kubectl debug POD",
        what="an ephemeral container shares the Pod's user namespace: /proc/1/root of another container is refused "
        "unless its user is the same and has all capabilities, and the profile sysadmin is privileged only inside",
        instead="--target with the profile general and the container's user, or kubectl debug node/NAME",
        source="kubernetes/kubernetes#117159",
    ),
    Limit(
        subject="kubectl debug node/NAME",
        what="that Pod has the node's users, and sees files of the Pods with their host IDs",
        source="kubernetes/kubectl pkg/cmd/debug",
    ),
    Limit(
        subject="hostPath of a socket (containerd.sock, docker.sock, SPIRE agent)",
        what="the server sees the Pod's host UID by SO_PEERCRED, not the UID inside: a server that asks for root "
        "refuses, and SPIRE's selector unix:uid matches another number",
        instead="hostUsers: true for that Pod, or let the server tell Pods by cgroup",
        source="unix(7), user_namespaces(7)",
    ),
    Limit(
        subject="images with IDs of 65536 and more",
        what="the container does not start: “container ID 6553600 cannot be mapped to a host ID”",
        instead="userNamespaces.idsPerPod of the kubelet's configuration, or another image",
        source="containerd/containerd#12329; with the SOCI snapshotter bottlerocket-os/bottlerocket#4854",
    ),
    Limit(
        subject="runAsUser, runAsGroup, fsGroup, supplementalGroups of 65536 and more",
        what="setgroups(2) and setuid(2) fail: the Pod has no such IDs",
        instead="smaller IDs, or userNamespaces.idsPerPod",
        source="KEP-127; user_namespaces(7)",
    ),
    Limit(
        subject="fsGroup",
        what="the kubelet changes groups on the node to the GID inside, recursively as ever",
        source="KEP-127",
    ),
    Limit(
        subject="volumeDevices",
        what="API servers from 1.34 on refuse them",
        instead="volumeMode: Filesystem",
        source="kubernetes/kubernetes pkg/apis/core/validation/validation.go",
    ),
    Limit(
        subject="hostPID, hostIPC",
        what="the API server refuses them",
        source="kubernetes/kubernetes pkg/apis/core/validation/validation.go",
    ),
    Limit(
        subject="hostNetwork",
        what="the API server refuses it without the alpha gate UserNamespacesHostNetworkSupport; with it, NET_ADMIN, "
        "NET_RAW and NET_BIND_SERVICE have no effect, since the network namespace is the node's",
        source="KEP-5607; capabilities(7)",
    ),
    Limit(
        subject="Istio ambient mode (ztunnel)",
        what="nobody has reported that it works or fails: the node's agent redirects in the Pod's network namespace",
        source="istio/istio#58750 covers only the sidecar mode",
    ),
    Limit(
        subject="linkerd2-proxy-init, Linkerd CNI",
        what="its repository does not mention user namespaces; the init container needs nf_tables or ip_tables, which "
        "the check nested-network reports",
        source="linkerd/linkerd2-proxy-init",
    ),
    Limit(
        subject="checkpoint and restore",
        what="KEP-2008 and KEP-5823 do not mention user namespaces",
        source="KEP-2008, KEP-5823",
    ),
    Limit(
        subject="BPF programs, mknod of devices, mounts of block devices, kernel modules, the clock",
        what="the kernel requires capabilities in its initial user namespace, whatever the Pod adds",
        instead="hostUsers: true for that Pod",
        source="capabilities(7), user_namespaces(7)",
    ),
    Limit(
        subject="sysctls user.* in securityContext.sysctls",
        what="only runc 1.5.0 and later sets them in a user namespace; crun and CRI-O do not know them",
        source="opencontainers/runc commit 70d88bc44; KEP-5996",
    ),
)
"""In the order in which people meet them."""
