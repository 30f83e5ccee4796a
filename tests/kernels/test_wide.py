"""What needs no guest: the tables of rows fit together, and no round of the NFS fault passes that should not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.kernels import arm64, dead_nfs, machine, packages, wide, wide_inside, wide_matrix
from lab.kernels.packages import Kernel
from lab.kernels.wide_matrix import judge_wide
from lab.real.debian import Broken, Unavailable
from lab.real.packages import Runtime

VOLUME, BEHIND = dead_nfs.VOLUME, dead_nfs.BEHIND


def report(verdict: str = "ready", volume: str = "refused", behind: str = "supported") -> dict[str, Any]:
    """As far as it matters here."""
    rows = [{"role": "tmpfs", "path": "", "result": "supported"}]
    rows += [{"role": "volume", "path": VOLUME, "result": volume}, {"role": "volume", "path": BEHIND, "result": behind}]
    findings = [{"id": "kubelet-running", "status": "pass"}, {"id": "filesystem-volumes", "status": "fail"}]
    return {"report": {"verdict": verdict, "findings": findings, "filesystems": rows}}


HEALTHY = report()
GOOD = {"gone": report(volume="unknown", behind="unknown"), "back": HEALTHY, "stuck": []}


def changed(round_: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A copy of it, changed."""
    made = copy.deepcopy(round_)
    change(made)
    return made


def test_what_each_row_needs_is_for_a_row() -> None:
    """A name that no row has would be prepared for nobody."""
    assert {*wide.FORMATS, *wide.PACKAGES, *wide.VIRTIOFSD, *wide_inside.TAGS} <= set(wide_inside.ROWS)


def test_a_round_that_went_well() -> None:
    """What lies behind the server is unknown, all else as before; the kernel may answer for the mount's root."""
    assert list(dead_nfs.judge(HEALTHY, GOOD)) == []
    assert list(dead_nfs.judge(HEALTHY, GOOD | {"gone": report(behind="unknown")})) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made["gone"]["report"].update(verdict="unknown"), "verdict is unknown without the server"),
        (lambda made: made["gone"]["report"]["findings"].pop(0), "kubelet-running is None without the server"),
        (lambda made: made["gone"]["report"]["filesystems"].pop(0), "tmpfs is None without the server"),
        (lambda made: made.update(gone=HEALTHY), f"{BEHIND} is supported without the server"),
        (lambda made: made.update(back=made["gone"]), f"{BEHIND} is unknown when the server is back"),
        (lambda made: made["stuck"].append("up 0:55 (77)"), "process left: up 0:55 (77)"),
    ],
)
def test_a_round_that_did_not(change: Callable[[dict[str, Any]], object], words: str) -> None:
    """Each is a problem, in words that tell where to look."""
    problems = list(dead_nfs.judge(HEALTHY, changed(GOOD, change)))
    assert any(words in problem for problem in problems), problems


def test_a_node_that_was_never_ready_shows_nothing() -> None:
    """Nothing could be lost there."""
    unready = report(verdict="not-ready")
    round_ = {"gone": report("not-ready", behind="unknown"), "back": unready, "stuck": []}
    assert list(dead_nfs.judge(unready, round_)) == ["the node is not-ready before the fault"]
    without = changed(HEALTHY, lambda made: made["report"]["filesystems"].pop())
    assert list(dead_nfs.judge(without, GOOD | {"back": without})) == [f"{BEHIND} is not judged before the fault"]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """One with xfs as a module, f2fs built in, and no ntfs3."""
    modules = tmp_path / "lib/modules/6.0-test"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz\n")
    (modules / "modules.builtin").write_text("kernel/fs/f2fs/f2fs.ko\n")
    return Kernel("6.0", "6.0-1", "test", "amd64", tmp_path)


def test_what_the_kernel_has_must_not_be_missing(kernel: Kernel) -> None:
    """Or a module that does not load would look as if it had never been built."""
    missing = {name: f"file system {name} in this kernel" for name in ("xfs", "f2fs", "ntfs3")}
    judged = judge_wide(kernel, [{"row": name, "missing": words} for name, words in missing.items()])
    assert judged.absent == missing
    assert judged.problems == tuple(
        f"{name}: the kernel's package has it, and the guest has not" for name in ("xfs", "f2fs")
    )


def test_what_breaks_is_a_problem_and_what_cannot_be_had_is_none(kernel: Kernel) -> None:
    """A row without its package is told of as not run."""
    given = wide.Outside()
    with given.needed_by("cifs"):
        raise Unavailable("no package samba")
    with given.needed_by("xfs"):
        raise Broken("mkfs.xfs: no space")
    judged = judge_wide(kernel, [*given.documents, {"row": "nfs", "broken": "mount nfs4: Connection refused"}])
    assert judged.absent == {"cifs": "not run: no package samba"}
    assert judged.problems == ("xfs: mkfs.xfs: no space", "nfs: mount nfs4: Connection refused")


def test_a_program_that_was_fetched_and_fails_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether mkfs is not in its package any more, or does not do what is asked of it."""
    (tmp_path / "sbin").mkdir()
    monkeypatch.setattr(wide, "_root", lambda package, suite: tmp_path)
    form = wide.Format("test", "mkfs.test IMAGE", 1)
    with pytest.raises(Broken, match=r"mkfs\.test is in none of the packages"):
        wide.disk(form, tmp_path / "image")
    (tmp_path / "sbin/mkfs.test").touch()
    monkeypatch.setattr(wide, "by_loader", lambda root, program: ["sh", "-c", "echo too small >&2; exit 1"])
    with pytest.raises(Broken, match="too small"):
        wide.disk(form, tmp_path / "image")


@pytest.mark.parametrize("problem", [machine.GuestError("it hung"), Broken("no wheel for aarch64")])
def test_a_run_of_arm64_that_failed_keeps_its_kernel(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Or the tables would not have it."""

    def fails(kernel: Kernel) -> None:
        raise problem

    monkeypatch.setattr(packages, "kernel", lambda series, architecture: kernel)
    monkeypatch.setattr(arm64, "observe", fails)
    run = wide_matrix.run("arm64")
    assert (run.release, run.version, run.not_run) == ("6.0-test", "6.0-1", "")
    assert run.disagreements == [str(problem)]


def test_a_run_of_arm64_names_the_runtimes_of_its_guest(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are other packages than this machine's."""
    made = {"crun": Runtime("crun", "/usr/bin/crun", (1, 21), "trixie")}
    monkeypatch.setattr(packages, "kernel", lambda series, architecture: kernel)
    monkeypatch.setattr(arm64, "observe", lambda kernel: (made, machine.Outcome(0, [], 9.0, "")))
    assert wide_matrix.run("arm64").runtimes == ("crun 1.21 (trixie)",)
