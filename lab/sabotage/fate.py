"""What may become of a Pod, and which Pods there are."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("plain", "token", "memory", "disk", "configmap", "hostpath")
LEVELS = {
    "stateless": ("plain",),
    "projected": ("token", "memory"),
    "local": ("disk", "configmap"),
    "volumes": ("hostpath",),
}
"""Kinds of Pods that each level promises, beside those of the levels before."""
HANDLERS = ("runc", "crun")
RUNS, FAILS, UNUSABLE = "runs", "fails", "unusable"


@dataclass(frozen=True)
class Fate:
    """What became of one Pod."""

    outcome: str  # RUNS, FAILS or UNUSABLE
    words: str = ""  # of the runtime, or what is wrong inside

    @property
    def runs(self) -> bool:
        return self.outcome == RUNS


Fates = dict[str, dict[str, Fate]]
"""Handler -> kind -> fate. The kind `host` is the control without a user namespace, when it was needed."""


def none_runs(words: str) -> Fates:
    """The fates on a node without a container runtime."""
    return {handler: dict.fromkeys(KINDS, Fate(FAILS, words)) for handler in HANDLERS}
