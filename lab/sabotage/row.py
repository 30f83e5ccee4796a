"""One way to break a node, as a row of a table.

A break is made on a fresh node, which is thrown away afterwards: nothing has to be undone. All shell runs inside.
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
    only_trial: str = ""
    """Reason why nothing but `--try-pod` can see it: without the option, `ready` is no surprise here."""


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
cover() { mount -t tmpfs -o "${2:-rw}" none "$1"; } # DIRECTORY [OPTIONS]
overlay() { # DIRECTORY
    mkdir /srv/lower /srv/upper /srv/work
    mount -t overlay -o lowerdir=/srv/lower,upperdir=/srv/upper,workdir=/srv/work none "$1"
}
remount() { # OPTIONS DIRECTORY: of this mount alone
    mount --rbind "$2" "$2"
    mount -o "remount,bind,$1" "$2"
}
fill() { dd if=/dev/zero of="$1/filler" bs=64k 2> /dev/null || :; }
foreign() { # PATH: a program of another machine, EM_S390 in its ELF header
    printf '\177ELF\2\2\1\0\0\0\0\0\0\0\0\0\0\2\0\26' > /foreign
    head -c 4096 /dev/zero >> /foreign
    chmod 755 /foreign
    mv /foreign "$1"
}
acl() { # DIRECTORY UID RIGHTS: an entry for that user; all others keep what they may
    mkdir -p "$1"
    perl -e 'my ($path, $uid, $rights) = @ARGV;
        my ($name, $mode) = ("system.posix_acl_access", (stat $path)[2]);
        my $list = pack "V", 2;
        $list .= pack "vvV", @$_ for [1, $mode >> 6 & 7, 4294967295], [2, $rights, $uid],
            [4, $mode >> 3 & 7, 4294967295], [16, 7, 4294967295], [32, $mode & 7, 4294967295];
        syscall(188, $path, $name, $list, length $list, 0) and die "setxattr: $!"' "$1" "$2" "$3"
}
linked() { # COPY PROGRAM: which a dynamic linker of its own starts, /lob… for /lib…
    perl -0777 -pe 's,(?<=/l)i(?=b[^\0]*/ld-[^\0]*\0),o,' "$2" > "$1"
    chmod 755 "$1"
    loader=$(perl -0777 -ne 'print $1 if m,(/lob[^\0]*/ld-[^\0]*)\0,' "$1")
    mkdir -p "${loader%/*}"
    cp "$(printf %s "$loader" | sed 's,/lob,/lib,')" "$loader"
    chmod 755 "$loader"
}
needy() { # COPY PROGRAM: which needs libx.so.6 in place of the libc.so.6 of everybody else
    perl -0777 -pe 's,\0libc\.so\.6\0,\0libx.so.6\0,g' "$2" > "$1"
    chmod 755 "$1"
}
libx() { # DIRECTORY, which gets that library
    mkdir -p "$1"
    cp "$(ldd /bin/true | perl -ne 'print $1 if /libc\.so\.6 => (\S+)/')" "$1/libx.so.6"
}
wrap() { # PATH INTERPRETER: a script of that interpreter starts what was there
    mv "$1" "/opt/wrapped-${1##*/}"
    script "$1" "exec /opt/wrapped-${1##*/} \"\$@\""
    sed -i "1s,/bin/sh,$2," "$1"
}
script() { # PATH LINES: a program in place of the one that is there
    rm -f "$1"
    printf '#!/bin/sh\n%s\n' "$2" > "$1"
    chmod 755 "$1"
}
"""
"""Functions that all shell of a row may call."""

STATE = "/run/containerd"
ROOT = "/var/lib/containerd"
"""Of containerd."""


def rows(kind: str, field_name: str, rows: Mapping[str, Any]) -> tuple[Break, ...]:
    """A row for each name, whose value stands in the field of that name."""
    return tuple(Break(name, kind, **{field_name: value}) for name, value in rows.items())
