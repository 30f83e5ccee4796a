"""The systemd units, the Job and the NodeReadinessRule: what their readers make of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from lab.deploy.manifests import CHECKOUT, documents, unexplained
from lab.prerequisites import require
from probe.outputs.annotations import CONDITION

UNITS = sorted((CHECKOUT / "deploy/host").glob("*.*"))
EXEC = re.compile(r"^#?ExecStart=userns-probe (.*)$", re.MULTILINE)
OWN_NAMESPACE = re.compile(
    r"^(Protect\w+|Private\w+|Read(Only|Write)Paths|InaccessiblePaths|TemporaryFileSystem|BindPaths|RootDirectory|"
    r"RootImage|MountFlags|DynamicUser|SystemCallFilter|Restrict\w+)=",
    re.MULTILINE,
)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_each_unit(unit: Path, tmp_path: Path) -> None:
    """Without a warning, once the command is there."""
    require(shutil.which("systemd-analyze") is not None, "systemd-analyze (package systemd)")
    for each in UNITS:
        (tmp_path / each.name).write_text(each.read_text().replace("=userns-probe ", "=/bin/true "))
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if "userns-probe" in line]
    assert (done.returncode, about) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_unit_shows_the_probe_another_world(unit: Path) -> None:
    """An option that makes a mount namespace or a filter would be probed in place of the node."""
    assert OWN_NAMESPACE.search(unit.read_text()) is None


def test_every_verdict_is_a_success_of_the_service() -> None:
    """Not ready is an answer, and no failed unit."""
    service = (CHECKOUT / "deploy/host/userns-probe.service").read_text()
    assert "SuccessExitStatus=1 2\n" in service
    assert "Type=oneshot\n" in service


@pytest.mark.slow
@pytest.mark.parametrize("line", EXEC.findall((CHECKOUT / "deploy/host/userns-probe.service").read_text()))
def test_the_service_runs_what_it_says(line: str, tmp_path: Path) -> None:
    """The very arguments of its ExecStart lines; the file is everyone's to read, and whole."""
    *arguments, file = line.split(" ")
    place = tmp_path / file.rpartition("/")[2]
    command = [sys.executable, "-m", "probe", *arguments, str(place)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode in (0, 1, 2), done.stdout, done.stderr) == (True, "", "")
    assert place.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == [place.name]
    assert "userns" in place.read_text()


def test_the_job_is_one_of_kubernetes() -> None:
    """Every release that the DaemonSet is for; each power with its reason."""
    text = (CHECKOUT / "deploy/job.yaml").read_text()
    (job,) = documents(text)
    for version in ("1.30", "1.36"):
        kubernetes_validate.validate(job, version, strict=True)
    assert unexplained(text) == []
    image = yaml.safe_load_all((CHECKOUT / "daemonset.yaml").read_text())
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] in json.dumps(list(image))


def test_the_jobs_command_fails_for_a_bug_alone(tmp_path: Path) -> None:
    """Exit codes 0 to 2 are verdicts; what else there is stays as it is."""
    (job,) = documents((CHECKOUT / "deploy/job.yaml").read_text())
    shell = job["spec"]["template"]["spec"]["containers"][0]["command"]
    for code, expected in ((0, 0), (1, 0), (2, 0), (70, 70)):
        (program := tmp_path / "userns-probe").write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
        done = subprocess.run(shell, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
        assert done.returncode == expected


def test_the_rule_waits_for_our_condition_and_taints_nothing_yet() -> None:
    """A taint keeps all Pods off: a rule that somebody applies as it is must not."""
    (rule,) = documents((CHECKOUT / "deploy/node-readiness/rule.yaml").read_text())
    spec = rule["spec"]
    assert (rule["apiVersion"], rule["kind"]) == ("readiness.node.x-k8s.io/v1alpha1", "NodeReadinessRule")
    assert [each["type"] for each in spec["conditions"]] == [CONDITION]
    assert (spec["enforcementMode"], spec["taint"]["effect"], spec["dryRun"]) == ("bootstrap-only", "NoSchedule", True)
    assert spec["taint"]["key"].startswith("readiness.k8s.io/")
    assert spec["nodeSelector"]["matchLabels"]
    assert "defaultStatus" not in spec["conditions"][0]
