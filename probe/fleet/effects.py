"""What an admission policy does to `hostUsers`, from its spec. Pure.

Expressions are evaluated for the three values that a Pod may say; what depends on anything else is `unclear`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from probe.fleet.cel import evaluate, made
from probe.fleet.cel_values import ABSENT, ERROR, STATES, UNKNOWN, HostUsers, Special
from probe.fleet.inventory import Effect
from probe.outputs.annotations import LABEL
from probe.untyped import at, list_of, mapping, text_of

FIELD = "hostUsers"
_SETS = {
    value: re.compile(
        rf"hostUsers[\"']?(?::|,value:){word}(?![^,}}\n])|value:{word},(?:op:[\"']\w+[\"'],)?path:[\"']/spec/hostUsers"
    )
    for value, word in ((False, "false"), (True, "true"))
}
"""Value -> an object, or a JSONPatch, that sets it."""
_SETS_NOTHING = re.compile(r"op:[\"'](?:test|remove)")
_REPLACES = re.compile(r"op:[\"']replace")
"""It fails where nothing is. *Source*: RFC 6902, 4.3."""
_VARIABLE = re.compile(r"\bvariables\s*\.\s*([A-Za-z_]\w*)")

Answer = bool | Special


class _Rules(Struct, frozen=True):
    """Expressions of a policy, and what they share."""

    validations: Sequence[str]
    mutations: Sequence[str]
    variables: Mapping[str, str]
    conditions: Sequence[str]
    """All of which have to hold for the policy to apply."""
    errors_pass: bool = False
    """Whether an expression that fails admits the Pod (`failurePolicy: Ignore`)."""

    def whole(self, text: str) -> str:
        """*text* with the expressions of all variables that it needs."""
        found, waiting = {"": text}, [text]
        while waiting:
            for name in _VARIABLE.findall(waiting.pop()):
                if name not in found:
                    found[name] = self.variables.get(name, "")
                    waiting.append(found[name])
        return "\n".join(found.values())

    def answers(self, text: str) -> tuple[Answer, ...]:
        """The answer of *text* for each of STATES."""
        return tuple(evaluate(text, self.variables, state) for state in STATES)

    def applies(self) -> dict[HostUsers, Answer]:
        """Whether the policy applies to a Pod in each state; conditions that depend on other things are its scope."""
        columns = [answers for one in self.conditions if set(answers := self.answers(one)) != {UNKNOWN}]
        found = {state: [answers[index] for answers in columns] for index, state in enumerate(STATES)}
        worst = (False, ERROR, UNKNOWN)
        return {state: next((one for one in worst if one in answers), True) for state, answers in found.items()}


def effect_of(spec: Any) -> Effect:
    """Effect on which all parts of the policy that mention the field agree."""
    found = {*_effects(_rules(spec))}
    for rule in list_of(at(spec, "rules")):
        found |= {*_of_kyverno(rule)}
    return found.pop() if len(found) == 1 else "unclear"


def _rules(spec: Any) -> _Rules:
    return _Rules(
        validations=_expressions(at(spec, "validations")),
        mutations=[
            text
            for mutation in list_of(at(spec, "mutations"))
            for how in ("jsonPatch", "applyConfiguration")
            if (text := text_of(at(mutation, how, "expression")))
        ],
        variables=_variables(at(spec, "variables")),
        conditions=_expressions(at(spec, "matchConditions")),
        errors_pass=at(spec, "failurePolicy") == "Ignore",
    )


def _effects(rules: _Rules) -> Iterator[Effect]:
    applies = rules.applies()
    for text in rules.validations:
        whole = rules.whole(text)
        admitted = [_admitted(rules, *one) for one in zip(applies.values(), rules.answers(text), strict=True)]
        if LABEL in whole:
            yield "confine"
        elif FIELD in whole or {True, False} <= set(admitted):
            yield _of_answers(admitted)
    for text in rules.mutations:
        whole = rules.whole(text)
        if LABEL in whole:
            yield "confine"
        elif FIELD in whole:
            yield _of_mutation(rules, applies, text)


def _admitted(rules: _Rules, applies: Answer, answer: Answer) -> Answer:
    """Whether a Pod is admitted by a validation that says *answer* of it."""
    passes = rules.errors_pass if answer is ERROR else answer
    if applies is ERROR:
        return rules.errors_pass
    return True if applies is False or passes is True else passes if applies is True else UNKNOWN


def _of_answers(admitted: Sequence[Answer]) -> Effect:
    """By whether a Pod without the field, with true and with false is admitted."""
    absent, true, false = admitted
    if false is True and absent is False and true is False:
        return "require"
    return "forbid" if false is False and absent is True else "unclear"


def _of_mutation(rules: _Rules, applies: Mapping[HostUsers, Answer], text: str) -> Effect:
    if applies[ABSENT] is True and _sets(rules, text, ABSENT) == {False}:
        return "default"
    return "forbid" if applies[False] is True and _sets(rules, text, False) == {True} else "unclear"


def _sets(rules: _Rules, text: str, state: HostUsers) -> set[bool]:
    """What the mutation sets the field to in a Pod in *state*; both, or neither, where that is not known."""
    objects = made(text, rules.variables, state)
    unfit = [_SETS_NOTHING, _REPLACES] if state is ABSENT else [_SETS_NOTHING]
    plain = "\n".join(one for one in objects or () if not any(form.search(one) for form in unfit))
    return {value for value, form in _SETS.items() if form.search(plain)}


def _of_kyverno(rule: Any) -> Iterator[Effect]:
    """Of a rule of a ClusterPolicy or Policy of kyverno.io/v1: patterns, strategic merge patches and CEL."""
    for found in _values(at(rule, "validate", "pattern")):
        yield "require" if found is False else "forbid" if found is True else "unclear"
    for found in _values(at(rule, "mutate", "patchStrategicMerge")):
        yield "default" if found is False else "forbid" if found is True else "unclear"
    cel = at(rule, "validate", "cel")
    conditions = _expressions(at(rule, "celPreconditions"))
    yield from _effects(_Rules(_expressions(at(cel, "expressions")), (), _variables(at(cel, "variables")), conditions))
    known = {"validate": ("pattern", "cel"), "mutate": ("patchStrategicMerge",)}
    for part, names in known.items():
        rest = {key: value for key, value in mapping(at(rule, part)).items() if key not in names and key != "message"}
        if FIELD in str(rest):
            yield "unclear"
    if FIELD in str([at(rule, name) for name in ("preconditions", "context", "generate")]):
        yield "unclear"


def _values(pattern: Any, depth: int = 0) -> Iterator[Any]:
    """Values of the keys `hostUsers` and `+(hostUsers)` in *pattern*; None for any other anchor, such as `=()`.

    `X(hostUsers)` takes only Pods without the field, and counts as true.
    """
    if depth > 20:
        return
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            if isinstance(key, str) and re.fullmatch(r"hostUsers|\+\(hostUsers\)", key):
                yield value
            elif key == "X(hostUsers)":
                yield True
            elif isinstance(key, str) and FIELD in key:
                yield None
            else:
                yield from _values(value, depth + 1)
    elif isinstance(pattern, list):
        for one in pattern:
            yield from _values(one, depth + 1)


def _expressions(values: Any) -> list[str]:
    return [text for one in list_of(values) if (text := text_of(at(one, "expression")))]


def _variables(values: Any) -> dict[str, str]:
    return {text_of(at(one, "name")): text_of(at(one, "expression")) for one in list_of(values)}
