"""One of the processes that kill probes side by side, each on a node of its own: KIND SEED COUNT.

It prints a line of JSON for each of them: how long that took, what was wrong, and how much was left behind.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from lab.faults.kills import expect_a_part, kill, may_gather
from lab.faults.stage import CHECKOUT, ENOUGH, BrokenError, Stage, demand, document, own_stage
from lab.real.leftovers import State, look, settled
from lab.real.node import Node, descendants, environment
from lab.waiting import wait_for

_SPREAD = 1.2  # of a whole probe, so that some are killed when they are done
_SHIM = "containerd-shim"
_INNER = 2  # PID namespaces below the probe's: only the trial of nested containers has so many
_TRIAL = 0.1  # seconds from its first process that deep to its last one
_MEASURED_AGAIN = 100  # how often a whole probe shows how long a life is now


def probe_is_killed(stage: Stage, chance: random.Random) -> None:
    """The command, all of its processes at once, or one of its children: then it has to come to an honest end."""
    began = time.monotonic()
    probe = stage.start()
    tree = _after(stage, chance, probe)
    only_child = bool(tree[1:]) and chance.random() < 0.3
    victims = [chance.choice(tree[1:])] if only_child else tree if chance.random() < 0.4 else tree[:1]
    gatherer = may_gather(probe.pid, victims[0]) if only_child else False
    for pid in victims:
        kill(pid)
    probed = stage.finish(probe, began)
    if only_child and probed.code not in (-9, 137):
        expect_a_part(stage, probed, gatherer)
    demand(not probed.stderr, f"said {probed.stderr[-300:]!r} on stderr")
    demand(probed.code in (0, 2, -9, 137), f"exit code {probed.code}")


def nested_trial_is_killed(stage: Stage, chance: random.Random) -> None:
    """Processes of the trial of nested containers, alone or with those above: nothing else becomes unknown."""
    began = time.monotonic()
    probe = stage.start()
    tree = _after_nesting(chance, probe)
    inner = [pid for pid in tree if _depth(pid) >= _depth(tree[0]) + _INNER]
    stage.hits += bool(inner)
    alone = bool(inner) and chance.random() < 0.5
    for pid in [chance.choice(inner)] if alone else chance.choice((tree, tree[:1])):
        kill(pid)
    probed = stage.finish(probe, began)
    if alone:
        stage.expect(probed, "ready", unknown=())
    demand(not probed.stderr, f"said {probed.stderr[-300:]!r} on stderr")
    demand(probed.code in (0, -9, 137), f"exit code {probed.code}")


def trial_is_killed(stage: Stage, chance: random.Random) -> None:
    """The same with a trial of the runtime, whose empty cgroup the next probe removes."""
    probe = stage.start("--try-runtime")
    for pid in _after(stage, chance, probe, 2.0)[: chance.choice((1, 100))]:
        kill(pid)
    probe.communicate()
    stage.expect_clean()


def pod_trial_is_killed(stage: Stage, chance: random.Random) -> None:
    """The same with a trial of a Pod: what is left of it, the next trial removes before it makes its own."""
    probe = stage.start()
    tree = _after(stage, chance, probe)
    for pid in chance.choice((tree, tree[:1], [chance.choice(tree)])) if tree else ():
        kill(pid)
    probe.communicate()
    wait_for(lambda: not stage.node.names("python"))  # the process of the trial removes its Pod before it ends
    stage.expect_clean()


def watch_is_killed(stage: Stage, chance: random.Random) -> None:
    """Its probe comes to an end by itself, and the report is whole or not there."""
    directory = stage.node.path("watch")
    os.mkdir(directory)
    report = f"{directory}/report.json"
    command = [sys.executable, "-m", "probe", "watch", f"--report-file={report}", "--interval=24h"]
    watch = subprocess.Popen(
        stage.node.inside(*command),
        cwd=CHECKOUT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for pid in _after(stage, chance, watch)[:1]:
        kill(pid)
    watch.wait()
    names = set(os.listdir(directory))
    demand(names <= {"report.json", ".report.json.new"}, f"in the directory of the report: {names}")
    if "report.json" in names:
        with open(report) as file:
            demand(document(file.read())["verdict"] == "ready", "the report says what is not so")


KINDS: dict[str, Callable[[Stage, random.Random], None]] = {
    "probe": probe_is_killed,
    "nested": nested_trial_is_killed,
    "trial": trial_is_killed,
    "pod": pod_trial_is_killed,
    "watch": watch_is_killed,
}


def _after(stage: Stage, chance: random.Random, command: subprocess.Popen[str], longer: float = 1.0) -> list[int]:
    """The processes of *command* at a random instant of its life, the first of them first; none when it is over."""
    while len(tree := descendants(command.pid)) < 2:  # only nsenter yet
        if command.poll() is not None:
            return []
        time.sleep(0.001)
    time.sleep(chance.uniform(0, stage.life * longer * _SPREAD))
    return descendants(tree[1]) if os.path.exists(f"/proc/{tree[1]}") else []


def _after_nesting(chance: random.Random, command: subprocess.Popen[str]) -> list[int]:
    """The same at a random instant of its trial of nested containers; none when it is over."""
    while command.poll() is None:
        tree = descendants(command.pid)[1:]
        if any(_depth(pid) >= _depth(tree[0]) + _INNER for pid in tree):
            time.sleep(chance.uniform(0, _TRIAL))
            return descendants(tree[0]) if os.path.exists(f"/proc/{tree[0]}") else []
        time.sleep(0.0005)
    return []


def _depth(pid: int) -> int:
    """Number of PID namespaces that the process has a number in; 0 when it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/status") as file:
        return next((len(line.split()) - 1 for line in file if line.startswith("NSpid:")), 0)
    return 0


def _look(kind: str, node: Node) -> State:
    """As of lab.real.leftovers, but for what containerd itself may lose of a Pod whose caller vanishes: its shim."""
    seen = look(node)
    if kind != "pod":
        return seen
    processes = [each for each in seen["processes"] if not each.endswith(_SHIM)]
    return {name: lines for name, lines in seen.items() if "daemons" not in name} | {"processes": processes}


def _shims(node: Node) -> int:
    return len(node.names(_SHIM))


def _kill_all(kind: str, seed: str, count: int) -> Iterator[dict[str, object]]:
    with own_stage(*(["--try-pod"] if kind == "pod" else [])) as stage:
        own_look = partial(_look, kind)
        before = own_look(stage.node)
        for number in range(count):
            stage.worst, problems = 0.0, []
            try:
                KINDS[kind](stage, random.Random(f"{seed} {kind} {number}"))
                if number % _MEASURED_AGAIN == _MEASURED_AGAIN - 1:
                    stage.expect_clean()
            except BrokenError as problem:
                problems.append(str(problem))
            if kind == "nested" and number == count - 1 >= ENOUGH - 1 and not stage.hits:
                problems.append(f"none of {count} was killed during its trial of nested containers")
            left = settled(stage.node, before, own_look)
            if left and kind == "pod":
                # A runtime whose caller vanished made its container after that: the next trial sweeps, too.
                stage.expect_clean()
                left = settled(stage.node, before, own_look)
            if left:
                problems.append(f"left behind: {left}")
                before = own_look(stage.node)
            where = [f"seed {seed}, {kind} killed, number {number}: {problem}" for problem in problems]
            leftovers = sum(map(len, left.values()))
            yield {
                "worst": stage.worst,
                "problems": where,
                "leftovers": leftovers,
                "shims": _shims(stage.node),
                "worker": seed,
            }


if __name__ == "__main__":
    for line in _kill_all(sys.argv[1], sys.argv[2], int(sys.argv[3])):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
