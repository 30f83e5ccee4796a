"""`userns-probe explain`: everything that a check declares can be read, by people and by machines."""

from __future__ import annotations

import json

import pytest
from click import UsageError
from click.testing import CliRunner

from probe.checks.catalog import CHECKS, find
from probe.checks.check import Check, Outcome
from probe.checks.remedies.platforms import PLATFORMS
from probe.checks.remedies.table import REMEDIATIONS
from probe.cli.verbs import cli
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
        "  level     projected; if it is unknown, so is the verdict\n"
        "  why       Because Pods break \\x1b[31m otherwise.\n"
        "  fails as  ItDoesNot, ItNeverDid\n"
        "  docs      example(7)\n"
        "\n"
        "  fix       Switch it on:\n"
        "    sysctl -w kernel.example=1\n"
    )


def test_catalog_names_each_check_with_its_question() -> None:
    """The list has two lines for each check, below the part of the stack that it is about."""
    lines = render_catalog([EXAMPLE], width=80, colour=False).splitlines()
    assert lines[:3] == ["KERNEL", "  kernel-example  projected, gating", "    Does it work?"]


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
        "remediations": [],
    }


def test_what_fits_a_platform_is_shown_for_it() -> None:
    """With a platform its own way stands there with its source, without one all platforms that have one are named."""
    check = find("kernel-user-namespaces")
    assert check
    anywhere = render_check(check, width=80, colour=False)
    assert "--for     container, talos, bottlerocket, openshift\n" in anywhere
    assert "sysctl -p" in anywhere
    talos = render_check(check, width=80, colour=False, platform="talos")
    assert "  UserNamespacesDisabled on Talos\n  fix       Talos allows no user namespaces" in talos
    assert '\n        user.max_user_namespaces: "11255"\n' in talos
    assert "  source    Talos documentation" in talos
    assert "sysctl -p" not in talos


def test_a_platform_without_a_way_of_its_own_gets_the_common_one() -> None:
    """And is told so."""
    check = find("kernel-user-namespaces")
    assert check
    text = render_check(check, width=80, colour=False, platform="debian")

    assert "specific to Debian. For all platforms:\n\n  fix       " in text
    assert "sysctl -p" in text


def test_what_fits_one_reason_is_shown_beside_what_is_declared() -> None:
    """A check with several reasons may have more than one way out."""
    check = find("kubelet-user-namespaces")
    assert check
    text = render_check(check, width=80, colour=False)
    assert "fix       Upgrade the kubelet to 1.33" in text
    assert "\n  KubeletGateOff\n  fix       Switch the gate on" in text


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("width", [40, 120])
def test_every_check_can_be_shown_for_every_platform(platform: str, width: int) -> None:
    """Nothing but commands is wider than the terminal."""
    for check in CHECKS:
        text = render_check(check, width=width, colour=False, platform=platform)
        assert_harmless("\n".join(line for line in text.split("\n") if not line.startswith("    ")), width)


def test_machines_get_every_row() -> None:
    """Each with the reason and the platform that it is for, and where it is from."""
    documents = json.loads(render_checks_json(CHECKS))
    rows = [row for document in documents for row in document["remediations"]]
    assert len(rows) == len([row for row in REMEDIATIONS if row.check])
    assert all(set(row) == {"reason", "platform", "source", "text"} for row in rows)


def test_the_option() -> None:
    """`--for` chooses the platform; one that nobody knows, or no check to ask about, is a usage error."""
    runner = CliRunner()
    answer = runner.invoke(cli, ["explain", "filesystem-tmpfs", "--for", "debian"], standalone_mode=False)
    assert "bookworm-backports" in answer.output
    for arguments in (["filesystem-tmpfs", "--for", "banana"], ["--for", "debian"]):
        failed = runner.invoke(cli, ["explain", *arguments], standalone_mode=False)
        assert isinstance(failed.exception, UsageError)
        assert "talos, bottlerocket" in failed.exception.message
