"""Checks of the kubelet: it runs, supports user namespaces, and starts again."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.ids import install_getsubids
from probe.checks.remedies.node import remove_gate, restart_it, switch_gate_back
from probe.checks.remedies.runtime import PROVE_IT
from probe.checks.runtime.names import kubelet_not_found, without_kubelet
from probe.facts.defaults import START_UNCERTAINTY
from probe.facts.kubelet.versions import GATE, parse_release, version_rule
from probe.facts.model import DropIn, Facts, KubeletFacts
from probe.finding import Evidence
from probe.reading import Reading

_CHANGED = "changed after the kubelet started"
_KEP = "KEP-127; kubernetes.io, User Namespaces"


def check_running(facts: Facts) -> Outcome:
    """A node needs a kubelet; of several kubelets only one is judged."""
    kubelet = facts.kubelet.value
    if kubelet is None and facts.getsubids_missing.value:
        message = (
            "no kubelet runs on this node: kubelets from 1.30 on exit at once if the account kubelet exists and"
            " getsubids is not on their PATH, as here"
        )
        seen = Evidence(facts.getsubids_missing.source, "the account, and no getsubids")
        return Outcome.unknown("KubeletNotFound", message, seen, remediation=install_getsubids(facts))
    if kubelet is None:
        return kubelet_not_found(facts)
    version = kubelet.version.value or "of unknown version"
    message = f"kubelet {version} ({kubelet.distribution}) runs as process {kubelet.pid}"
    seen = Evidence(facts.kubelet.source, f"{kubelet.distribution}, PID {kubelet.pid}")
    if kubelet.others:
        plural = "kubelet runs" if kubelet.others == 1 else "kubelets run"
        return Outcome.warn(
            f"{message}; {kubelet.others} more {plural} on this node, which this report does not cover", seen
        )
    return Outcome.passed(message, seen, kubelet.version)


def check_user_namespaces(facts: Facts) -> Outcome:
    """Without support, kubelets before 1.30 run the Pod in the host's user namespace; newer ones reject it."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return kubelet_not_found(facts)
    release = kubelet.version.parse(parse_release)
    if release.value is None and _proven(facts, kubelet):
        message = "a Pod with a user namespace, started by this kubelet, runs now"
        return Outcome.passed(message, facts.userns_pod_runs, release)
    if release.value is None:
        return Outcome.not_read("the kubelet's version", release)
    rule, version = version_rule(release.value), kubelet.version.value
    if not rule.gate:
        message = f"kubelet {version} does not know hostUsers: Pods that ask for it run in the host's user namespace"
        return Outcome.fail("KubeletTooOld", message, kubelet.version)
    if rule.unable == "ignores":
        message = (
            f"kubelet {version} does not ask the runtime for support: if hostUsers: false cannot be honoured, it is"
            " silently ignored, and the Pod runs in the host's user namespace"
        )
        return Outcome.fail("KubeletTooOld", message, kubelet.version, _gate(kubelet.gate))
    if kubelet.gate.value is None and _proven(facts, kubelet):
        message = f"a Pod with a user namespace, started by this kubelet {version}, runs now, so the gate is on"
        return Outcome.passed(message, kubelet.version, facts.userns_pod_runs, kubelet.gate)
    if kubelet.gate.value is None:
        unread = Outcome.not_read(
            f"whether the gate {GATE} is on in the running kubelet", kubelet.gate, kubelet.version
        )
        return replace(unread, remediation=_settle(facts, kubelet))
    if not kubelet.gate.value:
        return Outcome.fail(
            "KubeletGateOff",
            f"the feature gate {GATE} is off in kubelet {version}: it refuses Pods with hostUsers: false",
            kubelet.version,
            _gate(kubelet.gate),
            *([] if kubelet.gate_configured.kind == "absent" else [_gate(kubelet.gate_configured)]),
            remediation=switch_gate_back(facts, kubelet) if kubelet.gate_configured.value is False else "",
        )
    return Outcome.passed(f"kubelet {version} supports user namespaces", kubelet.version, _gate(kubelet.gate))


def _settle(facts: Facts, kubelet: KubeletFacts) -> str:
    """Fix that reveals the state of the gate; empty where the probe lacks a permission."""
    if kubelet.gate.kind != "not-readable":
        return ""
    return f"{PROVE_IT} Or: {restart_it(facts, ', then probe again')}" if _changed(kubelet) else PROVE_IT


def _proven(facts: Facts, kubelet: KubeletFacts) -> bool:
    """True when a Pod with a user namespace was started by this kubelet process, not by an earlier one.

    Files changed since the start prove nothing about this process.
    """
    pods, since = facts.pods.value, kubelet.started_at.value
    if not facts.userns_pod_runs.value or pods is None or since is None:
        return False
    return pods.youngest_started_at > since + START_UNCERTAINTY


def check_configuration_pending(facts: Facts) -> Outcome:
    """Changes after the start of the kubelet take effect at its next start."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return without_kubelet(facts)
    changed = _changed(kubelet)
    if changed:
        same = all(file.maybe_the_same for file in changed)
        what = "changed after the kubelet started, perhaps in owner or mode only" if same else _CHANGED
        return Outcome.warn(
            f"{', '.join(file.path for file in changed)} {what}: takes effect at the next restart",
            *(Evidence(file.path, "newer than the process") for file in changed),
            kubelet.started_at.parse(_moment),
            remediation=restart_it(facts, " at a convenient time"),
        )
    for reading in (kubelet.files, kubelet.executable):
        if reading.value is None:
            return Outcome.not_read("whether the kubelet's configuration changed after its start", reading)
    return Outcome.passed(
        "the kubelet runs the program and the configuration on disk",
        *(Evidence(file.path, "older than the process") for file in _read_at_start(kubelet)),
    )


def check_gate_restart(facts: Facts) -> Outcome:
    """Since 1.36 a kubelet with the gate switched off panics at its start."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return without_kubelet(facts)
    configured = kubelet.gate_configured
    if configured.value is None and configured.kind != "absent":
        return Outcome.not_read(f"whether the configuration sets {GATE}", configured)
    if configured.value is not False:
        return Outcome.passed(f"nothing switches the gate {GATE} off", configured)
    release = kubelet.version.parse(parse_release)
    if release.value is None:
        return Outcome.not_read("the kubelet's version", release, configured)
    if not version_rule(release.value).locked:
        return Outcome.skipped(f"kubelet {kubelet.version.value} still allows the gate to be off", kubelet.version)
    return Outcome.warn(
        f"{GATE} is set to false, which kubelet {kubelet.version.value} does not accept: the next restart of the"
        f' kubelet will fail ("cannot set feature gate {GATE} to false, feature is locked to true")',
        _gate(configured),
        kubelet.version,
        remediation=remove_gate(kubelet),
    )


def check_cgroup_v1(facts: Facts) -> Outcome:
    """Since 1.35 a kubelet does not start on cgroup v1 unless `failCgroupV1` is false."""
    kubelet, version = facts.kubelet.value, facts.kernel.cgroup_version
    seen = version.parse(lambda number: f"cgroup v{number}")
    if kubelet is None:
        return without_kubelet(facts)
    if version.value is None:
        return Outcome.not_read("the cgroup version", version)
    if version.value == 2:
        return Outcome.skipped("this node has cgroup v2", seen)
    if kubelet.fail_cgroup_v1.value is None:
        return Outcome.not_read("failCgroupV1", kubelet.fail_cgroup_v1, seen)
    if not kubelet.fail_cgroup_v1.value:
        return Outcome.passed("the kubelet accepts cgroup v1", seen, kubelet.fail_cgroup_v1)
    return Outcome.warn(
        "this node has cgroup v1 and failCgroupV1 is true: the next restart of the kubelet will fail"
        ' ("kubelet is configured to not run on a host using cgroup v1")',
        seen,
        kubelet.fail_cgroup_v1,
        kubelet.version,
    )


def _gate(reading: Reading[bool]) -> Reading[str]:
    return reading.parse(lambda on: f"{GATE} is {'on' if on else 'off'}")


def _moment(seconds: float) -> str:
    return f"started {datetime.fromtimestamp(seconds, UTC).isoformat(sep=' ', timespec='seconds')}"


def _changed(kubelet: KubeletFacts) -> list[DropIn]:
    """Files newer than the process."""
    return [file for file in _read_at_start(kubelet) if file.newer]


def _read_at_start(kubelet: KubeletFacts) -> list[DropIn]:
    """The configuration files and the program, as far as they are known."""
    return [*(kubelet.files.value or ()), *filter(None, [kubelet.executable.value])]


CHECKS: tuple[Check, ...] = (
    Check(
        id="kubelet-running",
        level="stateless",
        gating=True,
        question="Does a kubelet run on this node?",
        why="Only a kubelet starts Pods here. Without one, the other checks show what the machine would allow.",
        remediation=GENERIC["kubelet-running"],
        documentation="kubelet(1); kubernetes.io, Troubleshooting kubeadm",
        check=check_running,
    ),
    Check(
        id="kubelet-user-namespaces",
        level="stateless",
        gating=True,
        question="Is the kubelet new enough for user namespaces, and its feature gate on?",
        why="Before 1.30 it may silently run a Pod without the user namespace it asked for; with the gate off, it"
        " refuses the Pod, which then stays in ContainerCreating.",
        reasons=("KubeletTooOld", "KubeletGateOff"),
        remediation=GENERIC["kubelet-user-namespaces"],
        documentation=_KEP,
        check=check_user_namespaces,
    ),
    Check(
        id="kubelet-configuration-pending",
        level="stateless",
        gating=False,
        question="Does the kubelet run the program and the configuration on disk?",
        why="The kubelet reads its files once. Later changes take effect, or break, at its next restart.",
        remediation=GENERIC["kubelet-configuration-pending"],
        documentation="kubernetes.io, Set Kubelet Parameters Via A Configuration File; KEP-3983",
        check=check_configuration_pending,
    ),
    Check(
        id="kubelet-gate-restart",
        level="stateless",
        gating=False,
        question=f"Does the configuration leave the locked gate {GATE} alone?",
        why="Since 1.36 the gate cannot be switched off: a kubelet configured to do so panics at its next start, and"
        " the node goes down.",
        remediation=GENERIC["kubelet-gate-restart"],
        documentation="KEP-127; kubernetes.io, Feature Gates",
        check=check_gate_restart,
    ),
    Check(
        id="kubelet-cgroup-v1",
        level="stateless",
        gating=False,
        question="Will the kubelet start again on this node's cgroup version?",
        why="Since 1.35 a kubelet does not start on cgroup v1 unless failCgroupV1 is false.",
        remediation=GENERIC["kubelet-cgroup-v1"],
        documentation="KubeletConfiguration v1beta1, failCgroupV1; KEP-4569; cgroups(7)",
        check=check_cgroup_v1,
    ),
)
