"""The container runtime: its answers over CRI, and the OCI runtime and snapshotter of each handler."""

from __future__ import annotations

from msgspec.structs import replace

from probe.facts.defaults import KUBELET_ROOT
from probe.facts.model import Handler, RuntimeFacts
from probe.facts.runtime.cdi import gather_cdi_settings
from probe.facts.runtime.cgroups import Cgroups, devices_of, gather_cgroups, systemd_of, writable_of
from probe.facts.runtime.cni import gather_cni
from probe.facts.runtime.crio import crio_network_dir, gather_crio_handlers, gather_crio_networks
from probe.facts.runtime.daemon import find_daemon, gather_confinement
from probe.facts.runtime.handlers import gather_handlers, is_program, parse_in_force, trusted_path, why_not_run
from probe.facts.runtime.mesh import network_directories
from probe.facts.runtime.oci import OciRuntimes, no_answers
from probe.facts.runtime.settings import RuntimeSettings
from probe.facts.runtime.surroundings import Setup, folders_of_containerd, gather_surroundings
from probe.host.cri import CriAnswer, CriHandler, no_answer
from probe.host.host import Host
from probe.host.processes import START_UNCERTAINTY
from probe.reading import Reading, or_problem, problem_of

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
    surroundings = gather_surroundings(host, daemon, _setup(host, answer, settings), logs_dir)
    forbidden = (kubelet_root, settings.root_dir().value or "", settings.state_dir(), *_STATE)
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
            root_dir=settings.root_dir(),
            layers_dir=settings.layers_dir(),
            snapshotter=settings.snapshotter(""),
            slow_chown=settings.slow_chown(),
            overlay_options=settings.overlay_options(),
            pause_image=settings.pause_image(),
            confinement=gather_confinement(host, daemon),
            hooks_dirs=settings.hooks_dirs(),
            surroundings=surroundings,
            allowed_devices=devices_of(cgroups),
            pending=daemon.then(lambda pid: Reading(f"/proc/{pid}", settings.pending())),
            cdi=gather_cdi_settings(answer),
        ),
    )


def _setup(host: Host, answer: CriAnswer, settings: RuntimeSettings) -> Setup:
    """Configuration of the runtime's surroundings, by the rules of containerd and of CRI-O; of others nothing."""
    told = Setup(
        in_force=Reading.without(answer.name.source, "absent", "only containerd reports it"),
        root_dir=settings.root_dir(),
        state_dir=settings.state_dir(),
        handlers=lambda _: (),
        networks=lambda _: problem_of(told.in_force),
        proxies=settings.proxies(),
        sockets=settings.proxy_sockets(),
        required_plugins=settings.required_plugins(),
        shim_environment=settings.shim_environment(),
    )
    if answer.name.value == "containerd":
        return _setup_of_containerd(host, answer, settings, told)
    return _setup_of_crio(host, settings, told) if answer.name.value == "cri-o" else told


def _setup_of_containerd(host: Host, answer: CriAnswer, settings: RuntimeSettings, told: Setup) -> Setup:
    in_force = answer.config.parse(parse_in_force)
    layers = settings.layers_dir().value or ""
    return replace(
        told,
        in_force=in_force,
        handlers=lambda pid: gather_handlers(host, pid, in_force, settings.search_path()),
        networks=lambda pid: gather_cni(host, pid, in_force),
        folders=folders_of_containerd(told.root_dir.value or "", told.state_dir, layers),
        network_dirs=network_directories(in_force),
    )


def _setup_of_crio(host: Host, settings: RuntimeSettings, told: Setup) -> Setup:
    config = settings.config()
    crio = config.value.crio if config.value else None
    return replace(
        told,
        handlers=lambda pid: gather_crio_handlers(host, pid, config, settings.changed_file()),
        networks=lambda pid: gather_crio_networks(host, pid, config),
        folders=crio.directories if crio else (),
        network_dirs=(crio_network_dir(config),),
    )


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
        executable=_gather_executable(host, settings.binary_of(cri.name), binary, daemon, settings.of_containerd),
    )


@or_problem
def _gather_executable(
    host: Host, configured: str, binary: Reading[str], daemon: Reading[int], inherits: bool
) -> Reading[bool]:
    """Whether the configured OCI runtime is executable for the daemon, where it sees it.

    Not *inherits*: it gets an environment of its own, as from CRI-O's monitor.
    """
    if not configured:
        return Reading.without(binary.source, "absent", binary.problem)
    pid = daemon.need()
    if binary.kind == "absent":
        return Reading(binary.source, False)
    path = binary.need()
    found = host.places(pid, [path])[path]
    if found.kind == "absent":
        return Reading(found.source, False)
    if found.value and found.value.unfound and not inherits:
        return Reading.without(path, "not-readable", f"{path} {why_not_run(found.value)}, or has another PATH")
    why = why_not_run(found.value) if found.value else ""
    return Reading(f"{found.source}, which {why}", False) if why else found.parse(is_program)


@or_problem
def _gather_newer(host: Host, binary: Reading[str], daemon: Reading[int]) -> Reading[bool]:
    """Whether the binary may have been replaced since the daemon started."""
    path, pid = binary.need(), daemon.need()
    since = host.started_at(pid).need() + START_UNCERTAINTY
    return host.status(path).parse(lambda file: file.newest > since)
