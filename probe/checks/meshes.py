"""Can Pods with a user namespace be part of a service mesh?"""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.runtime.names import no_runtime
from probe.facts.model import Facts
from probe.finding import Evidence

ISTIO_SINCE = (1, 30)
"""The release that enters the user namespace of a Pod. *Source*: istio/istio releasenotes/notes/58750.yaml."""


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
        message = f"unknown {what}: releases before 1.30 do not, and the installed release is not visible"
        return Outcome.unknown(version.kind or "not-readable", message, told, named, nsenter)
    message = f"istio-cni {told.value} redirects Pods with a user namespace by nsenter"
    return Outcome.passed(message, named, nsenter, told)


CHECKS = (
    Check(
        id="hazard-istio-cni",
        level="stateless",
        gating=False,
        question="Does istio-cni redirect the traffic of Pods with a user namespace?",
        why="The network namespace of such a Pod belongs to its user namespace, which istio-cni enters since 1.30.0, "
        "by nsenter. With older releases the init container istio-validation fails in sidecar mode. Ambient mode is "
        "untested.",
        remediation=GENERIC["hazard-istio-cni"],
        documentation="https://github.com/istio/istio/issues/58750",
        check=check_istio_cni,
    ),
)
