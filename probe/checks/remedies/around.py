"""Remediations for the surroundings of the container runtime, where a check knows nothing more."""

from __future__ import annotations

from probe.checks.remedies.platforms import BOOT_CGROUP_V2

_MAKE_ROOM = (
    "Free space or inodes there, or mount it writable:\n  df -h /run /var/lib /var/log; df -i /run /var/lib /var/log"
)

USE_FIFOS = (
    "Remove io_type from the handler's table in /etc/containerd/config.toml, and restart containerd:\n"
    "  containerd config dump | grep io_type\n  systemctl restart containerd"
)
INSTALL_THE_NEEDED = (
    "Install what the message names in the version that the program was built for, from the same source as the "
    "program, or install a static build of the program. ldd(1) lists the libraries of a program:\n  ldd PROGRAM"
)


def _edit_unit(change: str) -> str:
    return (
        f"{change} in the runtime's unit, and restart it:\n  systemctl edit containerd\n  systemctl restart containerd"
    )


OF_REASON: dict[str, str] = {
    "TemporaryDirectoryUnusable": "Make it a writable directory with free inodes. "
    + _edit_unit("Or set Environment=TMPDIR=/var/tmp"),
    "UmaskTooStrict": _edit_unit("Set UMask=0022"),
    "DirectoryNotWritable": _MAKE_ROOM,
    "KubeletDirectoryNotWritable": _MAKE_ROOM,
    "KubeletDirectoryHidden": "If the runtime runs in a container, mount the kubelet's directory into it. Else "
    + _edit_unit("remove InaccessiblePaths= and TemporaryFileSystem="),
    "KeyringQuotaTooSmall": "Raise the quota, now and at each boot:\n"
    "  printf 'kernel.keys.maxkeys = 2000\\nkernel.keys.maxbytes = 2000000\\n' > /etc/sysctl.d/90-keyrings.conf\n"
    "  sysctl -p /etc/sysctl.d/90-keyrings.conf",
    "ProcessLimitTooSmall": _edit_unit("Set LimitNPROC=infinity and TasksMax=infinity"),
    "OpenFilesLimitTooSmall": _edit_unit("Set LimitNOFILE=infinity"),
    "FileTableFull": "Raise the limit, also in the file of sysctl.d(5) that sets it, or end what opened so many:\n"
    "  sysctl -w fs.file-max=9223372036854775807; cat /proc/sys/fs/file-nr\n"
    "  grep -rs fs.file-max /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d",
    "PipeLimitTooSmall": "Remove the limit, also from the file of sysctl.d(5) that sets it:\n"
    "  sysctl -w fs.pipe-user-pages-hard=0\n"
    "  grep -rs fs.pipe-user-pages /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d",
    "FileSizeLimitTooSmall": _edit_unit("Set LimitFSIZE=infinity"),
    "StackLimitTooSmall": _edit_unit("Set LimitSTACK=8M"),
    "MemoryLimitTooSmall": _edit_unit("Set LimitAS=infinity and LimitDATA=infinity"),
    "OomScoreRefused": _edit_unit("Let CapabilityBoundingSet= include CAP_SYS_RESOURCE")
    + "\nOr set restrict_oom_score_adj = true in the CRI table of /etc/containerd/config.toml, and restart containerd.",
    "RuntimeNotReady": "Read the status and the log of the runtime:\n"
    "  crictl info | head -30; journalctl -u containerd -u crio -n 50 --no-pager",
    "ShimMissing": "Install the shim, which comes with containerd, in a directory of the runtime's PATH.",
    "PreloadMissing": "Install the library, or remove LD_PRELOAD from the environment of the runtime's unit, which "
    "this shows, and restart it:\n  systemctl show containerd -p Environment,EnvironmentFiles\n"
    "  systemctl restart containerd",
    "ShimCgroupMissing": "Make the cgroup at each boot, or remove ShimCgroup from the handler's options in "
    "/etc/containerd/config.toml, and restart containerd:\n"
    "  containerd config dump | grep ShimCgroup\n  systemctl restart containerd",
    "HostsFileMissing": "Create the file:\n  printf '127.0.0.1 localhost\\n::1 localhost\\n' > /etc/hosts",
    "ResolvConfMissing": "Create the file, or name one that exists in resolvConf of the kubelet's configuration: "
    "/run/systemd/resolve/resolv.conf with systemd-resolved, else /etc/resolv.conf. Then restart the kubelet:\n"
    "  systemctl restart kubelet",
    "SandboxerMissing": "Remove sandboxer from the handler's table in /etc/containerd/config.toml, or configure a "
    "proxy plugin of that name, and restart containerd:\n  systemctl restart containerd",
    "MonitorMissing": "Install conmon and pinns, which come with CRI-O, at the paths in its configuration:\n"
    "  crio config | grep -E 'pinns_path|monitor_path'",
    "CniPluginMissing": "Install the CNI plugins and their configuration where the runtime looks for them:\n"
    "  crictl info | grep -E 'binDir|confDir'",
    "NetworkNotReady": "Check the network plugin and its Pods; the runtime reports NetworkReady when it finds the "
    "plugin's configuration and programs:\n"
    "  crictl info | head -30; ls /etc/cni/net.d /opt/cni/bin; kubectl get pods -n kube-system -o wide",
    "CgroupDriverMismatch": "Give runtime and kubelet the same cgroup driver, and restart both: on a node with systemd "
    "SystemdCgroup = true and cgroupDriver: systemd, else SystemdCgroup = false and cgroupDriver: cgroupfs.",
    "HybridCgroups": f"Use runc, or boot with cgroup v2 alone, on the drained node:\n{BOOT_CGROUP_V2}\n  reboot",
}
"""Of the checks that have several parts."""

AROUND: dict[str, str] = {
    "runtime-state-search": "Let other users search (not list) each directory above the runtime's state:\n"
    "  namei -l /run/containerd/io.containerd.runtime.v2.task/k8s.io\n  chmod o+x DIRECTORY",
    "runtime-devices": "Recreate the device node, as in this example for /dev/full, or reboot:\n"
    "  rm -f /dev/full && mknod -m 0666 /dev/full c 1 7",
    "runtime-base-spec": "Remove what the evidence names from the base specification (containerd, base_runtime_spec), "
    "or from default_sysctls, default_ulimits or hooks_dir (CRI-O), and restart the runtime:\n"
    "  containerd config dump | grep base_runtime_spec; crio config | grep -A3 -E 'default_sysctls|hooks_dir'\n"
    "  systemctl restart containerd",
    "runtime-mount-propagation": "Let the kubelet's mounts reach the runtime. "
    + _edit_unit("Remove MountFlags=private and PrivateMounts=")
    + "\nIf / itself is private, make it shared:\n  mount --make-rshared /",
    "kubelet-confinement": "Remove CapabilityBoundingSet= from the kubelet's unit, or let it include CAP_SYS_ADMIN:\n"
    "  systemctl edit kubelet\n  systemctl restart kubelet",
    "runtime-directories": "Fix the mount, umask, space or inodes that the evidence names, and restart the runtime:\n"
    "  systemctl restart containerd",
    "runtime-limits": "Raise the limit that the evidence names:\n"
    "  systemctl show containerd -p LimitNPROC,LimitNOFILE,TasksMax; sysctl kernel.keys",
    "runtime-parts": "Install or configure what the evidence names, and restart the runtime:\n"
    "  systemctl restart containerd",
}
