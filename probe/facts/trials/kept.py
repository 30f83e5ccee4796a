"""The trial of an earlier probe of `watch`, which stands for another one where nothing that it met has changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from probe.facts.around import KubeletAround, Surroundings
from probe.facts.model import Facts
from probe.facts.tried import PodTrialFacts
from probe.host.look import UNSEEN
from probe.host.places import Place
from probe.host.recording import Source
from probe.reading import Reading, encode

KEPT_FOR = 6 * 3600.0
"""Seconds: what a Pod meets in a network plugin or a hook is not known by files alone."""

_SCARCE_BYTES = 16 << 20
_SCARCE_INODES = 1000
_SCARCE_PROCESSES = 1000
_SCARCE_FILES = 1024
_KINDS = ("file", "link", "place")
_KERNEL_FILE = re.compile(r"/(?:proc|sys)/(?!\d+/(?:root|exe)(?:/|$))")


class KeptTrial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trial and when it was made."""

    at: float
    """Seconds of CLOCK_BOOTTIME."""
    trial: PodTrialFacts

    def of(self, identity: str) -> Reading[PodTrialFacts] | None:
        """The trial, if it is young enough and met a node of that *identity*."""
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - self.at
        if not identity or self.trial.identity != identity or not 0 <= age < KEPT_FOR:
            return None
        return Reading("pod trial of an earlier probe", replace(self.trial, kept=True))


def identity_of(facts: Facts, sources: Iterable[Source]) -> str:
    """Digest of all that is known of what a Pod of the trial meets; empty where something of it is scarce or unseen.

    *sources* are looks at the files that the probe has read: programs and configurations among them.
    """
    runtime, kubelet, mounts = facts.runtime.value, facts.kubelet.value, facts.mounts.value
    around = runtime.surroundings.value if runtime else None
    if runtime is None or around is None or kubelet is None or mounts is None or _is_scarce(around, facts):
        return ""
    files = sorted(one for one in sources if one[0] in _KINDS and not _KERNEL_FILE.match(one[1]))
    if any(seen == UNSEEN for *_, seen in files):  # it may change and look the same
        return ""
    met: tuple[Any, ...] = (
        facts.kernel,
        replace(mounts, count=0),
        replace(facts.user_namespace, reason=""),
        replace(runtime, surroundings=Reading(runtime.surroundings.source, _without_room(around))),
        kubelet.root_dir,
        [one for one in facts.attempts if one.role != "volume"],
        [(step.name, step.result, step.errno) for step in facts.sandbox.value.steps] if facts.sandbox.value else None,
        facts.hooks,
        files,
    )
    from hashlib import sha256

    return sha256(encode(met)).hexdigest()


def keep(facts: Facts, before: KeptTrial | None) -> KeptTrial | None:
    """A trial that the next probe may take for its own: the Pod ran in it, and every other handler had an answer."""
    trial = facts.pod_trial.value
    if trial is None or not trial.identity:
        return None
    if trial.kept:
        return before
    default = trial.of("")
    decided = all(one.result != "unknown" for one in trial.handlers)
    if default is None or default.result != "runs" or not decided or trial.left:
        return None
    return KeptTrial(at=time.clock_gettime(time.CLOCK_BOOTTIME), trial=trial)


def _is_scarce(around: Surroundings, facts: Facts) -> bool:
    """Whether so little is left of something that the next Pod may find nothing."""
    kubelet: KubeletAround | None = facts.kubelet_around.value
    readings = [around.state_dir, around.root_dir, around.temporary, around.cni_cache, *around.folders, around.logs_dir]
    readings += [kubelet.root_dir, kubelet.pods_dir, kubelet.logs_dir] if kubelet else []
    places = [one.value for one in readings if one.value]
    processes = around.daemon.value.pids_left.value if around.daemon.value else None
    few = processes is not None and processes < _SCARCE_PROCESSES
    files = around.files_left.value
    return few or (files is not None and files < _SCARCE_FILES) or any(map(_is_nearly_full, places))


def _is_nearly_full(place: Place) -> bool:
    return bool(place.size and place.free_bytes < _SCARCE_BYTES) or bool(
        place.inodes and place.free_inodes < _SCARCE_INODES
    )


def _without_room(around: Surroundings) -> Any:
    """As built-in types, without the numbers that each Pod changes."""
    found = msgspec.to_builtins(around)
    _forget(found)
    return found


_NUMBERS = ("free_bytes", "free_inodes", "pids_left", "pods_left", "files_left")


def _forget(value: Any) -> None:
    if isinstance(value, dict):
        for name in _NUMBERS:
            value.pop(name, None)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _forget(each)
