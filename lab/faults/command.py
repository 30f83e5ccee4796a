"""The real command beside hostile content: what it prints is clean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec

from lab.faults import clean
from lab.faults.stage import BUDGET, WATCHDOG, Stage, demand
from lab.real.node import CHECKOUT, Probed, environment
from probe.report import Report

HOME = ("env", "HOME=/root")
"""Without it an interpreter looks for its user in /etc/passwd before it runs a line of ours, whatever lies there."""


def probe(stage: Stage, *arguments: str) -> Probed:
    """A probe whose outputs are all clean; a second one where something did not answer in time.

    A busy machine lets that happen once. What a tenant does lets it happen again.
    """
    probed = stage.probe(*arguments, wrapper=HOME)
    if '"TimedOut"' in probed.stdout:
        probed = stage.probe(*arguments, wrapper=HOME)
    demand(probed.code in (0, 1, 2), f"exit code {probed.code}: {probed.stderr[-300:]!r}")
    try:
        clean.check_all(msgspec.json.decode(probed.stdout, type=Report))
    except AssertionError as error:
        demand(False, f"not clean: {error}")
    return probed


def try_paths(stage: Stage, paths: Sequence[bytes]) -> None:
    """Raise BrokenError unless each path gets one line in which nothing could do harm on a terminal."""
    command = stage.node.inside(sys.executable, "-m", "probe", "path", "--")
    done = subprocess.run(
        [*map(str.encode, command), *paths],
        cwd=CHECKOUT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=BUDGET + WATCHDOG,
        check=False,
    )
    demand(done.returncode in (0, 1, 2), f"exit code {done.returncode} for {paths}: {done.stderr[-300:]!r}")
    demand(not done.stderr, f"said {done.stderr[-300:]!r} on stderr")
    text = done.stdout.decode()
    demand(text.count("\n") == len(paths), f"{len(paths)} paths gave {text!r}")
    try:
        clean.demand_visible(text)
    except AssertionError as error:
        demand(False, f"not clean: {error}")
