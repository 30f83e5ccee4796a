"""A Node from the annotations that the agent published: they have levels of the default handler, and no volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from probe.pod.model import POD_LEVELS, Answer, Hazard, Node
from probe.terms import Level, Status
from probe.verdict import Verdict

PREFIX = "userns-probe.io/"
CONTRADICTION = "the agent's annotations are malformed or contradict each other"
_NOT_PUBLISHED = "the agent has published nothing about it on this Node"
_HAZARDS = ("hazard-device-hooks", "hazard-image-volumes")
_ALL_IDS = 1 << 32
_WORSE = ("ready", "unknown", "not-ready")
_NUMBER = re.compile(r"[0-9]{1,10}")


def node_of_annotations(
    annotations: Mapping[str, str],
    *,
    name: str = "",
    boot_id: str = "",
    kernel_release: str = "",
    kubelet_version: str = "",
    runtime: str = "",
    offered: Mapping[str, bool | None] = {},
    declared_features: tuple[str, ...] | None = None,
) -> Node:
    """The Node that the agent's *annotations* tell of, with what the kubelet says in `.status`.

    *Shape*: *runtime* is `.status.nodeInfo.containerRuntimeVersion`; *offered* has the name of each of
    `.status.runtimeHandlers` and its `features.userNamespaces`. Annotations of another boot than *boot_id*, malformed
    or missing, count as unknown. Whether they are too old is for the caller to say, who has a clock.
    """
    own = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
    if boot_id and own.get("boot-id") != boot_id:
        own = {}
    levels = pairs(own.get("levels", ""))
    if levels and contradicts(own.get("verdict", ""), levels):
        levels, own = {}, own | {"reason": "Malformed", "message": CONTRADICTION}
    default = answers_of_levels(levels, own.get("reason", ""), own.get("message", "") or _NOT_PUBLISHED)
    handlers = {handler: _offered(handler, able) for handler, able in offered.items()}
    if offered.get("") is not False:
        handlers[""] = default
    runtime_name, _, runtime_version = runtime.partition("://")
    ids = pairs(own.get("id-range", "")).get("ids-per-pod", "")
    return Node(
        told_by="annotations",
        name=name,
        handlers=handlers,
        handlers_complete=bool(offered),
        oci_runtimes=_oci_runtimes(own.get("oci-runtimes", "")),
        kernel_release=kernel_release,
        kubelet_version=kubelet_version,
        runtime_name=runtime_name,
        runtime_version=runtime_version,
        ids_per_pod=int(ids) if _NUMBER.fullmatch(ids) and int(ids) <= _ALL_IDS else None,
        declared_features=declared_features,
        hazards=_hazards(own.get("report", "")),
    )


def contradicts(verdict: str, levels: Mapping[str, str]) -> bool:
    """True when the annotations `verdict` and `levels` do not agree; `conclude` gives only those that do.

    The verdict is that of the last of POD_LEVELS, and no level is better than the one before, which it includes.
    """
    said = [levels.get(level, "") for level in POD_LEVELS]
    ranks = [_WORSE.index(one) if one in _WORSE else -1 for one in said]
    return -1 in ranks or ranks != sorted(ranks) or said[-1] != verdict


def answers_of_levels(levels: Mapping[str, str], reason: str, message: str) -> dict[Level, Answer]:
    """Answers for each level alone from *levels*, of which each includes the ones before."""
    answers: dict[Level, Answer] = {}
    hidden = False
    for level in POD_LEVELS:
        said: str = levels.get(level, "unknown")
        if said == "ready" and not hidden:
            answers[level] = Answer(verdict="ready")
        elif said == "not-ready" and not hidden:
            answers[level] = Answer(verdict="not-ready", reason=reason, message=message)
        else:
            answers[level] = unknown_answer(reason, message)
        hidden = hidden or said != "ready"
    return answers


def _offered(handler: str, able: bool | None) -> dict[Level, Answer]:
    """Weighs the kubelet's own claim about a handler: a denial holds, support is only claimed."""
    if able is False:
        message = "the kubelet says that " + (
            f"the handler {handler} does" if handler else "the default handler of this container runtime does"
        )
        answer = Answer(
            verdict="not-ready", reason="HandlerWithoutUserNamespaces", message=f"{message} not support user namespaces"
        )
    else:
        answer = unknown_answer("NotTried", f"{_NOT_PUBLISHED}: annotations tell of the default handler only")
    return dict.fromkeys(POD_LEVELS, answer)


def unknown_answer(reason: str, message: str) -> Answer:
    """The answer `unknown`; without a reason, because nothing was published."""
    return Answer(verdict="unknown", reason=reason or "NotTried", message=message or _NOT_PUBLISHED)


def pairs(text: str) -> dict[str, str]:
    """`key=value,key=value`; malformed ones are left out."""
    return dict(tuple(pair.split("=", 1)) for pair in text.split(",") if "=" in pair)  # type: ignore[misc]


def _oci_runtimes(text: str) -> dict[str, str]:
    """`(default)=runc/1.3.6,crun=crun/1.28`."""
    return {
        "" if handler == "(default)" else handler: runtime.partition("/")[0]
        for handler, runtime in pairs(text).items()
        if runtime != "unknown"
    }


class _Found(msgspec.Struct):
    id: str
    status: Status


class _Summary(msgspec.Struct):
    verdict: Verdict
    findings: tuple[_Found, ...]
    omitted: int = 0


def _hazards(text: str) -> dict[str, Hazard]:
    """Hazards of the `report` annotation, which lists what is not pass, unless it says that something was omitted."""
    try:
        summary = msgspec.json.decode(text, type=_Summary)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    found = {one.id: Hazard(status=one.status) for one in summary.findings if one.id.startswith("hazard-")}
    return found if summary.omitted else dict.fromkeys(_HAZARDS, Hazard(status="pass")) | found
