"""Forecast of the next restart of the container runtime: its program, its configuration, its OCI runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from probe.checks.forecasts.plan import Plan, Stop, kubelet_stops
from probe.checks.remedies.platforms import SERVICES, inline, quoted
from probe.checks.remedies.runtime import MINIMUM_RUNTIME, SERVE_CRI
from probe.checks.runtime.claims import is_able
from probe.checks.runtime.names import handler_name, oci_name
from probe.facts.around import HandlerAround, Surroundings
from probe.facts.model import Facts, Handler, RuntimeFacts
from probe.facts.runtime.model import RuntimePending
from probe.facts.runtime.oci import parse_version_number
from probe.forecast import Change
from probe.reading import Reading, problem_of

_PRINTED = "the printed configuration"


def plan_restart(facts: Facts) -> Plan:
    """Facts after the next restart of the runtime, as far as its files and programs tell them."""
    runtime = facts.runtime.value
    if runtime is None:
        return Plan(event="runtime-restart", after=facts, doubts=(facts.runtime,))
    pending = runtime.pending
    if pending.value is None:
        return Plan(event="runtime-restart", after=facts, doubts=(pending,))
    changes = tuple(_changes(runtime, pending.value))
    respecified = _is_respecified(runtime)
    after = replace(facts, runtime=Reading(facts.runtime.source, _after(runtime, pending.value)))
    plan = Plan(
        event="runtime-restart",
        after=after if changes or respecified else facts,
        changes=changes,
        doubts=tuple(_doubts(runtime, pending.value)),
        stops=tuple(_stops(pending.value)),
        pending=_pending(pending.value, respecified),
    )
    together = facts.kubelet.value is not None and facts.kubelet.value.distribution in SERVICES
    return replace(plan, stops=(*plan.stops, *kubelet_stops(plan.after))) if together else plan


def _after(runtime: RuntimeFacts, pending: RuntimePending) -> RuntimeFacts:
    told = {one.setting: one.then for one in pending.differences.value or ()}
    version = pending.version if pending.replaced and pending.version.value else runtime.version
    snapshotter = Reading(_PRINTED, told["snapshotter"]) if "snapshotter" in told else runtime.snapshotter
    return replace(
        runtime,
        version=version,
        handlers=_handlers(runtime, pending, told, version),
        snapshotter=snapshotter,
        surroundings=runtime.surroundings.parse(_as_on_disk),
    )


def _handlers(
    runtime: RuntimeFacts, pending: RuntimePending, told: dict[str, str], version: Reading[str]
) -> Reading[tuple[Handler, ...]]:
    """CRI's future answer for each handler; unknown for a runtime that begins to tell it."""
    old, new = (_tells_handlers(runtime, each) for each in (runtime.version, version))
    if not new:
        return runtime.handlers.parse(lambda _: ())
    if pending.replaced and not old:
        return Reading.without(version.source, "not-tried", f"reports its handlers only once {version.value} runs")
    default = told.get("default handler", "")

    def after(handlers: tuple[Handler, ...]) -> tuple[Handler, ...]:
        by_name = {one.name: one for one in handlers}
        if default in by_name:
            by_name[""] = replace(by_name[default], name="")
        kept = (one for one in by_name.values() if told.get(f"handler {one.name}", "kept") != "")
        return tuple(_asked_again(runtime, _on_snapshotter(runtime, one, told.get("snapshotter"))) for one in kept)

    return runtime.handlers.parse(after)


def _on_snapshotter(runtime: RuntimeFacts, handler: Handler, then: str | None) -> Handler:
    """The handler on the new snapshotter of the runtime, unless it has one of its own."""
    if then is None or handler.snapshotter.value != runtime.snapshotter.value:
        return handler
    return replace(handler, snapshotter=Reading(_PRINTED, then))


def _asked_again(runtime: RuntimeFacts, handler: Handler) -> Handler:
    """The handler with the features of the OCI runtime that was put in place since the start."""
    if not handler.binary_newer.value or handler.oci_idmap.value is None:
        return handler
    return replace(handler, user_namespaces=is_able(runtime, handler))


def _tells_handlers(runtime: RuntimeFacts, version: Reading[str]) -> bool:
    minimum = parse_version_number(MINIMUM_RUNTIME.get(runtime.name.value or "", ""))
    number = parse_version_number(version.value or "")
    return minimum is None or number is None or number >= minimum


def _as_on_disk(around: Surroundings) -> Surroundings:
    """The base specifications count as read again."""

    def again(row: HandlerAround) -> HandlerAround:
        return replace(row, added=row.added.parse(lambda added: replace(added, newer=False)))

    return replace(around, handlers=tuple(map(again, around.handlers)))


def _is_respecified(runtime: RuntimeFacts) -> bool:
    rows = runtime.surroundings.value.handlers if runtime.surroundings.value else ()
    return any(row.added.value is not None and row.added.value.newer for row in rows)


def _changes(runtime: RuntimeFacts, pending: RuntimePending) -> Iterator[Change]:
    if pending.replaced:
        yield Change(
            what=runtime.name.value or "container runtime",
            now=runtime.version.value or "not known",
            then=pending.version.value or "another version",
            source=inline(pending.executable.value or ""),
        )
    for one in pending.differences.value or ():
        then = inline(one.then) or "not configured"
        yield Change(what=inline(one.setting), now=inline(one.now) or "not configured", then=then, source=_PRINTED)
    for handler in runtime.handlers.value or ():
        again = _asked_again(runtime, handler)
        if bool(again.user_namespaces) != bool(handler.user_namespaces):
            words = {True: "offers user namespaces", False: "offers no user namespaces"}
            yield Change(
                what=handler_name(handler),
                now=words[bool(handler.user_namespaces)],
                then=f"{words[bool(again.user_namespaces)]}, by the features of {inline(oci_name(handler))} now",
                source=inline(handler.binary.value or ""),
            )


def _doubts(runtime: RuntimeFacts, pending: RuntimePending) -> Iterator[Reading[Any]]:
    if pending.replaced and pending.version.value is None:
        yield problem_of(pending.version)
    for one in pending.differences.value or ():
        if one.setting == "root" or (one.setting.startswith("handler ") and one.now and one.then):
            problem = f"{one.setting} will be {one.then}, which was not tried"
            yield Reading.without(_PRINTED, "not-tried", inline(problem))
    if pending.differences.value is None and pending.changed_file:
        problem = "may be newer than the runtime, with unknown changes"
        yield Reading.without(inline(pending.changed_file), "not-readable", problem)
    for handler in runtime.handlers.value or ():
        if handler.binary_newer.value and handler.oci_idmap.value is None:
            yield handler.oci_idmap


def _stops(pending: RuntimePending) -> Iterator[Stop]:
    if pending.refused:
        file = quoted(pending.changed_file)
        yield Stop(
            reason="RuntimeNotReady",
            message=f"the runtime will not start with its changed configuration: {inline(pending.refused)}",
            remediation=f"Correct it before the runtime restarts:\n  ls -l {file}; containerd config dump >/dev/null",
        )
    if pending.without_cri:
        yield Stop(
            reason="CriServiceMissing",
            message="the runtime will not serve CRI: disabled_plugins names its plugin",
            remediation=SERVE_CRI,
        )


def _pending(pending: RuntimePending, respecified: bool) -> str:
    if pending.replaced:
        return f"{inline(pending.executable.value or '')} was replaced since the runtime started"
    if pending.changed_file:
        return f"{inline(pending.changed_file)} may have changed since the runtime started"
    return "a base specification changed since the runtime started" if respecified else ""
