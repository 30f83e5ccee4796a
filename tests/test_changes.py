"""What differs between two reports, and the changes that `watch` keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import make_facts, make_finding, make_report, tmpfs_refused, user_namespaces_off
from probe.changes import (
    KEPT,
    LONGEST,
    OMITTED,
    SHOWN,
    bounded,
    dated,
    difference,
    fingerprint,
    followed,
    is_change,
)
from probe.cli.report import after_watch
from probe.finding import Evidence
from probe.outputs.changes import since_words
from probe.report import Node, Report
from probe.watch.report_file import ReportFile

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("verdict", "reason", "probed_at", "node", "facts", "findings", "filesystems", "changes", "agent_version")


def seen(report: Report) -> dict[str, str]:
    return fingerprint(msgspec.to_builtins(report))


def told(before: Report, after: Report) -> dict[str, tuple[str, str]]:
    """What differs -> (before, after), in order."""
    return {one["what"]: (one["before"], one["after"]) for one in difference(seen(before), seen(after))}


READY = make_report()
BOOTED = Node(name="node-1", boot_id="another", distribution="debian 13")
LIMIT = "/proc/sys/user/max_user_namespaces"


def with_limit(value: str, **overrides: Any) -> Report:
    return make_report(make_finding(evidence=(Evidence(LIMIT, value),)), **overrides)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (READY, READY, {}),
        (READY, replace(READY, probed_at="later", duration_seconds=9.0), {}),
        (READY, replace(READY, agent_version="0.2.0"), {"userns-probe": ("0.1.0", "0.2.0")}),
        (READY, replace(READY, node=BOOTED), {"boot": (READY.node.boot_id, "another")}),
        (READY, make_report(facts=make_facts(kernel_release="7.0")), {"kernel": ("6.12.38+deb13-amd64", "7.0")}),
        (READY, make_report(facts=make_facts(kubelet_version="1.37.0")), {"kubelet": ("1.36.2", "1.37.0")}),
        (READY, make_report(facts=make_facts(runtime_version="")), {"runtime": ("containerd 2.1.9", "containerd")}),
        (
            READY,
            make_report(facts=make_facts(oci_runtimes=())),
            {"oci-runtime (default)": ("runc 1.3.6", ""), "oci-runtime runc": ("runc 1.3.6", "")},
        ),
        (with_limit("15000"), with_limit("0"), {"setting user.max_user_namespaces": ("15000", "0")}),
        (with_limit("15000"), with_limit("16000"), {"setting user.max_user_namespaces": ("15000", "16000")}),
        (with_limit("15000"), with_limit("16000", node=BOOTED), {"boot": (READY.node.boot_id, "another")}),
        (READY, make_report(filesystems=()), {
            "filesystem kubelet-root": ("ext4 supported", ""), "filesystem runtime-root": ("ext4 supported", ""),
            "filesystem overlay-layers": ("overlay supported", ""), "filesystem tmpfs": ("tmpfs supported", ""),
        }),
        (READY, make_report(make_finding(id="ids-slots", status="warn", gating=False)), {}),
        (READY, make_report(make_finding(id="filesystem-volumes", level="volumes", status="fail", gating=False)), {}),
    ],
)  # fmt: skip
def test_a_difference_is_what_changed_and_nothing_else(
    before: Report, after: Report, expected: dict[str, tuple[str, str]]
) -> None:
    """Versions, boot, settings, file systems, checks; neither times nor Pods, nor numbers that a boot computes."""
    assert told(before, after) == expected
    assert told(after, before) == {what: sides[::-1] for what, sides in expected.items()}


def test_the_likeliest_cause_comes_first() -> None:
    """A kernel before the file system that it refuses, and that before the checks; the check of the reason first."""
    assert list(told(READY, tmpfs_refused())) == [
        "boot", "kernel", "distribution", "filesystem tmpfs", "check filesystem-tmpfs", "check runtime-claim",
    ]  # fmt: skip
    off = told(READY, replace(user_namespaces_off(), node=READY.node, facts=READY.facts))
    assert next(iter(off)) == "setting user.max_user_namespaces"
    assert next(name for name in off if name.startswith("check ")) == "check kernel-user-namespaces"
    assert len(off) <= SHOWN


def test_a_name_that_was_lost_is_no_difference() -> None:
    """A fingerprint that was cut does not say that the rest was absent."""
    whole = seen(tmpfs_refused())
    cut = bounded(whole, 3)
    assert cut[OMITTED] == str(len(whole) - 3)
    assert bounded(cut, 2)[OMITTED] == str(len(whole) - 2)
    assert difference(cut, whole) == []
    assert [one["what"] for one in difference(cut | {"kernel": "5.10"}, whole)] == ["kernel"]


def probed(report: Report, at: str, last: dict[str, Any] | None = None) -> dict[str, Any]:
    """*report* as JSON, as `watch` writes it after *last*."""
    made: dict[str, Any] = msgspec.to_builtins(replace(report, probed_at=at))
    return made | {"changes": followed(last or {}, made)}


def at(minute: int) -> str:
    return f"2026-11-21T21:{minute:02}:00Z"


def test_watch_keeps_the_last_changes() -> None:
    """Each with its time, both answers and the difference; equal answers add none, and the oldest goes."""
    last = probed(READY, at(0))
    assert last["changes"] == []
    for minute in range(1, KEPT + 3):
        report = tmpfs_refused() if minute % 2 else READY
        last = probed(report, at(minute), probed(report, at(minute), last))
    assert [one["at"] for one in last["changes"]] == [at(minute) for minute in range(3, KEPT + 3)]
    assert last["changes"][0]["before"] == {"verdict": "ready", "reason": ""}
    assert last["changes"][0]["after"] == {"verdict": "not-ready", "reason": "TmpfsNotIdmappable"}
    assert "kernel" in [one["what"] for one in last["changes"][0]["difference"]]


def test_a_clock_that_was_set_back() -> None:
    """A change that seems to be of the future keeps its place, and loses its time."""
    last = probed(tmpfs_refused(), at(50), probed(READY, at(40)))
    now = probed(READY, at(10), last)
    assert [one["at"] for one in now["changes"]] == [None, at(10)]
    assert dated("yesterday", at(10)) is None
    assert dated(at(10), "yesterday") == at(10)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_no_earlier_report_harms_the_next(last: dict[str, Any]) -> None:
    """Whatever the file holds: its changes are wholly right, or not taken over, and everything is bounded."""
    made = followed(last, msgspec.to_builtins(READY))
    assert len(made) <= KEPT
    assert all(map(is_change, made))
    found = fingerprint(last)
    assert all(
        len(text) <= LONGEST and text.isascii() and text.isprintable() for pair in found.items() for text in pair
    )


def test_text_says_since_when_as_watch_knows_it(tmp_path: Path) -> None:
    """One probe by hand, on a node where `watch` runs: also that the verdict changed since the last look of `watch`."""
    path = tmp_path / "report.json"
    assert after_watch(READY, str(path)) is READY
    file = ReportFile(os.open(tmp_path, os.O_RDONLY), "report.json")
    file.put(msgspec.json.encode(replace(READY, probed_at=at(1))))
    file.put(msgspec.json.encode(replace(tmpfs_refused(), node=READY.node, probed_at=at(2))))
    same = after_watch(replace(tmpfs_refused(), node=READY.node, probed_at=at(9)), str(path))
    assert since_words(same).startswith(f"not ready since {at(2)}; before: ready (changed: kernel from 6.12.38")
    other = after_watch(replace(READY, probed_at=at(9)), str(path))
    assert since_words(other).startswith(f"ready since {at(9)}; before: not ready, because TmpfsNotIdmappable (")
    assert [one.at for one in other.changes] == [at(2), at(9)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"verdict": 1}', b'{"verdict": "ready", "since": 1}', b'{"verdict": [], "since": "x"}'],
)
def test_text_is_no_worse_for_a_broken_report_file(tmp_path: Path, content: bytes) -> None:
    """Or for one that somebody else could have written."""
    path = tmp_path / "report.json"
    path.write_bytes(content)
    made = after_watch(READY, str(path))
    assert replace(made, since=None, previous=None, changes=()) == READY
    path.write_bytes(msgspec.json.encode(replace(tmpfs_refused(), since=at(1))))
    path.chmod(0o666)
    assert after_watch(READY, str(path)) is READY
