"""Whole reports of recorded nodes: what is said of each, and what it is said from."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from lab.fake_host import FakeHost
from lab.recorded import FOLDER, KERNELS, NAMES, Recording, expectation
from probe.facts.handover import pack, unpack
from probe.host.host import Host, LocalHost
from probe.host.program import Output
from probe.make_report import make_report
from probe.outputs.documents import render_json
from probe.reading import Reading
from probe.report import VOLUME_ROWS, Report
from probe.watch.report_file import REPORT_LIMIT

CSI = "containerd-2.1.9-kernel-6.18-with-constructed-csi-mounts"

recorded = pytest.mark.parametrize("name", NAMES)


@recorded
def test_report(name: str) -> None:
    """Verdict, reason, levels, each handler's verdict and every finding that is not pass are the expected ones."""
    expected = json.loads((FOLDER / name / "expected.json").read_text())
    assert expectation(Recording(name).report()) == expected


@pytest.mark.slow
@recorded
def test_report_is_the_same_when_nobody_sees_who_listens(name: str) -> None:
    """Where the owner of the socket cannot be seen, as in another PID namespace, the daemon is found by its name."""
    node = Recording(name)
    seen = node.report()
    unseen = msgspec.structs.replace(node.cri.listener, value=0)
    node.cri = msgspec.structs.replace(node.cri, listener=unseen)
    assert node.report() == seen


@recorded
def test_facts_survive_the_pipe(name: str) -> None:
    """What the gathering child knows reaches its parent unchanged, and each value has the type that is declared."""
    facts = Recording(name).facts()
    assert unpack(pack(facts)) == msgspec.json.decode(msgspec.json.encode(facts), type=type(facts)) == facts


@recorded
def test_pods_are_left_alone(name: str) -> None:
    """Of Pods' processes nothing is read but what tells that they are Pods', and nothing of theirs is run."""
    node = Recording(name)
    node.facts()
    pods = {pid for pid in node.host.started if b"kubepods" in read(node.host, f"/proc/{pid}/cgroup")}
    entries = [re.fullmatch(r"/proc/(\d+)/(.*)", path) for path in node.host.touched]
    seen = {found[2] for found in entries if found and int(found[1]) in pods}
    assert seen <= {"cgroup", "uid_map", "status", "ns/pid"}
    programs = {command.split()[0] for command in node.host.touched if " " in command}
    daemons = {node.host.links[f"/proc/{pid}/exe"] for pid in (node.kubelet_pid, node.runtime_pid)}
    assert programs <= {*(command.split()[0] for command in node.host.commands), *daemons}


@recorded
def test_running_pods_are_noticed(name: str) -> None:
    """Pods with a user namespace ran on every node whose runtime can, and are a proof; on the others none did."""
    can = not name.startswith(("containerd-1.6", "containerd-1.7"))
    assert Recording(name).facts().userns_pod_runs.value is can


@pytest.mark.parametrize("restarted", [False, True])
def test_a_pod_proves_nothing_of_a_runtime_that_was_restarted_since(restarted: bool) -> None:
    """What confines it now may be newer than the Pod."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    if restarted:
        node.host.started[node.runtime_pid] = max(node.host.started.values()) + 60
    assert node.facts().userns_pod_runs.value is not restarted


@recorded
def test_volumes_name_no_pod(name: str) -> None:
    """Paths of volumes hold the UIDs of Pods, so no word of the Report does."""
    pods = {
        path.split("/")[5] for path in Recording(name).mountinfo.split() if path.startswith("/var/lib/kubelet/pods/")
    }
    assert pods
    text = msgspec.json.encode(Recording(name).report()).decode()
    assert not [pod for pod in pods if pod in text]


def test_csi_volumes() -> None:
    """Each CSI driver is named with its file system; one that cannot be idmapped spoils that level and nothing else."""
    report = Recording(CSI).report()
    drivers = {(row.driver, row.fstype, row.result, row.usable) for row in report.volumes if "csi" in row.driver}
    assert drivers == {
        ("disk.csi.example.com", "xfs", "supported", "yes"),
        ("nfs-like.csi.example.com", "fuse.bindfs", "refused", "no"),
    }
    assert report.verdict == "ready"
    assert report.levels["volumes"] == "not-ready"


def test_node_says_more_than_it_keeps() -> None:
    """On kernel 6.1 `.status.runtimeHandlers` promised user namespaces, and Pods with a token failed."""
    report = Recording("containerd-2.1.9-kernel-6.1").report()
    assert report.contradictions == ("runtime-kernel-claim",)
    assert {row.handler: row.user_namespaces for row in report.facts.oci_runtimes}[""] is True
    assert report.levels == {
        "stateless": "ready",
        "projected": "not-ready",
        "local": "not-ready",
        "volumes": "not-ready",
    }


@pytest.mark.parametrize(
    ("name", "boot_id"),
    [
        ("containerd-2.1.9-kernel-6.18", "50eac952-9782-4f04-a17d-88d706e55b41"),
        ("cri-o-1.37.0-dev-kernel-6.18", "50eac952-9782-4f04-a17d-88d706e55b41"),
    ],
)
def test_boot_id_is_the_node_objects(name: str, boot_id: str) -> None:
    """The Report's boot id is what `.status.nodeInfo.bootID` of the recorded Node said."""
    assert Recording(name).report().node.boot_id == boot_id


def test_every_kernel_table_names_its_source() -> None:
    """Answers come from somewhere, and one of a kernel is an answer of that series."""
    for series, kernel in KERNELS.items():
        assert re.search(rf"\bkernel {re.escape(series)}\.", kernel["source"])
    for name in NAMES:
        release = read(Recording(name).host, "/proc/sys/kernel/osrelease").decode()
        series = json.loads((FOLDER / name / "answers.json").read_text())["kernel"]
        assert re.match(rf"{re.escape(series)}\.", release)
        assert re.match("recorded|constructed from", (FOLDER / name / "origin.txt").read_text())


def test_a_recorded_node_touches_no_other() -> None:
    """Whatever can be asked of a node is answered by the recording, or the double cannot even be made."""

    class Forgetful(FakeHost):
        read_link = Host.read_link

    assert not issubclass(FakeHost, LocalHost)
    assert public(LocalHost) - {"close"} <= public(Host)
    with pytest.raises(TypeError, match="read_link"):
        Forgetful()


def test_an_unrecorded_socket_answers_nothing() -> None:
    """A kubelet that names another socket than the runtime's leaves all of that unknown, and the node with it."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    node.socket = "/run/other.sock"
    report = node.report()
    assert report.verdict == "unknown"
    assert report.levels["stateless"] == "unknown"
    assert report.handlers == ()


def test_without_a_kubelet() -> None:
    """What kernel and file systems allow is said all the same; the node is unknown, or not ready if they refuse."""
    node, old = Recording("containerd-2.1.9-kernel-6.18"), Recording("containerd-2.1.9-kernel-6.1")
    for each in (node, old):
        each.host.end_process(each.kubelet_pid)
    assert verdict(node.report()) == ("unknown", "KubeletNotFound")
    assert verdict(old.report()) == ("not-ready", "TmpfsNotIdmappable")
    assert {row.role: row.result for row in node.report().filesystems}["tmpfs"] == "supported"


def public(kind: Any) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def read(host: FakeHost, path: str) -> bytes:
    content = host.files[path]
    assert isinstance(content, bytes)
    return content


def verdict(report: Report) -> tuple[str, str]:
    return report.verdict, report.reason


@pytest.mark.slow
def test_a_pod_with_thousands_of_volumes_does_not_make_the_report_too_large() -> None:
    """All are counted; of each kind some have a row, also of the kind that is met once."""
    node = Recording(CSI)
    root = node.mountinfo.split()[0]
    pod = "/var/lib/kubelet/pods/1016ccda-7106-423b-8e89-c559de9a4139/volumes/kubernetes.io~empty-dir"
    line = "{id} {root} 0:{id} / {pod}/v{id} rw,relatime - tmpfs tmpfs rw\n"
    before = node.report()
    node.mountinfo += "".join(line.format(id=number, root=root, pod=pod) for number in range(5000, 15_000))
    report = node.report()
    assert sum(row.count for row in report.volumes) == sum(row.count for row in before.volumes) + 10_000
    rows = [row for row in report.filesystems if row.role == "volume"]
    assert len(rows) == VOLUME_ROWS
    assert {(row.fstype, row.result) for row in before.filesystems} <= {
        (row.fstype, row.result) for row in report.filesystems
    }
    assert len(render_json(report)) < REPORT_LIMIT / 2


def test_what_a_program_printed_is_no_book_in_the_report() -> None:
    """Not in the kubelet's last words either, which quote it."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    long = "\x1b" * 10_000
    ids = msgspec.structs.replace(
        node.facts().ids.value, account=Reading("a", True), getsubids=Reading("g", "/g"),
        subuids=Reading("u", Output(0, long, "")), subgids=Reading("g", Output(0, long, "")),
    )  # fmt: skip
    now = "2026-11-21T21:00:00Z"
    facts = msgspec.structs.replace(node.facts(), ids=Reading("ids", ids))
    report = make_report(facts, agent_version="0", probed_at=now, expires_at=now, duration_seconds=0.0)
    assert report.forecast is not None
    assert report.forecast.outcome == "fails"
    texts = [
        report.forecast.message,
        *(text for one in report.findings for text in (one.message, *map(str, one.evidence))),
    ]
    assert 4000 < max(map(len, texts)) < 5000
