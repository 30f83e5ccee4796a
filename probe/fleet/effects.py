"""The effect of a policy on `hostUsers`, from what it does to each of the three values that a Pod may say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probe.fleet.cel_values import ABSENT, UNKNOWN, HostUsers, Special, absorbed
from probe.fleet.rows import Effect

FIELD = "hostUsers"
PATHS = tuple(f"/{above}/hostUsers" for above in ("spec", "spec/template/spec", "spec/jobTemplate/spec/template/spec"))
"""JSON pointers to the field, in the one or the other kind of object."""

Answer = bool | Special


def all_pass(columns: Iterable[Sequence[Answer]]) -> list[Answer]:
    """For each state, whether a Pod is admitted by all of *columns*."""
    found: list[Answer] = [True, True, True]
    for column in columns:
        found = [absorbed(left, right, False) for left, right in zip(found, column, strict=True)]
    return found


def of_answers(admitted: Sequence[Answer]) -> Effect:
    """By whether a Pod without the field, with true and with false is admitted, if it suits the policy otherwise."""
    absent, true, false = admitted
    if false is not False and absent is False and true is False:
        return "require"
    return "forbid" if false is False and absent is not False else "unclear"


def of_values(applies: Mapping[HostUsers, Answer], sets: Mapping[HostUsers, Any]) -> Effect:
    """By what a mutation makes of the field in each state: a value, ABSENT, or UNKNOWN."""
    if applies[ABSENT] is True and sets[ABSENT] is False and (applies[False] is False or sets[False] is False):
        return "default"
    return "forbid" if applies[False] is True and sets[False] in (True, ABSENT) else "unclear"


def patched(operations: Iterable[Mapping[str, Any]], state: HostUsers) -> Any:
    """The field after the *operations* of a JSON patch. *Source*: RFC 6902: what cannot be removed is an error."""
    for one in operations:
        path, operation, value = one.get("path"), one.get("op"), one.get("value")
        if not isinstance(path, str):
            return UNKNOWN
        if path in PATHS:
            if operation == "remove" and state is not ABSENT:
                state = ABSENT
            elif isinstance(value, bool) and (operation == "add" or (operation == "replace" and state is not ABSENT)):
                state = value
            else:
                return UNKNOWN
        elif any(own.startswith(f"{path}/") for own in PATHS):
            return UNKNOWN
    return state
