"""All ways to break a node, in one table."""

from __future__ import annotations

from lab.sabotage import daemon_breaks as daemon
from lab.sabotage import node_breaks as node
from lab.sabotage import runtime_breaks as runtime
from lab.sabotage.row import Break

CONTROL = Break("nothing", "control")
BREAKS = (
    CONTROL,
    *node.PROC, *node.SYS, *node.MODES, *node.DEVICES, *node.TMP,
    *node.KUBELET_ROOTS, *node.RUNTIME_ROOTS, *node.STATES, *node.FULL,
    *daemon.LIMITS, *daemon.CAPABILITIES, *daemon.CONFINED, *daemon.SYSTEMD, *daemon.UMASKS, *daemon.DAEMONS,
    *runtime.PROGRAMS, *runtime.CONFIGURATIONS, *runtime.SPECIFICATIONS,
)  # fmt: skip
BY_NAME = {each.name: each for each in BREAKS}
