"""Breaks of the runtime: its programs, its configuration, its base specification."""

from __future__ import annotations

from lab.sabotage.row import rows

_RUNC, _CRUN, _SHIM = "/usr/local/bin/runc", "/usr/local/bin/crun", "/usr/local/bin/containerd-shim-runc-v2"
_ICMP = "net.ipv4.ping_group_range"
_LIES = 'case "$*" in *features* | *--version*) exec /opt/real "$@" ;; esac; echo "sabotage" >&2; exit 1'
PROGRAMS = rows(
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
CONFIGURATIONS = rows(
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
SPECIFICATIONS = rows(
    "specification",
    "specification",
    {
        "hook-fails": {"hooks": {"createRuntime": [{"path": "/bin/false"}]}},
        "hook-gone": {"hooks": {"prestart": [{"path": "/nowhere"}]}},
        "hook-works": {"hooks": {"createRuntime": [{"path": "/bin/true"}]}},
        "hook-inside-fails": {"hooks": {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}},
        "hook-only-for-mapped-root": {
            "hooks": {
                "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "grep -q 4294967295 /proc/self/uid_map"]}]
            }
        },
        "sysctl-ping-group-range": {"linux": {"sysctl": {_ICMP: "0 2147483647"}}},
        "sysctl-unprivileged-port": {"linux": {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}}},
        "sysctl-shm": {"linux": {"sysctl": {"kernel.shm_rmid_forced": "1"}}},
        "sysctl-unknown": {"linux": {"sysctl": {"net.nobody.knows": "1"}}},
        "rlimit-nofile": {"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "hard": 1 << 40, "soft": 1 << 40}]}},
        "mount-cgroup-gone": {
            "mounts": [{"destination": "/extra", "type": "bind", "source": "/nowhere", "options": ["bind"]}]
        },
        "mount-of-root-only-folder": {
            "mounts": [{"destination": "/extra", "type": "bind", "source": "/root", "options": ["rbind", "ro"]}]
        },
        "mount-debugfs": {"mounts": [{"destination": "/extra", "type": "debugfs", "source": "debugfs"}]},
    },
)
