"""Devices in the report for people, on the page, in JSON and in the explanation of their check."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from click import UsageError
from click.testing import CliRunner

from lab.reports import REPORTS, make_device_kind, make_report
from probe.cli.verbs import cli
from probe.devices import DeviceReason
from probe.outputs.documents import render_json
from probe.outputs.page import render_page
from probe.outputs.staleness import expired
from probe.outputs.terminal import render_report
from probe.report import Report

PROJECT = Path(__file__).parents[2]
REPORT = REPORTS["several-handlers"]
HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e"


def test_each_kind_has_a_row() -> None:
    """With its cause, and the handler where it is not the default one."""
    text, page = render_report(REPORT, width=None, colour=False), render_page(REPORT)
    for words in ("amd.com/gpu", "devices.kubevirt.io/kvm", "some fail", "handler crun", "/dev/kfd has mode 0660"):
        assert words in text
        assert words in page
    assert "DEVICES" not in render_report(make_report(), width=None, colour=False)
    assert 'id="devices"' not in render_page(make_report())


def test_json_holds_what_another_machine_needs() -> None:
    assert msgspec.json.decode(render_json(REPORT), type=Report).devices == REPORT.devices


@pytest.mark.parametrize("reason", get_args(DeviceReason))
def test_each_reason_is_explained_and_given(reason: str) -> None:
    """In the document that readers are sent to, and by a judge."""
    assert f"`{reason}`" in (PROJECT / "docs/troubleshooting.md").read_text()
    judges = (PROJECT / "probe/checks/devices").glob("*.py")
    assert any(f'"{reason}"' in judge.read_text() for judge in judges)


def test_an_expired_report_tells_of_none() -> None:
    assert expired(REPORT).devices == ()


def test_strings_of_a_node_are_no_markup_and_no_escape() -> None:
    hostile = make_report(devices=(make_device_kind(kind=HOSTILE, message=HOSTILE, causes=(), handler=HOSTILE),))
    page = render_page(hostile)
    text = render_report(hostile, width=80, colour=False, verbose=1)
    assert "<script>" not in page
    assert not {"\x1b", "\u202e"} & {*page, *text}


def test_explain_shows_the_devices_of_a_report(tmp_path: Path) -> None:
    """With all reasons and fixes; only of this check, and only as text."""
    file = tmp_path / "report.json"
    file.write_text(render_json(REPORT))
    runner, words = CliRunner(), ["explain", "hazard-device-hooks", "--report", str(file)]
    said = runner.invoke(cli, words, standalone_mode=False).output
    assert "chmod 0666 /dev/kfd" in said
    assert "devices.kubevirt.io/kvm" in said
    file.write_text(render_json(make_report()))
    assert "no device" in runner.invoke(cli, words, standalone_mode=False).output
    for wrong in ([*words, "-o", "json"], ["explain", "filesystem-tmpfs", "--report", str(file)]):
        assert isinstance(runner.invoke(cli, wrong, standalone_mode=False).exception, UsageError)
