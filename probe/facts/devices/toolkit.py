"""NVIDIA's container toolkit: version, and mode of its runtime."""

from __future__ import annotations

import os
import re

from msgspec import Struct, field

from probe.facts.devices.model import Toolkit
from probe.facts.model import Handler, RuntimeFacts
from probe.facts.runtime.config import decode_toml
from probe.facts.runtime.oci import read_stdout
from probe.host.host import Host
from probe.reading import Reading

CONFIGURATION = "/etc/nvidia-container-runtime/config.toml"
_OF_OPERATOR = ".config/nvidia-container-runtime/config.toml"
"""The same beside the programs that NVIDIA's GPU operator installs, whose wrapper sets XDG_CONFIG_HOME."""
RUNTIME = "nvidia-container-runtime"
"""Beginning of the names of NVIDIA's OCI runtime, which hands containers on to runc or crun."""

_LIMIT = 1 << 16
_PROGRAMS = ("nvidia-ctk", "nvidia-cdi-hook")
"""Programs of the toolkit that print its version."""
_VERSION = r"version:?\s+v?(\d{1,9}\.\d{1,9}\.\d{1,9}[\w.+~-]{0,40})"
_MODE = r"[a-z-]{1,20}"
_NOT_NEEDED: Reading[str] = Reading.without(RUNTIME, "not-tried", "nothing on this node needs it")
NO_TOOLKIT = Toolkit(version=_NOT_NEEDED, mode=_NOT_NEEDED)


class _Runtime(Struct):
    mode: str = "auto"


class _Configuration(Struct):
    runtime: _Runtime = field(default_factory=_Runtime, name=RUNTIME)


def is_nvidia_runtime(handler: Handler) -> bool:
    """True when the OCI runtime of *handler* is NVIDIA's."""
    return os.path.basename(handler.binary.value or "").startswith(RUNTIME)


def has_nvidia_runtime(runtime: Reading[RuntimeFacts]) -> bool:
    """True when a handler of *runtime* runs NVIDIA's OCI runtime."""
    return any(map(is_nvidia_runtime, (runtime.value.handlers.value if runtime.value else None) or ()))


def mode_by_name(binary: str) -> str:
    """Mode in the name of NVIDIA's OCI runtime (`nvidia-container-runtime.legacy`); empty without one."""
    return next((mode for mode in ("cdi", "legacy") if os.path.basename(binary) == f"{RUNTIME}.{mode}"), "")


def gather_toolkit(host: Host, programs: Reading[tuple[str, ...]], runtime: Reading[RuntimeFacts] | None) -> Toolkit:
    """Version that one of *programs* prints, and the mode in the configuration of the OCI runtime of *runtime*."""
    known = sorted(path for path in programs.value or () if os.path.basename(path) in _PROGRAMS)
    version: Reading[str] = Reading.without("NVIDIA container toolkit", "absent", "no program of it was found")
    if known:
        version = read_stdout(host.run(known[0], "--version")).parse(parse_version)
    elif programs.value is None:
        version = Reading(programs.source, None, programs.problem, programs.kind)
    return Toolkit(version=version, mode=_mode(host, runtime) if runtime else _NOT_NEEDED)


def parse_version(text: str) -> str:
    """Version in the output of `nvidia-ctk --version`. *Errors*: ValueError."""
    found = re.search(_VERSION, text[:1000])
    if not found:
        raise ValueError("prints no version")
    return found[1]


def parse_mode(text: str) -> str:
    """`mode` of the runtime, `auto` where none is set. *Errors*: ValueError."""
    mode = decode_toml(text, _Configuration).runtime.mode
    if not re.fullmatch(_MODE, mode):
        raise ValueError("names no mode")
    return mode


def _mode(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[str]:
    handlers = (runtime.value.handlers.value if runtime.value else None) or ()
    folders = dict.fromkeys(os.path.dirname(one.binary.value or "") for one in handlers if is_nvidia_runtime(one))
    for path in (*(f"{folder}/{_OF_OPERATOR}" for folder in folders if folder.startswith("/")), CONFIGURATION):
        text = host.read_text(path, _LIMIT)
        if text.kind != "absent":
            return text.parse(parse_mode)
    return Reading(CONFIGURATION, "auto")
