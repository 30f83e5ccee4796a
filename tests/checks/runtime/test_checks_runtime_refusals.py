"""Refusals of what the runtime adds to each container, one by one."""

from __future__ import annotations

import pytest

from lab.factory import make_place
from probe.checks.runtime.refusals import is_defective, is_unclear_mount, refused_mount
from probe.checks.runtime.soft_limits import refused_limit
from probe.facts.around import AddedMount, Hook, Limit

IDS = 65536


@pytest.mark.parametrize(
    ("fstype", "refused", "unclear"),
    [
        *((fstype, True, True) for fstype in ("nfs", "ext4", "btrfs", "debugfs", "minix", "zfs", "xfs", "vfat", "udf")),
        *((fstype, False, False) for fstype in ("proc", "sysfs", "tmpfs", "cgroup2", "mqueue", "devpts", "overlay")),
        ("madeupfs", False, True),
    ],
)
def test_file_systems_in_user_namespaces(fstype: str, refused: bool, unclear: bool) -> None:
    """By FS_USERNS_MOUNT; of one that is in neither list nothing is known."""
    mount = AddedMount(destination="/x", fstype=fstype)
    assert bool(refused_mount(mount, IDS, "base.json")) is refused
    assert is_unclear_mount(mount) is unclear


@pytest.mark.parametrize(
    ("fstype", "option", "refused"),
    [
        ("tmpfs", "uid=65535", False),
        ("tmpfs", "uid=65536", True),
        ("devpts", "gid=65536", True),
        ("mqueue", "uid=65536", False),
        ("tmpfs", "noswap", True),
    ],
)
def test_owners_outside_the_range_of_a_pod(fstype: str, option: str, refused: bool) -> None:
    """The evidence names the option."""
    found = refused_mount(AddedMount(destination="/x", fstype=fstype, options=("ro", option)), IDS, "base.json")
    assert bool(found) is refused
    assert found is None or option in found.evidence[0].value


def test_a_hook_whose_program_was_not_looked_for_has_no_defect() -> None:
    """That is not known of it."""
    assert not is_defective(Hook(when="createRuntime", path="hook", steps=()))
    program = make_place("/hook", mode=0o100755, defect="is a script without an interpreter")
    assert is_defective(Hook(when="createRuntime", path="/hook", steps=(program,)))
    assert not is_defective(Hook(when="poststop", path="/hook", steps=(program,)))


@pytest.mark.parametrize(
    ("own", "capabilities", "refused"),
    [
        ({}, 0, False),
        ({"RLIMIT_CORE": Limit(0, 100)}, 0, True),
        ({"RLIMIT_CORE": Limit(0, 100)}, 1 << 24, False),
        ({"RLIMIT_CORE": Limit(0, 200)}, 0, False),
        ({"RLIMIT_CORE": Limit(0, -1)}, 0, False),
    ],
)
def test_a_limit_above_the_runtimes_own(own: dict[str, Limit], capabilities: int, refused: bool) -> None:
    """Only CAP_SYS_RESOURCE raises it; of a limit that was not read nothing is said."""
    found = refused_limit("RLIMIT_CORE", Limit(0, 200), own, capabilities, 1 << 20, "base.json", "runc")
    assert bool(found) is refused
