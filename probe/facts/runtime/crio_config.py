"""Configuration of CRI-O: JSON in the verbose info of CRI's Status, since 1.34, and TOML printed by `crio config`."""

from __future__ import annotations

import re

from msgspec import Struct, field

from probe.facts.runtime.config import decode_json, decode_toml
from probe.facts.runtime.model import ConfiguredHandler, CrioAdded, RuntimeConfig

_OCI_TYPES = ("", "oci", "pod")
_SYSTEMD = "systemd"

_COMMENT = "(?m)^# ?"
_COMMENTED = (
    r"(?m)^# ((?:root|runroot|default_runtime|default_sysctls|default_ulimits|hooks_dir|pinns_path|pause_image"
    r"|cgroup_manager|pids_limit|namespaces_dir|container_exits_dir|container_attach_socket_dir)"
    r" = (?:\[\n(?:#[^\n]*,\n)*# \]|[^\n\[]*))$"
)
"""A setting that is the default, on one line or as a list with one line per entry."""
_COMMENTED_HANDLER = r"(?m)^# \[crio\.runtime\.runtimes\.(?!runtime-handler\])[\w.\"-]{1,200}\]\n(?:#[^\n]*\n){1,60}"
"""The table of a handler that is a default; `runtime-handler` stands for any in the explanation above."""


class _Runtime(Struct, rename="pascal"):
    runtime_path: str = ""
    runtime_type: str = ""
    runtime_root: str = ""
    monitor_path: str = ""


class _InfoTable(Struct, rename="pascal"):
    runtimes: dict[str, _Runtime]
    default_runtime: str = ""
    default_sysctls: tuple[str, ...] | None = None
    default_ulimits: tuple[str, ...] | None = None
    additional_devices: tuple[str, ...] | None = None
    hooks_dir: tuple[str, ...] | None = None
    pinns_path: str = ""
    cgroup_manager_name: str = ""
    pids_limit: int = 0
    namespaces_dir: str = ""
    container_exits_dir: str = ""
    container_attach_socket_dir: str = ""


class _Info(Struct):
    crio: _InfoTable
    sandbox_image: str = field(default="", name="sandboxImage")


class _DumpRuntime(Struct):
    runtime_path: str = ""
    runtime_type: str = ""
    runtime_root: str = ""
    monitor_path: str = ""


class _DumpTable(Struct):
    default_runtime: str = ""
    runtimes: dict[str, _DumpRuntime] = {}
    default_sysctls: tuple[str, ...] = ()
    default_ulimits: tuple[str, ...] = ()
    additional_devices: tuple[str, ...] = ()
    hooks_dir: tuple[str, ...] | None = None
    pinns_path: str = ""
    cgroup_manager: str = ""
    pids_limit: int = 0
    namespaces_dir: str = ""
    container_exits_dir: str = ""
    container_attach_socket_dir: str = ""


class _DumpImage(Struct):
    pause_image: str = ""


class _DumpNetwork(Struct):
    network_dir: str = ""


class _DumpCrio(Struct):
    runtime: _DumpTable
    network: _DumpNetwork = field(default_factory=_DumpNetwork)
    image: _DumpImage = field(default_factory=_DumpImage)
    root: str = ""
    runroot: str = ""


class _Dump(Struct):
    crio: _DumpCrio


def parse_crio_info(text: str) -> RuntimeConfig:
    """`config` of CRI-O's verbose Status. *Errors*: ValueError before 1.34, which has the pause image alone."""
    info = decode_json(text, _Info)
    table = info.crio
    return RuntimeConfig(
        default_handler=table.default_runtime,
        handlers={name: _handler(name, one) for name, one in table.runtimes.items()},
        pause_image=info.sandbox_image,
        crio=CrioAdded(
            sysctls=table.default_sysctls or (),
            ulimits=table.default_ulimits or (),
            devices=table.additional_devices or (),
            hooks_dirs=table.hooks_dir,
            pinns=table.pinns_path,
            systemd_cgroup=table.cgroup_manager_name == _SYSTEMD,
            pids_limit=table.pids_limit,
            directories=_directories(table),
        ),
    )


def parse_crio_dump(text: str) -> RuntimeConfig:
    """Output of `crio config`, which prints defaults as comments, since 1.24 or so."""
    crio = decode_toml(with_defaults(text), _Dump).crio
    table = crio.runtime
    return RuntimeConfig(
        default_handler=table.default_runtime,
        handlers={name: _handler(name, one) for name, one in table.runtimes.items()},
        root=crio.root,
        state=crio.runroot,
        pause_image=crio.image.pause_image,
        crio=CrioAdded(
            sysctls=table.default_sysctls,
            ulimits=table.default_ulimits,
            devices=table.additional_devices,
            hooks_dirs=table.hooks_dir,
            pinns=table.pinns_path,
            network_dir=crio.network.network_dir,
            systemd_cgroup=table.cgroup_manager == _SYSTEMD,
            pids_limit=table.pids_limit,
            directories=_directories(table),
        ),
    )


def _directories(table: _InfoTable | _DumpTable) -> tuple[str, ...]:
    named = (table.namespaces_dir, table.container_exits_dir, table.container_attach_socket_dir)
    return tuple(dict.fromkeys(path for path in named if path.startswith("/")))


def with_defaults(text: str) -> str:
    """*text* of `crio config` with the defaults that are needed no longer comments."""
    text = re.sub(_COMMENTED_HANDLER, lambda found: re.sub(_COMMENT, "", found[0]), text)
    return re.sub(_COMMENTED, lambda found: re.sub(_COMMENT, "", found[0]), text)


def _handler(name: str, configured: _Runtime | _DumpRuntime) -> ConfiguredHandler:
    binary = (configured.runtime_path or name) if configured.runtime_type in _OCI_TYPES else ""
    kind, state = configured.runtime_type or "oci", configured.runtime_root if binary else ""
    return ConfiguredHandler(binary, kind, monitor=configured.monitor_path, state=state)
