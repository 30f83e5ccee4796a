"""Two of the kernels that Debian offers, booted: what the command predicts there is what happens.

scripts/kernel-matrix boots all. And the tables that are made of such runs.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict

import pytest

from tests.conftest import require
from tests.kernels import filesystems, matrix
from tests.kernels.judge import FilesystemRow, Judged, ScenarioRow
from tests.kernels.matrix import Run
from tests.kernels.packages import NEWEST
from tests.kernels.scenarios import SCENARIOS
from tests.real.debian import Unavailable

SERIES = ("6.1", NEWEST)


@pytest.fixture(scope="session")
def runs() -> dict[str, Run]:
    """All that happened on these kernels, at the same time."""
    require(os.geteuid() == 0, "root")
    for command, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mksquashfs", "squashfs-tools")):
        require(shutil.which(command), f"command {command} (package {package})")
    try:
        return {run.series: run for run in matrix.run_all(SERIES, lambda words: None)}
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.mark.real
@pytest.mark.kernel_matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("series", SERIES)
def test_what_is_predicted_happens(series: str, runs: dict[str, Run]) -> None:
    """Each file system, each scenario; and nothing is left out."""
    run = runs[series]
    if run.not_run:
        pytest.skip(run.not_run)
    assert run.disagreements == []
    assert {row.name for row in run.judged.filesystems} | set(run.judged.absent) == {*filesystems.CORE, "kubelet-root"}
    assert [row.name for row in run.judged.scenarios] == list(SCENARIOS)


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
    assert "| 6.1.0-56-amd64 | 6.1.192-2 (bookworm) | 50 |" in text
    assert "Linux 5.10 was not run: gone: bullseye: 404" in text
    assert "| ext4 | ✔ ✔ | ✔ ✔ |" in text
    assert "| tmpfs | **✔ ✘** | - |" in text
    assert "| plain | **ready** | - |" in text
