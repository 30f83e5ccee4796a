"""The manifests keep what they promise: who may do what, and why."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from lab.deploy.admission import USER, refusals
from lab.deploy.manifests import CHECKOUT, FILES, MANIFEST, by_kind, container_of, documents, pod_of, unexplained
from lab.deploy.pod_to_oci import quantity
from probe import __version__
from probe.cli import verbs as cli
from probe.outputs.annotations import CONDITION, LABEL, PREFIX
from probe.outputs.memory import REMEMBERED
from probe.publish.api.interface import EVENT_NAMESPACE
from probe.serve.options import DEFAULT_LISTEN
from probe.watch.report_file import REPORT_LIMIT
from tests.extent import some_slow

OBJECTS = documents(MANIFEST.read_text())
KINDS = by_kind(OBJECTS)
POD = pod_of(OBJECTS)
PROBE, EXPORTER = (container_of(POD, name) for name in ("probe", "exporter"))
POLICY = KINDS["ValidatingAdmissionPolicy"]
EXCHANGES = [json.loads(line) for line in (CHECKOUT / "tests/data/api-server/exchanges-1.36.2.jsonl").open()]
NODE = json.loads((CHECKOUT / "tests/data/node-1.36.2.json").read_text())

OWN_NODE, ANNOTATIONS, LABELS, METADATA, SPEC, CONDITIONS, STATUS = (
    each["message"] for each in POLICY["spec"]["validations"]
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_power_has_its_reason(file: Path) -> None:
    """Each mount, namespace, capability and right carries a comment that says what it is for."""
    assert unexplained(file.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "hostPID: true",
        "hostNetwork: true",
        "volumes: [{name: etc, hostPath: {path: /etc}}]",
        "containers: [{volumeMounts: [{name: proc, mountPath: /x}]}]",
        "containers: [{securityContext: {capabilities: {add: [SYS_MODULE]}}}]",
        "containers: [{securityContext: {privileged: true}}]",
    ],
)
def test_a_power_without_a_reason_is_noticed(line: str) -> None:
    """The test before can fail."""
    assert len(unexplained(f"spec:\n  {line}\n")) >= 1
    assert unexplained(f"spec:\n  # Because of this.\n  {line}\n") == []


@pytest.mark.parametrize("version", ["1.30", *some_slow("1.31", "1.32", "1.33", "1.34", "1.35", "1.36"), "1.37"])
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each object is of the published types, without a field too much."""
    for each in OBJECTS:
        kubernetes_validate.validate(each, version, strict=True)


def test_who_touches_the_node_has_no_network() -> None:
    """The privileged container listens to nobody and has no token; none of the two sees the other's processes."""
    assert "ports" not in PROBE
    assert POD["automountServiceAccountToken"] is False
    assert KINDS["ServiceAccount"]["automountServiceAccountToken"] is False
    tokens = {each["name"] for each in POD["volumes"] if "projected" in each}
    assert not tokens & {each["name"] for each in PROBE["volumeMounts"]}
    assert not POD.keys() & {"hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace"}
    assert POD["hostUsers"] is True


def test_who_listens_may_do_nothing() -> None:
    """The container with the port is nobody, without capabilities, and writes nowhere."""
    security = EXPORTER["securityContext"]
    assert security["runAsUser"] == security["runAsGroup"] == 65534
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(each["readOnly"] for each in EXPORTER["volumeMounts"])
    assert not [each for each in POD["volumes"] if "hostPath" in each and each["name"] in map(_name, _mounts(EXPORTER))]


def _mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return list(container["volumeMounts"])


def _name(mount: dict[str, Any]) -> str:
    return str(mount["name"])


def test_nothing_of_the_node_is_writable() -> None:
    """Every directory of the node is mounted read-only."""
    paths = {each["name"] for each in POD["volumes"] if "hostPath" in each}
    assert paths == {"proc"}
    assert all(each["readOnly"] for each in PROBE["volumeMounts"] if each["name"] in paths)


def test_the_report_fits_twice() -> None:
    """While one is replaced, both are there."""
    report = next(each["emptyDir"] for each in POD["volumes"] if each["name"] == "report")
    assert report["medium"] == "Memory"
    assert quantity(report["sizeLimit"]) >= 2 * REPORT_LIMIT


@pytest.mark.parametrize("container", [PROBE, EXPORTER], ids=lambda container: str(container["name"]))
def test_the_command_takes_these_arguments(container: dict[str, Any]) -> None:
    """What the manifest says is what the command line understands."""
    verb, *arguments = container["args"]
    command = cli.cli.commands[verb]
    context = command.make_context(verb, list(arguments))
    assert context.params["report_file"] == "/run/userns-probe/report.json"
    assert isinstance(command, click.Command)


def test_both_containers_know_their_node_and_share_one_report() -> None:
    """The same image, the same file, the name of the Node from the same place."""
    assert PROBE["image"] == EXPORTER["image"] == f"userns-probe:{__version__}"
    assert PROBE["env"] == EXPORTER["env"]
    where = [each["mountPath"] for one in (PROBE, EXPORTER) for each in one["volumeMounts"] if each["name"] == "report"]
    assert where == ["/run/userns-probe"] * 2


def test_one_port() -> None:
    """Arguments, port, annotation and code agree."""
    port = DEFAULT_LISTEN.rpartition(":")[2]
    annotations = KINDS["DaemonSet"]["spec"]["template"]["metadata"]["annotations"]
    assert f"--listen=:{port}" in EXPORTER["args"]
    assert [each["containerPort"] for each in EXPORTER["ports"]] == [int(port)]
    assert annotations["prometheus.io/port"] == port


def test_limits_and_requests() -> None:
    """Each container has both, and asks for no more than it may have."""
    for container in (PROBE, EXPORTER):
        requests, limits = (container["resources"][key] for key in ("requests", "limits"))
        assert all(quantity(requests[name]) <= quantity(limits[name]) for name in ("cpu", "memory"))


def test_labels() -> None:
    """Every object can be found by the same two labels, and the selector, which cannot change, uses one of them."""
    recommended = {"app.kubernetes.io/name": "userns-probe", "app.kubernetes.io/part-of": "userns-probe"}
    assert all(each["metadata"]["labels"].items() >= recommended.items() for each in OBJECTS)
    spec = KINDS["DaemonSet"]["spec"]
    assert spec["selector"]["matchLabels"] == {"app.kubernetes.io/name": "userns-probe"}
    assert spec["template"]["metadata"]["labels"] == recommended


def test_it_never_pushes_a_workload_off_a_node() -> None:
    """Its priority class is its own, preempts nothing, and is nobody's default."""
    priority = KINDS["PriorityClass"]
    assert POD["priorityClassName"] == priority["metadata"]["name"]
    assert priority["preemptionPolicy"] == "Never"
    assert not priority.get("globalDefault")


def test_rights() -> None:
    """RBAC is `get` and `patch` on nodes; the policy and the binding speak of the same service account."""
    assert KINDS["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]
    (subject,) = KINDS["ClusterRoleBinding"]["subjects"]
    assert f"system:serviceaccount:{subject['namespace']}:{subject['name']}" == USER
    assert POD["serviceAccountName"] == subject["name"]
    (condition,) = POLICY["spec"]["matchConditions"]
    assert condition["expression"] == f"request.userInfo.username == '{USER}'"
    assert KINDS["ValidatingAdmissionPolicyBinding"]["spec"]["policyName"] == POLICY["metadata"]["name"]


def test_events_are_created_where_the_code_creates_them() -> None:
    """The right to create Events holds in that namespace alone."""
    role = documents((CHECKOUT / "deploy/signals/events.yaml").read_text())[0]
    assert role["metadata"]["namespace"] == EVENT_NAMESPACE


def test_the_image_is_named_the_same_everywhere() -> None:
    """The tag is the version."""
    kustomization = yaml.safe_load((CHECKOUT / "deploy/kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": "userns-probe", "newName": "userns-probe", "newTag": __version__}]


# The policy. A case changes a copy of a recorded Node, and names the rules that must refuse it.


def _annotate(**annotations: str) -> Callable[[Any], None]:
    return lambda node: node["metadata"]["annotations"].update(
        {k.replace("__", "/"): v for k, v in annotations.items()}
    )


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return change


TAINT = {"key": "userns-probe.io/x", "effect": "NoExecute"}
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}
READY = next(i for i, each in enumerate(NODE["status"]["conditions"]) if each["type"] == "Ready")
OURS = next(i for i, each in enumerate(NODE["status"]["conditions"]) if each["type"] == CONDITION)
FOREIGN_CONDITION = {"type": "Other", "status": "True"}

CASES: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "nothing": (lambda node: None, []),
    "our annotation": (_set("metadata", "annotations", f"{PREFIX}verdict", to="ready"), []),
    "our history": (_annotate(**dict.fromkeys(REMEMBERED, "[]")), []),
    "our label": (_set("metadata", "labels", LABEL, to="true"), []),
    "our condition": (_set("status", "conditions", OURS, "status", to="False"), []),
    "our condition away": (_drop("status", "conditions", OURS), []),
    "field manager": (_set("metadata", "managedFields", to=[]), []),
    "foreign annotation": (_set("metadata", "annotations", "example.org/x", to="1"), [ANNOTATIONS]),
    "foreign annotation changed": (
        _set("metadata", "annotations", "node.alpha.kubernetes.io/ttl", to="1"),
        [ANNOTATIONS],
    ),
    "foreign annotation away": (_drop("metadata", "annotations", "node.alpha.kubernetes.io/ttl"), [ANNOTATIONS]),
    "all annotations away": (_drop("metadata", "annotations"), [ANNOTATIONS]),
    "prefix that only looks like ours": (_set("metadata", "annotations", "userns-probe.iox/y", to="1"), [ANNOTATIONS]),
    "foreign label": (_set("metadata", "labels", "node-role.kubernetes.io/control-plane", to=""), [LABELS]),
    "second label of ours": (_set("metadata", "labels", f"{PREFIX}other", to=""), [LABELS]),
    "foreign label away": (_drop("metadata", "labels", "kubernetes.io/hostname"), [LABELS]),
    "owner": (_set("metadata", "ownerReferences", to=[OWNER]), [METADATA]),
    "finalizer": (_set("metadata", "finalizers", to=["example.org/x"]), [METADATA]),
    "taint": (_set("spec", "taints", to=[TAINT]), [SPEC]),
    "unschedulable": (_set("spec", "unschedulable", to=True), [SPEC]),
    "spec away": (_drop("spec"), [SPEC]),
    "Ready changed": (_set("status", "conditions", READY, "status", to="False"), [CONDITIONS]),
    "Ready away": (_drop("status", "conditions", READY), [CONDITIONS]),
    "all conditions away": (_drop("status", "conditions"), [CONDITIONS]),
    "condition of others": (lambda node: node["status"]["conditions"].append(FOREIGN_CONDITION), [CONDITIONS]),
    "status away": (_drop("status"), [CONDITIONS, STATUS]),
    "field of a later version": (_set("status", "somethingNew", to=1), [STATUS]),
    **{f"status.{name}": (_drop("status", name), [STATUS]) for name in NODE["status"] if name != "conditions"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_policy(name: str) -> None:
    """Only our keys, on a Node as a real API server gave it."""
    change, expected = CASES[name]
    new = copy.deepcopy(NODE)
    change(new)
    assert refusals(POLICY, NODE, new) == expected


@pytest.mark.parametrize("node", ["other", None])
def test_the_policy_lets_nobody_write_on_another_node(node: str | None) -> None:
    """A token that is bound to another Node, or to none."""
    assert refusals(POLICY, NODE, NODE, node=node) == [OWN_NODE]


def test_the_policy_is_about_nobody_else() -> None:
    """A kubelet, an administrator, a controller may go on as before."""
    new = copy.deepcopy(NODE)
    new["spec"]["taints"] = [TAINT]
    assert refusals(POLICY, NODE, new, user="system:node:k8slab", node=None) == []


def test_a_first_annotation_and_label() -> None:
    """A Node that has none of either yet."""
    old = copy.deepcopy(NODE)
    del old["metadata"]["annotations"], old["metadata"]["labels"], old["status"]["conditions"]
    new = copy.deepcopy(old)
    new["metadata"] |= {"annotations": {f"{PREFIX}verdict": "ready"}, "labels": {LABEL: "true"}}
    new["status"]["conditions"] = [NODE["status"]["conditions"][OURS]]
    assert refusals(POLICY, old, new) == []


def test_the_policy_answers_as_recorded() -> None:
    """What a real API server let through with such a policy passes, and what it refused is refused.

    But for one: applying no condition at all took the kubelet's along, and was let through.
    """
    old, answers = EXCHANGES[0]["response"]["body"], {}
    for each in EXCHANGES[1:]:
        request, response = each["request"], each["response"]
        if request["method"] != "PATCH":
            continue
        if response["status"] == 200:
            answers[each["case"]] = refusals(POLICY, old, response["body"])
            old = response["body"]
        elif "ValidatingAdmissionPolicy" in response["body"]["message"]:
            new = copy.deepcopy(old)
            new["metadata"]["name"] = request["body"]["metadata"]["name"]
            new["metadata"]["annotations"] |= request["body"]["metadata"]["annotations"]
            answers[each["case"]] = refusals(
                POLICY, old | {"metadata": old["metadata"] | {"name": new["metadata"]["name"]}}, new
            )
    assert answers.pop("denied-by-policy-foreign-annotation") == [ANNOTATIONS]
    assert answers.pop("denied-by-policy-other-node") == [OWN_NODE]
    assert answers.pop("retract-condition") == [CONDITIONS]
    assert len(answers) >= 10
    assert not any(answers.values()), answers


# The lock of the image.

LOCK = (CHECKOUT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))


def test_the_lock_has_all_that_the_project_needs() -> None:
    """scripts/update-lock was run after a dependency changed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    for text in (*project["project"]["dependencies"], *project["build-system"]["requires"]):
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert name in LOCKED, f"{text}: run scripts/update-lock"
        assert wanted.specifier.contains(LOCKED[name]), f"{text}: run scripts/update-lock"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_lock_has_a_wheel_for_every_machine(machine: str) -> None:
    """One that runs everywhere, or one for each; and as many hashes as wheels."""
    for block in LOCK.split("\n\n")[1:]:
        wheels = re.findall(r"^# (\S+\.whl)$", block, re.MULTILINE)
        assert [one for one in wheels if one.endswith((f"_{machine}.whl", "-any.whl"))], block
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)) == len(wheels), block
