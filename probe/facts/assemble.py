"""One node put together: what was gathered of it, and what became of the attempts."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Sequence

from probe.facts.filesystems import attempts
from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.revealing import visibility
from probe.facts.filesystems.rules import Subject
from probe.facts.filesystems.survey import without_vanished
from probe.facts.hooks import gather_hooks
from probe.facts.ids.pods import gather_pods
from probe.facts.ids.range import gather_ids
from probe.facts.kernel import gather_distribution, gather_kernel
from probe.facts.model import Facts, IdFacts, KubeletFacts, MountFacts, ProbeFacts, RuntimeFacts
from probe.facts.not_entered import out_of_sight
from probe.facts.runtime.namespace import mount_namespace_of
from probe.facts.tried import Attempt, NamespaceAttempt, Role
from probe.host.host import Host, Process
from probe.host.idmap import Answer
from probe.host.mountinfo import Mount, MountTable, parse_mountinfo
from probe.host.namespaces import enter_mount_namespace
from probe.reading import Reading

KUBELET_ROOT = "/var/lib/kubelet"
RUNTIME_ROOT = "/var/lib/containerd"
"""Where they would be, on a node that has neither yet."""


def gather_node(
    node_name: str | None,
    host: Host,
    bench: attempts.Bench,
    probe: ProbeFacts,
    namespace: NamespaceAttempt,
    kubelet: Reading[KubeletFacts],
    runtime: Reading[RuntimeFacts],
) -> Facts:
    """What follows once it is known who runs here: the kernel, the mount table, and the attempts."""
    kernel = gather_kernel(host)
    root_dir = root_dir_of(kubelet)
    processes = host.processes().value or ()
    mountinfo = _read_mountinfo(host, runtime)
    mounts = mountinfo.parse(parse_mountinfo)
    rows = _try_node(host, bench, probe.entered, mounts, root_dir, runtime, processes)
    if any(subject.role == "volume" for subject, _ in rows):
        afterwards = _read_mountinfo(host, runtime)
        if afterwards.value != mountinfo.value:
            rows = without_vanished(rows, afterwards.parse(parse_mountinfo).value)
    pods = gather_pods(host, root_dir, processes)
    return Facts(
        node_name=node_name,
        distribution=gather_distribution(host),
        probe=probe,
        kernel=kernel,
        mounts=mounts.parse(lambda table: _mount_facts(host, table, root_dir)),
        user_namespace=namespace,
        kubelet=kubelet,
        runtime=runtime,
        attempts=attempts.judge(rows, bench, probe, kernel, _oci_runtime(runtime)),
        pods=pods,
        hooks=gather_hooks(host, (runtime.value.name.value if runtime.value else None) or ""),
        userns_pod_runs=pods.parse(lambda found: found.youngest_started_at > _runs_since(host, runtime)),
    )


def gather_node_ids(host: Host, kubelet: Reading[KubeletFacts]) -> Reading[IdFacts]:
    """The ranges from which the node's kubelet takes the IDs of Pods."""
    if kubelet.value is None:
        return Reading(kubelet.source, None, kubelet.problem, kubelet.kind)
    return gather_ids(host, kubelet.value)


def _runs_since(host: Host, runtime: Reading[RuntimeFacts]) -> float:
    """When the container runtime's daemon started, as `Host.started_at`. *Errors*: ValueError when nobody knows."""
    confinement = runtime.value.confinement.value if runtime.value else None
    started = host.started_at(confinement.pid) if confinement else None
    if started is None or started.value is None:
        raise ValueError("when the container runtime started is unknown")
    return started.value


def _oci_runtime(runtime: Reading[RuntimeFacts]) -> str:
    """What makes the Pods of the default handler; empty when it is not known."""
    handlers = (runtime.value.handlers.value if runtime.value else None) or ()
    return next((one.oci_runtime.value or "" for one in handlers if not one.name), "")


def root_dir_of(kubelet: Reading[KubeletFacts]) -> str:
    """The kubelet's root directory, or where it would be."""
    return (kubelet.value.root_dir.value if kubelet.value else None) or KUBELET_ROOT


def _try_node(
    host: Host,
    bench: attempts.Bench,
    entered: Reading[bool],
    mounts: Reading[tuple[Mount, ...]],
    root_dir: str,
    runtime: Reading[RuntimeFacts],
    processes: Sequence[Process],
) -> list[tuple[Subject, Answer | Attempt]]:
    """Every file system that Pods need, then every one that they have."""
    table = MountTable(mounts.value or ())
    known = runtime.value
    runtime_root = (known.root_dir.value if known else None) or RUNTIME_ROOT
    layers = _directory(host, table, "overlay-layers", (known.layers_dir.value if known else None) or runtime_root)
    subjects = [
        _directory(host, table, "runtime-root", runtime_root),
        _directory(host, table, "kubelet-root", f"{root_dir}/pods"),
    ]
    # The mount table knows no symlinks: below an unresolved root directory it would show no volume at all.
    volumes = attempts.volume_subjects(host, table, host.resolve(root_dir).value or root_dir)
    if bench.userns_fd < 0:
        why = "no user namespace could be made to try it with"
        untried = [subjects[0], layers, subjects[1], attempts.TMPFS, *volumes]
        return [(subject, not_tried(subject, "not-tried", why)) for subject in untried]
    held = attempts.held_devices(processes, host)
    unseen = {one.role: row for one in (*subjects, layers) if (row := out_of_sight(one, entered, table))}
    seen = [one for one in (*subjects, *volumes) if one.role not in unseen]
    tried = iter(attempts.try_subjects(bench, seen, table, held))
    runtime_row = unseen.get("runtime-root") or next(tried)
    kubelet_row = unseen.get("kubelet-root") or next(tried)
    overlay_row = unseen.get("overlay-layers") or attempts.try_overlay(bench, host, layers, held)
    return [runtime_row, overlay_row, kubelet_row, (attempts.TMPFS, bench.tmpfs()), *tried]


def without_vanished(
    rows: Sequence[tuple[Subject, Answer | Attempt]], mounts: Sequence[Mount] | None
) -> list[tuple[Subject, Answer | Attempt]]:
    """The rows without volumes that *mounts*, read afterwards, do not show any more.

    What was tried in place of such a volume is the directory below. Where its file system is still mounted for
    another Pod, nobody knows what the answer would have been.
    """
    if mounts is None:
        return list(rows)
    there = {(mount.mount_point, mount.device) for mount in mounts}
    devices = {mount.device for mount in mounts}
    kept: list[tuple[Subject, Answer | Attempt]] = []
    for subject, answer in rows:
        if subject.role != "volume" or (subject.path, subject.device) in there:
            kept.append((subject, answer))
        elif subject.device in devices:
            kept.append((subject, not_tried(subject, "not-tried", "it was unmounted while it was tried")))
    return kept


def _directory(host: Host, table: MountTable, role: Role, path: str) -> Subject:
    """A directory of the node, or where it would be made."""
    found = attempts.existing(host, path)
    return attempts.subject_of(table, role, found.value or path)


def entering(host: Host, runtime: Reading[RuntimeFacts]) -> Callable[[], None]:
    """What brings a child into the mount namespace in which the runtime makes mounts; usually that of process 1."""
    link = mount_namespace_of(runtime)
    if not link:
        return lambda: None

    def enter() -> None:
        entered = enter_mount_namespace(link)
        if entered.value is None and host.read_link(link).value != host.read_link("/proc/self/ns/mnt").value:
            raise OSError(errno.ESRCH if entered.kind == "absent" else errno.EPERM, entered.problem)

    return enter


def mount_namespace_of(runtime: Reading[RuntimeFacts]) -> str:
    """The link of the runtime's mount namespace; empty when its process is not known."""
    confinement = runtime.value.confinement.value if runtime.value else None
    return f"/proc/{confinement.pid}/ns/mnt" if confinement else ""


def _read_mountinfo(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[bytes]:
    """The runtime's mount table, else that of process 1, else our own."""
    confinement = runtime.value.confinement.value if runtime.value else None
    for owner in (confinement.pid if confinement else 1, "self"):
        reading = host.read(f"/proc/{owner}/mountinfo", limit=64 << 20)
        if reading.value is not None:
            break
    return reading


def _mount_facts(host: Host, mounts: tuple[Mount, ...], root_dir: str) -> MountFacts:
    pods = attempts.existing(host, f"{root_dir}/pods")
    return MountFacts(
        count=len(mounts),
        proc=visibility(mounts, "proc"),
        sysfs=visibility(mounts, "sysfs"),
        pods_options=pods.parse(lambda path: _options_of(MountTable(mounts), path)),
        root_mode=host.status("/").parse(lambda root: stat.S_IMODE(root.mode)),
    )


def _options_of(table: MountTable, path: str) -> tuple[str, ...]:
    mount = table.mount_of(path)
    if mount is None:
        raise ValueError("lies in no mount of the table")
    return mount.options
