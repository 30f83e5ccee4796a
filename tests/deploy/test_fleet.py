"""deploy/fleet: the rights are exactly what is asked for, and the CronJob's commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lab.deploy.manifests import CHECKOUT, documents
from lab.fleet.cluster import small
from lab.fleet.server import Asked, ListServer
from probe import __version__
from probe.cli import verbs as cli
from tests.extent import some_slow
from tests.fleet.conftest import taking

FOLDER = CHECKOUT / "deploy/fleet"
RBAC, CRONJOB = (documents((FOLDER / name).read_text()) for name in ("rbac.yaml", "cronjob.yaml"))
POD = next(each for each in CRONJOB if each["kind"] == "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_the_rights_are_what_is_asked_for(tmp_path: Path) -> None:
    """Every list that is asked for, old and new versions alike, and no other; no verb but list, no subresource."""
    server = small()
    with taking(server, tmp_path) as take_now:
        take_now()
    asked = set()
    for each in server.requests:
        if found := re.fullmatch(r"/(?:api/v1|apis/([^/]+)/[^/]+)/([a-z]+)", each.path):
            asked.add((found[1] or "", found[2]))
    assert len(asked) == len({each.path.rpartition("/")[2] for each in server.requests} - {"version", "configmaps"})
    (role,) = (each for each in RBAC if each["kind"] == "ClusterRole")
    granted = {
        (group, resource) for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
    }
    assert granted == asked
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list"}
    (status,) = (rule for each in RBAC if each["kind"] == "Role" for rule in each["rules"])
    (listed,) = (each for each in server.requests if each.path.endswith("/configmaps"))
    assert status["verbs"] == ["list"]
    assert listed.params["fieldSelector"] == f"metadata.name={status['resourceNames'][0]}"
    assert not any("/" in resource or "*" in resource for _, resource in granted)


@pytest.mark.slow
def test_with_exactly_these_rights(tmp_path: Path) -> None:
    """An API server that grants what rbac.yaml has, and no more, gives the whole inventory."""

    class Guarded(ListServer):
        def answer(self, asked: Asked) -> Any:
            found = re.fullmatch(r"/(?:api/v1|apis/([^/]+)/[^/]+)/(?:namespaces/([^/]+)/)?([a-z]+)", asked.path)
            if found and not any(_allows(each, found[1] or "", found[2] or "", found[3], asked) for each in RBAC):
                return self.refuse(403, "Forbidden", f"{found[3]} is forbidden")
            return super().answer(asked)

    whole, guarded = small(), small()
    guarded.__class__ = Guarded
    with taking(whole, tmp_path) as take_now:
        expected = take_now()
    with taking(guarded, tmp_path) as take_now:
        found = take_now()
    assert [(one.name, one.state, one.objects) for one in found.sections] == [
        (one.name, one.state, one.objects) for one in expected.sections
    ]
    assert (found.summary, found.workloads, found.policies) == (expected.summary, expected.workloads, expected.policies)
    assert not {403} & {each.status for each in guarded.requests}


def _allows(role: dict[str, Any], group: str, namespace: str, resource: str, asked: Asked) -> bool:
    """Whether *role* is bound there and lets its subject list *resource*."""
    if role["kind"] not in ("ClusterRole", "Role"):
        return False
    if role["kind"] == "Role" and role["metadata"]["namespace"] != namespace:
        return False
    for rule in role["rules"]:
        names = rule.get("resourceNames")
        named = not names or asked.params.get("fieldSelector") in {f"metadata.name={name}" for name in names}
        if named and "list" in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"]:
            return True
    return False


@pytest.mark.parametrize("version", [*some_slow("1.30", "1.36"), "1.37"])
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each object is of the published types."""
    for each in (*RBAC, *CRONJOB):
        kubernetes_validate.validate(each, version, strict=True)


def test_the_job_may_nothing_but_list() -> None:
    """Nobody, without capabilities, with a read-only root, of the restricted level."""
    (container,) = POD["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert not any("hostPath" in each for each in POD["volumes"])
    assert not POD.keys() & {"hostPID", "hostIPC", "hostNetwork"}


def test_its_commands_are_understood() -> None:
    """Each call of userns-probe in the script parses."""
    (container,) = POD["containers"]
    calls = [line for line in container["command"][-1].splitlines() if line.strip().startswith("userns-probe")]
    assert len(calls) == 2
    for line in calls:
        _, verb, *arguments = shlex.split(line.split(">")[0])
        command = cli.cli.commands[verb]
        assert command.make_context(verb, arguments).params["output"] in ("json", "ndjson")
    assert container["image"] == f"userns-probe:{__version__}"


def test_kustomize_names_the_same_image() -> None:
    """The tag is the version."""
    document = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert document["images"] == [{"name": "userns-probe", "newName": "userns-probe", "newTag": __version__}]
    assert {*document["resources"], "kustomization.yaml"} == {each.name for each in FOLDER.iterdir()}
