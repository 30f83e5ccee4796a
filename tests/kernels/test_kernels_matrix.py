"""Two of the kernels that Debian offers, booted: what the command predicts there is what happens.

scripts/kernel-matrix boots all. And the tables that are made of such runs.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from dataclasses import asdict

import pytest

from lab import evidence
from lab.kernels import filesystems, image, matrix
from lab.kernels.judge import FilesystemRow, Judged
from lab.kernels.matrix import Run
from lab.kernels.packages import NEWEST
from lab.kernels.reports import ScenarioRow
from lab.kernels.scenarios import ALONE, SCENARIOS
from lab.prerequisites import require
from lab.real.debian import Unavailable
from tests.extent import ALL

ASKED = {"6.1": ["plain", "--try-runtime"], NEWEST: ["--try-runtime", *ALONE]}
"""Series -> scenarios of CI's run.

What depends on the kernel is tried on both. Where a trial of the runtime fails, the report without one has to be not
ready by itself. A sysctl means the same on each, and a confined probe says `unknown` on each:
tests/real/test_entering.py confines it on this machine's kernel, in all the ways of scenarios.CONFINED and more.
"""
TOLD_BY = ("crun",)
"""The OCI runtime that tells the truth in CI's run: runc makes the same system calls and takes longer.

tests/real/test_truth.py asks both on this machine's kernel, and the trial of the runtime on each kernel is runc's.
"""


def run_of(series: str) -> Run:
    """All that happened on that kernel, or a missing prerequisite.

    `path` of a confined probe repeats what its report says of the same file systems: `scripts/test --all` asks it.
    """
    require(os.geteuid() == 0, "root")
    for command, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mksquashfs", "squashfs-tools")):
        require(shutil.which(command), f"command {command} (package {package})")
    try:
        if ALL:
            return matrix.run(series)
        return matrix.run(series, ASKED[series], confined_paths=False, told_by=TOLD_BY)
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.mark.real
@pytest.mark.qemu
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("series", ASKED)
def test_what_is_predicted_happens(series: str) -> None:
    """Each file system, each scenario; and nothing is left out."""
    run = run_of(series)
    require(not run.not_run, run.not_run)
    assert run.disagreements == []
    assert {row.name for row in run.judged.filesystems} == {*filesystems.CORE, "kubelet-root"}
    assert not run.judged.absent
    assert [row.name for row in run.judged.scenarios] == list(SCENARIOS if ALL else ASKED[series])


GOOD = FilesystemRow("ext4", "supported", "", {"crun": "works"}, agrees=True)
BAD = FilesystemRow("tmpfs", "supported", "", {"crun": "Invalid argument"}, agrees=False)
JUDGED = Judged((GOOD, BAD), (ScenarioRow("plain", "ready", "", "not-ready", ("not-ready was expected",)),))
RUN = Run("6.1", "6.1.0-56-amd64", "6.1.192-2", "bookworm", "amd64", 50.4, ("crun 1.21 (trixie)",), JUDGED)
GONE = Run("5.10", not_run="gone: bullseye: 404")


def test_what_disagrees_is_told() -> None:
    """File system or scenario, with what was said and what was so."""
    assert RUN.disagreements == [
        "tmpfs: supported, and {'crun': 'Invalid argument'}",
        "plain: ready: not-ready was expected",
    ]
    assert Run("6.1", failed="it hung").disagreements == ["it hung"]
    assert GONE.disagreements == []


def test_the_tables() -> None:
    """Made of the JSON that was written; what disagrees is bold, what was not run is said."""
    other = Run("6.12", "6.12.118", judged=Judged((GOOD,)))
    text = matrix.markdown(json.loads(json.dumps([asdict(run) for run in (GONE, RUN, other)])))
    assert "| 6.1.0-56-amd64 | 6.1.192-2 (bookworm) | 50 | 0 |" in text
    assert "Linux 5.10 was not run: gone: bullseye: 404" in text
    assert "| ext4 | ✔ ✔ | ✔ ✔ |" in text
    assert "| tmpfs | **✔ ✘** | - |" in text
    assert "| plain | **ready** | - |" in text
    assert "Not tried at all: bcachefs, " in text


def test_the_tables_tell_what_went_wrong() -> None:
    """A guest that failed, also one that is not known any further, and each problem, in a line of its own."""
    runs = (
        Run("arm64", failed="no wheel for aarch64"),
        Run("6.12", "6.12.118", failed="the guest failed; its console ends:\nPanic\n"),
        Run("6.1", "6.1.0-56-amd64", judged=Judged(problems=("tmpfs: no container was tried\n",), again=3)),
    )
    lines = matrix.markdown([asdict(run) for run in runs]).splitlines()
    assert "**Linux arm64 failed: no wheel for aarch64**" in lines
    assert "**Linux 6.12.118 failed: the guest failed; its console ends:**" in lines
    assert "**On Linux 6.1.0-56-amd64: tmpfs: no container was tried**" in lines
    assert "| 6.1.0-56-amd64 |  () | 0 | 3 |" in lines


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        ([Run("6.1", "6.1.0-56-amd64"), GONE], 0),
        ([RUN, GONE], 1),
        ([Run("6.1", failed="it hung"), GONE], 1),
        ([GONE, GONE], 69),
    ],
)
def test_the_exit_code(runs: list[Run], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing agrees where nothing was run."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["kernel-matrix"])
    monkeypatch.setattr(matrix, "run_all", lambda *arguments: runs)
    monkeypatch.setattr(evidence, "digest", lambda: "of this code")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(image.CHECKOUT / "scripts/kernel-matrix"), run_name="__main__")
    assert ended.value.code == code
