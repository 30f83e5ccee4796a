"""The networks that containerd has loaded, and their plugins."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

from msgspec.structs import replace

from probe.facts.go_json import fold
from probe.facts.runtime.config import decode_json
from probe.facts.runtime.handlers import PLAIN, InForce, is_program, why_not_run
from probe.facts.runtime.model import Cni
from probe.host.host import Host
from probe.reading import Reading, problem_of

CONF = re.compile(r".+\.(conf|conflist|json)", re.DOTALL)
CONF_LIMIT = 1 << 20
_PLUGINS_LIMIT = 100
_CONFS = 20
_LOOPBACK = "loopback"
_ASK_IPAM = ("bridge", "calico", "host-device", "ipvlan", "macvlan", "ptp", "tap", "vlan")
"""Plugins that run the one for addresses which `ipam` names; others may ignore it."""
_FLANNEL = "flannel"


def gather_cni(host: Host, pid: int, in_force: Reading[InForce]) -> Reading[Cni]:
    """The network configurations that are loaded, by default the first of the directory, and plugins that cannot run.

    *Source*: libcni, `ConfFiles` (sorted by name) and `invoke.FindInPath` (the first regular file in the directories);
    containerd, `maxConfNum`, and `useInternalLoopback`, without which it runs the plugin `loopback` for each Pod.
    """
    if in_force.value is None:
        return problem_of(in_force)
    cni = in_force.value.cni
    directories = tuple(path for path in (cni.bin_dirs or (cni.bin_dir,)) if path.startswith("/"))[:10]
    if not cni.conf_dir.startswith("/") or not directories:
        return Reading.without(in_force.source, "absent", "no directories of CNI are told")
    listed = host.list_directory(f"/proc/{pid}/root{cni.conf_dir}")
    names = [name for name in listed.value or () if CONF.fullmatch(name)]
    if not names:
        nothing: Reading[Cni] = Reading.without(cni.conf_dir, "absent", "no network is configured")
        return nothing if listed.value is not None else problem_of(listed)
    needed: dict[str, str] = {}
    most = cni.max_conf_num if 0 < cni.max_conf_num < _CONFS else _CONFS
    for conf in (os.path.join(cni.conf_dir, name) for name in names[:most]):
        plugins = host.read_text(f"/proc/{pid}/root{conf}", CONF_LIMIT).parse(parse_plugins)
        if plugins.value is None:
            return problem_of(plugins)
        needed = dict.fromkeys(plugins.value, conf) | needed
    if not cni.use_internal_loopback:
        needed.setdefault(_LOOPBACK, os.path.join(cni.conf_dir, names[0]))
    return _judge_plugins(host, pid, directories, needed)


def _judge_plugins(host: Host, pid: int, directories: tuple[str, ...], needed: dict[str, str]) -> Reading[Cni]:
    """Which of *needed*, the configuration by the name of its plugin, cannot be run."""
    found = host.places(pid, [os.path.join(path, name) for path in directories for name in needed])
    missing: dict[str, str] = {}
    for name in needed:
        tried = [found[os.path.join(path, name)] for path in directories]
        if any(each.value is None and each.kind != "absent" for each in tried):
            return problem_of(next(each for each in tried if each.value is None and each.kind != "absent"))
        files = [each.value for each in tried if each.value and stat.S_ISREG(each.value.mode)]
        if not files or not is_program(replace(files[0], runs_as=0)):  # a plugin may need no rights
            why = why_not_run(replace(files[0], runs_as=0)) if files else ""
            missing[name] = f"{name} ({why})" if why else name
    conf = needed[next(iter(missing or needed))]
    return Reading(conf, Cni(conf=conf, missing=tuple(missing.values()), directories=directories))


def parse_plugins(text: str) -> tuple[str, ...]:
    """The `type` of each plugin of a configuration or a list of them. *Errors*: ValueError without any."""
    content: Any = decode_json(text, object)
    listed = content.get("plugins", [content]) if isinstance(content, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= _PLUGINS_LIMIT:
        raise ValueError("names no plugins")
    types = [_type_of(each) if isinstance(each, dict) else None for each in listed]
    types += [name for each in listed if isinstance(each, dict) for name in _run_by(each)]
    if not all(isinstance(each, str) and PLAIN.fullmatch(each) for each in types):
        raise ValueError("names plugins that are not file names")
    return tuple(dict.fromkeys(map(str, types)))


def _type_of(plugin: dict[str, Any]) -> Any:
    """Its `type`."""
    return _value_of(plugin, "type")


def _run_by(plugin: dict[str, Any]) -> tuple[Any, ...]:
    """The types of the plugins that a known one runs itself: for addresses, or in its own place.

    *Source*: containernetworking/plugins, `ipam.ExecAdd`; flannel-io/cni-plugin, `delegateAdd`; projectcalico/calico,
    cni-plugin.
    """
    own, ipam, delegate = _type_of(plugin), _value_of(plugin, "ipam"), _value_of(plugin, "delegate")
    addresses = _type_of(ipam) if isinstance(ipam, dict) else None
    if own == _FLANNEL:
        instead = _type_of(delegate) if isinstance(delegate, dict) else None
        return (instead or "bridge", addresses or "host-local")
    return (addresses,) if addresses and own in _ASK_IPAM else ()


def _value_of(plugin: dict[str, Any], wanted: str) -> Any:
    """A value by a name in any case. Of several the last in the order of names, in which libcni writes them again.

    *Source*: libcni, ConfListFromBytes and ConfFromBytes; Go, encoding/json.
    """
    found = [value for name, value in sorted(plugin.items()) if fold(name) == wanted and value is not None]
    return found[-1] if found else None
