"""The best proof that there is: a Pod with a user namespace, started by the container runtime that runs now."""

from __future__ import annotations

from msgspec.structs import replace

from probe.facts.model import Facts
from probe.facts.tried import PodTrialFacts
from probe.host.host import Host
from probe.host.processes import parse_start
from probe.proof import Proof
from probe.reading import Reading


def without_pod(host: Host, facts: Facts) -> Proof:
    """The proof that needs no Pod, of the daemon that runs now; of none where that is not known."""
    confinement = facts.runtime.value.confinement.value if facts.runtime.value else None
    boot_id = facts.kernel.boot_id.value
    if confinement is None or not boot_id:
        return Proof()
    start = host.read_text(f"/proc/{confinement.pid}/stat").parse(parse_start)
    if start.value is None:
        return Proof()
    return Proof(boot_id=boot_id, runtime_pid=confinement.pid, runtime_start=start.value)


def prove(facts: Facts, now: Proof, remembered: Proof | None) -> Facts:
    """*facts* with what a Pod has proved, now or before; *now* names the daemon that runs.

    A Pod of another daemon, or of another life of this one, proves nothing.
    """
    if now.runtime_pid is None:
        return facts
    if facts.userns_pod_runs.value:
        return replace(facts, proof=replace(now, kind="pod-trial" if proof_of(facts.pod_trial) else "running-pod"))
    if remembered is None or remembered.kind == "attempts" or not remembered.is_of(now):
        return replace(facts, proof=now)
    ran = Reading(facts.userns_pod_runs.source, True)
    return replace(facts, proof=remembered, userns_pod_runs=ran)


def proof_of(trial: Reading[PodTrialFacts]) -> Reading[bool] | None:
    """The proof that a Pod with a user namespace runs here with the default handler, if the trial has shown it."""
    found = trial.value.of("") if trial.value else None
    if found is None or found.result != "runs" or "kubelet-root" not in found.mounts:
        return None
    return Reading(trial.source, True)
