"""Breaks of what starts a program: its shared libraries, the program that env(1) looks for, set-user-ID."""

from __future__ import annotations

from dataclasses import replace

from lab.sabotage.row import Break, rows

_RUNC, _CRUN, _SHIM = "/usr/local/bin/runc", "/usr/local/bin/crun", "/usr/local/bin/containerd-shim-runc-v2"
_PLUGIN = "/opt/cni/bin/still"
_NEEDY = "needy /srv/sh /bin/sh"
_NEWER = r"perl -0777 -pe 's,\0GLIBC_2\.,\0GLIBC_9.,g' /bin/sh > /srv/sh; chmod 755 /srv/sh"
_THERE = {"LD_LIBRARY_PATH": "/srv/lib"}
_HOOK = "/srv/hook"
_PATH = "/srv/private:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

STARTED = (
    *rows(
        "program",
        "after",
        {
            "shim-library-gone": f"{_NEEDY}; wrap {_SHIM} /srv/sh",
            "runc-library-gone": f"{_NEEDY}; wrap {_RUNC} /srv/sh",
            "crun-library-gone": f"{_NEEDY}; wrap {_CRUN} /srv/sh",
            "cni-plugin-library-gone": f"{_NEEDY}; wrap {_PLUGIN} /srv/sh",
            "shim-library-too-old": f"{_NEWER}; wrap {_SHIM} /srv/sh",
            "runc-library-too-old": f"{_NEWER}; wrap {_RUNC} /srv/sh",
            "shim-env-there": f"wrap {_SHIM} '/usr/bin/env sh'",
            "runc-env-there": f"wrap {_RUNC} '/usr/bin/env sh'",
            "shim-env-gone": f"wrap {_SHIM} '/usr/bin/env nobody'",
            "runc-env-gone": f"wrap {_RUNC} '/usr/bin/env nobody'",
            "crun-env-gone": f"wrap {_CRUN} '/usr/bin/env nobody'",
            "cni-plugin-env-gone": f"wrap {_PLUGIN} '/usr/bin/env nobody'",
            "runc-env-with-options": f"wrap {_RUNC} '/usr/bin/env sh -e'",
            "runc-env-split": f"wrap {_RUNC} '/usr/bin/env -S sh -e'",
        },
    ),
    Break(
        "shim-library-elsewhere",
        "program",
        after=f"{_NEEDY}; libx /srv/lib; wrap {_SHIM} /srv/sh",
        environment=_THERE,
    ),
    Break(
        "runc-library-elsewhere",
        "program",
        after=f"{_NEEDY}; libx /srv/lib; wrap {_RUNC} /srv/sh",
        environment=_THERE,
    ),
    Break(
        "runc-library-empty",
        "program",
        after=f"{_NEEDY}; mkdir /srv/lib; : > /srv/lib/libx.so.6; wrap {_RUNC} /srv/sh",
        environment=_THERE,
    ),
    Break(
        "runc-library-noexec",
        "program",
        after=f"{_NEEDY}; libx /srv/lib; remount noexec /srv/lib; wrap {_RUNC} /srv/sh",
        environment=_THERE,
    ),
    Break(
        "binary-by-name-empty-before-a-good-one",
        "program",
        after="mkdir /srv/first; : > /srv/first/runc; chmod 755 /srv/first/runc",
        environment={"PATH": f"/srv/first:{_PATH}"},
        config={"binary": 'BinaryName = "{name}"'},
    ),
    *(
        Break(
            f"{what}-set-user-id-no-new-privs",
            "program",
            after=f"chown 65534 {path}; chmod 4755 {path}",
            daemon='exec setpriv --no-new-privs "$@"',
        )
        for what, path in (("shim", _SHIM), ("runc", _RUNC))
    ),
)
_HOOKS = {
    "createContainer": {
        "hook-library-gone": f"needy {_HOOK} /bin/true",
        "hook-library-too-old": f"{_NEWER}; cp /srv/sh {_HOOK}",
        "hook-library-not-for-others": f"cp /bin/ls {_HOOK}; chmod 640 $(realpath /lib/*/libselinux.so.1)",
        "hook-env-gone": f"script {_HOOK} 'exit 0'; sed -i '1s,/bin/sh,/usr/bin/env nobody,' {_HOOK}",
        "hook-env-there": f"script {_HOOK} 'exit 0'; sed -i '1s,/bin/sh,/usr/bin/env sh,' {_HOOK}",
        "hook-env-in-a-private-folder": f"mkdir -m 700 /srv/private; cp /bin/sh /srv/private/she; script {_HOOK} "
        f"'exit 0'; sed -i '1s,/bin/sh,/usr/bin/env she,' {_HOOK}",
    },
    "createRuntime": {
        "hook-outside-interpreter-gone": f"script {_HOOK} 'exit 0'; sed -i 1s,/bin/sh,/nowhere, {_HOOK}",
        "hook-outside-library-gone": f"needy {_HOOK} /bin/true",
        "hook-outside-env-gone": f"script {_HOOK} 'exit 0'; sed -i '1s,/bin/sh,/usr/bin/env nobody,' {_HOOK}",
        "hook-outside-library-not-for-others": f"cp /bin/ls {_HOOK}; chmod 640 $(realpath /lib/*/libselinux.so.1)",
    },
}
HOOKS_STARTED = tuple(
    replace(
        Break(name, "specification", before=script, specification={"hooks": {stage: [{"path": _HOOK}]}}),
        environment={"PATH": _PATH},
    )
    for stage, scripts in _HOOKS.items()
    for name, script in scripts.items()
)
