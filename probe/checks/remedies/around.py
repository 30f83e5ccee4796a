"""Remediations for the surroundings of the container runtime, where a check knows nothing more."""

from __future__ import annotations

_MAKE_ROOM = (
    "Free space or inodes there, or mount it writable:\n  df -h /run /var/lib /var/log; df -i /run /var/lib /var/log"
)

USE_FIFOS = (
    "Remove io_type from the handler's table (containerd, /etc/containerd/config.toml), and restart containerd:\n"
    "  containerd config dump | grep io_type"
)
INSTALL_THE_NEEDED = (
    "Install what the message names in the version that the program was built for, from the same source as the "
    "program, or install a static build of the program. ldd(1) lists the libraries of a program:\n  ldd PROGRAM"
)

OF_REASON: dict[str, str] = {
    "TemporaryDirectoryUnusable": "Make it a writable directory with free inodes, or name another one in the "
    "runtime's unit (Environment=TMPDIR=/var/tmp), and restart the runtime.",
    "UmaskTooStrict": "Remove UMask= from the runtime's unit, or start it with umask 022, and restart it.",
    "DirectoryNotWritable": _MAKE_ROOM,
    "KubeletDirectoryNotWritable": _MAKE_ROOM,
    "KubeletDirectoryHidden": "Remove InaccessiblePaths= and TemporaryFileSystem= from the runtime's unit, or mount "
    "the kubelet's directory into the container in which the runtime runs, and restart the runtime.",
    "KeyringQuotaTooSmall": "Raise the quota:\n  sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000",
    "ProcessLimitTooSmall": "Set LimitNPROC=infinity and TasksMax=infinity in the runtime's unit, and restart it.",
    "OpenFilesLimitTooSmall": "Set LimitNOFILE=infinity in the runtime's unit, and restart it.",
    "FileTableFull": "Raise the limit, also in the file of sysctl.d(5) that sets it, or end what opened so many:\n"
    "  sysctl -w fs.file-max=9223372036854775807; cat /proc/sys/fs/file-nr\n"
    "  grep -rs fs.file-max /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d",
    "PipeLimitTooSmall": "Take the limit away, also from the file of sysctl.d(5) that sets it:\n"
    "  sysctl -w fs.pipe-user-pages-hard=0\n"
    "  grep -rs fs.pipe-user-pages /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d",
    "FileSizeLimitTooSmall": "Set LimitFSIZE=infinity in the runtime's unit, and restart it.",
    "StackLimitTooSmall": "Set LimitSTACK=8M in the runtime's unit, and restart it.",
    "MemoryLimitTooSmall": "Set LimitAS=infinity and LimitDATA=infinity in the runtime's unit, and restart it.",
    "OomScoreRefused": "Give the runtime CAP_SYS_RESOURCE, or set restrict_oom_score_adj = true in its table of CRI "
    "(containerd, /etc/containerd/config.toml), and restart it.",
    "RuntimeNotReady": "Check the status and the log of the runtime:\n"
    "  crictl info | head -30; journalctl -u containerd -u crio -n 50 --no-pager",
    "ShimMissing": "Install the shim, which comes with containerd, in a folder of the runtime's PATH.",
    "PreloadMissing": "Install the library, or take LD_PRELOAD out of the environment of the runtime's unit, and "
    "restart it:\n  systemctl show -p Environment,EnvironmentFiles containerd",
    "ShimCgroupMissing": "Make the cgroup at each boot, or remove ShimCgroup from the handler's options (containerd, "
    "/etc/containerd/config.toml) and restart containerd:\n  containerd config dump | grep ShimCgroup",
    "HostsFileMissing": "Write the file again:\n  printf '127.0.0.1 localhost\\n::1 localhost\\n' > /etc/hosts",
    "ResolvConfMissing": "Name a file that exists in resolvConf of the kubelet's configuration, or make this one. With "
    "systemd-resolved it is /run/systemd/resolve/resolv.conf, without it /etc/resolv.conf. Then restart the kubelet:\n"
    "  systemctl restart kubelet",
    "SandboxerMissing": "Remove sandboxer from the handler's table (containerd, /etc/containerd/config.toml), or "
    "configure the proxy plugin of that name, and restart containerd.",
    "MonitorMissing": "Install conmon and pinns, which come with CRI-O, where its configuration names them:\n"
    "  crio config | grep -E 'pinns_path|monitor_path'",
    "CniPluginMissing": "Install the network's plugins and configuration where the runtime looks for them:\n"
    "  crictl info | grep -E 'binDir|confDir'",
    "NetworkNotReady": "Check the network plugin and its Pods; NetworkReady is true once its "
    "configuration and plugins are there:\n"
    "  crictl info | head -30; ls /etc/cni/net.d /opt/cni/bin; kubectl get pods -n kube-system -o wide",
    "CgroupDriverMismatch": "Give kubelet and runtime the same cgroup driver: SystemdCgroup = true and cgroupDriver: "
    "systemd on a node with systemd, else false and cgroupfs. Then restart both.",
    "HybridCgroups": "Boot with cgroup v2 alone, on the drained node, or use runc:\n"
    "  grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 && reboot",
}
"""Of the checks that have several parts."""

AROUND: dict[str, str] = {
    "runtime-state-search": "Let others search (not list) each directory above the runtime's state:\n"
    "  namei -l /run/containerd/io.containerd.runtime.v2.task/k8s.io\n  chmod o+x FOLDER",
    "runtime-devices": "Recreate the device node, as in this example for /dev/full, or reboot:\n"
    "  mknod -m 0666 /dev/full c 1 7",
    "runtime-base-spec": "Take out of the base specification (containerd, base_runtime_spec), or of default_sysctls, "
    "default_ulimits and hooks_dir (CRI-O), what the evidence names, and restart the runtime:\n"
    "  containerd config dump | grep base_runtime_spec; crio config | grep -A3 -E 'default_sysctls|hooks_dir'",
    "runtime-mount-propagation": "Start the runtime in the kubelet's mount namespace, or let mounts reach it: remove "
    "MountFlags=private and PrivateMounts= from its unit, then:\n  mount --make-rshared /",
    "kubelet-confinement": "Let the kubelet run with CAP_SYS_ADMIN: remove CapabilityBoundingSet= from its unit.",
    "runtime-directories": "Fix the mount, umask, space or inodes that the evidence names, and restart the runtime.",
    "runtime-limits": "Raise the limit that the evidence names:\n"
    "  systemctl show -p LimitNPROC,LimitNOFILE,TasksMax containerd; sysctl kernel.keys",
    "runtime-parts": "Install or configure what the evidence names, and restart the runtime.",
}
