"""What another kernel, kubelet or container runtime changes on the node of a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from lab.recorded import Recording
from lab.reports import REPORTS, make_device_kind, make_facts, make_finding, make_report, make_row
from probe.checks.upgrades.catalog import judge_upgrade
from probe.checks.upgrades.model import Target
from probe.cli.verbs import cli
from probe.nested import PodRequest
from probe.outputs.documents import render_json
from probe.outputs.terminal import render_report
from probe.outputs.upgrades import render_upgrade, upgrade_words
from probe.report import OciRuntime, Report, VolumeRow
from probe.tables.filesystems import NEVER, REMOVED, SINCE
from probe.terms import Role, Status

DEBIAN_12 = REPORTS["tmpfs-refused"]


def steps(report: Report, **target: str) -> set[tuple[str, str, str]]:
    """Version, effect and subject of each step."""
    return {(one.version, one.effect, one.subject) for one in judge_upgrade(report, Target(**target)).steps}


def with_volume(fstype: str, result: str, release: str) -> Report:
    volume = VolumeRow(driver="a.csi", fstype=fstype, result=result, reason="", usable=None, count=1)  # type: ignore[arg-type]
    return make_report(volumes=(volume,), facts=make_facts(kernel_release=release), filesystems=(), nested=None)


def test_a_newer_kernel_maps_tmpfs() -> None:
    """From 6.3 on, and no other one."""
    assert steps(DEBIAN_12, kernel="6.12") == {("6.3", "starts", "tmpfs")}
    assert steps(DEBIAN_12, kernel="6.2") == set()
    assert "Linux 6.3: tmpfs" in upgrade_words(DEBIAN_12)
    assert "Linux 6.3: tmpfs" in render_report(DEBIAN_12, width=100, colour=False)
    assert upgrade_words(make_report(nested=None)) == ""


@pytest.mark.parametrize(
    ("then", "gate", "ignored"),
    [
        ("1.32", "UserNamespacesSupport", False),
        ("1.29", "UserNamespacesSupport", True),
        ("1.26", "UserNamespacesStatelessPodsSupport", True),
        ("1.24", "hostUsers", True),
    ],
)
def test_an_older_kubelet_has_the_gate_off(then: str, gate: str, ignored: bool) -> None:
    """Under the name of its release; before 1.30 it then runs Pods with the node's users, and says so."""
    report = make_report(findings=(make_finding(id="kubelet-user-namespaces", status="pass"),))
    (step,) = judge_upgrade(report, Target(kubernetes=then)).steps
    assert (step.version, step.effect) == ("1.33", "stops")
    assert gate in step.why
    assert ("node's users" in step.why) is ignored


@pytest.mark.parametrize(
    ("now", "then", "way", "changes"),
    [
        ("2.1.9", "2.3.0", "cdi", True),
        ("2.2.0", "2.2.1", "cdi", True),
        ("2.3.0", "2.1.9", "cdi", True),
        ("2.1.8", "2.1.9", "cdi", False),
        ("2.1.9", "2.3.0", "device-plugin", False),
    ],
)
def test_a_runtime_with_another_cdi_library(now: str, then: str, way: str, changes: bool) -> None:
    """Maps mounts of devices, or binds them as they are."""
    facts = make_facts(runtime_name="containerd", runtime_version=now)
    report = make_report(facts=facts, devices=(make_device_kind(way=way),), findings=())
    found = steps(report, containerd=then)
    assert ((then, "unknown", "hazard-device-hooks") in found) is changes


def test_a_version_of_another_runtime_is_named_as_such() -> None:
    """Nobody takes silence about CRI-O for an answer about the node's containerd."""
    report = make_report(facts=make_facts(runtime_name="containerd", runtime_version="2.1.9"))
    for target, said in ((Target(crio="1.37.0"), True), (Target(containerd="2.3.0"), False)):
        text = render_upgrade(judge_upgrade(report, target), width=100, colour=False)
        assert ("The node runs containerd 2.1.9" in text) is said


def test_an_older_kernel_stops_what_works() -> None:
    """Down to the release that began it."""
    report = make_report(facts=make_facts(kernel_release="6.12.9-amd64"))
    assert steps(report, kernel="6.1") == {("6.3", "stops", "tmpfs")}
    assert {version for version, effect, _ in steps(report, kernel="5.10") if effect == "stops"} == {
        "5.12", "5.19", "6.3",
    }  # fmt: skip
    assert steps(report, kernel="6.12") == set()


@pytest.mark.parametrize(
    ("fstype", "result", "now", "then", "found"),
    [
        ("ceph", "refused", "6.6.1", "6.7", {("6.7", "starts", "a.csi (ceph)")}),
        ("overlay", "refused", "6.12.1", "7.3", {("7.3", "starts", "a.csi (overlay)")}),
        ("fuse.s3", "refused", "6.8.1", "6.12", {("6.12", "unknown", "a.csi (fuse.s3)")}),
        ("fuse.s3", "refused", "6.12.1", "7.3", set()),
        ("nfs4", "refused", "6.1.1", "7.3", set()),
        ("bcachefs", "supported", "6.12.1", "6.18", {("6.18", "stops", "a.csi (bcachefs)")}),
        ("ntfs3", "supported", "6.18.1", "7.2", {("7.2", "stops", "a.csi (ntfs3)")}),
        ("bcachefs", "supported", "6.18.1", "7.2", set()),
        ("ext4", "unknown", "5.10.1", "6.12", set()),
        ("ceph", "refused", "", "6.7", set()),
        ("ceph", "supported", "6.12.1", "6.7", set()),
        ("ceph", "supported", "6.7.1", "6.6", {("6.7", "stops", "a.csi (ceph)")}),
        ("ceph", "refused", "6.12.1", "6.6", set()),
        ("ceph", "supported", "", "6.6", set()),
    ],
)
def test_volumes(fstype: str, result: str, now: str, then: str, found: set[tuple[str, str, str]]) -> None:
    """Each row of the report, by its file system."""
    assert steps(with_volume(fstype, result, now), kernel=then) == found


def test_rows_of_volumes_stand_for_each_mount_of_them() -> None:
    """A mount that is a volume has its row among the volumes, and two rows of one subject are one step."""
    ceph = make_row(role="volume", path="/var/lib/kubelet/pods/x", fstype="ceph", result="refused")
    report = replace(with_volume("ceph", "refused", "6.6.1"), filesystems=(ceph,))
    twice = replace(report, volumes=report.volumes * 2)
    assert [one.subject for one in judge_upgrade(twice, Target(kernel="6.12")).steps] == ["a.csi (ceph)"]


@pytest.mark.parametrize(
    ("role", "fstype", "since", "mapped"),
    [
        ("overlay-layers", "ext4", "5.19", "layers below overlay"),
        ("overlay-layers", "", "5.19", "layers below overlay"),
        ("overlay-layers", "ceph", "6.7", "maps ceph"),
        ("kubelet-root", "erofs", "5.19", "maps erofs"),
        ("kubelet-root", "btrfs", "5.15", "maps btrfs"),
    ],
)
def test_layers_need_overlay_to_map_them_and_their_own_file_system(
    role: Role, fstype: str, since: str, mapped: str
) -> None:
    """The step names the later of both."""
    row = make_row(role=role, fstype=fstype, result="refused")
    report = make_report(facts=make_facts(kernel_release="5.4.1"), filesystems=(row,), volumes=(), nested=None)
    (step,) = judge_upgrade(report, Target(kernel="6.18")).steps
    assert (step.version, step.effect) == (since, "starts")
    assert mapped in step.why


@pytest.mark.parametrize(("fstype", "named"), [("fuse.s3", True), ("ceph", False)])
def test_the_server_of_a_fuse_file_system_has_a_say(fstype: str, named: bool) -> None:
    """Others need the kernel alone."""
    (step,) = judge_upgrade(with_volume(fstype, "refused", "6.1.1"), Target(kernel="6.12")).steps
    assert ("FUSE_ALLOW_IDMAP" in step.why) is named


def test_what_leaves_the_kernel_is_said_nowhere_to_be_never_mapped() -> None:
    """The tables agree."""
    assert not REMOVED.keys() & NEVER
    assert not REMOVED.keys() & SINCE.keys()


ASKS = (PodRequest("proc-mount", "Unmasked", "a new /proc is refused"),)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("finding", "status", "pod", "kernel", "found"),
    [
        ("nested-proc", "fail", (), "7.2", {("7.2", "starts", "nested-proc")}),
        ("nested-proc", "pass", ASKS, "7.2", {("7.2", "starts", "nested-proc")}),
        ("nested-proc", "fail", (), "7.1", set()),
        ("nested-proc", "pass", (), "7.2", set()),
        ("nested-idmap-again", "fail", (), "6.3", {("6.3", "starts", "nested-idmap-again")}),
        ("nested-idmap-again", "fail", (), "6.2", set()),
        ("nested-idmap-again", "pass", ASKS, "6.3", set()),
    ],
)
def test_nested_containers(
    finding: str, status: Status, pod: tuple[PodRequest, ...], kernel: str, found: set[tuple[str, str, str]]
) -> None:
    """7.2 makes /proc with subset=pid without a visible one, and 6.3 maps tmpfs for inner Pods, where they lack it."""
    report = Recording("containerd-2.1.9-kernel-6.18").report()
    assert report.nested is not None
    one = replace(next(each for each in report.nested.findings if each.id == finding), status=status, pod=pod)
    facts = replace(report.facts, kernel_release="6.1.1")
    nested = replace(report.nested, findings=(one,))
    assert steps(replace(report, facts=facts, nested=nested, filesystems=(), volumes=()), kernel=kernel) == found


OFF = {"kubelet_user_namespaces": "fail"}


def kubelet(version: str, **findings: str) -> Report:
    """A node with that kubelet, and statuses of findings."""
    made = [make_finding(id=name.replace("_", "-"), status=status, reason="") for name, status in findings.items()]  # type: ignore[arg-type]
    return make_report(*made, facts=make_facts(kubelet_version=version))


@pytest.mark.parametrize(
    ("report", "target", "found"),
    [
        (kubelet("1.32.1", **OFF, kubelet_gate_restart="pass"), "1.36", ("1.33", "starts", "kubelet-user-namespaces")),
        (kubelet("1.32.1", **OFF, kubelet_gate_restart="skipped"), "1.36", ("1.36", "stops", "kubelet-gate-restart")),
        (kubelet("1.34.1", kubelet_cgroup_v1="pass"), "1.35", ("1.35", "unknown", "kubelet-cgroup-v1")),
        (kubelet("1.34.1", kubelet_cgroup_v1="skipped"), "1.36", None),
        (kubelet("1.36.1", kubelet_user_namespaces="pass"), "1.32", ("1.33", "stops", "kubelet-user-namespaces")),
        (kubelet("1.36.1", kubelet_user_namespaces="pass"), "1.37", None),
        (kubelet("", kubelet_user_namespaces="unknown"), "1.37", None),
    ],
)  # fmt: skip
def test_kubernetes(report: Report, target: str, found: tuple[str, str, str] | None) -> None:
    """The gate is on from 1.33, locked from 1.36; cgroup v1 is refused from 1.35."""
    assert steps(report, kubernetes=target) == ({found} if found else set())


def runtime(name: str, version: str, **findings: str) -> Report:
    """A node with that runtime, and statuses of findings."""
    made = [make_finding(id=name.replace("_", "-"), status=status, reason="") for name, status in findings.items()]  # type: ignore[arg-type]
    return make_report(*made, facts=make_facts(runtime_name=name, runtime_version=version, oci_runtimes=()))


IMAGES = runtime("containerd", "2.1.4", hazard_image_volumes="warn")


@pytest.mark.parametrize(
    ("report", "target", "found"),
    [
        (runtime("containerd", "1.7.24"), {"containerd": "2.1.9"}, {("2.0", "starts", "runtime-user-namespaces")}),
        (runtime("containerd", "2.1.9"), {"containerd": "1.7.24"}, {("2.0", "stops", "runtime-user-namespaces")}),
        (runtime("containerd", "2.1.9"), {"crio": "1.20"}, set()),
        (runtime("containerd", "1.7.24"), {"crio": "1.37.0"}, set()),
        (runtime("cri-o", "1.29.1"), {"crio": "1.37.0"}, {("1.30", "starts", "runtime-user-namespaces")}),
        (IMAGES, {"containerd": "2.1.7"}, {("2.1.7", "starts", "hazard-image-volumes")}),
        (IMAGES, {"containerd": "2.1.6"}, set()),
        (
            runtime("cri-o", "1.35.2", hazard_crio_restart="warn"),
            {"crio": "1.37.0"}, {("1.35.6", "starts", "hazard-crio-restart")},
        ),
        (
            runtime("cri-o", "1.37.0", hazard_crio_restart="pass"),
            {"crio": "1.35.2"}, {("1.35.2", "stops", "hazard-crio-restart")},
        ),
        (runtime("docker", "28.1"), {"containerd": "2.1.9"}, set()),
        (runtime("containerd", "unknown"), {"containerd": "2.1.9"}, set()),
    ],
)  # fmt: skip
def test_runtimes(report: Report, target: dict[str, str], found: set[tuple[str, str, str]]) -> None:
    """The floor of each runtime, and the faults of versions."""
    assert steps(report, **target) == found


def test_handlers_without_features() -> None:
    """containerd 2.4 asks the OCI runtimes of all shims."""
    silent = OciRuntime(handler="kata", name="", version="", idmap=None, user_namespaces=None)
    report = make_report(facts=make_facts(runtime_version="2.1.9", oci_runtimes=(silent,)))
    assert steps(report, containerd="2.4") == {("2.4", "unknown", "kata")}


@pytest.fixture
def report_file(tmp_path: Path) -> str:
    """A report as `report -o json` prints it."""
    path = tmp_path / "report.json"
    path.write_text(render_json(DEBIAN_12))
    return str(path)


def test_the_command(report_file: str) -> None:
    """Text for people, JSON for machines, of a report; each step with its source."""
    made = CliRunner().invoke(cli, ["explain", "upgrade", "--kernel", "6.12", "--report", report_file, "-o", "json"])
    assert made.exit_code == 0
    document = json.loads(made.output)
    assert document["target"] == {"kernel": "6.12", "kubernetes": "", "containerd": "", "crio": ""}
    assert [(one["version"], one["subject"]) for one in document["steps"]] == [("6.3", "tmpfs")]
    assert all(one["source"] for one in document["steps"])
    text = CliRunner().invoke(cli, ["explain", "upgrade", "--report", report_file]).output
    assert "6.3" in text
    assert "tmpfs" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["upgrade", "--kernel", "six"], ["upgrade", "--kernel", ""], ["upgrade", "--kubernetes", "1"],
        ["upgrade", "--containerd", "x"], ["upgrade", "--crio", "1..2"], ["upgrade", "--for", "talos"],
        ["filesystem-tmpfs", "--kernel", "6.12"], ["--kubernetes", "1.36"], ["forecast-bot"],
    ],
)  # fmt: skip
def test_errors_of_usage(arguments: list[str]) -> None:
    """A version that is none, or that nothing asked for."""
    made = CliRunner().invoke(cli, ["explain", *arguments], standalone_mode=False)
    assert isinstance(made.exception, Exception)
    assert type(made.exception).__name__ == "UsageError"


def test_the_forecasts_are_explained() -> None:
    """As checks are."""
    assert "fstab" in CliRunner().invoke(cli, ["explain", "forecast-boot"]).output
    document = json.loads(CliRunner().invoke(cli, ["explain", "forecast-runtime-restart", "-o", "json"]).output)
    assert document[0]["id"] == "forecast-runtime-restart"


def test_hostile_names_are_harmless() -> None:
    """A report is untrusted."""
    evil = "\x1b[31m\u202e\n  rm -rf /"
    row = make_row(role="kubelet-root", fstype="ceph", result="refused")
    report = make_report(filesystems=(row,), facts=make_facts(kernel_release="6.1", kubelet_version=evil[:5]))
    report = replace(report, facts=replace(report.facts, runtime_name=evil, kubelet_version=""))
    text = render_upgrade(judge_upgrade(report, Target()), width=80, colour=False)
    assert "\x1b" not in text
    assert "\u202e" not in text
