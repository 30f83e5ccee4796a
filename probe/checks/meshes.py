"""Can Pods with a user namespace be part of a service mesh?"""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.runtime.names import no_runtime
from probe.facts.model import Facts
from probe.facts.nested.model import NestedTrial
from probe.finding import Evidence

ISTIO_SINCE = (1, 30)
"""The release that enters the user namespace of a Pod. *Source*: istio/istio releasenotes/notes/58750.yaml."""
_NAT = ("nat", "ip_tables")
"""Steps of the trial of nested containers: iptables-nft and legacy iptables. Each is enough."""


def check_istio_cni(facts: Facts) -> Outcome:
    """Before 1.30 istio-cni makes its rules outside of the Pod's user namespace; since then it enters by nsenter."""
    what = "whether istio-cni redirects Pods with a user namespace"
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, what)
    if runtime.surroundings.value is None:
        return Outcome.not_read(what, runtime.surroundings)
    found = runtime.surroundings.value.istio_cni
    if found.kind == "absent":
        return Outcome.skipped("no network of this node names istio-cni", found)
    if found.value is None:
        return Outcome.not_read(what, found)
    version, nsenter = found.value.version, found.value.nsenter
    named = Evidence(found.value.conf, "names istio-cni")
    told = version.parse(lambda number: f"{number[0]}.{number[1]}")
    fix = GENERIC["hazard-istio-cni"]
    if version.value is not None and version.value < ISTIO_SINCE:
        message = f"istio-cni {told.value} does not redirect Pods with a user namespace: their istio-validation fails"
        return Outcome.warn(message, named, told, remediation=fix)
    if nsenter.kind == "absent":
        message = "istio-cni enters a Pod's user namespace by nsenter, which is not in the container runtime's PATH"
        return Outcome.warn(message, named, nsenter, remediation=fix)
    if nsenter.value is None:
        return Outcome.not_read(f"{what}: it needs nsenter", nsenter, named)
    if version.value is None:
        message = f"{what} is unknown: releases before 1.30 do not, and which one is installed is not visible"
        return Outcome.unknown(version.kind or "not-readable", message, told, named, nsenter)
    message = f"istio-cni {told.value} redirects Pods with a user namespace by nsenter"
    return Outcome.passed(message, named, nsenter, told)


def check_mesh_init(facts: Facts) -> Outcome:
    """The network namespace of a Pod belongs to its user namespace, so its init containers may change it."""
    what = "whether init containers can redirect traffic (istio-init, linkerd-init)"
    trial = facts.nested.trial
    if trial.value is None:
        return Outcome.not_read(what, trial)
    seen = _seen(trial.value)
    steps = [trial.value.step(name) for name in _NAT]
    if any(step.result == "passed" for step in steps):
        return Outcome.passed("an init container with NET_ADMIN can redirect the traffic of its Pod", seen)
    refused = next((step for step in steps if step.result == "failed"), None)
    if refused is not None:
        message = f"{refused.name}: the kernel answers {refused.errno}, so no init container can redirect its Pod"
        return Outcome.warn(message, seen, remediation=GENERIC["hazard-mesh-init"])
    message = f"{what} is unknown: neither nf_tables nor ip_tables is known to the running kernel now"
    return Outcome.unknown("not-tried", message, seen)


def _seen(trial: NestedTrial) -> Evidence:
    words = (f"{name} {trial.step(name).errno or trial.step(name).result}" for name in _NAT)
    return Evidence("network namespace of a user namespace", ", ".join(words))


CHECKS = (
    Check(
        id="hazard-istio-cni",
        level="stateless",
        gating=False,
        question="Does istio-cni redirect the traffic of Pods with a user namespace?",
        why="Their network namespace belongs to their user namespace. istio-cni enters it since 1.30.0, by nsenter; "
        "before that the init container istio-validation fails in sidecar mode. Nothing is known of ambient mode.",
        remediation=GENERIC["hazard-istio-cni"],
        documentation="https://github.com/istio/istio/issues/58750",
        check=check_istio_cni,
    ),
    Check(
        id="hazard-mesh-init",
        level="stateless",
        gating=False,
        question="Can init containers of a service mesh redirect the traffic of their Pod?",
        why="istio-init and linkerd-init make NAT rules in the Pod's network namespace, with nf_tables or ip_tables. "
        "Neither can be loaded from there, and nothing is loaded to try it.",
        remediation=GENERIC["hazard-mesh-init"],
        documentation="network_namespaces(7), user_namespaces(7)",
        check=check_mesh_init,
    ),
)
