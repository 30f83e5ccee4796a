"""Breaks of single places that runtime and kubelet use: folders below their roots, flags of inodes and mounts."""

from __future__ import annotations

from lab.sabotage.row import ROOT, STATE, Break, rows

_KUBELET = "/var/lib/kubelet"
_SNAPSHOTS = f"{ROOT}/io.containerd.snapshotter.v1.overlayfs"
_CRI = "io.containerd.grpc.v1.cri"
_TASKS = "io.containerd.runtime.v2.task"

FOLDERS = {
    "state-tasks": f"{STATE}/{_TASKS}/k8s.io",
    "state-sandboxes": f"{STATE}/{_CRI}/sandboxes",
    "state-shims": f"{STATE}/s",
    "state-runc": f"{STATE}/runc/k8s.io",
    "root-tasks": f"{ROOT}/{_TASKS}/k8s.io",
    "root-sandboxes": f"{ROOT}/{_CRI}/sandboxes",
    "root-containers": f"{ROOT}/{_CRI}/containers",
    "snapshots": f"{_SNAPSHOTS}/snapshots",
    "pods": f"{_KUBELET}/pods",
    "netns": "/run/netns",
    "cni-cache": "/var/lib/cni",
    "pod-logs": "/var/log/pods",
}
"""Places in which something is made for each Pod."""
INSIDE = (
    *rows("folder", "after", {f"{name}-read-only": f"mkdir -p {p}; remount ro {p}" for name, p in FOLDERS.items()}),
    *rows(
        "folder",
        "after",
        {
            f"{name}-{what}": f"mkdir -p {FOLDERS[name]}; {script.format(FOLDERS[name])}"
            for name, what, script in (
                ("state-tasks", "full", "cover {0} size=4k,mode=711; fill {0}"),
                ("state-tasks", "without-inodes", "cover {0} nr_inodes=1,mode=711"),
                ("pods", "full", "cover {0} size=4k; fill {0}"),
                ("pods", "without-inodes", "cover {0} nr_inodes=1"),
                ("pods", "ramfs", "mount -t ramfs none {0}"),
                ("pods", "nosymfollow", "remount nosymfollow {0}"),
            )
        },
    ),
    *rows(
        "folder",
        "after",
        {
            "pods-is-a-file": f"rm -rf {_KUBELET}/pods; : > {_KUBELET}/pods",
            **{
                f"{name}-dangling-link": f"rm -rf {FOLDERS[name]}; mkdir -p $(dirname {FOLDERS[name]}); "
                f"ln -s /nowhere/at/all {FOLDERS[name]}"
                for name in ("pods", "state-tasks", "root-containers", "cni-cache", "pod-logs", "netns")
            },
            "netns-is-a-file": "rm -rf /run/netns; : > /run/netns",
            "shims-is-a-file": f"rm -rf {STATE}/s; : > {STATE}/s",
            "cni-cache-is-a-file": "rm -rf /var/lib/cni; : > /var/lib/cni",
            "pod-logs-is-a-file": "rm -rf /var/log/pods; : > /var/log/pods",
            "pause-layer-emptied": f"rm -rf {_SNAPSHOTS}/snapshots/1/fs/*",
            "pause-image-gone": "ctr -n k8s.io images rm sabotage.test/pause:1",
            "etc-hosts-gone": "rm /etc/hosts",
            "etc-hosts-is-a-directory": "rm /etc/hosts; mkdir /etc/hosts",
            "var-run-gone": "rm -rf /var/run",
            "socket-gone": f"rm {STATE}/containerd.sock",
        },
    ),
    *rows(
        "folder",
        "before",
        {
            "layers-ramfs": f"mkdir -p {_SNAPSHOTS}/snapshots; mount -t ramfs none {_SNAPSHOTS}/snapshots",
            "sandbox-files-ramfs": f"mkdir {ROOT}/{_CRI}; mount -t ramfs none {ROOT}/{_CRI}",
            "sandbox-files-nosymfollow": f"mkdir {ROOT}/{_CRI}; cover {ROOT}/{_CRI} nosymfollow",
            "state-setgid": f"mkdir {STATE}; chmod 2711 {STATE}; chown :1000 {STATE}",
            "state-other-owner": f"mkdir -m 711 {STATE}; chown 1000:1000 {STATE}",
            "state-overlay": f"mkdir {STATE}; overlay {STATE}; chmod 711 {STATE}",
            "runtime-root-linked": f"mkdir -m 700 /srv/r; umount {ROOT}; rmdir {ROOT}; ln -s /srv/r {ROOT}",
        },
    ),
)
_FIXED = {
    "state": STATE,
    "state-tasks": FOLDERS["state-tasks"],
    "snapshots": FOLDERS["snapshots"],
    "pods": FOLDERS["pods"],
    "tmp": "/tmp",
    "run": "/run",
}
FLAGS = rows(
    "flag",
    "after",
    {
        **{f"immutable-{name}": f"mkdir -p {path}; chattr +i {path}" for name, path in _FIXED.items()},
        **{
            f"{kind}-{name}": f"mount --make-{kind} {path}"
            for kind in ("unbindable", "private")
            for name, path in (
                ("root", "/"),
                ("dev", "/dev"),
                ("runtime-root", ROOT),
                ("kubelet-root", _KUBELET),
            )
        },
        "runbindable-root": "mount --make-runbindable /",
        **{f"nosymfollow-{name}": script for name, script in (("programs", "remount nosymfollow /usr/local/bin"),)},
        "noexec-cni": "remount noexec /opt/cni/bin",
    },
)
APPEND = rows(
    "flag", "after", {f"append-only-{name}": f"mkdir -p {path}; chattr +a {path}" for name, path in _FIXED.items()}
)
_SUBVOLUME = (
    "disk btrfs /srv/b; btrfs -q subvolume create /srv/b/s; chmod 711 /srv/b/s; mkdir -p {0}; mount --bind /srv/b/s {0}"
)
SUBVOLUMES = (
    *APPEND,
    *(
        Break(
            f"subvolume-read-only-{name}",
            "flag",
            before=_SUBVOLUME.format(path),
            after=f"mkdir -p {path}/pods; btrfs property set /srv/b/s ro true",
        )
        for name, path in (
            ("state", STATE),
            ("runtime-root", ROOT),
            ("kubelet-root", _KUBELET),
            ("tmp", "/tmp"),
            ("pod-logs", "/var/log/pods"),
        )
    ),
)
ACLS = rows(
    "acl",
    "after",
    {
        f"acl-{who}-{what}-{name}": f"acl {path} {ids} {rights}"
        for name, path in (("state", STATE), ("pods", f"{_KUBELET}/pods"))
        for who, ids in (("of-a-pod", 65536 * 1000), ("of-a-user", 1000))
        for what, rights in (("denies", 0), ("allows", 7))
    },
)
"""Entries of acl(5) of the first ID of the first Pod, and of a user of the node."""
PLACES: tuple[Break, ...] = (*INSIDE, *FLAGS, *ACLS)
