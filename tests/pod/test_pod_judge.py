"""The one function: a Pod and a node. What is not known, or was not tried, is never said to be so."""

from __future__ import annotations

import json
import stat
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import REPORTS
from probe.devices import DeviceCause, DeviceKind, KindOutcome
from probe.outputs.annotations import PREFIX as PUBLISHED_PREFIX
from probe.outputs.annotations import node_annotations
from probe.outputs.staleness import expired
from probe.pod.annotations import PREFIX, node_of_annotations
from probe.pod.devices import is_zero
from probe.pod.documents import parse_documents
from probe.pod.judge import judge
from probe.pod.manifests import find_workloads
from probe.pod.model import POD_LEVELS, Answer, Hazard, HostNetwork, Judgement, Node, Pod, Reason
from probe.pod.node import node_of_report
from probe.report import FilesystemRow, HandlerVerdict, VolumeRow
from probe.tables import drivers, filesystems
from probe.tables.filesystems import KNOWN_TO, NEVER, OUT_OF_TREE, SINCE, judge_filesystem

READY = dict.fromkeys(POD_LEVELS, Answer(verdict="ready"))
FAILS = dict.fromkeys(POD_LEVELS, Answer(verdict="not-ready", reason="HandlerWithoutUserNamespaces", message="no"))
NODE = Node(
    told_by="probe",
    handlers={"": READY, "runc": READY, "kata": FAILS},
    handlers_complete=True,
    oci_runtimes={"": "runc"},
    kernel_release="6.12.107",
    kubelet_version="1.36.2",
    runtime_name="containerd",
    runtime_version="2.2.3",
    ids_per_pod=65_536,
    hazards={"hazard-image-volumes": Hazard(status="pass")},
)


def manifest(objects: list[dict[str, Any]], assume: bool = False) -> Pod:
    content = "\n".join(json.dumps(one) for one in objects).encode()
    (workload,) = find_workloads([("f", parse_documents(content))], assume).workloads
    assert workload.pod is not None, workload.problem
    return workload.pod


def pod(assume: bool = False, **spec: Any) -> Pod:
    return manifest([{"kind": "Pod", "spec": {"hostUsers": False, "containers": [{"name": "c"}], **spec}}], assume)


def with_volume(*others: dict[str, Any], readonly: bool = False, sub_path: str = "", **volume: Any) -> Pod:
    """A Pod without a token, whose one container mounts one volume."""
    mount = {"name": "v", "mountPath": "/v", "readOnly": readonly, "subPath": sub_path}
    spec = {
        "hostUsers": False,
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "volumeMounts": [mount]}],
        "volumes": [{"name": "v", **volume}],
    }
    return manifest([{"kind": "Pod", "spec": spec}, *others])


def row(path: str, result: Any, **values: Any) -> FilesystemRow:
    usable: Any = {"supported": "yes", "refused": "no"}.get(result)
    fields = {"fstype": "ext4", "device": "8:1", "reason": "", "step": "", "errno": "", "mounts_below": 0}
    return FilesystemRow(role="path", path=path, result=result, **{"usable": usable, **fields, **values})


def reason_of(judgement: Judgement, field: str) -> Reason:
    (found,) = [one for one in judgement.reasons if one.field == field]
    return found


def volume_reason(judged: Pod, node: Node = NODE) -> Reason:
    (found,) = [one for one in judge(judged, node).reasons if one.field.startswith("spec.volumes[0]")]
    return found


def with_(**changes: Any) -> Node:
    return msgspec.structs.replace(NODE, **changes)


def test_a_ready_node() -> None:
    """A plain Pod runs, as it was tried, at the level of its token."""
    judgement = judge(pod(), NODE)
    assert (judgement.outcome, judgement.asks, judgement.level, judgement.source) == (
        "runs",
        True,
        "projected",
        "tried",
    )


def test_nothing_known() -> None:
    """On a node that nobody knows nothing runs, and nothing fails but what the API server refuses."""
    nobody = Node(told_by="annotations")
    assert judge(pod(), nobody).outcome == "unknown"
    assert judge(pod(hostPID=True), nobody).outcome == "refused"


@pytest.mark.parametrize(
    ("host_users", "assume", "outcome", "asks"),
    [
        (None, False, "runs", False),
        (True, True, "runs", False),
        (None, True, "fails", False),
        (False, False, "fails", True),
    ],
)
def test_assume(host_users: bool | None, assume: bool, outcome: str, asks: bool) -> None:
    """Only a Pod that says nothing is judged as if it had asked; one that keeps the node's users needs nothing."""
    judgement = judge(pod(assume, hostUsers=host_users), with_(handlers={"": FAILS}))
    assert (judgement.outcome, judgement.asks) == (outcome, asks)


@given(st.sampled_from(sorted(REPORTS)))
def test_reports(name: str) -> None:
    """A Pod with all that a node's levels are about runs exactly where the report's verdict is ready."""
    report = REPORTS[name]
    spec = {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"volumeMounts": [{"name": "v"}]}]}
    expected = {"ready": "runs", "not-ready": "fails", "unknown": "unknown"}[report.verdict]
    assert judge(pod(**spec), node_of_report(report)).outcome == expected
    assert judge(pod(**spec), node_of_report(expired(report))).outcome == "unknown"


def test_a_level_alone() -> None:
    """tmpfs is no matter to a Pod without a token, and its disk is."""
    node = with_(handlers={"": READY | {"projected": FAILS["projected"]}})
    assert judge(pod(), node).outcome == "fails"
    assert judge(with_volume(emptyDir={}), node).outcome == "runs"
    assert judge(with_volume(emptyDir={"medium": "Memory"}), node).outcome == "fails"
    assert judge(with_volume(secret={"secretName": "s"}), node).outcome == "fails"
    assert judge(with_volume(downwardAPI={}), node).outcome == "fails"


def test_a_volume_that_no_container_mounts() -> None:
    """No runtime maps it."""
    unmounted = pod(volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}])
    assert judge(unmounted, NODE).outcome == "runs"


RUNTIME_CLASS = {"kind": "RuntimeClass", "metadata": {"name": "fast"}}


@pytest.mark.parametrize(
    ("handler", "outcome"), [("runc", "runs"), ("kata", "fails"), ("gone", "fails"), (None, "unknown")]
)
def test_runtime_classes(handler: str | None, outcome: str) -> None:
    """The class names the handler; a handler that is called like it is not taken for its own."""
    objects = [{"kind": "Pod", "spec": {"hostUsers": False, "runtimeClassName": "fast", "containers": [{}]}}]
    judged = manifest([*objects, *([RUNTIME_CLASS | {"handler": handler}] if handler else [])])
    node = with_(handlers=NODE.handlers | {"fast": READY})
    assert judge(judged, node).outcome == outcome
    assert judge(judged, with_(handlers={"": READY, "x": READY})).outcome == ("fails" if handler else "unknown")
    assert judge(judged, with_(handlers={"": FAILS, "x": FAILS})).outcome == "fails"


def test_an_unknown_class_on_a_node_that_nothing_helps() -> None:
    """Where every handler fails for one cause, which it is does not matter."""
    disabled = Answer(verdict="not-ready", reason="UserNamespacesDisabled", message="off")
    node = Node(told_by="report", handlers={"": dict.fromkeys(POD_LEVELS, disabled)})
    assert judge(pod(runtimeClassName="any"), node).outcome == "fails"


@pytest.mark.parametrize(
    ("number", "ids", "version", "outcome"),
    [
        (65_535, None, "", "runs"),
        (65_536, 65_536, "1.36.2", "fails"),
        (65_536, None, "1.36.2", "unknown"),
        (70_000, 131_072, "1.36.2", "runs"),
        (70_000, 131_072, "1.33.1", "unknown"),
        (-1, 65_536, "1.36.2", "refused"),
        (1 << 31, 65_536, "1.36.2", "refused"),
    ],
)
def test_ids(number: int, ids: int | None, version: str, outcome: str) -> None:
    """An ID has to exist in the Pod, wherever it is named."""
    node = with_(ids_per_pod=ids, kubelet_version=version)
    contexts = ({"runAsUser": number}, {"runAsGroup": number}, {"fsGroup": number}, {"supplementalGroups": [0, number]})
    for context in contexts:
        assert judge(pod(securityContext=context), node).outcome == outcome
    own = {"initContainers": [{"securityContext": {"runAsUser": number}}]}
    assert judge(pod(**own), node).outcome == outcome


@pytest.mark.parametrize(
    ("version", "outcome"), [("1.34.0", "refused"), ("v1.36.2", "refused"), ("1.33.5", "fails"), ("", "fails")]
)
def test_raw_block_volumes(version: str, outcome: str) -> None:
    """Refused from 1.34 on; before that the kubelet fails."""
    judged = pod(containers=[{"volumeDevices": [{"name": "v", "devicePath": "/d"}]}])
    assert judge(judged, with_(kubelet_version=version)).outcome == outcome


def test_host_network_where_a_node_declares_it() -> None:
    """The alpha gate of the API server is not visible on a node."""
    node = with_(declared_features=("UserNamespacesHostNetworkSupport",))
    assert judge(pod(hostNetwork=True), node).outcome == "unknown"
    assert judge(pod(hostNetwork=True), NODE).outcome == "refused"


@pytest.mark.parametrize(
    ("claimed", "supported", "declared", "words"),
    [
        (None, None, None, ("unknown what the Node declares", "unknown what CRI says", "unknown whether")),
        (
            False,
            True,
            (),
            ("the Node does not declare it", "CRI says that it does not", "containerd 2.3.4 supports it"),
        ),
        (True, True, (), ("CRI says that its runtime supports it",)),
        (False, False, None, ("releases do since 2.3.0",)),
    ],
)
def test_host_network_tells_claims_apart(
    claimed: bool | None, supported: bool | None, declared: tuple[str, ...] | None, words: tuple[str, ...]
) -> None:
    """What the Node declares, what CRI says and what the release can do may all differ; the handler's own counts."""
    told = {"": HostNetwork(claimed=claimed, supported=supported), "kata": HostNetwork(claimed=True, supported=True)}
    node = with_(host_network=told, declared_features=declared, runtime_version="2.3.4")
    found = judge(pod(hostNetwork=True), node).reasons[0]
    assert found.outcome == "refused"
    assert all(word in found.message for word in words)


@pytest.mark.parametrize(("release", "word"), [("2.2.5", "does not support it"), ("2.3.0", "2.3.0 supports it")])
def test_host_network_by_the_release_alone(release: str, word: str) -> None:
    """A Node without a report still tells its runtime's release."""
    assert word in judge(pod(hostNetwork=True), with_(runtime_version=release)).reasons[0].message


def test_windows() -> None:
    """A Windows Pod sets no hostUsers at all; one that does not is none of ours."""
    windows = {"name": "windows"}
    assert judge(pod(os=windows, hostUsers=True), NODE).outcome == "refused"
    assert judge(pod(os=windows, hostUsers=None), NODE).outcome == "runs"
    assert judge(pod(os={"name": "windows"}), NODE).outcome == "refused"


HERE = with_(os="linux", architecture="amd64")


def required(*terms: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    """`affinity` whose ORed *terms* have these requirements."""
    found = [
        {"matchExpressions": [{"key": key, "operator": how, "values": values} for key, how, values in term]}
        for term in terms
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": found}}}


OS, ARCH = "kubernetes.io/os", "kubernetes.io/arch"


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"nodeSelector": {OS: "windows"}}, "fails"),
        ({"nodeSelector": {f"beta.{OS}": "windows"}}, "fails"),
        ({"nodeSelector": {OS: "linux", ARCH: "amd64", "pool": "gpu"}}, "runs"),
        ({"nodeSelector": {ARCH: "arm64"}}, "fails"),
        ({"nodeSelector": {"type": "virtual-kubelet"}}, "fails"),
        ({"nodeSelector": {"type": "large"}}, "runs"),
        ({"affinity": required([(OS, "In", ["windows"])])}, "fails"),
        ({"affinity": required([(OS, "In", ["windows", "linux"])])}, "runs"),
        ({"affinity": required([(OS, "NotIn", ["linux"]), ("pool", "Exists", [])])}, "fails"),
        ({"affinity": required([(OS, "In", ["windows"])], [("pool", "In", ["gpu"])])}, "runs"),
        ({"affinity": required([(OS, "In", ["windows"])], [(ARCH, "In", ["arm64", "s390x"])])}, "fails"),
        ({"affinity": required()}, "runs"),
        ({"affinity": {"nodeAffinity": {}, "podAffinity": {}}}, "runs"),
    ],
)
def test_pods_for_other_machines(fields: dict[str, Any], outcome: str) -> None:
    """A Pod that only nodes of another operating system or architecture take never runs here; labels do not count."""
    judgement = judge(pod(**fields), HERE)
    assert judgement.outcome == outcome
    assert outcome == "runs" or (judgement.reasons[0].reason, judgement.source) == ("NotScheduledHere", "rule")
    assert judge(pod(**fields), NODE).outcome == "runs", "of a node of which neither is known"


def test_a_class_for_other_machines() -> None:
    """A RuntimeClass adds its selector to that of its Pods."""
    spec = {"hostUsers": False, "containers": [{}], "runtimeClassName": "k"}
    for os, outcome in (("windows", "fails"), ("linux", "runs")):
        runtime = {
            "kind": "RuntimeClass",
            "metadata": {"name": "k"},
            "handler": "runc",
            "scheduling": {"nodeSelector": {OS: os}},
        }
        assert judge(manifest([{"kind": "Pod", "spec": spec}, runtime]), HERE).outcome == outcome


def test_host_paths() -> None:
    """What was tried at the path decides; the path of another directory, or no attempt, is no evidence."""
    tried = {"/a": row("/a", "supported"), "/b": row("/b", "refused"), "/c": row("/c", "unknown")}
    tried |= {"/a/x": row("/a/x", "refused")}
    node = with_(mounts=tried)
    outcomes = {path: volume_reason(with_volume(hostPath={"path": path}), node) for path in ("/a", "/b", "/c", "/d")}
    assert {path: one.outcome for path, one in outcomes.items()} == {
        "/a": "runs", "/b": "fails", "/c": "unknown", "/d": "unknown",
    }  # fmt: skip
    assert [one.source for one in outcomes.values()] == ["tried", "tried", "unknown", "unknown"]
    assert volume_reason(with_volume(hostPath={"path": "/a"}, sub_path="x"), node).outcome == "fails"
    assert volume_reason(with_volume(hostPath={"path": "/a"}, sub_path="y"), node).outcome == "unknown"


@pytest.mark.parametrize(
    "spec",
    [
        {"os": {"name": "Linux"}},
        {"ephemeralContainers": [{"name": "e"}]},
        {"volumes": [{"name": "v", "hostPath": {"path": ""}}]},
        {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
        {"volumes": [{"name": "v", "hostPath": {"path": "/a", "type": "directory"}}]},
        {"volumes": [{"name": "v", "ephemeral": {}}]},
        *(
            {"volumes": [{"name": "v"}], "containers": [{"volumeMounts": [{"name": "v", field: below}]}]}
            for field, below in (("subPath", "/a"), ("subPath", "a/.."), ("subPathExpr", "../$(A)"))
        ),
    ],
)
@pytest.mark.parametrize("asks", [False, True])
def test_values_that_no_api_server_takes(spec: dict[str, Any], asks: bool) -> None:
    """Whatever users the Pod has."""
    template = {"hostUsers": not asks, "containers": [{}], **spec}
    assert judge(manifest([{"kind": "Pod", "spec": template}]), NODE).outcome == "refused"


def test_values_that_api_servers_take() -> None:
    """Beside those that they do not."""
    mount = {"name": "v", "mountPath": "/v", "subPath": "a/..b/c"}
    spec = {
        "hostUsers": False,
        "os": {"name": "linux"},
        "containers": [{"volumeMounts": [mount]}],
        "volumes": [{"name": "v", "hostPath": {"path": "/a..b/", "type": "Socket"}}],
    }
    assert judge(manifest([{"kind": "Pod", "spec": spec}]), NODE).outcome == "unknown"
    running: dict[str, Any] = {
        "kind": "Pod",
        "metadata": {"uid": "u"},
        "spec": {"hostUsers": False, "containers": [{}]},
    }
    running["spec"]["ephemeralContainers"] = [{"name": "e"}]
    assert judge(manifest([running]), NODE).outcome == "runs"


@pytest.mark.parametrize(
    ("quantity", "is_none"),
    [
        ("0", True),
        ("0Mi", True),
        ("0.00", True),
        ("0e3", True),
        ("00k", True),
        ("10", False),
        ("0.1", False),
        ("1Mi", False),
        ("0x", False),
        ("", False),
    ],
)
def test_quantities_of_nothing(quantity: str, is_none: bool) -> None:
    """With or without a unit."""
    assert is_zero(quantity) == is_none


DISK, SYS, LOCKED = row("/d", "supported", usable="partly"), row("/s", "refused"), row("/r", "supported")
LOCKED = replace(LOCKED, mount_read_only=True)


@pytest.mark.parametrize(
    ("path", "kind", "above", "outcome"),
    [
        ("/d/new", None, DISK, "runs"),
        ("/d/new", "", DISK, "runs"),
        ("/d/a/b", "DirectoryOrCreate", DISK, "runs"),
        ("/d/new", "FileOrCreate", DISK, "runs"),
        ("/d/a/b", "FileOrCreate", DISK, "unknown"),
        *(("/d/new", kind, DISK, "unknown") for kind in ("Directory", "File", "Socket", "CharDevice", "Strange")),
        ("/s/new", "DirectoryOrCreate", SYS, "fails"),
        ("/r/new", "DirectoryOrCreate", LOCKED, "fails"),
    ],
)
def test_host_paths_that_do_not_exist(path: str, kind: str | None, above: FilesystemRow, outcome: str) -> None:
    """They are made on the file system of the directory above, unless their type says that nothing makes them."""
    judgement = judge(with_volume(hostPath={"path": path, "type": kind}), with_(above={path: above}))
    (found,) = (one for one in judgement.reasons if one.field == "spec.volumes[0].hostPath")
    assert found.outcome == outcome
    assert found.outcome != "runs" or [note.field for note in judgement.notes].count(found.field) == 1


@pytest.mark.parametrize(
    ("kind", "found", "outcome"),
    [
        ("Directory", stat.S_IFDIR, "runs"),
        ("DirectoryOrCreate", stat.S_IFREG, "fails"),
        ("File", stat.S_IFDIR, "fails"),
        ("FileOrCreate", stat.S_IFREG, "runs"),
        ("Socket", stat.S_IFREG, "fails"),
        ("CharDevice", stat.S_IFBLK, "fails"),
        ("BlockDevice", stat.S_IFBLK, "runs"),
        ("", stat.S_IFREG, "runs"),
        ("Directory", 0, "runs"),
    ],
)
def test_types_of_host_paths(kind: str, found: int, outcome: str) -> None:
    """What exists has to be what the type says; without a type, anything is mounted."""
    node = with_(mounts={"/d": DISK}, file_types={"/d": found})
    judgement = judge(with_volume(hostPath={"path": "/d", "type": kind}), node)
    (reason,) = (one for one in judgement.reasons if one.field == "spec.volumes[0].hostPath")
    assert (reason.outcome, reason.reason == "PathTypeDiffers") == (outcome, outcome == "fails")


def test_sub_paths_that_do_not_exist() -> None:
    """The kubelet makes them in a volume that exists, whatever its type; a local volume itself is not made."""
    volume, node = {"path": "/d", "type": "Directory"}, with_(above={"/d/x": DISK})
    assert volume_reason(with_volume(hostPath=volume, sub_path="x"), node).outcome == "runs"
    assert (
        volume_reason(
            with_volume(hostPath={**volume, "path": "/d/v"}, sub_path="x"), with_(above={"/d/v/x": DISK})
        ).outcome
        == "unknown"
    )
    local = claimed({"local": {"path": "/d/v"}})
    assert volume_reason(local, with_(above={"/d/v": DISK})).outcome == "unknown"


@pytest.mark.parametrize(
    ("runtime", "readonly", "outcome"),
    [("runc", False, "fails"), ("crun", False, "runs"), ("", False, "unknown"), ("runc", True, "runs")],
)
def test_read_only_file_systems(runtime: str, readonly: bool, outcome: str) -> None:
    """Mounted read-write, a read-only mount fails with runc, and a writable one of a read-only file system does not."""
    locked = {"/a": row("/a", "supported", usable="read-only", mount_read_only=True)}
    node = with_(mounts=locked, oci_runtimes={"": runtime})
    assert volume_reason(with_volume(hostPath={"path": "/a"}, readonly=readonly), node).outcome == outcome
    node = with_(mounts={"/a": row("/a", "supported", usable="read-only")}, oci_runtimes={"": runtime})
    judgement = judge(with_volume(hostPath={"path": "/a"}, readonly=readonly), node)
    assert judgement.outcome == "runs"
    assert any(note.field == "spec.volumes[0].hostPath" for note in judgement.notes) == (not readonly)


def test_mounts_below() -> None:
    """A Pod starts with them, and sees nobody's files."""
    node = with_(mounts={"/a": row("/a", "supported", usable="partly", mounts_below=1)})
    judgement = judge(with_volume(hostPath={"path": "/a"}), node)
    assert judgement.outcome == "runs"
    assert any(note.field == "spec.volumes[0].hostPath" for note in judgement.notes)
    foreign = row("/a", "supported", usable="partly", reason="its owner has no ID in a Pod")
    judgement = judge(with_volume(hostPath={"path": "/a"}), with_(mounts={"/a": foreign}))
    assert judgement.outcome == "runs"
    assert any("no ID in a Pod" in note.message for note in judgement.notes)


def claimed(volume: dict[str, Any] | None = None, name: str = "pv", **claim: Any) -> Pod:
    """A Pod with a claim, and the volume behind it."""
    objects = [{"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"volumeName": name, **claim}}]
    if volume is not None:
        objects.append({"kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume})
    return with_volume(*objects, persistentVolumeClaim={"claimName": "c"})


TABLE = "kernel-and-driver"


@pytest.mark.parametrize(
    ("volume", "kernel", "outcome", "source"),
    [
        ({"nfs": {"server": "s", "path": "/"}}, "6.12", "fails", TABLE),
        ({"csi": {"driver": "ebs.csi.aws.com"}}, "6.12", "runs", TABLE),
        ({"csi": {"driver": "ebs.csi.aws.com"}}, "5.10", "fails", TABLE),
        ({"csi": {"driver": "ebs.csi.aws.com"}}, "", "unknown", "unknown"),
        ({"csi": {"driver": "pd.csi.storage.gke.io", "fsType": "ext3"}}, "6.12", "fails", TABLE),
        ({"csi": {"driver": "efs.csi.aws.com"}}, "6.12", "fails", TABLE),
        ({"csi": {"driver": "efs.csi.aws.com"}}, "9.0", "unknown", "unknown"),
        ({"csi": {"driver": "s3.csi.aws.com"}}, "6.12", "fails", TABLE),
        ({"csi": {"driver": "fsx.csi.aws.com"}}, "6.12", "unknown", "unknown"),
        ({"csi": {"driver": "who.knows"}}, "6.12", "unknown", "unknown"),
        ({"csi": {"driver": "cephfs.csi.ceph.com"}}, "6.1", "fails", TABLE),
        ({"csi": {"driver": "cephfs.csi.ceph.com"}}, "6.12", "unknown", "unknown"),
        ({"iscsi": {}}, "6.12", "runs", TABLE),
        ({"azureFile": {"shareName": "s"}}, "6.12", "fails", TABLE),
        ({"glusterfs": {"path": "p"}}, "6.12", "fails", "rule"),
        ({"local": {"path": "/mnt/disk"}}, "6.12", "unknown", "unknown"),
        ({"hostPath": {"path": "/mnt/disk"}}, "6.12", "unknown", "unknown"),
        (None, "6.12", "unknown", "unknown"),
    ],
)
def test_volumes_that_were_not_tried(volume: dict[str, Any] | None, kernel: str, outcome: str, source: str) -> None:
    """Kernel and driver lead to an answer, which is said not to be tried; else it is unknown."""
    found = volume_reason(claimed(volume), with_(kernel_release=kernel))
    assert (found.outcome, found.source) == (outcome, source), found
    if volume and "local" not in volume and "hostPath" not in volume:
        inline = {key: value for key, value in volume.items() if key != "local"}
        direct = volume_reason(with_volume(**inline), with_(kernel_release=kernel))
        assert (direct.outcome, direct.source) == (outcome, source), direct


def test_storage_classes() -> None:
    """The class of a claim without a volume names the driver, and the file system."""
    storage = {"kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": "pd.csi.storage.gke.io"}
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": "s"}}
    reference = {"persistentVolumeClaim": {"claimName": "c"}}
    assert volume_reason(with_volume(storage, claim, **reference)).outcome == "runs"
    ext3 = storage | {"parameters": {"csi.storage.k8s.io/fstype": "ext3"}}
    assert volume_reason(with_volume(ext3, claim, **reference)).outcome == "fails"
    ephemeral = {"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "s"}}}}
    assert volume_reason(with_volume(ext3, **ephemeral)).outcome == "fails"
    assert volume_reason(with_volume(**ephemeral)).outcome == "unknown"


@pytest.mark.parametrize(
    ("driver", "named"),
    [
        ("pxd.portworx.com", {"sharedv4": "true"}),
        ("csi.hpe.com", {"nfsResources": "true"}),
        ("csi.trident.netapp.io", {"protocol": "file"}),
        ("csi.trident.netapp.io", {"backendType": "ontap-nas"}),
        ("csi-powerstore.dellemc.com", {"csi.storage.k8s.io/fstype": "nfs"}),
        ("csi.san.synology.com", {"protocol": "NFS"}),
    ],
)
def test_nfs_by_its_name_for_one_node(driver: str, named: dict[str, str]) -> None:
    """ReadWriteOnce is NFS, too, where attributes of the volume or parameters of the class say so."""
    modes = {"accessModes": ["ReadWriteOnce"]}
    volume = {"csi": {"driver": driver, "volumeAttributes": named}}
    assert volume_reason(claimed(volume, **modes)).outcome == "fails"
    assert volume_reason(claimed({"csi": {"driver": driver}}, **modes)).outcome != "fails"
    storage = {"kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": driver, "parameters": named}
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": "s", **modes}}
    assert volume_reason(with_volume(storage, claim, persistentVolumeClaim={"claimName": "c"})).outcome == "fails"
    assert volume_reason(with_volume(storage, **ephemeral(storageClassName="s", **modes))).outcome == "fails"
    assert volume_reason(with_volume(**volume)).outcome == "fails"


def test_modes_of_the_volume_count_too() -> None:
    """A volume that many nodes may write is NFS for a claim of one node as well."""
    shared = {"csi": {"driver": "driver.longhorn.io"}, "accessModes": ["ReadWriteMany"]}
    assert volume_reason(claimed(shared, accessModes=["ReadWriteOnce"])).outcome == "fails"
    assert volume_reason(claimed(shared)).outcome == "fails"


def ephemeral(**spec: Any) -> dict[str, Any]:
    return {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


LONGHORN = {"kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": "driver.longhorn.io"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ephemeral_volumes_of_one_class(order: tuple[int, int]) -> None:
    """Each has the answer of its own template, in whatever order they come."""
    modes = [["ReadWriteMany"], ["ReadWriteOnce"]]
    volumes = [{"name": str(at), **ephemeral(storageClassName="s", accessModes=modes[at])} for at in order]
    mounts = [{"name": str(at), "mountPath": f"/{at}"} for at in order]
    spec = {"hostUsers": False, "containers": [{"name": "c", "volumeMounts": mounts}], "volumes": volumes}
    judgement = judge(manifest([{"kind": "Pod", "spec": spec}, LONGHORN]), NODE)
    found = [reason_of(judgement, f"spec.volumes[{index}].ephemeral").outcome for index in range(2)]
    assert found == [("fails", "runs")[at] for at in order]


def test_classes_without_a_name() -> None:
    """Without `storageClassName` the default class counts; the empty name asks for no class at all."""
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}, "name": "s"}
    ebs = {"kind": "StorageClass", "metadata": default, "provisioner": "ebs.csi.aws.com"}
    nameless = {"kind": "StorageClass", "metadata": {"name": ""}, "provisioner": "ebs.csi.aws.com"}
    assert volume_reason(with_volume(ebs, **ephemeral())).outcome == "runs"
    assert volume_reason(with_volume(ebs, **ephemeral(storageClassName=""))).outcome == "unknown"
    assert volume_reason(with_volume(nameless, **ephemeral(storageClassName=""))).outcome == "unknown"
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": ""}}
    for storage in (ebs, nameless):
        by_claim = with_volume(storage, claim, persistentVolumeClaim={"claimName": "c"})
        assert volume_reason(by_claim).outcome == "unknown"
    assert volume_reason(with_volume(ebs, **ephemeral(storageClassName="other"))).outcome == "unknown"
    assert volume_reason(with_volume(ebs, **ephemeral(volumeName="pv"))).outcome == "unknown"
    assert volume_reason(with_volume(ebs, **ephemeral(volumeMode="Block"))).outcome == "fails"


@pytest.mark.parametrize("key", ["csi.storage.k8s.io/fstype", "csi.storage.k8s.io/fsType", "FSTYPE", "fsType"])
def test_parameters_in_any_case(key: str) -> None:
    """A file system that a StorageClass names counts, however its key is spelled."""
    storage = {"kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": "pd.csi.storage.gke.io"}
    ext3 = storage | {"parameters": {"type": "pd-ssd", key: "ext3"}}
    assert volume_reason(with_volume(ext3, **ephemeral(storageClassName="s"))).outcome == "fails"


def test_a_volume_of_two_types() -> None:
    """What a merge of two manifests leaves is refused, in a Pod, and counts as not given in a PersistentVolume."""
    both = {"emptyDir": {}, "nfs": {"server": "s", "path": "/"}}
    for judged in (
        with_volume(**both),
        pod(volumes=[{"name": "v", **both}]),
        pod(hostUsers=True, volumes=[both | {"name": "v"}]),
    ):
        judgement = judge(judged, NODE)
        assert (judgement.outcome, judgement.reasons[0].field) == ("refused", "spec.volumes[0]")
        assert "may not specify more than 1 volume type" in judgement.reasons[0].message
    sources = {"nfs": {"server": "s", "path": "/"}, "csi": {"driver": "ebs.csi.aws.com"}}
    assert volume_reason(claimed(sources)).outcome == "unknown"


TEMPLATE = {
    "hostUsers": False,
    "automountServiceAccountToken": False,
    "containers": [{"name": "c", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
}


def made_by(kind: str, api: str, templates: Any = None, **spec: Any) -> Pod:
    """The Pod of TEMPLATE in an object with volumeClaimTemplates, and the class `efs`."""
    value = {"apiVersion": api, "kind": kind, "spec": {"template": {"spec": TEMPLATE | spec}}}
    value["spec"]["volumeClaimTemplates"] = templates  # type: ignore[index]
    return manifest([value, {"kind": "StorageClass", "metadata": {"name": "efs"}, "provisioner": "efs.csi.aws.com"}])


EFS = [{"metadata": {"name": "data"}, "spec": {"storageClassName": "efs", "accessModes": ["ReadWriteMany"]}}]


@pytest.mark.parametrize(
    ("kind", "api", "templates", "outcome"),
    [
        ("StatefulSet", "apps/v1", EFS, "fails"),
        ("CloneSet", "apps.kruise.io/v1alpha1", EFS, "fails"),
        ("CloneSet", "apps.kruise.io/v1alpha1", None, "unknown"),
        ("Rollout", "argoproj.io/v1alpha1", EFS[:0], "unknown"),
        ("StatefulSet", "apps/v1", [{"metadata": {"name": 1}, "spec": {}}], "unknown"),
        ("StatefulSet", "apps/v1", [{"metadata": {"name": "data"}, "spec": {"storageClassName": 7}}], "unknown"),
        ("StatefulSet", "apps/v1", [{"metadata": {"name": "data"}}], "unknown"),
        ("StatefulSet", "apps/v1", ["data"], "unknown"),
        ("StatefulSet", "apps/v1", {"data": {}}, "unknown"),
        ("StatefulSet", "apps/v1", None, "refused"),
        ("Deployment", "apps/v1", EFS, "refused"),
    ],
)
def test_mounts_without_a_volume(kind: str, api: str, templates: Any, outcome: str) -> None:
    """A mount whose volume is not listed never runs: the API server refuses it, unless something may add it."""
    assert judge(made_by(kind, api, templates), NODE).outcome == outcome
    assert judge(made_by(kind, api, templates), Node(told_by="annotations")).outcome in (outcome, "unknown")


def test_an_admitted_pod_with_a_mount_without_a_volume() -> None:
    """The API server has taken it, so what is given of it is not all."""
    admitted = manifest([{"kind": "Pod", "metadata": {"uid": "u"}, "spec": TEMPLATE}])
    assert judge(admitted, NODE).outcome == "unknown"


def test_no_containers() -> None:
    """The API server refuses it; what another API makes of its template is not known."""
    assert judge(pod(containers=[]), NODE).outcome == "refused"
    assert judge(pod(containers=[], hostUsers=True), NODE).outcome == "refused"
    assert judge(made_by("Deployment", "apps/v1", containers=None), NODE).outcome == "refused"
    assert judge(made_by("CloneSet", "apps.kruise.io/v1alpha1", containers=[]), NODE).outcome == "unknown"


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("/srv/data", "/srv/data"),
        ("/srv/$(reboot); x", "'/srv/$(reboot); x'"),
        ("/srv/it's", "'/srv/it'\"'\"'s'"),
        ("/a\nreboot", None),
        ("/a\x1b[2J", None),
        ("/a\u202eb", None),
        ("--help", None),
    ],
)
def test_names_in_commands(name: str, quoted: str | None) -> None:
    """A remediation can be pasted into a shell: names are quoted, and hostile ones left out with their command."""
    named = manifest([{"kind": "Pod", "spec": {"hostUsers": False, "runtimeClassName": name, "containers": [{}]}}])
    tried = with_(mounts={name: row(name, "unknown")})
    remedies = [
        judge(named, NODE).reasons[0].remediation,
        volume_reason(with_volume(hostPath={"path": name})).remediation,
        volume_reason(with_volume(hostPath={"path": name}), tried).remediation,
    ]
    for remedy in remedies:
        assert remedy
        assert (name in remedy or bool(quoted)) == (quoted is not None)
        assert quoted is None or f" {quoted}" in remedy


@pytest.mark.parametrize(
    ("modes", "outcome"), [(["ReadWriteOnce"], "runs"), (["ReadWriteMany"], "fails"), (None, "unknown")]
)
def test_a_driver_with_two_ways(modes: list[str] | None, outcome: str) -> None:
    """What many nodes may write some serve by NFS."""
    volumes: list[dict[str, Any]] = [
        {"csi": {"driver": name}} for name in ("driver.longhorn.io", "csi.vsphere.vmware.com")
    ]
    for volume in (*volumes, {"portworxVolume": {"volumeID": "v"}}):
        found = volume_reason(claimed(volume, accessModes=modes))
        assert found.outcome == outcome, found


def test_what_many_nodes_write_of_a_driver_of_block_devices() -> None:
    """Nobody knows what it is: no file system of a block device. Other volumes of the driver tell nothing of it."""
    csi = {"csi": {"driver": "ebs.csi.aws.com", "fsType": "ext4"}}
    other = {"csi": {"driver": "who.knows", "fsType": "ext4"}}
    tried = [
        VolumeRow(driver=name, fstype="ext4", result="supported", usable="yes", reason="", count=1)
        for name in ("ebs.csi.aws.com", "who.knows")
    ]
    for volume in (csi, other):
        found = volume_reason(claimed(volume, accessModes=["ReadWriteMany"]), with_(volumes=tuple(tried)))
        assert found.outcome == "unknown", found
        assert volume_reason(claimed(volume), with_(volumes=tuple(tried))).source == "tried"
    iscsi = {"iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.x", "lun": 0}}
    assert volume_reason(claimed(iscsi, accessModes=["ReadWriteMany"])).outcome == "runs"


def test_a_volume_outranks_its_class() -> None:
    """A PersistentVolume of another type than its StorageClass makes; what was tried of that driver says nothing."""
    fast = {"kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com"}
    bound = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": "fast"}}
    iscsi = {"storageClassName": "fast", "claimRef": {"name": "c"}, "iscsi": {"fsType": "ext4"}}
    volume = {"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": iscsi}
    ebs = VolumeRow(driver="ebs.csi.aws.com", fstype="ext4", result="refused", usable="no", reason="", count=1)
    judged = with_volume(fast, bound, volume, persistentVolumeClaim={"claimName": "c"})
    found = volume_reason(judged, with_(volumes=(ebs,)))
    assert (found.outcome, found.source) == ("runs", TABLE)
    assert found.message.startswith("iscsi")


def test_volumes_that_were_tried() -> None:
    """This very volume, mounted on the node, counts before others of its driver, and these before any table."""
    csi = {"csi": {"driver": "ebs.csi.aws.com"}}
    kind = {"driver": "ebs.csi.aws.com", "fstype": "ext4", "reason": "", "count": 1}
    other = VolumeRow(result="refused", usable="no", **kind)
    path = "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv/mount"
    mounted = msgspec.structs.replace(row(path, "supported"), role="volume")
    report = msgspec.structs.replace(REPORTS["ready"], filesystems=(mounted,), volumes=(other,))
    assert volume_reason(claimed(csi), with_(volumes=(other,))).source == "tried"
    assert volume_reason(claimed(csi), with_(volumes=(other,))).outcome == "fails"
    both = node_of_report(report)
    assert volume_reason(claimed(csi), both).outcome == "runs"
    assert volume_reason(claimed(csi, name="pv-other"), both).outcome == "fails"
    able = msgspec.structs.replace(other, result="supported", usable="yes")
    assert volume_reason(claimed(csi), with_(volumes=(able,))).source == "tried"
    assert volume_reason(claimed({"csi": csi["csi"] | {"fsType": "xfs"}}), with_(volumes=(able,))).source == TABLE
    contradicting = with_(volumes=(other, able), kernel_release="6.12")
    assert volume_reason(claimed(csi), contradicting).source == TABLE


def test_directories_of_one_name() -> None:
    """A directory of another plugin, or of a driver that has no such file system there, is not this volume."""
    nfs, csi = {"nfs": {"server": "s", "path": "/"}}, {"csi": {"driver": "efs.csi.aws.com"}}
    kind = {"fstype": "ext4", "reason": "", "count": 1, "result": "supported", "usable": "yes"}
    ebs = VolumeRow(driver="ebs.csi.aws.com", **kind)

    def mounted_as(plugin: str) -> Node:
        path = f"/var/lib/kubelet/pods/u/volumes/{plugin}/pv/mount"
        tried = msgspec.structs.replace(row(path, "supported"), role="volume")
        return node_of_report(msgspec.structs.replace(REPORTS["ready"], filesystems=(tried,), volumes=(ebs,)))

    node = mounted_as("kubernetes.io~csi")
    for other in (nfs, csi):
        assert volume_reason(claimed(other), node).outcome == "fails", other
    assert volume_reason(claimed(None), node).outcome == "unknown"
    assert volume_reason(claimed({"csi": {"driver": "ebs.csi.aws.com"}}), node).source == "tried"
    assert volume_reason(claimed(nfs), mounted_as("kubernetes.io~nfs")).source == "tried"
    assert volume_reason(claimed({"gcePersistentDisk": {}}), mounted_as("kubernetes.io~gce-pd")).source == "tried"
    assert volume_reason(claimed(nfs), mounted_as("")).outcome == "fails"


def test_others_of_a_driver() -> None:
    """They say nothing of a file system that was not among them, nor do those of a driver with unknown ways."""
    kind = {"fstype": "ext4", "reason": "", "count": 1, "usable": "yes"}
    longhorn, other = (
        VolumeRow(driver=name, result="supported", **kind) for name in ("driver.longhorn.io", "who.knows")
    )
    node = with_(volumes=(longhorn, other))
    modes = {"ReadWriteOnce": "runs", "ReadWriteMany": "fails", "ReadOnlyMany": "unknown"}
    for mode, outcome in modes.items():
        assert volume_reason(claimed({"csi": {"driver": longhorn.driver}}, accessModes=[mode]), node).outcome == outcome
    assert volume_reason(claimed({"csi": {"driver": other.driver}}), node).outcome == "unknown"
    assert volume_reason(claimed({"csi": {"driver": other.driver, "fsType": "ext4"}}), node).source == "tried"


def test_a_sub_path_that_is_an_expression() -> None:
    """It may lead into a mount below, whatever was tried above."""
    mount = {"name": "v", "mountPath": "/v", "subPathExpr": "$(NAME)"}
    judged = pod(containers=[{"volumeMounts": [mount]}], volumes=[{"name": "v", "hostPath": {"path": "/a"}}])
    assert judge(judged, with_(mounts={"/a": row("/a", "supported")})).outcome == "runs"
    below = row("/a", "supported", usable="partly", mounts_below=1)
    assert judge(judged, with_(mounts={"/a": below})).outcome == "unknown"


def test_a_claim_of_a_block_volume() -> None:
    assert volume_reason(claimed({"csi": {"driver": "ebs.csi.aws.com"}}, volumeMode="Block")).outcome == "fails"


def test_huge_pages() -> None:
    """From Linux 6.9 on."""
    judged = with_volume(emptyDir={"medium": "HugePages-2Mi"})
    assert volume_reason(judged, with_(kernel_release="6.8.0-generic")).outcome == "fails"
    assert volume_reason(judged).outcome == "runs"


def test_a_type_of_tomorrow() -> None:
    """A volume of a type that nobody knew is no emptyDir; one of no type, or of null, is."""
    assert volume_reason(with_volume(quantum={"spin": 1})).outcome == "unknown"
    assert volume_reason(with_volume(quantum={"spin": 1}, secret=None)).outcome == "unknown"
    for volume in ({}, {"emptyDir": None}, {"secret": None}):
        judgement = judge(with_volume(**volume), NODE)
        assert (judgement.outcome, judgement.level) == ("runs", "local")


def test_a_claim_that_is_not_bound() -> None:
    """A PersistentVolume of its class that nobody claimed comes before the provisioner: which one is not known."""
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"storageClassName": "fast"}}
    fast = {"kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com"}

    def answer(reserved: dict[str, str] | None = None, name: str = "fast") -> Reason:
        spec = {"storageClassName": name, "nfs": {"server": "s", "path": "/"}, "claimRef": reserved}
        volume = {"kind": "PersistentVolume", "metadata": {"name": "static"}, "spec": spec}
        return volume_reason(with_volume(claim, fast, volume, persistentVolumeClaim={"claimName": "c"}))

    assert (answer().outcome, answer().reason) == ("unknown", "VolumeNotBound")
    assert "static" in answer().message
    assert answer({"name": "c"}).outcome == "fails"
    assert answer({"name": "other"}).outcome == "runs"
    assert answer(name="slow").outcome == "runs"


def test_the_claim_of_an_ephemeral_volume() -> None:
    """A Pod's own claim is called after Pod and volume, and says more than its StorageClass."""
    spec = {"hostUsers": False, "containers": [{"volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}
    spec["volumes"] = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}}]
    others = [
        {"kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com"},
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "p-v"}, "spec": {"volumeName": "pv"}},
        {"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {"nfs": {}}},
    ]
    for name, outcome in (("p", "fails"), ("q", "runs")):
        judged = manifest([{"kind": "Pod", "metadata": {"name": name}, "spec": spec}, *others])
        assert volume_reason(judged).outcome == outcome


def test_an_ephemeral_claim_beside_free_volumes() -> None:
    """It may get one of them, too."""
    fast = {"kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com"}
    free = {"kind": "PersistentVolume", "metadata": {"name": "static"}, "spec": {"storageClassName": "fast", "nfs": {}}}
    template = {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}
    assert volume_reason(with_volume(fast, ephemeral=template)).outcome == "runs"
    assert volume_reason(with_volume(fast, free, ephemeral=template)).reason == "VolumeNotBound"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "runs"),
        ({"hazards": {"hazard-image-volumes": Hazard(status="warn")}}, "fails"),
        ({"hazards": {}}, "unknown"),
        ({"runtime_version": "2.0.5"}, "fails"),
        ({"runtime_name": "cri-o", "runtime_version": "1.36.0"}, "runs"),
        ({"runtime_name": ""}, "unknown"),
        ({"kubelet_version": "1.33.0"}, "unknown"),
        ({"kubelet_version": ""}, "unknown"),
    ],
)
def test_image_volumes(changes: dict[str, Any], outcome: str) -> None:
    found = volume_reason(with_volume(image={"reference": "i"}), with_(**changes))
    assert found.outcome == outcome
    assert found.source != "tried"


def test_devices() -> None:
    """A device that something else gives a Pod was not tried; native resources are none."""
    native = {"limits": {"cpu": 1, "memory": "1Gi", "hugepages-2Mi": "4Mi", "example.kubernetes.io/x": 1}}
    assert judge(pod(containers=[{"resources": native}]), NODE).outcome == "runs"
    judgement = judge(pod(containers=[{"resources": {"limits": {"nvidia.com/gpu": 1}}}]), NODE)
    assert judgement.outcome == "unknown"
    assert "nvidia.com/gpu" in judgement.reasons[0].field
    assert judge(pod(resourceClaims=[{"name": "gpu"}]), NODE).outcome == "unknown"


@pytest.mark.parametrize("quantity", [0, 0.0, "0", "0.0", "00"])
def test_no_device_of_a_kind(quantity: str | float) -> None:
    """As charts write it where no GPU is wanted."""
    none = {"limits": {"nvidia.com/gpu": quantity}, "requests": {"nvidia.com/gpu": quantity}}
    assert judge(pod(containers=[{"resources": none}]), with_(devices=(kind("fails"),))).outcome == "runs"


@pytest.mark.parametrize("part", ["limits", "requests"])
def test_a_device_has_the_field_that_names_it(part: str) -> None:
    """Of an init container, too."""
    judged = pod(initContainers=[{"resources": {part: {"nvidia.com/gpu": "1"}}}])
    found = judge(judged, with_(devices=(kind("fails"),)))
    assert (found.outcome, found.reasons[0].field) == (
        "fails",
        f"spec.initContainers[0].resources.{part}['nvidia.com/gpu']",
    )


def kind(outcome: KindOutcome, name: str = "nvidia.com/gpu", **fields: Any) -> DeviceKind:
    """A kind of device as a report has it."""
    cause = DeviceCause(outcome="fails", reason="DeviceMode", message="m", remediation="chmod", devices=1, example="0")
    known: dict[str, Any] = {"handler": "", "way": "cdi", "message": "m", "tried": False, "devices": {}, "omitted": 0}
    causes = (cause,) if outcome == "fails" else ()
    return DeviceKind(kind=name, outcome=outcome, **known | {"causes": causes} | fields)


def gpu(**fields: Any) -> Pod:
    """A Pod that requests a GPU."""
    return pod(containers=[{"resources": {"limits": {"nvidia.com/gpu": 1}}, **fields}])


@pytest.mark.parametrize(
    ("devices", "outcome"),
    [
        (None, "unknown"),
        ((), "unknown"),
        ((kind("works"),), "runs"),
        ((kind("fails"),), "fails"),
        ((kind("partly"),), "unknown"),
        ((kind("unknown"),), "unknown"),
        ((kind("works", "k8s.device-plugin.nvidia.com/gpu"),), "runs"),
        ((kind("works"), kind("fails", "k8s.device-plugin.nvidia.com/gpu")), "unknown"),
        ((kind("works", "nvidia.com/mig"),), "unknown"),
        ((kind("works", "amd.com/gpu"),), "unknown"),
        ((kind("fails"), kind("works", handler="crun")), "fails"),
        ((kind("works"), kind("unknown", way="legacy")), "unknown"),
    ],
)
def test_a_resource_by_the_kinds_of_the_node(devices: tuple[DeviceKind, ...] | None, outcome: str) -> None:
    """Only the very kind counts, and where two ways lead to the device, both."""
    assert judge(gpu(), with_(devices=devices)).outcome == outcome


def test_a_device_by_its_handler_and_user() -> None:
    """A row of the handler precedes; the node that crun makes belongs to the Pod's root."""
    by_crun = with_(devices=(kind("fails"), kind("works", handler="crun")), oci_runtimes={"": "runc", "crun": "crun"})
    by_crun = replace(by_crun, handlers={"": READY, "crun": READY})
    asking = replace(gpu(), handler="crun")
    asking = replace(asking, spec=replace(asking.spec, runtime_class_name="crun"))
    assert judge(asking, by_crun).outcome == "runs"
    assert judge(replace(asking, handler=None), by_crun).outcome == "unknown"
    other = replace(gpu(securityContext={"runAsUser": 1000}), handler="crun")
    other = replace(other, spec=replace(other.spec, runtime_class_name="crun"))
    assert judge(other, by_crun).outcome == "unknown"
    assert judge(gpu(securityContext={"runAsUser": 1000}), with_(devices=(kind("works"),))).outcome == "runs"


def test_rows_of_other_handlers_tell_nothing() -> None:
    """Neither a row of the default handler nor one that names others holds for a handler that it does not name."""
    devices = (kind("works", also=("runc",)), kind("fails", "amd.com/gpu", way="legacy"))
    node = with_(devices=devices, handlers=dict.fromkeys(("", "runc", "eleventh"), READY))
    for handler, outcome in (("runc", "runs"), ("eleventh", "unknown")):
        asking = replace(gpu(), handler=handler)
        found = judge(replace(asking, spec=replace(asking.spec, runtime_class_name="x")), node)
        assert found.outcome == outcome


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("nvidia.com/gpu=0", "runs"),
        ("nvidia.com/gpu=1", "fails"),
        ("nvidia.com/gpu=0,nvidia.com/gpu=1", "fails"),
        ("nvidia.com/gpu=2", "unknown"),
        ("nvidia.com/gpu", "unknown"),
        ("nvidia.com/gpu=", "unknown"),
        ("nvidia.com/gpu=0,", "unknown"),
        ("nvidia.com/gpu=0,gpu", "unknown"),
        (",".join(["nvidia.com/gpu=0"] * 60), "unknown"),
        ("", "unknown"),
        ("=" * 5000, "unknown"),
    ],
)
def test_an_annotation_names_devices(value: str, outcome: str) -> None:
    asking = replace(pod(), devices={"cdi.k8s.io/gpu": value})
    cause = kind("fails").causes
    devices = (kind("partly", devices={"0": "works", "1": "fails"}, causes=cause),)
    assert judge(asking, with_(devices=devices)).outcome == outcome


def test_tokens() -> None:
    """The API server mounts one, unless Pod or ServiceAccount say otherwise, or the Pod lists all it has."""
    node = with_(handlers={"": READY | {"projected": FAILS["projected"]}})
    account = {"kind": "ServiceAccount", "metadata": {"name": "default"}, "automountServiceAccountToken": False}
    base: dict[str, Any] = {"kind": "Pod", "spec": {"hostUsers": False, "containers": [{}]}}
    assert judge(manifest([base]), node).outcome == "fails"
    assert judge(manifest([base, account]), node).outcome == "runs"
    asking = {"kind": "Pod", "spec": {"hostUsers": False, "automountServiceAccountToken": True, "containers": [{}]}}
    assert judge(manifest([asking, account]), node).outcome == "fails"
    assert judge(manifest([base | {"metadata": {"uid": "u"}}]), node).outcome == "runs"


def test_notes() -> None:
    """What the fields mean is said, and changes no outcome."""
    context = {"privileged": True, "procMount": "Unmasked", "capabilities": {"add": ["CAP_SYS_TIME", "NET_ADMIN"]}}
    judgement = judge(pod(containers=[{"securityContext": context}]), NODE)
    assert judgement.outcome == "runs"
    notes = {note.field.rpartition(".")[2]: note.message for note in judgement.notes}
    assert notes.keys() == {"privileged", "add", "procMount", "securityContext"}
    assert "SYS_TIME" in notes["add"]
    assert "NET_ADMIN" not in notes["add"]
    careful = pod(securityContext={"runAsNonRoot": True, "runAsUser": 1000})
    assert judge(careful, NODE).notes == ()


@pytest.mark.parametrize("asks", [False, True])
def test_bidirectional_mounts(asks: bool) -> None:
    """The API server takes them of privileged containers alone; whether they reach the node is not known."""
    for privileged, outcome in ((True, "runs"), (False, "refused"), (None, "refused")):
        mount = {"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}
        container = {"volumeMounts": [mount], "securityContext": {"privileged": privileged}}
        spec = {"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}], "hostUsers": not asks}
        judgement = judge(manifest([{"kind": "Pod", "spec": spec}]), NODE)
        assert judgement.outcome == outcome
        assert any(note.field.endswith("mountPropagation") for note in judgement.notes) == asks


@pytest.mark.parametrize(
    ("version", "outcome", "noted"), [("1.36.2", "fails", False), ("", "runs", True), ("1.30.4", "runs", False)]
)
def test_plugins_that_kubelets_no_longer_have(version: str, outcome: str, noted: bool) -> None:
    """A Pod with such a volume waits, with the node's users too; a note says so where the version is not known."""
    judgement = judge(with_volume(rbd={"image": "i"}), with_(kubelet_version=version))
    assert any(note.field.endswith(".rbd") for note in judgement.notes) == noted
    assert volume_reason(with_volume(rbd={"image": "i"}), with_(kubelet_version=version)).outcome == outcome
    repository = judge(with_volume(gitRepo={"repository": "r"}), with_(kubelet_version=version))
    assert any(note.field.endswith(".gitRepo") for note in repository.notes) == (version != "1.30.4")


def test_the_worst_first() -> None:
    """`refused` before `fails` before `unknown` before `runs`; the outcome is the first one's."""
    judged = pod(
        hostPID=True,
        securityContext={"runAsUser": 70_000},
        containers=[{"resources": {"limits": {"a.b/c": 1}}}],
    )
    judgement = judge(judged, NODE)
    assert [one.outcome for one in judgement.reasons] == ["refused", "fails", "unknown", "runs", "runs"]
    assert judgement.outcome == "refused"


def test_annotations() -> None:
    """What a ready node publishes is enough for a plain Pod, of the default handler, in the boot that it is from."""
    report = REPORTS["ready"]
    published = node_annotations(report)
    assert PREFIX == PUBLISHED_PREFIX
    known = {"boot_id": report.node.boot_id, "kubelet_version": "v1.36.2", "offered": {"": True, "crun": True}}
    assert judge(pod(), node_of_annotations(published, **known)).outcome == "runs"
    assert judge(pod(), node_of_annotations(published, **known | {"boot_id": "x"})).outcome == "unknown"
    assert judge(pod(), node_of_annotations(published, **known | {"offered": {"": False}})).outcome == "fails"
    named = manifest(
        [
            {"kind": "Pod", "spec": {"hostUsers": False, "runtimeClassName": "fast", "containers": [{}]}},
            RUNTIME_CLASS | {"handler": "crun"},
        ]
    )
    assert judge(named, node_of_annotations(published, **known)).outcome == "unknown"
    assert node_of_annotations(published, **known).ids_per_pod == report.id_ranges[0].ids_per_pod


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "not-ready"},
        {"verdict": "unknown"},
        {"verdict": ""},
        {"levels": "stateless=not-ready,projected=ready,local=ready"},
        {"levels": "stateless=ready,projected=ready"},
    ],
)
def test_annotations_that_contradict_each_other(changes: dict[str, str]) -> None:
    """They tell nothing: a Pod neither runs nor fails by them."""
    published = node_annotations(REPORTS["ready"])
    assert judge(pod(), node_of_annotations(published)).outcome == "runs"
    forged = published | {f"{PREFIX}{key}": value for key, value in changes.items()}
    found = judge(pod(), node_of_annotations(forged))
    assert (found.outcome, found.reasons[0].reason) == ("unknown", "Malformed")


VALUES = st.text(max_size=30) | st.sampled_from(
    ["", "=", ",", "stateless=ready", "ids-per-pod=9" + "9" * 5000, "{}", "[" * 3000]
)


@given(
    st.dictionaries(
        st.sampled_from([f"{PREFIX}{key}" for key in ("levels", "id-range", "report", "oci-runtimes")]), VALUES
    )
)
def test_forged_annotations(values: dict[str, str]) -> None:
    """Whatever somebody writes there: no exception, and no Pod runs for want of a word."""
    judgement = judge(with_volume(emptyDir={}), node_of_annotations(values))
    assert judgement.outcome == "unknown"


@pytest.mark.parametrize(
    ("text", "ids"), [("131072", 131_072), ("9999999999", None), ("-1", None), ("٣", None), ("", None)]
)
def test_published_ids(text: str, ids: int | None) -> None:
    """Only a number of IDs that there can be counts."""
    assert node_of_annotations({f"{PREFIX}id-range": f"first=65536,ids-per-pod={text}"}).ids_per_pod == ids


def test_handlers_of_older_reports() -> None:
    """They have no levels: ready is ready, and all else is known only where it is known of all levels."""
    ready, failing = (
        HandlerVerdict(name="h", verdict="ready", reason=""),
        HandlerVerdict(name="h", verdict="not-ready", reason="TmpfsNotIdmappable"),
    )
    runtime_class = RUNTIME_CLASS | {"handler": "h"}
    judged = manifest(
        [{"kind": "Pod", "spec": {"hostUsers": False, "runtimeClassName": "fast", "containers": [{}]}}, runtime_class]
    )
    for row_, outcome in ((ready, "runs"), (failing, "unknown")):
        report = msgspec.structs.replace(REPORTS["ready"], handlers=(row_,))
        assert judge(judged, node_of_report(report)).outcome == outcome


@given(st.sampled_from(sorted({*SINCE, *NEVER, "fuse", "fuse.x", "zfs", ""})), st.text(max_size=12))
def test_any_kernel(fstype: str, release: str) -> None:
    """Whatever a kernel calls itself; without a number nothing is taken for granted."""
    found = judge_filesystem(fstype, release)
    assert found.why
    if filesystems.parse_kernel_release(release) is None:
        assert found.taken != "yes"


@pytest.mark.parametrize(
    ("fstype", "release", "taken"),
    [
        ("tmpfs", "6.2.0", "no"),
        ("tmpfs", "6.3.0", "yes"),
        ("tmpfs", "5.14.0-503.el9.x86_64", "unknown"),
        ("nfs4", f"{KNOWN_TO[0]}.{KNOWN_TO[1]}.9", "no"),
        ("nfs4", f"{KNOWN_TO[0] + 1}.0", "unknown"),
        ("fuse.s3", "6.12", "unknown"),
        ("fuse.s3", "6.1", "no"),
        ("zfs", "6.12", "unknown"),
    ],
)
def test_kernels(fstype: str, release: str, taken: str) -> None:
    assert judge_filesystem(fstype, release).taken == taken


def test_tables_agree() -> None:
    """No file system is in both tables, and each one that a driver may mount is known, or said to depend."""
    assert not SINCE.keys() & NEVER
    told = {name for driver in (*drivers.CSI.values(), *drivers.IN_TREE.values()) for name in driver.kinds("", None)}
    depends = {name for name in told if judge_filesystem(name, "6.12").taken == "unknown"}
    assert {name.partition(".")[0] for name in depends} == {"fuse", "virtiofs", *OUT_OF_TREE}


def test_a_pod_of_many_parts() -> None:
    """Each volume is judged, and none takes longer for the others."""
    names = [f"v{number}" for number in range(3000)]
    spec = {
        "containers": [{"volumeMounts": [{"name": name} for name in names]}],
        "volumes": [{"name": name, "emptyDir": {}} for name in names],
    }
    judgement = judge(pod(**spec), NODE)
    assert (judgement.outcome, len(judgement.reasons)) == ("runs", len(names) + 2)
