"""istio-cni: whether the node's networks name it, which release installs it, and the program that it needs."""

from __future__ import annotations

import os
import re

from probe.facts.runtime.cni import CONF, CONF_LIMIT, parse_plugins
from probe.facts.runtime.daemon import read_search_path
from probe.facts.runtime.handlers import InForce, first_program
from probe.facts.runtime.model import IstioCni
from probe.host.environ import parse_environment
from probe.host.host import Host
from probe.reading import Reading, problem_of

_PLUGIN = r"(?a:istio-cni(-[\w.-]+)?)"
"""Its `type` in a chain, with the revision behind it where there is one."""
_DELEGATES, _DELEGATED = "multus", "/etc/cni/multus/net.d"
"""Plugin that calls others, and the directory where OpenShift's istio-cni puts its network for Multus."""
_FILES = 20
_INSTALLERS = 5
_INSTALLER, _VERSION = "install-cni", "CURRENT_AGENT_VERSION"
"""The process of its DaemonSet, and the variable with its release. *Source*: istio/istio, the chart istio-cni."""
_RELEASE = r"(?a:v?(\d{1,3})\.(\d{1,3})(?:\.\d{1,4})?(?:[-+.].{0,60})?)"


def network_directories(in_force: Reading[InForce]) -> tuple[str, ...]:
    """The directories in which containerd looks for networks: one for all handlers, and those of single ones."""
    if in_force.value is None:
        return ()
    own = (runtime.cni_conf_dir for runtime in (in_force.value.containerd.runtimes or {}).values())
    found = (in_force.value.cni.conf_dir, *own)
    return tuple(dict.fromkeys(path for path in found if path.startswith("/")))[:5]


def gather_istio_cni(host: Host, pid: int, directories: tuple[str, ...]) -> Reading[IstioCni]:
    """The state of istio-cni; absent where no network names it. *pid* is the runtime's daemon, which runs it."""
    if not directories:
        return Reading.without("CNI", "not-tried", "the directory of networks is not told")
    doubt: Reading[IstioCni] | None = None
    waiting = list(directories)
    for directory in waiting:
        names = host.list_directory(f"/proc/{pid}/root{directory}")
        if names.value is None and names.kind != "absent":
            doubt = doubt or problem_of(names)
        files = [name for name in names.value or () if CONF.fullmatch(name)]
        if len(files) > _FILES:
            doubt = Reading.without(directory, "not-tried", f"has more than {_FILES} network configurations")
        for name in files[:_FILES]:
            conf = os.path.join(directory, name)
            plugins = host.read_text(f"/proc/{pid}/root{conf}", CONF_LIMIT).parse(parse_plugins)
            if any(re.fullmatch(_PLUGIN, one) for one in plugins.value or ()):
                return Reading(conf, IstioCni(conf=conf, nsenter=_nsenter(host, pid), version=_version(host)))
            if any(one.startswith(_DELEGATES) for one in plugins.value or ()) and _DELEGATED not in waiting:
                waiting.append(_DELEGATED)
            if plugins.value is None and plugins.kind != "absent":
                doubt = doubt or problem_of(plugins)
    return doubt or Reading.without(", ".join(directories), "absent", "no network names istio-cni")


def _nsenter(host: Host, pid: int) -> Reading[str]:
    """Nsenter in the PATH that the runtime hands on to plugins."""
    path = read_search_path(host, pid)
    if path.value is None:
        return problem_of(path)
    return first_program(host, pid, [os.path.join(folder, "nsenter") for folder in path.value[:30]])


def _version(host: Host) -> Reading[tuple[int, int]]:
    """The oldest release of the processes that install it; the plugin itself reports none."""
    processes = host.processes()
    if processes.value is None:
        return problem_of(processes)
    found = []
    for process in [one for one in processes.value if one.name == _INSTALLER][:_INSTALLERS]:
        read = host.read(f"/proc/{process.pid}/environ").parse(_release)
        if read.value is None:
            return problem_of(read)
        found.append(read)
    if not found:
        return Reading.without(_INSTALLER, "absent", "no process installs it now")
    return min(found, key=lambda read: read.value or (0, 0))


def _release(environment: bytes) -> tuple[int, int]:
    told = re.fullmatch(_RELEASE, parse_environment(environment).get(_VERSION, ""))
    if told is None:
        raise ValueError(f"{_VERSION} names no release")
    return int(told[1]), int(told[2])
