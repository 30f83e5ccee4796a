"""From the host to its Facts: a process that enters the node, one that asks CRI, and one that tries a sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from probe.facts.assemble import gather_node_ids, root_dir_of
from probe.facts.filesystems import attempts
from probe.facts.gather import gather_node
from probe.facts.kernel import gather_probe
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.model import Facts
from probe.facts.not_entered import forget_container, not_entered
from probe.facts.runtime.cri import cri_answer
from probe.facts.runtime.facts import gather_runtime
from probe.facts.runtime.namespace import entering, mount_namespace_of
from probe.facts.trials.oci import gather_runtime_trial, sweep_trial_cgroups
from probe.facts.trials.sandbox import gather_sandbox
from probe.facts.tried import RuntimeTrialFacts, SandboxFacts
from probe.facts.unknown import know_nothing
from probe.host.background import Beside
from probe.host.child import ChildError, run_child
from probe.host.host import Host
from probe.host.namespaces import enter_mount_namespace, enter_node, open_own_proc
from probe.host.sandbox.trial import read_answer, sandbox_child
from probe.reading import Reading, encode
from probe.settings import Settings

_SANDBOX_PATIENCE = 5.0
FACTS_LIMIT = 64 << 20


def gather_facts(settings: Settings, cri: Beside) -> Facts:
    """All that can be known about this node within the budget, gathered by a child that enters it."""
    budget = settings.budget.total_seconds()
    try:
        answer = run_child(lambda: encode(_gather(settings, cri)), budget + 1, limit=FACTS_LIMIT)
        return msgspec.json.decode(answer, type=Facts)
    except TimeoutError:
        return know_nothing(settings.node_name, "timed-out", f"it did not come back within {budget:g} seconds")
    except (ChildError, OSError, ValueError) as error:
        return know_nothing(settings.node_name, "not-readable", f"it failed: {error}")


def _gather(settings: Settings, cri: Beside) -> Facts:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    with Beside(lambda told: _sandbox(settings, own_proc, told)) as trial:
        host = node_host(settings, deadline)
        probe = gather_probe(host, not_entered(enter_node(settings.proc)))
        kubelet = gather_kubelet(host)
        endpoint = (kubelet.value.endpoint.value if kubelet.value else None) or ""
        cri.tell(endpoint)
        userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
        ids = gather_node_ids(host, kubelet)
        answer = cri_answer(cri, endpoint, host.deadline, settings.slowness)
        runtime = gather_runtime(host, endpoint, answer, root_dir_of(kubelet))
        trial.tell(mount_namespace_of(runtime))
        bench = new_bench(settings, userns_fd, deadline, entering(host, runtime))
        facts = gather_node(settings.node_name, host, bench, probe, namespace, kubelet, runtime)
        sandbox = _sandbox_facts(trial, min(deadline, time.monotonic() + _SANDBOX_PATIENCE * settings.slowness))
        facts = forget_container(msgspec.structs.replace(facts, ids=ids, sandbox=sandbox))
        sweep_trial_cgroups()  # of a trial that was killed: the one thing that can be left behind
        if settings.try_runtime:
            facts = msgspec.structs.replace(facts, runtime_trial=_try_runtime(host, facts, deadline))
        return facts


def node_host(settings: Settings, deadline: float) -> Host:
    """The node, which until half of the time is over may keep whoever reads it waiting."""
    host = Host()
    host.deadline = deadline - settings.budget.total_seconds() / 2  # the other half is for the attempts
    host.slowness = settings.slowness
    return host


def new_bench(settings: Settings, userns_fd: int, deadline: float, prepare: Callable[[], None]) -> attempts.Bench:
    return attempts.Bench(userns_fd, deadline, prepare, attempts.PATIENCE * settings.slowness)


def _try_runtime(host: Host, facts: Facts, deadline: float) -> Reading[RuntimeTrialFacts]:
    """The trial of the runtime comes last: it needs to know all that the others found."""
    enter, root_dir = entering(host, facts.runtime), root_dir_of(facts.kubelet)
    return gather_runtime_trial(
        host, enter, facts.probe, facts.runtime, root_dir, facts.mounts, facts.attempts, deadline
    )


def _sandbox(settings: Settings, own_proc: int, told: Callable[[], str]) -> bytes:
    """The life of the process that tries out a sandbox, in the mount namespace in which the runtime makes them."""

    def enter() -> Reading[bool]:
        entered, link = not_entered(enter_node(settings.proc)), told()
        return enter_mount_namespace(link) if link else entered

    return sandbox_child(own_proc, enter)


def _sandbox_facts(trial: Beside, deadline: float) -> Reading[SandboxFacts]:
    return gather_sandbox(read_answer(trial, deadline))
