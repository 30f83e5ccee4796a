"""The truth test: what the probe predicts of a path is what a real OCI runtime then does with it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lab.real.bundle import UNMAPPED, Outcome
from lab.real.filesystems import CATALOG
from lab.real.packages import Runtime
from probe.facts.paths import gather_paths
from probe.settings import Settings
from probe.tables.filesystems import judge_filesystem

pytestmark = pytest.mark.real

Container = Callable[..., Outcome]
REFUSED = {"ext3", "ramfs", "proc", "overlay", "fuse", "idmapped", "unbindable"}
"""What no kernel up to 6.18 idmaps; the runtimes are asked too, so a wrong row here fails as well."""
OF_THE_MOUNT = {"idmapped", "unbindable"}
"""What is refused for the mount, whatever its file system."""


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize(("oci_runtime", "at_least"), [("runc", (1, 2)), ("crun", (1, 9))])
def test_what_is_predicted_happens(
    name: str,
    oci_runtime: str,
    at_least: tuple[int, ...],
    volume: Callable[[str], str],
    runtime: Callable[..., Runtime],
    container: Container,
) -> None:
    """Supported: the container starts and sees its own root as owner. Refused: it does not start."""
    path = volume(name)
    (row,) = gather_paths(Settings(), [path], oci_runtime)
    outcome = container(runtime(oci_runtime, at_least), path, readonly=CATALOG[name].readonly)
    assert row.result in ("supported", "refused"), row
    assert (row.result == "supported") == (outcome.started and outcome.owner_seen == 0), (row, outcome)


@pytest.mark.parametrize("name", CATALOG)
def test_each_file_system_is_judged(name: str, volume: Callable[[str], str]) -> None:
    """Each row of the catalog is refused or supported, as the table has it that tells of kernels without trying."""
    path = volume(name)
    (row,) = gather_paths(Settings(), [path])
    assert row.result == ("refused" if name in REFUSED else "supported"), row
    usable = {"fuse-below-ext4": "partly", "ext4-readonly": "read-only", "erofs": "read-only", "squashfs": "read-only"}
    assert row.usable == ("no" if name in REFUSED else usable.get(name, "yes"))
    assert (row.errno == "") == (name not in REFUSED or name == "unbindable")
    if name not in OF_THE_MOUNT:
        taken = judge_filesystem(row.fstype, os.uname().release).taken
        assert taken in ("unknown", "no" if row.result == "refused" else "yes"), "the table says otherwise"


def test_an_old_runc_is_caught(
    volume: Callable[[str], str], machine_runtime: Callable[[str], Runtime], container: Container
) -> None:
    """runc 1.1 starts the container and ignores the mapping: only CRI's answer keeps Pods away from it."""
    runc = machine_runtime("runc")
    if runc.version >= (1, 2):
        pytest.skip(f"this machine's runc is {runc.version}")
    outcome = container(runc, volume("ext4"))
    assert outcome.started
    assert outcome.owner_seen == UNMAPPED
