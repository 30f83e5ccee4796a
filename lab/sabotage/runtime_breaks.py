"""Breaks of the runtime: its programs, its configuration, its base specification."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from lab.sabotage.row import Break, rows

_RUNC, _CRUN, _SHIM = "/usr/local/bin/runc", "/usr/local/bin/crun", "/usr/local/bin/containerd-shim-runc-v2"
_ICMP = "net.ipv4.ping_group_range"
_LIES = 'case "$*" in *features* | *--version*) exec /opt/real "$@" ;; esac; echo "sabotage" >&2; exit 1'


def _network(file: str, plugin: str, **more: Any) -> str:
    """Shell that configures a network of that plugin."""
    content = json.dumps({"cniVersion": "1.0.0", "name": plugin, "type": plugin, **more})
    return f"echo '{content}' > /etc/cni/net.d/{file}; sleep 1"


def _device(path: str) -> dict[str, Any]:
    """A specification with the device null by that name."""
    return {"linux": {"devices": [{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 438}]}}


def _limit(name: str, value: int) -> dict[str, Any]:
    return {"type": f"RLIMIT_{name}", "hard": value, "soft": value}


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
        "runc-without-interpreter": f"rm {_RUNC}; printf '#!/nowhere\\n' > {_RUNC}; chmod 755 {_RUNC}",
        "runc-of-another-machine": f"foreign {_RUNC}",
        "runc-drops-capabilities": f"""mv {_RUNC} /opt/real; script {_RUNC} 'exec setpriv --bounding-set=-sys_admin \\
/opt/real "$@"'""",
        "runc-wrapped-for-create": f"""mv {_RUNC} /opt/real; script {_RUNC} 'exec /opt/real --debug "$@"'""",
        "shim-empty": f"rm {_SHIM}; : > {_SHIM}; chmod 755 {_SHIM}",
        "shim-truncated": f"head -c 100000 {_SHIM} > {_SHIM}.new; chmod 755 {_SHIM}.new; mv {_SHIM}.new {_SHIM}",
        "shim-of-another-machine": f"foreign {_SHIM}",
        "shim-without-interpreter": f"rm {_SHIM}; printf '#!/nowhere\\n' > {_SHIM}; chmod 755 {_SHIM}",
        "shim-is-a-directory": f"rm {_SHIM}; mkdir {_SHIM}",
        "shim-link-dangles": f"rm {_SHIM}; ln -s /nowhere {_SHIM}",
        "runc-is-crun": f"cp {_CRUN} {_RUNC}.new; mv {_RUNC}.new {_RUNC}",
        "runc-set-user-id": f"chown 65534 {_RUNC}; chmod 4755 {_RUNC}",
        "runc-writable-for-all": f"chmod 777 {_RUNC}",
        "crun-gone": f"rm {_CRUN}",
        "crun-fails": f"script {_CRUN} 'exit 1'",
        "crun-lies": f"mv {_CRUN} /opt/real; script {_CRUN} '{_LIES}'",
        "shim-gone": f"rm {_SHIM}",
        "shim-not-executable": f"chmod 644 {_SHIM}",
        "shim-fails": f"script {_SHIM} 'exit 1'",
        "shim-wrapped": f"""mv {_SHIM} /opt/shim; script {_SHIM} 'exec /opt/shim "$@"'""",
        "shim-set-user-id": f"chown 65534 {_SHIM}; chmod 4755 {_SHIM}",
        "cni-plugin-set-user-id": "chown 65534 /opt/cni/bin/still; chmod 4755 /opt/cni/bin/still",
        "cni-plugin-gone": "rm /opt/cni/bin/still",
        "cni-plugin-not-executable": "chmod 644 /opt/cni/bin/still",
        "cni-plugin-empty": "rm /opt/cni/bin/still; : > /opt/cni/bin/still; chmod 755 /opt/cni/bin/still",
        "cni-plugin-of-another-machine": "foreign /opt/cni/bin/still",
        "cni-plugin-without-interpreter": "sed -i 1s,/bin/sh,/nowhere, /opt/cni/bin/still",
        "cni-plugin-is-a-directory": "rm /opt/cni/bin/still; mkdir /opt/cni/bin/still",
        "cni-loopback-of-another-machine": "foreign /opt/cni/bin/loopback",
        "cni-version-unknown": "sed -i s/1.0.0/9.9.9/ /etc/cni/net.d/10-still.conf; sleep 1",
        "cni-second-configuration-broken": "echo '{' > /etc/cni/net.d/20-more.conf; sleep 1",
        "cni-first-configuration-broken": "echo '{' > /etc/cni/net.d/05-more.conf; sleep 1",
        "cni-first-configuration-of-a-missing-plugin": _network("05-more.conf", "more"),
        "cni-ipam-gone": _network("10-still.conf", "still", ipam={"type": "nobody"}),
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
        "runtime-type-unknown": {"type": 'runtime_type = "io.containerd.nobody.v9"'},
        "runtime-type-old": {"type": 'runtime_type = "io.containerd.runtime.v1.linux"'},
        "runtime-path-gone": {"type": 'runtime_type = "io.containerd.runc.v2"\n      runtime_path = "/nowhere"'},
        "binary-gone": {"binary": 'BinaryName = "/nowhere/{name}"'},
        "binary-by-name": {"binary": 'BinaryName = "{name}"'},
        "binary-relative": {"binary": 'BinaryName = "./{name}"'},
        "runc-root-elsewhere": {"options": 'Root = "/srv/runc"'},
        "runc-root-is-a-file": {"options": 'Root = "/etc/hosts/x"'},
        "runc-root-on-proc": {"options": 'Root = "/proc/runc"'},
        "runc-root-on-sys": {"options": 'Root = "/sys/runc"'},
        "shim-cgroup-gone": {"options": 'ShimCgroup = "/nowhere"'},
        "shim-cgroup-root": {"options": 'ShimCgroup = "/"'},
        "sandboxer-shim": {"runtime": 'sandboxer = "shim"'},
        "sandboxer-unknown": {"runtime": 'sandboxer = "nobody"'},
        "handler-snapshotter-native": {"runtime": 'snapshotter = "native"'},
        "handler-snapshotter-unknown": {"runtime": 'snapshotter = "nobody"'},
        "cgroup-writable": {"runtime": "cgroup_writable = true"},
        "netns-under-state": {"cri": "restrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true"},
        "state-in-private-folder": {"state": "/srv/p/containerd"},
        "state-elsewhere": {"state": "/srv/containerd"},
        "base-specification-gone": {"runtime": 'base_runtime_spec = "/nowhere.json"'},
    },
)
_MORE_LIMITS = (
    *(("CPU", number) for number in (0, 1)),
    *(("STACK", number) for number in (8192, 65536)),
    *(("AS", number) for number in (1 << 20, 1 << 30)),
    *(("DATA", number) for number in (0, 1 << 20)),
    *(("NOFILE", number) for number in (3, 8)),
    *((name, 0) for name in ("MEMLOCK", "SIGPENDING", "MSGQUEUE", "CORE", "LOCKS", "RTTIME", "NICE")),
)
"""Of each container: what is left of getrlimit(2)."""
_SOURCES = """
mkdir -p /srv/ro /srv/noexec /srv/shared /srv/unbindable /srv/private/inner
chmod 700 /srv/private
remount ro /srv/ro
remount noexec,nodev,nosuid /srv/noexec
mount --bind /srv/unbindable /srv/unbindable
mount --make-unbindable /srv/unbindable
"""
_SPECIFICATIONS = rows(
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
        "device-gone": _device("/dev/nobody"),
        "device-there": _device("/dev/fuse"),
        "device-under-folder": _device("/dev/more/null"),
        "sysctl-hostname": {"linux": {"sysctl": {"kernel.hostname": "pod"}}},
        "sysctl-pid-max": {"linux": {"sysctl": {"kernel.pid_max": "4096"}}},
        "sysctl-rmem": {"linux": {"sysctl": {"net.core.rmem_default": "262144"}}},
        "sysctl-neighbours": {"linux": {"sysctl": {"net.ipv4.neigh.default.gc_thresh1": "100"}}},
        "sysctl-bad-value": {"linux": {"sysctl": {"net.ipv4.ip_forward": "many"}}},
        **{
            f"rlimit-{name.lower()}-{value}": {"process": {"rlimits": [_limit(name, value)]}}
            for name, value in (("NPROC", 1), ("NPROC", 2), ("NPROC", 8), ("FSIZE", 0), *_MORE_LIMITS)
        },
        "apparmor-profile-gone": {"process": {"apparmorProfile": "nobody"}},
        "scheduler-fifo": {"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 5}}},
        "io-priority": {"process": {"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 1}}},
        "time-offsets": {"linux": {"timeOffsets": {"boottime": {"secs": 5, "nanosecs": 0}}}},
        "pids-limit": {"linux": {"resources": {"pids": {"limit": 1}}}},
        "namespace-time": {"linux": {"namespaces": [{"type": "time"}]}},
        **{
            f"mount-{name}": {
                "mounts": [{"destination": "/extra", "type": fstype, "source": source, "options": options.split(",")}]
            }
            for name, fstype, source, options in (
                ("tmpfs-noswap", "tmpfs", "tmpfs", "noswap"),
                ("tmpfs-of-a-stranger", "tmpfs", "tmpfs", "uid=70000"),
                ("sysfs-writable", "sysfs", "sysfs", "nosuid,noexec,nodev"),
                ("writable-of-read-only", "bind", "/srv/ro", "rbind,rw"),
                ("as-it-is-of-read-only", "bind", "/srv/ro", "rbind"),
                ("executable-of-noexec", "bind", "/srv/noexec", "rbind,exec"),
                ("unbindable-source", "bind", "/srv/unbindable", "rbind"),
                ("idmapped", "bind", "/srv/shared", "rbind,idmap"),
                ("of-proc", "bind", "/proc", "rbind,ro"),
                ("ramfs", "ramfs", "ramfs", "nodev"),
                ("proc-of-a-stranger", "proc", "proc", "gid=70000"),
                ("fuse", "fuse.sshfs", "nobody@nowhere:", "ro"),
                ("without-a-type", "", "/etc/hosts", "ro"),
                ("of-a-relative-path", "bind", "nowhere", "rbind"),
            )
        },
        "mount-debugfs": {"mounts": [{"destination": "/extra", "type": "debugfs", "source": "debugfs"}]},
    },
)
SPECIFICATIONS = tuple(replace(each, before=_SOURCES) for each in _SPECIFICATIONS)

_HOOK = "/srv/hook"
_INTERPRETER = "mkdir -p /srv/in; cp /bin/sh /srv/in/sh; script /srv/hook 'exit 0'; sed -i 1s,/bin,/srv/in, /srv/hook"
_NOEXEC = "mkdir /srv/m; cp /bin/true /srv/m/; remount noexec /srv/m; ln -s /srv/m/true /srv/hook"
_LOADER = "linked /srv/hook /bin/true"
_HOOKS = {
    "createContainer": {
        "hook-interpreter-for-all": _INTERPRETER,
        "hook-interpreter-in-a-private-folder": f"{_INTERPRETER}; chmod 700 /srv/in",
        "hook-interpreter-not-for-others": f"{_INTERPRETER}; chmod 750 /srv/in/sh",
        "hook-interpreter-only-readable": f"{_INTERPRETER}; chmod 744 /srv/in/sh",
        "hook-interpreter-only-executable": f"{_INTERPRETER}; chmod 711 /srv/in/sh",
        "hook-interpreter-noexec": f"{_INTERPRETER}; remount noexec /srv/in",
        "hook-interpreter-linked-to-a-private-folder": f"{_INTERPRETER}; mkdir -m 700 /srv/shut; "
        "mv /srv/in/sh /srv/shut; ln -s /srv/shut/sh /srv/in/sh",
        "hook-interpreter-of-the-interpreter-not-for-others": f"{_INTERPRETER}; mv /srv/in/sh /srv/in/real; "
        "printf '#!/srv/in/real\\n' > /srv/in/sh; chmod 755 /srv/in/sh; chmod 750 /srv/in/real",
        "hook-loader-for-all": _LOADER,
        "hook-loader-in-a-private-folder": f"{_LOADER}; chmod 700 /lob*",
        "hook-loader-not-executable": f"{_LOADER}; chmod 644 /lob*/*",
        "hook-loader-noexec": f"{_LOADER}; remount noexec /lob*",
        "hook-program-only-executable": f"cp /bin/true {_HOOK}; chmod 711 {_HOOK}",
        "hook-script-only-executable": f"{_INTERPRETER}; chmod 711 {_HOOK}",
        "hook-noexec": _NOEXEC,
    },
    "poststart": {"hook-late-not-executable": f"{_INTERPRETER}; chmod 644 {_HOOK}", "hook-late-gone": "true"},
    "createRuntime": {
        "hook-outside-interpreter-in-a-private-folder": f"{_INTERPRETER}; chmod 700 /srv/in",
        "hook-outside-not-executable": f"{_INTERPRETER}; chmod 644 {_HOOK}",
        "hook-outside-is-a-directory": f"mkdir -p {_HOOK}",
        "hook-outside-interpreter-not-executable": f"{_INTERPRETER}; chmod 644 /srv/in/sh",
        "hook-outside-interpreter-noexec": f"{_INTERPRETER}; remount noexec /srv/in",
        "hook-outside-loader-not-executable": f"{_LOADER}; chmod 644 /lob*/*",
        "hook-outside-noexec": _NOEXEC,
    },
}
HOOKS = tuple(
    Break(name, "specification", before=script, specification={"hooks": {stage: [{"path": _HOOK}]}})
    for stage, scripts in _HOOKS.items()
    for name, script in scripts.items()
)

_OWN = 'base_runtime_spec = "/srv/base.json"'
_TWICE = "ctr oci spec | sed '1s/{/{ %s,/' > /srv/base.json"
_GONE = '"createContainer": [{"path": "\\/nowhere"}]'
SPELLED = (
    *rows(
        "specification",
        "specification",
        {
            "hooks-in-capitals": {"HOOKS": {"CreateContainer": [{"Path": "/nowhere"}]}},
            "rlimits-in-capitals": {"Process": {"rLimits": [_limit("NOFILE", 3)]}},
            "sysctl-in-capitals": {"Linux": {"Sysctl": {_ICMP: "0 2147483647"}}},
            "hooks-with-a-long-s": {"hook\u017f": {"createContainer": [{"path": "/nowhere"}]}},
        },
    ),
    *(
        Break(name, "specification", before=script, config={"runtime": _OWN})
        for name, script in {
            "hooks-twice": _TWICE % f'"hooks": {{{_GONE}}}, "hooks": {{}}',
            "hooks-then-null": _TWICE % f'"hooks": {{{_GONE}}}, "hooks": null',
            "hooks-twice-last-empty": _TWICE % f'"hooks": {{{_GONE}}}, "hooks": {{"createContainer": []}}',
            "hooks-null-inside": _TWICE % f'"hooks": {{{_GONE}, "CreateContainer": null}}',
            "more-behind-the-specification": "{ ctr oci spec; echo '}{ more'; } > /srv/base.json",
            "specification-of-wrong-types": _TWICE % '"hostname": 5',
        }.items()
    ),
)
SYSCTLS = tuple(
    Break(
        f"sysctl-{name.rpartition('.')[2].replace('_', '-')}",
        "specification",
        specification={"linux": {"sysctl": {name: value}}},
    )
    for name, value in {
        "net.netfilter.nf_conntrack_tcp_timeout_established": "100",
        "net.netfilter.nf_log.2": "NONE",
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.unix.max_dgram_qlen": "20",
        "net.ipv4.ip_default_ttl": "300",
        "net.ipv4.tcp_congestion_control": "nobody",
        "net.ipv4.tcp_rmem": "4096 131072 6291456",
        "net.ipv4.ip_local_port_range": "70000 80000",
        "net.core.somaxconn": "4096",
        "kernel.shmmni": "100000000",
        "fs.mqueue.msg_max": "20",
        "net.netfilter.nf_conntrack_max": "65536",
        "net.ipv4.vs.expire_nodest_conn": "1",
        "net.core.netdev_max_backlog": "2000",
    }.items()
)
