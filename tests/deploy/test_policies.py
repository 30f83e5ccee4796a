"""deploy/policies: each expression, evaluated on Pods as odd as they come, decides as documented."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import kubernetes_validate
import pytest

from lab.deploy.cel import Failed, evaluate, matches, patched, refusals
from lab.deploy.manifests import CHECKOUT, documents
from probe.outputs.annotations import LABEL
from tests.extent import some_slow

FOLDER = CHECKOUT / "deploy/policies"
FILES = {file.stem: documents(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))}
SELECT, KYVERNO, WARN, DENY, REQUIRE = (
    FILES[name][0] for name in ("select", "select-kyverno", "warn", "deny", "require")
)
USERS = {"hostUsers": False}
OTHER = "example.org/zone"


def terms(*found: Any) -> dict[str, Any]:
    """Required node affinity with these terms."""
    required = {"nodeSelectorTerms": list(found)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def term(operator: str, *values: str, key: str = LABEL) -> dict[str, Any]:
    """A term of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": [*values]} if values else {})]}


(ONLY_READY,) = term("In", "true")["matchExpressions"]


def owner(kind: str, controller: bool | None = True) -> dict[str, Any]:
    """Metadata with an owner."""
    told = {} if controller is None else {"controller": controller}
    return {"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "x", **told}]}


class Case(NamedTuple):
    """A Pod, and what is to become of it."""

    spec: dict[str, Any]
    metadata: dict[str, Any] = {}
    selected: bool = False
    """Whether a selector is added."""
    refused: bool = False
    """Whether it is refused for want of one, and its author warned."""
    required: int = 0
    """How many rules of a namespace that requires user namespaces it breaks."""
    warned: bool | None = None
    """Where that is not the same as `refused`."""


PREFERRED = {
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term("In", "true")}]
        }
    }
}
CASES: dict[str, Case] = {
    # No user namespace asked for.
    "an empty spec": Case({}, required=1),
    "hostUsers true": Case({"hostUsers": True}, required=1),
    "hostNetwork": Case({"hostNetwork": True}, required=2),
    "hostUsers true and hostPID": Case({"hostUsers": True, "hostPID": True}, required=2),
    "all of the host": Case({"hostNetwork": True, "hostPID": True, "hostIPC": True}, required=2),
    "a selector without a user namespace": Case({"nodeSelector": {LABEL: "true"}}, required=1),
    "Windows": Case({"os": {"name": "windows"}}),
    "Windows, said in another case": Case({"os": {"name": "Windows"}}, required=1),
    "Linux, said so": Case({"os": {"name": "linux"}}, required=1),
    "Windows by selector alone": Case({"nodeSelector": {"kubernetes.io/os": "windows"}}, required=1),
    "a mirror that a user makes": Case({}, {"annotations": {"kubernetes.io/config.mirror": "x"}}, required=1),
    # One asked for, and no selector.
    "nothing else": Case(USERS, selected=True, refused=True),
    "with hostNetwork, which the API server refuses by itself": Case(
        USERS | {"hostNetwork": True}, selected=True, refused=True, required=1
    ),
    "an empty selector": Case(USERS | {"nodeSelector": {}}, selected=True, refused=True),
    "another selector": Case(USERS | {"nodeSelector": {OTHER: "a"}}, selected=True, refused=True),
    "a key that only begins so": Case(USERS | {"nodeSelector": {f"{LABEL}-x": "true"}}, selected=True, refused=True),
    "an empty affinity": Case(USERS | {"affinity": {}}, selected=True, refused=True),
    "an empty node affinity": Case(USERS | {"affinity": {"nodeAffinity": {}}}, selected=True, refused=True),
    "affinity to Pods alone": Case(USERS | {"affinity": {"podAffinity": {}}}, selected=True, refused=True),
    "no term": Case(USERS | terms(), selected=True, refused=True),
    "an empty term": Case(USERS | terms({}), selected=True, refused=True),
    "a term without expressions": Case(USERS | terms({"matchExpressions": []}), selected=True, refused=True),
    "a term of fields": Case(
        USERS | terms({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
        selected=True,
        refused=True,
    ),
    "another key": Case(USERS | terms(term("In", "true", key=OTHER)), selected=True, refused=True),
    "preferred alone": Case(USERS | PREFERRED, selected=True, refused=True),
    "annotations null": Case(USERS, {"annotations": {}}, selected=True, refused=True),
    "an empty nodeName": Case(USERS | {"nodeName": ""}, selected=True, refused=True),
    "gated": Case(USERS | {"schedulingGates": [{"name": "x"}]}, selected=True, refused=True),
    # Decided by its author.
    "the selector": Case(USERS | {"nodeSelector": {LABEL: "true"}}),
    "the selector, among others": Case(USERS | {"nodeSelector": {OTHER: "a", LABEL: "true"}}),
    "the selector, the wrong way round": Case(USERS | {"nodeSelector": {LABEL: "false"}}, refused=True),
    "the selector, unknown": Case(USERS | {"nodeSelector": {LABEL: "unknown"}}, refused=True),
    "the selector, empty": Case(USERS | {"nodeSelector": {LABEL: ""}}, refused=True),
    "a term": Case(USERS | terms(term("In", "true"))),
    "each term": Case(USERS | terms(term("In", "true"), term("In", "true"))),
    "an OR term without it": Case(USERS | terms(term("In", "true"), term("In", "a", key=OTHER)), refused=True),
    "true or unknown": Case(USERS | terms(term("In", "true", "unknown")), refused=True),
    "In nothing": Case(USERS | terms(term("In")), refused=True),
    "Exists": Case(USERS | terms(term("Exists")), refused=True),
    "DoesNotExist": Case(USERS | terms(term("DoesNotExist")), refused=True),
    "not false": Case(USERS | terms(term("NotIn", "false"))),
    "not unknown": Case(USERS | terms(term("NotIn", "unknown")), refused=True),
    "two expressions of one term": Case(
        USERS | terms({"matchExpressions": [*term("In", "a", key=OTHER)["matchExpressions"], ONLY_READY]})
    ),
    "a selector beside an OR term without it": Case(
        USERS | {"nodeSelector": {LABEL: "true"}} | terms(term("In", "a", key=OTHER))
    ),
    # Not to be touched.
    "bound": Case(USERS | {"nodeName": "worker-1"}),
    "of a DaemonSet": Case(USERS, owner("DaemonSet")),
    "of a ReplicaSet": Case(USERS, owner("ReplicaSet"), selected=True, refused=True, warned=False),
    "of a Job": Case(USERS, owner("Job"), selected=True, refused=True, warned=False),
    "of an owner that is no controller": Case(USERS, owner("ConfigMap", None), selected=True, refused=True),
    "of an operator's kind": Case(USERS, owner("Cluster"), selected=True, refused=True, warned=False),
}  # fmt: skip
assert len(CASES) >= 30


def pod(case: Case) -> dict[str, Any]:
    """A whole Pod."""
    metadata = {"name": "x", "namespace": "y"} | case.metadata
    spec = {"containers": [{"name": "c", "image": "i"}], **case.spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def asked(document: dict[str, Any], user: str = "somebody") -> dict[str, Any]:
    """The request to create it."""
    return {"object": document, "oldObject": None, "request": {"operation": "CREATE", "userInfo": {"username": user}}}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policy", [SELECT, KYVERNO], ids=["native", "kyverno"])
def test_the_selector(policy: dict[str, Any], name: str) -> None:
    """It is added where nobody decided, next to all else, and once; then nothing refuses the Pod for want of one."""
    before = pod(CASES[name])
    after = patched(policy, asked(copy.deepcopy(before)))
    if not CASES[name].selected:
        assert after == before
        return
    expected = copy.deepcopy(before)
    expected["spec"]["nodeSelector"] = before["spec"].get("nodeSelector", {}) | {LABEL: "true"}
    assert after == expected
    assert patched(policy, asked(after)) == after, "asked again, it does nothing"
    assert refusals(DENY, asked(after)) == []
    assert refusals(WARN, asked(after)) == []


@pytest.mark.parametrize("name", CASES)
def test_warning_and_refusal(name: str) -> None:
    """For the same Pods, but that whoever made a template was warned already."""
    case = CASES[name]
    assert bool(refusals(DENY, asked(pod(case)))) == case.refused
    assert bool(refusals(WARN, asked(pod(case)))) == (case.refused if case.warned is None else case.warned)


TEMPLATES = {
    "Deployment": lambda spec: {"template": {"spec": spec}},
    "DaemonSet": lambda spec: {"template": {"spec": spec}},
    "StatefulSet": lambda spec: {"template": {"spec": spec}},
    "ReplicaSet": lambda spec: {"template": {"spec": spec}},
    "Job": lambda spec: {"template": {"spec": spec}},
    "CronJob": lambda spec: {"jobTemplate": {"spec": {"template": {"spec": spec}}}},
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_templates(kind: str) -> None:
    """A template is warned of as its Pods would be, unless another controller made it."""
    for case in CASES.values():
        if case.metadata:
            continue
        workload = {"kind": kind, "metadata": {"name": "x"}, "spec": TEMPLATES[kind](pod(case)["spec"])}
        assert bool(refusals(WARN, asked(workload))) == case.refused
        assert refusals(WARN, asked(workload | {"metadata": owner("Deployment")})) == []


@pytest.mark.parametrize("name", CASES)
def test_a_namespace_that_requires_user_namespaces(name: str) -> None:
    """Whatever a Pod sets instead, there is no way out; that a mirror is one, only kubelets can say."""
    case = CASES[name]
    assert len(refusals(REQUIRE, asked(pod(case)))) == case.required
    mirror = copy.deepcopy(pod(case))
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert len(refusals(REQUIRE, asked(mirror))) == case.required
    assert refusals(REQUIRE, asked(mirror, "system:node:worker-1")) == []
    if "annotations" not in case.metadata:
        assert len(refusals(REQUIRE, asked(pod(case), "system:node:worker-1"))) == case.required


def test_an_expression_that_fails_is_noticed() -> None:
    """The control: a field that is not there is a failure, and no value."""
    with pytest.raises(Failed, match="nodeName"):
        evaluate("object.spec.nodeName", asked(pod(CASES["nothing else"])))
    broken = copy.deepcopy(SELECT)
    patch = broken["spec"]["mutations"][0]["jsonPatch"]
    patch["expression"] = patch["expression"].replace("has(object.spec.nodeSelector)", "true")
    with pytest.raises(KeyError):
        patched(broken, asked(pod(CASES["nothing else"])))


def test_the_twin_has_the_same_expressions() -> None:
    """Kyverno's policy differs in what Kyverno needs, and in nothing else."""
    own = {"autogen"}
    assert {key: value for key, value in KYVERNO["spec"].items() if key not in own} == SELECT["spec"]
    assert KYVERNO["spec"]["autogen"] == {"podControllers": {"controllers": []}}
    assert KYVERNO["apiVersion"] == "policies.kyverno.io/v1"


@pytest.mark.parametrize("policy", [SELECT, KYVERNO, DENY, REQUIRE], ids=lambda policy: policy["metadata"]["name"])
def test_new_pods_alone(policy: dict[str, Any]) -> None:
    """Neither field can be changed later, so an update, of finalizers too, is nobody's business."""
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"], rule["operations"]) == ([""], ["pods"], ["CREATE"])
    assert policy["spec"]["failurePolicy"] == "Fail"


def test_what_the_cluster_needs_is_left_alone() -> None:
    """Policies that hold everywhere make an exception of kube-system, and of this project's own namespace."""
    for policy in (SELECT, KYVERNO, DENY):
        (rule,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        assert rule == {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "userns-probe"],
        }
    binding = FILES["require"][1]["spec"]
    assert binding["matchResources"]["namespaceSelector"]["matchLabels"] == {"userns-probe.io/require": "true"}


def test_each_binding_does_what_its_policy_is_for() -> None:
    """Warnings refuse nothing."""
    actions = {name: FILES[name][1]["spec"].get("validationActions") for name in ("select", "warn", "deny", "require")}
    assert actions == {"select": None, "warn": ["Warn", "Audit"], "deny": ["Deny"], "require": ["Deny"]}
    for name in actions:
        assert FILES[name][1]["spec"]["policyName"] == FILES[name][0]["metadata"]["name"]
    assert matches(REQUIRE, asked(pod(CASES["nothing else"])))


@pytest.mark.parametrize("version", [*some_slow("1.30", "1.33", "1.36"), "1.37"])
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each object is of the published types of each version that has its kind."""
    for name, objects in FILES.items():
        for each in objects:
            since = "1.36" if each["kind"].startswith("MutatingAdmission") else "1.30"
            if name != "select-kyverno" and version >= since:
                kubernetes_validate.validate(each, version, strict=True)
