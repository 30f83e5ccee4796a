"""The judge of the kernel matrix: it lets nothing pass that is not so."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.kernels.judge import judge
from tests.kernels.scenarios import CONFINED

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
        "findings": [{"id": "probe-privileges", "status": privileges}, {"id": "runtime-trial", "status": "pass"}],
    }


def scenario(name: str, said: dict[str, Any], code: int | None = None) -> dict[str, Any]:
    """What the command printed there."""
    code = {"ready": 0, "not-ready": 1, "unknown": 2}[said["verdict"]] if code is None else code
    return {"scenario": name, "code": code, "stdout": json.dumps(said), "stderr": ""}


def container(started: bool = True, owner: int | None = 0, **what: str) -> dict[str, Any]:
    """What became of one, as bundle.Outcome."""
    return {"runtime": "crun", "started": started, "owner_seen": owner, "error": "" if started else "refused", **what}


def paths(*results: str) -> dict[str, Any]:
    """What the command predicts of NAMES."""
    rows = [{"role": "path", "result": result, "reason": ""} for result in results]
    return {"paths": dict.fromkeys(NAMES, "/"), "code": 0, "stdout": json.dumps(rows), "stderr": ""}


UNKNOWN = report("unknown", "NotPermitted", "unknown", "unknown")
GOOD = [
    scenario("plain", report()),
    scenario("--try-runtime", report()),
    *(scenario(name, UNKNOWN) for name in CONFINED),
    scenario("user.max_user_namespaces=0", report("not-ready", "UserNamespacesDisabled", "unknown")),
    container(started=False, owner=None, scenario="user.max_user_namespaces=0"),
    scenario("kernel.unprivileged_userns_clone=0", report()),
    container(scenario="kernel.unprivileged_userns_clone=0", owner=65534),
    paths("supported", "supported", "refused"),
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
    documents = [each for each in copy.deepcopy(GOOD) if each.get("row") != "tmpfs" and "paths" not in each]
    documents = [
        scenario(each["scenario"], verdict, each["code"] if each["scenario"] in CONFINED else None)
        if "stdout" in each and json.loads(each["stdout"])["verdict"] == "ready"
        else each
        for each in documents
    ]
    return [*documents, paths("supported", predicted, "refused"), container(row="tmpfs", **truth)]


NO_TMPFS = report("not-ready", "TmpfsNotIdmappable")
NO_TMPFS["findings"][1]["status"] = "warn"
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
    documents.append(container(started=False, owner=None, scenario="kernel.unprivileged_userns_clone=0"))
    assert disagreements(documents) == ["kernel.unprivileged_userns_clone=0"]


def _change(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(UNKNOWN) | changes


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (report(), "the verdict is ready"),
        (_change(verdict="not-ready"), "the verdict is not-ready"),
        (_change(levels=dict.fromkeys(LEVELS, "unknown") | {"local": "ready"}), "level local is ready"),
        (_change(filesystems=[{"role": "tmpfs", "result": "refused", "step": "open_tree"}]), "tmpfs is refused"),
        (
            _change(filesystems=[{"role": "tmpfs", "result": "supported", "step": ""}]),
            "tmpfs is supported, and was not tried",
        ),
        (_change(findings=[*UNKNOWN["findings"], {"id": "x", "status": "fail"}]), "x fails"),
        (report("unknown", "NotPermitted", "unknown"), "the probe may do all that it needs"),
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


def test_a_row_that_is_not_there() -> None:
    """It is named with its reason, and what needs it does not work."""
    judged = judge([{"row": "tmpfs", "missing": "no tmpfs"}, scenario("plain", report())])
    assert judged.absent == {"tmpfs": "no tmpfs"}
    assert judged.scenarios[0].expected == "not-ready RuntimeRootNotIdmappable"
