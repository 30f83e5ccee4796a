"""The entry that the boot loader starts, of every kind of configuration."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.boot.gather import gather_boot, grub_command_line
from probe.facts.boot.grub import parse_grub, parse_menu
from probe.facts.boot.model import BootEntry, BootFacts
from probe.facts.boot.versions import version_key
from probe.reading import Reading

RUNNING = Reading("/proc/sys/kernel/osrelease", "6.12.9-amd64")
DEBIAN = """
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="DEFAULT"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    save_env saved_entry
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1f' {
\tload_video
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root 1f
\tfi
\techo\t'Loading Linux 6.12.9-amd64 ...'
\tlinux\t/vmlinuz-6.12.9-amd64 root=UUID=1f ro quiet
\tinitrd\t/initrd.img-6.12.9-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1f' {
\tmenuentry 'Debian GNU/Linux, with Linux 6.12.9-amd64' $menuentry_id_option 'gnulinux-6.12.9-amd64-advanced-1f' {
\t\tlinux\t/vmlinuz-6.12.9-amd64 root=UUID=1f ro quiet
\t}
\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-30-amd64' $menuentry_id_option 'gnulinux-6.1.0-30-amd64-advanced-1f' {
\t\tlinux\t/vmlinuz-6.1.0-30-amd64 root=UUID=1f ro systemd.unified_cgroup_hierarchy=0 secret=1
\t}
}
"""
OLD = BootEntry(release="6.1.0-30-amd64", options=("systemd.unified_cgroup_hierarchy=0",))
NEW = BootEntry(release="6.12.9-amd64", options=())
GRUB = "/boot/grub/grub.cfg"
EFIVARS = "/sys/firmware/efi/efivars"
VENDOR = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
SIGNED = "# GRUB Environment Block\n"


def boot(files: dict[str, bytes | str | int], **links: str) -> BootFacts:
    """Facts of a node with these files."""
    return gather_boot(FakeHost(files=dict(files), links={f"/{name}": to for name, to in links.items()}), RUNNING, ())


@pytest.mark.parametrize(
    ("default", "environment", "entry"),
    [
        ("0", "", NEW),
        ("1>1", "", OLD),
        ("1", "", NEW),
        ("9", "", NEW),
        ("Debian GNU/Linux", "", NEW),
        ("gnulinux-advanced-1f>gnulinux-6.1.0-30-amd64-advanced-1f", "", OLD),
        ("Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-30-amd64", "", OLD),
        ("${saved_entry}", "saved_entry=gnulinux-advanced-1f>gnulinux-6.1.0-30-amd64-advanced-1f\n", OLD),
        ("${saved_entry}", "", NEW),
        ("0", "next_entry=1>1\n", OLD),
    ],
)
def test_the_default_of_grub(default: str, environment: str, entry: BootEntry) -> None:
    """By number, title or identity, in submenus, saved, or for the next boot alone; parameters that count only."""
    files: dict[str, bytes | str | int] = {GRUB: DEBIAN.replace("DEFAULT", default)}
    if environment:
        files["/boot/grub/grubenv"] = f"{SIGNED}{environment}" + "#" * 100
    assert boot(files).entry == Reading(GRUB, entry)


FEDORA = """set default="${saved_entry}"
insmod blscfg
blscfg
"""
ENTRIES: dict[str, bytes | str | int] = {
    f"/boot/loader/entries/abc-{release}.conf": f"title Fedora ({release})\nversion {release}\n"
    f"linux /vmlinuz-{release}\ninitrd /initramfs-{release}.img\noptions root=UUID=1 $kernelopts lsm={number}\n"
    for number, release in enumerate(("6.9.5-200.fc40.x86_64", "6.10.3-200.fc40.x86_64", "6.8.1-rescue"))
}


@pytest.mark.parametrize(
    ("more", "entry"),
    [
        ({}, BootEntry(release="6.10.3-200.fc40.x86_64", options=("lsm=1",))),
        (
            {"/boot/grub2/grub.cfg": FEDORA, "/boot/grub2/grubenv": f"{SIGNED}saved_entry=abc-6.9.5-200.fc40.x86_64\n"},
            BootEntry(release="6.9.5-200.fc40.x86_64", options=("lsm=0",)),
        ),
        (
            {
                "/boot/grub2/grub.cfg": FEDORA,
                "/boot/grub2/grubenv": f"{SIGNED}saved_entry=1\nkernelopts=selinux=0 ro\n",
            },
            BootEntry(release="6.9.5-200.fc40.x86_64", options=("selinux=0", "lsm=0")),
        ),
        (
            {"/boot/loader/loader.conf": "timeout 3\ndefault abc-6.9*\n"},
            BootEntry(release="6.9.5-200.fc40.x86_64", options=("lsm=0",)),
        ),
        (
            {"/boot/loader/loader.conf": "default @saved\n"},
            BootEntry(release="6.10.3-200.fc40.x86_64", options=("lsm=1",)),
        ),
    ],
)
def test_entries_of_the_boot_loader_specification(more: dict[str, str], entry: BootEntry) -> None:
    """The saved one, that of loader.conf, else the newest that is no rescue entry."""
    assert boot(ENTRIES | more).entry.value == entry


def linux(title: str, release: str, arguments: str = "") -> str:
    """An entry of grub.cfg."""
    return f"menuentry '{title}' --id 'id-{title}' {{\n\tlinux /vmlinuz-{release} root=x {arguments}\n}}\n"


WINDOWS = "menuentry 'Windows' --id 'windows' {\n\tinsmod chain\n\tchainloader /EFI/Microsoft/Boot/bootmgfw.efi\n}\n"
TWO = linux("new", "6.12.9-amd64", "$more") + linux("old", "6.1.0-30-amd64", "lsm=old")
SAVED = 'set default="${saved_entry}"\n' + TWO


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({GRUB: 'set default="1"\n' + linux("new", "6.12.9-amd64") + WINDOWS}, None),
        ({GRUB: 'set default="windows"\n' + linux("new", "6.12.9-amd64") + WINDOWS}, None),
        ({GRUB: 'set default="7"\n' + linux("new", "6.12.9-amd64") + WINDOWS}, "6.12.9-amd64"),
        ({GRUB: SAVED, "/boot/grub/grubenv": f"{SIGNED}saved_entry=id-old\n"}, "6.1.0-30-amd64"),
        ({GRUB: SAVED, "/boot/grub/grubenv": errno.EIO}, None),
        ({GRUB: SAVED, "/boot/grub/grubenv": "\0" * 1024}, None),
        ({GRUB: SAVED, "/boot/grub/grubenv": ""}, "6.12.9-amd64"),
        ({GRUB: SAVED, "/boot/grub/grubenv": f"{SIGNED}saved_entry=0\nenv_block=512+1\n"}, None),
        ({GRUB: SAVED, "/boot/grub/grubenv": f"{SIGNED}saved_entry=0\nprev_saved_entry=1\n"}, "6.1.0-30-amd64"),
        ({GRUB: 'set default=0\nif [ "$x" = 0 ]; then\n  set default=1\nfi\n' + TWO}, None),
        ({GRUB: 'if [ "$x" = 0 ]; then set default=1; fi\nset default=0\n' + TWO}, "6.12.9-amd64"),
        ({GRUB: 'set default=0\nif [ "$x" = 0 ]; then set default=1; fi\n' + TWO}, None),
        ({GRUB: f"set default=0\n{TWO}source $prefix/custom.cfg", "/boot/grub/custom.cfg": "set default=1\n"}, None),
        ({GRUB: f"set default=0\n{TWO}source $prefix/custom.cfg", "/boot/grub/custom.cfg": WINDOWS}, "6.12.9-amd64"),
        ({GRUB: f"set default=0\n{TWO}source $prefix/custom.cfg", "/boot/grub/custom.cfg": errno.EIO}, None),
        ({GRUB: TWO, "/sys/kernel/kexec_loaded": "1\n"}, None),
        ({GRUB: TWO, "/sys/kernel/kexec_loaded": "0\n"}, "6.12.9-amd64"),
        ({GRUB: TWO, f"{EFIVARS}/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\7\0\0\0\1\0"}, None),
        ({GRUB: TWO, "/run/composefs/staged-deployment": "{}"}, None),
    ],
)
def test_what_else_decides_of_the_entry_of_grub(files: dict[str, bytes | str | int], release: str | None) -> None:
    """Other systems, conditions, files that cannot be read, kexec: no kernel is promised that may not start."""
    entry = boot(files).entry.value
    assert (entry and entry.release) == release


@pytest.mark.parametrize("path", ["/boot/EFI/Linux", "/boot/loader/entries", "/boot/firmware/cmdline.txt"])
def test_what_cannot_be_listed_is_no_absence(path: str) -> None:
    """Entries elsewhere are not promised in its place."""
    files: dict[str, bytes | str | int] = {"/boot/efi/loader/entries/a.conf": "linux /vmlinuz-6.9.1\n", path: errno.EIO}
    if path.endswith(".txt"):
        files = {path: errno.EIO, f"/boot/vmlinuz-{RUNNING.value}": ""}
    assert boot(files).entry.source == path
    assert boot(files).entry.value is None


@pytest.mark.parametrize(
    ("automount", "files", "known"),
    [
        ("/efi", {GRUB: TWO}, True),
        ("/efi", {"/boot/loader/entries/a.conf": "linux /vmlinuz-6.9.1\n"}, False),
        ("/boot", {GRUB: TWO}, False),
        ("/boot/firmware", {"/boot/firmware/cmdline.txt": "root=x"}, False),
    ],
)
def test_an_automount_is_not_triggered(automount: str, files: dict[str, bytes | str | int], known: bool) -> None:
    """The boot partition would be mounted, and marked as in use, by each probe."""
    host = FakeHost(files=files | {f"{automount}/EFI/Linux/a.efi": "", f"{automount}/vmlinuz-6.9.1": ""})
    found = gather_boot(host, RUNNING, (), (automount,))
    assert (found.entry.value is not None, found.entry.source == automount) == (known, not known)
    assert not [path for path in host.touched if path.startswith(f"{automount}/") or path == automount]


def test_a_remainder_of_grub() -> None:
    """The firmware tells which boot loader started the system."""
    info = {f"{EFIVARS}/LoaderInfo-{VENDOR}": b"\6\0\0\0" + "systemd-boot 257.9".encode("utf-16-le")}
    files: dict[str, bytes | str | int] = {GRUB: TWO, **entries(m="6.9.1")}
    assert boot(files).entry.source == GRUB
    assert boot(files | info).entry == Reading("/boot/loader/entries/m.conf", BootEntry(release="6.9.1", options=()))


def test_a_unified_kernel_image_that_the_firmware_started() -> None:
    """Its stub names itself, and no boot loader does; GRUB that started one counts."""
    files: dict[str, bytes | str | int] = {GRUB: TWO, f"{EFIVARS}/StubInfo-{VENDOR}": b"\6\0\0\0x\0"}
    assert boot(files).entry.value is None
    grub = b"\6\0\0\0" + "GRUB 2.14".encode("utf-16-le")
    assert boot(files | {f"{EFIVARS}/LoaderInfo-{VENDOR}": grub}).entry.source == GRUB


def test_variables_that_grub_sets_itself() -> None:
    """RHEL 8 sets `kernelopts` where grubenv has none; a line that always counts precedes grubenv."""
    menu = 'if [ -z "${kernelopts}" ]; then\n  set kernelopts="selinux=0"\nfi\nset tuned="lsm=tuned"\nblscfg\n'
    files: dict[str, bytes | str | int] = {
        "/boot/grub2/grub.cfg": menu,
        "/boot/loader/entries/a.conf": "linux /vmlinuz-6.9.1\noptions root=x $kernelopts $tuned $unknown\n",
    }
    own = {"/boot/grub2/grubenv": f"{SIGNED}kernelopts=selinux=1\ntuned=lsm=old\n"}
    assert boot(files).entry.value == BootEntry(release="6.9.1", options=("selinux=0", "lsm=tuned"))
    assert boot(files | own).entry.value == BootEntry(release="6.9.1", options=("selinux=1", "lsm=tuned"))
    failed = {"/boot/grub2/grubenv": f"{SIGNED}boot_counter=0\nboot_success=0\n"}
    assert boot(files | entries(b="6.10.1") | failed).entry.source == "/boot/loader/entries/a.conf"


def test_variables_of_another_file() -> None:
    """Photon OS keeps the name of the kernel and its parameters beside the menu: neither is promised."""
    menu = "load_env -f /boot/photon.cfg\n" + linux("Photon", "$photon_linux", "$photon_cmdline")
    found = boot({GRUB: menu, "/lib/modules/6.1.10-11.ph5/modules.dep": ""})
    assert found.entry.value == BootEntry(release="6.1.10-11.ph5", options=None)
    own = "load_env -f ${config_directory}/grubenv\n" + linux("Own", "6.12.9-amd64", "$more lsm=own")
    assert boot({GRUB: own}).entry.value == BootEntry(release="6.12.9-amd64", options=("lsm=own",))


def entries(more: str = "", **releases: str) -> dict[str, bytes | str | int]:
    """Entries by the names of their files."""
    return {f"/boot/loader/entries/{name}.conf": f"linux /vmlinuz-{each}\n{more}" for name, each in releases.items()}


MENU = entries(a="6.10.1") | entries(b="6.9.1")


@pytest.mark.parametrize(
    ("more", "release"),
    [
        ({}, "6.9.1"),  # by their names, the last one first
        (entries("sort-key a\n", a="6.10.1"), "6.10.1"),
        (entries("sort-key a\nversion 1\n", a="6.10.1") | entries("sort-key a\nversion 2\n", b="6.9.1"), "6.9.1"),
        (entries("sort-key a\n", a="6.10.1") | entries("sort-key z\n", b="6.9.1"), "6.10.1"),
        ({"/boot/loader/loader.conf": "default a.conf\n"}, "6.10.1"),
        ({"/boot/loader/loader.conf": "default A*\n"}, "6.10.1"),
        ({"/boot/loader/loader.conf": "default gone.conf\n"}, "6.9.1"),
        ({"/boot/loader/loader.conf": "default b.conf\npreferred a.conf\n"}, "6.10.1"),
        ({"/boot/loader/loader.conf": "default auto-windows\n"}, None),
        ({"/boot/loader/loader.conf": errno.EIO}, None),
        ({"/boot/loader/entries/c.conf": errno.EIO}, None),
        ({"/boot/loader/entries/c.conf": "title Windows\nefi /EFI/x.efi\narchitecture nowhere\n"}, "6.9.1"),
        ({"/boot/loader/loader.conf": "default c.conf\n", **entries(**{"c+2-1": "6.8.1"})}, "6.8.1"),
        ({f"{EFIVARS}/LoaderEntryPreferred-{VENDOR}": "x"}, None),
    ],
)
def test_the_menu_of_systemd_boot(more: dict[str, bytes | str | int], release: str | None) -> None:
    """Keys before names, patterns without the counter of tries, entries of other machines left out."""
    entry = boot(MENU | more).entry.value
    assert (entry and entry.release) == release


def test_the_entry_that_started_last() -> None:
    """`@saved` is kept by the firmware."""
    files = MENU | {"/boot/loader/loader.conf": "default @saved\n"}
    last = f"{EFIVARS}/LoaderEntryLastBooted-{VENDOR}"
    for value, release in ((b"\7\0\0\0" + "a.conf\0".encode("utf-16-le"), "6.10.1"), (errno.EIO, None)):
        entry = boot(files | {last: value}).entry.value
        assert (entry and entry.release) == release


@pytest.mark.parametrize(
    ("modules", "release", "installed"),
    [
        (("6.13.1-arch1",), "6.13.1-arch1", ("6.13.1-arch1",)),
        ((RUNNING.value or "",), RUNNING.value, (RUNNING.value,)),
        (("6.13.1-arch1", "6.12.1-lts"), "", ("6.13.1-arch1", "6.12.1-lts")),
        ((), "", ()),
    ],
)
def test_an_image_that_is_replaced_in_place(modules: tuple[str, ...], release: str, installed: tuple[str, ...]) -> None:
    """Arch and Alpine: the modules tell the release, where there are those of one kernel alone."""
    files: dict[str, bytes | str | int] = {f"/lib/modules/{each}/modules.dep": "" for each in modules}
    files |= {"/boot/vmlinuz-linux": "", GRUB: linux("Arch", "linux"), "/lib/modules/6.1.0-gone/updates/x.ko": ""}
    found = boot(files)
    assert found.entry.value == BootEntry(release=release, options=())
    assert found.installed == installed


def test_a_staged_deployment_is_not_known_yet() -> None:
    """OSTree writes its entry at shutdown."""
    files = {"/boot/loader/entries/ostree-2.conf": "linux /ostree/a/vmlinuz-6.12.5\n"}
    assert boot(dict(files)).entry.value == BootEntry(release="6.12.5", options=())
    assert boot({**files, "/run/ostree/staged-deployment": "{}"}).entry.kind == "not-tried"


def image(release: str, version: str = "13", options: str = "quiet", more: str = "") -> str:
    """A unified kernel image of Debian."""
    return f".osrel ID=debian\\nVERSION_ID={version}\n.cmdline {options}\n.uname {release}\n{more}"


@pytest.mark.parametrize("directory", ["/boot/EFI/Linux", "/efi/EFI/Linux", "/boot/efi/EFI/Linux"])
def test_a_unified_kernel_image_needs_systemd_boot(directory: str) -> None:
    """Else the firmware chooses it, or entries beside it, by what no file tells; GRUB is asked first."""
    only = {f"{directory}/abc-6.12.0.efi": image("6.12.0", options="quiet cgroup_no_v1=all")}
    running = {f"/boot/vmlinuz-{RUNNING.value}": ""}
    assert boot({**running, **only}).entry.kind == "not-readable"
    assert boot({GRUB: DEBIAN.replace("DEFAULT", "0"), **only}).entry.value == NEW
    started = {f"{directory.removesuffix('Linux')}systemd/systemd-bootx64.efi": ""}
    entry = BootEntry(release="6.12.0", options=("cgroup_no_v1=all",))
    assert boot({**running, **only, **started}).entry == Reading(f"{directory}/abc-6.12.0.efi", entry)
    beside = {f"{directory.removesuffix('/EFI/Linux')}/loader/entries/a.conf": "linux /vmlinuz-6.1.0\n"}
    assert boot({**only, **started, **beside}).entry.kind == "not-readable"


def of(release_file: str, release: str, system: str = "x") -> str:
    """A unified kernel image with these lines of os-release(5)."""
    return f".osrel ID={system}\\n{release_file}\n.cmdline quiet\n.uname {release}\n"


LOADER = {"/efi/loader/loader.conf": "timeout 3\n"}
ESP = "/efi/EFI/Linux"


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({"a-6.9.0.efi": image("6.9.0"), "a-6.12.0.efi": image("6.12.0")}, "6.12.0"),
        ({"a-6.9.0.efi": image("6.9.0"), "a-6.12.0+0-3.efi": image("6.12.0")}, "6.9.0"),
        ({"a-6.9.0.efi": image("6.9.0", "14"), "a-6.12.0.efi": image("6.12.0")}, "6.9.0"),
        ({"a.efi": image("6.9.0"), "b.efi": image("6.12.0"), "/efi/loader/loader.conf": "default A*\n"}, "6.9.0"),
        ({"a.efi": image("6.9.0"), "b.efi": "x", "/efi/loader/loader.conf": "default a.efi\n"}, "6.9.0"),
        ({"a.efi": image("6.9.0"), "/efi/loader/loader.conf": "default @saved\n"}, None),
        ({"a.efi": image("6.9.0"), "b.efi": image("6.12.0").replace("debian", "arch")}, None),
        ({"a.efi": image("6.9.0"), "b.efi": "\0" * (5 << 20)}, None),
        ({"a.efi": image("")}, ""),
        ({"a.efi": ".cmdline quiet\n"}, None),
        ({f"{number}.efi": image("6.9.0") for number in range(20)}, None),
        ({f"{number}.efi": image(f"6.{number}.0") for number in range(8)}, "6.7.0"),
        ({f"{number}.efi": image("6.9.0") for number in range(9)}, None),
        ({"@a.efi": image("6.9.0"), "/efi/loader/loader.conf": "default @a.efi\n"}, None),
        ({"auto-a.efi": image("6.9.0"), "/efi/loader/loader.conf": "default auto-a.efi\n"}, None),
        ({"a.efi": image("6.9.0"), "/efi/loader/loader.conf": "default a.efi\npreferred b.efi\n"}, None),
        ({"a.efi": image("6.9.0"), "/efi/loader/loader.conf": "default b.efi\n"}, None),
        ({"a.efi": of("IMAGE_ID=x", "6.9.0"), "b.efi": of("IMAGE_ID=y", "6.12.0")}, None),
        ({"a.efi": of("IMAGE_ID=x", "6.9.0", system="a"), "b.efi": of("IMAGE_ID=x", "6.12.0", system="b")}, "6.12.0"),
        ({"a.efi": of('IMAGE_VERSION="2"', "6.9.0"), "b.efi": of("IMAGE_VERSION=1\\nVERSION=9", "6.12.0")}, "6.9.0"),
        ({"a.efi": of("VERSION=2", "6.9.0"), "b.efi": of("VERSION=1\\nVERSION_ID=9", "6.12.0")}, "6.9.0"),
        ({"a.efi": of("VERSION_ID=2", "6.9.0"), "b.efi": of("VERSION_ID=1\\nBUILD_ID=9", "6.12.0")}, "6.9.0"),
        ({"a.efi": of("BUILD_ID='2'", "6.9.0"), "b.efi": of("BUILD_ID=1", "6.12.0")}, "6.9.0"),
        ({"a.efi": image("6.9.0"), f"{EFIVARS}/LoaderEntryDefault-{VENDOR}": "x"}, None),
        ({"a.efi": image("6.9.0"), f"{EFIVARS}/LoaderEntryOneShot-{VENDOR}": "x"}, None),
    ],
)
def test_systemd_boot_sorts_unified_kernel_images(files: dict[str, str], release: str | None) -> None:
    """The default of loader.conf, else the newest system and name; unknown where it is not certain."""
    entry = boot(LOADER | {name if name[0] == "/" else f"{ESP}/{name}": text for name, text in files.items()}).entry
    if not release:
        assert entry.kind == "not-readable"
    else:
        assert entry.value is not None
        assert entry.value.release == release


@pytest.mark.parametrize("unread", ["/efi/loader/loader.conf", f"{ESP}/b.efi"])
def test_a_file_that_cannot_be_read_may_decide_what_boots(unread: str) -> None:
    """The problem is that of the file."""
    files: dict[str, bytes | str | int] = {**LOADER, f"{ESP}/a.efi": image("6.9.0"), "/efi/EFI/systemd/a.efi": ""}
    entry = boot(files | {unread: errno.EACCES}).entry
    assert (entry.source, entry.kind) == (unread, "not-permitted")


def test_the_release_of_systemd_is_looked_for_where_it_decides() -> None:
    """Where the next command line asks for cgroup v1."""
    library = {"/usr/lib64/systemd/libsystemd-shared-257.9-1.fc42.so": ""}
    asks: dict[str, bytes | str | int] = {"/boot/loader/entries/a.conf": "linux /vmlinuz-6.9.1\noptions quiet\n"}
    assert boot(asks | library).systemd.kind == "not-tried"
    asks["/boot/loader/entries/a.conf"] = "linux /vmlinuz-6.9.1\noptions systemd.unified_cgroup_hierarchy=0\n"
    assert boot(asks | library).systemd.value == 257
    assert boot(asks).systemd.kind == "absent"


def test_a_choice_of_bootctl_precedes_entries() -> None:
    """Of systemd-boot; GRUB asks its own variables."""
    choice = {f"{EFIVARS}/LoaderEntryDefault-{VENDOR}": "x"}
    assert boot(ENTRIES | choice).entry.kind == "not-readable"
    grub = {"/boot/grub2/grub.cfg": FEDORA, "/boot/grub2/grubenv": f"{SIGNED}saved_entry=abc-6.9.5-200.fc40.x86_64\n"}
    assert boot(ENTRIES | grub | choice).entry.value is not None


@pytest.mark.parametrize(
    "more",
    [
        {f"{ESP}/a.efi": image("6.9.0", more=".profile \n")},
        {f"{ESP}/a.efi": ".uname 6.9.0\n"},
        {f"{ESP}/a.efi.extra.d/debug.addon.efi": ""},
        {"/efi/loader/addons/debug.addon.efi": ""},
    ],
)
def test_a_command_line_that_others_extend_is_not_told(more: dict[str, str]) -> None:
    """By add-ons of systemd-stub, by profiles, or by the firmware in place of a missing one."""
    entry = boot(LOADER | {f"{ESP}/a.efi": image("6.9.0")} | more).entry
    assert entry.value == BootEntry(release="6.9.0", options=None)


def test_other_boot_loaders() -> None:
    """A Raspberry Pi's file has the command line; a link or the newest image tells the kernel alone."""
    line = boot({"/boot/firmware/cmdline.txt": "console=tty1 cgroup_no_v1=all rootwait\n"}).entry
    assert line.value == BootEntry(release="", options=("cgroup_no_v1=all",))
    images: dict[str, bytes | str | int] = {f"/boot/vmlinuz-{each}": "" for each in ("6.9.1", "6.10.1-rc1", "6.10.1")}
    assert boot(images).installed == ("6.10.1", "6.10.1-rc1", "6.9.1")
    assert boot(images).entry.kind == "absent", "the running kernel came from elsewhere, as in WSL and small machines"
    images |= {f"/boot/vmlinuz-{RUNNING.value}": "", "/boot/vmlinuz-6.13.0": ""}
    assert boot(images).entry == Reading("/boot", BootEntry(release="6.13.0", options=None))
    linked = boot(images, vmlinuz="boot/vmlinuz-6.9.1").entry
    assert linked == Reading("/vmlinuz", BootEntry(release="6.9.1", options=None))
    assert boot({}).entry.kind == "absent"


def test_grub_on_the_efi_system_partition() -> None:
    """RHEL 8 has only the variables below /boot; systemd-boot, which has a loader.conf, knows none of them."""
    variables = {"/boot/grub2/grubenv": f"{SIGNED}saved_entry=abc-6.9.5-200.fc40.x86_64\nkernelopts=selinux=0 ro\n"}
    saved = BootEntry(release="6.9.5-200.fc40.x86_64", options=("selinux=0", "lsm=0"))
    newest = BootEntry(release="6.10.3-200.fc40.x86_64", options=("lsm=1",))
    assert boot(ENTRIES | variables).entry.value == saved
    assert boot(ENTRIES | variables | {"/boot/loader/loader.conf": "timeout 3\n"}).entry.value == newest


@pytest.mark.parametrize(
    ("names", "release"),
    [
        (("abc-6.12.41+deb12-amd64", "abc-6.12.41+deb13-amd64"), "6.12.41+deb13-amd64"),
        (("abc-6.9.1", "abc-6.10.1+3"), "6.10.1"),
        (("abc-6.9.1", "abc-6.10.1+2-1"), "6.10.1"),
        (("abc-6.9.1", "abc-6.10.1+0-3"), "6.9.1"),
        (("abc-6.10.1+0-3",), "6.10.1"),
    ],
)
def test_counted_tries_of_entries(names: tuple[str, ...], release: str) -> None:
    """An entry that has failed too often starts only where there is no other; `+` also occurs in releases."""
    files: dict[str, bytes | str | int] = {}
    for name in names:
        image = name.removeprefix("abc-")
        image = image if "deb" in image else image.partition("+")[0]
        files[f"/boot/loader/entries/{name}.conf"] = f"linux /vmlinuz-{image}\n"
    assert boot(files).entry.value == BootEntry(release=release, options=())


def test_a_kernel_without_its_initramfs() -> None:
    """Only where another kernel has one: some nodes need none."""
    images: dict[str, bytes | str | int] = {f"/boot/vmlinuz-{each}": "" for each in ("6.9.1", "6.10.1")}
    assert boot(images).incomplete == ()
    assert boot({**images, "/boot/initrd.img-6.9.1": ""}).incomplete == ("6.10.1",)
    assert boot({**images, "/boot/initramfs-6.9.1.img": "", "/boot/initramfs-6.10.1.img": ""}).incomplete == ()


ONE_ENTRY = "menuentry 'a' {\nlinux /vmlinuz-6.9.1\n}\n"


def test_the_configuration_of_another_kernel() -> None:
    """Read only where another one boots."""
    config: dict[str, bytes | str | int] = {
        GRUB: ONE_ENTRY,
        "/boot/config-6.9.1": "CONFIG_X=y\n# CONFIG_USER_NS is not set\n",
    }
    assert boot({**config, "/boot/vmlinuz-6.9.1": ""}).built_in.value is False
    config["/boot/config-6.9.1"] = "CONFIG_USER_NS=y\n"
    assert boot({**config, "/boot/vmlinuz-6.9.1": ""}).built_in.value is True
    assert boot({"/boot/config-6.12.9-amd64": "", "/boot/vmlinuz-6.12.9-amd64": ""}).built_in.kind == "not-tried"


@pytest.mark.parametrize(
    ("path", "text", "options"),
    [
        (
            "/etc/default/grub",
            'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="apparmor=0 quiet"\n#GRUB_CMDLINE_LINUX="selinux=0"\n',
            1,
        ),
        ("/etc/kernel/cmdline", "root=/dev/sda1 apparmor=0 sysctl.user.max_user_namespaces=0 sysctl.vm.x=1", 2),
        ("/etc/none", "", 0),
    ],
)
def test_where_new_entries_come_from(path: str, text: str, options: int) -> None:
    """Of the parameters those that checks know."""
    found = boot({path: text}).configured
    assert len(found.value or ()) == options
    assert not options or found.source == path


DROP_IN = "/etc/default/grub.d/50-x.cfg"


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (
            {DROP_IN: 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT apparmor=1"\n'},
            ("selinux=0", "apparmor=1"),
        ),
        ({DROP_IN: "GRUB_CMDLINE_LINUX_DEFAULT='apparmor=1'\n"}, ("apparmor=1",)),
        ({"/etc/default/grub.d/README": "GRUB_CMDLINE_LINUX=lsm=a\n"}, ("selinux=0",)),
        ({DROP_IN: errno.EACCES}, None),
        ({"/boot/loader/entries/a.conf": "linux /vmlinuz-6.9.1\n", "/etc/kernel/cmdline": "lsm=b\n"}, ("lsm=b",)),
        ({"/boot/loader/entries/a.conf": "linux /vmlinuz-6.9.1\n"}, None),
    ],
)
def test_drop_ins_and_entries_of_kernel_install(
    files: dict[str, bytes | str | int], options: tuple[str, ...] | None
) -> None:
    """Drop-ins extend or replace the values of /etc/default/grub, from which kernel-install makes no entry."""
    assert boot({"/etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT='selinux=0'\n"} | files).configured.value == options


def test_a_command_line_that_doubles_stays_small() -> None:
    """As many assignments of a value to itself as a file can have."""
    line = f"GRUB_CMDLINE_LINUX={'$GRUB_CMDLINE_LINUX' * 3000} lsm=a\n"
    assert len(grub_command_line(f"GRUB_CMDLINE_LINUX={'x' * 4000}\n" + line * 200)) <= 4096


@pytest.mark.parametrize("problem", [errno.EACCES, b"\xff\xfe", "x" * (1 << 20) + "x", "menuentry 'a' {\n}\n", ""])
def test_an_unreadable_menu_is_a_problem(problem: bytes | str | int) -> None:
    """No other source stands in for a boot loader that is there."""
    entry = boot({GRUB: problem, "/boot/vmlinuz-6.9.1": ""}).entry
    assert entry.value is None
    assert entry.kind != "absent"


@given(st.text(st.sampled_from("menuentry submenu'\"{}\n>$ linux/ set default=blscfg 0\t\\"), max_size=300))
def test_no_text_breaks_the_menu(text: str) -> None:
    """An entry, or a ValueError."""
    parse_menu(text)
    with suppress(ValueError):
        assert parse_grub(text, {})


@pytest.mark.parametrize(
    "line", ["set default=", "menuentry {", "}", "linux ", "submenu '", "\n", " ", "menuentry 'a' --id "]
)
@pytest.mark.slow
def test_a_huge_menu_takes_linear_time(line: str) -> None:
    """No pattern is tried again at each place; the time limit of all tests ends a quadratic one."""
    for text in (line * (1 << 17), (line + "\n") * (1 << 15)):
        parse_menu(text[: 1 << 20])
        with suppress(ValueError):
            parse_grub(text[: 1 << 20], {})


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.9.1-amd64", "6.10.0-amd64"),
        ("6.12.0-rc3", "6.12.0"),
        ("6.12~rc1", "6.12"),
        ("5.14.0-362.el9", "5.14.0-427.13.1.el9_4"),
        ("6.1.0-9-amd64", "6.1.0-30-amd64"),
        ("6.1.0-custom", "6.1.0-0"),
    ],
)
def test_order_of_releases(older: str, newer: str) -> None:
    """Numbers count as numbers, even 0 above a word; candidates come before the release."""
    assert version_key(older) < version_key(newer)
