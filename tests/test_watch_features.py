"""The feature file as Node Feature Discovery reads it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import forked
from lab.recorded import Recording
from probe.outputs.documents import builtins
from probe.watch.feature_file import FILE_LIMIT, FeatureFile, known_label, render_features
from probe.watch.report_file import ReportFile

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
BOOT = "2423fc2c-7e83-4662-ace6-0810d9d7ac41"


def report(verdict: str = "ready", **fields: Any) -> dict[str, Any]:
    """What is read of a report."""
    usual = {"verdict": verdict, "reason": "", "levels": {"stateless": verdict}, "node": {"boot_id": BOOT}}
    return usual | {"expires_at": "2026-11-29T12:15:00Z"} | fields


def nfd(text: str, now: datetime = NOW) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and features that nfd-worker makes of a file, by the rules of its source/local."""
    labels: dict[str, str] = {}
    features: dict[str, str] = {}
    expires, without = None, set()
    assert len(text) <= FILE_LIMIT
    for line in text.splitlines():
        if line.startswith("#"):
            directive = line.removeprefix("#").strip()
            if directive.startswith("+"):
                name, _, value = directive[1:].partition("=")
                assert name in ("expiry-time", "no-label", "no-feature"), line
                if name == "expiry-time":
                    expires = datetime.fromisoformat(value)
                else:
                    without.add(name)
            continue
        name, _, value = line.strip().partition("=")
        if expires is None or now < expires:
            if "no-label" not in without:
                labels[name] = value
            if "no-feature" not in without:
                features[name] = value
        without.clear()
    return labels, features


@pytest.mark.parametrize(("verdict", "label"), [("ready", "true"), ("not-ready", "false"), ("unknown", "unknown")])
def test_one_label_and_the_rest_as_features(verdict: str, label: str) -> None:
    """Schedulers get what --publish=label gives; NodeFeatureRules can ask for more."""
    labels, features = nfd(render_features(report(verdict, reason="KubeletTooOld" if verdict == "not-ready" else "")))
    assert labels == {"userns-probe.io/ready": label}
    assert features["userns-probe.io/verdict"] == verdict
    assert features["userns-probe.io/level-stateless"] == verdict
    assert ("userns-probe.io/reason" in features) == (verdict == "not-ready")


def test_an_expired_report_says_nothing() -> None:
    """Also when nobody is left who could take the file away."""
    assert nfd(render_features(report()), datetime(2026, 11, 29, 13, 0, tzinfo=UTC)) == ({}, {})


def test_an_unknown_keeps_the_label_of_this_boot() -> None:
    """A label that leaves `true` lets a kubelet that restarts end running Pods; another boot is another node."""
    before = render_features(report())
    labels, features = nfd(render_features(report("unknown"), before))
    assert (labels["userns-probe.io/ready"], features["userns-probe.io/verdict"]) == ("true", "unknown")
    labels, _ = nfd(render_features(report("unknown", node={"boot_id": "another"}), before))
    assert labels == {"userns-probe.io/ready": "unknown"}
    labels, _ = nfd(render_features(report("not-ready"), before))
    assert labels == {"userns-probe.io/ready": "false"}


def test_a_whole_report_fits() -> None:
    """Of a recorded node: each name and value is one that Kubernetes takes as a label."""
    made = builtins(Recording("cri-o-1.37.0-dev-kernel-6.18").report())
    _, features = nfd(render_features(made), datetime(2026, 11, 1, tzinfo=UTC))
    assert set(features) >= {"userns-probe.io/ready", "userns-probe.io/level-projected"}


@given(st.text(max_size=80), st.text(max_size=40))
def test_no_reason_adds_a_line(reason: str, before: str) -> None:
    """Whatever a report says, a value stays a value; whatever an old file says, it is true, false or nothing."""
    labels, _ = nfd(render_features(report("unknown", reason=reason), before))
    assert labels == {"userns-probe.io/ready": "unknown"}
    assert known_label(before, BOOT) in ("", "true", "false")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    directory = os.open(tmp_path, os.O_RDONLY)
    yield directory
    os.close(directory)


def test_watch_writes_it_with_each_report_and_each_confirmation(directory: int, tmp_path: Path) -> None:
    """Else it would expire although nothing changed. Everyone may read it, as NFD's worker is not root."""
    file = ReportFile(directory, "report.json", FeatureFile(directory))
    file.put(json.dumps(report()).encode())
    assert nfd((tmp_path / "userns-probe").read_text())[0] == {"userns-probe.io/ready": "true"}
    file.confirm(NOW.timestamp() + 3600, 900)
    assert "expiry-time=2026-11-29T13:15:00Z" in (tmp_path / "userns-probe").read_text()
    assert (tmp_path / "userns-probe").stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(tmp_path)) == ["report.json", "userns-probe"]


def test_a_restarted_watch_remembers_the_label(directory: int, tmp_path: Path) -> None:
    """From its own file; from a symlink or a file that is not text it takes nothing."""
    FeatureFile(directory).put(report())
    FeatureFile(directory).put(report("unknown"))
    assert "ready=true" in (tmp_path / "userns-probe").read_text()
    (tmp_path / "userns-probe").write_bytes(b"\xff\xfe")
    FeatureFile(directory).put(report("unknown"))
    assert "ready=unknown" in (tmp_path / "userns-probe").read_text()
    (tmp_path / "userns-probe").unlink()
    (tmp_path / "other").write_text(render_features(report()))
    (tmp_path / "userns-probe").symlink_to("other")
    FeatureFile(directory).put(report("unknown"))
    assert "ready=unknown" in (tmp_path / "userns-probe").read_text()
    assert "ready=true" in (tmp_path / "other").read_text()


@pytest.mark.slow
def test_a_timer_keeps_the_label_as_watch_does(tmp_path: Path) -> None:
    """`report -o nfd` that replaces its own file reads it first: one probe that times out takes no label away."""
    file = tmp_path / "userns-probe"
    run = ("-o", "nfd", "--output-file", str(file))
    forked.run(*run)
    known = re.sub("ready=(true|false|unknown)", "ready=true", file.read_text())
    file.write_text(known)
    done = forked.run(*run)
    labels, _ = nfd(file.read_text(), datetime(2000, 1, 1, tzinfo=UTC))
    assert labels == {"userns-probe.io/ready": {0: "true", 1: "false", 2: "true"}[done.returncode]}


def test_a_folder_that_is_gone_does_not_stop_the_watch(directory: int, tmp_path: Path) -> None:
    """The report itself is in its place; the log says why NFD gets none."""
    (features := tmp_path / "features.d").mkdir()
    opened = os.open(features, os.O_RDONLY)
    features.rmdir()
    file = ReportFile(directory, "report.json", FeatureFile(opened))
    assert file.put(json.dumps(report()).encode()) == "ready"
    assert (tmp_path / "report.json").exists()
    os.close(opened)
