"""Breaks of what hooks, shims and OCI runtimes are given: environments, time, annotations, options of mounts."""

from __future__ import annotations

from typing import Any

from lab.sabotage.row import Break, rows

_HOOK = "/srv/hook"
_SCRIPT = f"script {_HOOK} 'exit 0'; sed -i '1s,/bin/sh,/usr/bin/env sh,' {_HOOK}"
_NEEDY = f"needy {_HOOK} /bin/true; libx /srv/lib"
_SHIMS = '[plugins."io.containerd.shim.v1.manager"]\nenv = ["{}"]'
_LAZY = '[proxy_plugins.lazy]\ntype = "snapshot"\naddress = "/run/lazy.sock"\ncapabilities = ["remap-ids"]'


def _hook(**more: Any) -> dict[str, Any]:
    return {"hooks": {"createContainer": [{"path": _HOOK, **more}]}}


def _tmpfs(option: str) -> dict[str, Any]:
    return {"mounts": [{"destination": "/extra", "type": "tmpfs", "source": "tmpfs", "options": [option]}]}


GIVEN = (
    *rows(
        "specification",
        "specification",
        {
            "annotation-for-crun": {"annotations": {"run.oci.handler": "nobody"}},
            "annotation-for-systemd": {"annotations": {"org.systemd.property.TasksMax": "'x'"}},
            "annotation-for-nobody": {"annotations": {"example.com/team": "a"}},
            "mount-tmpfs-unknown-option": _tmpfs("nobody=1"),
            "mount-tmpfs-of-a-missing-node": _tmpfs("mpol=bind:63"),
            "mount-tmpfs-sized": _tmpfs("size=64k"),
        },
    ),
    *(
        Break(name, "specification", before=script, specification=_hook(**more))
        for name, script, more in (
            ("hook-without-time", f"cp /bin/true {_HOOK}", {"timeout": 0}),
            ("hook-with-time", f"cp /bin/true {_HOOK}", {"timeout": 9}),
            ("hook-own-path", _SCRIPT, {"env": ["PATH=/bin"]}),
            ("hook-own-path-gone", _SCRIPT, {"env": ["PATH=/nowhere"]}),
            ("hook-own-libraries", _NEEDY, {"env": ["LD_LIBRARY_PATH=/srv/lib"]}),
            ("hook-own-libraries-gone", _NEEDY, {"env": ["LD_LIBRARY_PATH=/nowhere"]}),
        )
    ),
    *rows(
        "configuration",
        "config",
        {
            "shims-tmpdir": {"top": _SHIMS.format("TMPDIR=/var")},
            "shims-tmpdir-gone": {"top": _SHIMS.format("TMPDIR=/nowhere")},
            "snapshotter-not-running": {"top": _LAZY, "images": 'snapshotter = "lazy"'},
        },
    ),
)
