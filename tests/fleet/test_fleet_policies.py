"""Admission policies on `hostUsers`, of Kyverno and of the API server: what they do to new Pods, and where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.deploy import cel as real
from probe.fleet.cel_effects import sets
from probe.fleet.cel_values import ABSENT, STATES, UNKNOWN
from probe.fleet.jmespath import NOT_FOUND, substituted
from probe.fleet.policies import Bindings, Document, effect_of, policy_rows

Json = dict[str, Any]
F = "object.spec.hostUsers"
POD: Json = {"any": [{"resources": {"kinds": ["Pod"]}}]}
HU = "{{ request.object.spec.hostUsers }}"
HUT, HUF = (f"{{{{ request.object.spec.hostUsers || `{word}` }}}}" for word in ("true", "false"))
ASKS = "{{ request.object.spec.hostUsers == `false` }}"
REQ = f"has({F}) && {F} == false"


def kyv(*rules: Json, **spec: Any) -> Json:
    return {"rules": list(rules), **spec}


def val(match: Json = POD, preconditions: Any = None, **validate: Any) -> Json:
    return {"name": "r", "match": match, "preconditions": preconditions, "validate": validate}


def mut(match: Json = POD, preconditions: Any = None, **mutate: Any) -> Json:
    return {"name": "r", "match": match, "preconditions": preconditions, "mutate": mutate}


def deny(*conditions: Json, how: str = "all", **rest: Any) -> Json:
    return val(deny={"conditions": {how: list(conditions)}}, **rest)


def c(key: str, operator: str, value: Any) -> Json:
    return {"key": key, "operator": operator, "value": value}


def cel(*texts: str, **spec: Any) -> Json:
    return {"validations": [{"expression": text} for text in texts], **spec}


def mc(*resources: str, ops: tuple[str, ...] = ("CREATE",), groups: tuple[str, ...] = ("",), **rest: Any) -> Json:
    rule = {"apiGroups": list(groups), "operations": list(ops), "resources": list(resources), **rest}
    return {"resourceRules": [rule]}


def patch(text: str) -> Json:
    return {"mutations": [{"jsonPatch": {"expression": text}}]}


def applied(text: str, **spec: Any) -> Json:
    return {"mutations": [{"applyConfiguration": {"expression": text}}], **spec}


ADD = "- op: add\n  path: /spec/hostUsers\n  value: false\n"


@pytest.mark.parametrize(
    ("spec", "effect"),
    [
        # kyverno deny
        (kyv(deny(c(HU, "NotEquals", False))), "require"),
        (kyv(deny(c(HU, "Equals", True))), "unclear"),
        (kyv(deny(c(HU, "Equals", False))), "forbid"),
        (kyv(deny(c(HUT, "NotEquals", False))), "unclear"),  # JMESPath: always true => denies all
        (kyv(deny(c(HUT, "Equals", True))), "unclear"),
        (kyv(deny(c(ASKS, "Equals", False))), "require"),
        (kyv(deny(c(ASKS, "NotEquals", True))), "require"),
        (kyv(deny(c(ASKS, "Equals", True))), "forbid"),
        (kyv(deny(c("{{ request.object.spec.hostUsers != `false` }}", "Equals", True))), "require"),
        (
            kyv(
                deny(c("hostUsers", "AnyNotIn", "{{ request.object.spec.keys(@) }}"), c(HUF, "Equals", True), how="any")
            ),
            "require",
        ),
        (kyv(deny(c("{{ request.object.spec.keys(@) }}", "AnyIn", ["hostUsers"]))), "forbid"),
        (kyv(deny(c("{{ to_string(request.object.spec.hostUsers) }}", "NotEquals", "false"))), "require"),
        (kyv(deny(c("{{ not_null(request.object.spec.hostUsers, `true`) }}", "Equals", True))), "require"),
        (kyv(deny(c(HU, "NotEquals", False), c("{{request.object.metadata.namespace}}", "NotEquals", "x"))), "unclear"),
        (kyv(deny(c(HU, "AnyNotIn", [False]))), "require"),
        (kyv(deny(c("{{request.operation}}", "Equals", "CREATE"), c(ASKS, "Equals", False))), "require"),
        (
            kyv(
                deny(c(ASKS, "Equals", False), preconditions={"all": [c("{{request.operation}}", "Equals", "DELETE")]})
            ),
            "unclear",
        ),
        (
            kyv(
                deny(
                    c(ASKS, "Equals", False),
                    preconditions={"all": [c("{{request.operation || 'BACKGROUND'}}", "NotEquals", "DELETE")]},
                )
            ),
            "require",
        ),
        (
            kyv(
                deny(
                    c(ASKS, "Equals", False),
                    preconditions={"all": [c("{{request.object.metadata.labels.x}}", "Equals", "y")]},
                )
            ),
            "require",
        ),
        (kyv(val(deny={}, preconditions={"all": [c(ASKS, "Equals", True)]})), "forbid"),
        # patterns
        (kyv(val(pattern={"spec": {"hostUsers": False}})), "require"),
        (kyv(val(pattern={"spec": {"hostUsers": "false"}})), "require"),
        (kyv(val(pattern={"spec": {"hostUsers": "!true"}})), "require"),
        (kyv(val(pattern={"spec": {"hostUsers": "?*"}})), "unclear"),
        (kyv(val(pattern={"spec": {"hostUsers": "false | true"}})), "unclear"),
        (kyv(val(pattern={"spec": {"hostUsers": True}})), "unclear"),  # also absent refused
        (kyv(val(pattern={"spec": {"=(hostUsers)": True}})), "forbid"),
        (kyv(val(pattern={"spec": {"=(hostUsers)": "true"}})), "forbid"),
        (kyv(val(pattern={"spec": {"X(hostUsers)": "null"}})), "forbid"),
        (kyv(val(pattern={"spec": {"hostUsers": None}})), "unclear"),
        (kyv(val(pattern={"=(spec)": {"hostUsers": False}})), "require"),
        (kyv(val(pattern={"spec": {"(hostNetwork)": False, "hostUsers": False}})), "unclear"),
        (kyv(val(pattern={"spec": {"hostNetwork": False, "hostUsers": False}})), "require"),
        (
            kyv(
                val(
                    match={"any": [{"resources": {"kinds": ["Deployment"]}}]},
                    pattern={"spec": {"template": {"spec": {"hostUsers": False}}}},
                )
            ),
            "require",
        ),
        (kyv(val(anyPattern=[{"spec": {"hostUsers": False}}, {"spec": {"hostNetwork": True}}])), "unclear"),
        (kyv(val(anyPattern=[{"spec": {"hostUsers": False}}, {"spec": {"hostUsers": "false"}}])), "require"),
        (kyv(val(anyPattern=[{"spec": {"hostUsers": False}}, {"spec": {"=(hostUsers)": True}}])), "unclear"),
        (kyv(val(anyPattern=[{"spec": {"X(hostUsers)": "null"}}, {"spec": {"hostUsers": True}}])), "forbid"),
        (kyv(val(pattern={"spec": {"containers": [{"securityContext": {"x": 1}}], "hostUsers": False}})), "require"),
        (
            kyv(
                val(
                    match={"any": [{"resources": {"kinds": ["Pod"], "operations": ["UPDATE"]}}]},
                    pattern={"spec": {"hostUsers": False}},
                )
            ),
            "unclear",
        ),
        (
            kyv(val(match={"any": [{"resources": {"kinds": ["v1/Pod"]}}]}, pattern={"spec": {"hostUsers": False}})),
            "require",
        ),
        (kyv(val(pattern={"spec": {"hostUsers": False}}), admission=False), "unclear"),
        (
            kyv(
                val(
                    foreach=[
                        {
                            "list": "request.object.spec.containers",
                            "deny": {"conditions": {"all": [c(HU, "NotEquals", False)]}},
                        }
                    ]
                )
            ),
            "unclear",
        ),
        (
            kyv(
                val(pattern={"spec": {"hostUsers": False}}),
                {"name": "m", "match": POD, "mutate": {"patchStrategicMerge": {"spec": {"+(hostUsers)": False}}}},
            ),
            "unclear",
        ),
        # mutate
        (kyv(mut(patchStrategicMerge={"spec": {"+(hostUsers)": False}})), "default"),
        (kyv(mut(patchStrategicMerge={"spec": {"hostUsers": False}})), "default"),
        (kyv(mut(patchStrategicMerge={"spec": {"hostUsers": True}})), "forbid"),
        (kyv(mut(patchStrategicMerge={"spec": {"hostUsers": None}})), "forbid"),
        (kyv(mut(patchStrategicMerge={"spec": {"+(hostUsers)": True}})), "unclear"),
        (kyv(mut(patchStrategicMerge={"spec": {"(hostNetwork)": False, "+(hostUsers)": False}})), "unclear"),
        (kyv(mut(patchStrategicMerge={"spec": {"+(hostUsers)": "false"}})), "unclear"),
        (kyv(mut(patchesJson6902=ADD)), "default"),
        (kyv(mut(patchesJson6902='[{"op":"add","path":"/spec/hostUsers","value":false}]')), "default"),
        (kyv(mut(patchesJson6902="- op: replace\n  path: /spec/hostUsers\n  value: false\n")), "unclear"),
        (kyv(mut(patchesJson6902="- op: remove\n  path: /spec/hostUsers\n")), "forbid"),
        (kyv(mut(patchesJson6902="- op: add\n  path: /spec/hostUsers\n  value: true\n")), "forbid"),
        (kyv(mut(patchesJson6902="- path: /spec/hostUsers\n  op: add\n  value: '{{ x }}'\n")), "unclear"),
        (
            kyv(mut(patchesJson6902=ADD.replace("false", "true") + ADD.replace("add", "replace"))),
            "default",
        ),
        (kyv(mut(patchesJson6902="\tbad")), "unclear"),
        (
            kyv(
                mut(
                    patchesJson6902=ADD,
                    preconditions={"all": [c(HU, "Equals", "")]},
                )
            ),
            "unclear",
        ),
        (
            kyv(
                mut(
                    patchesJson6902=ADD,
                    preconditions={
                        "all": [c("{{ contains(keys(request.object.spec), 'hostUsers') }}", "Equals", False)]
                    },
                )
            ),
            "default",
        ),
        (
            kyv(mut(patchesJson6902=ADD, targets=[{"kind": "Pod"}])),
            "unclear",
        ),
        (
            kyv(
                mut(
                    foreach=[
                        {
                            "list": "request.object.spec.containers",
                            "patchStrategicMerge": {"spec": {"hostUsers": False}},
                        }
                    ]
                )
            ),
            "unclear",
        ),
    ],
)
def test_kyverno(spec: Json, effect: str) -> None:
    """Patterns, anchors, conditions, preconditions and patches, as Kyverno's engine takes them."""
    assert effect_of(spec) == effect


@pytest.mark.parametrize(
    ("spec", "effect"),
    [
        (cel(REQ), "require"),
        (cel(REQ, matchConstraints=mc("pods", ops=("UPDATE",))), "unclear"),
        (cel(REQ, matchConstraints=mc("pods", ops=("DELETE",))), "unclear"),
        (cel(REQ, matchConstraints=mc("pods", ops=("*",))), "require"),
        (cel(REQ, matchConstraints=mc("pods/ephemeralcontainers")), "unclear"),
        (cel(REQ, matchConstraints={**mc("pods"), "excludeResourceRules": mc("pods")["resourceRules"]}), "unclear"),
        (
            cel(
                REQ,
                matchConstraints={
                    **mc("pods"),
                    "excludeResourceRules": mc("pods", resourceNames=["x"])["resourceRules"],
                },
            ),
            "require",
        ),
        (cel(f"object.kind != 'Pod' || {REQ}", matchConstraints=mc("pods", "services")), "require"),
        (cel(f"object.kind == 'Pod' ? {REQ} : true", matchConstraints=mc("*")), "require"),
        (cel(f"request.operation != 'CREATE' || {REQ}"), "require"),
        (cel(f"request.operation == 'UPDATE' || {REQ}"), "require"),
        (cel(f"oldObject != null || {REQ}"), "require"),
        (cel(f"request.operation in ['UPDATE', 'DELETE'] || {REQ}"), "require"),
        (
            cel("object.spec.template.spec.hostUsers == false", matchConstraints=mc("deployments", groups=("apps",))),
            "require",
        ),
        (
            cel(
                "object.kind == 'Deployment' ? object.spec.template.spec.?hostUsers.orValue(true) == false : true",
                matchConstraints=mc("deployments", groups=("apps",)),
            ),
            "unclear",
        ),
        (cel(f"has({F})", f"!{F}"), "require"),
        (cel(f"has({F})", f"{F} == false || has(object.metadata.labels)"), "unclear"),
        (cel(f"{F} == params.users", paramKind={"apiVersion": "v1", "kind": "ConfigMap"}), "unclear"),
        (cel(f"params.data.enforce != 'true' || {REQ}", paramKind={"kind": "ConfigMap"}), "unclear"),
        (cel(REQ, failurePolicy="Ignore"), "require"),
        (cel(f"{F} == false", failurePolicy="Ignore"), "unclear"),
        (cel(f"!has({F}) || {F}"), "forbid"),
        (cel("object.metadata.name != 'hostUsers'"), "unclear"),
        (cel(f"{REQ} || 'exempt' in object.metadata.labels"), "unclear"),
        (cel(f"{REQ} && !has(object.spec.hostNetwork)"), "require"),
        (cel("object.spec.?hostUsers.optMap(x, !x).orValue(false)"), "unclear"),
        (cel("[object.spec].all(s, s.hostUsers == false)"), "unclear"),
        (
            cel(
                "variables.x",
                variables=[
                    {"name": "x", "expression": "variables.spec.?hostUsers.orValue(true) == false"},
                    {"name": "spec", "expression": "object.kind == 'Pod' ? object.spec : object.spec.template.spec"},
                ],
            ),
            "require",
        ),
        (applied("Object{spec: has(object.spec.nodeName) ? Object.spec{hostUsers: false} : Object.spec{}}"), "unclear"),
        (applied(f"Object{{spec: has({F}) ? Object.spec{{}} : Object.spec{{hostUsers: false}}}}"), "default"),
        (
            applied(f"Object{{spec: Object.spec{{?hostUsers: has({F}) ? optional.none() : optional.of(false)}}}}"),
            "default",
        ),
        (applied("Object{spec: Object.spec{hostUsers: object.spec.?hostUsers.orValue(false)}}"), "default"),
        (patch('[JSONPatch{op: "remove", path: "/spec/hostUsers"}]'), "forbid"),
        (patch('[JSONPatch{op: "add", path: "/spec/" + "hostUsers", value: false}]'), "default"),
        (patch('[JSONPatch{op: "add", path: "/spec/" + jsonpatch.escapeKey("hostUsers"), value: false}]'), "default"),
        (
            patch(
                f'(has({F}) ? [] : [JSONPatch{{op: "add", path: "/spec/hostUsers", value: false}}])'
                ' + [JSONPatch{op: "add", path: "/metadata/labels/x", value: "hostUsers"}]'
            ),
            "default",
        ),
        (patch('[JSONPatch{op: "add", path: "/metadata/annotations/hostUsers", value: "false"}]'), "unclear"),
        (patch('[JSONPatch{op: "add", path: "/spec", value: Object.spec{hostUsers: false}}]'), "unclear"),
        (
            applied(
                "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{"
                "hostUsers: false}}}}",
                matchConstraints=mc("deployments", groups=("apps",)),
            ),
            "default",
        ),
        (cel(REQ, evaluation={"admission": {"enabled": False}}), "unclear"),
        (cel(REQ, evaluation={"mode": "JSON"}), "unclear"),
    ],
)
def test_cel(spec: Json, effect: str) -> None:
    """The effect is that on new Pods: operations, kinds, parameters, and all validations together."""
    assert effect_of(spec) == effect


def row(kind: str, spec: Json, *bindings: Json, namespace: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    policy = Document(metadata={"name": "p", "namespace": namespace}, spec=spec)
    bound = [Document(metadata={"name": "b"}, spec={"policyName": "p", **one}) for one in bindings]
    (found,) = policy_rows([(kind, policy)], {kind: Bindings(bound, complete=True)})
    return found.actions, found.scope


@pytest.mark.parametrize(
    ("kind", "spec", "bindings", "words"),
    [
        ("ValidatingAdmissionPolicy", cel(REQ), [{"validationActions": ["Audit", "Warn"]}], ["(Audit and Warn only)"]),
        ("ValidatingAdmissionPolicy", cel(REQ, matchConstraints=mc("pods", ops=("UPDATE",))), [{}], ["only on UPDATE"]),
        ("ValidatingAdmissionPolicy", cel(REQ, matchConstraints=mc("pods/*")), [{}], ["only pods/*"]),
        (
            "ValidatingAdmissionPolicy",
            cel(REQ),
            [{"matchResources": {"excludeResourceRules": mc("pods", resourceNames=["x"])["resourceRules"]}}],
            ["except x"],
        ),
        ("ValidatingAdmissionPolicy", cel(REQ, paramKind={"kind": "ConfigMap"}), [{}], ["without a ConfigMap"]),
        (
            "ValidatingAdmissionPolicy",
            cel(REQ, paramKind={"kind": "ConfigMap"}),
            [{"paramRef": {"name": "cm", "parameterNotFoundAction": "Allow"}}],
            ["ConfigMap cm", "not without it"],
        ),
        ("NamespacedValidatingPolicy", cel(REQ), [], ["namespace team"]),
        ("Policy", kyv(val(pattern={})), [], ["r: Pod in namespace team"]),
        ("ValidatingPolicy", cel(REQ, evaluation={"admission": {"enabled": False}}), [], ["not at admission"]),
        (
            "ClusterPolicy",
            kyv(
                val(match={"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["a"]}, "subjects": [{}]}]})
                | {"exclude": {"any": [{"resources": {"namespaces": ["kube-*"]}}]}},
                validationFailureActionOverrides=[{"action": "Audit", "namespaces": ["dev"]}],
            ),
            [],
            ["Pod in a of some users except all kinds in kube-*", "Audit in dev"],
        ),
    ],
)
def test_where_policies_hold(kind: str, spec: Json, bindings: list[Json], words: list[str]) -> None:
    """All that narrows a policy is in its scope."""
    _, scope = row(kind, spec, *bindings, namespace="" if kind == "ClusterPolicy" else "team")
    assert all(any(word in one for one in scope) for word in words), scope


def test_actions_of_kyverno() -> None:
    """Without one a rule only audits."""
    rules = [val(pattern={}), val(pattern={}, failureAction="Enforce")]
    assert row("ClusterPolicy", kyv(*rules))[0] == ("Audit", "Enforce")
    assert row("ClusterPolicy", kyv(val(pattern={}), validationFailureAction="Enforce"))[0] == ("Enforce",)
    assert row("ClusterPolicy", kyv(mut()))[0] == ()


@pytest.mark.parametrize("number", [0, 1, 2, 3, 900, 901])
def test_negations_of_jmespath(number: int) -> None:
    """However many a hostile policy has, they are counted, and no stack ends."""
    asked = f"{{{{ {'!' * number}(request.object.spec.hostUsers == `true`) }}}}"

    def below(frames: int) -> Any:
        return below(frames - 1) if frames else substituted(asked, True)

    assert below(100) is (number % 2 == 0)


def test_jmespath() -> None:
    """False counts as nothing before `||`; what is not understood, or too deep, is unknown."""
    assert [substituted(HUT, state) for state in STATES] == [True, True, True]
    assert [substituted(HUF, state) for state in STATES] == [False, True, False]
    assert substituted(HU, ABSENT) is NOT_FOUND
    for text in ("{{ a || }}", "{{ request.object.spec[0] }}", "{{ " + "(" * 300 + " }}", "{{ 'a }}", "x {{ a }}"):
        assert substituted(text, False) is UNKNOWN


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([HU, ASKS, REQ, "- op: add"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["hostUsers", "+(hostUsers)", "spec", "all", "any", "key", "operator", "value", "expression"]
            )
            | st.sampled_from(["match", "exclude", "resources", "kinds", "resourceRules", "operations", "conditions"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PARTS = ("validate", "mutate", "match", "exclude", "preconditions")
KINDS = ("pattern", "anyPattern", "deny", "cel", "foreach", "patchStrategicMerge", "patchesJson6902", "targets")


@settings(max_examples=15)
@given(st.dictionaries(st.sampled_from(PARTS), ANYTHING | st.dictionaries(st.sampled_from(KINDS), ANYTHING)), ANYTHING)
def test_policies_of_any_shape(rule: Json, rest: Any) -> None:
    """A custom resource may hold anything."""
    spec = {"rules": [rule, rest], "matchConstraints": rest, "validations": rest, "mutations": rest}
    assert effect_of(spec) in ("require", "default", "forbid", "confine", "unclear")
    assert len(policy_rows([("Policy", Document(spec=spec, metadata=rest))], {})) == 1


BOOLEANS = st.sampled_from(
    (
        "true", "false", f"has({F})", f"!has({F})", "object.spec.?hostUsers.orValue(true)",
        "object.spec.?hostUsers.orValue(false)", f"{F} == false", "object.kind == 'Pod'", "object.metadata.name == 'x'",
        "request.operation in ['CREATE', 'UPDATE']", "oldObject == null",
    )
)  # fmt: skip
PATCHES = st.recursive(
    st.builds(
        '[JSONPatch{{op: "{}", path: {}, value: {}}}]'.format,
        st.sampled_from(("add", "replace", "remove")),
        st.sampled_from(
            (
                '"/spec/hostUsers"',
                '"/spec/" + "hostUsers"',
                '"/metadata/x"',
                '"/spec/" + jsonpatch.escapeKey("hostUsers")',
            )
        ),
        BOOLEANS,
    )
    | st.just("[]"),
    lambda inner: st.one_of(
        st.builds("({} ? {} : {})".format, BOOLEANS, inner, inner), st.builds("({} + {})".format, inner, inner)
    ),
    max_leaves=4,
)


def really(text: str, state: Any) -> Any:
    """The field after the patches of Google's CEL; UNKNOWN where the API server would report an error."""
    spec = {} if state is ABSENT else {"hostUsers": state}
    known = {"object": {"kind": "Pod", "metadata": {"name": "y"}, "spec": spec}, "oldObject": None}
    try:
        found = real.evaluate(text, {**known, "request": {"operation": "CREATE"}})
    except real.Failed:
        return UNKNOWN
    for one in found:
        if one.path == "/spec/hostUsers":
            if state is ABSENT and one.op != "add":
                return UNKNOWN
            state = ABSENT if one.op == "remove" else one.value.bool_value
    return state


@settings(max_examples=40)
@given(PATCHES, st.sampled_from(STATES))
def test_patches_as_cel_makes_them(text: str, state: Any) -> None:
    """Whatever is known of the field after a JSONPatch is what an API server makes of it."""
    found = sets(text, {}, state)
    assert found is UNKNOWN or found is really(text, state)
