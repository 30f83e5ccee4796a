"""The container runtime: its answers over CRI, and the OCI runtime and snapshotter of each handler."""

from __future__ import annotations

from probe.facts.around import HandlerAround
from probe.facts.defaults import KUBELET_ROOT
from probe.facts.model import Handler, RuntimeFacts
from probe.facts.runtime.cdi import gather_cdi_settings
from probe.facts.runtime.cgroups import Cgroups, devices_of, gather_cgroups, systemd_of, writable_of
from probe.facts.runtime.cni import gather_cni
from probe.facts.runtime.crio import crio_network_dir, gather_crio_handlers, gather_crio_networks
from probe.facts.runtime.daemon import find_daemon, gather_confinement
from probe.facts.runtime.handlers import InForce, gather_handlers, is_program, parse_in_force, trusted_path, why_not_run
from probe.facts.runtime.mesh import network_directories
from probe.facts.runtime.oci import OciRuntimes, no_answers
from probe.facts.runtime.settings import RuntimeSettings
from probe.facts.runtime.surroundings import folders_of_containerd, gather_surroundings
from probe.host.cri import CriAnswer, CriHandler, no_answer
from probe.host.host import Host
from probe.host.processes import START_UNCERTAINTY
from probe.reading import Reading, or_problem

_STATE = ("/run/containerd", "/run/containers", "/run/crio", "/run/k3s", "/run/k0s", "/var/run")


def gather_runtime(
    host: Host, endpoint: str, cri: Reading[CriAnswer], kubelet_root: str = KUBELET_ROOT, logs_dir: str = ""
) -> Reading[RuntimeFacts]:
    """The facts of the runtime at *endpoint*; a problem only where no endpoint is known.

    It writes the logs of containers below *logs_dir*.

    No program below *kubelet_root* or the runtime's own directories is run, as files of Pods are there, and none at
    all for a daemon that may not belong to the node.
    """
    if not endpoint:
        return Reading.without(cri.source, cri.kind or "not-tried", cri.problem or "no endpoint is known")
    answer = cri.value or no_answer(endpoint, cri.kind or "not-readable", cri.problem)
    daemon = find_daemon(host, answer)
    settings = RuntimeSettings(host, answer, daemon)
    root_dir = settings.root_dir()
    in_force = answer.config.parse(parse_in_force) if answer.name.value == "containerd" else _other(answer)
    crio, config = answer.name.value == "cri-o", settings.config()
    containerd = answer.name.value == "containerd"
    layers = settings.layers_dir().value or ""
    folders = folders_of_containerd(root_dir.value or "", settings.state_dir(), layers) if containerd else ()
    if config.value and config.value.crio:
        folders = config.value.crio.directories

    def around(pid: int) -> tuple[HandlerAround, ...]:
        if crio:
            return gather_crio_handlers(host, pid, config, settings.changed_file())
        return gather_handlers(host, pid, in_force, settings.search_path()) if containerd else ()

    surroundings = gather_surroundings(
        host,
        daemon,
        in_force,
        root_dir,
        settings.state_dir(),
        around,
        lambda pid: gather_crio_networks(host, pid, config) if crio else gather_cni(host, pid, in_force),
        settings.proxies(),
        folders,
        logs_dir,
        (crio_network_dir(config),) if crio else network_directories(in_force),
    )
    forbidden = (kubelet_root, root_dir.value or "", settings.state_dir(), *_STATE)
    cgroups = gather_cgroups(answer)
    runtimes = OciRuntimes(host, forbidden, trusted_path(host, daemon, settings.search_path()))

    def handlers(named: tuple[CriHandler, ...]) -> tuple[Handler, ...]:
        return tuple(_gather_handler(host, one, daemon, settings, cgroups, runtimes) for one in named)

    return Reading(
        f"CRI {endpoint}",
        RuntimeFacts(
            endpoint=endpoint,
            name=answer.name,
            version=answer.version,
            handlers=answer.handlers.parse(handlers),
            conditions=answer.conditions,
            host_network=answer.host_network,
            root_dir=root_dir,
            layers_dir=settings.layers_dir(),
            snapshotter=settings.snapshotter(""),
            slow_chown=settings.slow_chown(),
            pause_image=settings.pause_image(),
            confinement=gather_confinement(host, daemon),
            hooks_dirs=settings.hooks_dirs(),
            surroundings=surroundings,
            allowed_devices=devices_of(cgroups),
            pending=daemon.then(lambda pid: Reading(f"/proc/{pid}", settings.pending())),
            cdi=gather_cdi_settings(answer),
        ),
    )


def _other(answer: CriAnswer) -> Reading[InForce]:
    return Reading.without(answer.name.source, "absent", "only containerd tells it so")


def _gather_handler(
    host: Host,
    cri: CriHandler,
    daemon: Reading[int],
    settings: RuntimeSettings,
    cgroups: Reading[Cgroups],
    runtimes: OciRuntimes,
) -> Handler:
    binary = settings.binary(cri.name)
    if binary.value is None:
        answers = no_answers(binary.source, binary.kind or "not-readable", binary.problem)
    elif daemon.value is None:  # whoever answered on the socket may not choose what root runs
        answers = no_answers(binary.value, daemon.kind or "not-readable", f"not run: {daemon.problem}")
    else:
        answers = runtimes.ask(binary.value)
    return Handler(
        name=cri.name,
        user_namespaces=cri.user_namespaces,
        binary=binary,
        oci_runtime=answers.version.parse(lambda version: version.name),
        oci_version=answers.version.parse(lambda version: version.version),
        oci_idmap=answers.features.parse(lambda features: features.idmap),
        oci_user_namespace=answers.features.parse(lambda features: features.user_namespace),
        binary_newer=_gather_newer(host, binary, daemon),
        snapshotter=settings.snapshotter(cri.name),
        cgroup_writable=writable_of(cgroups, cri.name),
        systemd_cgroup=systemd_of(cgroups, cri.name),
        executable=_gather_executable(host, settings.binary_of(cri.name), binary, daemon),
    )


@or_problem
def _gather_executable(host: Host, configured: str, binary: Reading[str], daemon: Reading[int]) -> Reading[bool]:
    """Whether the configured OCI runtime is executable for the daemon, where it sees it."""
    if not configured:
        return Reading.without(binary.source, "absent", binary.problem)
    pid = daemon.need()
    if binary.kind == "absent":
        return Reading(binary.source, False)
    path = binary.need()
    found = host.places(pid, [path])[path]
    if found.kind == "absent":
        return Reading(found.source, False)
    why = why_not_run(found.value) if found.value else ""
    return Reading(f"{found.source}, which {why}", False) if why else found.parse(is_program)


@or_problem
def _gather_newer(host: Host, binary: Reading[str], daemon: Reading[int]) -> Reading[bool]:
    """Whether the binary may have been replaced since the daemon started."""
    path, pid = binary.need(), daemon.need()
    since = host.started_at(pid).need() + START_UNCERTAINTY
    return host.status(path).parse(lambda file: file.newest > since)
