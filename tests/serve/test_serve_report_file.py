"""What is believed of a report file that anybody may have written."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import string
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from lab.reports import make_report, tmpfs_refused
from lab.serve.serving import changed, put, put_report, with_node
from probe.outputs.documents import render_json
from probe.outputs.memory import Memory, memory_of, render_memory
from probe.report import Node, Report
from probe.serve import report_file
from probe.serve.report_file import Current, boot_time, judge, parse_report, read_boot_id
from probe.serve.untrusted_file import LIMIT, Unusable
from tests.extent import EXAMPLES

BOOT = "0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11"
PROBED = 5000.0
LIFETIME = 900.0
"""Of the reports below: from 21:30 to 21:45."""


def a_report(**node: Any) -> Report:
    """A ready report of the node and the boot that the tests are in."""
    return make_report(
        node=Node(**{"name": "node-1", "boot_id": BOOT, "distribution": "debian 13", "uptime_seconds": PROBED} | node)
    )


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float = PROBED) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def current(path: Path, now: float = PROBED + 1, **options: Any) -> Current:
    """What holds after one look at *path*."""
    made = Current(str(path), **{"boot_id": BOOT, "node_name": "node-1", "uptime": Clock(now)} | options)
    made.refresh()
    return made


def test_a_report_of_this_node_and_boot_holds(tmp_path: Path) -> None:
    """It is handed on as it was written."""
    put_report(tmp_path / "r", a_report())
    seen = current(tmp_path / "r")
    now = seen.snapshot()
    assert (now.state, now.message, now.age) == ("valid", "", 1.0)
    assert now.effective == now.report == a_report()
    assert seen.ever_valid


def test_an_expired_report_is_unknown_everywhere(tmp_path: Path) -> None:
    """At the end of its life every answer turns to unknown, and what was written stays for people to read."""
    put_report(tmp_path / "r", a_report())
    clock = Clock(PROBED + LIFETIME - 0.001)
    seen = current(tmp_path / "r", uptime=clock)
    assert seen.snapshot().state == "valid"
    clock.now = PROBED + LIFETIME
    now = seen.snapshot()
    assert now.state == "expired"
    assert now.message
    assert now.report == a_report()
    assert now.effective
    assert (now.effective.verdict, now.effective.reason) == ("unknown", "ReportStale")
    assert set(now.effective.levels.values()) == {"unknown"}
    assert seen.ever_valid, "it was valid once, and readiness asks no more"


def test_a_report_that_was_never_valid_does_not_make_ready(tmp_path: Path) -> None:
    """Readiness waits for a report that says something."""
    put_report(tmp_path / "r", a_report())
    assert not current(tmp_path / "r", now=PROBED + LIFETIME).ever_valid


def test_a_probe_without_a_name_is_of_this_node(tmp_path: Path) -> None:
    """The id of the boot says it; `watch` may not have been told the name."""
    put_report(tmp_path / "r", a_report(name=None))
    assert current(tmp_path / "r").snapshot().state == "valid"


def make_missing(_: Path) -> None:
    pass


def make_symlink(path: Path) -> None:
    put_report(path.with_name("target"), a_report())
    path.symlink_to("target")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def make_just_too_large(path: Path) -> None:
    content = render_json(a_report()).encode()
    path.write_bytes(content + b" " * (LIMIT + 1 - len(content)))


def make_half(path: Path) -> None:
    content = render_json(a_report()).encode()
    path.write_bytes(content[: len(content) // 2])


def make_from(**fields: Any) -> Any:
    return lambda path: put(path, changed(a_report(), **fields))


def make_of(**node: Any) -> Any:
    return lambda path: put_report(path, a_report(**node))


RANGE = {"first": 65536, "count": 7208960, "ids_per_pod": 65536, "configured": True, "slots": 110, "used": 0}
NO_REPORTS = {
    "missing": (make_missing, "missing"),
    "symbolic link": (make_symlink, "not-a-file"),
    "directory": (Path.mkdir, "not-a-file"),
    "FIFO": (make_fifo, "not-a-file"),
    "socket": (make_socket, "not-a-file"),
    "1 GiB": (make_sparse, "too-large"),
    "one byte too many": (make_just_too_large, "too-large"),
    "empty": (lambda path: path.write_bytes(b""), "not-a-report"),
    "half written": (make_half, "not-a-report"),
    "not JSON": (lambda path: path.write_bytes(b"\0\xff" * 100), "not-a-report"),
    "not an object": (lambda path: path.write_bytes(b"[]"), "not-a-report"),
    "deeply nested": (lambda path: path.write_bytes(b'{"schema":' + b"[" * 100_000), "not-a-report"),
    "without a schema": (make_from(schema=None), "not-a-report"),
    "an unheard-of verdict": (make_from(verdict="perhaps"), "not-a-report"),
    "findings of another type": (make_from(findings="none"), "not-a-report"),
    "numbers beyond sense": (make_from(id_ranges=[RANGE | {"first": int("9" * 4300)}]), "not-a-report"),
    "expires before it was probed": (make_from(expires_at="2026-11-21T21:29:59Z"), "not-a-report"),
    "expires never": (make_from(expires_at=""), "not-a-report"),
    "not from any moment": (make_of(uptime_seconds=None), "not-a-report"),
    "from before the boot": (make_of(uptime_seconds=-1.0), "not-a-report"),
    "another schema": (make_from(schema="userns-probe.io/v2", verdict=7), "other-schema"),
    "another boot": (make_of(boot_id="5d1f"), "other-boot"),
    "no boot": (make_of(boot_id=""), "other-boot"),
    "another node": (make_of(name="node-2"), "other-node"),
    "from the future": (make_of(uptime_seconds=PROBED + 2), "from-the-future"),
}


@pytest.mark.parametrize(("make", "state"), NO_REPORTS.values(), ids=NO_REPORTS)
def test_what_is_no_report_of_here_and_now_says_nothing(tmp_path: Path, make: Any, state: str) -> None:
    """Each has a state of its own and half a sentence for people, and none makes anything ready."""
    path = tmp_path / "report.json"
    make(path)
    seen = current(path)
    now = seen.snapshot()
    assert (now.state, now.report, now.effective) == (state, None, None)
    assert now.message
    assert now.message.isprintable()
    assert not seen.ever_valid


@pytest.mark.parametrize("make", [make for make, _ in NO_REPORTS.values()], ids=NO_REPORTS)
def test_looking_again_and_again_keeps_nothing_open(tmp_path: Path, make: Any) -> None:
    """It looks every second: one descriptor for each look would be all of them within half an hour."""
    path = tmp_path / "report.json"
    make(path)
    seen = current(path)
    held = os.listdir("/proc/self/fd")
    for _ in range(3):
        seen.refresh()
    assert os.listdir("/proc/self/fd") == held


def test_a_file_may_lie_in_a_place_that_is_a_file(tmp_path: Path) -> None:
    """ENOTDIR is as missing as ENOENT."""
    (tmp_path / "f").write_text("")
    assert current(tmp_path / "f" / "report.json").snapshot().state == "missing"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The errno's own words say why; here those of a file system that fails."""
    put_report(tmp_path / "r", a_report())

    def fail(_: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(report_file, "read_file", fail)
    now = current(tmp_path / "r").snapshot()
    assert (now.state, now.message) == ("not-readable", "the report file cannot be read: Input/output error")


def test_an_endless_file_of_no_size_is_bounded() -> None:
    """A size of 0 is no promise: files of procfs and sysfs have it, too."""
    with pytest.raises(Unusable) as caught:
        report_file.read_file("/proc/kallsyms")
    assert caught.value.state == "too-large"


def test_without_a_boot_id_of_our_own_nothing_is_believed(tmp_path: Path) -> None:
    """Not even a report without one."""
    for boot_id in ("", BOOT):
        put_report(tmp_path / "r", a_report(boot_id=boot_id))
        assert current(tmp_path / "r", boot_id="").snapshot().state == "other-boot"


def test_hostile_words_do_not_reach_messages(tmp_path: Path) -> None:
    """A schema or a name can hold anything; the message holds what can be seen."""
    put(tmp_path / "r", changed(a_report(), schema="\x1b[31m\n" * 1000))
    assert current(tmp_path / "r").snapshot().message.isprintable()
    put_report(tmp_path / "r", a_report(name="\x1b[31m\u202e\n"))
    assert current(tmp_path / "r").snapshot().message.isprintable()


def test_the_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs one lstat(2); another content, also in place, is seen."""
    path = tmp_path / "r"
    reads = []
    read_file = report_file.read_file
    monkeypatch.setattr(report_file, "read_file", lambda path: reads.append(path) or read_file(path))
    put_report(path, a_report())
    seen = current(path)
    seen.refresh()
    assert len(reads) == 1
    put_report(path, a_report())
    seen.refresh()
    assert len(reads) == 2, "another file with the same content"
    path.write_bytes(b"{")
    seen.refresh()
    assert seen.snapshot().state == "not-a-report"
    path.unlink()
    seen.refresh()
    assert seen.snapshot().state == "missing"


def test_a_look_tells_whether_anything_changed(tmp_path: Path) -> None:
    """The publisher is woken after that alone: another report, or the same one after its expiry."""
    put_report(tmp_path / "r", a_report())
    clock = Clock(PROBED + 1)
    seen = current(tmp_path / "r", uptime=clock)
    assert not seen.refresh()
    clock.now += LIFETIME
    assert [seen.refresh(), seen.refresh()] == ["another", ""]
    put_report(tmp_path / "r", a_report())
    assert seen.refresh() == "another"


def test_a_bad_file_is_not_parsed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be understood costs its parsing once."""
    parses = []
    monkeypatch.setattr(report_file, "parse_report", lambda content: parses.append(content) or parse_report(content))
    (tmp_path / "r").write_bytes(b"{")
    seen = current(tmp_path / "r")
    seen.refresh()
    assert len(parses) == 1


def test_the_clock_is_that_of_the_boot() -> None:
    """It runs, and counts from the boot, as /proc/uptime does."""
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    assert uptime - 1 < boot_time() < uptime + 60
    assert len(read_boot_id()) == 36
    assert read_boot_id("/no/such/file") == ""


REPORT = render_json(a_report()).encode()


@given(st.one_of(st.binary(max_size=200), st.text(string.printable).map(str.encode)))
def test_parsing_anything_ends_in_a_report_or_unusable(content: bytes) -> None:
    """No bytes make it raise anything else."""
    with contextlib.suppress(Unusable):
        parse_report(content)


@given(st.data())
def test_a_damaged_report_is_a_report_or_unusable(data: st.DataObject) -> None:
    """A byte changed, cut or doubled anywhere."""
    start = data.draw(st.integers(0, len(REPORT)))
    end = data.draw(st.integers(start, min(len(REPORT), start + 40)))
    content = REPORT[:start] + data.draw(st.binary(max_size=8)) + REPORT[end:]
    try:
        report = parse_report(content)
    except Unusable:
        return
    assert report.verdict in ("ready", "not-ready", "unknown")


@given(st.integers(0, len(REPORT.rstrip()) - 1))
def test_a_cut_report_is_none(length: int) -> None:
    """A part of a report is never taken for the whole."""
    with pytest.raises(Unusable) as caught:
        parse_report(REPORT[:length])
    assert caught.value.state == "not-a-report"


@given(st.floats(allow_nan=True), st.floats(min_value=0, allow_infinity=False), st.sampled_from([BOOT, "", "other"]))
def test_only_within_its_life_and_boot_a_report_holds(now: float, uptime: float, boot_id: str) -> None:
    """Whatever the clocks say, also nonsense."""
    judged = judge(with_node(a_report(), uptime_seconds=uptime), now=now, boot_id=boot_id, node_name=None)
    holds = boot_id == BOOT and 0 <= now - uptime < LIFETIME
    assert (judged.state == "valid") == holds
    assert bool(judged.effective and judged.effective.verdict == "ready") == holds


class Life(RuleBasedStateMachine):
    """A node's life: probes, their reports, wall clocks that jump, restarts of `serve`, reboots."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "report.json")
        self.boot, self.uptime, self.wall = 0, 100.0, 1_800_000_000.0
        self.truth: tuple[int, float, str] | None = None
        """Boot, uptime and verdict of the last probe whose report lies in the file."""
        self.restart()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(verdict=st.sampled_from(["ready", "not-ready", "unknown"]))
    def probe(self, verdict: str) -> None:
        probed, expires = (datetime.fromtimestamp(self.wall + age, UTC).isoformat() for age in (0, LIFETIME))
        node = Node(name=None, boot_id=str(self.boot), distribution="", uptime_seconds=self.uptime)
        put_report(self.path, make_report(node=node, verdict=verdict, probed_at=probed, expires_at=expires))
        self.truth = (self.boot, self.uptime, verdict)

    @rule(seconds=st.floats(0, 2 * LIFETIME))
    def time_passes(self, seconds: float) -> None:
        self.uptime += seconds
        self.wall += seconds

    @rule(seconds=st.floats(-1e8, 1e8))
    def the_wall_clock_jumps(self, seconds: float) -> None:
        self.wall += seconds

    @rule(garbage=st.binary(max_size=20))
    def the_file_is_damaged(self, garbage: bytes) -> None:
        put(self.path, garbage)
        self.truth = None

    @precondition(lambda self: self.path.exists())
    @rule()
    def the_file_goes(self) -> None:
        self.path.unlink()
        self.truth = None

    @rule()
    def restart(self) -> None:
        self.current = Current(str(self.path), boot_id=str(self.boot), uptime=lambda: self.uptime)

    @rule(uptime=st.floats(0, 3 * LIFETIME))
    def reboot(self, uptime: float) -> None:
        self.boot, self.uptime = self.boot + 1, uptime
        self.restart()

    @invariant()
    def a_verdict_never_outlives_its_truth(self) -> None:
        self.current.refresh()
        effective = self.current.snapshot().effective
        said = effective.verdict if effective else "unknown"
        boot, probed, verdict = self.truth or (-1, 0.0, "unknown")
        fresh = boot == self.boot and self.uptime - probed < LIFETIME
        assert said == (verdict if fresh else "unknown")


Life.TestCase.settings = settings(max_examples=min(60, EXAMPLES), stateful_step_count=30, deadline=None)
TestLife = Life.TestCase


def test_messages_of_states_are_json(tmp_path: Path) -> None:
    """Whatever the report says, a snapshot's message can be logged."""
    put(tmp_path / "r", changed(a_report(), verdict="\ud800"))
    json.dumps(current(tmp_path / "r").snapshot().message).encode()


def test_history_reaches_page_and_document(tmp_path: Path) -> None:
    """What the Node remembers joins the report, before and after its expiry; a report of another boot has no part."""
    file, clock = tmp_path / "report.json", Clock()
    refused = replace(tmpfs_refused(), node=a_report().node, since="2026-11-21T21:30:00Z")
    put_report(file, replace(refused, node=replace(refused.node, boot_id="another")))
    seen = current(file, uptime=clock)
    assert seen.snapshot().effective is None
    put_report(file, refused)
    seen.refresh()
    assert seen.snapshot().effective == refused
    earlier = memory_of(a_report(), Memory())
    seen.history.recall(render_memory(earlier), ())
    now = seen.snapshot().effective
    assert now is seen.snapshot().effective
    assert now
    assert [(one.before.verdict, one.after.verdict) for one in now.changes] == [("ready", "not-ready")]
    clock.now += LIFETIME
    stale = seen.snapshot().effective
    assert stale
    assert (stale.verdict, stale.changes) == ("unknown", now.changes)
