"""What is written on the Node: true, small, and the same for as long as nothing changed."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import REPORTS, make_facts, make_finding, make_oci_runtime, make_report, make_row
from probe.checks import hazards
from probe.finding import Evidence
from probe.outputs.annotations import (
    CONDITION,
    KEYS,
    PER_POD,
    PREFIX,
    REPORT_LIMIT,
    VALUE_LIMIT,
    digest,
    message,
    node_annotations,
    node_condition,
    node_event,
    node_label,
)
from probe.outputs.labels import CHECK_IDS
from probe.outputs.staleness import expired
from probe.report import Report, VolumeRow
from probe.verdict import Verdict
from tests.outputs.test_outputs_terminal import evil, hostile_reports

VERDICTS = ("ready", "not-ready", "unknown")


def values(report: Report) -> dict[str, str]:
    return {key.removeprefix(PREFIX): value for key, value in node_annotations(report).items()}


def test_of_a_node_that_is_not_ready() -> None:
    """Each key, as consumers read it."""
    report = REPORTS["tmpfs-refused"]
    oci = (make_oci_runtime(handler="crun", name="crun", version="1.28"), *report.facts.oci_runtimes)
    report = replace(
        report,
        facts=replace(report.facts, oci_runtimes=oci),
        findings=(*report.findings, make_finding(id="ids-range", status="warn", gating=False)),
    )
    assert node_annotations(report) == {
        "userns-probe.io/verdict": "not-ready",
        "userns-probe.io/reason": "TmpfsNotIdmappable",
        "userns-probe.io/message": "a fresh tmpfs: tmpfs cannot be idmapped on this kernel",
        "userns-probe.io/levels": "stateless=ready,projected=not-ready,local=not-ready",
        "userns-probe.io/handlers": "(default)=not-ready,runc=not-ready",
        "userns-probe.io/filesystems": "kubelet-root=ext4:supported,runtime-root=ext4:supported,"
        "overlay-layers=overlay:supported,tmpfs=tmpfs:refused",
        "userns-probe.io/oci-runtimes": "(default)=runc/1.3.6,crun=crun/1.28,runc=runc/1.3.6",
        "userns-probe.io/id-range": "first=65536,count=4294901760,ids-per-pod=65536",
        "userns-probe.io/nested": "build=not-ready,engine=not-ready,system=not-ready,rootless=not-ready,"
        "inner-userns=not-ready",
        "userns-probe.io/forecasts": "boot=not-ready,runtime-restart=not-ready",
        "userns-probe.io/warnings": "ids-range",
        "userns-probe.io/report": '{"schema":"userns-probe.io/v1","verdict":"not-ready","reason":"TmpfsNotIdmappable",'
        '"levels":{"stateless":"ready","projected":"not-ready","local":"not-ready"},'
        '"findings":[{"id":"filesystem-tmpfs","status":"fail","reason":"TmpfsNotIdmappable"},'
        '{"id":"ids-range","status":"warn","reason":""}]}',
        "userns-probe.io/boot-id": "5d1f",
        "userns-probe.io/agent-version": "0.1.0",
    }


def test_of_a_node_that_is_ready() -> None:
    """What has nothing to say is left out, so that it vanishes from the Node."""
    found = values(REPORTS["ready"])
    assert found["verdict"] == "ready"
    assert not {"reason", "warnings"} & found.keys()
    assert json.loads(found["report"])["findings"] == []


@pytest.mark.parametrize("name", REPORTS)
def test_expired(name: str) -> None:
    """Nothing of an expired report says ready or supported."""
    found = values(expired(REPORTS[name]))
    assert found["verdict"] == "unknown"
    assert found["reason"] == "ReportStale"
    assert not re.search(r"\bready\b|supported", " ".join(found.values()))


@st.composite
def volatile(draw: st.DrawFn, report: Report) -> Report:
    """The same node a while later: other times, Pods, processes, devices, and orders that nobody promises."""
    shuffle = random.Random(draw(st.integers())).shuffle
    runtimes, handlers = list(report.facts.oci_runtimes), list(report.handlers)
    shuffle(runtimes)
    shuffle(handlers)
    number = draw(st.integers(1, 1 << 22))
    usable = draw(st.sampled_from(["yes", "partly", "read-only"]))
    volumes = draw(st.lists(st.sampled_from(["ext4", "nfs4", "fuse.s3fs"]), max_size=3))
    findings = tuple(
        replace(one, message=f"{one.message} {number}", evidence=(Evidence(f"/proc/{number}/status", str(number)),))
        for one in report.findings
    )
    per_pod = draw(st.sampled_from(["pass", "warn", "unknown"]))
    return replace(
        report,
        probed_at=draw(st.sampled_from(["2026-11-21T21:30:00Z", "2026-12-01T00:00:00Z"])),
        expires_at="2026-12-01T00:15:00Z",
        duration_seconds=draw(st.floats(0, 60)),
        message=report.message.replace("4711", str(number)),
        levels=report.levels | {"volumes": draw(st.sampled_from(VERDICTS))},
        handlers=tuple(handlers),
        findings=(
            *findings,
            *(make_finding(id=check, status=per_pod, gating=False) for check in sorted(PER_POD)),
            make_finding(id="filesystem-volumes", level="volumes", gating=False, status=per_pod),
        ),
        filesystems=tuple(
            replace(
                row, device=f"8:{number}", mounts_below=number, usable=usable if row.result == "supported" else None
            )
            for row in report.filesystems
            if row.role != "volume"
        )
        + tuple(make_row(role="volume", fstype=fstype, path=f"/var/{number}", result="refused") for fstype in volumes),
        volumes=tuple(
            VolumeRow(driver="csi", fstype=fstype, result="refused", reason="", usable="no", count=number)
            for fstype in volumes
        ),
        id_ranges=tuple(replace(each, used=draw(st.none() | st.integers(0, 100))) for each in report.id_ranges),
        facts=replace(report.facts, oci_runtimes=tuple(runtimes)),
    )


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(REPORTS)))
def test_only_what_changed_is_written(data: st.DataObject, name: str) -> None:
    """Times, durations, slots, Pods, processes, devices and orders change no byte of what is published."""
    said = "/proc/4711/status: process 4711 (PID 4711) on 8:4711 timed out after 4711.5 s"
    report = replace(REPORTS[name], message=f"{REPORTS[name].message}: {said}")
    later = data.draw(volatile(report))
    assert node_annotations(later) == node_annotations(report)
    assert node_label(later) == node_label(report)
    assert node_condition(later) == node_condition(report)
    assert digest(node_annotations(later), node_condition(later)) == digest(
        node_annotations(report), node_condition(report)
    )


def test_what_the_pods_decide_is_a_check() -> None:
    """The list of such checks names nothing that does not exist."""
    assert {*CHECK_IDS, *(check.id for check in hazards.CHECKS)} >= PER_POD


@pytest.mark.parametrize(
    ("text", "stable"),
    [
        ("/proc/812/status: gone", "/proc/<pid>/status: gone"),
        ("kubelet (PID 812), process 9", "kubelet (PID <n>), process <n>"),
        ("timed out after 2.5 s", "timed out after <n> s"),
        ("ext4 on 8:17", "ext4 on <device>"),
        ("/var/lib/kubelet/pods/0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11/volumes", "/var/lib/kubelet/pods/<uid>/volumes"),
        ("kubelet 1.36.2 needs Linux 6.3", "kubelet 1.36.2 needs Linux 6.3"),
        ("user.max_user_namespaces is 0", "user.max_user_namespaces is 0"),
        ("containerd 1.7.24 names no handlers", "containerd 1.7.24 names no handlers"),
    ],
)
def test_numbers_that_change_by_themselves(text: str, stable: str) -> None:
    """Processes, devices, Pods and times lose their numbers; versions and settings keep theirs."""
    assert message(replace(REPORTS["ready"], message=text)) == stable


@settings.get_profile("hostile")
@given(hostile_reports(), evil)
def test_hostile_reports(report: Report, name: str) -> None:
    """Keys are Kubernetes names, values plain text of bounded size, `report` is JSON, the whole below 32 KiB."""
    runtimes = tuple(make_oci_runtime(handler=f"{name}{i}", name=name, version=name * 9) for i in range(200))
    report = replace(report, facts=make_facts(oci_runtimes=runtimes), message=report.message * 500)
    found = node_annotations(report)
    assert {key.removeprefix(PREFIX) for key in found} <= set(KEYS)
    for key, value in found.items():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", key)
        assert value.isprintable()
        limit = REPORT_LIMIT if key.endswith("/report") else VALUE_LIMIT
        assert 0 < len(value.encode()) <= limit
    assert sum(len(key) + len(value.encode()) for key, value in found.items()) < 32 << 10
    assert json.loads(found[f"{PREFIX}report"])["verdict"] == report.verdict
    condition = node_condition(report)
    assert re.fullmatch(r"[A-Za-z]+", condition.reason)
    assert condition.message.isprintable()
    assert len(condition.message.encode()) <= VALUE_LIMIT
    assert re.fullmatch(r"true|false|unknown", *node_label(report).values())
    event = node_event("ready", replace(report, verdict="unknown"))
    assert event
    assert event.message.isprintable()
    assert len(event.message.encode()) <= VALUE_LIMIT


def test_too_many_handlers() -> None:
    """Whole entries go, from the end, and are counted; the default one stays."""
    runtimes = tuple(make_oci_runtime(handler=f"h{i:03}") for i in range(200))
    runtimes += (make_oci_runtime(handler=""),)
    said = values(make_report(facts=make_facts(oci_runtimes=runtimes)))["oci-runtimes"].split(",")
    assert said[0] == "(default)=runc/1.3.6"
    assert said[-1] == f"omitted={201 - (len(said) - 1)}"
    assert all(re.fullmatch(r"h\d{3}=runc/1\.3\.6", entry) for entry in said[1:-1])


def test_a_summary_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole findings go, the least important first, and are counted."""
    warnings = (make_finding(id=check, status="warn", gating=False) for check in CHECK_IDS)
    report = make_report(
        *warnings, make_finding(id="filesystem-tmpfs", status="fail", reason="TmpfsNotIdmappable", level="projected")
    )
    whole = json.loads(values(report)["report"])
    assert "omitted" not in whole
    monkeypatch.setattr("probe.outputs.annotations.REPORT_LIMIT", 500)
    text = values(report)["report"]
    short = json.loads(text)
    assert len(text) <= 500
    assert short["findings"][0]["id"] == "filesystem-tmpfs"
    assert short["findings"] == whole["findings"][: len(short["findings"])]
    assert short["omitted"] == len(whole["findings"]) - len(short["findings"]) > 0


@pytest.mark.parametrize(
    ("name", "label", "status", "reason"),
    [
        ("ready", "true", "True", "ChecksPassed"),
        ("tmpfs-refused", "false", "False", "TmpfsNotIdmappable"),
        ("no-kubelet", "unknown", "Unknown", "KubeletNotFound"),
    ],
)
def test_label_and_condition(name: str, label: str, status: str, reason: str) -> None:
    """The verdict in the words of each."""
    report = REPORTS[name]
    assert node_label(report) == {"userns-probe.io/ready": label}
    condition = node_condition(report)
    assert (condition.type, condition.status, condition.reason) == ("UserNamespacesReady", status, reason)
    assert condition.message == report.message


@pytest.mark.parametrize(("known", "label"), [("ready", "true"), ("not-ready", "false"), ("unknown", "unknown")])
def test_the_label_of_an_unknown_is_the_last_one_known(known: Verdict, label: str) -> None:
    """It fails static; a known verdict takes the place of whatever was known before."""
    assert node_label(REPORTS["no-kubelet"], known) == {"userns-probe.io/ready": label}
    assert node_label(REPORTS["ready"], known) == {"userns-probe.io/ready": "true"}
    assert node_label(REPORTS["tmpfs-refused"], known) == {"userns-probe.io/ready": "false"}


def test_each_handler_has_its_verdict() -> None:
    """The default one first, the others by name, in whichever order the runtime names them."""
    report = REPORTS["several-handlers"]
    told = "(default)=ready,crun=ready,kata=not-ready,oldrunc=not-ready,runc=ready"
    assert values(report)["handlers"] == told
    assert values(replace(report, handlers=report.handlers[::-1]))["handlers"] == told
    assert "handlers" not in values(replace(report, handlers=()))


def test_events() -> None:
    """One for each change of verdict, and none for anything else."""
    ready, refused, absent = (REPORTS[name] for name in ("ready", "tmpfs-refused", "no-kubelet"))
    assert node_event(None, ready) is None
    assert node_event("ready", ready) is None
    assert node_event("not-ready", replace(refused, message="other", reason="ProcCovered")) is None
    worse = node_event("ready", refused)
    assert worse
    assert (worse.type, worse.reason) == ("Warning", "UserNamespacesNotReady")
    assert worse.message == (
        "was ready, is not ready, TmpfsNotIdmappable: a fresh tmpfs: tmpfs cannot be idmapped on this kernel"
    )
    better = node_event("unknown", ready)
    assert better
    assert (better.type, better.reason) == ("Normal", CONDITION)
    assert better.message == "was unknown, is ready: Pods with hostUsers: false run on this node"
    lost = node_event("ready", absent)
    assert lost
    assert (lost.type, lost.reason) == ("Warning", "UserNamespacesUnknown")


def test_digest() -> None:
    """Equal for equal content in any order of keys, another for any other content."""
    one = node_annotations(REPORTS["ready"])
    assert digest(one) == digest(dict(reversed(one.items())))
    assert digest(one) != digest(one | {f"{PREFIX}verdict": "unknown"})
    assert digest(one) != digest(one, node_condition(REPORTS["ready"]))
    assert digest(node_condition(REPORTS["ready"])) != digest(node_condition(REPORTS["tmpfs-refused"]))
    with pytest.raises(TypeError):
        digest(object())
