"""What each version of the kubelet does about user namespaces."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.facts.kubelet.versions import (
    VERSION_RULES,
    fails_on_cgroup_v1,
    gate_in_force,
    knows_ids_per_pod,
    parse_release,
    parse_version,
    version_rule,
)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Kubernetes v1.36.2\n", "1.36.2"),
        ("Kubernetes v1.31.13-eks-113cf36\n", "1.31.13-eks-113cf36"),
        ("Kubernetes v1.33.4+2d0ed3e\n", "1.33.4+2d0ed3e"),
        ("Kubernetes v1.34.1-gke.3971001\n", "1.34.1-gke.3971001"),
        ("k3s version v1.33.1+k3s1 (99d91538)\ngo version go1.24.2\n", "1.33.1+k3s1"),
    ],
)
def test_versions_are_read_as_they_are_printed(output: str, version: str) -> None:
    """Of the kubelet as of k3s, with what a vendor adds."""
    assert parse_version(output) == version


@pytest.mark.parametrize("output", ["", "GNU bash, version 5.2.15", "Kubernetes", "v1.36.2", "Kubernetes v1.36"])
def test_other_programs_have_no_kubernetes_version(output: str) -> None:
    """Said, not guessed."""
    with pytest.raises(ValueError, match="no Kubernetes version"):
        parse_version(output)


@pytest.mark.parametrize("output", ["Kubernetes v0.0.0-master+0ff1ce\n", "Kubernetes v0.0.0\n"])
def test_a_build_without_its_version_is_not_old(output: str) -> None:
    """What `go build` makes of the sources without Kubernetes' own scripts."""
    with pytest.raises(ValueError, match="without its version"):
        parse_version(output)


@pytest.mark.parametrize(
    ("release", "gate", "default", "locked", "unable"),
    [
        ((1, 24), "", False, False, "ignores"),
        ((1, 25), "UserNamespacesStatelessPodsSupport", False, False, "ignores"),
        ((1, 27), "UserNamespacesStatelessPodsSupport", False, False, "ignores"),
        ((1, 28), "UserNamespacesSupport", False, False, "ignores"),
        ((1, 29), "UserNamespacesSupport", False, False, "ignores"),
        ((1, 30), "UserNamespacesSupport", False, False, "refuses"),
        ((1, 32), "UserNamespacesSupport", False, False, "refuses"),
        ((1, 33), "UserNamespacesSupport", True, False, "refuses"),
        ((1, 35), "UserNamespacesSupport", True, False, "refuses"),
        ((1, 36), "UserNamespacesSupport", True, True, "refuses"),
        ((2, 0), "UserNamespacesSupport", True, True, "refuses"),
    ],
)
def test_the_rules_of_each_release(
    release: tuple[int, int], gate: str, default: bool, locked: bool, unable: str
) -> None:
    """Source: KEP-127 and the feature gates page of kubernetes.io."""
    rule = version_rule(release)
    assert (rule.gate, rule.default, rule.locked, rule.unable) == (gate, default, locked, unable)
    assert gate_in_force(rule, {}) is default


@pytest.mark.parametrize(
    ("release", "gates", "on"),
    [
        ((1, 28), {"AllAlpha": True}, True),
        ((1, 28), {"AllBeta": True}, False),
        ((1, 31), {"AllBeta": True}, True),
        ((1, 31), {"AllAlpha": True}, False),
        ((1, 31), {"AllBeta": True, "UserNamespacesSupport": False}, False),
        ((1, 34), {"AllBeta": False}, False),
        ((1, 34), {"AllBeta": False, "UserNamespacesSupport": True}, True),
        ((1, 34), {"UserNamespacesSupport": False}, False),
        ((1, 36), {"AllBeta": False}, True),
        ((1, 36), {"UserNamespacesSupport": False}, True),
        ((1, 24), {"UserNamespacesSupport": True, "AllAlpha": True}, False),
        ((1, 26), {"UserNamespacesStatelessPodsSupport": True}, True),
        ((1, 26), {"UserNamespacesSupport": True}, False),
    ],
)
def test_gates_are_judged_with_the_umbrellas_above_them(
    release: tuple[int, int], gates: dict[str, bool], on: bool
) -> None:
    """AllAlpha and AllBeta move what nobody set by name, and nothing that is stable."""
    assert gate_in_force(version_rule(release), gates) is on


def test_other_defaults_by_version() -> None:
    """KubeletConfiguration v1beta1 of each release."""
    assert [fails_on_cgroup_v1((1, minor)) for minor in (30, 34, 35, 36)] == [False, False, True, True]
    assert [knows_ids_per_pod((1, minor)) for minor in (32, 33)] == [False, True]


def test_the_table_is_in_order() -> None:
    """The last row that is old enough is the one that counts."""
    assert [rule.since for rule in VERSION_RULES] == sorted(rule.since for rule in VERSION_RULES)


@given(st.text())
def test_any_text_is_a_version_or_a_value_error(text: str) -> None:
    """Whatever a program prints."""
    for parse in (parse_version, parse_release):
        with suppress(ValueError):
            parse(text)


@given(st.integers(0, 999), st.integers(0, 999))
def test_releases_survive_a_round_trip(major: int, minor: int) -> None:
    """Major and minor number are all that a rule needs."""
    assert parse_release(f"{major}.{minor}.0+k3s1") == (major, minor)
