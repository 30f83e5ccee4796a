"""What containerd and CRI-O tell of their configuration."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cri_recordings import FOLDER, recorded_answer
from probe.facts.around import Limit
from probe.facts.runtime.config import parse_containerd_dump, parse_containerd_info
from probe.facts.runtime.crio import parse_added
from probe.facts.runtime.crio_config import parse_crio_dump, parse_crio_info
from probe.facts.runtime.model import ConfiguredHandler, CrioAdded, RuntimeConfig

RUNC = "io.containerd.runc.v2"
PAUSE = "lab.local/pause:1"


def _runc(binary: str) -> ConfiguredHandler:
    return ConfiguredHandler(binary, RUNC)


OLD = {"crun": _runc("/usr/bin/crun"), "newrunc": _runc("/usr/sbin/runc")}
NEW = {
    "crun": _runc("/usr/bin/crun"),
    "oldcrun": _runc("/opt/bookworm/usr/bin/crun"),
    "oldrunc": _runc("/opt/trixie/usr/sbin/runc"),
    "runc": _runc("/usr/sbin/runc"),
}
CONTAINERD = {
    "1.6.20": (OLD | {"runc": _runc("/opt/bookworm/usr/sbin/runc")}, "/var/lib/containerd-1.6.20", "overlayfs"),
    "1.7.24": (OLD | {"runc": _runc("/opt/trixie/usr/sbin/runc")}, "/var/lib/containerd-1.7.24", "overlayfs"),
    "2.1.9": (NEW, "/var/lib/containerd", ""),
    "2.4.0-beta": (NEW, "/var/lib/containerd-2.4.0-beta", ""),
}


def _info(name: str) -> str:
    config = recorded_answer(name, "/run/containerd/containerd.sock").config.value
    assert config is not None
    return config


@pytest.mark.parametrize("version", CONTAINERD)
def test_recorded_containerd_info(version: str) -> None:
    """The configuration in force of each recorded containerd; from 2.0 on without snapshotter and pause image."""
    handlers, root, snapshotter = CONTAINERD[version]
    assert parse_containerd_info(_info(f"containerd-{version}")) == RuntimeConfig(
        default_handler="runc",
        handlers=handlers,
        root=root,
        state="/run/containerd",
        snapshotter=snapshotter,
        pause_image=PAUSE if version.startswith("1.") else "",
    )


@pytest.mark.parametrize(
    ("version", "slow_chown", "imports"),
    [
        ("1.6.20", None, ("/etc/containerd/config-1.6.20.toml",)),
        ("1.7.24", None, ("/etc/containerd/config-1.7.24.toml",)),
        ("2.1.9", False, ()),
        ("2.4.0-beta", False, ("/etc/containerd/conf.d/*.toml",)),
    ],
)
def test_recorded_containerd_dump(version: str, slow_chown: bool | None, imports: tuple[str, ...]) -> None:
    """What `config dump` of each recorded containerd prints, in versions 2, 3 and 4 of the configuration."""
    handlers, root, _ = CONTAINERD[version]
    assert parse_containerd_dump((FOLDER / f"containerd-{version}/config-dump.toml").read_text()) == RuntimeConfig(
        default_handler="runc",
        handlers=handlers,
        root=root,
        state="/run/containerd",
        snapshotter="overlayfs",
        slow_chown=slow_chown,
        extra_path="/opt/containerd/bin",
        imports=imports,
        pause_image=PAUSE,
    )


CRIO = {
    name: ConfiguredHandler(one.binary, "oci", monitor="/usr/bin/conmon", state=f"/run/{name}")
    for name, one in NEW.items()
}
ADDED = CrioAdded(
    hooks_dirs=("/usr/share/containers/oci/hooks.d",),
    pinns="/opt/crio/bin/pinns",
    pids_limit=-1,
    directories=("/var/run", "/var/run/crio/exits", "/var/run/crio"),
)


def test_recorded_crio() -> None:
    """CRI-O tells the same of its handlers and its pause image in Status and by its command."""
    expected = RuntimeConfig(default_handler="runc", handlers=CRIO, pause_image=PAUSE, crio=ADDED)
    assert parse_crio_info(_info("cri-o-1.37.0-dev")) == expected
    printed = parse_crio_dump((FOLDER / "cri-o-1.37.0-dev/config.toml").read_text())
    root, state = "/var/lib/containers/storage", "/run/containers/storage"
    told = msgspec.structs.replace(ADDED, network_dir="/etc/cni/net.d")
    assert printed == msgspec.structs.replace(expected, root=root, state=state, crio=told)


def test_what_crio_limits() -> None:
    """A limit of processes is one more that each container gets; without one nothing is added."""
    assert parse_added(CrioAdded(pids_limit=3)).limits == (("pids.limit", Limit(3, 3)),)
    assert parse_added(CrioAdded(pids_limit=-1)).limits == ()


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ({"runtimeType": RUNC}, ConfiguredHandler("runc", RUNC)),
        ({"runtimeType": RUNC, "options": None}, ConfiguredHandler("runc", RUNC)),
        ({"runtimeType": RUNC, "options": {"BinaryName": ""}}, ConfiguredHandler("runc", RUNC)),
        ({"runtimeType": RUNC, "snapshotter": "native"}, ConfiguredHandler("runc", RUNC, "native")),
        (
            {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/opt/kata.toml"}},
            ConfiguredHandler("", "io.containerd.kata.v2"),
        ),
        (
            {"runtimeType": "io.containerd.runsc.v1", "options": {"BinaryName": "/usr/local/bin/runsc"}},
            ConfiguredHandler("", "io.containerd.runsc.v1"),
        ),
    ],
)
def test_containerd_handler(runtime: object, expected: ConfiguredHandler) -> None:
    """Without BinaryName it is runc from the PATH; another shim runs nothing that could be asked like runc."""
    info = json.dumps({"containerd": {"defaultRuntimeName": "x", "runtimes": {"x": runtime}}})
    assert parse_containerd_info(info).handlers == {"x": expected}


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ({"RuntimePath": "", "RuntimeType": ""}, ConfiguredHandler("x", "oci")),
        (
            {"RuntimePath": "/usr/libexec/crio/crun", "RuntimeType": "oci"},
            ConfiguredHandler("/usr/libexec/crio/crun", "oci"),
        ),
        ({"RuntimePath": "/usr/bin/crun", "RuntimeType": "pod"}, ConfiguredHandler("/usr/bin/crun", "pod")),
        ({"RuntimePath": "/bin/x", "RuntimeRoot": "/run/x"}, ConfiguredHandler("/bin/x", "oci", state="/run/x")),
        ({"RuntimePath": "/usr/bin/containerd-shim-kata-v2", "RuntimeType": "vm"}, ConfiguredHandler("", "vm")),
    ],
)
def test_crio_handler(runtime: object, expected: ConfiguredHandler) -> None:
    """Without a path it is a binary of the handler's own name; a VM runtime is none."""
    info = json.dumps({"crio": {"DefaultRuntime": "x", "Runtimes": {"x": runtime}}})
    assert parse_crio_info(info).handlers == {"x": expected}


DEFAULTS = """
# The CRI-O configuration file specifies all of the available configuration options.
[crio]
# Path to the "root directory". root = "/nowhere" would be another.
# root = "/var/lib/containers/storage"

[crio.runtime]
# List of default sysctls.
# default_sysctls = [
# ]

# default_ulimits = [
# 	"nofile=1024:2048",
# ]

# default_runtime = "crun"

# The "crio.runtime.runtimes" table defines a list of OCI compatible runtimes.
# [crio.runtime.runtimes.runtime-handler]
# runtime_path = "/path/to/the/executable"

# [crio.runtime.runtimes.crun]
# runtime_path = "/usr/libexec/crio/crun"
# runtime_type = ""
# monitor_path = "/usr/libexec/crio/conmon"
# allowed_annotations = [
# 	"io.containers.trace-syscall",
# ]

# privileged_without_host_devices = false
"""


def test_defaults_in_comments() -> None:
    """`crio config` prints what is the default as a comment; what only explains the settings is none."""
    config = parse_crio_dump(DEFAULTS)
    assert (config.default_handler, config.root) == ("crun", "/var/lib/containers/storage")
    crun = ConfiguredHandler("/usr/libexec/crio/crun", "oci", monitor="/usr/libexec/crio/conmon")
    assert config.handlers == {"crun": crun}
    assert config.crio == CrioAdded(ulimits=("nofile=1024:2048",))


def test_a_setting_beats_a_comment() -> None:
    """It would be printed once only; printed twice, nothing is guessed."""
    text = '[crio]\n[crio.runtime]\n# default_runtime = "crun"\ndefault_runtime = "runc"\n'
    with pytest.raises(ValueError, match="overwrite"):
        parse_crio_dump(text)


def test_slow_chown_and_other_places() -> None:
    """The settings of containerd's plugins that matter are found."""
    dump = """
        version = 3
        root = "/data"
        [plugins]
        [plugins."io.containerd.snapshotter.v1.overlayfs"]
        slow_chown = true
        [plugins."io.containerd.internal.v1.opt"]
        path = "/var/lib/rancher/opt"
        """
    config = parse_containerd_dump(dump)
    assert (config.root, config.slow_chown, config.extra_path) == ("/data", True, "/var/lib/rancher/opt/bin")


PARSERS = (parse_containerd_info, parse_containerd_dump, parse_crio_info, parse_crio_dump)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text", ["", "null", "{}", "[]", "plugins = 3", '{"containerd": 3}', "[" * 100_000, "a=" + "[" * 100_000]
)
def test_no_configuration(parse: Callable[[str], RuntimeConfig], text: str) -> None:
    """What is no configuration of that daemon is a problem, not an empty configuration."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [f"{'.'.join('a' * 30_000)} = 1", f"[{'.'.join('a' * 202)}]", "a.b = 1\n" * 20_001, f"a = '{'x' * (256 << 10)}'"],
    ids=["deep key", "deep table", "many keys", "long"],
)
@pytest.mark.parametrize("parse", [parse_containerd_dump, parse_crio_dump])
def test_what_would_take_gigabytes_is_not_parsed(parse: Callable[[str], RuntimeConfig], text: str) -> None:
    """Each part of a key costs as much as all before it."""
    with pytest.raises(ValueError, match=r"nested too deeply|larger than any configuration"):
        parse(text)


@given(st.text())
def test_any_text(text: str) -> None:
    """No text raises anything but ValueError."""
    for parse in PARSERS:
        with contextlib.suppress(ValueError):
            parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["containerd", "crio", "runtimes", "Runtimes", "runc", "options", "BinaryName", "DefaultRuntime"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_shape(document: object) -> None:
    """No document of another shape raises anything but ValueError."""
    for parse in (parse_containerd_info, parse_crio_info):
        with contextlib.suppress(ValueError):
            parse(json.dumps(document))
