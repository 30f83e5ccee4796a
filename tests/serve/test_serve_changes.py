"""Waiting for changes: noticed at once, and nothing wakes up meanwhile."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lab.serve.serving import Serving, put_report, report_of_now, serving, wait_for
from lab.serve.serving import changed as with_fields
from probe.serve import changes
from probe.serve.changes import Changes

LONG = 60.0


def returns_after(watched: Changes, change: object) -> bool:
    """Whether `wait` ends when *change* is made while it waits, and not before."""
    ended = threading.Event()
    threading.Thread(target=lambda: (watched.wait(LONG), ended.set()), daemon=True).start()
    early = ended.wait(0.3)
    change()  # type: ignore[operator]
    return not early and ended.wait(10)


def test_a_file_that_takes_anothers_place_is_a_change(tmp_path: Path) -> None:
    """As a report is written, and as the kubelet updates a Secret."""
    (tmp_path / "new").touch()
    watched = Changes([str(tmp_path)], 1)
    watched.wait(LONG)
    assert returns_after(watched, lambda: (tmp_path / "new").rename(tmp_path / "report.json"))
    assert returns_after(watched, lambda: (tmp_path / "report.json").unlink())


def test_what_changed_before_anybody_watched_is_no_loss(tmp_path: Path) -> None:
    """A report that is put in place between the first look and the first watch: the first `wait` asks for a look."""
    watched = Changes([str(tmp_path)], LONG)
    (tmp_path / "report.json").touch()
    began = time.monotonic()
    watched.wait(LONG)
    assert time.monotonic() - began < LONG / 2


def test_a_directory_that_comes_later_is_found(tmp_path: Path) -> None:
    """Until then, and after it was removed, `wait` returns for another look."""
    place = tmp_path / "later"
    watched = Changes([str(place)], 0.01)
    watched.wait(LONG)
    place.mkdir()
    watched.wait(0)
    assert returns_after(watched, (place / "report.json").touch)
    (place / "report.json").unlink()
    place.rmdir()
    watched.wait(LONG)
    watched.wait(LONG)  # for the fallback


def test_without_inotify_it_returns_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All instances of the user are taken."""
    monkeypatch.setattr(changes, "inotify_init1", lambda flags: -1)
    Changes([str(tmp_path)], 0.01).wait(LONG)


def wakeups(server: Serving) -> int:
    """How often the threads of the process went to sleep so far."""
    tasks = f"/proc/{server.process.pid}/task"
    found = 0
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/status") as file:
            found += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
    return found


def test_at_rest_serve_sleeps(tmp_path: Path) -> None:
    """Nobody asks, nothing changes: no thread wakes up; and a new report is told all the same."""
    report = report_of_now()
    put_report(tmp_path / "r", report)
    with serving(tmp_path / "r") as server:
        server.get("/metrics")
        time.sleep(6)  # the time after which an idle connection would be dropped
        before = wakeups(server)
        time.sleep(3)
        assert wakeups(server) == before
        (tmp_path / "r").write_bytes(with_fields(report, verdict="not-ready", reason="TmpfsNotIdmappable"))
        wait_for(lambda: 'verdict{verdict="not-ready"} 1.0' in server.get("/metrics").body)
