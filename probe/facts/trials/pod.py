"""The Pods that the node's own container runtime made on request: what is tried, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from probe.facts.defaults import BLOCK, KUBELET_ROOT
from probe.facts.filesystems.attempts import existing
from probe.facts.model import Facts, Handler, IdFacts, ProbeFacts
from probe.facts.trials.pod_meaning import judge_pods
from probe.facts.tried import PodTrialFacts, doubt_of
from probe.host.host import Host
from probe.host.pod_trial import SOURCE
from probe.host.pod_trial.plan import HANDLERS_LIMIT, MAP_LENGTH, PodPlan
from probe.host.pod_trial.trial import load as load_steps
from probe.host.pod_trial.trial import try_pods
from probe.reading import Reading, problem_of

_TIMEOUT = 30.0  # seconds for the whole trial; without a network plugin that waits for others it takes half of one
_FIRST_ID = 200 * BLOCK
_BLOCKS = 4096  # that are looked at for one of nobody's


def load() -> None:
    """Import what the trial needs: to be called before the node is entered, whose files are others."""
    import hashlib  # noqa: F401 - with OpenSSL, for the identity of the trial

    load_steps()


def gather_pod_trial(
    host: Host, enter: Callable[[], object], facts: Facts, identity: str, deadline: float
) -> Reading[PodTrialFacts]:
    """Try a Pod with each handler that claims user namespaces; *facts* are all others, and *identity* is their digest.

    *enter* brings a child into the mount namespace in which the runtime makes containers; *deadline* in seconds of
    time.monotonic().
    """
    plan = plan_pods(host, facts)
    if plan.value is None:
        return problem_of(plan)
    deadline = min(deadline, time.monotonic() + _TIMEOUT * host.slowness)
    trial = judge_pods(plan.value, try_pods(plan.value, enter, deadline, host.slowness))
    return trial.parse(lambda found: replace(found, identity=identity))


def plan_pods(host: Host, facts: Facts) -> Reading[PodPlan]:
    """Plan of the trial; a problem if there is nothing to try, `absent` if no handler claims user namespaces."""
    runtime = facts.runtime
    if runtime.value is None:
        return _not_tried(runtime, runtime.problem)
    if obstacle := _obstacle(facts.probe):
        return Reading.without(SOURCE, "not-permitted", obstacle)
    handlers, image = runtime.value.handlers, runtime.value.pause_image
    if handlers.value is None:
        return _not_tried(handlers, handlers.problem)
    chosen = tuple(_distinct(handlers.value))[:HANDLERS_LIMIT]
    if not chosen:
        return Reading.without(handlers.source, "absent", "no runtime handler claims user namespaces")
    if image.value is None:
        return _not_tried(image, f"not tried: which pause image the runtime takes is not known: {image.problem}")
    if any(one.role == "kubelet-root" and one.kind == "timed-out" for one in facts.attempts):
        return Reading.without(SOURCE, "timed-out", "not tried: the kubelet's root directory does not answer")
    kubelet_root = facts.kubelet.value.root_dir.value if facts.kubelet.value else None
    pods = existing(host, f"{kubelet_root or KUBELET_ROOT}/pods")
    if pods.value is None:
        return Reading(pods.source, None, pods.problem, pods.kind)
    first_id = free_block(facts.ids)
    if first_id is None:
        return Reading.without(SOURCE, "not-tried", "not tried: no block of IDs is free")
    plan = PodPlan(
        endpoint=runtime.value.endpoint,
        handlers=chosen,
        pause_image=image.value,
        first_id=first_id,
        pods_directory=pods.value,
    )
    return Reading(SOURCE, plan)


def free_block(ids: Reading[IdFacts]) -> int | None:
    """The first ID of a block that, as far as *ids* tell, no Pod, user or range holds; None when there is none."""
    taken = sorted(_taken(ids.value)) if ids.value else []
    for first in range(_FIRST_ID, _FIRST_ID + _BLOCKS * BLOCK, BLOCK):
        if not any(first < end and start < first + MAP_LENGTH for start, end in taken):
            return first
    return None


def _taken(ids: IdFacts) -> Iterator[tuple[int, int]]:
    """Ranges of IDs that somebody has: first, and the one after the last."""
    yield from ((one.first, one.first + one.count) for one in ids.owners.value or ())
    yield from ((one.id, one.id + 1) for one in ids.accounts.value or ())
    for file in ids.files.value or ():
        if pod := file.content.value:
            mappings = (*pod.uid_mappings, *pod.gid_mappings)
            yield from ((one.host_id, one.host_id + one.length) for one in mappings)


def _distinct(handlers: Iterable[Handler]) -> Iterator[str]:
    """Handlers that claim support, the default one first; one that runs the same as an earlier one is left out."""
    seen: set[tuple[Any, ...]] = set()
    for handler in sorted(handlers, key=lambda one: bool(one.name)):
        runs = (handler.binary.value, handler.snapshotter.value)
        if handler.user_namespaces and (runs not in seen or handler.binary.value is None):
            seen.add(runs)
            yield handler.name


def _obstacle(probe: ProbeFacts) -> str:
    """Reason why the Pod could not be planned or inspected; else empty."""
    if probe.in_initial_user_namespace.value is not True:
        return "not tried: the probe is not known to be in the initial user namespace"
    return "not tried: the probe is in a chroot" if probe.chrooted else ""


def _not_tried(reading: Reading[Any], problem: str) -> Reading[PodPlan]:
    return Reading.without(reading.source, doubt_of(reading.kind), problem)
