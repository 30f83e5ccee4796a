"""Everything that is known about a node: the input of the checks, handed from child to parent as JSON."""

from __future__ import annotations

from msgspec import Struct

from probe.facts.model import (
    HookFacts,
    IdFacts,
    KernelFacts,
    KubeletFacts,
    MountFacts,
    PodFacts,
    ProbeFacts,
    RuntimeFacts,
)
from probe.facts.tried import NOT_ASKED, Attempt, NamespaceAttempt, RuntimeTrialFacts, SandboxFacts
from probe.reading import Reading


class Facts(Struct, frozen=True, kw_only=True):
    """One node at one moment. Every part may be a problem; none is ever left out silently."""

    node_name: str | None
    distribution: Reading[str]
    """`ID` and `VERSION_ID` of os-release(5): `debian 12`."""
    probe: ProbeFacts
    kernel: KernelFacts
    mounts: Reading[MountFacts]
    user_namespace: NamespaceAttempt
    kubelet: Reading[KubeletFacts]
    """Absent: no kubelet runs on this node."""
    runtime: Reading[RuntimeFacts]
    attempts: tuple[Attempt, ...]
    ids: Reading[IdFacts] = Reading("ID ranges", None, "not looked for", "not-tried")
    sandbox: Reading[SandboxFacts] = Reading("sandbox trial", None, "not tried", "not-tried")
    runtime_trial: Reading[RuntimeTrialFacts] = NOT_ASKED
    pods: Reading[PodFacts] = Reading("Pods", None, "not looked for", "not-tried")
    hooks: Reading[HookFacts] = Reading("device hooks", None, "not looked for", "not-tried")
    userns_pod_runs: Reading[bool] = Reading("processes of Pods", None, "not looked for", "not-tried")
    """Whether a Pod with a user namespace of its own runs here that the running container runtime has started.

    No better proof exists; an older Pod shows what an earlier daemon could do.
    """
