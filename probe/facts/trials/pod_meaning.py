"""Meaning of the results of a Pod trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from probe.facts.tried import Doubt, HandlerTrial, PodTrialFacts, doubt_of
from probe.host.oci_trial.steps import Bind
from probe.host.pod_trial.plan import MAP_LENGTH, PodAnswer, PodPlan, Role, TriedPod
from probe.reading import Reading


def judge_pods(plan: PodPlan, answer: Reading[PodAnswer]) -> Reading[PodTrialFacts]:
    """Result of the trial for each planned handler."""
    seen = answer.value
    if seen is None:
        return Reading(answer.source, None, answer.problem, answer.kind)
    if seen.obstacle and not seen.pods:
        return Reading.without(seen.obstacle.source, doubt_of(seen.obstacle.kind), seen.obstacle.problem)
    handlers = tuple(_judge_handler(plan, seen, handler) for handler in plan.handlers)
    return Reading(answer.source, PodTrialFacts(handlers=handlers, left=seen.left, seconds=seen.seconds))


def _judge_handler(plan: PodPlan, seen: PodAnswer, handler: str) -> HandlerTrial:
    pods = [pod for pod in seen.pods if pod.handler == handler]
    seconds = round(sum(call.seconds for pod in pods for call in pod.calls), 6)
    if not pods:
        why = seen.obstacle.problem if seen.obstacle else "not tried"
        kind = doubt_of(seen.obstacle.kind) if seen.obstacle else "not-tried"
        return HandlerTrial(handler=handler, result="unknown", kind=kind, reason=why)
    everything = pods[0].mounts
    full = [pod for pod in pods if pod.user_namespace and pod.mounts == everything]
    judged = [pod for pod in full if not pod.ended_by_others]
    if not judged:
        why = f"it ended or became not ready {len(full)} times before its container ran: a kubelet may have ended it"
        return HandlerTrial(handler=handler, result="unknown", kind="not-readable", reason=why, seconds=seconds)
    if ran := next((pod for pod in judged if pod.runs), None):
        return _judge_running(plan, ran, seconds)
    if not judged[0].refused:
        return _failed(judged[0], "unknown", "gave no answer about the Pod", seconds)
    controls = [pod for pod in pods if not pod.user_namespace and not pod.ended_by_others]
    return _judge_refused(plan, pods, judged, controls, seconds)


def _judge_refused(
    plan: PodPlan, pods: Sequence[TriedPod], refused: Sequence[TriedPod], controls: Sequence[TriedPod], seconds: float
) -> HandlerTrial:
    """Of a Pod that could not be made with a user namespace: is it to blame?"""
    if not controls:
        why = "refused a Pod with a user namespace; unknown whether it makes one without"
        return _failed(refused[0], "unknown", why, seconds, "unknown")
    if not controls[-1].runs:
        why = "makes no Pod in this trial, with or without a user namespace"
        return _failed(refused[0], "unknown", why, seconds, "fails" if controls[-1].refused else "unknown")
    if len(refused) < 2 or not refused[-1].refused:
        why = "refused a Pod with a user namespace once; unknown whether it always does"
        return _failed(refused[0], "unknown", why, seconds, "runs")
    if "tmpfs" in refused[-1].mounts and not _is_sandbox(refused[-1]):
        return _judge_without_tmpfs(plan, pods, refused[-1], seconds)
    why = "refuses a Pod with a user namespace, while the same Pod without one runs"
    return _failed(refused[-1], "refused", why, seconds, "runs")


def _is_sandbox(pod: TriedPod) -> bool:
    """True when the runtime failed before it came to mounts."""
    return pod.failed is not None and pod.failed.method == "RunPodSandbox"


def _judge_without_tmpfs(plan: PodPlan, pods: Sequence[TriedPod], refused: TriedPod, seconds: float) -> HandlerTrial:
    """Of a Pod whose container was refused, while one without a user namespace runs: is its tmpfs alone to blame?"""
    others = [pod for pod in pods if pod.user_namespace and pod.mounts != refused.mounts and not pod.ended_by_others]
    why = "refuses a Pod with a user namespace, while the same Pod without one runs"
    if not others or not (others[-1].runs or others[-1].refused):
        why += "; unknown whether it makes one without the tmpfs"
        return _failed(refused, "unknown", why, seconds, "runs", "tmpfs")
    if others[-1].refused:
        return _failed(refused, "refused", why, seconds, "runs")
    ran = _judge_running(plan, others[-1], seconds)
    if ran.result == "refused":
        return replace(ran, control="runs")
    why = "refuses an idmapped mount of a tmpfs, as tokens and Secrets are"
    if ran.result == "unknown":
        return _failed(refused, "unknown", f"{why}; it {ran.reason}", seconds, "runs", "tmpfs")
    why += ", while the same Pod without it runs"
    return _failed(refused, "refused", why, seconds, "runs", "tmpfs", ran.mounts)


def _failed(
    pod: TriedPod,
    result: Literal["refused", "unknown"],
    reason: str,
    seconds: float,
    control: Literal["", "runs", "fails", "unknown"] = "",
    refused_mount: Role | Literal[""] = "",
    mounts: tuple[Role, ...] = (),
) -> HandlerTrial:
    call = pod.failed
    kind: Doubt = "timed-out" if call and call.late else "not-readable"
    return HandlerTrial(
        handler=pod.handler,
        result=result,
        kind=kind if result == "unknown" else "",
        step=call.method if call else "",
        reason=reason,
        said=_clip(call.words) if call else "",
        control=control,
        mounts=mounts,
        refused_mount=refused_mount,
        seconds=seconds,
    )


def _judge_running(plan: PodPlan, pod: TriedPod, seconds: float) -> HandlerTrial:
    """Of a Pod that runs: has it the user namespace and the mappings that were asked for?"""
    result: Literal["runs", "refused", "unknown"] = "runs"
    step, reason, refused_mount, kind = "", "a Pod with a user namespace runs", "", ""
    expected = (0, plan.first_id, MAP_LENGTH)
    maps = (pod.uid_map, pod.gid_map) if pod.uid_map and pod.gid_map else ()
    if wrong := next((one for one in maps if one != expected), None):
        result, step = "refused", "uid_map"
        reason = f"silently ignores the user namespace: the container has the map {' '.join(map(str, wrong[:6]))}"
    elif pod.unseen:
        result, kind, step = "unknown", "not-readable", "uid_map"
        reason = f"made a Pod with a user namespace, which runs but could not be inspected: {pod.unseen}"
    elif ignored := next((bind for bind in pod.binds if not _is_mapped(bind, plan.first_id)), None):
        result, step = "refused", "mountinfo"
        reason = f"silently ignores the mapping of a mount of {_WHAT[ignored.name]}"
        refused_mount = "tmpfs" if ignored.name == "tmpfs" else ""
    good = tuple(role for role in pod.mounts if role != "tmpfs" or not refused_mount)
    return HandlerTrial(
        handler=pod.handler,
        result=result,
        kind=kind,  # type: ignore[arg-type]
        step=step,
        reason=reason,
        mounts=good if result == "runs" or refused_mount else (),
        refused_mount=refused_mount,  # type: ignore[arg-type]
        seconds=seconds,
    )


_WORDS = 500  # characters of what a runtime said
_WHAT = {"kubelet-root": "the kubelet's root directory", "tmpfs": "a tmpfs, as tokens and Secrets are"}


def _is_mapped(bind: Bind, first_id: int) -> bool:
    """True when the mount exists and is idmapped; owners are compared if the mapping contains them."""
    if not bind.mounted or not bind.idmapped:
        return False
    return not 0 <= bind.owner < MAP_LENGTH or bind.owner_inside == first_id + bind.owner


def _clip(words: str) -> str:
    """The runtime's words, printable and short: of Go's nested errors the cause stands at the end."""
    printable = " ".join("".join(one if one.isprintable() else " " for one in words).split())
    return printable if len(printable) <= _WORDS else f"…{printable[-_WORDS:]}"
