"""The verb `bundle`, and the report of its file."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from lab.forked import run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the machine that runs the tests."""
    file = tmp_path_factory.mktemp("bundle") / "node.tar.gz"
    done = run("bundle", str(file), "--node-name", "n1")
    assert (done.returncode, done.stderr) == (0, "")
    return file


@pytest.mark.slow
def test_it_is_the_owners_alone_and_people_can_read_it(bundle: Path) -> None:
    """Nothing else is left in its directory."""
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert os.listdir(bundle.parent) == [bundle.name]
    with tarfile.open(bundle) as file:
        assert file.getnames() == ["README.txt", "manifest.json", "report.json", "answers.ndjson"]


def test_its_report_is_the_one_that_was_made(bundle: Path) -> None:
    """With the exit code of the verdict, from a file and from stdin."""
    with tarfile.open(bundle) as file:
        opened = file.extractfile("report.json")
        assert opened
        told = json.load(opened)
    for done in (
        run("report", "--from-bundle", str(bundle), "-o", "json"),
        run("-o", "json", "--from-bundle", "-", stdin=bundle.read_bytes()),
    ):
        assert json.loads(done.stdout) == told
        assert done.returncode == {"ready": 0, "not-ready": 1, "unknown": 2}[told["verdict"]]
        assert done.stderr == ""


def test_a_file_is_not_replaced_unasked(bundle: Path) -> None:
    """Somebody may have waited a night for it."""
    before = bundle.read_bytes()
    done = run("bundle", str(bundle))
    assert (done.returncode, bundle.read_bytes()) == (64, before)
    assert "--force" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("file", "code"), [("/nowhere/node.tar.gz", 64), ("/proc/node.tar.gz", 70)])
def test_a_place_that_cannot_hold_it(file: str, code: int) -> None:
    """It is named, before the probe where that can be seen."""
    done = run("bundle", file)
    assert done.returncode == code
    assert file.rpartition("/")[0] in done.stderr


def test_rubbish_is_no_bundle(tmp_path: Path) -> None:
    """The file is named, and nothing is printed that looks like a verdict."""
    (file := tmp_path / "x").write_bytes(b"rubbish")
    done = run("report", "--from-bundle", str(file))
    assert (done.returncode, done.stdout) == (64, "")
    assert str(file) in done.stderr


def test_another_version_is_named(bundle: Path, tmp_path: Path) -> None:
    """What that version did not read is unknown to this one."""
    from msgspec.structs import replace

    from probe.bundle.archive import Bundle, pack, unpack

    read = unpack(bundle.read_bytes())
    (file := tmp_path / "old.tar.gz").write_bytes(
        pack(Bundle(replace(read.manifest, agent_version="0.0.1"), read.asked), "{}")
    )
    done = run("report", "--from-bundle", str(file), "-q")
    assert "0.0.1" in done.stderr
