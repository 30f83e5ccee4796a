"""deploy/stale: a CronJob that may take back a label and a condition, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import kubernetes_validate
import pytest

from lab.deploy.admission import refusals
from lab.deploy.manifests import CHECKOUT, documents
from probe import __version__
from probe.cli import verbs as cli
from probe.outputs.annotations import LABEL, PREFIX
from tests.deploy.test_manifests import FOREIGN_CONDITION, NODE, OURS, OWNER, READY, TAINT, _drop, _set
from tests.extent import some_slow

FOUND = [
    one for name in ("rights", "cronjob") for one in documents((CHECKOUT / f"deploy/stale/{name}.yaml").read_text())
]
KINDS = {one["kind"]: one for one in FOUND}
POLICY = KINDS["ValidatingAdmissionPolicy"]
USER = "system:serviceaccount:userns-probe:userns-probe-prune"
LABELS, METADATA, SPEC, CONDITIONS, STATUS = (each["message"] for each in POLICY["spec"]["validations"])


def labelled() -> dict[str, Any]:
    """The recorded Node, with everything that can be published."""
    node = copy.deepcopy(NODE)
    node["metadata"]["labels"][LABEL] = "true"
    return node


CASES: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "nothing": (lambda node: None, []),
    "the label away": (_drop("metadata", "labels", LABEL), []),
    "the condition away": (_drop("status", "conditions", OURS), []),
    "field managers": (_set("metadata", "managedFields", to=[]), []),
    "the label to another value": (_set("metadata", "labels", LABEL, to="false"), [LABELS]),
    "another label of ours": (_set("metadata", "labels", f"{PREFIX}other", to=""), [LABELS]),
    "a foreign label": (_set("metadata", "labels", "node-role.kubernetes.io/control-plane", to=""), [LABELS]),
    "a foreign label away": (_drop("metadata", "labels", "kubernetes.io/hostname"), [LABELS]),
    "all labels away": (_drop("metadata", "labels"), [LABELS]),
    "an annotation of ours": (_set("metadata", "annotations", f"{PREFIX}verdict", to="ready"), [METADATA]),
    "a foreign annotation away": (_drop("metadata", "annotations", "node.alpha.kubernetes.io/ttl"), [METADATA]),
    "an owner": (_set("metadata", "ownerReferences", to=[OWNER]), [METADATA]),
    "a finalizer": (_set("metadata", "finalizers", to=["example.org/x"]), [METADATA]),
    "a taint": (_set("spec", "taints", to=[TAINT]), [SPEC]),
    "unschedulable": (_set("spec", "unschedulable", to=True), [SPEC]),
    "the spec away": (_drop("spec"), [SPEC]),
    "our condition changed": (_set("status", "conditions", OURS, "status", to="Unknown"), [CONDITIONS]),
    "Ready changed": (_set("status", "conditions", READY, "status", to="False"), [CONDITIONS]),
    "Ready away": (_drop("status", "conditions", READY), [CONDITIONS]),
    "a condition of others": (lambda node: node["status"]["conditions"].append(FOREIGN_CONDITION), [CONDITIONS]),
    "all conditions away": (_drop("status", "conditions"), [CONDITIONS]),
    "the status away": (_drop("status"), [CONDITIONS, STATUS]),
    "the capacity": (_drop("status", "capacity"), [STATUS]),
    "a field of a later version": (_set("status", "somethingNew", to=1), [STATUS]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_policy(name: str) -> None:
    """Only the removal of our label and our condition, on a Node as a real API server gave it."""
    change, expected = CASES[name]
    new = labelled()
    change(new)
    assert refusals(POLICY, labelled(), new, user=USER, node=None) == expected


def test_the_policy_is_about_nobody_else() -> None:
    """The agent, a kubelet and an administrator go on as before."""
    new = labelled()
    new["spec"]["taints"] = [TAINT]
    for user in ("system:serviceaccount:userns-probe:userns-probe", "system:node:k8slab", "admin"):
        assert refusals(POLICY, labelled(), new, user=user, node=None) == []


def test_rights_are_the_least() -> None:
    """Those that tests/publish/test_publish_stale.py finds to suffice; policy, binding and rights name one account."""
    rules = {(one["resources"][0], verb) for one in KINDS["ClusterRole"]["rules"] for verb in one["verbs"]}
    assert rules == {("nodes", "get"), ("nodes", "list"), ("nodes", "patch"), ("nodes/status", "patch")}
    (subject,) = KINDS["ClusterRoleBinding"]["subjects"]
    account = KINDS["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert f"system:serviceaccount:{subject['namespace']}:{subject['name']}" == USER
    assert USER in POLICY["spec"]["matchConditions"][0]["expression"]
    assert KINDS["ValidatingAdmissionPolicyBinding"]["spec"]["policyName"] == POLICY["metadata"]["name"]
    assert POLICY["metadata"]["name"] != "userns-probe", "the agent's own policy has that name"


def test_the_cron_job_runs_what_there_is() -> None:
    """Its arguments are those of the command, and it has no power over a node."""
    pod = KINDS["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    verb, *arguments = container["args"]
    context = cli.cli.commands[verb].make_context(verb, list(arguments))
    assert context.params["stale"] == timedelta(days=1)
    assert container["image"] == f"userns-probe:{__version__}"
    assert pod["serviceAccountName"] == KINDS["ServiceAccount"]["metadata"]["name"]
    assert not pod.keys() & {"volumes", "hostPID", "hostIPC", "hostNetwork"}
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("version", [*some_slow("1.30", "1.33"), "1.37"])
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each object is of the published types, without a field too much."""
    for each in FOUND:
        kubernetes_validate.validate(each, version, strict=True)
        assert each["metadata"]["labels"] == {
            "app.kubernetes.io/name": "userns-probe-prune",
            "app.kubernetes.io/part-of": "userns-probe",
        }
