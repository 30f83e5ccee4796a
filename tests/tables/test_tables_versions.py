"""The tables of gates, of Pod Security and of runtimes with the node's network."""

from __future__ import annotations

import pytest

from probe.facts.kubelet.versions import version_rule
from probe.tables.gates import GATES, POD_SECURITY, PROC_MOUNT, SUPPORT, Gate
from probe.tables.host_network import RUNTIMES, supports
from probe.tables.pod_limits import LIMITS
from probe.tables.pod_security import CONTROLS, WORDS, asked

BY_NAME = {gate.name: gate for gate in GATES}
LETTERS = {("alpha", False): "a", ("beta", False): "b", ("beta", True): "B", ("stable", True): "G"}


@pytest.mark.parametrize(
    ("name", "from_1_30_on"),
    [
        ("UserNamespacesSupport", "bbbBBBGG"),
        ("UserNamespacesPodSecurityStandards", "aaaaa---"),
        ("ProcMountType", "abbBBBGG"),
        ("UserNamespacesHostNetworkSupport", "-----aaa"),
        ("NodeDeclaredFeatures", "-----aBG"),
        ("ImageVolume", "-aabbBGG"),
        ("SupplementalGroupsPolicy", "-aaBBGGG"),
        ("InPlacePodVerticalScaling", "aaaBBGGG"),
        ("DynamicResourceAllocation", "aabbGGGG"),
        ("DevicePluginCDIDevices", "BGGGGGGG"),
    ],
)
def test_gates(name: str, from_1_30_on: str) -> None:
    """The stage of each version: alpha, beta off (b) or on (B), GA, or absent."""
    stages = [BY_NAME[name].at((1, minor)) for minor in range(30, 38)]
    assert "".join(LETTERS[one.stage, bool(one.default)] if one else "-" for one in stages) == from_1_30_on


def test_a_stable_gate_may_be_set_for_one_more_version() -> None:
    """DynamicResourceAllocation is stable in 1.34 and locked in 1.35; it came in 1.26, with another API."""
    gate = BY_NAME["DynamicResourceAllocation"]
    found = {minor: gate.at((1, minor)) for minor in (25, 26, 33, 34, 35)}
    assert [one and (one.stage, one.locked) for one in found.values()] == [
        *(None, ("alpha", False), ("beta", False), ("stable", False), ("stable", True)),
    ]
    assert all(one.default for one in (found[34], found[35]) if one)
    assert not any(one.locked for each in GATES for one in each.stages if one.stage != "stable")


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_a_gate_only_rises(gate: Gate) -> None:
    """Versions and stages rise, each stage has a source, and what is stable is on."""
    assert [one.since for one in gate.stages] == sorted({one.since for one in gate.stages})
    order = [("alpha", "beta", "stable").index(one.stage) for one in gate.stages]
    assert order == sorted(order)
    assert all(one.source for one in gate.stages)
    assert all(one.default for one in gate.stages if one.stage == "stable")


def test_the_kubelet_is_judged_by_the_table() -> None:
    """The rule of each version has the stage and the default of its gate there."""
    for minor in range(28, 38):
        rule, stage = version_rule((1, minor)), SUPPORT.at((1, minor))
        assert stage is not None
        assert (rule.gate, rule.stage, rule.default) == (SUPPORT.name, stage.stage, stage.default)
    assert PROC_MOUNT.default_on() == (1, 33)


@pytest.mark.parametrize(
    ("level", "version", "answer"),
    [
        ("baseline", (1, 28), "asked"),
        ("baseline", (1, 30), "asked"),
        ("baseline", (1, 31), "gate"),
        ("baseline", (1, 35), "relaxed"),
        ("restricted", (1, 28), "asked"),
        ("restricted", (1, 29), "gate"),
        ("restricted", (1, 34), "gate"),
        ("restricted", (1, 35), "relaxed"),
        ("privileged", (1, 35), "asked"),
    ],
)
def test_pod_security(level: str, version: tuple[int, int], answer: str) -> None:
    """The version of the policy decides, before 1.35 a gate that nothing shows."""
    assert asked(level, version) == answer
    assert (POD_SECURITY.at(version) is not None) >= (answer == "gate")


def test_each_relaxed_level_has_its_words() -> None:
    """What is relaxed can be said."""
    assert {one.level for one in CONTROLS if one.relaxed} == WORDS.keys()


@pytest.mark.parametrize(
    ("name", "version", "answer"),
    [
        ("containerd", "2.2.5", False),
        ("containerd", "v2.3.0", True),
        ("containerd", "2.4.0-beta.0", True),
        ("cri-o", "1.34.9", False),
        ("cri-o", "1.35.0", True),
        ("docker", "28.0.0", None),
        ("containerd", "", None),
        ("containerd", "two", None),
    ],
)
def test_host_network(name: str, version: str, answer: bool | None) -> None:
    """What a release supports, whether it says so or not."""
    assert supports(name, version) is answer


def test_runtimes_say_nothing_before_they_can() -> None:
    """No release says that it supports what it does not."""
    assert all(one.supports <= one.says for one in RUNTIMES)


def test_limits_have_sources() -> None:
    """Each fact that no node shows has a subject of its own and a source."""
    assert len({one.subject for one in LIMITS}) == len(LIMITS)
    assert all(one.what and one.source for one in LIMITS)
