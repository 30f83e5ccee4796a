"""Type of the proof that a verdict rests upon."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Proof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proof that Pods with a user namespace run, for one life of the container runtime's daemon."""

    kind: Literal["attempts", "running-pod", "pod-trial"] = "attempts"
    """attempts: what the probe tried; running-pod: such a Pod ran; pod-trial: the runtime made one for the probe."""
    boot_id: str = ""
    runtime_pid: int | None = None
    runtime_start: int | None = None
    """Clock ticks from the kernel's start to the daemon's: starttime of proc_pid_stat(5)."""

    def is_of(self, other: Proof) -> bool:
        """True when both speak of the same daemon in the same boot."""
        return (self.boot_id, self.runtime_pid, self.runtime_start) == (
            other.boot_id,
            other.runtime_pid,
            other.runtime_start,
        )
