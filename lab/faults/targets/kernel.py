"""What /proc and /sys say; a part of it every process chooses itself: its name, its arguments, its cgroup."""

from __future__ import annotations

from lab.faults.targets.target import DATA, HOSTS, Target, files, lines, parsed, reads
from probe.facts import kernel
from probe.facts.filesystems.revealing import visibility
from probe.facts.ids import pods
from probe.facts.runtime.daemon import parse_flag, parse_listeners
from probe.host import mountinfo as mounts
from probe.host.environ import parse_environment, search_path
from probe.host.mount_table import MountTable
from probe.host.mountinfo import printable
from probe.host.processes import in_pod_cgroup, is_stuck, parse_status
from probe.host.sandbox.root import parse_cgroup
from probe.host.sandbox.steps import parse_filesystems
from probe.host.volumes import find_volumes

PROC = "rubbish in what /proc and /sys say"
TABLES = "rubbish in mount tables"
KUBELET_ROOT = "/var/lib/kubelet"
LISTENERS = (
    "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 31337 /run/containerd/containerd.sock\n"
)
UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
ENVIRONMENT = b"PATH=/usr/sbin:/usr/bin\0HOME=/\0LANG=C\0"
MOUNTINFO = lambda: [*files(DATA, "mountinfo/*")(), *files(HOSTS, "*/root/proc/*/mountinfo")()]  # noqa: E731


def read_mounts(data: bytes) -> None:
    """All that is asked of a table; only a whole /proc that nothing covers is visible."""
    table = mounts.parse_mountinfo(data)
    tree = MountTable(table)
    for fstype in ("proc", "sysfs"):
        seen = visibility(tree, fstype)
        assert seen.visible != bool(seen.covering)
        assert not seen.visible or any(mount.fstype == fstype and mount.root == "/" for mount in table)
    for volume in find_volumes(tree, KUBELET_ROOT):
        printable(volume.mount.mount_point).encode()
        assert tree.below(volume.mount.mount_point) < len(table)
        tree.server_above(volume.mount.mount_point)


def read_status(data: bytes) -> None:
    """A name cannot stand for another field, and only what is root's can hold a device."""
    fields = parsed(parse_status, data)
    if fields is not None and parsed(lambda text: is_stuck(parse_status(text)), data):
        assert set(fields["Uid"].split()) == {"0"}


def read_cgroup(data: bytes) -> None:
    """A Pod's cgroup is found whatever stands around it."""
    text = data.decode("utf-8", "surrogateescape")
    in_pod_cgroup(text, text)
    assert in_pod_cgroup(f"{text}\n3:pids:/kubepods/burstable/pod1/2\n{text}", "")
    for uid in pods.parse_pod_uids(text):
        assert len(uid) in (32, 36)
    parsed(kernel.parse_cgroup_version, data)


def read_words(data: bytes) -> None:
    """Arguments and environment of a process."""
    words = [word.decode("utf-8", "surrogateescape") for word in data.split(b"\0")[:-1]]
    parse_flag(words, "config", "c")
    environment = parse_environment(data)
    assert all(directory.startswith("/") for directory in search_path(environment))


def read_filesystems(data: bytes) -> None:
    """A type is what the last line that has it says, whatever stands before."""
    types = parsed(parse_filesystems, data)
    if types is not None:
        text = data.decode()
        assert parse_filesystems(f"{text}\nnodev\tcgroup2\n\text4\n") == types | {"cgroup2": False, "ext4": True}


def read_cgroup_mount(data: bytes) -> None:
    """A mount of cgroup version 2 is found behind all others, and no option is passed on that mount(2) takes apart."""
    lines = data.splitlines(keepends=True)
    kind, options = parse_cgroup(lines) or ("cgroup", "")
    assert kind in ("cgroup", "cgroup2")
    assert not {"rw", "ro"} & set(options.split(","))
    assert parse_cgroup([*lines, UNIFIED.encode()]) == ("cgroup2", "")


def read_listeners(data: bytes) -> None:
    """A line of somebody else hides none of the daemon's."""
    text = data.decode("utf-8", "replace")
    assert "socket:[31337]" in parse_listeners(f"{LISTENERS}{text}", "/run/containerd/containerd.sock")


def read_word(data: bytes) -> None:
    """Names, numbers and lists of one line."""
    for parser in (kernel.parse_boot_id, kernel.parse_lsm, kernel._word, int):
        found = parsed(lambda text, parser=parser: parser(text.strip()), data)
        assert found is None or str(found).isprintable()


TARGETS = (
    Target(
        name="mountinfo",
        group=TABLES,
        attempt=lambda data: parsed(read_mounts, data, text=False),
        corpus=MOUNTINFO,
        tokens=("proc", "sysfs", "/proc", " - ", "idmapped", "unbindable", "shared:1", "\\040", "\\134", KUBELET_ROOT),
    ),
    Target(
        "cgroup-mount", TABLES, read_cgroup_mount, MOUNTINFO, (" - cgroup ", " - cgroup2 ", "/sys/fs/cgroup", "rw,")
    ),
    Target("filesystems", PROC, read_filesystems, files(HOSTS, "*/root/proc/filesystems"), ("nodev", "cgroup2")),
    Target("status", PROC, read_status, files(HOSTS, "*/root/proc/*/status"), ("Uid:\t0", "State:\tD", "SigPnd:\t100")),
    Target("cgroup", PROC, read_cgroup, files(HOSTS, "*/root/proc/*/cgroup"), ("kubepods", "pod", ".slice", "docker")),
    Target("words", PROC, read_words, lambda: [*files(HOSTS, "*/root/proc/*/cmdline")(), ENVIRONMENT], ("--config",)),
    Target("uid_map", PROC, reads(pods._parse_own_map), files(HOSTS, "*/root/proc/*/uid_map")),
    Target("listeners", PROC, read_listeners, lines(LISTENERS), ("/run/containerd/containerd.sock", "00010000")),
    Target("word", PROC, read_word, files(HOSTS, "*/root/proc/sys/**/*", "*/root/sys/**/lsm")),
    Target(
        "os-release",
        PROC,
        reads(kernel.parse_os_release),
        files(HOSTS, "*/root/etc/os-release"),
        ("ID=", "VERSION_ID="),
    ),
)
