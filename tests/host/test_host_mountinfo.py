"""The mount table: lines, names, the tree they form, and the volumes in it."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.prerequisites import require
from lab.real import kernel
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, parse_mountinfo, printable
from probe.host.volumes import Volume, find_volumes

RECORDED = Path(__file__).parent.parent / "data/mountinfo/containerd-2.1.9-kernel-6.18-with-constructed-csi-mounts"
ROOT = "/var/lib/kubelet"
POD = f"{ROOT}/pods/1016ccda-7106-423b-8e89-c559de9a4139"


def line(mount_id: int, parent_id: int, point: str, fstype: str = "ext4", **fields: str) -> str:
    device = fields.get("device", f"0:{mount_id}")
    options, optional = fields.get("options", "rw,relatime"), fields.get("optional", "")
    super_options = fields.get("super_options", "rw")
    return f"{mount_id} {parent_id} {device} / {point} {options} {optional}- {fstype} none {super_options}\n"


def table(*lines: str) -> MountTable:
    return MountTable(parse_mountinfo("".join(lines).encode(errors="surrogateescape")))


# --- lines


def test_every_field_of_a_line() -> None:
    """A line with several optional fields is read by its names, not by positions."""
    content = (
        b"36 35 98:0 /mnt1 /mnt2 ro,noatime master:1 propagate_from:2 unbindable - ext3 /dev/root rw,errors=continue\n"
    )
    assert parse_mountinfo(content) == (
        Mount(
            36,
            35,
            "98:0",
            "/mnt1",
            "/mnt2",
            ("ro", "noatime"),
            ("master:1", "propagate_from:2", "unbindable"),
            "ext3",
            "/dev/root",
            "rw,errors=continue",
            read_only=True,
        ),
    )


@pytest.mark.parametrize(
    ("raw", "point"),
    [
        (b"/a\\040b", "/a b"),
        (b"/a\\011b\\012c\\134040", "/a\tb\nc\\040"),
        (b"/a#b", "/a#b"),
        (b"/a\rb\x0bc\x0cd\x1ce\xc2\x85f", "/a\rb\x0bc\x0cd\x1ce\x85f"),
        (b"/\xff\xfe", "/\udcff\udcfe"),
        (b"/caf\xc3\xa9", "/café"),
        (b"/\\303\\251", "/é"),
        (b"/\\999\\04", "/\\999\\04"),
        (b"/mnt//deleted", "/mnt//deleted"),
    ],
)
def test_names_as_the_kernel_writes_them(raw: bytes, point: str) -> None:
    """Octal escapes are decoded on bytes; every other byte stays what it is, also those that end lines elsewhere."""
    (mount,) = parse_mountinfo(b"36 35 98:0 / " + raw + b" rw - ext4 /dev/root rw\n")
    assert mount.mount_point == point


@pytest.mark.parametrize(
    ("tail", "source", "super_options"),
    [
        (b"- tmpfs  rw", "", "rw"),
        (b"- tmpfs none ", "none", ""),
        (b"- tmpfs none", "none", ""),
        (b"- fuse.x - rw", "-", "rw"),
        (b"shared:1 - fuse.x a\\040b rw,a b", "a b", "rw,a b"),
        (b"- ext4 \xff rw", "\\xff", "rw"),
    ],
)
def test_odd_ends_of_a_line(tail: bytes, source: str, super_options: str) -> None:
    """Sources and options may be empty, or look like something else."""
    (mount,) = parse_mountinfo(b"36 35 98:0 / /mnt rw " + tail + b"\n")
    assert (mount.source, mount.super_options) == (source, super_options)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\n",
        b"36 35 98:0 / /mnt rw ext4 /dev/root rw\n",
        b"36 35 98:0 / /mnt rw -\n",
        b"x 35 98:0 / /mnt rw - ext4 /dev/root rw\n",
        b"36 35 98 / /mnt rw - ext4 /dev/root rw\n",
        b"99999999999999999999 35 98:0 / /mnt rw - ext4 /dev/root rw\n",
    ],
)
def test_what_is_no_mount_is_named_by_its_line(bad: bytes) -> None:
    """The problem names the line, and not all of it."""
    good = b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    with pytest.raises(ValueError, match="^line 2 " if bad else "^line 1 "):
        parse_mountinfo(good + bad if bad else bad)


def test_a_long_bad_line_is_cut() -> None:
    """A line of a mebibyte does not become a message of a mebibyte."""
    with pytest.raises(ValueError, match="line 1") as raised:
        parse_mountinfo(b"x" * (1 << 20) + b"\n")
    assert len(str(raised.value)) < 200


def test_a_table_that_was_cut_off_is_no_table() -> None:
    """The end of the file is the end of a line; half a line could be anything."""
    with pytest.raises(ValueError, match="line 2 is cut off"):
        parse_mountinfo(b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:20 / /proc rw - proc pro")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_a_value_error(content: bytes) -> None:
    """No content makes the parser fail in another way."""
    try:
        mounts = parse_mountinfo(content)
    except ValueError:
        return
    find_volumes(MountTable(mounts), ROOT)


_GRAMMAR = re.compile(
    rb"(\d{1,10}) (\d{1,10}) (\d{1,10}:\d{1,10}) ([^ ]+) ([^ ]+) ([^ ]+) ((?:[^ ]+ )*?)- ([^ ]+) ([^ ]*)(?: (.*))?",
    re.DOTALL,
)


@given(st.lists(st.sampled_from([b"7", b"8:1", b"/", b"-", b"", b"rw", b"ext4", b"12345678901"]), max_size=13))
def test_a_line_is_a_mount_by_the_grammar(words: list[bytes]) -> None:
    """Optional fields end at the first lone dash; the source and what follows it may be empty, nothing else."""
    content = b" ".join([b"36", b"35", b"98:0", b"/", b"/mnt", *words])
    found = _GRAMMAR.fullmatch(content)
    try:
        (mount,) = parse_mountinfo(content + b"\n")
    except ValueError:
        assert found is None or found[6] == b"-"  # options are never a lone dash
        return
    assert found is not None
    assert [*mount.propagation, mount.fstype] == [*found[7].decode().split(), found[8].decode()]
    assert (mount.source, mount.super_options) == (found[9].decode(), (found[10] or b"").decode())


_FIELD = st.binary(min_size=1, max_size=12).filter(lambda field: b"\0" not in field)


def _escape(field: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes((byte,)) for byte in field)


@given(_FIELD, _FIELD, _FIELD, _FIELD, st.lists(st.from_regex(r"[a-z_]+:[0-9]+", fullmatch=True), max_size=3))
def test_what_the_kernel_escapes_comes_back(
    root: bytes, point: bytes, fstype: bytes, source: bytes, tags: list[str]
) -> None:
    """Each path survives as bytes, and everything else is text that JSON can carry."""
    optional = "".join(f"{tag} " for tag in tags).encode()
    fields = [b"1 2 3:4", _escape(b"/" + root), _escape(b"/" + point), b"rw"]
    content = b" ".join(fields) + b" " + optional + b"- " + b" ".join((_escape(fstype), _escape(source), b"rw")) + b"\n"
    (mount,) = parse_mountinfo(content)
    assert (os.fsencode(mount.root), os.fsencode(mount.mount_point)) == (b"/" + root, b"/" + point)
    assert mount.propagation == tuple(tags)
    for text in (mount.fstype, mount.source, printable(mount.mount_point)):
        text.encode("utf-8")


@given(st.binary(max_size=40).filter(lambda name: b"\0" not in name))
def test_printable_is_text_and_leaves_text_alone(name: bytes) -> None:
    """Only bytes that are not UTF-8 change."""
    shown = printable(os.fsdecode(name))
    assert json.loads(json.dumps(shown).encode("utf-8")) == shown
    try:
        assert shown == name.decode("utf-8")
    except UnicodeDecodeError:
        assert "\\x" in shown


@pytest.mark.real
def test_the_kernel_escapes_as_the_parser_expects(tmp_path: Path) -> None:
    """A mount point with every odd character is found again under its own name."""
    require(os.geteuid() == 0, "root")
    point = os.fsencode(tmp_path) + b"/ \t\n\r\x0b\x85\xff\\040#'\"$(x)\x1b[2J"
    os.mkdir(point)
    pid = os.fork()
    if pid == 0:
        found = False
        try:
            kernel.own_mount_namespace()
            os.chdir(point)
            kernel.mount("so urce#", ".", "tmpfs")
            with open("/proc/self/mountinfo", "rb") as mountinfo:
                mounts = parse_mountinfo(mountinfo.read())
            found = [m.source for m in mounts if m.mount_point == os.fsdecode(point)] == ["so urce#"]
        finally:
            os._exit(not found)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- the tree


def device_of(mounts: MountTable, path: str) -> str | None:
    mount = mounts.mount_of(path)
    return mount.device if mount else None


def test_the_mount_of_a_path() -> None:
    """The deepest mount point that is the path or a directory above it, and not one that merely starts alike."""
    mounts = table(line(20, 1, "/"), line(21, 20, "/var"), line(22, 21, "/var/lib"), line(23, 20, "/va"))
    assert [
        device_of(mounts, path) for path in ("/", "/etc", "/var", "/var/x", "/var/lib/y", "/var/library", "/va")
    ] == [
        "0:20",
        "0:20",
        "0:21",
        "0:21",
        "0:22",
        "0:21",
        "0:23",
    ]


def test_the_later_of_stacked_mounts_wins() -> None:
    """What is mounted over a mount is what a path leads to."""
    assert device_of(table(line(20, 1, "/"), line(21, 20, "/a"), line(22, 21, "/a")), "/a/b") == "0:22"
    assert device_of(table(line(20, 1, "/"), line(21, 20, "/")), "/a") == "0:21"


def test_a_hidden_mount_is_not_found() -> None:
    """A mount below a directory that something else was mounted over later is out of reach."""
    mounts = table(line(20, 1, "/"), line(21, 20, "/a/b"), line(22, 20, "/a"))
    assert device_of(mounts, "/a/b/c") == "0:22"
    assert mounts.below("/a") == 0


def test_names_with_odd_bytes_are_found() -> None:
    """Paths are compared as the system calls take them."""
    assert device_of(table(line(20, 1, "/"), line(21, 20, "/\udcff\\040x")), "/\udcff x/y") == "0:21"


def test_a_mount_whose_parent_is_not_listed() -> None:
    """In a chroot the parents are out of sight, and no mount may have the name of the root."""
    mounts = table(line(30, 5, "/srv"), line(31, 30, "/srv/data"))
    assert [device_of(mounts, path) for path in ("/srv/data/x", "/srv/x", "/x")] == ["0:31", "0:30", None]


@pytest.mark.parametrize(
    "lines",
    [
        (line(20, 20, "/"),),
        (line(20, 21, "/"), line(21, 20, "/")),
        (line(20, 1, "/"), line(21, 22, "/a"), line(22, 21, "/a")),
    ],
)
def test_a_table_that_bites_its_tail_ends(lines: tuple[str, ...]) -> None:
    """Whatever the numbers say, every question is answered."""
    mounts = table(*lines)
    mount = mounts.mount_of("/a/b")
    assert mounts.below("/") + mounts.below("/a") < 5
    assert mount is None or len(mounts.ancestors(mount)) < 3


def test_mounts_below() -> None:
    """What a non-recursive bind mount of a directory would miss, however deep and however stacked."""
    mounts = table(
        line(20, 1, "/"),
        line(21, 20, "/vol"),
        line(22, 21, "/vol/a"),
        line(23, 22, "/vol/a/b"),
        line(24, 21, "/vol/c"),
        line(25, 20, "/volume"),
    )
    assert [mounts.below(path) for path in ("/vol", "/vol/", "/vol/a", "/vol/c", "/volume", "/", "/none")] == [
        3,
        3,
        1,
        0,
        0,
        5,
        0,
    ]


def test_the_mount_points_below() -> None:
    """They have names, so that an administrator knows which files a Pod would see as nobody's."""
    mounts = table(line(20, 1, "/"), line(21, 20, "/vol"), line(22, 21, "/vol/a"), line(23, 20, "/volume"))
    assert mounts.points_below("/vol") == ("/vol/a",)
    assert mounts.points_below("/volume") == mounts.points_below("/none") == ()


def test_a_mount_that_is_listed_twice_counts_once() -> None:
    """Reading the table while it changes may repeat a line."""
    assert table(line(20, 1, "/"), line(21, 20, "/a"), line(21, 20, "/a")).below("/") == 1


def test_the_server_above_a_path() -> None:
    """The nearest mount whose server has to answer; a mount's own root is found without its own."""
    mounts = table(
        line(20, 1, "/"),
        line(21, 20, "/net", "nfs4"),
        line(22, 21, "/net/fuse", "fuse.sshfs"),
        line(23, 22, "/net/fuse/disk", "ext4"),
        line(24, 20, "/tmp", "tmpfs"),
    )
    paths = ("/net", "/net/x", "/net/fuse", "/net/fuse/x", "/net/fuse/disk", "/net/fuse/disk/x", "/tmp/x", "/")
    assert [mounts.server_above(path) for path in paths] == ["", "0:21", "0:21", "0:22", "0:22", "0:22", "", ""]


@pytest.mark.real
def test_the_kernel_finds_the_same_mounts() -> None:
    """In a tree of mounts made at random, each path lies in the mount that statx(2) names for it."""
    require(os.geteuid() == 0, "root")
    pid = os.fork()
    if pid == 0:
        agreed = False
        try:
            kernel.own_mount_namespace()
            agreed = _compare_with_the_kernel(random.Random(7))  # a fixed seed: any tree will do
        finally:
            os._exit(not agreed)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _compare_with_the_kernel(choose: random.Random) -> bool:
    kernel.mount("none", "/mnt", "tmpfs")
    paths = ["/mnt"]
    for _ in range(120):
        path = choose.choice(paths)
        if choose.random() < 0.5:
            kernel.mount("none", path, "tmpfs")
        for name in "ab":
            os.makedirs(f"{path}/{name}", exist_ok=True)
            paths.append(f"{path}/{name}")
        paths = [path for path in paths if os.path.isdir(path)]
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        mounts = MountTable(parse_mountinfo(mountinfo.read()))
    for path in paths:
        fd = os.open(path, os.O_PATH)
        with open(f"/proc/self/fdinfo/{fd}") as info:
            mount_id = int(dict(each.split(":", 1) for each in info.read().splitlines())["mnt_id"])
        os.close(fd)
        found = mounts.mount_of(path)
        if found is None or found.mount_id != mount_id:
            return False
    return len(paths) > 50


# --- volumes


def volume(path: str, fstype: str = "ext4", **fields: str) -> Volume | None:
    """The one volume that a mount at *path* below the kubelet's root directory is."""
    found = find_volumes(table(line(20, 1, "/"), line(21, 20, f"{ROOT}/{path}", fstype, **fields)), ROOT)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("path", "plugin", "vol_data"),
    [
        ("pods/u1/volumes/kubernetes.io~secret/token", "kubernetes.io~secret", ""),
        ("pods/u1/volumes/kubernetes.io~projected/kube-api-access-x", "kubernetes.io~projected", ""),
        ("pods/u1/volumes/kubernetes.io~nfs/data", "kubernetes.io~nfs", ""),
        ("pods/u1/volumes/example.org~flex/data", "example.org~flex", ""),
        (
            "pods/u1/volumes/kubernetes.io~csi/pvc-1/mount",
            "kubernetes.io~csi",
            f"{ROOT}/pods/u1/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
        ),
        ("pods/u1/volume-subpaths/data/app/0", "subpath", ""),
        (
            "plugins/kubernetes.io/csi/ebs.csi.aws.com/0a1b/globalmount",
            "ebs.csi.aws.com",
            f"{ROOT}/plugins/kubernetes.io/csi/ebs.csi.aws.com/0a1b/vol_data.json",
        ),
        (
            "plugins/kubernetes.io/csi/pv/pvc-1/globalmount",
            "kubernetes.io~csi",
            f"{ROOT}/plugins/kubernetes.io/csi/pv/pvc-1/vol_data.json",
        ),
        ("plugins/kubernetes.io/gce-pd/mounts/disk-1", "kubernetes.io~gce-pd", ""),
        ("plugins/kubernetes.io/aws-ebs/mounts/aws/eu-west-1a/vol-1", "kubernetes.io~aws-ebs", ""),
        ("plugins/kubernetes.io/local-volume/mounts/pv-1", "kubernetes.io~local-volume", ""),
        ("plugins/kubernetes.io/iscsi/iface-default/10.0.0.1:3260-x-lun-0", "kubernetes.io~iscsi", ""),
        ("pods/\udcff/volumes/x~\udcfe/y", "x~\\xfe", ""),
    ],
)
def test_where_the_kubelet_mounts_volumes(path: str, plugin: str, vol_data: str) -> None:
    """Each layout tells the plugin, and where a CSI driver's name is kept."""
    found = volume(path)
    assert found is not None
    assert (found.plugin, found.vol_data) == (plugin, vol_data)
    assert found.mount.mount_point == f"{ROOT}/{path}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "pods",
        "pods/u1",
        "pods/u1/volumes/kubernetes.io~csi/pvc-1",
        "pods/u1/volumes/kubernetes.io~nfs/data/mount",
        "pods/u1/volumes/kubernetes.io~nfs/data/deep",
        "pods/u1/volumeDevices/kubernetes.io~csi/pvc-1",
        "pods/u1/etc-hosts",
        "pods/u1/volume-subpaths/data/app",
        "plugins/kubernetes.io/csi/volumeDevices/publish/pvc-1/u1",
        "plugins/kubernetes.io/csi/volumeDevices/staging/pvc-1",
        "plugins/kubernetes.io/gce-pd/volumeDevices/disk-1",
        "plugins/ebs.csi.aws.com/data",
        "../kubelet2/pods/u1/volumes/kubernetes.io~nfs/data",
    ],
)
def test_what_is_no_volume(path: str) -> None:
    """Block devices, files of Pods, and the inside of volumes are none."""
    assert volume(path) is None


def test_another_root_directory() -> None:
    """Only what lies below the kubelet's own root directory counts, with or without a slash at its end."""
    mounts = table(line(20, 1, "/"), line(21, 20, "/data/kubelet/pods/u/volumes/kubernetes.io~nfs/x"))
    assert [len(find_volumes(mounts, root)) for root in ("/data/kubelet", "/data/kubelet/", "/data", ROOT)] == [
        1,
        1,
        0,
        0,
    ]


def test_a_mount_inside_of_a_volume_is_no_volume() -> None:
    """It counts among those below."""
    inner = f"{ROOT}/plugins/kubernetes.io/gce-pd/mounts/disk-1"
    mounts = table(line(20, 1, "/"), line(21, 20, inner), line(22, 21, f"{inner}/sub"))
    assert [each.mount.mount_id for each in find_volumes(mounts, ROOT)] == [21]
    assert mounts.below(inner) == 1


def test_of_stacked_volumes_only_the_top_is_one() -> None:
    """A path leads to the later mount, so only that can be tried."""
    path = f"{POD}/volumes/kubernetes.io~nfs/x"
    mounts = table(line(20, 1, "/"), line(21, 20, path, "nfs"), line(22, 21, path, "tmpfs"))
    assert [each.mount.fstype for each in find_volumes(mounts, ROOT)] == ["tmpfs"]


def test_a_volume_that_was_mounted_again_and_again() -> None:
    """Drivers with a leak do that. Each mount hides the one before, and a walk over all for each would take minutes."""
    path = f"{POD}/volumes/kubernetes.io~csi/x/mount"
    leaked = (line(number, number - 1, path, "tmpfs", device="0:9") for number in range(21, 10_021))
    (found,) = find_volumes(table(line(20, 1, "/"), *leaked), ROOT)
    assert found.mount.mount_id == 10_020


def chosen(*lines: str) -> list[str]:
    paths, again = (
        [each.mount.mount_point for each in find_volumes(table(line(20, 1, "/"), *some), ROOT)]
        for some in (lines, reversed(lines))
    )
    assert paths == again
    return [path.removeprefix(f"{ROOT}/") for path in paths]


def test_one_volume_stands_for_a_file_system() -> None:
    """A writable mount whose plugin is known is preferred, and the order of the table does not matter."""
    same = {"device": "8:16"}
    assert chosen(
        line(21, 20, f"{ROOT}/pods/a/volumes/kubernetes.io~csi/p/mount", options="ro,relatime", **same),
        line(22, 20, f"{ROOT}/pods/b/volume-subpaths/p/app/0", **same),
        line(23, 20, f"{ROOT}/pods/c/volumes/kubernetes.io~csi/p/mount", **same),
        line(24, 20, f"{ROOT}/plugins/kubernetes.io/aws-ebs/mounts/aws/eu-west-1a/deeper/v", **same),
        line(25, 20, f"{ROOT}/pods/d/volumes/kubernetes.io~nfs/x", "nfs4", device="0:50"),
    ) == ["pods/c/volumes/kubernetes.io~csi/p/mount", "pods/d/volumes/kubernetes.io~nfs/x"]


def test_devices_that_are_reused_by_another_type_stay_apart() -> None:
    """The number alone does not name a file system."""
    assert len(chosen(*(line(21 + i, 20, f"{POD}/volumes/x~y/{i}", t, device="0:9") for i, t in enumerate("ab")))) == 2


def test_peculiar_mounts_stand_for_themselves() -> None:
    """Whether a mount is idmapped or unbindable already is up to each mount."""
    path = f"{ROOT}/pods/a/volumes/x~y"
    assert chosen(
        line(21, 20, f"{path}/1", device="8:16"),
        line(22, 20, f"{path}/2", device="8:16", options="rw,relatime,idmapped"),
        line(23, 20, f"{path}/3", device="8:16", optional="unbindable "),
        line(24, 20, f"{path}/4", device="8:16", options="rw,relatime,idmapped"),
        line(25, 20, f"{path}/5", device="8:16"),
    ) == [f"pods/a/volumes/x~y/{i}" for i in (1, 2, 3, 4)]


_POINTS = ["/", "/var", ROOT, *(f"{POD}/volumes/{name}" for name in ("a~b/1", "a~b/2", "a~b/1/in", "c~d/3"))]
_POINTS += [f"{POD}/volume-subpaths/p/app/0", f"{ROOT}/plugins/kubernetes.io/gce-pd/mounts/d", f"{ROOT}/plugins"]


@given(
    st.lists(
        st.tuples(
            st.integers(20, 28),
            st.sampled_from(_POINTS),
            st.sampled_from(["8:1", "8:2"]),
            st.sampled_from(["rw", "ro", "rw,idmapped"]),
        ),
        max_size=12,
    )
)
def test_volumes_by_their_definition(mounts: list[tuple[int, str, str, str]]) -> None:
    """In any tree, what is found for each file system is the best of all that are visible and in no other volume."""
    lines = (line(21 + i, up, at, device=d, options=o) for i, (up, at, d, o) in enumerate(mounts))
    tree = table(line(20, 1, "/"), *lines)
    alone = {mount.mount_id: find_volumes(MountTable([mount]), ROOT) for mount in tree}
    visible = {n: f[0] for n, f in alone.items() if f and tree.mount_of(f[0].mount.mount_point) is f[0].mount}
    outer = [one for one in visible.values() if not any(m.mount_id in visible for m in tree.ancestors(one.mount))]
    best: dict[tuple[str, str, int], Volume] = {}
    for one in sorted(outer, key=_worth):
        mount = one.mount
        best.setdefault((mount.device, mount.fstype, mount.mount_id * ("idmapped" in mount.options)), one)
    assert find_volumes(tree, ROOT) == tuple(sorted(best.values(), key=lambda one: one.mount.mount_point))


def _worth(one: Volume) -> tuple[bool, bool, int, str, int]:
    mount = one.mount
    return one.plugin == "subpath", mount.read_only, mount.mount_point.count("/"), mount.mount_point, mount.mount_id


def test_a_recorded_node() -> None:
    """On a real node with two mounts that look like CSI volumes, these and the four tmpfs are found."""
    mounts = MountTable(parse_mountinfo(RECORDED.read_bytes()))
    volumes = find_volumes(mounts, ROOT)
    assert sorted((each.plugin, each.mount.fstype) for each in volumes) == [
        ("kubernetes.io~csi", "fuse.bindfs"),
        ("kubernetes.io~csi", "xfs"),
        ("kubernetes.io~downward-api", "tmpfs"),
        ("kubernetes.io~empty-dir", "tmpfs"),
        ("kubernetes.io~projected", "tmpfs"),
        ("kubernetes.io~projected", "tmpfs"),
        ("kubernetes.io~projected", "tmpfs"),
    ]
    assert {each.vol_data for each in volumes if each.plugin == "kubernetes.io~csi"} == {
        f"{POD}/volumes/kubernetes.io~csi/pvc-1f2e/vol_data.json",
        f"{POD}/volumes/kubernetes.io~csi/pvc-9a8b/vol_data.json",
    }
    kubelet_root = mounts.mount_of(ROOT)
    assert kubelet_root is not None
    assert kubelet_root.device == "254:0"
