"""Generic remediation of each check: for `explain`, and for nodes without a more specific one."""

from __future__ import annotations

from probe.checks.remedies.around import AROUND
from probe.checks.remedies.ids import give_a_range
from probe.checks.remedies.kernel import mount_uncovered, raise_limits
from probe.checks.remedies.platforms import RESTART_CONTAINERD

GRANT = (
    "Run the probe as root on the node, or in a Pod with hostUsers: true, hostPath /proc, and either privileged: true "
    "or the capabilities SYS_ADMIN, SETUID, SETGID, SYS_CHROOT, SYS_PTRACE and DAC_READ_SEARCH."
)

GENERIC: dict[str, str] = {
    **AROUND,
    "probe-privileges": GRANT,
    "kernel-user-namespaces": raise_limits({"user.max_user_namespaces": None}),
    "kernel-namespace-limits": raise_limits({"user.max_net_namespaces": None}),
    "kernel-unprivileged-switches": "No action is needed.",
    "kernel-security-modules": "Mount securityfs, where the kernel lists them:\n"
    "  mount -t securityfs securityfs /sys/kernel/security",
    "kernel-proc-sysfs": mount_uncovered(["proc"]),
    "kubelet-running": "Start the kubelet, and find out why it stopped:\n"
    "  systemctl restart kubelet; journalctl -u kubelet -n 50 --no-pager",
    "kubelet-user-namespaces": "Upgrade the kubelet to 1.33 or newer, where user namespaces are on by default.",
    "kubelet-configuration-pending": "Restart the kubelet at a convenient time:\n  systemctl restart kubelet",
    "kubelet-gate-restart": "Before the kubelet restarts, remove UserNamespacesSupport from --feature-gates and "
    "featureGates. This shows where it is set:\n"
    "  tr '\\0' '\\n' </proc/$(pgrep -xo kubelet)/cmdline | grep feature-gates\n"
    "  grep -rs UserNamespacesSupport /var/lib/kubelet/config.yaml /etc/kubernetes /etc/default/kubelet",
    "kubelet-cgroup-v1": "Boot with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1), or set this in "
    "the kubelet's configuration before it restarts:\n  failCgroupV1: false",
    "ids-range": give_a_range(),
    "ids-restart-forecast": "Fix what the message names before the kubelet restarts. Drain the node first:\n"
    "  kubectl drain NODE --ignore-daemonsets",
    "ids-slots": "Give the account kubelet a larger range, or lower maxPods. If Pods that ended long ago still hold "
    "slots, the kubelet cannot clean up their directories; its log says why:\n"
    "  journalctl -u kubelet | grep -i orphan",
    "runtime-user-namespaces": "Use containerd 2.0, CRI-O 1.30 or newer with runc 1.2, crun 1.9 or newer, and restart "
    "the runtime after each upgrade of its OCI runtime:\n"
    "  crictl version; runc --version; crun --version",
    "runtime-confinement": "Run the container runtime as root in the node's user namespace, without "
    "CapabilityBoundingSet=, SystemCallFilter= or a confining profile in its unit:\n  systemctl cat containerd crio",
    "runtime-oci-features": f"Restart the container runtime (running containers keep running):\n  {RESTART_CONTAINERD}",
    "runtime-kernel-claim": "Fix the layer that the kernel refuses, see its own finding. Until then do not trust "
    ".status.runtimeHandlers of this Node.",
    "runtime-snapshotter": "Use the snapshotter overlayfs (containerd) or the driver overlay (CRI-O).",
    "sandbox-trial": "Look for the refusal in the kernel log and in the audit log:\n"
    "  dmesg | grep -iE 'denied|revealing|namespace' | tail\n"
    "  ausearch -m avc -ts recent",
    "pod-trial": "The same Pod runs without a user namespace. Read the runtime's, the kernel's and the audit log:\n"
    "  journalctl -u containerd -u crio -n 100 --no-pager\n"
    "  dmesg | tail; ausearch -m avc -ts recent",
    "pod-trial-projected": "Boot Linux 6.3 or newer, which can idmap tmpfs:\n  uname -r",
    "runtime-trial": "Read the runtime's message, then look for a refusal in the kernel log and in the audit log:\n"
    "  dmesg | tail\n"
    "  ausearch -m avc -ts recent",
    "filesystem-runtime-root": "Put the runtime's root directory (/var/lib/containerd, /var/lib/containers/storage) on "
    "ext4, xfs or btrfs.",
    "filesystem-overlay-layers": "Use Linux 5.19 or newer with the runtime's root directory on ext4, xfs or btrfs, or "
    "let containerd copy layers, which is slow: set this in /etc/containerd/config.toml, where the table may exist "
    "already:\n"
    "  [plugins.'io.containerd.snapshotter.v1.overlayfs']\n"
    "    slow_chown = true\n"
    "then:\n"
    f"  {RESTART_CONTAINERD}",
    "filesystem-kubelet-root": "Put the kubelet's root directory (/var/lib/kubelet) on ext4, xfs or btrfs.",
    "filesystem-tmpfs": "Boot Linux 6.3 or newer, or a kernel of your distribution with idmapped tmpfs backported.",
    "filesystem-local-volumes": "Mount the kubelet's root directory without nosymfollow, in /etc/fstab too:\n"
    '  mount -o remount,symfollow "$(findmnt -n -o TARGET -T /var/lib/kubelet)"',
    "filesystem-volumes": "Pods with such volumes need hostUsers: true, or a volume on a file system that can be "
    "idmapped (ext4, xfs, btrfs; FUSE from Linux 6.12 on, if the server offers FUSE_ALLOW_IDMAP; never NFS or SMB).",
    "hazard-istio-cni": "Upgrade istio-cni to 1.30.0 or newer, and install nsenter (util-linux) on the node, in the "
    "container runtime's PATH:\n  helm upgrade istio-cni istio/cni -n istio-system --reuse-values --version 1.30.0",
    "hazard-selinux-runc-1-2-0": "Install runc 1.2.1 or newer.",
    "hazard-image-volumes": "Upgrade to containerd 2.1.7, 2.2.2 or newer.",
    "hazard-device-hooks": "Set hostUsers: true in Pods that ask for such devices.",
    "hazard-mapping-ignored": "Upgrade the kubelet and the container runtime, then delete these Pods.",
    "hazard-crio-restart": "Upgrade to CRI-O 1.35.6, 1.37 or newer. Until then, after each restart of CRI-O, delete "
    "the Pods with hostUsers: false, so that their controllers recreate them.",
    "hazard-declared-volumes": "Upgrade to containerd 2.0.7, 2.1.5 or newer. Until then mount an emptyDir over the "
    "VOLUME.",
    "hazard-crun-modes": "Install crun 1.29.1 or newer.",
    "hazard-leaked-mounts": "Upgrade to containerd 2.0.7, 2.1.5 or newer. A reboot of the drained node removes the "
    "mounts left behind.",
    "hazard-last-block": "Delete the Pod; the next one gets another block.",
}
