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


def gather_toolkit(host: Host, programs: Reading[tuple[str, ...]], by_runtime: bool) -> Toolkit:
    """Version that one of *programs* prints, and with *by_runtime* the mode in its configuration."""
    known = sorted(path for path in programs.value or () if os.path.basename(path) in _PROGRAMS)
    version: Reading[str] = Reading.without("NVIDIA container toolkit", "absent", "no program of it was found")
    if known:
        version = read_stdout(host.run(known[0], "--version")).parse(parse_version)
    elif programs.value is None:
        version = Reading(programs.source, None, programs.problem, programs.kind)
    return Toolkit(version=version, mode=_mode(host) if by_runtime else _NOT_NEEDED)


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


def _mode(host: Host) -> Reading[str]:
    text = host.read_text(CONFIGURATION, _LIMIT)
    return Reading(CONFIGURATION, "auto") if text.kind == "absent" else text.parse(parse_mode)
