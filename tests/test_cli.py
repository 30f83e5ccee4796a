"""The command line through real processes: what it prints, and what its exit codes mean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from lab import forked
from lab.command import ROOT
from lab.prerequisites import require
from probe.cli.report import EXIT_CODES

PROBE = (sys.executable, "-m", "probe")
SLOW = partial(pytest.param, marks=pytest.mark.slow)
"""One more way to the same end, by a Python that starts for it."""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One run of the command, as a shell would start it."""
    return subprocess.run(
        [*PROBE, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], "No such option"),
        (["no-such-verb"], "No such command"),
        (["report", "-o", "xml"], "'xml' is not one of"),
        (["--interval", "soon"], "duration such as 90s"),
        (["--interval", "99999999999999h"], "too long a time"),
        (["--interval", f"{'9' * 5000}s"], "duration such as 90s"),
        (["--interval", "1s"], "not between 10s and 24h"),
        (["--budget", "0s"], "not between 1s and 10m"),
        (["--budget", "1ms"], "'1ms' is not between 1s and 10m"),
        (["--interval", "25h"], "'25h' is not between 10s and 24h"),
        (["--node-name", "Not_A_Name"], "DNS subdomain"),
        (["--proc", "proc"], "not an absolute path"),
        (["path"], "Missing argument"),
        (["explain", "no-such-check"], "no-such-check"),
        (["explain", "tmpfs"], "did you mean filesystem-tmpfs?"),
        (["explain", "volume"], "did you mean volumes or"),
        (["explain", "filesystem-tmfps"], "did you mean filesystem-tmpfs"),
    ],
)
def test_usage_errors_are_64_and_name_the_option(arguments: list[str], words: str) -> None:
    """A wrong option says what is wrong with it, on stderr alone, and is never mistaken for a verdict."""
    done = forked.run(*arguments)
    assert done.returncode == 64
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_report_is_made_whoever_asks() -> None:
    """The exit code is the verdict's, and the document says the same."""
    done = run("-o", "json")
    report = json.loads(done.stdout)
    assert done.returncode == EXIT_CODES[report["verdict"]]
    assert report["schema"] == "userns-probe.io/v1"
    assert done.stderr == ""


@pytest.mark.slow
def test_without_a_verb_it_is_report() -> None:
    """`userns-probe` and `userns-probe report` judge the same; other tests may start and end kubelets meanwhile."""
    short, long = (json.loads(forked.run(*verb, "-o", "json").stdout) for verb in ((), ("report",)))
    assert short.keys() == long.keys()
    assert [finding["id"] for finding in short["findings"]] == [finding["id"] for finding in long["findings"]]


@pytest.mark.real
def test_path_gives_the_code_of_the_worst() -> None:
    """Refused over unknown over supported."""
    require(os.geteuid() == 0, "root")
    assert run("path", "/proc", "/no/such/path").returncode == 1
    done = run("path", "/no/such/path", "-o", "json")
    assert done.returncode == 2
    (row,) = json.loads(done.stdout)
    assert (row["result"], row["usable"]) == ("unknown", None)


@pytest.mark.real
def test_path_names_the_mounts_below() -> None:
    """An administrator sees which files a Pod would see as nobody's."""
    require(os.geteuid() == 0, "root")
    (row,) = json.loads(run("path", "/", "-o", "json").stdout)
    assert "/proc" in row["below"]
    assert len(row["below"]) <= row["mounts_below"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain"], ["explain", "filesystem-tmpfs"]])
def test_help_needs_no_privilege(arguments: list[str]) -> None:
    """Asking for help is no probe: 0, and something to read."""
    done = forked.run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_colour_is_for_terminals() -> None:
    """Into a pipe goes no escape sequence unless it was asked for, and NO_COLOR has the last word with auto."""
    assert "\x1b" not in forked.run("explain", "filesystem-tmpfs", NO_COLOR="1").stdout
    assert "\x1b" not in forked.run("explain", "filesystem-tmpfs").stdout
    assert "\x1b" in forked.run("explain", "filesystem-tmpfs", "--colour", "always").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [SLOW({"LC_ALL": "C"}), SLOW({"LC_ALL": "POSIX"}), {"LC_ALL": "", "LC_CTYPE": "", "LANG": "C"}]
)
def test_the_locale_c_gets_ascii(variables: dict[str, str]) -> None:
    """A terminal that was not said to be UTF-8 shows no UTF-8, although Python would write it."""
    assert run(**variables).stdout.isascii()


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "1"}, {"LC_ALL": "C.UTF-8", "LANG": "C"}])
def test_utf_8_is_asked_for(variables: dict[str, str]) -> None:
    """Then the same report has the marks."""
    assert not run(**variables).stdout.isascii()


def test_a_pipe_gets_whole_lines() -> None:
    """Whatever COLUMNS says, a sentence that goes into a pipe is one line, for grep."""
    narrow, wide = (forked.run("explain", "filesystem-tmpfs", COLUMNS=columns).stdout for columns in ("40", "200"))
    assert narrow == wide


@pytest.fixture(scope="module")
def expected() -> int:
    """The exit code of a report here."""
    return run("-o", "json").returncode


@pytest.mark.slow
def test_a_closed_pipe_keeps_the_verdict(expected: int) -> None:
    """`userns-probe | head -1` is not an error of the node's, and no traceback."""
    script = f'{sys.executable} -m probe -v -o json | head -c 1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (expected, "")


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of *script*, in which `$probe` is the command."""
    environment = os.environ | {"probe": " ".join(PROBE)}
    return subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [SLOW(""), "-o json", "explain"])
def test_a_full_disk_is_70_and_one_line(arguments: str) -> None:
    """Half a report is no verdict, whether it fits into a buffer or not."""
    done = shell(f"$probe {arguments} > /dev/full")
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr == "userns-probe: cannot write to stdout: No space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), [("explain", 70), ("--help", 70), ("--no-such-option", 64)])
def test_a_full_disk_for_complaints_as_well(arguments: str, code: int) -> None:
    """What cannot be said is lost, and the exit code says the same: Python's own would be that of a verdict."""
    assert shell(f"$probe {arguments} > /dev/full 2> /dev/full").returncode == code


@pytest.mark.slow
@pytest.mark.parametrize("closed", [SLOW("<&-"), ">&-", SLOW("2>&-"), SLOW("<&- >&-"), "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed: str, expected: int) -> None:
    """Nothing that it opens later takes their place."""
    done = shell(f"$probe -o json {closed}")
    assert (done.returncode, done.stderr) == (expected, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_what_cannot_even_start_is_70() -> None:
    """An import may fail for want of memory or descriptors; the exit code of a traceback would be that of a verdict."""
    script = "import sys, runpy; sys.modules['probe.cli.start'] = None; runpy.run_module('probe', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("userns-probe: cannot start: ModuleNotFoundError")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_encoding_without_the_marks_is_no_crash() -> None:
    """A terminal of the C locale gets ASCII."""
    done = run(PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode in EXIT_CODES.values()
    assert done.stdout.isascii()


def interrupted(prepare: str, gather: str, number: signal.Signals) -> tuple[int, str]:
    """Exit code and stderr of a probe that gets *number* once it gathers, which prints a line and takes long."""
    # Python runs a handler between two steps of its own: a signal just before one long sleep would wait for its end.
    slow = (
        f"{prepare}import time, probe.facts.gather as g, probe.cli.start as c;"
        "slow = 'print(1, flush=True); any(time.sleep(0.01) for _ in range(6000))';"
        f"g.gather_facts = lambda *a: {gather}; c.main([])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_at_once(number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end a probe that takes long, without a traceback."""
    assert interrupted("", "(print(1, flush=True), any(time.sleep(0.01) for _ in range(6000)))", number) == (code, "")


@pytest.mark.slow
def test_a_signal_that_python_drops_ends_it_all_the_same() -> None:
    """Python drops what a handler raises in `__del__` or in a weak reference's callback, as each import has one."""
    prepare = "class Gone:\n def __del__(self):\n  print(1, flush=True); any(time.sleep(0.01) for _ in range(500))\n"
    gather = "(Gone() and 0, any(time.sleep(0.01) for _ in range(500)))"
    assert interrupted(prepare, gather, signal.SIGTERM) == (143, "")


@pytest.mark.slow
def test_ctrl_c_while_something_is_imported() -> None:
    """Modules that run code which they made, as dataclasses do, would let Python end by the signal and not with 130."""
    prepare = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    assert interrupted(prepare, "exec(slow)", signal.SIGINT) == (130, "")


@pytest.mark.slow
def test_quiet_is_the_exit_code_alone(expected: int) -> None:
    """For scripts; no other option makes it speak."""
    for arguments in (["--quiet"], ["report", "-q", "-v", "-o", "json"]):
        done = forked.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (expected, "", "")


def pruned_nodes(output: str) -> tuple[int, int]:
    """How many of 5,000 Nodes are pruned when stdout is *output* in a shell, and the exit code."""
    code = (
        "import sys, atexit, probe.publish.prune as p; n = []\n"
        "def prune(*a):\n for i in range(5000):\n  n.append(i); yield p.Pruned(node=f'n{i}', annotations=('a',))\n"
        "p.prune = prune; atexit.register(lambda: sys.stderr.write(str(len(n)) + ' pruned\\n'))\n"
        "from probe.__main__ import main; main(['prune', '--all', '--kubeconfig', '/dev/null'])"
    )
    script = f'set -o pipefail; "$python" -c "$code" {output}'
    environment = os.environ | {"python": sys.executable, "code": code}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return int(done.stderr.splitlines()[-1].split()[0]), done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "code"), [SLOW("> /dev/null", 0), ("| head -1", 0), SLOW(">&-", 0), ("> /dev/full", 70)]
)
def test_prune_goes_on_though_nobody_reads(output: str, code: int) -> None:
    """A reader that closes the pipe early changes nothing, and a full disk is told by the exit code at the end."""
    assert pruned_nodes(output) == (5000, code)


@pytest.mark.slow
def test_the_unforeseen_is_70() -> None:
    """A bug is never taken for a verdict."""
    broken = "import probe.facts.gather as g, probe.cli.start as c; g.gather_facts = None; c.main([])"
    done = subprocess.run([sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "internal error: TypeError" in done.stderr
    assert done.stderr.count("\n") == 1
