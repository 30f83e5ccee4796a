"""Kernel modules that a probe asks for: none, on a kernel that has them, and writes down what it is asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.faults import parts
from lab.faults.stage import Stage, demand
from lab.real import kernel

HELPER = Path("/proc/sys/kernel/modprobe")
_DIRECTORY = Path("/run/userns-probe-test-modules")
_UNKNOWN = "userns-probe-nothing"
"""A file system of which no kernel has heard."""
_TRIALS = {"sandbox-trial", "runtime-trial"}
_LATE = parts.PROGRAMS | parts.SANDBOX | _TRIALS
"""What a slow machine may leave unanswered."""


def no_module_is_requested(stage: Stage, chance: random.Random) -> None:
    """With all trials, and not even in vain; nor has any come or gone."""
    with requests() as requested:
        with suppress(OSError):
            kernel.mount("none", str(_DIRECTORY), _UNKNOWN)
        demand(requested() == [f"fs-{_UNKNOWN}"], f"a kernel that is asked for a module asks for {requested()}")
        before = loaded()
        for _ in range(stage.tries):  # until both trials were made
            probed = stage.probe("--try-runtime")
            stage.expect(probed, "ready", "unknown", unknown=_LATE, cause=("in time",), right=_TRIED)
            if {probed.finding(trial)["status"] for trial in _TRIALS} == {"pass"}:
                break
        else:
            demand(False, "the trials were never made: nothing is shown")
        demand(not requested()[1:], f"modules were requested: {requested()[1:]}")
        demand(loaded() == before, f"modules came or went: {loaded() ^ before}")


_TRIED = {"runtime-trial": {"pass"}}


def loaded() -> set[str]:
    """The modules that are there now, as both lists of the kernel name them."""
    with open("/proc/modules") as file:
        return {line.split()[0] for line in file} | {f"/sys/module/{name}" for name in os.listdir("/sys/module")}


@contextmanager
def requests() -> Iterator[Callable[[], list[str]]]:
    """What tells which modules the kernel has asked for since; none of them is loaded."""
    before, script, log = HELPER.read_text(), _DIRECTORY / "modprobe", _DIRECTORY / "requested"
    _DIRECTORY.mkdir()
    # The kernel calls it as `modprobe -q -- NAME`.
    script.write_text(f'#!/bin/sh\nfor name; do :; done\necho "$name" >>{log}\nexit 1\n')
    script.chmod(0o755)
    log.touch()
    try:
        HELPER.write_text(str(script))
        yield lambda: log.read_text().splitlines()
    finally:
        HELPER.write_text(before)
        for file in (script, log):
            with suppress(FileNotFoundError):
                file.unlink()
        _DIRECTORY.rmdir()
