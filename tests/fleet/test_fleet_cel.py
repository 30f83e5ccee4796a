"""CEL on `hostUsers`: what it says is what Google's CEL says; the rest is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from lab.deploy import cel as real
from probe.fleet.cel import evaluate
from probe.fleet.cel_values import ABSENT, ERROR, STATES, UNKNOWN, Special
from probe.fleet.policies import effect_of

FIELD = "object.spec.hostUsers"
ATOMS = (
    FIELD, f"has({FIELD})", "object.spec.?hostUsers.orValue(true)", "object.?spec.?hostUsers.orValue(false)",
    "object.spec.?hostUsers.hasValue()", "object.spec.?hostUsers.value()", "object.spec['hostUsers']",
    "object.spec[?'hostUsers'].orValue(true)", "'hostUsers' in object.spec", f"{FIELD} in [false]", "true", "false",
    "object.metadata.name == 'x'", "object.spec.containers.all(c, c.name != 'x')", f"dyn({FIELD})",
    "object.spec.?nodeName.orValue('') != ''", "object.spec.?hostUsers == optional.of(false)",
    "object.spec.?hostUsers != optional.none()", f"optional.of({FIELD}).hasValue()", "object.metadata.missing == 'x'",
    "optional.of([object.metadata.missing]).hasValue()", "'a' + 'b' == 'ab'", "'a' in ['a', 'b']",
    "object.metadata.name + 'b' == 'ab'", "'x' + object.metadata.missing == 'x'",
)  # fmt: skip
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({0}) {2} ({1})".format, inner, inner, st.sampled_from(("&&", "||", "==", "!="))),
        st.builds("!({})".format, inner),
        st.builds("-(dyn({}))".format, inner),
        st.builds("({}) ? ({}) : ({})".format, inner, inner, inner),
    ),
    max_leaves=6,
)


def really(text: str, state: Any) -> bool | Special | None:
    """What Google's CEL says; None: neither a boolean nor an error."""
    spec = {"containers": [{"name": "y"}]} | ({} if state is ABSENT else {"hostUsers": state})
    try:
        found = real.evaluate(text, {"object": {"metadata": {"name": "y"}, "spec": spec}})
    except real.Failed:
        return ERROR
    return found if isinstance(found, bool) else None


@given(EXPRESSIONS, st.sampled_from(STATES))
def test_as_cel_says(text: str, state: Any) -> None:
    """Whatever is known is what an API server finds, of expressions that it compiles."""
    found = evaluate(text, {}, state)
    if found is not UNKNOWN:
        try:
            expected = really(text, state)
        except RuntimeError:
            reject()
        assert found is expected


@pytest.mark.parametrize("text", [one for one in ATOMS if "hostUsers" in one])
def test_what_is_known(text: str) -> None:
    """Each way to name the field is understood."""
    for state in STATES:
        assert evaluate(text, {}, state) is really(text, state)


@given(st.text(alphabet="(){}[]!&|=?:.,' \n\\\"/abc1") | st.text())
def test_any_text(text: str) -> None:
    """What is not CEL, or more than is understood, has no answer, and ends."""
    for variables in ({}, {"a": text}):
        assert evaluate(text, variables, False) in (True, False, ERROR, UNKNOWN)


@pytest.mark.parametrize("text", ["(" * 3000, "!" * 3999, "a?" * 1900, " " * 3999 + "#", "'" + "\\" * 3998, "a" * 5000])
def test_hostile_text(text: str) -> None:
    """Nothing nests without end."""
    assert evaluate(text, {}, False) is UNKNOWN


def test_variables() -> None:
    """A variable may be a value, a spec of either kind, or name itself; many that name each other are read once."""
    asks = {"pod": "has(object.spec.template) ? object.spec.template.spec : object.spec", "asks": "!variables.free"}
    variables = asks | {"free": "variables.pod.?hostUsers.orValue(true)", "loop": "variables.loop"}
    assert [evaluate("variables.asks", variables, state) for state in STATES] == [False, False, True]
    assert evaluate("variables.loop", variables, False) is UNKNOWN
    assert [evaluate("has(variables.users)", {"users": FIELD}, state) for state in STATES] == [UNKNOWN] * 3
    chain = {f"v{index}": f"variables.v{index - 1} && variables.v{index - 1}" for index in range(1, 25)}
    assert evaluate("variables.v20", chain | {"v0": f"has({FIELD})"}, False) in (True, UNKNOWN)


REQUIRE, ASKS = f"has({FIELD}) && {FIELD} == false", {"name": "asks", "expression": f"has({FIELD}) && !{FIELD}"}
SOME = {"name": "some", "expression": f"has({FIELD}) || object.metadata.name == 'x'"}
DENY = {"expression": "false"}
UNSET = {"name": "unset", "expression": f"!has({FIELD})"}
SET_FALSE = {"applyConfiguration": {"expression": "Object{spec: Object.spec{hostUsers: false}}"}}


def patch(value: str, op: str = "add") -> str:
    return f'[JSONPatch{{op: "{op}", path: "/spec/hostUsers", value: {value}}}]'


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        (patch("false"), "default"),
        (f"has({FIELD}) ? [] : {patch('false')}", "default"),
        (f"!has({FIELD})\n ? {patch('false')} : []", "default"),
        (f"has({FIELD}) && {FIELD} ? {patch('false', 'replace')} : []", "unclear"),
        (f"has({FIELD}) ? {patch('false', 'replace')} : {patch('true')}", "unclear"),
        (f"object.spec.?hostUsers.orValue(true) ? [] : {patch('true', 'replace')}", "forbid"),
        (patch("false", "test"), "unclear"),
        (f"!has({FIELD}) ? {patch('false', 'replace')} : []", "unclear"),
        (patch("false || true"), "forbid"),
        ("Object{spec: Object.spec{hostUsers: false || true}}", "forbid"),
        ('[JSONPatch{value: false, op: "add", path: "/spec/hostUsers"}]', "default"),
        (f"has(object.metadata.labels) ? {patch('false')} : []", "unclear"),
        ("Object{spec: Object.spec{hostUsers: true}}", "forbid"),
        (f"Object{{spec: Object.spec{{hostUsers: has({FIELD}) && {FIELD}}}}}", "default"),
    ],
)
def test_mutations(text: str, effect: str) -> None:
    """What counts is the branch for Pods that do not set the field, or for those that ask."""
    assert effect_of({"mutations": [{"jsonPatch": {"expression": text}}]}) == effect


def validation(text: str, **spec: Any) -> dict[str, Any]:
    return {"validations": [{"expression": text}], **spec}


@pytest.mark.parametrize(
    ("spec", "effect"),
    [
        (validation(f"has({FIELD}) ? !{FIELD} : false"), "require"),
        (validation(f"false == {FIELD}"), "require"),
        (validation(f"false == {FIELD}", failurePolicy="Ignore"), "unclear"),
        (validation(f"{FIELD} != true"), "require"),
        (validation(f"{FIELD}", failurePolicy="Ignore"), "forbid"),
        (validation(f"// a comment\n( has({FIELD}) )\n && ({FIELD} in [false])"), "require"),
        (validation(f"!has({FIELD}) || !(!{FIELD})"), "forbid"),
        (validation(f"{REQUIRE} || has(object.spec.hostNetwork) && object.spec.hostNetwork"), "unclear"),
        (validation("variables.ok", variables=[{"name": "ok", "expression": REQUIRE}]), "require"),
        (validation("variables.s.hostUsers==false", variables=[{"name": "s", "expression": "object.spec"}]), "require"),
        (validation("variables.ok", variables=[{"name": "no", "expression": REQUIRE}]), "unclear"),
        (validation("false", matchConditions=[ASKS]), "forbid"),
        (validation("has(object.metadata.labels.team)", matchConditions=[ASKS]), "unclear"),
        (validation(REQUIRE, matchConditions=[{"name": "n", "expression": "object.metadata.name != 'x'"}]), "require"),
        (validation(REQUIRE, matchConditions=[ASKS]), "unclear"),
        (validation(f"{FIELD} == false", matchConditions=[SOME]), "unclear"),
        (validation(REQUIRE, matchConditions=[UNSET]), "unclear"),
        ({"validations": [{"expression": REQUIRE}, {"expression": "object.spec.containers.size() < 5"}]}, "require"),
        ({"mutations": [SET_FALSE], "matchConditions": [UNSET]}, "default"),
        ({"mutations": [SET_FALSE], "matchConditions": [ASKS]}, "unclear"),
        ({"rules": [{"validate": {"cel": {"expressions": [{"expression": REQUIRE}]}}}]}, "require"),
        ({"rules": [{"validate": {"pattern": {"spec": {"X(hostUsers)": "null"}}}}]}, "forbid"),
        ({"rules": [{"validate": {"pattern": {"spec": {"=(hostUsers)": False}}}}]}, "unclear"),
        ({"rules": [{"validate": {"anyPattern": [{"spec": {"hostUsers": False}}, {"spec": {}}]}}]}, "unclear"),
        ({"rules": [{"validate": {"cel": {"expressions": [DENY]}}, "celPreconditions": [ASKS]}]}, "forbid"),
    ],
)  # fmt: skip
def test_effects(spec: dict[str, Any], effect: str) -> None:
    """However an expression is spelled, its effect is that on the three kinds of Pods."""
    assert effect_of(spec) == effect
