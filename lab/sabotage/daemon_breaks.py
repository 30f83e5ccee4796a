"""Breaks of the daemon: its limits, capabilities, confinement, sandbox as systemd makes it, umask and life."""

from __future__ import annotations

from lab.sabotage.row import Break, rows

LIMITS = rows(
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
CAPABILITIES = rows(
    "capability",
    "daemon",
    {
        f"without-cap-{name.replace('_', '-')}": f'exec setpriv --bounding-set=-{name} "$@"'
        for name in (
            *(
                "audit_write",
                "bpf",
                "checkpoint_restore",
                "chown",
                "dac_override",
                "dac_read_search",
                "fowner",
                "fsetid",
            ),
            *("ipc_lock", "kill", "mknod", "net_admin", "net_bind_service", "net_raw", "perfmon", "setfcap", "setgid"),
            *("setpcap", "setuid", "sys_admin", "sys_chroot", "sys_nice", "sys_ptrace", "syslog"),
        )
    },
)
CONFINED = rows(
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
SYSTEMD = rows(
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
        "ProtectHome": "slave; cover /home",
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
UMASKS = rows("umask", "daemon", {f"umask-{mask}": f"umask {mask}" for mask in ("002", "007", "027", "077")})
DAEMONS = (
    Break("containerd-stopped", "daemon", after="kill -STOP $(pidof containerd)"),
    Break("containerd-killed", "daemon", after="kill -KILL $(pidof containerd); sleep 0.2"),
    Break("containerd-replaced", "daemon", after="cp /usr/local/bin/containerd /x; mv /x /usr/local/bin/containerd"),
)
