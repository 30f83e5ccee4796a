"""The supervisor, as real processes. Its probes are stand-ins: it runs the `__main__.py` beside itself."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.logs import full_pipe
from lab.prerequisites import require
from lab.serve.serving import ROOT, refused, start, wait_for
from probe import watch
from probe.watch import log, pace, report_file
from probe.watch.supervisor import SIGNALS

SOURCE = Path(watch.__file__).parent
ONCE = "1000"
"""An interval in which no second probe comes by itself."""
PATIENT = "60"
"""A budget that is never used up."""
HASTY = "0"
"""A budget that leaves a probe the supervisor's own grace of five seconds: on a busy machine a start takes a second."""

REPORT = """
import json, os, sys
print(json.dumps({"verdict": "ready", "arguments": sys.argv[1:], "pid": os.getpid(), "padding": "x" * 100_000}))
"""
HANG = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(__file__ + ".began", "w").close()
while True:
    time.sleep(1)
"""


class Supervised:
    """A supervisor that runs, and whose probes are what the test wrote."""

    def __init__(self, folder: Path, probe: str) -> None:
        self.folder = folder
        self.package = folder / "probe"
        self.package.mkdir()
        for name in ("__init__.py", "changes.py", "host/__init__.py", "host/look.py"):
            (self.package / name).parent.mkdir(exist_ok=True)
            shutil.copy(SOURCE.parent / name, self.package / name)
        shutil.copytree(SOURCE, self.package / "watch", ignore=shutil.ignore_patterns("__pycache__"))
        self.main = self.package / "__main__.py"
        self.probes(probe)
        (folder / "shared").mkdir()
        self.report_file = folder / "shared" / "report.json"
        self.log: list[dict[str, Any]] = []
        self.process: subprocess.Popen[bytes] | None = None

    def probes(self, source: str) -> None:
        """From now on a probe does this."""
        new = self.package / "new"
        new.write_text(source)
        new.rename(self.main)

    def start(self, interval: str = ONCE, budget: str = PATIENT, *arguments: str, **options: Any) -> None:
        command = [sys.executable, "-I", "-S", str(self.package / "watch/__main__.py"), str(self.report_file)]
        command = [*options.pop("before", ()), *command, interval, budget, *arguments]
        self.process = subprocess.Popen(
            command,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options,
        )
        if self.process.stderr:
            threading.Thread(target=self._read_log, daemon=True).start()

    def _read_log(self) -> None:
        assert self.process
        assert self.process.stderr
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                self.log.append(json.loads(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["event"] == name]

    def report(self) -> dict[str, Any]:
        """What lies there now; empty when nothing does."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads(self.report_file.read_bytes()))
        return {}

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """The exit code after SIGTERM."""
        assert self.process
        self.process.terminate()
        return self.process.wait()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path, REPORT)
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()


def modules_of(path: Path) -> set[str]:
    """The top-level modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_probes_are_out_of_step_and_leave_the_node_a_rest() -> None:
    """A tenth of the interval earlier or later; after a probe that took long, as long again."""
    assert [pace.next_probe(1000, 1001, 300, chance) for chance in (0, 0.5, 1)] == [1270, 1300, 1330]
    assert pace.next_probe(1000, 1400, 300, 0.5) == 1800


def test_it_imports_the_standard_library_alone() -> None:
    """Nothing that a package index could slip into the part that holds the privileges for ever."""
    imported = {
        module
        for path in (*SOURCE.glob("*.py"), SOURCE.parent / "host/look.py", SOURCE.parent / "changes.py")
        for module in modules_of(path)
    }
    assert imported - {"probe"} <= sys.stdlib_module_names


def test_nothing_else_gets_into_its_process() -> None:
    """What its modules import is of the standard library, too; none can listen or make threads, and none is large."""
    script = (
        "import sys; before = set(sys.modules); path = sys.argv[1]; "  # runpy imports much itself
        "exec(open(path).read(), {'__name__': 'watch', '__file__': path}); "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(SOURCE / "__main__.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    names = set(done.stdout.split())
    assert "json" in names
    assert names - {"probe"} <= sys.stdlib_module_names
    assert not names & {"socket", "threading", "subprocess", "ssl", "http", "urllib", "asyncio", "ctypes", "typing"}


def test_a_report_is_put_in_place(supervised: Supervised) -> None:
    """The probe gets the arguments that it was given, and what it prints is the file."""
    supervised.start(ONCE, PATIENT, "--node-name=node-1")
    wait_for(supervised.report)
    arguments = ["report", "-o", "json", "--interval=300s", "--node-name=node-1", "--memory=3"]
    assert supervised.report()["arguments"] == arguments
    wait_for(lambda: supervised.events("probed") == [supervised.log[-1]])
    assert supervised.events("probed")[0]["verdict"] == "ready"
    assert supervised.end() == 0
    assert os.listdir(supervised.report_file.parent) == ["report.json"]


@pytest.mark.slow
def test_each_probe_is_a_fresh_process(supervised: Supervised) -> None:
    """One after the other, an interval apart."""
    supervised.start("0.2")
    pids: set[int] = set()
    while len(pids) < 3:
        pids.add(supervised.report().get("pid", 0))
    assert supervised.pid not in pids
    assert supervised.end() == 0


def test_sighup_probes_now(supervised: Supervised) -> None:
    """However long the interval is."""
    supervised.start()
    wait_for(lambda: supervised.events("probed"))
    supervised.signal(signal.SIGHUP)
    wait_for(lambda: len(supervised.events("probed")) == 2)
    assert supervised.end() == 0


def test_sighup_during_a_probe_asks_for_another(supervised: Supervised) -> None:
    """The probe that runs may have looked already at what changed since."""
    supervised.probes(
        f"import time, os\nopen({str(supervised.folder / 'began')!r}, 'a').close(); time.sleep(1)" + REPORT
    )
    supervised.start()
    wait_for((supervised.folder / "began").exists)
    for _ in range(5):
        supervised.signal(signal.SIGHUP)
    wait_for(lambda: len(supervised.events("probed")) == 2)
    assert supervised.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_during_a_hung_probe_it_ends(supervised: Supervised, number: int) -> None:
    """0, and the probe goes with it, although that obeys nothing less than SIGKILL."""
    supervised.probes(HANG)
    supervised.start()
    wait_for(Path(f"{supervised.main}.began").exists)
    (child,) = children(supervised.pid)
    supervised.signal(number)
    assert supervised.process
    assert supervised.process.wait() == 0
    wait_for(lambda: not is_running(child))
    assert supervised.report() == {}


def test_asked_to_end_before_it_can_hear_it_ends_all_the_same(supervised: Supervised) -> None:
    """Whoever executes it blocks the signals first; one that waits there is heard as soon as somebody can."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    supervised.start(preexec_fn=block)
    assert supervised.end() == 0


def test_probes_are_started_as_if_by_a_shell(supervised: Supervised) -> None:
    """No signal is blocked or ignored for them, stdin is empty, and nothing but output and memory is handed to them."""
    supervised.probes(
        "import json, os, signal, sys\n"
        "status = open('/proc/self/status').read()\n"
        "print(json.dumps({'verdict': 'unknown', 'stdin': sys.stdin.read(),"
        " 'files': sorted(os.listdir('/proc/self/fd')),"
        " 'blocked': [line.split()[1] for line in status.splitlines() if line.startswith('SigBlk')]}))"
    )
    supervised.start(stdin=subprocess.PIPE)
    wait_for(supervised.report)
    report = supervised.report()
    assert (report["stdin"], report["blocked"]) == ("", ["0" * 16])
    assert report["files"] == ["0", "1", "2", "3", "4"], "3 is the memory of probes, 4 the directory that is listed"
    assert supervised.end() == 0


STAY = "import os, time; os.close(1); time.sleep(1000)"
FAILURES = {
    "hangs": (HANG, "no report within 5 s"),
    "prints without an end": ("while True: print('x' * 10_000)", "the report has more than 1048576 bytes"),
    "crashes": ('print(\'{"verdict": "ready"}\'); import os; os.abort()', "exit code -6"),
    "fails": ('print(\'{"verdict": "ready"}\'); import sys; sys.exit(70)', "exit code 70"),
    "prints nothing": ("", "what it printed is not a report"),
    "prints half": ('print(\'{"verdict": "rea\')', "what it printed is not a report"),
    "prints something else": ("print('[]')", "what it printed is not a report"),
    "prints no text": ("import os; os.write(1, bytes(range(256)))", "what it printed is not a report"),
    "nests": ("print('[' * 500_000)", "what it printed is not a report"),
    "closes its output and stays": (STAY, "it did not end"),
}
ENDLESS = (HANG, STAY)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_probe_that_fails_leaves_the_last_report(supervised: Supervised, source: str, reason: str) -> None:
    """Its age will show. The log says why, the probe is gone, and the next one works."""
    supervised.start(ONCE, HASTY if source in ENDLESS else PATIENT)
    wait_for(lambda: supervised.events("probed"))
    before = supervised.report()
    supervised.probes(source)
    supervised.signal(signal.SIGHUP)
    wait_for(lambda: supervised.events("probe_failed"))
    assert supervised.events("probe_failed")[0]["reason"] == reason
    assert supervised.report() == before
    wait_for(lambda: children(supervised.pid) == [])
    supervised.probes(REPORT)
    supervised.signal(signal.SIGHUP)
    wait_for(lambda: len(supervised.events("probed")) == 2)
    assert supervised.report() != before
    assert supervised.end() == 0


@pytest.mark.slow
def test_readers_never_see_a_part(supervised: Supervised) -> None:
    """The old one or the new one, whole."""
    supervised.start("0")
    wait_for(supervised.report)
    seen = {supervised.report()["pid"] for _ in range(2000)}
    while len(seen) < 5:
        seen.add(supervised.report()["pid"])
    assert supervised.end() == 0


def test_what_lies_in_the_way_is_replaced_and_never_followed(supervised: Supervised) -> None:
    """Whoever else can write to the directory cannot make it write elsewhere."""
    victim = supervised.folder / "victim"
    victim.write_text("untouched")
    supervised.report_file.symlink_to(victim)
    (supervised.report_file.parent / ".report.json.new").symlink_to(victim)
    supervised.start()
    wait_for(lambda: supervised.events("probed"))
    assert victim.read_text() == "untouched"
    assert not supervised.report_file.is_symlink()
    assert supervised.report()["verdict"] == "ready"
    assert supervised.end() == 0


def test_what_appears_in_the_way_meanwhile_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that comes back after the old file was removed: the report is not written, and its target stays whole."""
    victim, directory = tmp_path / "victim", os.open(tmp_path, os.O_RDONLY)
    victim.write_text("untouched")

    def unlinked(name: str, **options: Any) -> None:
        os.link(victim, name, dst_dir_fd=options["dir_fd"])

    monkeypatch.setattr(report_file.os, "unlink", unlinked)
    with pytest.raises(FileExistsError):
        report_file.ReportFile(directory, "report.json").put(b'{"verdict": "ready"}')
    os.close(directory)
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "report.json").exists()


def test_what_a_hung_probe_has_started_ends_with_it(supervised: Supervised) -> None:
    """Its children are of its process group, and none of them outlives the budget."""
    child = supervised.folder / "child"
    source = f"""
import os, time
if not os.fork():
    with open({str(child)!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({str(child)!r} + ".new", {str(child)!r})
while True:
    time.sleep(1)
"""
    supervised.probes(source)
    supervised.start(ONCE, HASTY)
    wait_for(child.exists)
    pid = int(child.read_text())
    wait_for(lambda: supervised.events("probe_failed"))
    wait_for(lambda: not is_alive(pid))
    assert supervised.end() == 0


def is_alive(pid: int) -> bool:
    """Whether that process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_directory_is_the_one_it_started_with(supervised: Supervised) -> None:
    """A path that leads elsewhere later changes nothing."""
    shared = supervised.report_file.parent
    supervised.start()
    wait_for(lambda: supervised.events("probed"))
    elsewhere = supervised.folder / "elsewhere"
    elsewhere.mkdir()
    shared.rename(supervised.folder / "moved")
    shared.symlink_to(elsewhere)
    supervised.signal(signal.SIGHUP)
    wait_for(lambda: len(supervised.events("probed")) == 2)
    assert os.listdir(elsewhere) == []
    assert os.listdir(supervised.folder / "moved") == ["report.json"]
    assert supervised.end() == 0


def test_another_user_can_read_the_report(supervised: Supervised) -> None:
    """`serve` has another UID; no umask stands in its way."""
    supervised.start(umask=0o077)
    wait_for(supervised.report)
    assert supervised.report_file.stat().st_mode & 0o777 == 0o644
    assert supervised.end() == 0


def test_a_place_that_takes_no_file_is_logged_each_time(supervised: Supervised) -> None:
    """And leaves nothing half-made there; once it takes one, all is well."""
    supervised.report_file.mkdir()
    supervised.start("0.2")
    wait_for(lambda: len(supervised.events("round_failed")) == 2)
    assert "Is a directory" in supervised.events("round_failed")[0]["reason"]
    supervised.report_file.rmdir()
    wait_for(lambda: supervised.events("probed"))
    assert os.listdir(supervised.report_file.parent) == ["report.json"]
    assert supervised.end() == 0


def test_the_working_directory_lends_no_code(supervised: Supervised) -> None:
    """It runs with all privileges, and may be started in a directory where others write."""
    trap = supervised.folder / "trap"
    trap.mkdir()
    for name in ("json", "sitecustomize", "encodings", "probe"):
        (trap / f"{name}.py").write_text(f"open({str(supervised.folder / 'sprung')!r}, 'w')")
    supervised.start(cwd=trap)
    wait_for(lambda: supervised.events("probed"))
    assert not (supervised.folder / "sprung").exists()
    assert supervised.end() == 0


def test_nobody_who_reads_the_log_is_waited_for(supervised: Supervised) -> None:
    """With a log that is full, or without a reader, it goes on probing."""
    read_end, write_end = full_pipe()
    supervised.start("0.2", stderr=write_end)
    os.close(write_end)
    wait_for(supervised.report)
    os.close(read_end)
    first = supervised.report()["pid"]
    wait_for(lambda: supervised.report()["pid"] != first)
    assert supervised.end() == 0


@pytest.mark.parametrize("length", [100, select.PIPE_BUF - 1, select.PIPE_BUF, 1 << 20])
def test_no_line_is_longer_than_what_a_pipe_takes_at_once(length: int) -> None:
    """A reader that is stuck has left room for one page, which is when a pipe counts as ready."""
    read_end, write_end = os.pipe()
    pages = fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ) // os.sysconf("SC_PAGESIZE")
    for _ in range(pages - 1):
        os.write(write_end, b"x" * os.sysconf("SC_PAGESIZE"))
    script = f"from probe.watch import log; log.put_line('y' * {length} + '\\n')"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=write_end, check=True)
    os.close(write_end)
    with open(read_end, "rb") as lines:
        said = lines.read().lstrip(b"x")
    assert said == b"y" * min(length, select.PIPE_BUF - 1) + b"\n"


@given(st.dictionaries(st.text(max_size=20), st.text() | st.integers() | st.lists(st.text()), max_size=9))
def test_a_line_that_fits_is_left_alone(fields: dict[str, Any]) -> None:
    """As JSON has it."""
    assert len(json.dumps(fields)) >= log.LINE_LIMIT or json.loads(log.render_line(fields)) == fields


@pytest.mark.parametrize("value", ["\x1b" * 10_000, ["many", "x" * 3000] * 9, {"nested": "\u20ac" * 5000}])
def test_the_longest_value_gives_way(value: Any) -> None:
    """What is left is a line, it is JSON, and the rest is as it was."""
    line = log.render_line({"event": "e", "first": value, "second": "z" * 3000})
    assert log.LINE_LIMIT / 4 < len(line) < log.LINE_LIMIT
    found = json.loads(line)
    assert list(found) == ["event", "first", "second"]
    assert found["event"] == "e"
    assert found["first"].endswith("...")


@pytest.mark.slow
@pytest.mark.parametrize("no_colour", [True, False])
def test_on_a_terminal_the_log_is_for_people(supervised: Supervised, no_colour: bool) -> None:
    """Words and colours, unless NO_COLOR asks for none."""
    main, replica = pty.openpty()
    supervised.start(stderr=replica, env=os.environ | {"NO_COLOR": "1" if no_colour else ""})
    os.close(replica)
    said = b""
    while b"probed" not in said or not said.endswith(b"\n"):
        said += os.read(main, 4096)
    os.close(main)
    assert b'verdict="ready"' in said
    assert (b"\x1b[" in said) != no_colour
    assert supervised.end() == 0


def test_without_its_directory_it_does_not_start(supervised: Supervised) -> None:
    """One line, 64."""
    command = [sys.executable, "-I", "-S", SOURCE, "/no/such/place/report.json", ONCE, PATIENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr == "userns-probe: cannot open /no/such/place: No such file or directory\n"


@pytest.mark.slow
def test_memory_and_descriptors_stay_as_they_are(supervised: Supervised) -> None:
    """Probe after probe."""
    supervised.start("0.01")
    wait_for(lambda: len(supervised.events("probed")) > 5)
    before, probes = holdings(supervised.pid), len(supervised.events("probed"))
    wait_for(lambda: len(supervised.events("probed")) > probes + 30)
    supervised.probes(HANG)
    wait_for(Path(f"{supervised.main}.began").exists)
    after = holdings(supervised.pid)
    assert after["descriptors"] <= before["descriptors"] + 2, "the pipe of the probe that runs, and the memory"
    assert after["memory"] < before["memory"] + (2 << 20)
    assert supervised.end() == 0


@pytest.mark.real
def test_as_pid_1_it_reaps_what_others_leave(supervised: Supervised) -> None:
    """A container's first process inherits all orphans; none stays as a zombie, and SIGTERM is obeyed."""
    require(os.geteuid() == 0, "root")
    supervised.probes(
        "import os\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            import time; time.sleep(0.3)\n"
        "        os._exit(0)\n" + REPORT
    )
    supervised.start(before=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    wait_for(lambda: supervised.events("probed"))
    (first,) = children(supervised.pid)
    assert namespaced_pid(first) == 1
    wait_for(lambda: children(first) == [])
    supervised.probes(HANG)
    os.kill(first, signal.SIGHUP)
    wait_for(Path(f"{supervised.main}.began").exists)
    os.kill(first, signal.SIGTERM)
    assert supervised.process
    assert supervised.process.wait() == 0


@pytest.mark.slow
def test_the_verb_becomes_the_supervisor(tmp_path: Path) -> None:
    """The process that read the options executes the supervisor in its place; a real probe gives a real report."""
    process = start("watch", "--report-file", str(tmp_path / "r"), "--node-name", "node-1", "--interval", "90s")
    try:
        wait_for((tmp_path / "r").exists)
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[:-1]
        assert command[1:] == [b"-I", b"-S", bytes(SOURCE / "__main__.py"), bytes(tmp_path / "r"), b"90", b"20",
                               b"--proc=/proc", b"--budget=20s", b"--node-name=node-1"]  # fmt: skip
        assert b"site-packages" not in Path(f"/proc/{process.pid}/maps").read_bytes()
        report = json.loads((tmp_path / "r").read_text())
        assert report["node"]["name"] == "node-1"
        assert report["node"]["uptime_seconds"] > 0
        process.terminate()
        assert process.wait() == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing option '--report-file'"),
        (["--report-file", "r", "--interval", "10s"], "--interval 10s is shorter than --budget 20s"),
        (["--report-file", "r", "--interval", "1s"], "is not between 10s and 24h"),
        (["--report-file", "r", "--node-name", "Not_A_Name"], "is not a DNS subdomain"),
        (["--report-file", "/no/such/place/r"], "cannot open /no/such/place: No such file or directory"),
    ],
)
def test_usage_errors_are_64_and_one_line(options: list[str], words: str) -> None:
    """What is wrong stands in the last line."""
    assert words in refused(["watch", *options]).splitlines()[-1]


def children(pid: int) -> list[int]:
    """Children of a process, zombies included."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def namespaced_pid(pid: int) -> int:
    """What a process is called in its own PID namespace."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1])


def holdings(pid: int) -> dict[str, int]:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    memory = next(line for line in rollup.splitlines() if line.startswith("Private_Dirty"))
    return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "memory": int(memory.split()[1]) * 1024}
