"""Device nodes of a Pod: none is opened whose driver is not there, as that would load the driver."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from probe.host.nested.container import Container
from probe.host.nested.pod import MISC_MINORS, open_device, parse_minors, read_minors
from probe.host.nested.trial import STEP_NAMES
from probe.host.sandbox.steps import UnknownToKernelError


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the device nodes that are opened; none really is."""
    paths: list[str] = []

    def note(path: str, *_: object) -> int:
        paths.append(path)
        return -1

    monkeypatch.setattr(os, "open", note)
    return paths


@pytest.mark.parametrize("path", MISC_MINORS)
@pytest.mark.parametrize("minors", [frozenset(), frozenset({1, 2})])
def test_a_device_without_a_driver_is_not_opened(opened: list[str], path: str, minors: frozenset[int]) -> None:
    """Its node may be there: systemd-tmpfiles makes nodes of drivers that are not loaded."""
    with pytest.raises(UnknownToKernelError):
        open_device(path, minors)
    assert opened == []


@pytest.mark.parametrize(("path", "minor"), MISC_MINORS.items())
def test_a_device_with_its_driver_is_opened(opened: list[str], path: str, minor: int) -> None:
    """And no driver but its own counts."""
    open_device(path, frozenset({minor}))
    with pytest.raises(UnknownToKernelError):
        open_device(path, frozenset(MISC_MINORS.values()) - {minor})
    assert opened == [path]


def test_the_steps_open_nothing_without_drivers(opened: list[str]) -> None:
    """The first process of the trial says `absent` of both devices."""
    assert set(MISC_MINORS) < set(STEP_NAMES)
    first = Container({}, None, lambda _: False, frozenset(), -1, {"pod namespaces"})._answers()
    assert [(step.name, step.outcome) for step in islice(first, 2)] == [(path, "absent") for path in MISC_MINORS]
    assert opened == []


@pytest.mark.parametrize(
    ("text", "minors"),
    [
        (b"200 tun\n229 fuse\n", {200, 229}),
        (b" 58 cpu_dma_latency\n229 fuse", {58, 229}),
        (b"", set()),
        (b"\n \nfuse 229\n-1 x\n\xff\xfe\n" + b"9" * 5000 + b" x\n229\n", {229}),
    ],
)
def test_registered_minors(text: bytes, minors: set[int]) -> None:
    """What is not a number is none; nothing odd is an error."""
    assert parse_minors(text.splitlines(keepends=True)) == minors


def test_without_the_file_no_driver_is_known(tmp_path: Path) -> None:
    """The file is read of the probe's own /proc."""
    own_proc = os.open(tmp_path, os.O_PATH)
    assert read_minors(own_proc) == frozenset()
    (tmp_path / "misc").write_text("229 fuse\n")
    assert read_minors(own_proc) == {229}
    os.close(own_proc)
