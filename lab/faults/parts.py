"""The checks that stand and fall with one part of a node, or of a probe: a fault there leaves the others alone."""

from __future__ import annotations

OCI_RUNTIME = {"runtime-user-namespaces", "runtime-oci-features", "hazard-crun-modes"}
"""What the OCI runtime says of itself."""

AROUND = {
    *("runtime-base-spec", "runtime-devices", "runtime-directories", "runtime-limits", "runtime-mount-propagation"),
    *("runtime-parts", "runtime-state-search"),
}
"""What surrounds the daemon of the container runtime."""

RUNTIME = (
    OCI_RUNTIME
    | AROUND
    | {
        *("runtime-confinement", "runtime-kernel-claim", "runtime-snapshotter"),
        *("filesystem-runtime-root", "filesystem-overlay-layers", "hazard-image-volumes", "hazard-crio-restart"),
        *("hazard-declared-volumes", "hazard-leaked-mounts", "hazard-istio-cni"),
    }
)
"""What is asked of the container runtime, and where its files lie."""

KUBELET = RUNTIME | {
    *("kubelet-running", "kubelet-user-namespaces", "kubelet-configuration-pending", "kubelet-gate-restart"),
    *("kubelet-cgroup-v1", "kubelet-confinement", "ids-range", "ids-restart-forecast", "ids-slots"),
    *(
        "filesystem-kubelet-root",
        "filesystem-local-volumes",
        "filesystem-volumes",
        "hazard-mapping-ignored",
        "hazard-last-block",
    ),
}
"""The kubelet, and with it the runtime, of which nobody but the kubelet says where it listens."""

SANDBOX = {"sandbox-trial", "kernel-proc-sysfs"}
"""The sandbox that is tried out, with its own /proc and /sys."""

ATTEMPTS = {
    *("filesystem-runtime-root", "filesystem-overlay-layers", "filesystem-kubelet-root", "filesystem-tmpfs"),
    *("filesystem-local-volumes", "filesystem-volumes", "kernel-user-namespaces", "runtime-kernel-claim"),
}
"""What the kernel is asked for."""

PROGRAMS = OCI_RUNTIME | {
    *("kubelet-user-namespaces", "kubelet-cgroup-v1", "kubelet-gate-restart", "kubelet-configuration-pending"),
    *("ids-range", "ids-restart-forecast", "ids-slots", "runtime-snapshotter", "filesystem-overlay-layers"),
}
"""What programs of the node answer, for which each has two seconds."""

HOOKS = {"hazard-device-hooks"}
"""What nothing else is read for: the directories of hooks."""

OF_A_CHILD = (RUNTIME, KUBELET, SANDBOX, ATTEMPTS, HOOKS)
"""At most one of them is lost with one process of a probe, unless that is the one which gathers all."""
