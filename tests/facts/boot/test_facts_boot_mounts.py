"""Mounts that hold the kubelet's directory after a boot."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.boot.fstab import parse_fstab
from probe.facts.boot.model import MountAtBoot, Under
from probe.facts.boot.mounts import boot_automounts, gather_mounts
from probe.facts.boot.units import find_mount_unit, unit_name
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.reading import Reading

PODS = "/var/lib/kubelet/pods"
ROOT = ("/", "ext4", "rw")
ROOT_LINE = "UUID=1 / ext4 errors=remount-ro 0 1\n"


def at_boot(fstab: str | None, *mounts: tuple[str, str, str], **files: str) -> MountAtBoot:
    """The row of the kubelet's directory, with these mounts: mount point, type, options."""
    lines = [
        f"{20 + index} {19 if not index else 20} 8:{index} / {point} {options} - {fstype} /dev/sd{index} rw\n"
        for index, (point, fstype, options) in enumerate((ROOT, *mounts))
    ]
    table = MountTable(parse_mountinfo("".join(lines).encode()))
    host = FakeHost(files={f"/{name}": text for name, text in files.items()}, modified={"/run/systemd/system": 0.0})
    if fstab is not None:
        host.files["/etc/fstab"] = fstab
    (row,) = gather_mounts(host, table, {"kubelet-root": PODS})
    return row


KUBELET = ("/var/lib/kubelet", "xfs", "rw,relatime")


@pytest.mark.parametrize(
    ("fstab", "mounts", "then"),
    [
        (ROOT_LINE, (), ("/", "ext4", (), "")),
        (None, (), ("/", "ext4", (), "")),
        ("", (), ("/", "ext4", (), "")),
        ("UUID=1 / ext4 nosuid,exec,noexec,exec 0 1\n", (), ("/", "ext4", ("nosuid",), "")),
        ("UUID=1 / ext4 user 0 1\n", (), ("/", "ext4", ("nodev", "noexec", "nosuid"), "")),
        ("UUID=1 / auto defaults 0 1\n", (), ("/", "ext4", (), "")),
        (f"{ROOT_LINE}srv:/k /var/lib/kubelet nfs4 defaults 0 0\n", (), ("/var/lib/kubelet", "nfs4", (), "")),
        (f"{ROOT_LINE}srv:/k /var/lib/kubelet nfs4 noauto 0 0\n", (), ("/", "ext4", (), "")),
        (f"{ROOT_LINE}#srv:/k /var/lib/kubelet nfs4 defaults 0 0\n", (), ("/", "ext4", (), "")),
        (f"{ROOT_LINE}srv:/k /var/lib/kube nfs4 defaults 0 0\n", (), ("/", "ext4", (), "")),
        (f"{ROOT_LINE}/dev/sd1 /var/lib/kubelet/ xfs ro 0 0\n", (KUBELET,), ("/var/lib/kubelet", "xfs", ("ro",), "")),
        (f"{ROOT_LINE}/dev/sd1 /var/lib/kubelet xfs\n", (KUBELET,), ("/var/lib/kubelet", "xfs", (), "")),
        (ROOT_LINE, (KUBELET,), ("/", "ext4", (), "/var/lib/kubelet")),
        (ROOT_LINE, (("/var/lib/kubelet", "zfs", "rw"),), ("/var/lib/kubelet", "zfs", (), "")),
        (
            f"{ROOT_LINE}/dev/sd1 /data xfs nosuid 0 0\n/data/k /var/lib/kubelet none bind 0 0\n",
            (("/data", "xfs", "rw"),),
            ("/var/lib/kubelet", "xfs", ("nosuid",), ""),
        ),
        (
            f"{ROOT_LINE}/data/k /var/lib/kubelet none bind 0 0\n",
            (("/data", "xfs", "rw"), KUBELET),
            ("/var/lib/kubelet", "ext4", (), "/data"),
        ),
        (
            f"{ROOT_LINE}/a\\040b /var/lib/kubelet xfs\n/c /var/lib/kubelet ext3\n",
            (),
            ("/var/lib/kubelet", "xfs", (), ""),
        ),
        (f"{ROOT_LINE}srv:/k /var/lib/kubelet nfs4 noauto,auto\n", (), ("/var/lib/kubelet", "nfs4", (), "")),
        (f"{ROOT_LINE}srv:/k /var/lib/kubelet nfs4 auto,noauto\n", (), ("/", "ext4", (), "")),
        (
            f"{ROOT_LINE}srv:/k /var/lib/kubelet nfs4 noauto,x-systemd.wanted-by=kubelet.service\n",
            (),
            ("/var/lib/kubelet", "nfs4", (), ""),
        ),
        (f"{ROOT_LINE}/dev/sd1 /var/lib xfs noauto\n", (("/var/lib", "xfs", "rw"),), ("/", "ext4", (), "/var/lib")),
        (
            f"{ROOT_LINE}/dev/sd1 /var/lib xfs noauto\n/dev/sd2 /var/lib/kubelet/pki xfs defaults\n",
            (("/var/lib", "xfs", "rw"),),
            ("/var/lib", "xfs", (), ""),
        ),
        (
            f"{ROOT_LINE}/dev/sd1 /data xfs noauto,nosuid\n/data/k /var/lib/kubelet none bind\n",
            (("/data", "xfs", "rw"),),
            ("/var/lib/kubelet", "xfs", ("nosuid",), ""),
        ),
    ],
)
def test_after_a_boot(
    fstab: str | None, mounts: tuple[tuple[str, str, str], ...], then: tuple[str, str, tuple[str, ...], str]
) -> None:
    """What fstab mounts counts, then what systemd mounts anyway; a mount that neither has is lost."""
    point, fstype, options, lost = then
    expected = Under(mount_point=point, fstype=fstype, options=options, lost=lost)
    assert at_boot(fstab, *mounts).then.value == expected


def test_automounts_of_boot_loaders() -> None:
    """One that is mounted already is no automount any more."""
    lines = (
        "20 19 8:0 / / rw - ext4 /dev/sda rw",
        "21 20 0:1 / /efi rw - autofs systemd-1 rw",
        "22 20 0:2 / /boot rw - autofs systemd-1 rw",
        "23 22 8:1 / /boot rw - vfat /dev/sdb rw",
    )
    assert boot_automounts(MountTable(parse_mountinfo("\n".join((*lines, "")).encode()))) == ("/efi",)


NAME = "var-lib-kubelet.mount"
UNIT = "[Unit]\n[Mount]\nWhat=/dev/sd1\nWhere=/var/lib/kubelet\nType=xfs\n[Install]\nWantedBy=local-fs.target\n"
ETC, VENDOR, RUN = "etc/systemd/system", "usr/lib/systemd/system", "run/systemd"
ENABLED = {f"{ETC}/local-fs.target.wants/{NAME}": ""}
LOST = ("/", "ext4", (), "/var/lib/kubelet")


@pytest.mark.parametrize(
    ("files", "then"),
    [
        ({f"{ETC}/{NAME}": UNIT} | ENABLED, ("/var/lib/kubelet", "xfs", (), "")),
        (
            {f"{ETC}/{NAME}": UNIT + "[Mount]\nOptions=\\\nro,nosuid\n"} | ENABLED,
            ("/var/lib/kubelet", "xfs", ("nosuid", "ro"), ""),
        ),
        ({f"{ETC}/{NAME}": UNIT + "[Mount]\nType=nfs4\n"} | ENABLED, ("/var/lib/kubelet", "nfs4", (), "")),
        (
            {f"{ETC}/{NAME}": UNIT + "[Mount]\nOptions=ro\n", f"{ETC}/{NAME}.d/rw.conf": "[Mount]\nOptions=rw\n"}
            | ENABLED,
            ("/var/lib/kubelet", "xfs", (), ""),
        ),
        (
            {f"{ETC}/{NAME}": UNIT, f"{ETC}/a.target.requires/var-lib-kubelet.automount": ""},
            ("/var/lib/kubelet", "xfs", (), ""),
        ),
        ({f"{VENDOR}/{NAME}": UNIT, f"{VENDOR}/local-fs.target.wants/{NAME}": ""}, ("/var/lib/kubelet", "xfs", (), "")),
        ({f"{ETC}/{NAME}": UNIT}, None),
        ({f"{VENDOR}/{NAME}": UNIT}, None),
        ({f"{ETC}/{NAME}": "", f"{VENDOR}/{NAME}": UNIT} | ENABLED, LOST),
        ({f"{RUN}/system/{NAME}": UNIT} | ENABLED, LOST),
        ({f"{RUN}/generator/{NAME}": "[Unit]\nSourcePath=/etc/fstab\n"}, LOST),
        ({f"{RUN}/generator/{NAME}": "[Unit]\nSourcePath=/etc/zfs\n"}, ("/var/lib/kubelet", "xfs", (), "")),
        ({f"{RUN}/generator.late/{NAME}": UNIT}, ("/var/lib/kubelet", "xfs", (), "")),
        ({f"{ETC}/var-lib.mount": UNIT} | ENABLED, LOST),
    ],
)
def test_units_of_mounts(files: dict[str, str], then: tuple[str, str, tuple[str, ...], str] | None) -> None:
    """An enabled unit mounts as it says, a masked one and one of fstab without its line do not.

    Whether one that no target wants is needed by another unit is unknown.
    """
    reading = at_boot(ROOT_LINE, KUBELET, **files).then
    if then is None:
        assert (reading.kind, reading.source.endswith(NAME)) == ("not-tried", True)
    else:
        assert reading.value == Under(mount_point=then[0], fstype=then[1], options=then[2], lost=then[3])


@pytest.mark.parametrize(
    ("content", "then"),
    [
        ("", LOST),
        (UNIT + "[Mount]\nOptions=nosuid\n", ("/var/lib/kubelet", "xfs", ("nosuid",), "")),
    ],
)
def test_a_unit_of_the_administrator_precedes_fstab(content: str, then: tuple[str, str, tuple[str, ...], str]) -> None:
    """Its settings count, and where it is masked the line mounts nothing; the line is what wants it."""
    fstab = f"{ROOT_LINE}/dev/sd1 /var/lib/kubelet xfs noexec\n"
    found = at_boot(fstab, KUBELET, **{f"{ETC}/{NAME}": content}).then.value
    assert found == Under(mount_point=then[0], fstype=then[1], options=then[2], lost=then[3])
    vendor = at_boot(fstab, KUBELET, **{f"{VENDOR}/{NAME}": content}).then.value
    assert vendor == Under(mount_point="/var/lib/kubelet", fstype="xfs", options=("noexec",))


class Masked(FakeHost):
    """A node with a link to /dev/null in place of the unit, as `systemctl mask` makes one."""

    def read(self, path: str, limit: int = 1 << 20) -> Reading[bytes]:
        """A device, which is not a file that can be read."""
        problem = Reading.without(path, "not-readable", "is not a regular file")
        return problem if path == f"/{ETC}/{NAME}" else super().read(path, limit)


def test_masked_by_a_link() -> None:
    """Neither the vendor's unit nor a file that hangs counts then."""
    host = Masked(files={f"/{VENDOR}/{NAME}": UNIT, f"/{VENDOR}/local-fs.target.wants/{NAME}": ""})
    assert find_mount_unit(host, "/var/lib/kubelet").fate == "masked"
    for unread in (errno.EACCES, "\0" * (2 << 20)):
        host = FakeHost(files={f"/{ETC}/{NAME}": unread})
        assert find_mount_unit(host, "/var/lib/kubelet").fate == "unknown"


@pytest.mark.parametrize(
    ("line", "now", "fstype"),
    [
        ("srv:/k /var/lib/kubelet nfs defaults 0 0", "nfs4", "nfs4"),
        ("fs-1:/ /var/lib/kubelet efs _netdev,tls 0 0", "nfs4", "nfs4"),
        ("srv:/k /var/lib/kubelet glusterfs defaults 0 0", "fuse.glusterfs", "fuse.glusterfs"),
        ("/dev/sd1 /var/lib/kubelet ext4,xfs defaults 0 0", "xfs", "xfs"),
        ("/dev/sd1 /var/lib/kubelet xfs noauto,x-systemd.automount 0 0", "xfs", "xfs"),
        ("/dev/sd1 /var/lib/kubelet xfs nofail 0 0", "xfs", "xfs"),
        ("srv:/k /var/lib/kubelet nfs defaults 0 0", "xfs", "nfs"),
    ],
)
def test_what_a_line_makes_of_a_present_mount(line: str, now: str, fstype: str) -> None:
    """A mount helper that mounts another type, an automount and a line with a list of types change nothing."""
    row = at_boot(f"{ROOT_LINE}{line}\n", ("/var/lib/kubelet", now, "rw"))
    assert row.then.value == Under(mount_point="/var/lib/kubelet", fstype=fstype, options=())


def test_the_type_of_the_root_is_not_that_of_fstab() -> None:
    """The initramfs mounts it by root=; systemd only sets the options of the line."""
    assert at_boot("/dev/root / rootfs noatime,nosuid 0 0\n").then.value == Under(
        mount_point="/", fstype="ext4", options=("nosuid",)
    )


def test_a_mount_that_no_file_names_is_lost_only_where_systemd_boots() -> None:
    """The init of Talos mounts /var itself; a read-only root is no place that anybody left for a mount made by hand."""
    mounts = [(1, "/", "squashfs", "ro"), (2, "/var", "xfs", "rw")]
    table = MountTable(
        parse_mountinfo(
            "".join(
                f"{n} {n - 1} 8:{n} / {point} {how} - {kind} /dev/sd{n} {how}\n" for n, point, kind, how in mounts
            ).encode()
        )
    )
    for host in (FakeHost(), FakeHost(modified={"/run/systemd/system": 0.0})):
        (row,) = gather_mounts(host, table, {"kubelet-root": PODS})
        assert row.then.kind == "not-tried"


def test_what_cannot_be_told() -> None:
    """An unreadable fstab, and a type that the kernel finds out for a file system that is not mounted yet."""
    assert at_boot("\0" * (2 << 20)).then.kind == "not-readable"
    assert at_boot(f"{ROOT_LINE}LABEL=k /var/lib/kubelet auto defaults\n").then.kind == "not-tried"
    assert at_boot(f"{ROOT_LINE}LABEL=k /var/lib/kubelet xfs nofail\n").then.kind == "not-tried"
    assert at_boot(f"{ROOT_LINE}/var/lib/kubelet /var/lib/kubelet none bind\n").then.kind == "not-tried"


@given(st.text(st.sampled_from("/ \t\n\\04bind,none#ro"), max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """Lines that are none are passed over; bind mounts in a circle end."""
    parse_fstab(text)
    at_boot(text)
    at_boot(f"{text}\n/ /var/lib/kubelet none bind\n/var/lib/kubelet / none bind\n")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "-"),
        ("/var/lib/kubelet", "var-lib-kubelet"),
        ("/mnt/k8s-0/", "mnt-k8s\\x2d0"),
        ("/.a b", "\\x2ea\\x20b"),
        ("/-", "\\x2d"),
    ],
)
def test_names_of_units(path: str, name: str) -> None:
    """As `systemd-escape --path` makes them."""
    assert unit_name(path) == name
