"""All tests in several processes at the same time, and one summary: what scripts/test and CI run.

Tests that boot kernels in qemu are one lane, from the first second on. Those on this kernel are another one, in which
they run one after another, as some compare the whole machine (loop devices, modules, the kernel's log) before and
after, and others try Pods and runtimes, in one cgroup of the machine. Those that do neither, and mostly wait, are a
lane beside it. Each of these three collects only the files with its mark. Other tests change nothing of the machine;
those that need a program, such as a browser, come last among them. Tests of the product run once more on the Python of
the image. These give way to the first three lanes, which would end last. A lane's output is printed when it has ended.
In the end come all failures once more, and a last line that counts the tests of all lanes, as pytest does.

The image is built from the first second on, too: tests would wait for it.

`scripts/test --fast` has three lanes of its own, with different folders each, so that no test is collected twice.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from typing import IO

from lab.command import ROOT
from lab.deploy import image as deploy
from lab.real.kernel import die_with_parent

LANES = ("qemu", "real and not (qemu or program or beside)", "beside", "not real or program")
"""Expressions for `pytest -m`; each test is in exactly one lane."""
FAST = "not real and not slow"
PARTS = (("tests/host",), tuple(f"tests/{name}" for name in ("bundle", "fleet", "publish", "serve")))
"""Folders of two of the fast lanes: one mostly waits, the other takes half of the CPU that the third one takes."""
GIVE_WAY = ("nice", "-n", "5")
"""Not more, or a test that takes seconds of CPU could run into its timeout."""
IMAGE = (*GIVE_WAY, sys.executable, "-m", "lab.deploy.image")
"""Builds the image."""
NEWEST = "sid"
"""Debian's suite with the newest Python; the image's has the one that CI runs the tests on as well."""
NOTHING_RAN, INTERRUPTED = 5, 130
_COUNT = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warning|error)s?\b")
_SUMMARY = re.compile(r"^=+ (.*) in [\d.]+s( \([\d:]+\))? =+$")


def run(commands: Sequence[Sequence[str]], out: IO[str]) -> int:
    """The exit code for these commands of pytest, run at the same time; *out* gets their output and the summary.

    It is 0 when all passed, 5 when none ran, else that of a lane that failed.
    """
    began, codes, outputs = time.monotonic(), [], []
    with tempfile.TemporaryDirectory(prefix="userns-probe-lanes-") as directory, ThreadPoolExecutor() as pool:
        running = [_start(command, f"{directory}/{number}") for number, command in enumerate(commands)]
        try:
            for ended in as_completed([pool.submit(_ended, *each) for each in running]):
                code, output = ended.result()
                codes.append(code)
                outputs.append(output)
                out.write(output)
                out.flush()
        finally:
            for process, _ in running:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
    failures = [line for output in outputs for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    out.write("\n".join([*failures, summary(outputs, time.monotonic() - began), ""]))
    return together(codes)


@contextmanager
def meanwhile(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* meanwhile, and end it with all that it started. What went wrong, a test says that needs it."""
    process = _popen(command, subprocess.DEVNULL)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # not waited for yet, so nobody else has its number
        process.wait()


def _start(command: Sequence[str], path: str) -> tuple[subprocess.Popen[bytes], str]:
    with open(path, "wb") as file:
        return _popen(command, file), path


def _popen(command: Sequence[str], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C comes once, from `run`
        preexec_fn=die_with_parent,
    )


def _ended(process: subprocess.Popen[bytes], path: str) -> tuple[int, str]:
    code = process.wait()
    with open(path, errors="replace") as file:
        return code, file.read()


def together(codes: Iterable[int]) -> int:
    """One exit code for those of all lanes; a lane in which nothing ran is none as long as something ran in another."""
    codes = list(codes)
    failed = [code for code in codes if code not in (0, NOTHING_RAN)]
    return abs(failed[0]) if failed else 0 if 0 in codes else NOTHING_RAN


def summary(outputs: Iterable[str], seconds: float) -> str:
    """The line with which pytest ends, for the tests of all lanes."""
    counts: Counter[str] = Counter()
    for output in outputs:
        lines = [found[1] for line in output.splitlines() if (found := _SUMMARY.match(line))]
        if not lines:
            counts["error"] += 1  # it ended without counting
        for number, what in _COUNT.findall(lines[-1] if lines else ""):
            counts[what] += int(number)
    del counts["deselected"]  # by one lane, for another
    order = ("failed", "passed", "skipped", "xfailed", "xpassed", "warning", "error")
    plural = {"warning": "warnings", "error": "errors"}
    told = [f"{n} {what if n == 1 else plural.get(what, what)}" for what in order if (n := counts[what])]
    return f" {', '.join(told) or 'no tests ran'} in {seconds:.2f}s ".center(100, "=")


def commands(extent: str) -> list[tuple[str, ...]]:
    """One for each lane; *extent* is that of tests/extent.py."""
    python, pytest = (sys.executable, "-m"), (sys.executable, "-m", "pytest", "-m")
    if extent == "fast":
        others = (f"--ignore={folder}" for part in PARTS for folder in part)
        return [*((*pytest, FAST, *part) for part in PARTS), (*pytest, FAST, *others)]
    qemu, real, beside, other = LANES
    found: list[tuple[str, ...]] = [
        (*pytest, qemu, *marked("qemu")),
        (*pytest, real, *marked("real")),
        (*pytest, beside, *marked("beside")),
        (*GIVE_WAY, *pytest, other),
    ]
    if os.geteuid() == 0:  # chroot(2) needs root, as the real tests do, which skip without it
        if extent == "all":
            suites = (deploy.SUITE, NEWEST)
            found += [(*GIVE_WAY, *python, "lab.pythons", suite, "fast", "-m", "not real") for suite in suites]
        else:
            found.append((*GIVE_WAY, *python, "lab.pythons", deploy.SUITE, "again", "-m", FAST))
    return found


def marked(name: str) -> list[str]:
    """The files of tests that speak of this mark."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if f"pytest.mark.{name}" in file.read_text()]


def main() -> int:
    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    extent = os.environ.get("USERNS_PROBE_TESTS", "")
    try:
        with ExitStack() as ending:
            if extent != "fast" and os.geteuid() == 0:
                ending.enter_context(meanwhile(IMAGE))
            return run(commands(extent), sys.stdout)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
