"""Rules of scheduling, annotations, policies and evidence, case by case."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.deploy.manifests import CHECKOUT, documents
from lab.fleet import objects
from lab.fleet.cluster import HOSTILE, KARPENTER
from lab.fleet.objects import NOW, managed, published, ready, uid
from probe.fleet import wire, wire_nodes
from probe.fleet.ask import Judge
from probe.fleet.canonical import canonical
from probe.fleet.evidence import LEAST, evidence_rows, samples
from probe.fleet.fold import Fold
from probe.fleet.namespaces import namespace_row, version_of
from probe.fleet.nodes import Nodes
from probe.fleet.owners import Owners
from probe.fleet.policies import Bindings, Document, policy_rows
from probe.fleet.reach import admits, confined, placement_of
from probe.fleet.server import Page, decoded
from probe.fleet.volumes import Volumes
from probe.fleet.workloads import workload_rows
from probe.outputs.annotations import LABEL, PREFIX
from probe.pod.spec import PodSpec
from probe.publish.api.interface import Failure

Json = dict[str, Any]


def spec(**fields: Any) -> wire.Spec:
    return msgspec.convert(fields, wire.Spec)


def affinity(*terms: list[tuple[str, str, list[str]]]) -> Json:
    found = [
        {"matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, values in term]}
        for term in terms
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": found}}}


@pytest.mark.parametrize(
    ("fields", "is_confined"),
    [
        ({}, False),
        ({"nodeSelector": {LABEL: "true"}}, True),
        ({"nodeSelector": {LABEL: "false"}}, False),
        ({"nodeSelector": {LABEL: "true"}, "affinity": affinity([("a", "Exists", [])])}, True),
        ({"affinity": affinity([(LABEL, "In", ["true"])])}, True),
        ({"affinity": affinity([(LABEL, "In", ["true", "false"])])}, False),
        ({"affinity": affinity([(LABEL, "NotIn", ["false"])])}, True),
        ({"affinity": affinity([(LABEL, "NotIn", ["true"])])}, False),
        ({"affinity": affinity([(LABEL, "Exists", [])])}, False),
        ({"affinity": affinity([(LABEL, "In", ["true"]), ("a", "Exists", [])])}, True),
        ({"affinity": affinity([(LABEL, "In", ["true"])], [("a", "Exists", [])])}, False),
        ({"affinity": affinity([(LABEL, "In", ["true"])], [(LABEL, "NotIn", ["false"])])}, True),
        ({"affinity": affinity()}, False),
        ({"affinity": affinity([])}, False),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, False),
        ({"affinity": {"podAntiAffinity": {}}}, False),
    ],
)
def test_confined(fields: Json, is_confined: bool) -> None:
    """Only where no node without a proven `ready` is admitted."""
    assert confined(placement_of(spec(**fields))) == is_confined


TAINT = wire_nodes.Taint(key="gpu", effect="NoSchedule", value="yes")


@pytest.mark.parametrize(
    ("fields", "labels", "taints", "admitted"),
    [
        ({}, {}, (), True),
        ({"nodeSelector": {"a": "1"}}, {"a": "1", "b": "2"}, (), True),
        ({"nodeSelector": {"a": "1"}}, {"a": "2"}, (), False),
        ({"nodeSelector": {"a": "1"}}, {}, (), False),
        ({"affinity": affinity([("a", "In", ["1", "2"])])}, {"a": "2"}, (), True),
        ({"affinity": affinity([("a", "NotIn", ["1"])])}, {}, (), True),
        ({"affinity": affinity([("a", "DoesNotExist", [])])}, {"a": "1"}, (), False),
        ({"affinity": affinity([("a", "Gt", ["5"])])}, {"a": "10"}, (), True),
        ({"affinity": affinity([("a", "Lt", ["5"])])}, {"a": "10"}, (), False),
        ({"affinity": affinity([("a", "Gt", ["x"])])}, {"a": "10"}, (), False),
        ({"affinity": affinity([("a", "Nonsense", ["x"])])}, {"a": "x"}, (), False),
        ({"affinity": affinity([])}, {}, (), False),
        ({"affinity": affinity()}, {}, (), False),
        ({"affinity": affinity([("a", "Exists", [])], [("b", "Exists", [])])}, {"b": ""}, (), True),
        ({}, {}, (TAINT,), False),
        ({"tolerations": [{"operator": "Exists"}]}, {}, (TAINT,), True),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {}, (TAINT,), True),
        ({"tolerations": [{"key": "gpu", "value": "yes"}]}, {}, (TAINT,), True),
        ({"tolerations": [{"key": "gpu", "value": "no"}]}, {}, (TAINT,), False),
        ({"tolerations": [{"key": "gpu", "operator": "Lt", "value": "yes"}]}, {}, (TAINT,), False),
        ({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]}, {}, (TAINT,), False),
        ({}, {}, (wire_nodes.Taint(key="x", effect="PreferNoSchedule"),), True),
        ({}, {}, (wire_nodes.Taint(key="node.kubernetes.io/not-ready", effect="NoExecute"),), True),
        ({}, {"kubernetes.io/os": "windows"}, (), False),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, {"kubernetes.io/os": "windows"}, (), True),
    ],
)
def test_admits(fields: Json, labels: dict[str, str], taints: tuple[wire_nodes.Taint, ...], admitted: bool) -> None:
    """As the scheduler would, without what passes by itself."""
    assert admits(placement_of(spec(**fields)), labels, taints, "n") == admitted


def taken(document: Json, pool_label: str = "") -> Nodes:
    nodes = Nodes(NOW.timestamp(), pool_label)
    nodes.add([msgspec.convert(document, wire_nodes.Node)])
    return nodes


BOOT = uid("boot", "n")


@pytest.mark.parametrize(
    ("change", "agent", "reason"),
    [
        ({}, "fresh", ""),
        (
            {
                "verdict": "not-ready",
                "reason": "TmpfsNotIdmappable",
                "levels": "stateless=ready,projected=not-ready,local=not-ready",
            },
            "fresh",
            "TmpfsNotIdmappable",
        ),
        ({"verdict": None}, "missing", "AgentMissing"),
        ({"verdict": "Ready"}, "malformed", "Malformed"),
        ({"levels": "stateless=read"}, "malformed", "Malformed"),
        ({"levels": ""}, "malformed", "Malformed"),
        ({"levels": "stateless=not-ready"}, "malformed", "Malformed"),
        ({"levels": "stateless=ready,projected=ready"}, "malformed", "Malformed"),
        ({"levels": "stateless=not-ready,projected=ready,local=ready"}, "malformed", "Malformed"),
        ({"levels": "stateless=unknown,projected=ready,local=ready"}, "malformed", "Malformed"),
        ({"verdict": "not-ready", "levels": "stateless=ready,projected=ready,local=ready"}, "malformed", "Malformed"),
        ({"verdict": "unknown", "levels": "stateless=ready,projected=ready,local=ready"}, "malformed", "Malformed"),
        ({"levels": "stateless=ready,projected=ready,local=not-ready"}, "malformed", "Malformed"),
        ({"refreshed-at": "yesterday"}, "malformed", "Malformed"),
        ({"refreshed-at": None}, "malformed", "Malformed"),
        ({"boot-id": "other"}, "other-boot", "OtherBoot"),
        ({"boot-id": None}, "other-boot", "OtherBoot"),
        ({"refreshed-at": objects.time_of(timedelta(hours=25))}, "stale", "ReportStale"),
        ({"refreshed-at": objects.time_of(timedelta(hours=23))}, "fresh", ""),
        ({"refreshed-at": objects.time_of(timedelta(minutes=-4))}, "fresh", ""),
        ({"refreshed-at": objects.time_of(timedelta(minutes=-6))}, "future", "ClocksDiffer"),
        ({"refreshed-at": "9999-12-31T23:59:59Z"}, "future", "ClocksDiffer"),
    ],
)
def test_what_annotations_are_worth(change: dict[str, str | None], agent: str, reason: str) -> None:
    """Only whole ones, of this boot, of the last day, give a verdict; all others leave the node unknown."""
    own = {**published(ready(), BOOT), **{f"{PREFIX}{key}": value for key, value in change.items()}}
    document = objects.node("n", annotations={key: value for key, value in own.items() if value is not None})
    (row,) = taken(document).rows
    assert (row.agent, row.reason) == (agent, reason)
    assert (row.verdict == "unknown") == (agent != "fresh")
    assert agent == "fresh" or (row.capacity, row.refused) == (None, ())


@pytest.mark.parametrize(
    ("entries", "agent"),
    [
        (managed("userns-probe", published(ready(), BOOT)), "fresh"),
        (managed("kubectl", published(ready(), BOOT)), "foreign"),
        (
            [
                *managed("userns-probe", published(ready(), BOOT)),
                *managed("kubectl-annotate", published(ready(), BOOT)),
            ],
            "foreign",
        ),
        *(
            (
                [
                    *managed("userns-probe", published(ready(), BOOT)),
                    *managed("kubectl-annotate", {f"{PREFIX}{key}": ""}),
                ],
                "foreign",
            )
            for key in ("levels", "report", "id-range", "oci-runtimes", "boot-id", "refreshed-at")
        ),
        (
            managed("userns-probe", {key: "" for key in published(ready(), BOOT) if key != f"{PREFIX}levels"}),
            "foreign",
        ),
        (
            [*managed("userns-probe", published(ready(), BOOT)), *managed("kubectl-annotate", {"team": "blue"})],
            "fresh",
        ),
        ([], "fresh"),
        ([{"manager": "kubelet"}], "foreign"),
    ],
)
def test_who_wrote_the_annotations(entries: list[Json], agent: str) -> None:
    """Those that another field manager owns, or owns too, are not believed."""
    document = objects.node("n", ready())
    document["metadata"]["managedFields"] = entries
    assert taken(document).rows[0].agent == agent


@given(
    st.dictionaries(
        st.sampled_from(
            ["verdict", "levels", "filesystems", "id-range", "report", "boot-id", "refreshed-at", "oci-runtimes"]
        ),
        st.text(max_size=60),
    )
)
def test_hostile_annotations(own: dict[str, str]) -> None:
    """Whatever they hold, the node has one row, shown plainly, and it is never ready by nonsense."""
    document = objects.node("n", annotations={f"{PREFIX}{key}": value for key, value in own.items()})
    (row,) = taken(document).rows
    assert row.verdict == "unknown"
    assert all(text.isprintable() for text in (row.reason, row.agent_version, row.kernel))


def test_pools() -> None:
    """The given label, else those of the clouds in their order, else the control plane, else none."""
    labels = {
        KARPENTER: "k",
        "node.kubernetes.io/instance-type": "m5",
        "team": "blue",
        "node-role.kubernetes.io/control-plane": "",
    }
    assert taken(objects.node("n", labels=labels)).rows[0].pool == "k"
    assert taken(objects.node("n", labels=labels), "team").rows[0].pool == "blue"
    assert taken(objects.node("n", labels=labels), "nobody").rows[0].pool == "control-plane"
    assert taken(objects.node("n")).rows[0].pool == "(none)"


def bound(kind: str, *documents: Document, complete: bool = True) -> dict[str, Bindings]:
    return {kind: Bindings(list(documents), complete=complete)}


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("object.spec.hostUsers == false", "require"),
        ("has(object.spec.hostUsers) && !object.spec.hostUsers", "require"),
        ("!object.spec.?hostUsers.orValue(true)", "require"),
        ("object.spec.template.spec.?hostUsers.orValue(true) == false", "require"),
        ("!has(object.spec.hostUsers)", "forbid"),
        ("object.spec.?hostUsers.orValue(true)", "forbid"),
        ("!has(object.spec.hostUsers) || object.spec.hostUsers == true", "forbid"),
        ("object.spec.hostUsers == false || object.metadata.namespace == 'x'", "unclear"),
        ("!(object.spec.hostUsers == false)", "unclear"),
        ("has(object.spec.hostUsers)", "unclear"),
        ("variables.x == 'hostUsers'", "unclear"),
        ("object.spec.hostUsers == false" + " " * 100_000, "unclear"),
    ],
)
def test_validating_policies(text: str, effect: str) -> None:
    """Known forms and no others: a wrong `require` would be worse than `unclear`."""
    document = Document(metadata={"name": "p"}, spec={"validations": [{"expression": text}]})
    (row,) = policy_rows([("ValidatingAdmissionPolicy", document)], bound("ValidatingAdmissionPolicy"))
    assert row.effect == effect or len(text) > 10_000
    assert "no binding" in row.scope[0]


@pytest.mark.parametrize(
    "spec",
    [
        None,
        7,
        [],
        "hostUsers",
        {"validations": 7},
        {"validations": [7, None, {"expression": 7}]},
        {"rules": {"a": 1}},
        {"rules": [{"validate": {"pattern": {"spec": [{"hostUsers": False}] * 3}}}]},
    ],
)
def test_policies_of_any_shape(spec: Any) -> None:
    """A custom resource may have any."""
    for kind in ("ClusterPolicy", "ValidatingAdmissionPolicy", "MutatingPolicy"):
        assert len(policy_rows([(kind, Document(metadata=spec, spec=spec))], bound(kind, Document(spec=spec)))) == 1


def test_parts_that_disagree_are_unclear() -> None:
    """A policy that requires it here and forbids it there."""
    both = [{"expression": "object.spec.hostUsers == false"}, {"expression": "!has(object.spec.hostUsers)"}]
    (row,) = policy_rows([("ValidatingPolicy", Document(spec={"validations": both}))], {})
    assert row.effect == "unclear"


@pytest.mark.parametrize(
    ("level", "version", "server", "pinned", "relaxed"),
    [
        ("restricted", None, (1, 36), False, True),
        ("restricted", "latest", (1, 35), False, True),
        ("restricted", "latest", (1, 34), False, False),
        ("restricted", "latest", None, False, False),
        ("restricted", "v1.35", (1, 36), False, True),
        ("restricted", "v1.34", (1, 36), True, False),
        ("baseline", "v1.28", (1, 36), True, False),
        ("privileged", "v1.20", (1, 36), False, False),
        ("nonsense", "v1.20", (1, 36), False, False),
        ("", "v1.20", (1, 36), False, False),
        ("restricted", HOSTILE, (1, 36), False, False),
    ],
)
def test_pod_security(
    level: str, version: str | None, server: tuple[int, int] | None, pinned: bool, relaxed: bool
) -> None:
    """Relaxed from policy version 1.35; `latest` is the API server's; pinned only where an older version is why."""
    prefix = "pod-security.kubernetes.io/enforce"
    labels = ({prefix: level} if level else {}) | ({f"{prefix}-version": version} if version else {})
    row = namespace_row(wire.Meta(name="n", labels=labels), server, ())
    assert row.pinned == pinned
    assert ("not required" in row.relaxed or "allowed" in row.relaxed) == relaxed


def test_versions() -> None:
    """Of every distribution."""
    found = [
        version_of(text) for text in ("v1.35.2", "v1.36.0-eks-1a2b", "v1.34+", "1.33", "latest", "v2.1", "", "v1.x")
    ]
    assert found == [(1, 35), (1, 36), (1, 34), (1, 33), None, None, None, None]


def vector(*found: tuple[Json, Any]) -> bytes:
    result = [{"metric": metric, "value": [1.0, value]} for metric, value in found]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def test_evidence() -> None:
    """All attempts failed on a ready node: a contradiction. Too few, some, or on a node that is not ready: none."""
    rows = [
        taken(objects.node(name, ready() if name != "bad" else objects.not_ready())).rows[0]
        for name in ("all", "few", "some", "bad", "quiet")
    ]
    counts = {"all": (5, 5), "few": (LEAST - 1, LEAST - 1), "some": (9, 8), "bad": (7, 7), "quiet": (0, 0)}
    found = samples(
        200,
        vector(
            *(
                ({"node": name, "counter": counter}, str(count))
                for name, both in counts.items()
                for counter, count in zip(("attempts", "errors"), both, strict=True)
            )
        ),
    )
    evidence = {row.node: row for row in evidence_rows(found, rows)}
    assert {name for name, row in evidence.items() if row.contradiction} == {"all"}
    assert set(evidence) == {"all", "few", "some", "bad"}


def test_evidence_without_the_label_node() -> None:
    """The host of `instance` is the node's name where scraping sets no other."""
    found = samples(
        200,
        vector(
            ({"instance": "n:10250", "counter": "attempts"}, "4"),
            ({"counter": "errors"}, "4"),
            ({"node": "n", "counter": "errors"}, "NaN"),
        ),
    )
    assert found == [("n", "attempts", 4.0)]


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b""),
        (200, b"<html>"),
        (503, b"{}"),
        (400, b'{"status":"error","error":"bad"}'),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}'),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[{"metric":7}]}}'),
        (200, b"[" * 100_000),
    ],
)
def test_no_evidence(status: int, content: bytes) -> None:
    """Anything else than a vector is a Failure that says so."""
    with pytest.raises(Failure):
        samples(status, content)


FIELDS = (
    *(
        "name",
        "volumes",
        "containers",
        "nodeSelector",
        "affinity",
        "nodeAffinity",
        "tolerations",
        "hostUsers",
        "nodeName",
    ),
    *(
        "persistentVolumeClaim",
        "claimName",
        "nfs",
        "csi",
        "driver",
        "resources",
        "limits",
        "volumeMounts",
        "key",
        "operator",
    ),
    *(
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "matchExpressions",
        "matchFields",
        "values",
    ),
    *("ownerReferences", "controller", "kind", "uid", "labels", "annotations", "status", "phase", "securityContext"),
)
"""Keys at which something is expected."""
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_pods_of_any_shape(metadata: Any, spec: Any, status: Any) -> None:
    """Whatever an object holds, it is one Pod of one workload, or counted as one that could not be decoded."""
    good = objects.pod("good", "default", node="n")
    hostile = {"metadata": metadata, "spec": spec, "status": status}
    content = json.dumps({"kind": "PodList", "metadata": {}, "items": [good, hostile]}).encode()
    page, skipped = decoded(content, msgspec.json.Decoder(Page[wire.Pod]), wire.Pod)
    nodes = taken(objects.node("n", ready()))
    fold = Fold(nodes.group_of, Volumes(), lambda placement, node: True)
    fold.add(page.items or [])
    rows = workload_rows(fold, Owners(fold.controllers), nodes, Judge(nodes, {}, {}))
    assert sum(row.pods for row in rows) + skipped == 2
    assert all(text.isprintable() for row in rows for text in (row.namespace, row.kind, row.name))


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("require", "require"),
        ("deny", "confine"),
        ("warn", "confine"),
        ("select", "confine"),
        ("select-kyverno", "confine"),
    ],
)
def test_the_shipped_policies(name: str, effect: str) -> None:
    """What deploy/policies does is recognised, with its scope where it is bound."""
    found = documents((CHECKOUT / f"deploy/policies/{name}.yaml").read_text())
    policy, *bindings = (msgspec.convert(each, Document) for each in found)
    (row,) = policy_rows([(policy.kind, policy)], bound(policy.kind, *bindings))
    assert row.effect == effect
    assert row.scope
    assert not bindings or "no binding" not in row.scope[0]


@pytest.mark.parametrize(
    ("modes", "attributes", "shared"),
    [
        (("ReadWriteMany",), None, True),
        (("ReadWriteOnce",), None, False),
        (("ReadWriteOnce",), {"sharedv4": "true"}, True),
        (("ReadOnlyMany",), None, None),
        (None, None, None),
    ],
)
def test_who_may_write_a_volume(
    modes: tuple[str, ...] | None, attributes: dict[str, str] | None, shared: bool | None
) -> None:
    """Modes and attributes decide as they do for `userns-probe pod`."""
    csi = {"driver": "pxd.portworx.com", "volumeAttributes": attributes}
    spec = {"csi": csi, "accessModes": modes, "claimRef": {"namespace": "a", "name": "c"}}
    volumes = Volumes()
    volumes.add([msgspec.convert({"spec": spec}, wire.PersistentVolume)])
    assert volumes.claims["a", "c"].shared is shared


def test_workloads_that_ask_for_no_device() -> None:
    """A quantity of 0, which charts write, makes no device; any other number is the same question."""

    def asked(quantity: str | int) -> Any:
        limits = {"nvidia.com/gpu": quantity, "cpu": 1}
        found, _ = canonical(msgspec.convert({"containers": [{"resources": {"limits": limits}}]}, PodSpec), {})
        return found.containers

    assert asked(0) == asked("0") == canonical(msgspec.convert({"containers": [{}]}, PodSpec), {})[0].containers
    assert asked(1) == asked("8") != asked(0)
