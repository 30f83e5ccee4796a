"""From the host to its Facts: a process that enters the node, one that asks CRI, and one that tries a sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from probe.facts.boot.gather import gather_boot
from probe.facts.boot.sysctls import gather_boot_sysctls
from probe.facts.defaults import KUBELET_ROOT, RUNTIME_ROOT
from probe.facts.devices.gather import gather_devices
from probe.facts.filesystems import attempts
from probe.facts.filesystems.survey import Row, mount_facts, try_node, without_vanished
from probe.facts.handover import pack, unpack
from probe.facts.hooks import gather_hooks
from probe.facts.ids.absent import gather_getsubids_missing
from probe.facts.ids.pods import gather_pods
from probe.facts.ids.range import gather_ids
from probe.facts.kernel import gather_distribution, gather_kernel, gather_probe, is_chrooted
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.kubelet.surroundings import gather_kubelet_around
from probe.facts.model import Facts, MountFacts, ProbeFacts, RuntimeFacts
from probe.facts.nested.gather import gather_nested
from probe.facts.not_entered import kernel_of_node, mounts_of_node, not_entered, of_node
from probe.facts.proof import proof_of, prove, without_pod
from probe.facts.runtime.cri import endpoint_of
from probe.facts.runtime.facts import gather_runtime
from probe.facts.runtime.namespace import read_mountinfo, running_since
from probe.facts.trials.processes import NodeTrials, Trials, load_trials
from probe.facts.tried import POD_NOT_ASKED
from probe.facts.unknown import unknown_facts
from probe.host.background import BackgroundChild
from probe.host.child import ChildError, run_child
from probe.host.host import Host, LocalHost
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.host.namespaces import enter_mount_namespace, enter_node, open_own_proc
from probe.host.sandbox.trial import sandbox_child
from probe.reading import Reading, problem_of
from probe.settings import Settings
from probe.terms import Role

if TYPE_CHECKING:
    from probe.facts.trials.kept import KeptTrial

FACTS_LIMIT = 64 << 20
_NOT_MISSING: Reading[bool] = Reading.without("getsubids", "not-tried", "a kubelet runs")


def gather_facts(settings: Settings, cri: BackgroundChild, meanwhile: Callable[[], object] = lambda: None) -> Facts:
    """All that can be known about this node within the budget, gathered by a child that enters it.

    *meanwhile* is done by the caller while the child gathers.
    """
    budget = settings.budget.total_seconds()
    try:
        return unpack(run_child(lambda: pack(_gather(settings, cri)), budget + 1, FACTS_LIMIT, meanwhile))
    except TimeoutError:
        return unknown_facts(settings.node_name, "timed-out", f"no answer within {budget:g} seconds")
    except (ChildError, OSError, ValueError) as error:
        return unknown_facts(settings.node_name, "not-readable", f"failed: {error}")


def gather_node(node_name: str | None, host: Host, probe: ProbeFacts, trials: Trials) -> Facts:
    """All that is known of a node; of one that was not entered, nothing that its files and processes would tell."""
    kubelet = gather_kubelet(host)
    endpoint = endpoint_of(host, kubelet)
    if endpoint:
        host.note(endpoint)
    trials.cri(endpoint)
    namespace = trials.namespace(probe)
    ids = kubelet.then(lambda known: gather_ids(host, known))
    root_dir = (kubelet.value.root_dir.value if kubelet.value else None) or KUBELET_ROOT
    logs_dir = (kubelet.value.logs_dir.value if kubelet.value else None) or ""
    host.meanwhile = lambda: host.mountinfo("self").parse(parse_mountinfo)
    runtime = gather_runtime(host, endpoint, trials.cri_answer(endpoint), root_dir, logs_dir)
    if not endpoint and kubelet.value:
        runtime = problem_of(kubelet.value.endpoint)
    bench = trials.bench(runtime)
    kernel = gather_kernel(host)
    sysctls = gather_boot_sysctls(host, kernel.namespace_limits)
    kernel = replace(kernel, boot_limits=sysctls.values)
    mounts, rows = _try_node(host, bench, probe, root_dir, runtime)
    probe = replace(probe, chrooted=is_chrooted(host))
    automounts = mounts.value.boot_automounts if mounts.value else ()
    boot = gather_boot(host, kernel.release, sysctls.unread, automounts)
    tried = attempts.judge(rows, bench, probe, kernel, _default_oci_runtime(runtime))
    pods = gather_pods(host, root_dir, host.processes().value or ())
    kubelet_around = gather_kubelet_around(host, kubelet, runtime)
    hooks = gather_hooks(host, runtime)
    missing = gather_getsubids_missing(host) if kubelet.kind == "absent" else _NOT_MISSING
    pod_runs = pods.parse(lambda found: found.youngest_started_at > running_since(host, runtime))
    distribution = gather_distribution(host)
    sandbox = trials.sandbox()
    nested = gather_nested(host, probe, sandbox, root_dir)
    devices = gather_devices(host, runtime, hooks, nested.device_plugins, bench, probe, kernel)
    mounts = mounts_of_node(mounts, probe.entered, tried)
    runtime = of_node(runtime, probe.entered)
    ids = of_node(ids, probe.entered)
    runtime_trial = trials.oci_runtime(probe, runtime, root_dir, mounts, tried)
    facts = Facts(
        node_name=node_name,
        distribution=of_node(distribution, probe.entered),
        probe=probe,
        kernel=kernel_of_node(kernel, probe.entered),
        mounts=mounts,
        user_namespace=namespace,
        kubelet=of_node(kubelet, probe.entered),
        getsubids_missing=of_node(missing, probe.entered),
        runtime=runtime,
        attempts=tried,
        ids=ids,
        sandbox=sandbox,
        runtime_trial=runtime_trial,
        pod_trial=POD_NOT_ASKED,
        pods=of_node(pods, probe.entered),
        hooks=of_node(hooks, probe.entered),
        devices=of_node(devices, probe.entered),
        kubelet_around=of_node(kubelet_around, probe.entered),
        nested=nested,
        userns_pod_runs=of_node(pod_runs, probe.entered),
        boot=of_node(Reading("files of the next boot", boot), probe.entered),
    )
    pod_trial = trials.pod(facts)
    return replace(facts, pod_trial=pod_trial, userns_pod_runs=proof_of(pod_trial) or facts.userns_pod_runs)


def in_node(
    settings: Settings,
    cri: BackgroundChild,
    host: LocalHost,
    deadline: float,
    gather: Callable[[Host, ProbeFacts, Trials], Facts],
    kept: KeptTrial | None = None,
) -> Facts:
    """*gather*'s Facts, in the mount namespace of the node, with the processes that trials need.

    *kept* is the trial of an earlier probe.
    """
    own_proc = host.own_proc = open_own_proc()
    with BackgroundChild(lambda receive: _sandbox(settings, own_proc, receive)) as sandbox:
        load_trials(settings)
        probe = gather_probe(host, not_entered(enter_node(settings.proc)))
        return gather(host, probe, NodeTrials(settings, host, deadline, own_proc, cri, sandbox, kept))


def _gather(settings: Settings, cri: BackgroundChild) -> Facts:
    deadline = time.monotonic() + settings.budget.total_seconds()
    if settings.memory is not None:
        return _gather_again(settings, settings.memory, cri, deadline)

    def gather(host: Host, probe: ProbeFacts, trials: Trials) -> Facts:
        facts = gather_node(settings.node_name, host, probe, trials)
        return prove(facts, without_pod(host, facts), None)

    return in_node(settings, cri, node_host(settings, deadline), deadline, gather)


def _gather_again(settings: Settings, fd: int, cri: BackgroundChild, deadline: float) -> Facts:
    """As `_gather`, for `watch`: with the memory of the last probe, which is replaced by that of this one."""
    from probe.facts.memory import parse_memory, remember  # which only probes of `watch` need
    from probe.host.memory_file import take_memory
    from probe.host.recording import RecordingHost

    memory = parse_memory(take_memory(fd))

    def gather(host: Host, probe: ProbeFacts, trials: Trials) -> Facts:
        return remember(host, gather_node(settings.node_name, host, probe, trials), memory, fd)

    host = node_host(settings, deadline, RecordingHost(memory.outputs))
    return in_node(settings, cri, host, deadline, gather, memory.pod_trial)


def _try_node(
    host: Host, bench: attempts.Bench, probe: ProbeFacts, root_dir: str, runtime: Reading[RuntimeFacts]
) -> tuple[Reading[MountFacts], list[Row]]:
    """The mount table, and every attempt, without the volumes that were unmounted meanwhile."""
    mountinfo = read_mountinfo(host, runtime)
    mounts = mountinfo.parse(parse_mountinfo)
    table = MountTable(mounts.value or ())  # once: of 50,000 mounts it takes 30 ms
    known = runtime.value
    runtime_root = (known.root_dir.value if known else None) or RUNTIME_ROOT
    directories: dict[Role, str] = {
        "overlay-layers": (known.layers_dir.value if known else None) or runtime_root,
        "runtime-root": runtime_root,
        "kubelet-root": f"{root_dir}/pods",
    }
    rows = try_node(host, bench, probe.entered, table, root_dir, directories)
    if any(subject.role == "volume" for subject, _ in rows):
        afterwards = read_mountinfo(host, runtime)
        if afterwards.value != mountinfo.value:
            rows = without_vanished(rows, afterwards.parse(parse_mountinfo).value)
    held = {subject.role: subject.path for subject, _ in rows if subject.role in directories and probe.entered.value}
    return mounts.parse(lambda found: mount_facts(host, found, table, root_dir, held)), rows


def _default_oci_runtime(runtime: Reading[RuntimeFacts]) -> str:
    """Name of the OCI runtime of the default handler; empty when it is not known."""
    handlers = (runtime.value.handlers.value if runtime.value else None) or ()
    return next((one.oci_runtime.value or "" for one in handlers if not one.name), "")


def node_host(settings: Settings, deadline: float, host: LocalHost | None = None) -> LocalHost:
    """The node, which until half of the time is over may keep whoever reads it waiting."""
    host = host or LocalHost()
    host.deadline = deadline - settings.budget.total_seconds() / 2  # the other half is for the attempts
    host.slowness = settings.slowness
    return host


def new_bench(settings: Settings, userns_fd: int, deadline: float, prepare: Callable[[], None]) -> attempts.Bench:
    return attempts.Bench(userns_fd, deadline, prepare, attempts.TIMEOUT * settings.slowness)


def _sandbox(settings: Settings, own_proc: int, receive: Callable[[], str]) -> bytes:
    """The life of the process that tries out a sandbox, in the mount namespace in which the runtime makes them."""

    def enter() -> Reading[bool] | None:
        link = receive()
        return enter_mount_namespace(link) if link else None

    return sandbox_child(own_proc, enter, lambda: not_entered(enter_node(settings.proc)))
