"""Gives targets thousands of inputs, each in a process of its own, which a hang or a crash ends and nothing else.

With atheris (`pip install -e '.[fuzz]'`) the inputs are guided by coverage; without it they are recordings, mutated.
Run one again: `python -m lab.faults.fuzz userns --reproduce /tmp/userns-probe-faults/userns-0123456789abcdef`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.faults.campaign import Progress, times
from lab.faults.mutate import LARGEST, mutated
from lab.faults.targets import TARGETS
from lab.faults.targets.target import Target
from lab.real import kernel

GUIDED = importlib.util.find_spec("atheris") is not None
"""Whether inputs are guided by coverage."""
HANG = 20.0
"""Seconds after which one input counts as a hang: the worst of them take less than one."""
STARTUP = 100.0
"""Seconds until the first input is done: a guided worker changes all that it imports."""
MEMORY = 1 << 30
"""Bytes that one target may need more than when it began."""
KEPT = Path(tempfile.gettempdir(), "userns-probe-faults")
"""Where an input goes that was too much."""
_RESTARTS = 5  # of one target that hangs or dies
_FAULTS = 10  # of one target that are told
_CHECKOUT = Path(__file__).parents[2]


class Board:
    """A page that worker and watcher share: how far the worker is, with what input, and how long the worst one took."""

    _HEAD = struct.Struct("=QQdQ")  # inputs done, of which faults, seconds of the worst, bytes of the present one
    _ROOM = LARGEST * 2

    def __init__(self, path: str) -> None:
        with open(path, "a+b") as file:
            file.truncate(self._HEAD.size + self._ROOM)
            self._map = mmap.mmap(file.fileno(), 0)

    def read(self) -> tuple[int, int, float, bytes]:
        """Inputs done, faults among them, seconds of the worst, and the input at which the worker is."""
        done, faults, worst, length = self._HEAD.unpack_from(self._map)
        return done, faults, worst, self._map[self._HEAD.size : self._HEAD.size + length]

    def begin(self, data: bytes) -> None:
        """The worker is about to try *data*."""
        done, faults, worst, _ = self._HEAD.unpack_from(self._map)
        self._map[self._HEAD.size : self._HEAD.size + len(data)] = data
        self._HEAD.pack_into(self._map, 0, done, faults, worst, len(data))

    def end(self, seconds: float, fault: bool) -> None:
        """It is done with it."""
        done, faults, worst, length = self._HEAD.unpack_from(self._map)
        self._HEAD.pack_into(self._map, 0, done + 1, faults + fault, max(worst, seconds), length)


def attempt(target: Target, data: bytes, board: Board, log: str) -> None:
    """Give one input to *target*; what it raises is a fault, and goes to *log*."""
    board.begin(data)
    began, fault = time.monotonic(), ""
    try:
        target.attempt(data)
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} at {os.path.basename(at.filename)}:{at.lineno}: {ascii(str(error))[:200]}"
    board.end(time.monotonic() - began, bool(fault))
    if fault and board.read()[1] <= _FAULTS:
        with open(log, "a") as file:
            file.write(f"{target.name}: {fault}; {keep(target, data)}\n")


def keep(target: Target, data: bytes) -> str:
    """Where the input lies now, for who wants to see it again."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{target.name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return f"input {path}"


def limit_memory() -> None:
    """Let this process fail where it would else take all there is."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


@dataclass
class Job:
    """One target, its inputs, and the worker that tries them."""

    target: Target
    seed: int
    runs: int
    directory: str
    guided: bool
    problems: list[str] = field(default_factory=list)
    worst: float = 0.0
    faults: int = 0
    pid: int = 0
    _deaths: int = 0
    _seen: tuple[int, float] = (0, 0.0)  # inputs done, and until when there must be more

    def __post_init__(self) -> None:
        self.log = f"{self.directory}/{self.target.name}.log"
        self.board = Board(f"{self.directory}/{self.target.name}.board")

    @property
    def done(self) -> int:
        """Inputs so far."""
        return self.board.read()[0]

    def start(self) -> None:
        """Let a worker begin, or go on behind the input at which the last one ended."""
        self._seen = (self.done, time.monotonic() + STARTUP)
        self.pid = self._start_guided() if self.guided else self._fork()

    def is_over(self) -> bool:
        """Whether the worker is done; one that hangs or dies is replaced, and the input counts as a fault."""
        done, now = self.done, time.monotonic()
        if done != self._seen[0]:
            self._seen = (done, now + HANG)
        hangs = now > self._seen[1]
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
        pid, status = os.waitpid(self.pid, 0 if hangs else os.WNOHANG)
        if not pid:
            return False
        self.pid = 0
        if (hangs or status) and self.done < self.runs:
            self._mourn("no answer in time" if hangs else f"ended with {os.waitstatus_to_exitcode(status)}")
            if self._deaths <= _RESTARTS and self.done < self.runs:
                self.start()
                return False
        _, self.faults, self.worst, _ = self.board.read()
        with suppress(FileNotFoundError):
            self.problems += Path(self.log).read_text().splitlines()
        return True

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def _mourn(self, how: str) -> None:
        self._deaths += 1
        self.board.end(HANG if how.startswith("no answer") else 0.0, fault=True)
        self.problems.append(f"{self.target.name}: {how}; {keep(self.target, self.board.read()[3])}")

    def _fork(self) -> int:
        """A worker without a guide: each input follows from seed, target and number."""
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            kernel.die_with_parent()
            limit_memory()
            corpus, tokens = self.target.corpus(), [token.encode() for token in self.target.tokens]
            for number in range(self.done, self.runs):
                dice = random.Random(f"{self.seed} {self.target.name} {number}")
                data = corpus[number] if number < min(len(corpus), self.runs // 2) else mutated(corpus, tokens, dice)
                attempt(self.target, data[:LARGEST], self.board, self.log)
            status = 0
        finally:
            os._exit(status)

    def _start_guided(self) -> int:
        """A worker that atheris guides, in a fresh interpreter, since it changes modules as they are imported."""
        words = (self.target.name, self.seed + self._deaths, self.runs - self.done, self.directory)
        command = [sys.executable, "-m", "lab.faults.guided", *map(str, words)]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(_CHECKOUT)}
        with open(f"{self.directory}/{self.target.name}.out", "ab") as out:
            worker = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=_CHECKOUT,
                preexec_fn=kernel.die_with_parent,
                start_new_session=True,  # Ctrl-C is for who watches it
            )
        worker.returncode = 0  # it is waited for by its number
        return worker.pid


def run(targets: Sequence[Target], seed: int, scale: float, progress: Progress, guided: bool) -> Iterator[Job]:
    """Each target's job once it is over, as many at the same time as there are processors."""
    with tempfile.TemporaryDirectory(prefix="userns-probe-fuzz-") as directory:
        jobs = [Job(target, seed, times(target.runs, scale), directory, guided) for target in targets]
        waiting, running, total = list(jobs), list[Job](), sum(job.runs for job in jobs)
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    running.append(waiting.pop(0))
                    running[-1].start()
                for job in [job for job in running if job.is_over()]:
                    running.remove(job)
                    yield job
                progress(f"inputs for {len(jobs)} parsers: {sum(job.done for job in jobs):,} of {total:,}")
                time.sleep(0.02)
        finally:
            for job in running:
                job.stop()


def main() -> int:
    """Try inputs by hand; 1 when one was too much."""
    parser = argparse.ArgumentParser(prog="python -m lab.faults.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--scale", type=float, default=0.01, help="1 is 40,000 inputs for most targets")
    parser.add_argument("--reproduce", metavar="FILE", help="give this input to TARGET, with its traceback")
    options = parser.parse_args()
    if options.reproduce:
        TARGETS[options.names[0]].attempt(Path(options.reproduce).read_bytes())
        return 0
    sys.stderr.write(f"seed {options.seed}, {'guided by coverage' if GUIDED else 'not guided: atheris is missing'}\n")
    failed = False
    chosen = [TARGETS[name] for name in options.names or TARGETS]
    for job in run(chosen, options.seed, options.scale, lambda _: None, GUIDED):
        told = f"{job.target.name}: {job.done:,} inputs, {job.faults} faults, worst {job.worst:.2f} s"
        sys.stdout.write("\n  ".join([told, *job.problems]) + "\n")
        sys.stdout.flush()
        failed |= bool(job.problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
