"""Effects of CEL policies on `hostUsers`. Pure.

Expressions are evaluated for the three values that a Pod may say; what depends on anything else is `unclear`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from probe.fleet.cel import evaluate, value_of
from probe.fleet.cel_values import ABSENT, ERROR, NOTHING, STATES, UNKNOWN, HostUsers, Known, Made
from probe.fleet.effects import FIELD, Answer, all_pass, of_answers, of_values, patched
from probe.fleet.matching import looks_at_pods
from probe.fleet.rows import Effect
from probe.outputs.annotations import LABEL
from probe.untyped import at, list_of, text_of

_SPECS = (("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec"))
NEW_POD: Known = {
    ("object", "kind"): "Pod",
    ("request", "operation"): "CREATE",
    ("request", "kind", "kind"): "Pod",
    ("request", "resource", "resource"): "pods",
    ("oldObject",): None,
}
"""Facts of a Pod that is created."""
_VARIABLE = re.compile(r"\bvariables\s*\.\s*([A-Za-z_]\w*)")


class _Rules(Struct, frozen=True):
    """Expressions of a policy, and what they share."""

    validations: Sequence[str]
    mutations: Sequence[str]
    variables: Mapping[str, str]
    conditions: Sequence[str]
    """All of which have to hold for the policy to apply."""
    known: Known
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
        return tuple(evaluate(text, self.variables, state, self.known) for state in STATES)

    def applies(self) -> dict[HostUsers, Answer]:
        """Whether the policy applies to a Pod in each state; conditions that depend on other things are its scope."""
        columns = [answers for one in self.conditions if set(answers := self.answers(one)) != {UNKNOWN}]
        found = {state: [answers[index] for answers in columns] for index, state in enumerate(STATES)}
        worst = (False, ERROR, UNKNOWN)
        return {state: next((one for one in worst if one in answers), True) for state, answers in found.items()}


def effects_of_spec(spec: Any) -> Iterator[Effect]:
    """Effects of the validations and mutations of a policy."""
    yield from _effects(_rules(spec))


def effects_of_cel(
    validations: Any, variables: Any, conditions: Any, errors_pass: bool, known: Known = NEW_POD
) -> Iterator[Effect]:
    """Effects of validations of CEL in a rule of Kyverno."""
    texts, shared = _expressions(validations), _variables(variables)
    yield from _effects(_Rules(texts, (), shared, _expressions(conditions), known, errors_pass))


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
        known=NEW_POD if looks_at_pods(spec) else NOTHING,
        errors_pass=at(spec, "failurePolicy") == "Ignore",
    )


def _effects(rules: _Rules) -> Iterator[Effect]:
    """One effect of all validations together, since a Pod has to pass each, and one of each mutation."""
    applies = rules.applies()
    columns = []
    for text in rules.validations:
        whole = rules.whole(text)
        admitted = [_admitted(rules, *one) for one in zip(applies.values(), rules.answers(text), strict=True)]
        if LABEL in whole:
            yield "confine"
        elif FIELD in whole or {True, False} <= set(admitted):
            columns.append(admitted)
    if columns:
        yield of_answers(all_pass(columns))
    for text in rules.mutations:
        whole = rules.whole(text)
        if LABEL in whole:
            yield "confine"
        elif FIELD in whole:
            yield of_values(applies, {state: sets(text, rules.variables, state, rules.known) for state in STATES})


def _admitted(rules: _Rules, applies: Answer, answer: Answer) -> Answer:
    """Whether a Pod is admitted by a validation that says *answer* of it."""
    passes = rules.errors_pass if answer is ERROR else answer
    if applies is ERROR:
        return rules.errors_pass
    return True if applies is False or passes is True else passes if applies is True else UNKNOWN


def sets(text: str, variables: Mapping[str, str], state: HostUsers, known: Known = NEW_POD) -> Any:
    """The field of a Pod in *state* after the mutation *text*; UNKNOWN where that is not known."""
    found = value_of(text, variables, state, known)
    if isinstance(found, Made):
        return _applied(found, state)
    if not isinstance(found, list) or not all(isinstance(one, Made) for one in found):
        return UNKNOWN
    return patched([one.fields for one in found], state)


def _applied(configuration: Made, state: HostUsers) -> Any:
    """The field after *configuration* (ApplyConfiguration) was merged."""
    for path in _SPECS:
        inner: Any = configuration
        for name in path:
            inner = inner.fields.get(name, ABSENT) if isinstance(inner, Made) else inner
        if not isinstance(inner, Made):
            if inner is not ABSENT:
                return UNKNOWN
            continue
        if "" in inner.fields:
            return UNKNOWN
        if (found := inner.fields.get(FIELD, ABSENT)) is not ABSENT:
            return found if isinstance(found, bool) else UNKNOWN
    return state


def _expressions(values: Any) -> list[str]:
    return [text for one in list_of(values) if (text := text_of(at(one, "expression")))]


def _variables(values: Any) -> dict[str, str]:
    return {text_of(at(one, "name")): text_of(at(one, "expression")) for one in list_of(values)}
