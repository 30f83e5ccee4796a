"""Breaks by options and by plugins of containerd, and of the files that it keeps for itself."""

from __future__ import annotations

from lab.sabotage.row import ROOT, rows

_OVERLAY = '[plugins."io.containerd.snapshotter.v1.overlayfs"]\n'

MOUNTS = rows(
    "folder",
    "after",
    {
        f"mounts-{name}": f"rm -rf {ROOT}/tmpmounts; {script.format(f'{ROOT}/tmpmounts')}"
        for name, script in {
            "read-only": "mkdir {0}; remount ro {0}",
            "is-a-file": ": > {0}",
            "immutable": "mkdir {0}; chattr +i {0}",
            "mode-0700": "mkdir -m 700 {0}",
        }.items()
    },
)
OPTIONS = rows(
    "configuration",
    "config",
    {
        **{
            f"overlay-option-{option.partition('=')[0].replace('_', '-')}": {
                "top": f'{_OVERLAY}mount_options = ["{option}"]'
            }
            for option in ("metacopy=on", "index=on", "nfs_export=on", "volatile", "nobody", "ro", "noexec")
        },
        "io-type-streaming": {"type": 'runtime_type = "io.containerd.runc.v2"\n      io_type = "streaming"'},
        **{
            f"disabled-{plugin.rpartition('.')[2]}": {"top": f'disabled_plugins = ["io.containerd.{plugin}"]'}
            for plugin in (
                "podsandbox.controller.v1.podsandbox",
                "cri.v1.images",
                "runtime.v2.task",
                "nri.v1.nri",
                "internal.v1.opt",
            )
        },
    },
)
