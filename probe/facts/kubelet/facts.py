"""The node's own kubelet: its version, its flags and files, and the settings in force."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from probe.facts.defaults import BLOCK, KUBELET_ROOT
from probe.facts.kubelet.config import Configuration, Flags, parse_document, parse_endpoint, parse_flags
from probe.facts.kubelet.embedded import EMBEDDED, embedded_flags, embedded_version, read_edgecore
from probe.facts.kubelet.files import find_files, read_ages, read_file, read_merged
from probe.facts.kubelet.find import Daemon, find_kubelets
from probe.facts.kubelet.hidden import find_hidden_kubelet
from probe.facts.kubelet.versions import (
    GATE,
    fails_on_cgroup_v1,
    gate_in_force,
    knows_ids_per_pod,
    parse_release,
    parse_version,
    version_rule,
)
from probe.facts.model import DropIn, KubeletFacts
from probe.host.environ import parse_environment
from probe.host.host import Host
from probe.host.namespaces import INITIAL_USER_NAMESPACE
from probe.host.processes import parse_unit
from probe.reading import Reading, or_problem, problem_of

_DEFAULT_ENDPOINT = "unix:///run/containerd/containerd.sock"
_MAX_PODS = Reading("default of maxPods", 110)
_LOGS = Reading("default of podLogsDir", "/var/log/pods")
_CGROUP_DRIVER = Reading("default of cgroupDriver", "cgroupfs")
_RESOLV_CONF = Reading("default of resolvConf", "/etc/resolv.conf")
_PIDS_LIMIT = Reading("default of podPidsLimit", -1)
_SECCOMP_DEFAULT = Reading("default of seccompDefault", False)
_SNAP_ARGUMENTS = "/var/snap/microk8s/current/args/kubelet"
_SNAP_EXECUTABLE = re.compile(r"(/snap/microk8s/[^/]+)/kubelite")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@or_problem
def gather_kubelet(host: Host) -> Reading[KubeletFacts]:
    """The node's own kubelet; absent when none runs.

    A process of a Pod named kubelet does not count: none of its files is read, none of its programs run. Of several
    kubelets the oldest is described, and the others are counted.
    """
    source = "processes of this node"
    daemons, undecided = find_kubelets(host, host.processes().need())
    if not daemons and undecided is not None:
        return Reading(source, None, f"whether {undecided.source} is the kubelet: {undecided.problem}", undecided.kind)
    if not daemons and _owners_are_hidden(host):
        why = "from a user namespace of its own, the probe cannot see which processes are root's"
        return Reading.without(source, "not-permitted", why)
    if not daemons and (hidden := find_hidden_kubelet(host, host.processes().need())):
        return Reading.without(source, "not-readable", hidden)
    if not daemons:
        return Reading.without(source, "absent", "no kubelet runs on this node")
    daemon = min(daemons, key=lambda each: (each.started_at.value or 0.0, each.process.pid))
    facts = _describe(host, daemon, len(daemons) - 1)
    if host.started_at(daemon.process.pid) != daemon.started_at:
        return Reading.without(source, "not-readable", "the kubelet was restarted while it was looked at")
    return Reading(f"/proc/{daemon.process.pid}", facts)


def _owners_are_hidden(host: Host) -> bool:
    """Whether the probe is in a user namespace below that of process 1, where processes of root seem to be nobody's."""
    own = host.read_link("/proc/self/ns/user").value
    return own not in (None, INITIAL_USER_NAMESPACE) and host.read_link("/proc/1/ns/user").value != own


def parse_arguments_file(text: str, environment: Mapping[str, str]) -> list[str]:
    """The arguments in an arguments file of MicroK8s. *Source*: canonical/microk8s, kubelite, ReadArgsFromFile."""
    arguments: list[str] = []
    for line in map(str.strip, text.split("\n")):
        if line and not line.startswith("#"):
            bare = line.replace('"', "").replace("'", "")
            arguments += _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), bare).split(" ")
    return arguments


def _describe(host: Host, daemon: Daemon, others: int) -> KubeletFacts:
    version = _version(host, daemon)
    release = version.parse(parse_release)
    flags, flag_files = _flags(host, daemon)
    files = find_files(host, daemon, flags)
    merged = read_merged(host, daemon, files.paths)
    if daemon.distribution == "kubeedge":
        merged = read_edgecore(host, daemon)
    configuration = Configuration(flags, merged)
    ages = read_ages(host, daemon, flag_files, files)
    max_pods = configuration.find("max-pods", "maxPods", int, _MAX_PODS)  # 0 in a file stands for the default
    fails = release.parse(fails_on_cgroup_v1)
    return KubeletFacts(
        pid=daemon.process.pid,
        distribution=daemon.distribution,
        others=others,
        version=version,
        started_at=daemon.started_at,
        files=ages,
        executable=_executable(host, daemon),
        unit=host.read_text(f"/proc/{daemon.process.pid}/cgroup").parse(parse_unit),
        root_dir=_root_dir(host, daemon, flags),
        endpoint=_endpoint(host, daemon, configuration),
        max_pods=_MAX_PODS if max_pods.value == 0 and not max_pods.source.startswith("--") else max_pods,
        ids_per_pod=_ids_per_pod(configuration, release),
        gate=_gate(configuration, release, ages, command_line_only=not flag_files),
        gate_configured=_gate_configured(configuration, release),
        fail_cgroup_v1=configuration.find("fail-cgroupv1", "failCgroupV1", bool, fails),
        logs_dir=configuration.find(None, "podLogsDir", str, _LOGS).parse(lambda path: _absolute(path, None)),
        seccomp_default=configuration.find("seccomp-default", "seccompDefault", bool, _SECCOMP_DEFAULT),
        cgroup_driver=configuration.find("cgroup-driver", "cgroupDriver", str, _CGROUP_DRIVER),
        resolv_conf=_resolv_conf(host, daemon, configuration),
        pod_pids_limit=configuration.find("pod-max-pids", "podPidsLimit", int, _PIDS_LIMIT),
    )


def _version(host: Host, daemon: Daemon) -> Reading[str]:
    """The version of the running executable, which may differ from the file on disk."""
    pid = daemon.process.pid
    if daemon.distribution in EMBEDDED:
        return embedded_version(host, daemon)
    if daemon.distribution != "microk8s":
        return host.run_daemon(pid, "--version").parse(lambda output: parse_version(output.stdout))
    # kubelite knows no --version, but it lies in a snap that tells its own, and never changes.
    snap = _SNAP_EXECUTABLE.fullmatch(host.read_link(f"/proc/{pid}/exe").value or "")
    if not snap:
        return Reading.without(f"/proc/{pid}/exe", "not-readable", "kubelite tells no version, and lies in no snap")
    return read_file(host, daemon, f"{snap[1]}/meta/snap.yaml").parse(
        lambda text: parse_version(f"Kubernetes {parse_document(text).get('version')}")
    )


def _flags(host: Host, daemon: Daemon) -> tuple[Reading[Flags], tuple[str, ...]]:
    """The kubelet's flags, and the files that hold them; no files when the command line does."""
    if daemon.k3s is not None:
        return daemon.k3s.flags, daemon.k3s.sources
    if daemon.distribution in EMBEDDED:
        return embedded_flags(host, daemon)
    process = daemon.process
    own = Reading(f"/proc/{process.pid}/cmdline", process.argv[1:]).parse(parse_flags)
    if daemon.distribution != "microk8s":
        return own, ()
    path = (own.value or {}).get("kubelet-args-file", (_SNAP_ARGUMENTS,))[-1]
    environment = host.environment(process.pid).parse(parse_environment)
    if environment.value is None:
        return problem_of(environment), (path,)
    known = environment.value
    text = read_file(host, daemon, path)
    return text.parse(lambda content: parse_flags(parse_arguments_file(content, known))), (path,)


@or_problem
def _gate_configured(configuration: Configuration, release: Reading[tuple[int, int]]) -> Reading[bool]:
    """The value of the feature gate in flags and configuration files; absent when they do not name it."""
    name = _gate_name(release)
    gates, from_flags = configuration.gates(), configuration.flag_gates()
    if from_flags.value is not None and name in from_flags.value:
        return Reading("--feature-gates", from_flags.value[name])
    if name in gates.need():
        return Reading("featureGates", gates.need()[name])
    return Reading.without("featureGates", "absent", f"{name} is not set")


@or_problem
def _gate(
    configuration: Configuration,
    release: Reading[tuple[int, int]],
    ages: Reading[tuple[DropIn, ...]],
    command_line_only: bool,
) -> Reading[bool]:
    """Whether the gate is on in the running process, which never reads its files again."""
    rule, name = version_rule(release.need()), _gate_name(release)
    if rule.locked or not rule.gate:
        return Reading(f"version ({rule.source})", rule.locked)
    gates, from_flags = configuration.gates(), configuration.flag_gates()
    if command_line_only and from_flags.value is not None and name in from_flags.value:
        return Reading("--feature-gates", from_flags.value[name])
    for file in ages.need():
        if file.newer:
            what = "owner or mode changed, or an older file replaced it," if file.maybe_the_same else "changed"
            problem = f"{what} after the kubelet started, which still runs with the {name} that it read then"
            return Reading.without(file.path, "not-readable", problem)
    return gates.parse(lambda by_name: gate_in_force(rule, by_name))


def _resolv_conf(host: Host, daemon: Daemon, configuration: Configuration) -> Reading[str]:
    found = configuration.find("resolv-conf", "resolvConf", str, _RESOLV_CONF)
    if found is _RESOLV_CONF and daemon.k3s is not None:
        return Reading.without(found.source, "absent", "k3s chooses the file, or writes one of its own")
    working_directory = host.read_link(f"/proc/{daemon.process.pid}/cwd").value
    return found.parse(lambda path: path and _absolute(path, working_directory))


def _gate_name(release: Reading[tuple[int, int]]) -> str:
    return (version_rule(release.value).gate if release.value else "") or GATE


def _ids_per_pod(configuration: Configuration, release: Reading[tuple[int, int]]) -> Reading[int]:
    default = Reading("default of userNamespaces.idsPerPod", BLOCK)
    if release.value is not None and not knows_ids_per_pod(release.value):
        return default
    return configuration.find(None, "userNamespaces.idsPerPod", int, default)


def _root_dir(host: Host, daemon: Daemon, flags: Reading[Flags]) -> Reading[str]:
    if flags.value is None:
        return _existing(host, daemon, KUBELET_ROOT, f"{KUBELET_ROOT}/pods") or problem_of(flags)
    if "root-dir" not in flags.value:
        return Reading("default of --root-dir", KUBELET_ROOT)
    working_directory = host.read_link(f"/proc/{daemon.process.pid}/cwd").value
    return Reading("--root-dir", flags.value["root-dir"][-1]).parse(lambda path: _absolute(path, working_directory))


def _endpoint(host: Host, daemon: Daemon, configuration: Configuration) -> Reading[str]:
    default = daemon.k3s.endpoint if daemon.k3s else _DEFAULT_ENDPOINT
    if configuration.flags.value is None:
        path = parse_endpoint(default)
        return _existing(host, daemon, path, path) or problem_of(configuration.flags)
    silent = Reading("default of containerRuntimeEndpoint", default)
    found = configuration.find("container-runtime-endpoint", "containerRuntimeEndpoint", str, silent)
    return found.parse(lambda text: parse_endpoint(text or default))


def _existing(host: Host, daemon: Daemon, default: str, witness: str) -> Reading[str] | None:
    """*default* when *witness* exists; None else. Only for k3s, which hides the arguments that would confirm it."""
    seen = host.status(daemon.root + witness) if daemon.k3s else None
    return Reading(f"{witness}, which exists", default) if seen and seen.value else None


def _absolute(path: str, working_directory: str | None) -> str:
    if not path or not (path.startswith("/") or working_directory):
        raise ValueError(f"{path[:80]!r} leads nowhere")
    return "/" + os.path.normpath(os.path.join(working_directory or "/", path)).strip("/")


def _executable(host: Host, daemon: Daemon) -> Reading[DropIn]:
    """The kubelet's executable; `newer` when the kernel calls it deleted, as after an upgrade."""
    return host.read_link(f"/proc/{daemon.process.pid}/exe").parse(
        lambda path: DropIn(path=path.removesuffix(" (deleted)"), newer=path.endswith(" (deleted)"))
    )
