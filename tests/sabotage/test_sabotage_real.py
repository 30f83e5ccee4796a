"""Real Pods on really broken nodes: a sample of scripts/sabotage over all kinds of breaks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import kernel
from lab.sabotage.breaks import BREAKS, BY_NAME
from lab.sabotage.judge import AGREE, WRONG
from tests.extent import ALL

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "sabotage"
UNAVAILABLE = 69
CONTROL = "nothing"
MORE = (
    *("limit-stack-65536", "limit-nofile-1024", "without-cap-audit-write", "seccomp-without-mount-setattr"),
    *("MountFlags-private", "mode-0700-state", "runc-wrapped", "systemd-cgroup", "sysctl-ping-group-range"),
    *("dev-null-0600", "tmp-read-only", "umask-002", "kubelet-root-xfs"),
    *("hook-loader-in-a-private-folder", "hooks-in-capitals", "sysctl-ip-default-ttl", "append-only-snapshots"),
    *("proc-noatime", "ProtectKernelTunables"),  # ProcCovered, as of proc-file-masked
)
"""One more of a kind, which says what another one says: with `scripts/test --all`."""
SAMPLE = (
    *("proc-file-masked", "sys-read-only", "sys-firmware-covered"),
    *("limit-nproc-1", "without-cap-sys-ptrace", "without-cap-chown", "no-new-privs", "seccomp-allows-all"),
    *("PrivateTmp", "mode-0700-root", "mode-0700-runtime-root"),
    *("runc-gone", "runc-lies", "shim-gone", "snapshotter-native", "no-restrict-oom-score-adj"),
    *("hook-works", "hook-fails", "dev-full-gone", "tmpdir-gone", "umask-027"),
    *("kubelet-root-overlay", "runtime-root-ext4", "state-noexec", "run-full", "containerd-killed"),
    *("snapshots-read-only", "unbindable-runtime-root", "acl-of-a-user-denies-state", "cni-cache-dangling-link"),
    *("ld-preload-gone", "hook-interpreter-in-a-private-folder", "subvolume-read-only-state"),
    *(MORE if ALL else ()),
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Break -> the row that the script writes of it; few calls, as their start costs as much as a break.

    What nothing but a trial can see is asked with `--try-pod`.
    """
    require(os.geteuid() == 0, "root")
    require(platform.machine() == "x86_64", "an x86-64 machine: the kubelet is written for it")
    require(kernel.RELEASE >= (6, 3), "a kernel from 6.3 on, which idmaps tmpfs")
    require(os.path.exists("/bin/busybox"), "/bin/busybox (package busybox-static)")
    file = tmp_path_factory.mktemp("sabotage") / "rows.json"
    tried = [name for name in SAMPLE if BY_NAME[name].only_trial]
    others = [CONTROL, *(name for name in SAMPLE if name not in tried)]
    return call(file, *others) | call(file, *tried, options=("--try-pod",))


def call(file: Path, *names: str, options: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """One call of the script."""
    # A process of its own: gRPC leaves threads behind, with which no other test could make a user namespace.
    command = [sys.executable, str(SCRIPT), "--json", str(file), *options, "--only", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require(done.returncode != UNAVAILABLE, done.stderr.strip())
    document = json.loads(file.read_text())
    assert not document["missing"], document["missing"]
    assert done.returncode == int(any(row["class"] in WRONG for row in document["rows"])), done.stderr
    return {row["name"]: row for row in document["rows"]}


def test_all_agrees_on_a_node_that_is_whole(rows: dict[str, dict[str, Any]]) -> None:
    """The control: everything is ready, and every Pod runs with its owners and content right."""
    row = rows[CONTROL]
    assert (row["class"], row["report"]["verdict"]) == (AGREE, "ready"), row
    assert {outcome for kinds in row["fates"].values() for outcome, _ in kinds.values()} == {"runs"}


@pytest.mark.parametrize("name", SAMPLE)
def test_what_is_predicted_is_the_fate_of_real_pods(name: str, rows: dict[str, dict[str, Any]]) -> None:
    """No level and no handler is ready whose Pods do not run, and none is not-ready whose Pods all run."""
    row = rows[name]
    assert row["class"] not in WRONG, (row["claims"], row["with_trial"], row["fates"])


def test_the_sample_has_every_kind() -> None:
    assert {BY_NAME[name].kind for name in SAMPLE} == {each.kind for each in BREAKS} - {"control"}
    assert len(set(SAMPLE)) == len(SAMPLE) >= 25
