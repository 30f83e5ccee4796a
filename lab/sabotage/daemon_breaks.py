"""Breaks of the daemon: its limits, capabilities, confinement, sandbox as systemd makes it, umask and life."""

from __future__ import annotations

from lab.sabotage.row import Break, rows

LIMITS = rows(
    "limit",
    "daemon",
    {
        f"limit-{name}-{value}": f'exec prlimit --{name}={value} "$@"'
        for name, value in (
            *(("nproc", number) for number in (1, 2, 3, 4, 5, 8, 4096)),
            *(("nofile", number) for number in (24, 32, 40, 64, 256, 1024)),
            *(("fsize", number) for number in (0, 4096, 65536, 1 << 20)),
            *(("memlock", number) for number in (0, 65536)),
            *(("stack", number) for number in (16384, 24576, 65536, 8388608)),
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
            *("ipc_owner", "linux_immutable"),
        )
    },
)
CONFINED = rows(
    "confinement",
    "daemon",
    {
        "no-new-privs": 'exec setpriv --no-new-privs "$@"',
        "securebits-noroot": 'exec setpriv --securebits=+noroot "$@"',
        "user-namespace": 'exec unshare --user --map-root-user "$@"',
        "group-1000": 'exec setpriv --regid=1000 --clear-groups "$@"',
        "cgroup-namespace": 'exec unshare --cgroup "$@"',
        "landlock": 'exec "$PYTHON" "$CHECKOUT/lab/sabotage/landlock.py" "$@"',
        "landlock-alone": 'export LANDLOCK_ALONE=1; exec "$PYTHON" "$CHECKOUT/lab/sabotage/landlock.py" "$@"',
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
                "without-open-tree": "ENOSYS 428",
                "without-move-mount": "EPERM 429",
                "without-fsopen": "ENOSYS 430,431,432",
                "without-mknod": "EPERM 133,259",
                "without-pidfd-open": "ENOSYS 434",
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
        "NoExecPaths-cni": "slave; remount noexec /opt/cni/bin",
        "InaccessiblePaths-sys": "slave; mount -t tmpfs -o mode=000 none /sys",
        "InaccessiblePaths-cgroup": "slave; mount -t tmpfs -o mode=000 none /sys/fs/cgroup",
        "InaccessiblePaths-dev-shm": "slave; mount -t tmpfs -o mode=000 none /dev/shm",
        "InaccessiblePaths-cni": "slave; mount -t tmpfs -o mode=000 none /opt/cni",
        "InaccessiblePaths-cni-conf": "slave; mount -t tmpfs -o mode=000 none /etc/cni",
        "InaccessiblePaths-runc": "slave; mask /usr/local/bin/runc",
        "InaccessiblePaths-shim": "slave; mask /usr/local/bin/containerd-shim-runc-v2",
        "ReadOnlyPaths-dev": "slave; remount ro /dev",
        "ReadOnlyPaths-netns": "slave; mkdir -p /run/netns; remount ro /run/netns",
        "ReadOnlyPaths-cni-cache": "slave; mkdir -p /var/lib/cni; remount ro /var/lib/cni",
        "ReadOnlyPaths-pod-logs": "slave; mkdir -p /var/log/pods; remount ro /var/log/pods",
        "ReadOnlyPaths-pods": "slave; mkdir -p /var/lib/kubelet/pods; remount ro /var/lib/kubelet/pods",
        "PrivateMounts-kubelet-recursive": "private; mount --make-rslave /",
        "RootDirectory": 'slave; exec chroot / "$@"',
        "own-namespace-without-proc": "slave; umount -l /proc",
        "NoExecPaths-var": "slave; remount noexec /var/lib/containerd",
    },
)
_ANOTHER = """
printf 'version = 3\nroot = "/srv/root"\nstate = "/srv/state"\n[grpc]\naddress = "/srv/socket"\n' > /srv/config.toml
prlimit --nofile=24 containerd --config /srv/config.toml > /srv/log 2>&1 &
while ! [ -e /srv/socket ]; do sleep 0.05; done
"""
"""One more, which the kubelet does not talk to and in which no Pod would start."""
_DEVICE_POLICY = """
closed=/sys/fs/cgroup/devices/$CGROUP/daemon
mkdir -p $closed
echo a > $closed/devices.deny
for each in 1:3 1:5 1:7 1:8 1:9 5:0 5:2 136:*; do echo "c $each rwm" > $closed/devices.allow; done
echo $$ > $closed/cgroup.procs
"""
"""The devices that systemd leaves to the unit. *Source*: systemd.resource-control(5)."""
_UMASKS = ("002", "007", "027", "077")
UMASKS = rows("umask", "daemon", {f"umask-{mask}": f"umask {mask}" for mask in _UMASKS})
DAEMONS = (
    Break("chroot", "daemon", before="mkdir /x; mount --rbind / /x", daemon='exec chroot /x "$@"'),
    Break("limit-data-later", "daemon", after="prlimit --data=4194304 --pid $(pidof containerd)"),
    Break("containerd-stopped", "daemon", after="kill -STOP $(pidof containerd)"),
    Break("containerd-killed", "daemon", after="kill -KILL $(pidof containerd); sleep 0.2"),
    Break("path-without-programs", "daemon", environment={"PATH": "/usr/bin:/bin"}),
    Break("ld-preload-gone", "daemon", environment={"LD_PRELOAD": "/nowhere.so"}),
    Break("ld-library-path-gone", "daemon", environment={"LD_LIBRARY_PATH": "/nowhere"}),
    Break("DevicePolicy-closed", "daemon", daemon=_DEVICE_POLICY),
    Break("another-containerd", "daemon", after=_ANOTHER),
    Break("xdg-runtime-dir-gone", "daemon", environment={"XDG_RUNTIME_DIR": "/nowhere"}),
    Break("containerd-replaced", "daemon", after="cp /usr/local/bin/containerd /x; mv /x /usr/local/bin/containerd"),
)
