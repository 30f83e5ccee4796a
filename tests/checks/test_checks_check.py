"""Outcomes of checks."""

from __future__ import annotations

import pytest

from lab.factory import unread
from probe.checks.check import Outcome, unknown
from probe.finding import Evidence
from probe.reading import Reading


def test_evidence_of_a_problem_is_the_problem() -> None:
    """And of a value its text, in JSON's spelling."""
    hangs = unread("/proc/1/mountinfo", "timed-out")
    seen = Outcome.not_read("whether it is covered", hangs, Reading("CRI", True)).evidence
    assert seen == (Evidence("/proc/1/mountinfo", "", hangs.problem), Evidence("CRI", "true"))


def test_a_reading_with_a_value_is_not_unread() -> None:
    """That would be a bug of the check."""
    with pytest.raises(ValueError, match="was read"):
        Outcome.not_read("the release", Reading("/proc/version", "6.1"))


@pytest.mark.parametrize("word", ["how", "what", "where", "whether", "which", "whose"])
def test_a_clause_follows_unknown_and_a_noun_precedes_it(word: str) -> None:
    """As a native speaker says it."""
    assert unknown(f"{word} it is") == f"unknown {word} it is"
    assert unknown("the umask") == "the umask is unknown"
