"""Results of child processes: CRI, attempts in a user namespace, and the trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from probe.facts.filesystems import attempts
from probe.facts.model import Facts, MountFacts, ProbeFacts, RuntimeFacts
from probe.facts.runtime.cri import cri_answer
from probe.facts.runtime.namespace import entering, mount_namespace_of
from probe.facts.trials.sandbox import gather_sandbox
from probe.facts.tried import (
    NOT_ASKED,
    POD_NOT_ASKED,
    Attempt,
    NamespaceAttempt,
    PodTrialFacts,
    RuntimeTrialFacts,
    SandboxFacts,
)
from probe.host.background import BackgroundChild
from probe.host.cri import CriAnswer
from probe.host.host import Host
from probe.host.oci_trial.cgroup import sweep_trial_cgroups
from probe.host.sandbox.trial import read_answer
from probe.reading import Reading
from probe.settings import Settings

if TYPE_CHECKING:
    from probe.facts.trials.kept import KeptTrial

_SANDBOX_TIMEOUT = 5.0
_LAST_WORDS = 1.0  # seconds


def load_trials(settings: Settings) -> None:
    """Import what the trials on request need: before the node is entered, whose files are others."""
    if settings.try_runtime:
        from probe.facts.trials import oci  # noqa: F401
    if settings.try_pod:
        from probe.facts.trials import kept, pod  # noqa: F401

        pod.load()


class Trials(Protocol):
    """Results in the order in which `gather_node` requests them. Tests replace it by recorded ones."""

    def cri(self, endpoint: str) -> None:
        """Start the CRI requests on socket *endpoint*; empty when none is known."""

    def namespace(self, probe: ProbeFacts) -> NamespaceAttempt:
        """Create the user namespace of all attempts."""

    def cri_answer(self, endpoint: str) -> Reading[CriAnswer]:
        """Answer of the runtime to the CRI requests."""

    def bench(self, runtime: Reading[RuntimeFacts]) -> attempts.Bench:
        """Runner of attempts in the mount namespace of *runtime*; also starts the sandbox trial there."""

    def sandbox(self) -> Reading[SandboxFacts]:
        """Result of the sandbox trial; waits for its end."""

    def oci_runtime(
        self,
        probe: ProbeFacts,
        runtime: Reading[RuntimeFacts],
        kubelet_root: str,
        mounts: Reading[MountFacts],
        rows: Sequence[Attempt],
    ) -> Reading[RuntimeTrialFacts]:
        """Trial of the OCI runtime, which needs all other facts."""
        ...

    def pod(self, facts: Facts) -> Reading[PodTrialFacts]:
        """The trial of a Pod, which needs all other facts."""
        ...


class NodeTrials:
    """Results from this node, by child processes."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        deadline: float,
        own_proc: int,
        cri: BackgroundChild,
        sandbox: BackgroundChild,
        kept: KeptTrial | None = None,
    ) -> None:
        """*deadline* in seconds of time.monotonic(); *own_proc* is the probe's own /proc; *kept* an earlier trial."""
        self._settings = settings
        self._host = host
        self._deadline = deadline
        self._own_proc = own_proc
        self._cri = cri
        self._sandbox = sandbox
        self._kept = kept
        self._userns_fd = -1

    def cri(self, endpoint: str) -> None:
        """Send *endpoint* to the CRI child, which was started first."""
        self._cri.send(endpoint)

    def namespace(self, probe: ProbeFacts) -> NamespaceAttempt:
        """Create the user namespace and keep its descriptor."""
        self._userns_fd, attempt = attempts.attempt_namespace(probe, self._own_proc)
        return attempt

    def cri_answer(self, endpoint: str) -> Reading[CriAnswer]:
        """Answer of the CRI child, by the deadline."""
        return cri_answer(self._cri, endpoint, self._host.deadline, self._settings.slowness)

    def bench(self, runtime: Reading[RuntimeFacts]) -> attempts.Bench:
        """Children that enter the runtime's mount namespace, like the child of the sandbox trial, which starts now."""
        self._sandbox.send(mount_namespace_of(runtime))
        timeout = attempts.TIMEOUT * self._settings.slowness
        return attempts.Bench(self._userns_fd, self._deadline, entering(self._host, runtime), timeout)

    def sandbox(self) -> Reading[SandboxFacts]:
        """Result of the trial that a Bench started."""
        latest = time.monotonic() + _SANDBOX_TIMEOUT * self._settings.slowness
        return gather_sandbox(read_answer(self._sandbox, min(self._deadline, latest)))

    def oci_runtime(
        self,
        probe: ProbeFacts,
        runtime: Reading[RuntimeFacts],
        kubelet_root: str,
        mounts: Reading[MountFacts],
        rows: Sequence[Attempt],
    ) -> Reading[RuntimeTrialFacts]:
        """Trial if requested; in any case remove the cgroup of a killed one."""
        sweep_trial_cgroups()
        if not self._settings.try_runtime:
            return NOT_ASKED
        from probe.facts.trials.oci import gather_runtime_trial

        enter = entering(self._host, runtime)
        return gather_runtime_trial(self._host, enter, probe, runtime, kubelet_root, mounts, rows, self._deadline)

    def pod(self, facts: Facts) -> Reading[PodTrialFacts]:
        """The trial on request, or that of an earlier probe; over a moment before the time is, for handing over."""
        if not self._settings.try_pod:
            return POD_NOT_ASKED
        from probe.facts.trials.kept import identity_of
        from probe.facts.trials.pod import gather_pod_trial
        from probe.host.recording import RecordingHost

        host = self._host
        identity = identity_of(facts, host.sources()) if isinstance(host, RecordingHost) else ""
        if self._kept and (trial := self._kept.of(identity)):
            return trial
        return gather_pod_trial(host, entering(host, facts.runtime), facts, identity, self._deadline - _LAST_WORDS)
