"""Whether guests may use hardware acceleration: only where a guest really came to its end with it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.kernels import machine
from lab.kernels.packages import Kernel

KERNEL = Kernel("6.0", "6.0-1", "test", "amd64", Path("/nowhere"))
KVM, EMULATED = ("-accel", "kvm", "-cpu", "host"), ("-accel", "tcg", "-cpu", machine.HARDWARE["amd64"].processor)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of each trial boot, all of which work; on a machine with /dev/kvm."""
    seen: list[Sequence[str]] = []

    def boots(kernel: Kernel, archive: bytes, words: Sequence[str], timeout: float) -> machine.Outcome:
        assert timeout == machine.TRIAL
        seen.append(words)
        return machine.Outcome(0, [], 1.0, "")

    monkeypatch.setattr(machine, "_accelerations", {})
    monkeypatch.setattr(machine, "initramfs", lambda kernel, command: b"")
    monkeypatch.setattr(machine, "_boot", boots)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/dev/kvm")
    return seen


def test_it_is_used_where_it_boots(trials: list[Sequence[str]]) -> None:
    """One trial is enough for a process."""
    assert machine._acceleration(KERNEL) == KVM
    assert machine._acceleration(KERNEL) == KVM
    assert [words[: len(KVM)] for words in trials] == [list(KVM)]


def test_it_is_not_used_where_it_boots_nothing(trials: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Though /dev/kvm is there and may be opened; the trial is not repeated for each guest."""

    def hangs(*arguments: object) -> machine.Outcome:
        trials.append(())
        raise machine.GuestError("the guest did not end by itself")

    monkeypatch.setattr(machine, "_boot", hangs)
    assert machine._acceleration(KERNEL) == EMULATED
    assert machine._acceleration(KERNEL) == EMULATED
    assert len(trials) == 1


@pytest.mark.parametrize(("runs_on", "allowed"), [("aarch64", True), ("x86_64", False)])
def test_it_is_not_tried_elsewhere(
    trials: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, runs_on: str, allowed: bool
) -> None:
    """On another architecture, or without /dev/kvm."""
    monkeypatch.setattr(platform, "machine", lambda: runs_on)
    monkeypatch.setattr(os, "access", lambda path, mode: allowed)
    assert machine._acceleration(KERNEL) == EMULATED
    assert trials == []
