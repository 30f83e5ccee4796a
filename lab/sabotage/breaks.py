"""All ways to break a node, in one table."""

from __future__ import annotations

from dataclasses import replace

from lab.sabotage import daemon_breaks as daemon
from lab.sabotage import given_breaks as given
from lab.sabotage import node_breaks as node
from lab.sabotage import option_breaks as options
from lab.sabotage import place_breaks as places
from lab.sabotage import runtime_breaks as runtime
from lab.sabotage import start_breaks as start
from lab.sabotage.row import Break

ONLY_TRIAL = {
    **dict.fromkeys(("runc-lies", "crun-lies"), "what the program says of itself is true of the one that it replaced"),
    **dict.fromkeys(("shim-fails", "cni-plugin-fails"), "what a program does is known once it has run"),
    "runc-drops-capabilities": "what the program says of itself is true of the one that it runs",
    "landlock-alone": "the kernel shows no Landlock domain of another process",
    "pause-image-gone": "whether the runtime can pull its pause image is known once it has",
    "pause-layer-emptied": "what a layer contains is not looked at",
    "hook-fails": "what a program does is known once it has run",
    "hook-inside-fails": "what a program does is known once it has run",
    "hook-only-for-mapped-root": "what a program does is known once it has run",
}
"""Breaks that change nothing that can be read."""
CONTROL = Break("nothing", "control")
_ALL = (
    CONTROL,
    *node.PROC, *node.SYS, *node.MODES, *node.DEVICES, *node.TMP,
    *node.KUBELET_ROOTS, *node.RUNTIME_ROOTS, *node.STATES, *node.FULL,
    *places.PLACES,
    *daemon.LIMITS, *daemon.CAPABILITIES, *daemon.CONFINED, *daemon.SYSTEMD, *daemon.UMASKS, *daemon.DAEMONS,
    *runtime.PROGRAMS, *runtime.CONFIGURATIONS, *runtime.SPECIFICATIONS, *runtime.HOOKS,
    *runtime.SPELLED, *runtime.SYSCTLS, *places.SUBVOLUMES,
    *options.OPTIONS, *options.MOUNTS, *start.STARTED, *start.HOOKS_STARTED,
    *given.GIVEN,
)  # fmt: skip
BREAKS = tuple(replace(each, only_trial=ONLY_TRIAL.get(each.name, "")) for each in _ALL)
BY_NAME = {each.name: each for each in BREAKS}
