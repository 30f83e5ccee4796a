"""Rounds of `watch`: what a fault of a look leads to, and what a report is made to say when there is none."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lab.waiting import wait_for
from probe.checks.catalog import CHECKS
from probe.host.look import look
from probe.watch import looker as looker_module
from probe.watch import rounds as module
from probe.watch.fleeting import FLEETING, fleeting_reasons
from probe.watch.kernel_files import KernelFile
from probe.watch.looker import Looker, Looking, NoAnswer, clocks
from probe.watch.looks import Looks, MountTable
from probe.watch.pace import LOOK
from probe.watch.report_file import NoReport, ReportFile, with_times
from probe.watch.rounds import Rounds
from probe.watch.supervisor import ProbeFailed, Supervisor
from probe.watch.timer import Timer

REPORT = json.dumps({"verdict": "ready", "probed_at": "then", "expires_at": "soon", "proof": {"kind": "attempts"}})

SELF = ("link", "/proc/self/exe", os.readlink("/proc/self/exe"))
NEVER = 1e9


def memory_of(*sources: tuple[str, str, str]) -> bytes:
    return json.dumps({"sources": sources}).encode()


@pytest.fixture
def report(tmp_path: Path) -> Iterator[ReportFile]:
    directory = os.open(tmp_path, os.O_RDONLY)
    yield ReportFile(directory, "report.json")
    os.close(directory)


class Unchanged:
    """A looker that never sees anything new."""

    answer = ""

    def look(self, _supervisor: object) -> str:
        if self.answer == "trouble":
            raise NoAnswer("it ended")
        return self.answer

    def wait(self, supervisor: object, _deadline: float) -> str:
        return self.look(supervisor)


class Probing:
    """A supervisor whose probes print REPORT."""

    stop = False

    def probe(self, _memory: int | None) -> bytes:
        return REPORT.encode()


def saying(*reasons: str, where: str = "findings") -> bytes:
    """A report with these reasons."""
    rows = [{"id": "x", "status": "fail", "reason": reason} for reason in reasons]
    verdict = "not-ready" if reasons else "ready"
    return json.dumps({"verdict": verdict, "probed_at": "then", where: rows}).encode()


class Upgrade:
    """A supervisor whose probes print one report after the other, or fail; it never waits."""

    stop = False

    def __init__(self, *reports: bytes | Exception) -> None:
        self.reports = list(reports)

    def probe(self, _memory: int | None) -> bytes:
        report = self.reports.pop(0)
        if isinstance(report, Exception):
            raise report
        return report

    def wait(self, _files: object, _deadline: float) -> bool:
        return False


@pytest.mark.parametrize("reason", sorted(FLEETING))
@pytest.mark.parametrize("where", ["findings", "handlers"])
def test_a_file_that_an_upgrade_replaces(
    report: ReportFile, monkeypatch: pytest.MonkeyPatch, reason: str, where: str
) -> None:
    """What is missing for some seconds is never reported; what a second probe misses too is, and no third one asked."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    gone, there = saying(reason, where=where), saying()
    probes = Upgrade(gone, there, gone, gone, gone, there)
    made = Rounds(cast(Supervisor, probes), report, 900, "/proc")
    said = []
    for _ in range(4):
        made.probe()
        said.append(json.loads(report.content())["verdict"])
    assert said == ["ready", "not-ready", "not-ready", "ready"]
    assert probes.reports == []


@pytest.mark.parametrize(("reason", "passing"), [("NetworkNotReady", True), ("RuntimeNotReady", True), ("X", False)])
def test_a_failure_that_may_pass(
    report: ReportFile, monkeypatch: pytest.MonkeyPatch, reason: str, passing: bool
) -> None:
    """As long as the report has it, and no longer."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    probes = Upgrade(*[saying(reason)] * (2 if passing else 1), saying())
    made = Rounds(cast(Supervisor, probes), report, 900, "/proc")
    assert not made.may_pass()
    made.probe()
    assert made.may_pass() == passing
    made.probe()
    assert not made.may_pass()


@pytest.mark.parametrize("second", [ProbeFailed("no report within 30 s"), OSError(11, "no process"), b"", b"[", b"{}"])
def test_a_second_probe_that_fails_contradicts_nothing(
    report: ReportFile, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], second: bytes | Exception
) -> None:
    """The report of the first one takes the place of the older one, which knows nothing of the failure."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    probes = Upgrade(saying(), saying("ShimMissing"), second)
    made = Rounds(cast(Supervisor, probes), report, 900, "/proc")
    assert not any(made.probe() for _ in range(2))
    assert json.loads(report.content())["verdict"] == "not-ready"
    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert events == ["probed", "looking_again", "probe_failed", "probed"]


@pytest.mark.parametrize(
    "content", [saying("KubeletGateOff"), saying(), b"", b"[", b"[]", b'{"findings": [1]}', b"[" * 99_999]
)
def test_other_failures_count_at_once(content: bytes) -> None:
    """And what is not a report has none."""
    assert fleeting_reasons(content) == frozenset()


def test_fleeting_reasons_are_reasons_of_checks() -> None:
    """A name that no check has would never match."""
    assert {reason for check in CHECKS for reason in check.reasons} >= FLEETING


@pytest.fixture
def probed(report: ReportFile) -> Rounds:
    """After a probe, with a looker that sees nothing new."""
    made = Rounds(cast(Supervisor, Probing()), report, 900, "/proc")
    made.probe()
    made._looker = cast(Looker, Unchanged())
    return made


def test_nothing_changed(probed: Rounds) -> None:
    """That is what a look says, and the report stays as it is while it is young."""
    assert probed.change(NEVER) == ""
    assert probed._report._content == REPORT.encode()


def test_a_report_that_gets_old_is_confirmed(probed: Rounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says when, and lives on; all else is as the probe left it."""
    monkeypatch.setattr(module, "time", Clock())
    probed._renew_at = 0.0
    assert probed.change(NEVER) == ""
    said = json.loads((tmp_path / "report.json").read_text())
    assert said.pop("confirmed_at") == "2001-09-09T01:46:40Z"
    assert said.pop("expires_at") == "2001-09-09T02:01:40Z"
    assert said == {key: value for key, value in json.loads(REPORT).items() if key != "expires_at"}
    assert probed._renew_at > Clock().monotonic()


def test_a_report_that_cannot_be_confirmed_is_tried_again_later(
    probed: Rounds, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not at once, which would keep a processor busy while a disk is full."""
    monkeypatch.setattr(module, "time", Clock())
    probed._renew_at = 0.0
    probed._report._directory = -1
    assert probed.change(NEVER) == ""
    assert probed._renew_at == Clock().monotonic() + LOOK
    assert json.loads(capfd.readouterr().err.splitlines()[-1])["event"] == "round_failed"


@pytest.mark.parametrize("indent", [2, None])
@pytest.mark.parametrize("confirmed_at", [None, "2026-11-29T16:00:00Z"])
def test_new_times_change_nothing_else(indent: int | None, confirmed_at: str | None) -> None:
    """However the report is written, and whatever its texts and the fields of its rows are like."""
    odd = {"expires_at": "x", "text": '\n  "expires_at": "then",\n', "confirmed_at": None}
    report = {"verdict": "ready", "confirmed_at": confirmed_at, "expires_at": "then", "odd": odd, "rows": [odd]}
    times: dict[str, object] = {"confirmed_at": "2026-11-29T17:00:00Z", "expires_at": "2026-11-29T17:15:00Z"}
    assert json.loads(with_times(json.dumps(report, indent=indent).encode(), times)) == report | times


class Clock:
    """A wall clock that stands."""

    CLOCK_BOOTTIME = 7

    def time(self) -> float:
        return 1e9

    def monotonic(self) -> float:
        return 1e6

    def clock_gettime(self, _which: int) -> float:
        return 1e6


@pytest.mark.parametrize("answer", ["file /etc/x", "trouble"])
@pytest.mark.parametrize("renew_at", [0.0, NEVER])
def test_what_a_look_says_is_not_confirmed(probed: Rounds, answer: str, renew_at: float) -> None:
    """A change, or no answer at all; whether `watch` asked for the look or not."""
    probed._looker.answer = answer  # type: ignore[union-attr]
    probed._renew_at = renew_at
    assert probed.change(NEVER)
    assert probed._report._content == REPORT.encode()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No looker enters another namespace, for which it would have to be root."""
    monkeypatch.setattr(looker_module, "enter_node", lambda _proc: None)


@pytest.mark.usefixtures("entered")
@pytest.mark.parametrize("jump", [(3600.0, 0.0), (-3600.0, 0.0), (0.0, 3600.0)])
def test_a_clock_that_jumps_is_a_doubt(jump: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set ahead, set back, or a node that slept: since the probe began, or since the last look."""
    then = (0.0, 0.0)
    monkeypatch.setattr(looker_module, "clocks", lambda: then)
    looking = Looking(memory_of(SELF), "/proc", then)
    assert looking.change() == ""
    monkeypatch.setattr(looker_module, "clocks", lambda: jump)
    assert looking.change() == "the clock"
    assert looking.change() == "the clock"
    assert Looking(memory_of(SELF), "/proc", then).change() == "the clock"


@pytest.mark.usefixtures("entered")
def test_a_clock_that_is_adjusted_slowly_is_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NTP does, half a second in 1000 seconds."""
    looking = Looking(memory_of(SELF), "/proc", (0.0, 0.0))
    for step in range(10):
        monkeypatch.setattr(looker_module, "clocks", lambda step=step: (step * 0.5, 0.0))
        assert looking.change() == ""


@pytest.fixture
def running() -> Iterator[Callable[..., Looker]]:
    """Makes lookers of this process's own namespace, which end with the test."""
    made: list[Looker] = []

    def run(*sources: tuple[str, str, str], pause: float = 0.01) -> Looker:
        made.append(Looker(memory_of(*sources), "/proc", clocks(), pause))
        return made[-1]

    yield run
    for looker in made:
        looker.end()
        os.waitpid(looker._pid, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_a_change_is_told_without_a_question(running: Callable[..., Looker], tmp_path: Path) -> None:
    """Once: whoever heard it probes, and has a new looker then."""
    path = str(tmp_path / "file")
    looker = running(("file", path, look("file", path)))
    supervisor = cast(Supervisor, Waiting())
    assert looker.look(supervisor) == ""
    assert looker.wait(supervisor, time.monotonic() + 0.05) == ""
    Path(path).touch()
    assert looker.wait(supervisor, NEVER) == f"file {path}"
    assert looker.wait(supervisor, time.monotonic() + 0.05) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_a_change_that_the_first_look_found_is_found_again(running: Callable[..., Looker], tmp_path: Path) -> None:
    """The answer to the first look is not waited for: a probe has just ended."""
    looker = running(("file", str(tmp_path / "absent"), "1 2"))
    supervisor = cast(Supervisor, Waiting())
    assert looker.look(supervisor) == looker.wait(supervisor, NEVER) == f"file {tmp_path}/absent"


@pytest.mark.slow
def test_a_look_that_is_asked_for_is_full(running: Callable[..., Looker], monkeypatch: pytest.MonkeyPatch) -> None:
    """As one is before a report is confirmed; those in between are not."""
    monkeypatch.setattr(Looking, "change", lambda _looking, full: "" if full else "not full")
    looker = running(SELF)
    supervisor = cast(Supervisor, Waiting())
    assert looker.look(supervisor) == ""
    assert looker.wait(supervisor, NEVER) == "not full"


@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_a_look_that_hangs_is_a_doubt(running: Callable[..., Looker], monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer of the kernel tells, whatever state the looker is in."""
    monkeypatch.setattr(looker_module, "TIMEOUT", 0.2)
    looker = running(SELF)
    supervisor = cast(Supervisor, Waiting())
    assert looker.look(supervisor) == ""
    os.kill(looker._pid, signal.SIGSTOP)
    with pytest.raises(NoAnswer, match="no answer"):
        looker.wait(supervisor, NEVER)


@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_a_looker_that_ends_is_a_doubt(running: Callable[..., Looker]) -> None:
    """Nobody waits for the timer then."""
    looker = running(SELF, pause=1000.0)
    supervisor = cast(Supervisor, Waiting())
    assert looker.look(supervisor) == ""
    os.kill(looker._pid, signal.SIGKILL)
    with pytest.raises(NoAnswer, match="it ended"):
        looker.wait(supervisor, NEVER)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fork", "pipe"])
def test_a_looker_that_cannot_start_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Each round tries again: descriptors that were left would sooner or later be too many for any looker."""

    def refused() -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refused)
        with pytest.raises(BlockingIOError):
            Looker(memory_of(SELF), "/proc", clocks())
    assert os.listdir("/proc/self/fd") == before


def test_a_timer_expires_once_it_is_set_and_not_put_off() -> None:
    """With the function of Python 3.13, and with the C library's on older releases."""
    timer = Timer()
    try:
        timer.set(1000)
        assert not select.select([timer.descriptor], [], [], 0)[0]
        timer.set(0.001)
        assert select.select([timer.descriptor], [], [])[0]
        timer.set(1000)
        assert not select.select([timer.descriptor], [], [], 0)[0]
    finally:
        timer.close()


def test_without_a_looker_there_is_doubt(probed: Rounds) -> None:
    """Nobody may take silence for an answer."""
    probed._looker = None
    assert probed.change(NEVER)


def test_a_file_that_cannot_be_looked_at_any_more_is_a_change(tmp_path: Path) -> None:
    """It was there; now a directory on its way is a file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    path = str(folder / "file")
    looks = Looks(memory_of(("file", path, look("file", path))))
    assert looks.changed() == ""
    (folder / "file").unlink()
    folder.rmdir()
    folder.touch()
    assert looks.changed() == f"file {path}"


def test_a_process_that_ends_is_a_change() -> None:
    """Its files stay open, and tell no more."""
    with subprocess.Popen(["sleep", "100"]) as process:
        sources = [
            (kind, f"/proc/{process.pid}/{name}") for kind, name in (("status", "status"), ("content", "limits"))
        ]
        looks = Looks(memory_of(*((kind, path, look(kind, path)) for kind, path in sources)))
        assert looks.changed() == ""
        process.kill()
    assert looks.changed() == f"status /proc/{process.pid}/status"


def test_a_mount_table_of_which_the_kernel_reports_no_change(tmp_path: Path) -> None:
    """A mount gets another propagation so: it is in the table, and nobody is told."""
    line, path = "24 22 0:9 / /var/lib/kubelet rw,relatime shared:%d - xfs /dev/sdb rw\n", tmp_path / "mountinfo"
    path.write_text(line % 1)
    table = MountTable(str(path), look("mounts", str(path)))
    assert not table.changed()
    for content, changed in ((line % 1, False), (line % 7, False), (line.replace("shared:%d ", "unbindable "), True)):
        path.write_text(content)
        assert not table.moved()
        assert table.changed() == changed


@pytest.mark.parametrize("full", [True, False])
def test_a_full_look_reads_the_mount_table_again(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """Before a report is confirmed; it may have thousands of lines, so others leave it alone."""
    path = "/proc/self/mountinfo"
    looks = Looks(memory_of(SELF, ("mounts", path, look("mounts", path))))
    for _ in range(2):
        assert looks.changed() == ""
    monkeypatch.setattr(MountTable, "changed", lambda _table: True)
    assert looks.changed(full=full) == (f"mounts {path}" if full else "")


def test_a_mount_namespace_that_is_replaced_is_a_change() -> None:
    """By the process itself, which is still the same one."""
    own = ["--user"] if os.geteuid() else []
    unshare = ["unshare", *own, "--mount", "--propagation=unchanged", "sleep", "100"]
    with subprocess.Popen(["sh", "-c", 'read _ && exec "$@"', "sh", *unshare], stdin=subprocess.PIPE) as process:
        sources = [(kind, f"/proc/{process.pid}/{name}") for kind, name in (("link", "ns/mnt"), ("start", "stat"))]
        looks = Looks(memory_of(*((kind, path, look(kind, path)) for kind, path in sources)))
        assert looks.changed() == ""
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
        wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        assert looks.changed(full=False) == f"link /proc/{process.pid}/ns/mnt"
        process.kill()


def test_a_file_system_without_room_is_a_change(tmp_path: Path) -> None:
    """The room that was there is not any more."""
    seen = look("room", str(tmp_path))
    assert Looks(memory_of(SELF, ("room", str(tmp_path), seen))).changed() == ""
    assert Looks(memory_of(SELF, ("room", str(tmp_path), f"{seen}0"))).changed() == f"room {tmp_path}"


def test_a_kernel_file_that_dies_is_a_change() -> None:
    """Its descriptor is no more, or it cannot be opened."""
    seen = look("content", "/proc/sys/kernel/osrelease")
    file = KernelFile("content", "/proc/sys/kernel/osrelease", seen)
    assert not file.changed()
    os.close(file.descriptor)
    assert file.changed()
    assert KernelFile("content", "/proc/sys/kernel/no-such-file", seen).changed()


def test_what_follows_the_first_page_of_a_file_counts(tmp_path: Path) -> None:
    """The kernel gives a page at a time."""
    path = tmp_path / "long"
    path.write_text("x" * 10_000)
    file = KernelFile("content", str(path), look("content", str(path)))
    assert not file.changed()
    path.write_text("x" * 9_999 + "y")
    assert file.changed()


def test_a_mount_table_whose_descriptor_dies_is_an_error() -> None:
    """And an error is a doubt."""
    table = MountTable("/proc/self/mountinfo", look("mounts", "/proc/self/mountinfo"))
    assert not table.changed()
    os.close(table._file)
    table._unread = True
    with pytest.raises(OSError, match="Bad file descriptor"):
        table.changed()


@pytest.mark.parametrize(
    "memory", [b"", b"[]", b"{}", memory_of(), memory_of(("file", "/", "unseen")), b'{"sources": [[1,2,3]]}']
)
def test_without_sources_nobody_looks(memory: bytes) -> None:
    """What the last probe left is odd, or empty, or says itself that something was not seen."""
    with pytest.raises((ValueError, LookupError, TypeError)):
        Looks(memory)


@pytest.mark.slow
def test_a_looker_that_cannot_enter_the_node_says_so() -> None:
    """It gives no answer that anybody could take for one."""
    supervisor = cast(Supervisor, Waiting())
    looker = Looker(memory_of(("link", "/proc/self/exe", "x")), "/no/such/proc", clocks())
    with pytest.raises(NoAnswer, match="FileNotFoundError"):
        looker.look(supervisor)
    looker.end()
    while not looker.is_gone():
        pass
    os.waitpid(looker._pid, 0)


class Waiting:
    """A supervisor without signals."""

    stop = False

    def wait(self, files: list[int], deadline: float) -> bool:
        return bool(select.select(files, [], [], max(deadline - time.monotonic(), 0))[0])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b'{"verdict"', b"[" * 100_000])
def test_what_is_no_report_is_not_put_in_place(report: ReportFile, content: bytes, tmp_path: Path) -> None:
    """Nothing gets there."""
    with pytest.raises(NoReport):
        report.put(content)
    assert os.listdir(tmp_path) == []


def test_the_proof_comes_back_from_our_own_file(report: ReportFile, tmp_path: Path) -> None:
    """Of a `watch` that ran here before."""
    report.put(REPORT.encode())
    assert report.proof() == {"kind": "attempts"}
    proof: Any = json.loads(Rounds(cast(Supervisor, Probing()), report, 900, "/proc")._memory)
    assert proof == {"proof": {"kind": "attempts"}}


def test_a_proof_that_others_could_have_written_is_none(report: ReportFile, tmp_path: Path) -> None:
    """A file that others may write, a link, something else, or nothing."""
    assert report.proof() is None
    report.put(REPORT.encode())
    (tmp_path / "report.json").chmod(0o666)
    assert report.proof() is None
    (tmp_path / "other").write_text(REPORT)
    (tmp_path / "report.json").unlink()
    (tmp_path / "report.json").symlink_to("other")
    assert report.proof() is None
    (tmp_path / "report.json").unlink()
    (tmp_path / "report.json").write_text("[]")
    assert report.proof() is None


class Leaving(Probing):
    """A supervisor whose probes leave *left*, and tell what they found."""

    left = b""
    found = b""

    def probe(self, memory: int | None) -> bytes:
        assert memory is not None
        self.found = os.pread(memory, 1 << 20, 0)
        os.ftruncate(memory, 0)
        os.pwrite(memory, self.left, 0)
        return REPORT.encode()


def test_what_a_probe_leaves_is_for_the_next_one(report: ReportFile) -> None:
    """One that leaves nothing takes nothing away."""
    supervisor = Leaving()
    made = Rounds(cast(Supervisor, supervisor), report, 900, "/proc")
    for left, found in ((b'{"a": 1}', {"proof": None}), (b"", {"a": 1}), (b'{"b": 1}', {"a": 1}), (b"", {"b": 1})):
        supervisor.left = left
        made._probed()
        assert json.loads(supervisor.found) == found
        assert made._fresh == left


def test_the_sources_of_an_earlier_probe_are_not_looked_at(report: ReportFile) -> None:
    """A probe that never took the memory has left nothing, though the memory is full."""
    made = Rounds(cast(Supervisor, Probing()), report, 900, "/proc")
    made._memory = memory_of(("link", "/proc/self/exe", "x"))
    assert not made.probe()
    assert made._looker is None


def probed_as(verdict: str, reason: str, at: str, boot: str = "one") -> bytes:
    """What a probe prints, as far as history is concerned."""
    node = {"boot_id": boot}
    said = {"verdict": verdict, "reason": reason, "probed_at": at, "node": node, "since": None, "previous": None}
    return json.dumps(said).encode()


def history(tmp_path: Path) -> tuple[str, Any]:
    said = json.loads((tmp_path / "report.json").read_text())
    return said["since"], said["previous"]


def test_a_report_says_since_when_and_what_was_before(report: ReportFile, tmp_path: Path) -> None:
    """Through probes that come to the same, and through a restart of `watch`; another boot begins anew."""
    report.put(probed_as("not-ready", "TmpfsNotIdmappable", "1"))
    assert history(tmp_path) == ("1", None)
    report.put(probed_as("ready", "", "2"))
    was = {"verdict": "not-ready", "reason": "TmpfsNotIdmappable"}
    assert history(tmp_path) == ("2", was)
    report.put(probed_as("ready", "", "3"))
    assert history(tmp_path) == ("2", was)
    restarted = ReportFile(report._directory, "report.json")
    restarted.put(probed_as("ready", "", "4"))
    assert history(tmp_path) == ("2", was)
    restarted.put(probed_as("ready", "", "5", boot="two"))
    assert history(tmp_path) == ("5", None)


def test_a_verdict_never_holds_since_the_future(report: ReportFile, tmp_path: Path) -> None:
    """Where the clock was set back since it came, it is known to hold since now."""
    for at, since in (("5", "5"), ("3", "3"), ("4", "3")):
        report.put(probed_as("ready", "", at))
        assert history(tmp_path) == (since, None)
