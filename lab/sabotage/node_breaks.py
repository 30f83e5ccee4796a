"""Breaks of the node: its /proc and /sys, devices, modes, temporary directories and file systems."""

from __future__ import annotations

from lab.sabotage.row import ROOT, STATE, Break, rows

_TASKS = f"{STATE}/io.containerd.runtime.v2.task"
_SNAPSHOTS = f"{ROOT}/io.containerd.snapshotter.v1.overlayfs"

PROC = rows(
    "proc",
    "after",
    {
        "proc-tmpfs-over-directory": "cover /proc/tty",
        "proc-tmpfs-over-empty-directory": "cover /proc/fs",
        "proc-file-masked": "mask /proc/cpuinfo",
        "proc-lxcfs": "cat /proc/meminfo > /meminfo; mount --bind /meminfo /proc/meminfo",
        "proc-timer-list-masked": "mask /proc/timer_list",
        "proc-keys-masked": "mask /proc/keys",
        "proc-kmsg-masked": "mask /proc/kmsg",
        "proc-sys-read-only": "remount ro /proc/sys",
        "proc-sys-bound-again": "mount --bind /proc/sys /proc/sys",
        "proc-read-only": "mount -o remount,bind,ro /proc",
        "proc-noatime": "mount -o remount,bind,noatime /proc",
        "proc-nodiratime": "mount -o remount,bind,nodiratime /proc",
        "proc-nosuid-nodev-noexec": "mount -o remount,bind,nosuid,nodev,noexec /proc",
        "proc-hidepid": "mount -o remount,hidepid=2 /proc",
        "proc-mounted-twice": "mount -t proc proc /proc",
        "proc-subset-pid-above": "mount -t proc -o subset=pid proc /proc",
        "proc-hidepid-above": "mount -t proc -o hidepid=2 proc /proc",
        "proc-covered-with-another-one": "mkdir /run/p; mount -t proc proc /run/p; cover /proc/tty",
        "proc-pid-covered": "cover /proc/1",
        "proc-binfmt-covered": "cover /proc/sys/fs/binfmt_misc",
        "proc-cmdline-bound": "echo quiet > /cmdline; mount --bind /cmdline /proc/cmdline",
        "proc-gone": "umount -l /proc",
    },
)
SYS = rows(
    "sys",
    "after",
    {
        "sys-firmware-covered": "cover /sys/firmware",
        "sys-kernel-covered": "cover /sys/kernel",
        "sys-module-covered": "cover /sys/module",
        "sys-file-masked": "mask /sys/kernel/notes",
        "sys-read-only": "mount -o remount,bind,ro /sys",
        "sys-noatime": "mount -o remount,bind,noatime /sys",
        "sys-nosuid-nodev-noexec": "mount -o remount,bind,nosuid,nodev,noexec /sys",
        "sys-gone": "umount -l /sys",
        "sys-covered-with-another-one": "mkdir /run/s; mount -t sysfs sysfs /run/s; cover /sys/firmware",
        "sys-class-covered": "cover /sys/class",
        "sys-bpf-covered": "cover /sys/fs/bpf",
        **{f"cgroup-{name}-gone": f"umount /sys/fs/cgroup/{name}" for name in ("memory", "devices", "cpuset", "cpu")},
        "cgroups-gone": "umount -R /sys/fs/cgroup",
        "cgroup-read-only": "remount ro /sys/fs/cgroup/memory",
        "sys-cgroup-read-only": "for each in /sys/fs/cgroup /sys/fs/cgroup/*; do remount ro $each; done",
    },
)
MODES = rows(
    "mode",
    "after",
    {
        f"mode-{mode}-{name}": f"mkdir -p {path}; chmod {mode} {path}"
        for name, path, mode in (
            ("root", "/", "0700"),
            ("run", "/run", "0700"),
            ("state", STATE, "0700"),
            ("state", STATE, "0710"),
            ("tasks", _TASKS, "0700"),
            ("tasks-of-kubernetes", f"{_TASKS}/k8s.io", "0700"),
            ("var", "/var", "0700"),
            ("var-lib", "/var/lib", "0700"),
            ("runtime-root", ROOT, "0700"),
            ("runtime-root", ROOT, "0755"),
            ("snapshotter", _SNAPSHOTS, "0700"),
            ("snapshots", f"{_SNAPSHOTS}/snapshots", "0700"),
            ("kubelet-root", "/var/lib/kubelet", "0700"),
            ("pods", "/var/lib/kubelet/pods", "0700"),
            ("tmp", "/tmp", "0700"),
            ("tmp", "/tmp", "0555"),
            ("programs", "/usr/local/bin", "0700"),
            ("dev", "/dev", "0700"),
            ("cni", "/opt/cni", "0700"),
            ("run", "/run", "0711"),
            ("run", "/run", "0750"),
            ("state", STATE, "0770"),
            ("usr", "/usr", "0700"),
            ("state-cri", f"{STATE}/io.containerd.grpc.v1.cri", "0700"),
        )
    },
)
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICES = rows(
    "device",
    "after",
    {
        **{f"dev-{name}-gone": f"rm /dev/{name}" for name in _NODES},
        **{f"dev-{name}-0600": f"chmod 600 /dev/{name}" for name in ("null", "zero", "urandom", "tty")},
        "dev-null-is-a-file": "rm /dev/null; : > /dev/null",
        "dev-null-is-zero": "rm /dev/null; mknod -m 666 /dev/null c 1 5",
        "dev-full-is-zero": "rm /dev/full; mknod -m 666 /dev/full c 1 5",
        "dev-full-is-a-directory": "rm /dev/full; mkdir /dev/full",
        "dev-nodev": "remount nodev /dev",
        "dev-noexec-nosuid": "remount noexec,nosuid /dev",
        "dev-read-only": "remount ro /dev",
        "dev-pts-gone": "umount -l /dev/pts",
        "dev-ptmx-gone": "rm /dev/ptmx",
        "dev-shm-gone": "rmdir /dev/shm",
        "dev-mqueue-gone": "rmdir /dev/mqueue",
        "dev-random-is-a-link": "ln -sf urandom /dev/random",
        "dev-tty-is-a-link": "ln -sf null /dev/tty",
        "dev-null-0444": "chmod 444 /dev/null",
        "dev-null-0222": "chmod 222 /dev/null",
        "dev-null-of-a-group": "chown 0:1000 /dev/null; chmod 660 /dev/null",
        "dev-null-dangling-link": "ln -sf nowhere /dev/null",
        "dev-null-nodev": "mount --bind /dev/null /dev/null; mount -o remount,bind,nodev /dev/null",
        "dev-zero-nodev": "mount --bind /dev/zero /dev/zero; mount -o remount,bind,nodev /dev/zero",
        "dev-null-read-only": "mount --bind /dev/null /dev/null; mount -o remount,bind,ro /dev/null",
        "dev-null-unbindable": "mount --bind /dev/null /dev/null; mount --make-unbindable /dev/null",
    },
)
TMP = (
    *rows(
        "tmp",
        "after",
        {
            "tmp-read-only": "remount ro /tmp",
            "tmp-gone": "umount -l /tmp; rmdir /tmp",
            "tmp-is-a-file": "umount -l /tmp; rmdir /tmp; : > /tmp",
            "tmp-full": "cover /tmp size=64k,mode=1777; fill /tmp",
            "tmp-without-inodes": "cover /tmp nr_inodes=1,mode=1777",
            "tmp-noexec": "remount noexec,nosuid,nodev /tmp",
        },
    ),
    Break("tmpdir-relative", "tmp", environment={"TMPDIR": "scratch"}),
    Break("tmpdir-gone", "tmp", environment={"TMPDIR": "/nowhere"}),
    Break("tmpdir-elsewhere", "tmp", before="mkdir -m 1777 /var/scratch", environment={"TMPDIR": "/var/scratch"}),
    Break("tmpdir-mode-0700", "tmp", before="mkdir -m 700 /var/scratch", environment={"TMPDIR": "/var/scratch"}),
    Break(
        "tmpdir-read-only",
        "tmp",
        before="mkdir /var/scratch; remount ro /var/scratch",
        environment={"TMPDIR": "/var/scratch"},
    ),
)
KUBELET_ROOTS = rows(
    "kubelet-root",
    "after",
    {
        "kubelet-root-xfs": "disk xfs /var/lib/kubelet",
        "kubelet-root-btrfs": "disk btrfs /var/lib/kubelet",
        "kubelet-root-ext4": "disk ext4 /var/lib/kubelet",
        "kubelet-root-ramfs": "mount -t ramfs none /var/lib/kubelet",
        "kubelet-root-overlay": "overlay /var/lib/kubelet",
        **{
            f"kubelet-root-{option}": f"disk ext4 /var/lib/kubelet {option}"
            for option in ("nosymfollow", "noexec", "nodev", "nosuid", "ro")
        },
        "kubelet-root-tmpfs-nosymfollow": "remount nosymfollow /var/lib/kubelet",
        "kubelet-root-full": "cover /var/lib/kubelet size=64k; mkdir /var/lib/kubelet/pods; fill /var/lib/kubelet",
        "kubelet-root-without-inodes": "cover /var/lib/kubelet nr_inodes=2",
    },
)
RUNTIME_ROOTS = rows(
    "runtime-root",
    "before",
    {
        **{f"runtime-root-{fstype}": f"disk {fstype} {ROOT}" for fstype in ("xfs", "btrfs", "ext4")},
        "runtime-root-ramfs": f"mount -t ramfs none {ROOT}; chmod 711 {ROOT}",
        "runtime-root-overlay": f"overlay {ROOT}",
        **{
            f"runtime-root-{option}": f"disk ext4 {ROOT} {option}"
            for option in ("nosymfollow", "noexec", "nodev", "nosuid", "noatime")
        },
    },
)
STATES = rows(
    "state",
    "before",
    {
        **{f"state-{fstype}": f"disk {fstype} {STATE}" for fstype in ("xfs", "btrfs", "ext4")},
        "state-ramfs": f"mkdir {STATE}; mount -t ramfs none {STATE}; chmod 711 {STATE}",
        **{
            f"state-{option}": f"mkdir {STATE}; cover {STATE} mode=711,{option}"
            for option in ("nosymfollow", "noexec", "nodev", "nosuid")
        },
    },
)
FULL = rows(
    "full",
    "after",
    {
        "run-read-only": "mount -o remount,bind,ro /run",
        "run-full": "mount -o remount,size=1m /run; fill /run",
        "run-without-inodes": "mount -o remount,nr_inodes=$(( $(stat -f -c '%c - %d' /run) )) /run",
        "runtime-root-read-only": f"remount ro {ROOT}",
        "runtime-root-full": f"mount -o remount,size=32m {ROOT}; fill {ROOT}",
        "runtime-root-without-inodes": f"mount -o remount,nr_inodes=$(( $(stat -f -c '%c - %d' {ROOT}) )) {ROOT}",
        "var-log-read-only": "mkdir -p /var/log/pods; remount ro /var/log/pods",
        "root-read-only": "mount -o remount,bind,ro /",
        "root-nosuid-nodev": "mount -o remount,bind,nosuid,nodev /",
        "root-noatime": "mount -o remount,bind,noatime /",
        "propagation-private": "mount --make-rprivate /",
    },
)
