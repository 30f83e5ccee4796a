"""Configuration of containerd, as it prints it itself; `crio_config` has that of CRI-O.

Two sources: JSON in the verbose info of CRI's Status, which is in force, and TOML printed by a command that reads the
files again. The files themselves are never parsed: each daemon has its own rules for imports.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from probe.facts.runtime.model import ConfiguredHandler, RuntimeConfig
from probe.host.cri import CriAnswer
from probe.reading import Reading, problem_of

T = TypeVar("T")

# tomllib needs memory quadratic in the depth of a key: 60 KB of `a.a.a…` take 5 GB. Real dumps have up to 39 KB with
# 500 dots, at most 9 of them in one line.
_TOML_LIMIT = 256 << 10  # characters
_MAX_DOTS = 20_000
_MAX_DOTS_OF_LINE = 200

_CRI_PLUGINS = frozenset(
    ("cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images")
)
_CONTAINERD_SHIMS = ("io.containerd.runc.v2", "io.containerd.runc.v1", "io.containerd.runtime.v1.linux")


class _Options(Struct):
    binary: str = field(default="", name="BinaryName")


class _InfoRuntime(Struct, rename="camel"):
    runtime_type: str = ""
    snapshotter: str = ""
    options: _Options | None = None


class _InfoContainerd(Struct, rename="camel"):
    default_runtime_name: str = ""
    snapshotter: str = ""  # moved to the plugin for images in 2.0
    runtimes: dict[str, _InfoRuntime] | None = None


class _Info(Struct, rename="camel"):
    containerd: _InfoContainerd
    sandbox_image: str = ""  # moved to the plugin for images in 2.0
    containerd_root_dir: str = ""
    state_dir: str = ""


class _DumpRuntime(Struct):
    runtime_type: str = ""
    snapshotter: str = ""
    options: _Options | None = None


class _DumpContainerd(Struct):
    default_runtime_name: str = ""
    snapshotter: str = ""
    runtimes: dict[str, _DumpRuntime] = {}


class _DumpCri(Struct):
    containerd: _DumpContainerd | None = None
    sandbox_image: str = ""


class _DumpPinned(Struct):
    sandbox: str = ""


class _DumpImages(Struct):
    snapshotter: str = ""
    pinned_images: _DumpPinned = field(default_factory=_DumpPinned)


class _DumpOverlayfs(Struct):
    slow_chown: bool | None = None
    mount_options: tuple[str, ...] | None = None


class _DumpOpt(Struct):
    path: str = ""


class _DumpValidator(Struct):
    enable: bool = False
    required_plugins: tuple[str, ...] | None = None


class _DumpNri(Struct):
    disable: bool = False
    default_validator: _DumpValidator = field(default_factory=_DumpValidator)


class _DumpShims(Struct):
    env: tuple[str, ...] | None = None


class _DumpPlugins(Struct):
    shims: _DumpShims = field(default_factory=_DumpShims, name="io.containerd.shim.v1.manager")
    nri: _DumpNri = field(default_factory=_DumpNri, name="io.containerd.nri.v1.nri")
    old_cri: _DumpCri = field(default_factory=_DumpCri, name="io.containerd.grpc.v1.cri")
    cri: _DumpCri = field(default_factory=_DumpCri, name="io.containerd.cri.v1.runtime")
    images: _DumpImages = field(default_factory=_DumpImages, name="io.containerd.cri.v1.images")
    overlayfs: _DumpOverlayfs = field(default_factory=_DumpOverlayfs, name="io.containerd.snapshotter.v1.overlayfs")
    opt: _DumpOpt = field(default_factory=_DumpOpt, name="io.containerd.internal.v1.opt")


class _DumpProxy(Struct):
    address: str = ""
    capabilities: tuple[str, ...] | None = None


class _Dump(Struct):
    plugins: _DumpPlugins
    proxy_plugins: dict[str, _DumpProxy] = {}
    root: str = ""
    state: str = ""
    imports: tuple[str, ...] | None = None
    disabled_plugins: tuple[str, ...] | None = None


def parse_containerd_info(text: str) -> RuntimeConfig:
    """`config` of containerd's verbose Status: 1.x and 2.x."""
    info = decode_json(text, _Info)
    runtimes = info.containerd.runtimes or {}
    return RuntimeConfig(
        default_handler=info.containerd.default_runtime_name,
        handlers={name: _containerd_handler(one) for name, one in runtimes.items()},
        root=info.containerd_root_dir,
        state=os.path.dirname(info.state_dir),  # stateDir of the CRI plugin is below that of the daemon
        snapshotter=info.containerd.snapshotter,
        pause_image=info.sandbox_image,
    )


def parse_containerd_dump(text: str) -> RuntimeConfig:
    """`containerd config dump`, versions 2 to 4 of the configuration."""
    dump = decode_toml(text, _Dump)
    plugins = dump.plugins
    containerd = plugins.cri.containerd or plugins.old_cri.containerd or _DumpContainerd()
    return RuntimeConfig(
        default_handler=containerd.default_runtime_name,
        handlers={name: _containerd_handler(one) for name, one in containerd.runtimes.items()},
        root=dump.root,
        state=dump.state,
        snapshotter=plugins.images.snapshotter or containerd.snapshotter,
        slow_chown=plugins.overlayfs.slow_chown,
        overlay_options=plugins.overlayfs.mount_options or (),
        extra_path=os.path.join(plugins.opt.path, "bin") if plugins.opt.path else "",
        imports=dump.imports or (),
        without_cri=not _CRI_PLUGINS.isdisjoint(dump.disabled_plugins or ()),
        pause_image=plugins.images.pinned_images.sandbox or plugins.old_cri.sandbox_image,
        proxies={name: one.capabilities or () for name, one in dump.proxy_plugins.items()},
        required_plugins=_required(plugins.nri),
        shim_environment=plugins.shims.env or (),
        addresses={name: one.address.removeprefix("unix://") for name, one in dump.proxy_plugins.items()},
    )


def _required(nri: _DumpNri) -> tuple[str, ...]:
    needed = nri.default_validator.enable and not nri.disable
    return (nri.default_validator.required_plugins or ()) if needed else ()


def _containerd_handler(configured: _InfoRuntime | _DumpRuntime) -> ConfiguredHandler:
    options = configured.options or _Options()
    binary = (options.binary or "runc") if configured.runtime_type in _CONTAINERD_SHIMS else ""
    return ConfiguredHandler(binary, configured.runtime_type, configured.snapshotter)


def parse_status(answer: CriAnswer, containerd: Callable[[str], T], crio: Callable[[str], T]) -> Reading[T]:
    """`config` of the verbose Status, by the parser of the runtime that answered; a problem for any other runtime."""
    if answer.name.value == "containerd":
        return answer.config.parse(containerd)
    if answer.name.value == "cri-o":
        return answer.config.parse(crio)
    if answer.name.value is None:
        return problem_of(answer.name)
    return Reading.without(answer.name.source, "not-readable", f"how {answer.name.value[:60]} tells its configuration")


def decode_json(text: str, wanted: type[T]) -> T:
    """*text* as a value of that type. *Errors*: ValueError."""
    try:
        return msgspec.json.decode(text, type=wanted)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def decode_toml(text: str, wanted: type[T]) -> T:
    """The same for TOML, of a size and depth that configurations have."""
    if len(text) > _TOML_LIMIT or text.count(".") > _MAX_DOTS:
        raise ValueError("is larger than any configuration")
    if any(line.count(".") > _MAX_DOTS_OF_LINE for line in text.splitlines()):
        raise ValueError("nested too deeply")
    try:
        content: dict[str, Any] = tomllib.loads(text)
        return msgspec.convert(content, wanted)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def find_handler(config: RuntimeConfig, handler: str) -> ConfiguredHandler:
    """The configuration of *handler*, the default one for an empty name. *Errors*: ValueError when it has none."""
    name = handler or config.default_handler
    if not name:
        raise ValueError("the default handler is not told")
    if name not in config.handlers:
        raise ValueError(f"no handler {name[:60]!r} is configured")
    return config.handlers[name]
