"""Meaning of the steps of a trial of an OCI runtime."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, get_args

from probe.facts.tried import STEP_NAMES, Blame, Doubt, RuntimeTrialFacts, StepName, TrialStep, doubt_of
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH
from probe.host.oci_trial.bundle import BUNDLES, CONTROL, DESTINATIONS
from probe.host.oci_trial.trial import Bind, Command, TrialAnswer, TrialPlan
from probe.reading import Reading

_BLAME: dict[str, Blame] = {bundle.name: blame for bundle, blame in zip(BUNDLES, get_args(Blame), strict=True)}
_WHAT = {
    "tmpfs": "an idmapped mount of a tmpfs, as tokens and Secrets are",
    "kubelet root": "an idmapped mount of the kubelet's root directory",
    "mappings of mounts": "idmapped mounts",
    "user namespace": "a user namespace",
}
_MESSAGE = re.compile(r'"msg"\s*:\s*"((?:[^"\\]|\\.)*)"')
_SCARCE = re.compile(r"no space left|temporarily unavailable|cannot allocate|too many open files|resource busy", re.I)
_STOOD_IN_THE_WAY = "an earlier step did not work"
_FULL_MAP = (0, FIRST_HOST_ID, MAP_LENGTH)
_WORDS = 400  # maximum characters of a message of the runtime


def judge_trial(plan: TrialPlan, answer: Reading[TrialAnswer], confined: str) -> Reading[RuntimeTrialFacts]:
    """Steps of a trial; *confined*, if not empty, makes a failed creation of the container unknown."""
    if answer.value and answer.value.obstacle and not answer.value.creates:
        obstacle = answer.value.obstacle
        return Reading.without(obstacle.source, doubt_of(obstacle.kind), obstacle.problem)
    return answer.parse(lambda seen: _judge(plan, seen, confined))


def _judge(plan: TrialPlan, seen: TrialAnswer, confined: str) -> RuntimeTrialFacts:
    last = seen.creates[-1] if seen.creates else None
    blame = _BLAME.get(last.bundle, "") if last and last.status == 0 else ""
    steps = [_judge_create(seen, blame, confined)]
    for name, judge in _JUDGES:
        reached = steps[0].result == "passed" and (_unfinished(name, seen) or judge(seen))
        steps.append(reached or _step(name, "not-tried", _STOOD_IN_THE_WAY))
    return RuntimeTrialFacts(binary=plan.binary, steps=tuple(steps), blame=blame, seconds=seen.seconds)


def _step(
    name: StepName,
    result: Literal["passed", "failed", "unknown", "not-tried"],
    reason: str,
    command: Command | None = None,
    kind: Doubt = "",
) -> TrialStep:
    said = parse_words(command.said) if command and result != "passed" else ""
    seconds = command.seconds if command else 0.0
    return TrialStep(name=name, result=result, kind=kind, reason=reason, said=said, seconds=seconds)


def _judge_create(seen: TrialAnswer, blame: Blame, confined: str) -> TrialStep:
    command = next(iter(seen.creates), None)
    if command is None:
        return _cut("create", seen)
    if command.status == 0:
        return _step("create", "passed", "made the container", command)
    if command.status < 0:
        return _step("create", "unknown", f"was ended by signal {-command.status}", command, "not-readable")
    if _SCARCE.search(parse_words(command.said)):
        return _step("create", "unknown", "ran out of a resource at the moment", command, "not-readable")
    if not blame:
        tried = seen.creates[-1].bundle == BUNDLES[-1].name
        if tried:
            why = "cannot make a container without a user namespace either"
        else:
            why = "refused one; unknown whether it makes any, the time was too short"
        return _step("create", "unknown", why, command, "not-readable")
    if confined:
        return _step("create", "unknown", f"refuses {_WHAT[blame]}, but {confined}", command, "not-permitted")
    return _step("create", "failed", f"refuses {_WHAT[blame]}", command)


def _unfinished(name: StepName, seen: TrialAnswer) -> TrialStep | None:
    """Unknown for the step that was cut short, `not-tried` for those after it; None for a finished step."""
    stopped = seen.under_way if seen.cut_short or seen.obstacle else ""
    if stopped not in STEP_NAMES or STEP_NAMES.index(name) < STEP_NAMES.index(stopped):
        return None
    return _cut(name, seen) if name == stopped else _step(name, "not-tried", _STOOD_IN_THE_WAY)


def _cut(name: StepName, seen: TrialAnswer) -> TrialStep:
    if seen.obstacle:
        return _step(name, "unknown", seen.obstacle.problem, kind=doubt_of(seen.obstacle.kind))
    if seen.cut_short == "timed-out":
        return _step(name, "unknown", "no answer in time", kind="timed-out")
    return _step(name, "unknown", "the trial ended there", kind="not-readable")


def _judge_maps(seen: TrialAnswer) -> TrialStep:
    for which, found in (("uid_map", seen.uid_map), ("gid_map", seen.gid_map)):
        if found != _FULL_MAP:
            text = " ".join(map(str, found[:6])) or "empty"
            return _step("maps", "failed", f"{which} of the container is {text}, not the requested one")
    return _step("maps", "passed", "the container has the requested user namespace")


def _judge_binds(seen: TrialAnswer) -> TrialStep:
    control = _control(seen)
    if missing := [bind.name for bind in seen.binds if not bind.mounted]:
        return _step("idmapped binds", "failed", f"did not mount {' and '.join(missing)}")
    if control.idmapped:
        reason = "mountinfo says idmapped even of the mount without a mapping"
        return _step("idmapped binds", "unknown", reason, kind="not-readable")
    ignored = [bind.name for bind in seen.binds if bind.name != CONTROL and not bind.idmapped]
    if ignored:
        reason = f"silently ignores the mapping of {' and '.join(ignored)}: mountinfo does not say idmapped"
        return _step("idmapped binds", "failed", reason)
    return _step("idmapped binds", "passed", "mountinfo says idmapped exactly where a mapping was requested")


def _judge_owners(seen: TrialAnswer) -> TrialStep:
    control = _control(seen)
    if control.owner_inside != control.owner:
        reason = f"even without a mapping, owner {control.owner} is seen as {control.owner_inside}"
        return _step("owners", "unknown", reason, kind="not-readable")
    mapped = [bind for bind in seen.binds if bind.name != CONTROL]
    within = [bind for bind in mapped if 0 <= bind.owner < MAP_LENGTH]
    for bind in within:
        if bind.owner_inside != FIRST_HOST_ID + bind.owner:
            reason = (
                f"owner {bind.owner} of {bind.name} is seen as {bind.owner_inside}, so it is nobody in the container"
            )
            return _step("owners", "failed", reason)
    for bind in mapped:
        if bind not in within:
            reason = f"{bind.name} belongs to UID {bind.owner}, which the mapping leaves out"
            return _step("owners", "unknown", reason, kind="not-readable")
    return _step("owners", "passed", "owners are mapped exactly where a mapping was requested")


def _judge_delete(seen: TrialAnswer) -> TrialStep:
    if seen.delete is None:
        return _cut("delete", seen)
    if seen.delete.status < 0:
        reason = f"was ended by signal {-seen.delete.status}"
        return _step("delete", "unknown", reason, seen.delete, "not-readable")
    if seen.delete.status:
        return _step("delete", "failed", f"gave up with exit status {seen.delete.status}", seen.delete)
    if not seen.gone:
        return _step("delete", "failed", "said nothing, but the container's process still runs", seen.delete)
    return _step("delete", "passed", "removed the container, and its process is gone", seen.delete)


_JUDGES: tuple[tuple[StepName, Callable[[TrialAnswer], TrialStep]], ...] = (
    ("maps", _judge_maps),
    ("idmapped binds", _judge_binds),
    ("owners", _judge_owners),
    ("delete", _judge_delete),
)


def _control(seen: TrialAnswer) -> Bind:
    if [bind.name for bind in seen.binds] != list(DESTINATIONS):
        raise ValueError("not the mounts of a trial")
    return next(bind for bind in seen.binds if bind.name == CONTROL)


def parse_words(text: str) -> str:
    """Last message of a runtime: of its last JSON record, else its last line; short and printable."""
    messages = _MESSAGE.findall(text)
    words = (text.strip().splitlines() or ["nothing"])[-1]
    if messages:
        with suppress(ValueError):
            words = str(json.loads(f'"{messages[-1]}"'))
    printable = "".join(character if character.isprintable() else " " for character in words).strip()
    return printable if len(printable) <= _WORDS else f"{printable[:_WORDS]}…"
