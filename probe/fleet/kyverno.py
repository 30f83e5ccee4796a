"""Effects on `hostUsers` of the rules of a ClusterPolicy or Policy of kyverno.io/v1. Pure.

*Source*: pkg/engine of Kyverno: validate, anchor, variables and pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from probe.fleet.cel_effects import effects_of_cel
from probe.fleet.cel_values import ABSENT, ERROR, STATES, UNKNOWN, HostUsers, absorbed
from probe.fleet.effects import FIELD, Answer, all_pass, of_answers, of_values, patched
from probe.fleet.jmespath import NOT_FOUND, substituted
from probe.fleet.matching import rule_applies_to_new_pods
from probe.fleet.rows import Effect
from probe.outputs.annotations import LABEL
from probe.pod.documents import parse_documents
from probe.untyped import at, list_of, mapping, text_of

DEPTH = 20
_SPEC = re.compile(r"[=+]?\(?(spec|template|jobTemplate)\)?")
"""Keys above the field, in the one or the other kind of object."""
_KEY = re.compile(r"([=+X<(^]?\(?)hostUsers\)?")
_WHEN_TRUE = frozenset(("notequals", "notequal", "anynotin", "allnotin", "notin"))


def effects_of_rules(spec: Any) -> Iterator[Effect]:
    """One effect of all validations together, since a Pod has to pass each, and one of each mutation."""
    errors_pass = at(spec, "failurePolicy") == "Ignore"
    columns = []
    for rule in list_of(at(spec, "rules")):
        if FIELD not in str(rule):
            continue
        if not rule_applies_to_new_pods(rule) or at(rule, "mutate", "targets") is not None:
            yield "unclear"
        elif LABEL in str(rule):
            yield "confine"
        else:
            asked = _deciding(at(rule, "preconditions"))
            applies = {state: conditions(asked, state) for state in STATES}
            validate = mapping(at(rule, "validate"))
            if "cel" in validate:
                yield from effects_of_cel(
                    at(validate, "cel", "expressions"),
                    at(validate, "cel", "variables"),
                    at(rule, "celPreconditions"),
                    errors_pass,
                )
            elif validate:
                columns.append([_admitted(validate, applies[state], state) for state in STATES])
            if "mutate" in mapping(rule):
                yield of_values(applies, {state: _mutated(at(rule, "mutate"), state) for state in STATES})
            if "generate" in mapping(rule):
                yield "unclear"
    if columns:
        yield of_answers(all_pass(columns))


def _admitted(validate: Mapping[str, Any], applies: Answer, state: HostUsers) -> Answer:
    """Whether a Pod in *state* passes the `validate` of a rule that *applies* to it."""
    passes = _passes(validate, state)
    return True if applies is False or passes is True else passes if applies is True else UNKNOWN


def _passes(validate: Mapping[str, Any], state: HostUsers) -> Answer:
    found: Answer = True
    for key, value in validate.items():
        if key == "pattern":
            one = _matches(value, state)
        elif key == "anyPattern":
            one = False
            for each in list_of(value):
                one = absorbed(one, _matches(each, state), True)
        elif key == "deny":
            denied = conditions(at(value, "conditions"), state, deny=True)
            one = not denied if isinstance(denied, bool) else UNKNOWN
        else:
            one = UNKNOWN if FIELD in str(value) and key != "message" else True
        found = absorbed(found, one, False)
    return found


def _matches(pattern: Any, state: HostUsers) -> Answer:
    """Whether a Pod in *state* passes *pattern*; one that its conditional anchors do not take passes, too."""
    found = matches(pattern, state)
    return UNKNOWN if found is False and _has_conditions(pattern) else found


def _has_conditions(pattern: Any, depth: int = 0) -> bool:
    """Whether a key is a conditional anchor, `(x)` or `<(x)`: a Pod that it does not take skips the pattern."""
    if depth > DEPTH:
        return True
    if isinstance(pattern, dict):
        anchored = any(str(key).startswith(("(", "<(")) for key in pattern)
        return anchored or any(_has_conditions(one, depth + 1) for one in pattern.values())
    return isinstance(pattern, list) and any(_has_conditions(one, depth + 1) for one in pattern)


def matches(pattern: Any, state: HostUsers, depth: int = 0) -> Answer:
    """Whether a Pod in *state* passes *pattern*: by its part on the field, and unknown by anything else in it."""
    if not isinstance(pattern, dict) or depth > DEPTH:
        return UNKNOWN
    found: Answer = True
    for key, value in pattern.items():
        if (named := _KEY.fullmatch(str(key))) is not None:
            one = _field(named[1], value, state)
        elif _SPEC.fullmatch(str(key)) and FIELD in str(value):
            one = matches(value, state, depth + 1)
        else:
            one = UNKNOWN
        found = absorbed(found, one, False)
    return found


def _field(anchor: str, value: Any, state: HostUsers) -> Answer:
    """Whether the field passes *value* under *anchor*: `=(`, only if it is set; `X(`, only if it is not."""
    if anchor == "X(":
        return state is ABSENT
    if anchor == "=(" and state is ABSENT:
        return True
    return _equals(None if state is ABSENT else state, value) if anchor in ("", "=(") else UNKNOWN


def _equals(value: Any, pattern: Any) -> Answer:
    """Whether *value*, a boolean or null, is what *pattern* takes. A null pattern takes false, too."""
    if isinstance(pattern, bool):
        return value is pattern
    if pattern is None:
        return not value
    if not isinstance(pattern, str) or "{{" in pattern or "$(" in pattern or pattern.lstrip()[:1] in ("<", ">"):
        return UNKNOWN
    word = {True: "true", False: "false"}.get(value)
    return any(all(_word(word, one.strip()) for one in part.split("&")) for part in pattern.split("|"))


def _word(word: str | None, pattern: str) -> bool:
    if word is None:
        return False
    if pattern.startswith("!"):
        return not fnmatchcase(word, pattern[1:].strip())
    return fnmatchcase(word, pattern)


def _mutated(mutate: Any, state: HostUsers) -> Any:
    """The field of a Pod in *state* after `mutate`; UNKNOWN where that is not known."""
    rest = {
        key: value for key, value in mapping(mutate).items() if key not in ("patchStrategicMerge", "patchesJson6902")
    }
    if FIELD in str(rest):
        return UNKNOWN
    if (patch := text_of(at(mutate, "patchesJson6902"))) != "":
        documents = list(parse_documents(patch.encode()))
        if len(documents) != 1 or documents[0].problem or not isinstance(documents[0].value, list):
            return UNKNOWN
        state = patched([mapping(one) for one in documents[0].value], state)
    return _merged(at(mutate, "patchStrategicMerge"), state)


def _merged(patch: Any, state: HostUsers, depth: int = 0) -> Any:
    """The field after *patch*; `+(hostUsers)` adds it only where it is absent. Any other anchor is a condition."""
    if state is UNKNOWN or FIELD not in str(patch):
        return state
    if not isinstance(patch, dict) or depth > DEPTH:
        return UNKNOWN
    for key, value in patch.items():
        if key == f"+({FIELD})" and state is not ABSENT:
            continue
        if key in (FIELD, f"+({FIELD})"):
            state = value if isinstance(value, bool) else ABSENT if value is None else UNKNOWN
        elif FIELD in str(key) or str(key).startswith(("(", "<(")):
            return UNKNOWN
        elif FIELD in str(value):
            state = _merged(value, state, depth + 1) if _SPEC.fullmatch(str(key)) else UNKNOWN
    return state


def _deciding(found: Any) -> Any:
    """`preconditions` without those that depend on other things, which are the rule's scope."""
    parts = {"all": found} if isinstance(found, list) else mapping(found)
    every = [one for one in list_of(parts.get("all")) if FIELD in str(one) or conditions([one], ABSENT) is not UNKNOWN]
    some = list_of(parts.get("any"))
    depends = FIELD in str(some) or conditions({"any": some}, ABSENT) is not UNKNOWN
    return {"all": every, "any": some if depends else []}


def conditions(found: Any, state: HostUsers, *, deny: bool = False) -> Answer:
    """Whether `preconditions`, or the conditions of `deny`, hold: `any` and `all`, or a list, all of which hold."""
    every = [_condition(one, state, deny) for one in (found if isinstance(found, list) else list_of(at(found, "all")))]
    some = [_condition(one, state, deny) for one in list_of(at(found, "any"))]
    result: Answer = True
    for one in every:
        result = absorbed(result, one, False)
    either: Answer = not some
    for one in some:
        either = absorbed(either, one, True)
    both: Answer = absorbed(result, either, False)
    return both


def _condition(one: Any, state: HostUsers, deny: bool) -> Answer:
    """A negative condition of *deny* on a field that is absent denies, by an error or by its value."""
    if mapping(one).keys() & {"any", "all"}:
        return conditions(one, state, deny=deny)
    key, value = substituted(at(one, "key"), state), substituted(at(one, "value"), state)
    operator = text_of(at(one, "operator")).lower()
    if NOT_FOUND in (key, value) or ERROR in (key, value):
        return True if deny and operator in _WHEN_TRUE and value is not UNKNOWN else UNKNOWN
    if UNKNOWN in (key, value):
        return UNKNOWN
    return compare(operator, key, value)


def compare(operator: str, key: Any, value: Any) -> Answer:
    """Whether *key* and *value*, both known, hold under *operator*, in lower case."""
    if operator in ("equals", "equal"):
        return _same(key, value)
    if operator in ("notequals", "notequal"):
        same = _same(key, value)
        return not same if isinstance(same, bool) else UNKNOWN
    if operator in ("anyin", "allin", "in", "anynotin", "allnotin", "notin"):
        keys, values = (list(map(_text, one)) if isinstance(one, list) else [_text(one)] for one in (key, value))
        if not keys or any("*" in one or "?" in one for one in (*keys, *values)):
            return UNKNOWN
        inside = [one in values for one in keys]
        return {
            "anyin": any(inside), "in": all(inside), "allin": all(inside),
            "anynotin": not all(inside), "notin": not any(inside), "allnotin": not any(inside),
        }[operator]  # fmt: skip
    return UNKNOWN


def _same(key: Any, value: Any) -> Answer:
    """As `Equals` says: values of two types are never equal."""
    if isinstance(key, bool):
        return key is value
    if isinstance(key, str) and isinstance(value, str) and "*" not in value and "?" not in value:
        return key == value
    return False if isinstance(key, str) and isinstance(value, bool) else UNKNOWN


def _text(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
