"""Sysctl files against systemd-sysctl(8), and fstab(5) against systemd-fstab-generator(8)."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.fake_host import FakeHost
from lab.prerequisites import require
from probe.facts.boot.fstab import at_boot, parse_fstab
from probe.facts.boot.sysctls import DIRECTORIES, gather_boot_sysctls
from probe.facts.kernel import NAMESPACE_KINDS

pytestmark = pytest.mark.real

SYSTEMD_SYSCTL = "/usr/lib/systemd/systemd-sysctl"
NAMES = tuple(f"user.max_{kind}_namespaces" for kind in NAMESPACE_KINDS)
KEYS = (
    *NAMES, *(name.replace(".", "/") for name in NAMES), "user.max_*_namespaces", "user.max_[a-m]*", "user.*",
    "vm.none", "user/max_?et_namespaces", "-user.max_user_namespaces",
)  # fmt: skip
VALUES = ("3", "17", "0x10", "010", "5 ", "-1", "x", "99999999999", "", "1k")
SCRIPT = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/sysctl.d
mount -t tmpfs none /usr/local/lib && mkdir /usr/local/lib/sysctl.d
for directory in /etc /usr/lib /run /usr/local/lib; do
  [ -d $directory/sysctl.d ] || continue
  mount --bind "$1$directory/sysctl.d" $directory/sysctl.d
done
/usr/lib/systemd/systemd-sysctl
cd /proc/sys/user && grep . max_*_namespaces
"""


def applied(tree: Path) -> dict[str, int]:
    """Values after systemd applied the files below *tree* in a fresh user namespace."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {f"user.{name}": int(value) for name, _, value in pairs}


@pytest.mark.parametrize("seed", range(8))
def test_the_files_as_systemd_applies_them(seed: int, tmp_path: Path) -> None:
    """Each limit that a file sets is foretold, and no other one."""
    require(Path(SYSTEMD_SYSCTL).exists() and shutil.which("unshare") is not None, "systemd-sysctl and unshare")
    chance = random.Random(seed)
    directories = [path for path in DIRECTORIES if path != "/lib/sysctl.d" and Path(path).parent.is_dir()]
    files: dict[str, bytes | str | int] = {}
    for directory in directories:
        if directory.startswith(("/etc", "/usr/lib")):
            require(Path(directory).is_dir(), directory)
        (tmp_path / directory[1:]).mkdir(parents=True)
        for name in chance.sample(["10-a.conf", "50-b.conf", "99-c.conf", "z.conf", "no.txt"], 3):
            lines = [f"{chance.choice(KEYS)} = {chance.choice(VALUES)}" for _ in range(chance.randrange(6))]
            lines += chance.sample(["# user.max_net_namespaces = 1", "-user.max_pid_namespaces", "nonsense", ""], 2)
            chance.shuffle(lines)
            files[f"{directory}/{name}"] = "\n".join(lines) + "\n"
            (tmp_path / directory[1:] / name).write_text(str(files[f"{directory}/{name}"]))
    untouched = applied(_empty(tmp_path / "empty", directories))
    found = gather_boot_sysctls(FakeHost(files=files, modified={"/run/systemd/system": 0.0}), NAMES)
    expected = {name: found.values[name].value if name in found.values else untouched[name] for name in NAMES}
    seen = applied(tmp_path)
    assert {name: seen[name] for name in NAMES} == expected


def _empty(tree: Path, directories: list[str]) -> Path:
    for directory in directories:
        (tree / directory[1:]).mkdir(parents=True)
    return tree


GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
POINTS = ("/a", "/a/b", "/a/b/c", "/d", "/d e", "/f-g", "/a/../d")
OPTIONS = (
    "defaults", "noauto", "auto", "ro", "nofail", "noauto,auto", "auto,noauto", "noauto,x-systemd.automount",
    "noauto,x-systemd.wanted-by=k.service", "x-systemd.required-by=k.service", "noauto,nofail", "_netdev",
)  # fmt: skip


def generated(fstab: Path, directory: Path) -> dict[str, str]:
    """Mount point -> source of each unit that a boot starts, by the units that systemd's generator makes of *fstab*."""
    normal, early, late = (directory / name for name in ("normal", "early", "late"))
    for one in (normal, early, late):
        one.mkdir(parents=True)
    environment = {"SYSTEMD_FSTAB": str(fstab), "SYSTEMD_LOG_LEVEL": "crit", "SYSTEMD_IN_INITRD": "0"}
    subprocess.run([GENERATOR, normal, early, late], env=environment, capture_output=True, check=False, timeout=60)
    found = {}
    for unit in normal.glob("*.mount"):
        settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
        found[unit.name] = (settings["Where"], settings["What"], "bind" in settings.get("Options", ""))
    links = {link.name.replace(".automount", ".mount") for link in normal.glob("*.*.*/*")}
    started = {found[name] for name in links & found.keys()}
    while True:  # as systemd adds dependencies on mounts that others lie in
        paths = [path for where, what, bind in started for path in ((where, what) if bind else (where,))]
        needed = {one for one in found.values() if any(f"{path}/".startswith(f"{one[0]}/") for path in paths)}
        if needed <= started:
            return {where: what for where, what, _ in started}
        started |= needed


@pytest.mark.parametrize("seed", range(6))
def test_the_lines_of_fstab_that_systemd_mounts(seed: int, tmp_path: Path) -> None:
    """Each mount that a boot makes is foretold with its source, and no other one."""
    require(Path(GENERATOR).exists(), "systemd-fstab-generator")
    chance = random.Random(seed)
    for case in range(10):
        lines = ["none-root / tmpfs defaults"]
        for number in range(chance.randrange(1, 8)):
            point, options = chance.choice(POINTS).replace(" ", "\\040"), chance.choice(OPTIONS)
            bound = chance.random() < 0.2
            source = chance.choice(("/a/b/x", "/d/y")) if bound else f"none-{number}"
            lines.append(f"{source} {point} {'none' if bound else 'tmpfs'} {'bind,' * bound}{options} 0 0")
        chance.shuffle(lines)
        fstab = tmp_path / f"fstab-{case}"
        fstab.write_text("\n".join(lines) + "\n")
        found = {line.mount_point: line.source for line in at_boot(parse_fstab(fstab.read_text()), by_systemd=True)}
        seen = generated(fstab, tmp_path / str(case))
        assert {point: what for point, what in found.items() if point != "/"} == {
            point: what for point, what in seen.items() if point != "/"
        }, lines
