"""The ways to break a node, one row each.

A row is made on a fresh node, which is thrown away afterwards: nothing has to be undone. All shell runs inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Break:
    """One way; a break without any field but name and kind is none, the control."""

    name: str
    kind: str
    before: str = ""
    """Shell, before containerd starts."""
    after: str = ""
    """Shell, once containerd runs and has the images."""
    daemon: str = ""
    """Shell in the process that becomes containerd."""
    sandboxed: str = ""
    """Shell there, too, but in a mount namespace of the daemon's own with this propagation first: `slave; …`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of containerd."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Lines of containerd's configuration, by the names that machine.configuration has."""
    specification: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the base specification of both handlers: mappings are merged, lists get longer."""
    kubelet_root: str = "/var/lib/kubelet"


HELPERS = r"""
disk() { # TYPE DIRECTORY [MOUNT OPTIONS]: a new file system on a loop device
    image=/image-$$-$1
    truncate -s 400M "$image"
    "mkfs.$1" -q "$image"
    loop=$(unshare --mount sh -c 'mount -t devtmpfs devices /dev && losetup --find --show "$1"' - "$image")
    mknod "$loop" b 7 "${loop#/dev/loop}"
    mkdir -p "$2"
    mount -o "${3:-rw}" "$loop" "$2"
    unshare --mount sh -c 'mount -t devtmpfs devices /dev && losetup --detach "$1"' - "$loop"
    rm "$loop"
    chmod 711 "$2" || :
}
mask() { mount --bind /dev/null "$1"; }
cover() { mount -t tmpfs none "$1"; }
remount() { # OPTIONS DIRECTORY: of this mount alone
    mount --rbind "$2" "$2"
    mount -o "remount,bind,$1" "$2"
}
fill() { dd if=/dev/zero of="$1/filler" bs=64k 2> /dev/null || :; }
script() { # PATH LINES: a program in place of the one that is there
    rm -f "$1"
    printf '#!/bin/sh\n%s\n' "$2" > "$1"
    chmod 755 "$1"
}
"""
"""Functions that all shell of a row may call."""

_RUNC, _CRUN, _SHIM = "/usr/local/bin/runc", "/usr/local/bin/crun", "/usr/local/bin/containerd-shim-runc-v2"
_STATE = "/run/containerd"
_TASKS = f"{_STATE}/io.containerd.runtime.v2.task"
_ROOT = "/var/lib/containerd"
_SNAPSHOTS = f"{_ROOT}/io.containerd.snapshotter.v1.overlayfs"
_ICMP = "net.ipv4.ping_group_range"


def _rows(kind: str, field_name: str, rows: Mapping[str, Any]) -> tuple[Break, ...]:
    """A row for each name, whose value stands in the field of that name."""
    return tuple(Break(name, kind, **{field_name: value}) for name, value in rows.items())


_PROC = _rows(
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
    },
)
_SYS = _rows(
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
        "sys-cgroup-read-only": "for each in /sys/fs/cgroup /sys/fs/cgroup/*; do remount ro $each; done",
    },
)
_LIMITS = _rows(
    "limit",
    "daemon",
    {
        f"limit-{name}-{value}": f'exec prlimit --{name}={value} "$@"'
        for name, value in (
            *(("nproc", number) for number in (1, 4, 4096)),
            *(("nofile", number) for number in (24, 64, 256, 1024)),
            *(("fsize", number) for number in (0, 4096)),
            *(("memlock", number) for number in (0, 65536)),
            *(("stack", number) for number in (65536, 8388608)),
            ("sigpending", 0),
            ("msgqueue", 0),
            ("as", 1 << 31),
            ("data", 1 << 27),
            ("core", 0),
            ("locks", 0),
            ("rtprio", 0),
        )
    },
)
_CAPABILITIES = _rows(
    "capability",
    "daemon",
    {
        f"without-cap-{name.replace('_', '-')}": f'exec setpriv --bounding-set=-{name} "$@"'
        for name in (
            "audit_write bpf checkpoint_restore chown dac_override dac_read_search fowner fsetid ipc_lock kill mknod "
            "net_admin net_bind_service net_raw perfmon setfcap setgid setpcap setuid sys_admin sys_chroot sys_nice "
            "sys_ptrace syslog"
        ).split()
    },
)
_CONFINED = _rows(
    "confinement",
    "daemon",
    {
        "no-new-privs": 'exec setpriv --no-new-privs "$@"',
        "landlock": 'exec "$PYTHON" "$CHECKOUT/lab/sabotage/landlock.py" "$@"',
        **{
            f"seccomp-{name}": f'exec "$PYTHON" "$CHECKOUT/lab/kernels/seccomp.py" {words} "$@"'
            for name, words in {
                "allows-all": "EPERM 9999",
                "without-mount-setattr": "EPERM 442,467",
                "without-mount-setattr-enosys": "ENOSYS 442,467",
                "without-mount-api": "ENOSYS 428,429,430,431,432,433,442,467",
                "without-keyctl": "EPERM 250",
                "without-unshare-setns": "EPERM 272,308",
                "without-pivot-root": "EPERM 155",
                "without-clone3": "ENOSYS 435",
                "without-openat2": "ENOSYS 437",
                "without-close-range": "ENOSYS 436",
                "without-reboot-kexec": "EPERM 169,246,320",
                "without-setresuid": "EPERM 105,117",
            }.items()
        },
    },
)
_SYSTEMD = _rows(
    "systemd",
    "sandboxed",
    {
        "own-namespace-slave": "slave",
        "MountFlags-private": "private",
        "ProtectKernelTunables": "slave; for each in /proc/sys /proc/irq /proc/fs /sys; do remount ro $each; done",
        "ProtectKernelLogs": "slave; mask /proc/kmsg",
        "ProtectKernelModules": "slave; mkdir -p /usr/lib/modules; cover /usr/lib/modules",
        "ProtectControlGroups": "slave; for each in /sys/fs/cgroup/*; do remount ro $each; done",
        "ProtectSystem-yes": "slave; remount ro /usr",
        "ProtectSystem-full": "slave; remount ro /usr; remount ro /etc",
        "ProtectSystem-strict-ReadWritePaths-run-var-lib": "slave; mount -o remount,bind,ro /",
        "ProtectHome": "slave; cover /root; cover /home",
        "ProtectProc-invisible": "slave; mount -t proc -o hidepid=2 proc /proc",
        "ProcSubset-pid": "slave; mount -t proc -o subset=pid proc /proc",
        "PrivateTmp": "slave; cover /tmp; chmod 1777 /tmp",
        "PrivateDevices": "slave; mkdir /run/d; mount -t tmpfs -o mode=755 d /run/d; "
        "for n in null zero full random urandom tty; do touch /run/d/$n; mount --bind /dev/$n /run/d/$n; done; "
        "mkdir /run/d/pts /run/d/shm /run/d/mqueue; mount --rbind /dev/pts /run/d/pts; mount --move /run/d /dev",
        "ReadOnlyPaths-run": "slave; remount ro /run",
        "ReadOnlyPaths-var-lib": "slave; remount ro /var/lib",
        "ReadOnlyPaths-kubelet": "slave; remount ro /var/lib/kubelet",
        "InaccessiblePaths-kubelet": "slave; mount -t tmpfs -o mode=000 none /var/lib/kubelet",
        "InaccessiblePaths-proc-keys": "slave; mask /proc/keys",
        "TemporaryFileSystem-run": "slave; cover /run",
        "BindReadOnlyPaths-tmp": "slave; remount ro /tmp",
        "NoExecPaths-var": "slave; remount noexec /var/lib/containerd",
    },
)
_MODES = _rows(
    "mode",
    "after",
    {
        f"mode-{mode}-{name}": f"mkdir -p {path}; chmod {mode} {path}"
        for name, path, mode in (
            ("root", "/", "0700"),
            ("run", "/run", "0700"),
            ("state", _STATE, "0700"),
            ("state", _STATE, "0710"),
            ("tasks", _TASKS, "0700"),
            ("tasks-of-kubernetes", f"{_TASKS}/k8s.io", "0700"),
            ("var", "/var", "0700"),
            ("var-lib", "/var/lib", "0700"),
            ("runtime-root", _ROOT, "0700"),
            ("runtime-root", _ROOT, "0755"),
            ("snapshotter", _SNAPSHOTS, "0700"),
            ("snapshots", f"{_SNAPSHOTS}/snapshots", "0700"),
            ("kubelet-root", "/var/lib/kubelet", "0700"),
            ("pods", "/var/lib/kubelet/pods", "0700"),
            ("tmp", "/tmp", "0700"),
            ("tmp", "/tmp", "0555"),
            ("programs", "/usr/local/bin", "0700"),
            ("dev", "/dev", "0700"),
            ("cni", "/opt/cni", "0700"),
        )
    },
)
_LIES = f'case "$*" in *features* | *--version*) exec /opt/real "$@" ;; esac; echo "sabotage" >&2; exit 1'
_PROGRAMS = _rows(
    "program",
    "after",
    {
        "runc-gone": f"rm {_RUNC}",
        "runc-not-executable": f"chmod 644 {_RUNC}",
        "runc-empty": f": > {_RUNC}.new; chmod 755 {_RUNC}.new; mv {_RUNC}.new {_RUNC}",
        "runc-truncated": f"head -c 100000 {_RUNC} > {_RUNC}.new; chmod 755 {_RUNC}.new; mv {_RUNC}.new {_RUNC}",
        "runc-fails": f"script {_RUNC} 'echo sabotage >&2; exit 1'",
        "runc-lies": f"mv {_RUNC} /opt/real; script {_RUNC} '{_LIES}'",
        "runc-wrapped": f"""mv {_RUNC} /opt/real; script {_RUNC} 'exec /opt/real "$@"'""",
        "runc-is-crun": f"cp {_CRUN} {_RUNC}.new; mv {_RUNC}.new {_RUNC}",
        "runc-writable-for-all": f"chmod 777 {_RUNC}",
        "crun-gone": f"rm {_CRUN}",
        "crun-fails": f"script {_CRUN} 'exit 1'",
        "crun-lies": f"mv {_CRUN} /opt/real; script {_CRUN} '{_LIES}'",
        "shim-gone": f"rm {_SHIM}",
        "shim-not-executable": f"chmod 644 {_SHIM}",
        "shim-fails": f"script {_SHIM} 'exit 1'",
        "shim-wrapped": f"""mv {_SHIM} /opt/shim; script {_SHIM} 'exec /opt/shim "$@"'""",
        "cni-plugin-gone": "rm /opt/cni/bin/still",
        "cni-plugin-not-executable": "chmod 644 /opt/cni/bin/still",
        "cni-plugin-fails": "script /opt/cni/bin/still 'exit 1'",
        "cni-loopback-gone": "rm /opt/cni/bin/loopback",
        "cni-configuration-gone": "rm /etc/cni/net.d/*; sleep 1",
        "cni-configuration-broken": "echo '{' > /etc/cni/net.d/10-still.conf; sleep 1",
    },
)
_CONFIGURATIONS = _rows(
    "configuration",
    "config",
    {
        "snapshotter-native": {"images": 'snapshotter = "native"'},
        "snapshotter-unknown": {"images": 'snapshotter = "nobody"'},
        "snapshotter-slow-chown": {"top": '[plugins."io.containerd.snapshotter.v1.overlayfs"]\nslow_chown = true'},
        "systemd-cgroup": {"options": "SystemdCgroup = true"},
        "no-restrict-oom-score-adj": {"cri": ""},
        "no-new-keyring": {"options": "NoNewKeyring = true"},
        "no-pivot-root": {"options": "NoPivotRoot = true"},
        "unprivileged-icmp": {"cri": "restrict_oom_score_adj = true\nenable_unprivileged_icmp = true"},
        "unprivileged-ports": {"cri": "restrict_oom_score_adj = true\nenable_unprivileged_ports = true"},
        "selinux-enabled": {"cri": "restrict_oom_score_adj = true\nenable_selinux = true"},
        "cri-disabled": {"top": 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'},
        "overlay-disabled": {"top": 'disabled_plugins = ["io.containerd.snapshotter.v1.overlayfs"]'},
        "binary-name-gone": {"options": 'Root = "/nowhere/at/all"'},
        "base-specification-gone": {"runtime": 'base_runtime_spec = "/nowhere.json"'},
    },
)
_SPECIFICATIONS = _rows(
    "specification",
    "specification",
    {
        "hook-fails": {"hooks": {"createRuntime": [{"path": "/bin/false"}]}},
        "hook-gone": {"hooks": {"prestart": [{"path": "/nowhere"}]}},
        "hook-works": {"hooks": {"createRuntime": [{"path": "/bin/true"}]}},
        "hook-inside-fails": {"hooks": {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}},
        "hook-only-for-mapped-root": {
            "hooks": {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "grep -q 4294967295 /proc/self/uid_map"]}]}
        },
        "sysctl-ping-group-range": {"linux": {"sysctl": {_ICMP: "0 2147483647"}}},
        "sysctl-unprivileged-port": {"linux": {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}}},
        "sysctl-shm": {"linux": {"sysctl": {"kernel.shm_rmid_forced": "1"}}},
        "sysctl-unknown": {"linux": {"sysctl": {"net.nobody.knows": "1"}}},
        "rlimit-nofile": {"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "hard": 1 << 40, "soft": 1 << 40}]}},
        "mount-cgroup-gone": {"mounts": [{"destination": "/extra", "type": "bind", "source": "/nowhere", "options": ["bind"]}]},
        "mount-of-root-only-folder": {
            "mounts": [{"destination": "/extra", "type": "bind", "source": "/root", "options": ["rbind", "ro"]}]
        },
        "mount-debugfs": {"mounts": [{"destination": "/extra", "type": "debugfs", "source": "debugfs"}]},
    },
)
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICES = _rows(
    "device",
    "after",
    {
        **{f"dev-{name}-gone": f"rm /dev/{name}" for name in _NODES},
        **{f"dev-{name}-0600": f"chmod 600 /dev/{name}" for name in ("null", "zero", "urandom", "tty")},
        "dev-null-is-a-file": "rm /dev/null; : > /dev/null",
        "dev-null-is-zero": "rm /dev/null; mknod -m 666 /dev/null c 1 5",
        "dev-full-is-a-directory": "rm /dev/full; mkdir /dev/full",
        "dev-nodev": "remount nodev /dev",
        "dev-noexec-nosuid": "remount noexec,nosuid /dev",
        "dev-read-only": "remount ro /dev",
        "dev-pts-gone": "umount -l /dev/pts",
        "dev-ptmx-gone": "rm /dev/ptmx",
        "dev-shm-gone": "rmdir /dev/shm",
        "dev-mqueue-gone": "rmdir /dev/mqueue",
    },
)
_TMP = (
    *_rows(
        "tmp",
        "after",
        {
            "tmp-read-only": "remount ro /tmp",
            "tmp-gone": "umount -l /tmp; rm -rf /tmp",
            "tmp-is-a-file": "umount -l /tmp; rm -rf /tmp; : > /tmp",
            "tmp-full": "mount -t tmpfs -o size=64k,mode=1777 none /tmp; fill /tmp",
            "tmp-without-inodes": "mount -t tmpfs -o nr_inodes=2,mode=1777 none /tmp; : > /tmp/last || :",
            "tmp-noexec": "remount noexec,nosuid,nodev /tmp",
        },
    ),
    Break("tmpdir-gone", "tmp", environment={"TMPDIR": "/nowhere"}),
    Break("tmpdir-elsewhere", "tmp", before="mkdir -m 1777 /var/scratch", environment={"TMPDIR": "/var/scratch"}),
    Break("tmpdir-mode-0700", "tmp", before="mkdir -m 700 /var/scratch", environment={"TMPDIR": "/var/scratch"}),
    Break("tmpdir-read-only", "tmp", before="mkdir /var/scratch; remount ro /var/scratch", environment={"TMPDIR": "/var/scratch"}),
)
_UMASKS = _rows("umask", "daemon", {f"umask-{mask}": f"umask {mask}" for mask in ("002", "007", "027", "077")})
_KUBELET_ROOTS = _rows(
    "kubelet-root",
    "after",
    {
        "kubelet-root-xfs": "disk xfs /var/lib/kubelet",
        "kubelet-root-btrfs": "disk btrfs /var/lib/kubelet",
        "kubelet-root-ext4": "disk ext4 /var/lib/kubelet",
        "kubelet-root-ramfs": "mount -t ramfs none /var/lib/kubelet",
        "kubelet-root-overlay": "mkdir /run/u /run/w; mount -t overlay -o lowerdir=/srv,upperdir=/run/u,workdir=/run/w none /var/lib/kubelet",
        **{
            f"kubelet-root-{option}": f"disk ext4 /var/lib/kubelet {option}"
            for option in ("nosymfollow", "noexec", "nodev", "nosuid", "ro")
        },
        "kubelet-root-tmpfs-nosymfollow": "remount nosymfollow /var/lib/kubelet",
        "kubelet-root-full": "mount -t tmpfs -o size=64k none /var/lib/kubelet; mkdir /var/lib/kubelet/pods; fill /var/lib/kubelet",
        "kubelet-root-without-inodes": "mount -t tmpfs -o nr_inodes=3 none /var/lib/kubelet; mkdir /var/lib/kubelet/pods; : > /var/lib/kubelet/last || :",
    },
)
_RUNTIME_ROOTS = _rows(
    "runtime-root",
    "before",
    {
        **{f"runtime-root-{fstype}": f"disk {fstype} {_ROOT}" for fstype in ("xfs", "btrfs", "ext4")},
        "runtime-root-ramfs": f"mount -t ramfs none {_ROOT}; chmod 711 {_ROOT}",
        "runtime-root-overlay": f"mkdir /srv/u /srv/w /srv/l; mount -t overlay -o lowerdir=/srv/l,upperdir=/srv/u,workdir=/srv/w none {_ROOT}",
        **{f"runtime-root-{option}": f"disk ext4 {_ROOT} {option}" for option in ("nosymfollow", "noexec", "nodev", "nosuid", "noatime")},
    },
)
_STATES = _rows(
    "state",
    "before",
    {
        **{f"state-{fstype}": f"disk {fstype} {_STATE}" for fstype in ("xfs", "btrfs", "ext4")},
        "state-ramfs": f"mkdir {_STATE}; mount -t ramfs none {_STATE}; chmod 711 {_STATE}",
        **{f"state-{option}": f"mkdir {_STATE}; cover {_STATE}; chmod 711 {_STATE}; mount -o remount,bind,{option} {_STATE}" for option in ("nosymfollow", "noexec", "nodev", "nosuid")},
    },
)
_FULL = _rows(
    "full",
    "after",
    {
        "run-read-only": "mount -o remount,bind,ro /run",
        "run-full": "mount -o remount,size=1m /run; fill /run",
        "run-without-inodes": "mount -o remount,nr_inodes=$(( $(stat -f -c '%c - %d' /run) )) /run",
        "runtime-root-read-only": f"mount -o remount,bind,ro {_ROOT}",
        "runtime-root-full": f"mount -o remount,size=32m {_ROOT}; fill {_ROOT}",
        "runtime-root-without-inodes": f"mount -o remount,nr_inodes=$(( $(stat -f -c '%c - %d' {_ROOT}) )) {_ROOT}",
        "var-log-read-only": "mkdir -p /var/log/pods; remount ro /var/log/pods",
        "root-read-only": "mount -o remount,bind,ro /",
        "root-nosuid-nodev": "mount -o remount,bind,nosuid,nodev /",
        "root-noatime": "mount -o remount,bind,noatime /",
        "propagation-private": "mount --make-rprivate /",
    },
)
_DAEMONS = (
    Break("containerd-stopped", "daemon", after="kill -STOP $(pidof containerd)"),
    Break("containerd-killed", "daemon", after="kill -KILL $(pidof containerd); sleep 0.2"),
    Break("containerd-replaced", "daemon", after="cp /usr/local/bin/containerd /x; mv /x /usr/local/bin/containerd"),
)

CONTROL = Break("nothing", "control")
BREAKS: tuple[Break, ...] = (
    CONTROL, *_PROC, *_SYS, *_LIMITS, *_CAPABILITIES, *_CONFINED, *_SYSTEMD, *_MODES, *_PROGRAMS, *_CONFIGURATIONS,
    *_SPECIFICATIONS, *_DEVICES, *_TMP, *_UMASKS, *_KUBELET_ROOTS, *_RUNTIME_ROOTS, *_STATES, *_FULL, *_DAEMONS,
)  # fmt: skip
BY_NAME = {row.name: row for row in BREAKS}
