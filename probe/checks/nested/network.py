"""Can an engine make a network inside a Pod?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge, seen_of, stopped
from probe.facts.model import Facts
from probe.nested import PodRequest

_ADMIN = PodRequest("capability", "NET_ADMIN", "bridges, veth pairs and NAT of the inner containers need it")
_STEPS = ("bridge", "veth", "ip_forward")
_LOAD = "Load the modules, so that the next probe can try them.\n  modprobe -a bridge veth nf_tables nft_chain_nat"
_REFUSED = "Look for the refusal in the kernel's log.\n  journalctl -k | grep -iE 'apparmor|avc|denied'"


def check_network(facts: Facts, handler: str) -> NestedOutcome:
    """The network namespace belongs to the Pod's user namespace, so its root may change all of it."""
    what = "no engine can connect its containers"
    bad, trial = stopped(facts, _STEPS, what, "NestedNetworkRefused", _REFUSED, _LOAD), facts.nested.trial.value
    if bad or trial is None:
        return judge(bad or Outcome.not_read(what, facts.nested.trial), _ADMIN)
    nat = trial.step("nat"), trial.step("ip_tables")
    seen = seen_of(trial, *_STEPS, "nat", "ip_tables", "vxlan")
    if not any(step.result == "passed" for step in nat):
        denied = (step for step in nat if step.result == "failed" and step.errno in ("EPERM", "EACCES"))
        if refused := next(denied, None):
            message = f"{refused.name}: the kernel answers {refused.errno}, so inner containers reach nothing outside"
            return judge(Outcome.fail("NestedNetworkRefused", message, seen, remediation=_REFUSED), _ADMIN)
        message = "NAT was not seen to work: neither nf_tables nor ip_tables is known to the running kernel now"
        return judge(Outcome.unknown("not-tried", message, seen, remediation=_LOAD), _ADMIN)
    made = "bridge, veth pair, NAT and forwarding work in the Pod's network namespace"
    if trial.step("vxlan").result != "passed":
        message = f"{made}; vxlan is not known to the kernel now, which flannel in an inner Kubernetes needs"
        return judge(Outcome.warn(message, seen, remediation="Load it.\n  modprobe vxlan"), _ADMIN)
    return judge(Outcome.passed(made, seen), _ADMIN)


CHECKS = (
    NestedCheck(
        id="nested-network",
        levels=("engine",),
        question="Can an engine make a network inside a Pod?",
        why="dockerd and CNI plugins connect containers with a bridge and veth pairs, and reach outside with NAT. A "
        "kind of link whose module is not loaded is not tried: trying would load it.",
        reasons=("NestedNetworkRefused",),
        documentation="network_namespaces(7), rtnetlink(7)",
        check=check_network,
    ),
)
