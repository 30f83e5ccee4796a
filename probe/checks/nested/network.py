"""Can an engine make a network inside a Pod?"""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge, seen_of, stopped
from probe.facts.model import Facts
from probe.facts.nested.model import NestedStep, NestedTrial
from probe.nested import PodRequest

_ADMIN = PodRequest("capability", "NET_ADMIN", "bridges, veth pairs and NAT of the inner containers need it")
_STEPS = ("bridge", "veth", "ip_forward")
_NAT = ("nat", "ip_tables")
"""Steps for iptables-nft and legacy iptables; each is enough."""
_LOAD = "Load the modules, so that the next probe can try them.\n  modprobe -a bridge veth nf_tables nft_chain_nat"
_REFUSED = "Look for the refusal in the kernel's log.\n  journalctl -k | grep -iE 'apparmor|avc|denied'"


def check_network(facts: Facts, handler: str) -> NestedOutcome:
    """The network namespace belongs to the Pod's user namespace, so its root may change all of it."""
    what = "no engine can connect its containers"
    bad, trial = stopped(facts, _STEPS, what, "NestedNetworkRefused", _REFUSED, _LOAD), facts.nested.trial.value
    if trial is None:
        return judge(Outcome.not_read("whether engines can connect their containers", facts.nested.trial), _ADMIN)
    if bad:
        return judge(replace(bad, message=f"{bad.message}; {_of_meshes(trial)}"), _ADMIN)
    nat = [trial.step(name) for name in _NAT]
    seen = seen_of(trial, *_STEPS, "nat", "ip_tables", "vxlan")
    if not any(step.result == "passed" for step in nat):
        if _denied(trial):
            message = f"inner containers cannot reach the outside, and {_of_meshes(trial)}"
            return judge(Outcome.fail("NestedNetworkRefused", message, seen, remediation=_REFUSED), _ADMIN)
        message = f"unknown whether NAT works; {_of_meshes(trial)}"
        remediation = _LOAD if any(step.result == "skipped" for step in nat) else ""
        return judge(Outcome.unknown("not-tried", message, seen, remediation=remediation), _ADMIN)
    made = f"bridge, veth pair, NAT and forwarding work in the Pod's network namespace; {_of_meshes(trial)}"
    if trial.step("vxlan").result != "passed":
        message = f"{made}; the module vxlan, which flannel in an inner Kubernetes needs, is not loaded"
        return judge(Outcome.warn(message, seen, remediation="Load it.\n  modprobe vxlan"), _ADMIN)
    return judge(Outcome.passed(made, seen), _ADMIN)


def _denied(trial: NestedTrial) -> NestedStep | None:
    """The step of NAT that the kernel denies; None where there is none."""
    steps = map(trial.step, _NAT)
    return next((step for step in steps if step.result == "failed" and step.errno in ("EPERM", "EACCES")), None)


def _of_meshes(trial: NestedTrial) -> str:
    """The consequence of NAT for istio-init and linkerd-init, which make its rules with nf_tables or ip_tables."""
    if any(trial.step(name).result == "passed" for name in _NAT):
        return "init containers of a mesh (istio-init, linkerd-init) can redirect their Pod"
    if denied := _denied(trial):
        return f"no init container of a mesh can redirect its Pod: {denied.name}: the kernel answers {denied.errno}"
    what = "unknown whether init containers of a mesh can redirect their Pod"
    if all(trial.step(name).result == "skipped" for name in _NAT):
        return f"{what}: neither nf_tables nor ip_tables is loaded"
    step = next(step for step in map(trial.step, _NAT) if step.result != "skipped")
    return f"{what}: {step.name}: {step.reason or f'the kernel answers {step.errno}'}"


CHECKS = (
    NestedCheck(
        id="nested-network",
        levels=("engine",),
        question="Can an engine make a network inside a Pod?",
        why="dockerd and CNI plugins connect containers with a bridge and veth pairs, and reach outside with NAT, as "
        "init containers of a service mesh do. A kind of link whose module is not loaded is not tried: trying would "
        "load it.",
        reasons=("NestedNetworkRefused",),
        documentation="network_namespaces(7), rtnetlink(7)",
        check=check_network,
    ),
)
