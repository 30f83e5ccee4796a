"""Every kubelet check in every status it can return, with its reason."""

from __future__ import annotations

import msgspec
import pytest

from lab.factory import absent, make_facts, make_kernel, make_kubelet, make_pods, unread
from probe.checks.check import Check, Outcome
from probe.checks.kubelet import CHECKS
from probe.checks.remedies.table import fitting
from probe.facts.model import DropIn, Facts
from probe.reading import ProblemKind, Reading

BY_ID = {check.id: check for check in CHECKS}
CHANGED = Reading("configuration files", (DropIn(path="/a.yaml", newer=False), DropIn(path="/b.conf", newer=True)))


def ask(check_id: str, facts: Facts) -> Outcome:
    return BY_ID[check_id].check(facts)


def with_kubelet(**fields: object) -> Facts:
    return make_facts(kubelet=make_kubelet(**fields))


def test_the_order_of_checks_is_the_order_of_questions() -> None:
    """A kubelet that is missing is said before anything else of it."""
    assert list(BY_ID) == [
        "kubelet-running",
        "kubelet-user-namespaces",
        "kubelet-configuration-pending",
        "kubelet-gate-restart",
        "kubelet-cgroup-v1",
    ]
    assert [check.id for check in CHECKS if check.gating] == ["kubelet-running", "kubelet-user-namespaces"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_without_a_kubelet_gating_checks_are_unknown_and_the_others_do_not_arise(check: Check) -> None:
    """No kubelet is an answer for what a restart would do, and none for whether Pods run."""
    outcome = check.check(make_facts(kubelet=absent("processes of this node")))
    expected = ("unknown", "KubeletNotFound") if check.gating else ("skipped", "")
    assert (outcome.status, outcome.reason) == expected


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [("not-permitted", "NotPermitted"), ("timed-out", "TimedOut"), ("not-readable", "NotReadable")],
)
def test_a_kubelet_that_could_not_be_looked_at_is_unknown(check: Check, kind: ProblemKind, reason: str) -> None:
    """Nobody knows, and the reason says why."""
    outcome = check.check(make_facts(kubelet=unread("/proc/7", kind)))
    assert (outcome.status, outcome.reason) == ("unknown", reason)
    assert "/proc/7" in outcome.message


def test_a_running_kubelet_passes() -> None:
    """Its version and process are told."""
    outcome = ask("kubelet-running", make_facts())
    assert (outcome.status, outcome.reason) == ("pass", "")
    assert "1.36.2" in outcome.message


def test_several_kubelets_are_a_warning() -> None:
    """A verdict about one of two kubelets says so."""
    outcome = ask("kubelet-running", with_kubelet(others=2))
    assert outcome.status == "warn"
    assert "2 more kubelets" in outcome.message


@pytest.mark.parametrize("version", ["1.30.4", "1.33.1+k3s1", "1.36.2", "1.37.0-beta.0+", "2.0.0"])
def test_a_new_kubelet_with_its_gate_on_passes(version: str) -> None:
    """From 1.30 on the gate alone decides."""
    assert ask("kubelet-user-namespaces", with_kubelet(version=version, gate=True)).status == "pass"


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("version", ["1.25.0", "1.27.16", "1.29.15"])
def test_a_kubelet_that_ignores_silently_is_too_old(version: str, gate: bool) -> None:
    """Before 1.30 nobody asks the runtime, so even an alpha gate that is on promises nothing."""
    outcome = ask("kubelet-user-namespaces", with_kubelet(version=version, gate=gate))
    assert (outcome.status, outcome.reason) == ("fail", "KubeletTooOld")
    assert "silently" in outcome.message
    assert "host's user namespace" in outcome.message


def test_a_kubelet_before_host_users_is_too_old() -> None:
    """It does not know the field at all."""
    outcome = ask("kubelet-user-namespaces", with_kubelet(version="1.24.17", gate=False))
    assert (outcome.status, outcome.reason) == ("fail", "KubeletTooOld")
    assert "does not know hostUsers" in outcome.message


def test_a_gate_that_is_off_fails() -> None:
    """What switches it on is the distribution's own, and stands in the table of remedies."""
    outcome = ask("kubelet-user-namespaces", with_kubelet(version="1.31.0", gate=False))
    assert (outcome.status, outcome.reason, outcome.remediation) == ("fail", "KubeletGateOff", "")
    assert fitting("kubelet-user-namespaces", "KubeletGateOff")


def test_a_gate_that_somebody_switched_off_is_to_be_removed() -> None:
    """With its default on, nothing needs to be added, and the place is named."""
    facts = with_kubelet(version="1.34.2", gate=False, gate_configured=False, files=CHANGED)
    outcome = ask("kubelet-user-namespaces", facts)
    assert outcome.reason == "KubeletGateOff"
    assert outcome.remediation.startswith("Remove UserNamespacesSupport from --feature-gates, /a.yaml")
    assert outcome.remediation.endswith("then:\n  systemctl restart kubelet")


def test_before_its_default_was_on_a_gate_has_to_be_set_everywhere() -> None:
    """Taking the false away would leave it off."""
    facts = with_kubelet(version="1.31.0", gate=False, gate_configured=False, files=CHANGED)
    outcome = ask("kubelet-user-namespaces", facts)
    assert all(
        word in outcome.remediation for word in ("Set UserNamespacesSupport", "API server", "--feature-gates, /a.yaml")
    )


def test_a_version_that_could_not_be_read_is_unknown() -> None:
    """No version, no rule."""
    facts = with_kubelet(version=unread("/proc/800/exe --version", "timed-out"))
    outcome = ask("kubelet-user-namespaces", facts)
    assert (outcome.status, outcome.reason) == ("unknown", "TimedOut")
    assert ask("kubelet-user-namespaces", with_kubelet(version="banana")).reason == "NotReadable"


def test_a_mode_that_changed_is_told_from_a_file_that_changed() -> None:
    """A hardening guide asks for chmod 600; it is not a proof of either, and a milder word."""
    mode = Reading("configuration files", (DropIn(path="/a", newer=True, maybe_the_same=True),))
    mild, plain = (ask("kubelet-configuration-pending", with_kubelet(files=files)) for files in (mode, CHANGED))
    assert (mild.status, plain.status) == ("warn", "warn")
    assert "mode" in mild.message
    assert "mode" not in plain.message


def test_a_kubelet_of_unknown_version_is_proven_by_its_pod() -> None:
    """As MicroShift's: a Pod with a user namespace that this process started shows what no version tells."""
    facts = with_kubelet(version=unread("/usr/bin/microshift version", "not-readable"))
    assert ask("kubelet-user-namespaces", facts).status == "unknown"
    started = facts.kubelet.value.started_at.value if facts.kubelet.value else None
    assert started
    proven = msgspec.structs.replace(
        facts,
        userns_pod_runs=Reading("processes of Pods", True),
        pods=Reading("records", make_pods(youngest_started_at=started + 100)),
    )
    assert ask("kubelet-user-namespaces", proven).status == "pass"


def test_a_gate_that_could_not_be_read_is_unknown_and_a_restart_may_settle_it() -> None:
    """What the process read before a file changed is gone; what it reads next is on disk."""
    problem = unread("/b.conf", "not-readable")
    outcome = ask("kubelet-user-namespaces", with_kubelet(version="1.34.2", gate=problem, files=CHANGED))
    assert (outcome.status, outcome.reason) == ("unknown", "NotReadable")
    assert "systemctl restart kubelet" in outcome.remediation
    outcome = ask("kubelet-user-namespaces", with_kubelet(version="1.34.2", gate=unread("/c", "not-permitted")))
    assert (outcome.status, outcome.reason, outcome.remediation) == ("unknown", "NotPermitted", "")


@pytest.mark.parametrize(
    ("runs", "youngest", "status"),
    [(True, 1_700_000_100.0, "pass"), (True, 1_699_999_000.0, "unknown"), (False, 1_700_000_100.0, "unknown")],
)
def test_a_pod_of_this_very_kubelet_proves_that_its_gate_is_on(runs: bool, youngest: float, status: str) -> None:
    """CIS 4.1.9, chmod 600 of its file on a running node, makes the file newer and changes nothing.

    A Pod that an earlier kubelet started proves nothing: the gate may have been switched off with the restart.
    """
    kubelet = make_kubelet(version="1.34.2", gate=unread("/c", "not-readable"), files=CHANGED)
    pods = make_pods(youngest_started_at=youngest)
    proof = Reading("processes of Pods", runs)
    outcome = ask("kubelet-user-namespaces", make_facts(kubelet=kubelet, pods=pods, userns_pod_runs=proof))
    assert outcome.status == status
    assert outcome.evidence


def test_a_running_pod_does_not_outweigh_what_was_read() -> None:
    """A gate that is off in the configuration in force stays off."""
    kubelet = make_kubelet(version="1.34.2", gate=False)
    pods = make_pods(youngest_started_at=1_700_000_100.0)
    facts = make_facts(kubelet=kubelet, pods=pods, userns_pod_runs=Reading("processes of Pods", True))
    assert ask("kubelet-user-namespaces", facts).reason == "KubeletGateOff"


def test_files_older_than_the_process_are_in_force() -> None:
    """Nothing waits for a restart."""
    assert ask("kubelet-configuration-pending", make_facts()).status == "pass"


@pytest.mark.parametrize(
    "fields", [{"files": CHANGED}, {"executable": DropIn(path="/b.conf", newer=True), "files": unread()}]
)
def test_a_newer_file_or_executable_waits_for_a_restart(fields: dict[str, object]) -> None:
    """It is named, and that it is not in force."""
    outcome = ask("kubelet-configuration-pending", with_kubelet(**fields))
    assert (outcome.status, outcome.reason) == ("warn", "")
    assert outcome.message == "/b.conf changed after the kubelet started: takes effect at the next restart"


@pytest.mark.parametrize("field", ["files", "executable"])
def test_files_that_could_not_be_looked_at_are_unknown(field: str) -> None:
    """Unread is not unchanged."""
    outcome = ask("kubelet-configuration-pending", with_kubelet(**{field: unread(kind="not-permitted")}))
    assert (outcome.status, outcome.reason) == ("unknown", "NotPermitted")


@pytest.mark.parametrize("configured", [True, absent("featureGates")])
def test_a_gate_that_nobody_switches_off_passes(configured: object) -> None:
    """Whatever the version is."""
    facts = with_kubelet(gate_configured=configured, version=unread())
    assert ask("kubelet-gate-restart", facts).status == "pass"


@pytest.mark.parametrize("version", ["1.36.0", "1.38.1"])
def test_a_locked_gate_set_to_false_is_a_kubelet_that_panics(version: str) -> None:
    """With the words that a real kubelet 1.36.2 left behind."""
    outcome = ask("kubelet-gate-restart", with_kubelet(gate_configured=False, version=version, files=CHANGED))
    assert (outcome.status, outcome.reason) == ("warn", "")
    recorded = "cannot set feature gate UserNamespacesSupport to false, feature is locked to true"
    assert recorded in outcome.message
    assert "/b.conf" in outcome.remediation


def test_a_gate_set_to_false_is_allowed_before_it_was_locked() -> None:
    """The question does not arise."""
    outcome = ask("kubelet-gate-restart", with_kubelet(gate_configured=False, version="1.35.9"))
    assert outcome.status == "skipped"


@pytest.mark.parametrize("fields", [{"gate_configured": unread()}, {"gate_configured": False, "version": unread()}])
def test_a_gate_or_version_that_could_not_be_read_is_unknown(fields: dict[str, object]) -> None:
    """A panic is neither promised nor excluded."""
    outcome = ask("kubelet-gate-restart", with_kubelet(**fields))
    assert (outcome.status, outcome.reason) == ("unknown", "NotPermitted")


@pytest.mark.parametrize(
    ("cgroups", "fails", "status", "reason"),
    [
        (2, True, "skipped", ""),
        (1, False, "pass", ""),
        (1, True, "warn", ""),
        (1, unread(), "unknown", "NotPermitted"),
        (unread(kind="timed-out"), True, "unknown", "TimedOut"),
    ],
)
def test_cgroup_v1_matters_to_kubelets_that_refuse_it(cgroups: object, fails: object, status: str, reason: str) -> None:
    """Only both together keep it from coming back."""
    facts = make_facts(kernel=make_kernel(cgroup_version=cgroups), kubelet=make_kubelet(fail_cgroup_v1=fails))
    outcome = ask("kubelet-cgroup-v1", facts)
    assert (outcome.status, outcome.reason) == (status, reason)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_can_be_explained(check: Check) -> None:
    """No empty sentence, and a question that is one."""
    assert check.question.endswith("?")
    assert check.why
    assert check.remediation
    assert check.documentation


@pytest.mark.parametrize(
    ("system", "word"),
    [
        ("debian 13", "uidmap"),
        ("alpine 3.22", "apk add"),
        ("nixos 25.05", "pkgs.shadow"),
        ("sles 15", "zypper"),
        ("x", "dnf"),
    ],
)
def test_a_kubelet_that_ends_for_want_of_getsubids(system: str, word: str) -> None:
    """The cause is named, with the package of the distribution at hand; what is not known is not claimed."""
    facts = make_facts(kubelet=absent("processes"), distribution=system, getsubids_missing=Reading("/etc/passwd", True))
    outcome = ask("kubelet-running", facts)
    assert (outcome.status, outcome.reason) == ("unknown", "KubeletNotFound")
    assert word in outcome.remediation
    other = ask(
        "kubelet-running", make_facts(kubelet=absent("processes"), getsubids_missing=Reading("/etc/passwd", False))
    )
    assert "getsubids" not in other.message
