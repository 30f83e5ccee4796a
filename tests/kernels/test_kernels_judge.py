"""The judge of the kernel matrix: it lets nothing pass that is not so."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from lab.kernels.judge import judge
from lab.kernels.scenarios import CIRCUMSTANCES, CONFINED

ROLES = ("runtime-root", "overlay-layers", "kubelet-root", "tmpfs")
NAMES = ("kubelet-root", "tmpfs", "overlay-layers")
LEVELS = ("stateless", "projected", "local", "volumes")


def report(
    verdict: str = "ready", reason: str = "", row: str = "supported", privileges: str = "pass"
) -> dict[str, Any]:
    """As far as it is judged."""
    return {
        "verdict": verdict,
        "reason": reason,
        "levels": dict.fromkeys(LEVELS, verdict),
        "filesystems": [{"role": role, "result": row, "reason": "", "step": "done"} for role in ROLES],
        "findings": [
            {"id": "probe-privileges", "status": privileges, "message": "; ".join(CIRCUMSTANCES.values())},
            {"id": "sandbox-trial", "status": "pass", "message": ""},
            {"id": "runtime-trial", "status": "skipped"},
        ],
    }


def finding(report: dict[str, Any], check: str, **changes: str) -> dict[str, Any]:
    """The same report with that finding changed."""
    findings = [each | changes if each["id"] == check else each for each in report["findings"]]
    return report | {"findings": findings}


def scenario(name: str, said: dict[str, Any], code: int | None = None) -> dict[str, Any]:
    """What the command printed there; a runtime that was tried made a container, unless it says something else."""
    if name == "--try-runtime":
        said = finding(said, "runtime-trial", status="pass" if said["verdict"] == "ready" else "fail")
    code = {"ready": 0, "not-ready": 1, "unknown": 2}[said["verdict"]] if code is None else code
    return {"scenario": name, "again": 0, "paths_asked": True, "code": code, "stdout": json.dumps(said), "stderr": ""}


def container(started: bool = True, owner: int | None = 0, control: bool = True, **what: str) -> dict[str, Any]:
    """What became of one, as bundle.Outcome; where it did not start, with a control that did or did not."""
    told = {"runtime": "crun", "started": started, "owner_seen": owner, "error": "" if started else "refused", **what}
    return told if started else told | {"control": {"started": control, "error": "" if control else "no cgroup"}}


def paths(*results: str, scenario: str = "", code: int | None = None) -> dict[str, Any]:
    """What the command predicts of NAMES."""
    rows = [{"role": "path", "result": result, "reason": ""} for result in results]
    code = next((n for n, word in ((1, "refused"), (2, "unknown")) if word in results), 0) if code is None else code
    told = {"code": code, "stdout": json.dumps(rows), "stderr": ""}
    return {"scenario": scenario, "paths": dict.fromkeys(NAMES, "/"), **told}


UNKNOWN = report("unknown", "NotPermitted", "unknown", "unknown")
FORETOLD = paths("supported", "supported", "refused")
DISABLED = finding(report("not-ready", "UserNamespacesDisabled", "unknown"), "sandbox-trial", status="fail")
GOOD = [
    scenario("plain", report()),
    scenario("--try-runtime", report()),
    *(scenario(name, UNKNOWN) for name in CONFINED),
    *(paths("unknown", "unknown", "unknown", scenario=name) for name in CONFINED),
    scenario("user.max_user_namespaces=0", DISABLED),
    container(started=False, owner=None, control=False, scenario="user.max_user_namespaces=0"),
    scenario("kernel.unprivileged_userns_clone=0", report()),
    container(scenario="kernel.unprivileged_userns_clone=0", owner=65534),
    FORETOLD,
    *(container(row=name) for name in NAMES),
]


def disagreements(documents: list[dict[str, Any]]) -> list[str]:
    """Names of what does not agree."""
    judged = judge(documents)
    return [row.name for row in (*judged.filesystems, *judged.scenarios) if not row.agrees] + list(judged.problems)


def test_a_kernel_where_all_is_well() -> None:
    """Also with a limit of 0: there no container starts either."""
    assert disagreements(GOOD) == []
    assert [row.name for row in judge(GOOD).filesystems] == list(NAMES)


def with_tmpfs(predicted: str, verdict: dict[str, Any], **truth: Any) -> list[dict[str, Any]]:
    """The same kernel, but for tmpfs."""
    documents = [each for each in copy.deepcopy(GOOD) if each.get("row") != "tmpfs" and each != FORETOLD]
    documents = [
        scenario(each["scenario"], verdict, each["code"] if each["scenario"] in CONFINED else None)
        if "again" in each and json.loads(each["stdout"])["verdict"] == "ready"
        else each
        for each in documents
    ]
    return [*documents, paths("supported", predicted, "refused"), container(row="tmpfs", **truth)]


NO_TMPFS = report("not-ready", "TmpfsNotIdmappable")
OPEN = ["plain", "--try-runtime", "kernel.unprivileged_userns_clone=0"]


def test_a_kernel_that_lacks_something() -> None:
    """It is foreseen, and the verdict gives the reason."""
    assert disagreements(with_tmpfs("refused", NO_TMPFS, started=False, owner=None)) == []


@pytest.mark.parametrize(
    ("documents", "wrong"),
    [
        (with_tmpfs("supported", NO_TMPFS, started=False, owner=None), ["tmpfs"]),
        (with_tmpfs("unknown", NO_TMPFS, started=False, owner=None), ["tmpfs"]),
        (with_tmpfs("supported", report(), owner=65534), ["tmpfs", *OPEN]),
        (with_tmpfs("supported", NO_TMPFS), OPEN),
        (with_tmpfs("refused", report(), started=False, owner=None), OPEN),
        (with_tmpfs("refused", report("not-ready", "ProcCovered"), started=False, owner=None), OPEN),
    ],
)
def test_a_prediction_that_does_not_come_true(documents: list[dict[str, Any]], wrong: list[str]) -> None:
    """Of a file system, or of the node."""
    assert disagreements(documents) == wrong


def test_a_switch_that_matters_after_all() -> None:
    """Whether containers start says whether it does."""
    documents = [each for each in GOOD if each.get("scenario") != "kernel.unprivileged_userns_clone=0"]
    documents.append(scenario("kernel.unprivileged_userns_clone=0", report()))
    documents.append(container(started=False, owner=None, control=False, scenario="kernel.unprivileged_userns_clone=0"))
    assert disagreements(documents) == ["kernel.unprivileged_userns_clone=0"]


def _change(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(UNKNOWN) | changes


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (report(), "unknown NotPermitted was expected"),
        (_change(verdict="not-ready"), "unknown NotPermitted was expected"),
        (_change(reason="TimedOut"), "unknown NotPermitted was expected"),
        (
            finding(UNKNOWN, "probe-privileges", message="confined"),
            "it does not say that it is confined by: in a chroot",
        ),
        (_change(levels=dict.fromkeys(LEVELS, "unknown") | {"local": "ready"}), "level local is ready"),
        (_change(filesystems=[{"role": "tmpfs", "result": "refused", "step": "open_tree"}]), "tmpfs is refused"),
        (
            _change(filesystems=[{"role": "tmpfs", "result": "supported", "step": ""}]),
            "tmpfs is supported, and was not tried",
        ),
        (_change(findings=[*UNKNOWN["findings"], {"id": "x", "status": "fail"}]), "x fails"),
        (report("unknown", "NotPermitted", "unknown"), "the probe has all required privileges"),
    ],
)
def test_a_confined_probe_that_claims_to_know(said: dict[str, Any], problem: str) -> None:
    """Where it may not try everything."""
    (row,) = judge([scenario("chroot", said)]).scenarios
    assert problem in row.problems


def test_what_is_wrong_everywhere() -> None:
    """The exit code, words on stderr, and a truth of which nothing was foretold."""
    assert "the exit code is 0" in judge([scenario("chroot", UNKNOWN, 0)]).scenarios[0].problems
    assert judge([scenario("chroot", UNKNOWN) | {"stderr": "Traceback"}]).problems == ("chroot: Traceback",)
    assert judge([container(row="xfs")]).problems == ("nothing was predicted of xfs",)
    silent = scenario("chroot", UNKNOWN, 70) | {"stdout": "", "stderr": "Traceback"}
    assert judge([silent]).problems == ("chroot report: exit code 70: Traceback",)


def test_a_row_that_is_not_there() -> None:
    """It is named with its reason, and what needs it does not work; only what idmapping makes may be missing."""
    old = {"row": "idmapped", "missing": "system call 442: Function not implemented"}
    judged = judge([old, scenario("plain", report())])
    assert (judged.absent, judged.problems) == ({"idmapped": old["missing"]}, ())
    assert judged.scenarios[0].expected == "not-ready RuntimeRootNotIdmappable"
    judged = judge([{"row": "tmpfs", "missing": "command mount"}])
    assert judged.problems == ("tmpfs: no kernel is without it, and here command mount is missing",)
    assert len(judge([{"row": "idmapped", "missing": "command mkfs.ext4"}]).problems) == 1
    assert judge([{"row": "tmpfs", "broken": "no memory"}]).problems == ("tmpfs: no memory",)


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ([container(row="tmpfs", started=False)], None),
        (
            [container(row="tmpfs", started=False, control=False)],
            "crun does not start without mapping either: no cgroup",
        ),
        (
            [{key: value for key, value in container(row="tmpfs", started=False).items() if key != "control"}],
            "crun refuses it, and was not asked to do without mapping",
        ),
        ([], "no container of crun was tried"),
        ([container(row="tmpfs"), container(row="kubelet-root", runtime="runc")], "no container of runc was tried"),
    ],
)
def test_a_truth_that_is_none(truth: list[dict[str, Any]], problem: str | None) -> None:
    """A refusal counts when the same container starts without mapping; and nobody may be left out."""
    others = [container(row=name) for name in NAMES if name != "tmpfs"]
    found = [
        each for each in judge([paths("supported", "refused", "refused"), *others, *truth]).problems if "tmpfs" in each
    ]
    assert found == ([f"tmpfs: {problem}"] if problem else [])


def test_what_no_runtime_was_asked_agrees_with_nothing() -> None:
    """Also not with `refused`."""
    judged = judge([paths("refused", "refused", "refused")])
    assert not any(row.agrees for row in judged.filesystems)
    assert "tmpfs: no container was tried" in judged.problems


def test_an_unbindable_volume_has_no_control() -> None:
    """It is not the mapping that fails there; what fails instead is known by its words."""
    refused = container(row="unbindable", started=False, control=False) | {"error": "open `/x`: Invalid argument"}
    told = {"scenario": "", "paths": {"unbindable": "/"}, "code": 1, "stderr": ""}
    told["stdout"] = json.dumps([{"result": "refused", "reason": ""}])
    assert disagreements([told, refused]) == []
    other = refused | {"error": "cgroup: Permission denied"}
    assert disagreements([told, other]) == [
        "unbindable: crun does not start for another reason: cgroup: Permission denied"
    ]


def test_how_path_ends() -> None:
    """With the code of the worst row, and nothing on stderr; where the probe is confined as well."""
    others = [each for each in GOOD if each != FORETOLD]
    wrong = paths("supported", "supported", "refused", code=2)
    assert disagreements([*others, wrong]) == ["path: the exit code is 2, and not 1"]
    assert disagreements([*others, FORETOLD | {"stderr": "Traceback"}]) == ["path: Traceback"]
    assert "path was not tried" in judge([scenario("chroot", UNKNOWN)]).scenarios[0].problems
    assert judge([scenario("chroot", UNKNOWN) | {"paths_asked": False}]).scenarios[0].problems == ()


@pytest.mark.parametrize(
    ("results", "code", "problem"),
    [
        (("supported", "unknown", "unknown"), 2, None),
        (("unknown", "refused", "unknown"), 1, "path: tmpfs is refused"),
        (("unknown", "unknown", "unknown"), 0, "path: the exit code is 0, and not 2"),
    ],
)
def test_a_confined_probe_may_say_of_volumes_what_is_so(
    results: tuple[str, ...], code: int, problem: str | None
) -> None:
    """Nothing else, whatever else it could try."""
    said = paths(*results, scenario="chroot", code=code)
    others = [each for each in GOOD if each.get("scenario") != "chroot"]
    (row,) = [row for row in judge([*others, scenario("chroot", UNKNOWN), said]).scenarios if row.name == "chroot"]
    assert row.problems == ((problem,) if problem else ())


@pytest.mark.parametrize(
    ("name", "check", "status", "wanted"),
    [
        ("plain", "sandbox-trial", "fail", "pass"),
        ("user.max_user_namespaces=0", "sandbox-trial", "pass", "fail"),
        ("plain", "runtime-trial", "unknown", "skipped"),
        ("--try-runtime", "runtime-trial", "skipped", "pass"),
    ],
)
def test_trials_come_out_as_containers_do(name: str, check: str, status: str, wanted: str) -> None:
    """Where they start, a sandbox can be set up."""
    documents = []
    for each in GOOD:
        if each.get("scenario") == name and "again" in each:
            changed = finding(json.loads(each["stdout"]), check, status=status)
            each = each | {"stdout": json.dumps(changed)}
        documents.append(each)
    problems = [problem for row in judge(documents).scenarios for problem in row.problems]
    assert problems == [f"{check} is {status}, and not {wanted}"]


def test_a_sandbox_without_a_network_is_half_a_trial() -> None:
    """The guest loads what it takes."""
    said = finding(report(), "sandbox-trial", message="22 steps worked, left out or not needed by most Pods: veth")
    assert "the sandbox was tried without a network" in judge([scenario("plain", said)]).scenarios[0].problems


@pytest.mark.parametrize("status", ["pass", "unknown", "skipped", "warn"])
def test_the_trial_of_a_runtime_fails_where_a_volume_is_refused(status: str) -> None:
    """Whatever else it says is wrong."""
    documents = with_tmpfs("refused", NO_TMPFS, started=False, owner=None)
    for each in documents:
        if each.get("scenario") == "--try-runtime":
            each["stdout"] = json.dumps(finding(json.loads(each["stdout"]), "runtime-trial", status=status))
    assert disagreements(documents) == ["--try-runtime"]


def test_reports_that_were_asked_for_again_are_counted() -> None:
    """A machine that is too slow is told of."""
    assert judge([scenario("plain", report()) | {"again": 2}, *GOOD[1:]]).again == 2
