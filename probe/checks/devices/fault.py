"""Types that the judges of device nodes, mounts and hooks share."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from probe.checks.runtime.names import find_handler
from probe.devices import DeviceReason
from probe.facts.defaults import BLOCK
from probe.facts.devices.model import DeviceFacts, Way
from probe.facts.devices.toolkit import is_nvidia_runtime, mode_by_name
from probe.facts.model import Facts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence
from probe.reading import Reading


class Fault(Struct, frozen=True):
    """One reason why a device fails, or why that is unknown."""

    outcome: Literal["fails", "unknown"]
    reason: DeviceReason
    message: str
    remediation: str = ""
    evidence: Evidence | None = None


class Circumstances(Struct, frozen=True, kw_only=True):
    """Facts that the judges need beside the edits themselves."""

    handler: str
    devices: DeviceFacts
    oci_runtime: str
    """`runc`, `crun`, or empty where it is not known."""
    oci_version: tuple[int, int, int] | None
    runtime_name: str
    toolkit_version: str
    ids_per_pod: int
    """Number of IDs of a Pod, of which the lowest is 0."""
    nvidia_runtime: bool
    """True when NVIDIA's runtime stands before the OCI runtime, and changes the specification itself."""
    nvidia_mode: str = ""
    """Mode in the name of NVIDIA's runtime; empty where its configuration has it."""
    problem: str = ""
    """Reason why no OCI runtime like runc is known for the handler."""

    def way(self, path: str) -> Way:
        """The file at *path* and the directories above it; empty where the probe did not look."""
        return self.devices.ways.get(path, ())


def circumstances_of(facts: Facts, devices: DeviceFacts, name: str) -> Circumstances:
    """Circumstances of Pods of the handler *name*, empty for the default one."""
    handler, runtime, kubelet = find_handler(facts, name), facts.runtime.value, facts.kubelet.value
    problem = ""
    if handler is None:
        problem = "the container runtime has no such handler" if runtime else "no container runtime answers"
    elif handler.binary.kind == "absent":
        problem = "the handler runs no OCI runtime like runc"
    elif handler.oci_runtime.value not in ("runc", "crun"):
        problem = f"its OCI runtime is {handler.oci_runtime.value or 'not known'}"
    return Circumstances(
        handler=name,
        devices=devices,
        oci_runtime=(handler.oci_runtime.value or "") if handler and not problem else "",
        oci_version=parse_version_number(handler.oci_version.value or "") if handler else None,
        runtime_name=(runtime.name.value or "") if runtime else "",
        toolkit_version=devices.toolkit.version.value or "",
        ids_per_pod=(kubelet.ids_per_pod.value if kubelet else None) or BLOCK,
        nvidia_runtime=handler is not None and is_nvidia_runtime(handler),
        nvidia_mode=mode_by_name(handler.binary.value or "") if handler else "",
        problem=problem,
    )


def not_looked_at(what: str, path: str, reading: Reading[Any] | None) -> Fault:
    """Unknown, because the file at *path* was not seen."""
    why = f"{reading.problem}" if reading is not None else "the probe did not look at it"
    return Fault("unknown", "NotReadable", f"unknown whether {what} {path} can be used: {why}")
