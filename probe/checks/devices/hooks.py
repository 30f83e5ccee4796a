"""Judge of hooks: a createContainer hook runs as the Pod's root, a createRuntime hook as root of the node.

Seen with runc 1.3.6, crun 1.21 and 1.28. *Source* of the rest: NVIDIA/nvidia-container-toolkit#648.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

from probe.checks.devices.fault import Circumstances, Fault, not_looked_at
from probe.checks.remedies.devices import NVIDIA_CRUN, NVIDIA_HOOK, NVIDIA_LEGACY, OPEN_HOOK
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import denied, is_closed, is_unclear, mode_of, why_nobody_starts
from probe.checks.runtime.refusals import LATE_FAILS
from probe.facts.around import Place
from probe.facts.devices.model import CdiHook
from probe.facts.runtime.oci import parse_version_number
from probe.reading import Reading

_AS_THE_POD, _IN_THE_IMAGE, _LATE, _AFTER = "createContainer", "startContainer", "poststart", "poststop"
_NVIDIA = ("nvidia-cdi-hook", "nvidia-ctk")
_NVIDIA_LEGACY = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_RUN_ONE = "Run one such Pod with hostUsers: false."
_TELLS_ROOT_AFTER = (1, 20, 0)
"""Last release whose hooks read the bundle; later ones take the container's root from crun, which alone has it."""


def is_legacy(program: str) -> bool:
    """True for NVIDIA's prestart hook, under both of its names."""
    return os.path.basename(program) in _NVIDIA_LEGACY


def judge_hook(hook: CdiHook, seen: Circumstances) -> Iterator[Fault]:
    """Faults of one hook."""
    path = inline(hook.program)
    if hook.when == _AFTER:
        return
    if hook.when == _IN_THE_IMAGE:
        yield Fault("unknown", "HookNotTried", f"the startContainer hook {path} runs a program of the image: not tried")
        return
    way = seen.way(hook.program)
    if not way or (way[0].value is None and way[0].kind != "absent"):
        yield not_looked_at("the hook", path, way[0] if way else None)
        return
    if way[0].value is None:
        late = hook.when == _LATE and seen.oci_runtime not in LATE_FAILS
        yield Fault("unknown" if late else "fails", "HookMissing", f"the {hook.when} hook {path} does not exist")
        return
    if refused := _refused(hook, seen.oci_runtime, way):
        yield refused
    elif is_legacy(hook.program):
        message = f"{path} mounts into the container from outside, which NVIDIA never supported with user namespaces"
        yield Fault("fails", "NvidiaLegacyHook", message, NVIDIA_LEGACY)
    elif hook.when == _AS_THE_POD:
        yield _as_the_pod(hook, seen)
    else:
        message = f"the {hook.when} hook {path} runs as the node's root; its work for such a Pod was not tried"
        yield Fault("unknown", "HookNotTried", message, _RUN_ONE)


def _refused(hook: CdiHook, oci_runtime: str, way: tuple[Reading[Place], ...]) -> Fault | None:
    """Fault of a program that execve(2) refuses even to root of the node. crun gives a file of no format to a shell."""
    path, late = inline(hook.program), hook.when == _LATE and oci_runtime not in LATE_FAILS
    if why := why_nobody_starts(way):
        outcome: Literal["fails", "unknown"] = "unknown" if late else "fails"
        return Fault(outcome, "HookNotExecutable", f"the {hook.when} hook {path} {why}", OPEN_HOOK)
    if way[0].value and way[0].value.defect:
        message = f"the {hook.when} hook {path} {way[0].value.defect}"
        sure = oci_runtime == "runc" or (oci_runtime == "crun" and way[0].value.lacks_a_file)
        return Fault("fails" if sure else "unknown", "HookNotExecutable", message, OPEN_HOOK)
    return None


def _as_the_pod(hook: CdiHook, seen: Circumstances) -> Fault:
    path, way = inline(hook.program), seen.way(hook.program)
    shut = [step for step in way if step.value and is_closed(step.value)]
    if shut and shut[0].value:
        message = f"the createContainer hook {path} runs as the Pod's root, which may not {denied(shut[0], way[0])}"
        evidence = mode_of(shut[0].value, shut[0].source)
        outcome: Literal["fails", "unknown"] = "unknown" if is_unclear(shut[0].value) else "fails"
        return Fault(outcome, "HookNotExecutable", message, OPEN_HOOK, evidence)
    if os.path.basename(hook.program) in _NVIDIA:
        return _nvidia(path, seen)
    message = f"the createContainer hook {path} runs as the Pod's root; its work there was not tried"
    return Fault("unknown", "HookNotTried", message, _RUN_ONE)


def _nvidia(path: str, seen: Circumstances) -> Fault:
    """NVIDIA's hook reads config.json of the bundle, which CRI-O closes to the Pod's root and containerd does not."""
    number = parse_version_number(seen.toolkit_version)
    name = f"{path}, NVIDIA container toolkit {inline(seen.toolkit_version) or 'of unknown version'},"
    if seen.runtime_name == "cri-o":
        if seen.oci_runtime == "runc" or (number and number <= _TELLS_ROOT_AFTER):
            message = f"{name} runs as the Pod's root and cannot read CRI-O's bundle, so the container does not start"
            return Fault("fails", "NvidiaHook", message, NVIDIA_CRUN)
        message = f"{name} should work with crun, as releases after 1.20.0 do; not tried here"
        return Fault("unknown", "NvidiaHook", message, NVIDIA_CRUN)
    message = f"{name} runs as the Pod's root, which NVIDIA does not support; not tried here"
    return Fault("unknown", "NvidiaHook", message, NVIDIA_HOOK)
