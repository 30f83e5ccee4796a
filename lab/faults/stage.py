"""A node on which faults are injected, one kind after another, and what has to hold each time."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lab.faults.campaign import Progress, Row, times
from lab.faults.honesty import NOTHING, BrokenError, Well, demand
from lab.real import packages
from lab.real.leftovers import look_without_pids, settled
from lab.real.node import CHECKOUT, Node, Probed, descendants, environment, make_node, make_workspace
from lab.real.packages import Runtime
from lab.real.pods import pod_runtime

WATCHDOG = 60.0
"""Seconds beyond its budget after which a probe counts as one that never ends."""

BUDGET = 20.0
"""Seconds of the command's own default."""


@dataclass
class Stage:
    """A node with a runtime and a kubelet where all is well, and what a probe says of it then."""

    node: Node
    runc: str
    """The OCI runtime of its default handler."""
    handler: str
    """A symlink to it, which is what the container runtime knows."""
    containerd: Runtime
    well: Well = field(default_factory=Well)
    """What a probe says when nothing is wrong."""
    options: tuple[str, ...] = ()
    """Of each probe; with `--try-pod` the runtime has what it needs to run Pods."""
    budget: float = BUDGET
    """Seconds that each probe may take."""
    tries: int = 1
    """How many probes there are until one is clean: more than one where programs may be too slow for no fault."""
    life: float = 0.0
    """Seconds that a whole probe takes then."""
    worst: float = 0.0
    """Seconds of the slowest probe since the last row."""
    hits: int = 0
    """Injections since the last row that came to what their fault aims at."""
    left: list[str] = field(default_factory=list)
    """What the present injection itself saw left behind."""
    number: int = 0
    """Of the present injection in its row, from 0 on."""
    probing: int = 0
    """Pid of the last probe, or of the command around it."""
    _kubelet: ExitStack = field(default_factory=ExitStack)
    _root: str | None = None
    _runtime: ExitStack = field(default_factory=ExitStack)
    _command: tuple[str, ...] = ()

    def look_around(self) -> None:
        """Learn what a probe says when nothing is wrong, and how long that takes. *Errors*: BrokenError."""
        for _ in range(self.tries):
            first = self.probe()
            if first.code == 0 and "in time" not in first.stdout:
                break
        fine = first.verdict == (0, "ready", "") and not first.stderr
        demand(fine, f"without any fault: {first.code}, {first.stderr}, {first.stdout[:3000]}")
        self.well, self.life = Well.of(first.report), first.seconds

    def start_kubelet(self) -> None:
        """The node's own; each time on the same root directory."""
        self._kubelet.enter_context(self.node.kubelet(root=self._root))
        self._root = self.node.root

    def stop_kubelet(self) -> None:
        """It is killed."""
        self._kubelet.close()

    def start_runtime(self) -> None:
        """containerd; each time with the same configuration, on the same socket."""
        if not self._command:
            make = partial(pod_runtime, self.node) if "--try-pod" in self.options else self.node.containerd
            start = make(self.containerd, {"runc": self.handler})
            self.node.endpoint = self._runtime.enter_context(start)
            self._command = _command_of(self.node, "containerd")
            return
        path = os.path.dirname(self._command[0])
        options = {"env": {"PATH": f"{path}:{environment()['PATH']}"}, "stderr": subprocess.DEVNULL}
        self._runtime.enter_context(self.node.process(*self._command, **options))
        while not _is_listening(self.node.endpoint):
            time.sleep(0.01)

    def stop_runtime(self) -> None:
        """It is killed."""
        self._runtime.close()

    def choose_runc(self, path: str) -> None:
        """Let the handler's program be that one, at once, as an upgrade does."""
        os.symlink(path, f"{self.handler}-new")
        os.rename(f"{self.handler}-new", self.handler)

    @contextmanager
    def other_kubelet(self, *flags: str, **options: Any) -> Iterator[None]:
        """Another one in its place."""
        self.stop_kubelet()
        try:
            with self.node.kubelet(*flags, **options):
                yield
        finally:
            self.start_kubelet()

    def probe(self, *arguments: str, wrapper: tuple[str, ...] = (), budget: float | None = None) -> Probed:
        """What the real command says as JSON; *wrapper* is a command that runs it. *Errors*: BrokenError."""
        began = time.monotonic()
        return self.finish(self.start(*arguments, wrapper=wrapper, budget=budget), began, budget)

    def start(
        self, *arguments: str, wrapper: tuple[str, ...] = (), budget: float | None = None
    ) -> subprocess.Popen[str]:
        """The same command, running."""
        budget = budget or self.budget
        command = [*wrapper, sys.executable, "-m", "probe", "-o", "json", f"--budget={budget:g}s"]
        command += [*self.options, *arguments]
        probe = subprocess.Popen(
            self.node.inside(*command),
            cwd=CHECKOUT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.probing = probe.pid
        return probe

    def finish(self, probe: subprocess.Popen[str], began: float, budget: float | None = None) -> Probed:
        """What became of a command that was started. *Errors*: BrokenError when its watchdog has to end it."""
        budget = budget or self.budget
        try:
            stdout, stderr = probe.communicate(timeout=budget + WATCHDOG)
        except subprocess.TimeoutExpired:
            for pid in descendants(probe.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            probe.communicate()
            raise BrokenError(f"did not end within its budget of {budget:g} s and {WATCHDOG:g} s more") from None
        seconds = time.monotonic() - began
        self.worst = max(self.worst, seconds)
        return Probed(probe.returncode, stdout, stderr, 0, seconds)

    def expect(
        self,
        probed: Probed,
        *verdicts: str,
        unknown: Collection[str] | None = None,
        cause: Collection[str] = (),
        right: Mapping[str, Collection[str]] = NOTHING,
        moved: Collection[str] = (),
    ) -> None:
        """Raise BrokenError unless that report is honest: one of *verdicts*, and nothing wrong in it.

        A check may have become `unknown`, and then only one of those in *unknown* (None: any of them, but where nothing
        is left that decides, the report has to say why), each with a reason; the findings that have have one of the
        words in *cause*. None may say anything else, but for those in *right*, each with what is true of it while the
        fault lasts. The same goes for the file systems, of which those in *moved*, by their role, may be of another
        type. Levels and verdict follow from the findings.
        """
        self.well.judge(probed, *verdicts, unknown=unknown, cause=cause, right=right, moved=moved)

    def expect_clean(self) -> None:
        """Raise BrokenError unless the next probe, without a fault, is as if there had never been one."""
        for left in reversed(range(self.tries)):
            try:
                self.expect(self.probe(), "ready", unknown=())
            except BrokenError as problem:
                if not left:
                    raise BrokenError(f"the next probe, without the fault: {problem}") from None
            else:
                break


ENOUGH = 10
"""Injections of which one at least has to come to what its fault aims at."""
Inject = Callable[[Stage, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    whole: int  # how often at scale 1
    inject: Inject  # once: cause it, probe, end it; BrokenError when something did not hold
    missing: Callable[[], str] = lambda: ""  # what this machine lacks for it
    aim: str = ""  # what each injection may miss, and not all of them: it counts the stage's hits


def run_fault(stage: Stage, fault: Fault, seed: int, scale: float, progress: Progress) -> Row:
    """Inject it as often as *scale* says, each time followed by a look at what is left, and by a clean probe."""
    if missing := fault.missing():
        return Row(f"{fault.name} (not run: {missing} is missing)", 0, 0, 0.0, 0)
    count = times(fault.whole, scale)
    problems: list[str] = []
    survived = leftovers = 0
    before, stage.worst, stage.hits = look_without_pids(stage.node), 0.0, 0
    for number in range(count):
        stage.number = number
        progress(f"{fault.name}: {number} of {count}")
        found = list(_problems(stage, fault, random.Random(f"{seed} {fault.name} {number}")))
        left = settled(stage.node, before, look_without_pids)
        if stage.left:
            left["seen by the fault"], stage.left = stage.left, []
        if left:
            leftovers += sum(map(len, left.values()))
            found.append(f"left behind: {left}")
            before = look_without_pids(stage.node)
        survived += not found
        problems += [f"seed {seed}, {fault.name}, number {number}: {problem}" for problem in found]
    if fault.aim and count >= ENOUGH and not stage.hits:
        problems.append(f"seed {seed}, {fault.name}: {fault.aim}: not once in {count}")
    return Row(fault.name, count, survived, stage.worst, leftovers, tuple(problems))


def _problems(stage: Stage, fault: Fault, chance: random.Random) -> Iterator[str]:
    try:
        fault.inject(stage, chance)
        stage.expect_clean()
    except BrokenError as problem:
        yield str(problem)
    except Exception as problem:  # not the probe's; hours of faults that come after it are not lost for it
        yield f"the fault itself failed: {problem!r}"


@contextmanager
def make_stage(
    workspace: str,
    *,
    runc: Runtime | None = None,
    containerd: Runtime | None = None,
    options: tuple[str, ...] = (),
    budget: float = BUDGET,
    tries: int = 1,
) -> Iterator[Stage]:
    """A node of its own with daemons, on runtimes from Debian unless they are given."""
    with make_node(workspace) as node, ExitStack() as stack:
        runc = runc or packages.runtime("runc", (1, 2))
        containerd = containerd or packages.containerd()
        stage = Stage(node, runc.path, node.path("runc"), containerd, options=options, budget=budget, tries=tries)
        os.symlink(stage.runc, stage.handler)
        stack.callback(stage.stop_runtime)
        stage.start_runtime()
        stack.callback(stage.stop_kubelet)
        stage.start_kubelet()
        stage.look_around()
        yield stage


@contextmanager
def own_stage(*options: str) -> Iterator[Stage]:
    """The same for programs that are no tests: with a mount namespace for this process, for ever."""
    with make_workspace() as workspace, make_stage(workspace, options=options) as stage:
        yield stage


def document(text: str) -> Any:
    """What *text* is as JSON. *Errors*: BrokenError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise BrokenError(f"printed no JSON ({error}): {text[-200:]!r}") from None


def _is_listening(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, suppress(OSError):
        client.connect(path)
        return True
    return False


def _command_of(node: Node, name: str) -> tuple[str, ...]:
    """The command line of the node's process of that name."""
    for pid in filter(str.isdigit, os.listdir(node.proc)):
        with suppress(OSError), open(f"{node.proc}/{pid}/comm") as comm, open(f"{node.proc}/{pid}/cmdline") as line:
            if comm.read() == f"{name}\n":
                return tuple(line.read().split("\0")[:-1])
    raise BrokenError(f"no process is called {name}")
