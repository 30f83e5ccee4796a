"""Sysctl files against systemd-sysctl(8), in a user namespace whose limits are its own."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.fake_host import FakeHost
from lab.prerequisites import require
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
