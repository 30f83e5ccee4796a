"""What never answers: dead FUSE servers in both ways, and programs of the node that hang, stop or talk without end."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from lab.faults import parts
from lab.faults.changes import other_program
from lab.faults.stage import Fault, Stage, demand
from lab.real import kernel
from lab.real.filesystems import CATALOG
from lab.real.fuse_server import FuseServer
from lab.real.hung_volumes import WAYS, csi_volume, pod, volume_behind, waiting_in
from lab.real.node import Probed
from lab.real.programs import write_program
from lab.waiting import wait_for

VOLUMES = 50
_LATE = ("in time", "ran out", "no answer within", "did not answer within")
_OF_VOLUMES = {
    "timed out: its FUSE server leaves requests unanswered",
    "timed out: its server does not answer",
    "timed out: an earlier attempt at it still hangs",
    "the time for this probe ran out",
}


def fifty_dead_volumes(stage: Stage, chance: random.Random) -> None:
    """Of both kinds, with budgets from the least to the default: they take what is left of it, and nothing else."""
    budget = chosen_budget(stage, chance)
    with ExitStack() as stack:
        stack.enter_context(fine_volume(stage))
        for number in range(VOLUMES):
            make = csi_volume if chance.random() < 0.5 else volume_behind
            stack.callback(shutil.rmtree, f"{stage.node.root}/{pod(number)}".removesuffix("/volumes"))
            server = stack.enter_context(make(stage.node, number))
            getattr(server, chance.choice(WAYS))()
            stack.enter_context(waiting_in(server))
        probed = stage.probe("--volume-paths", budget=budget)
        expect_of(stage, probed, budget, "ready", {"filesystem-volumes"}, _OF_VOLUMES)
        rows = probed.rows("volume")
        fine = [row for row in rows if row["path"].endswith("/last")]
        dead = [row for row in rows if row not in fine]
        judged = [row for row in dead if row["result"] != "unknown" or row["reason"] not in _OF_VOLUMES]
        demand(not judged, f"dead volumes were judged: {judged}")
        if budget == stage.budget:
            demand(len(dead) == VOLUMES, f"{len(dead)} dead volumes are told")
            demand([row["result"] for row in fine] == ["supported"], f"with nothing wrong: {fine}")
    wait_for(lambda: not stage.node.names("up "))


def dead_kubelet_root(stage: Stage, chance: random.Random) -> None:
    """The kubelet's directory lies behind a dead server; the runtime's and a tmpfs are judged all the same."""
    path = stage.node.path("fuse")
    os.mkdir(path)
    with FuseServer(path) as server:
        kernel.mount("behind", f"{path}/d", "tmpfs")
        with stage.other_kubelet(root=f"{path}/d"):
            getattr(server, chance.choice(WAYS))()
            probed = stage.probe()
            stage.expect(probed, "unknown", unknown=_NEED_THE_ROOT, cause=("imed out",), moved={"kubelet-root"})
            others = probed.rows("runtime-root") + probed.rows("tmpfs")
            demand({row["result"] for row in others} == {"supported"}, f"not judged: {others}")
    os.rmdir(path)
    wait_for(lambda: not stage.node.names("up "))


_NEED_THE_ROOT = {
    *("filesystem-kubelet-root", "filesystem-local-volumes", "filesystem-volumes", "runtime-kernel-claim"),
    "runtime-directories",
    *("ids-range", "ids-restart-forecast", "ids-slots", "hazard-mapping-ignored", "hazard-last-block"),
    *("kubelet-configuration-pending", "hazard-image-volumes"),
}

PROGRAMS = {
    "pauses": "b8220000000f05ebf7",  # pause() for ever
    "stops itself": "b8270000000f0589c7be13000000b83e0000000f05ebe9",  # kill(getpid(), SIGSTOP) for ever
    "prints without end": "b801000000bf01000000be00004000ba001000000f05ebe8",  # write(1, ...) for ever
    "dies by a signal": "0f0b",  # an instruction that does not exist
    "says nothing": "b8e700000031ff0f05",  # exit_group(0)
    "closes its output and goes on": "bf01000000b8030000000f05bf02000000b8030000000f05b8220000000f05ebf7",
}
"""x86-64 instructions of an OCI runtime that does not answer."""


def mute_runtime(stage: Stage, chance: random.Random) -> None:
    """The OCI runtime is asked what it can do, and does something else."""
    name = chance.choice(sorted(PROGRAMS))
    budget = chosen_budget(stage, chance)
    with other_program(stage) as other:
        write_program(other, PROGRAMS[name])
        stage.choose_runc(other)
        probed = stage.probe(budget=budget)
    said = ("no answer in time", "printed more", "signal", "not understood", "went on running")
    expect_of(stage, probed, budget, "unknown", parts.OCI_RUNTIME, said)


def chosen_budget(stage: Stage, chance: random.Random) -> float:
    """The default, with which all else has to be judged, at first and every second time; else one that is too short."""
    if not stage.number or chance.random() < 0.5:
        return stage.budget
    return chance.choice((1.0, 1.0, 2.0, 5.0))


def expect_of(
    stage: Stage, probed: Probed, budget: float, verdict: str, unknown: Collection[str], cause: Collection[str]
) -> None:
    """What a fault leaves unknown; with less than the default budget a busy machine may not come to all the others."""
    if budget < stage.budget:
        stage.expect(probed, verdict, "unknown", cause=(*cause, *_LATE))
    else:
        stage.expect(probed, verdict, unknown=unknown, cause=cause)


@contextmanager
def fine_volume(stage: Stage) -> Iterator[None]:
    """A volume that sorts behind all others, and with which nothing is wrong."""
    path = f"{stage.node.root}/{pod(99)}/kubernetes.io~empty-dir/last"
    os.makedirs(path)
    kernel.mount("fine", path, "tmpfs")
    try:
        yield
    finally:
        kernel.detach(path)
        shutil.rmtree(path.partition("/volumes/")[0])


FAULTS = (
    Fault(f"{VOLUMES} FUSE volumes, servers stopped or mute", 20, fifty_dead_volumes, CATALOG["fuse"].missing),
    Fault("kubelet's directory behind a dead FUSE server", 20, dead_kubelet_root, CATALOG["fuse"].missing),
    Fault("OCI runtime that hangs, stops, dies, prints without end", 50, mute_runtime),
)
