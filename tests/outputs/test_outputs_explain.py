"""`userns-probe explain`: everything that a check declares can be read, by people and by machines."""

from __future__ import annotations

import json

import pytest

from probe.checks.catalog import CHECKS
from probe.checks.check import Check, Outcome
from probe.outputs.explain import render_catalog, render_check, render_checks_json
from tests.outputs.test_outputs_terminal import assert_harmless

EXAMPLE = Check(
    id="kernel-example",
    level="projected",
    gating=True,
    question="Does it work?",
    why="Because Pods break \x1b[31m otherwise.",
    reasons=("ItDoesNot", "ItNeverDid"),
    remediation="Switch it on:\n  sysctl -w kernel.example=1",
    documentation="example(7)",
    check=lambda facts: Outcome.passed("fine"),
)


def test_a_check_in_words() -> None:
    """All that is declared of a check is shown; its commands can be pasted."""
    assert render_check(EXAMPLE, width=80, colour=False) == (
        "kernel-example\n"
        "  Does it work?\n"
        "\n"
        "  level     projected; decides the verdict\n"
        "  why       Because Pods break \\x1b[31m otherwise.\n"
        "  fails as  ItDoesNot, ItNeverDid\n"
        "  read on   example(7)\n"
        "\n"
        "  fix       Switch it on:\n"
        "    sysctl -w kernel.example=1\n"
    )


def test_catalog_names_each_check_with_its_question() -> None:
    """The list has two lines for each check."""
    lines = render_catalog([EXAMPLE], width=80, colour=False).splitlines()
    assert lines[:2] == ["kernel-example  projected, gating", "  Does it work?"]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_every_real_check_can_be_shown(width: int, colour: bool) -> None:
    """No check's words are lost or too wide for the terminal."""
    assert_harmless(render_catalog(CHECKS, width=width, colour=colour), width)
    for check in CHECKS:
        assert_harmless(render_check(check, width=width, colour=colour), None)


def test_checks_for_machines() -> None:
    """JSON holds every declared field but the function."""
    (document,) = json.loads(render_checks_json([EXAMPLE]))
    assert document == {
        "id": "kernel-example",
        "level": "projected",
        "gating": True,
        "question": "Does it work?",
        "why": "Because Pods break \x1b[31m otherwise.",
        "reasons": ["ItDoesNot", "ItNeverDid"],
        "remediation": "Switch it on:\n  sysctl -w kernel.example=1",
        "documentation": "example(7)",
    }
