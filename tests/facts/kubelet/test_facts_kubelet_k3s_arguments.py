"""k3s' own rules for its arguments, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.factory import make_facts
from lab.fake_host import FakeHost
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.kubelet.k3s_arguments import (
    CONFIG,
    configuration_path,
    is_drop_in,
    is_on,
    kubelet_flags,
    merge_options,
    parse_arguments,
)
from probe.facts.model import KubeletFacts
from probe.make_report import make_report

SOCKET = "unix:///run/k3s/containerd/containerd.sock"
MANAGED = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
NOW = {"agent_version": "0", "probed_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:15:00Z"}


def kubelet_of(files: dict[str, str], *argv: str, version: str = "v1.33.1+k3s1", **environment: str) -> KubeletFacts:
    """The kubelet in a k3s server with these files, arguments and variables."""
    host = FakeHost(files=dict(files), commands={"/proc/50/exe --version": f"k3s version {version} (x)\n"})
    exe = "/var/lib/rancher/k3s/data/a/bin/k3s"
    host.add_process(50, "k3s", "server", *argv, name="k3s-server", exe=exe, environment=environment)
    found = gather_kubelet(host).value
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (["max-pods=1"], {"max-pods": ("1",)}),
        (["--max-pods=1"], {"max-pods": ("1",)}),
        (["fail-cgroupv1"], {"fail-cgroupv1": ("true",)}),
        (["max-pods=1", "max-pods=2"], {"max-pods": ("1", "2")}),
        (["feature-gates+=A=false"], {"feature-gates": ("A=false",)}),
        (["--feature-gates-=A=false"], {"feature-gates": ("A=false",)}),
        (["max-pods=1", "max-pods+=2"], {"max-pods": ("1", "2")}),
        (["max-pods=1", "max-pods-=2"], {"max-pods": ("2", "1")}),
        (["max-pods-=2", "max-pods=1"], {"max-pods": ("2", "1")}),
        (["max-pods+-=2", "max-pods=1"], {"max-pods": ("2", "1")}),
        (["feature_gates=B=true", "feature-gates=A=true"], {"feature-gates": ("A=true", "B=true")}),
        ([""], {}),
    ],
)
@pytest.mark.parametrize("managed", [None, MANAGED])
def test_the_suffix_of_a_kubelet_argument_orders_its_values(
    given: list[str], flags: dict[str, tuple[str, ...]], managed: str | None
) -> None:
    """pkg/util/args.go: `+=` appends, `-=` puts in front; the sign is no part of the flag's name."""
    own = {"config-dir": (MANAGED,)} if managed else {}
    assert kubelet_flags(given, SOCKET, managed) == flags | own


@pytest.mark.parametrize(
    ("given", "managed", "flags"),
    [
        (["container-runtime-endpoint=/x"], None, {"container-runtime-endpoint": ("/x",)}),
        (["container-runtime-endpoint+=/x"], None, {"container-runtime-endpoint": (SOCKET, "/x")}),
        (["container-runtime-endpoint-=/x"], None, {"container-runtime-endpoint": ("/x", SOCKET)}),
        (
            ["container-runtime-endpoint-=/x"],
            MANAGED,
            {"container-runtime-endpoint": ("/x",), "config-dir": (MANAGED,)},
        ),
        (["config=/k.yaml", "config-dir=/d", "v=2"], MANAGED, {"v": ("2",), "config-dir": (MANAGED,)}),
        (["config", "/k.yaml", "v=2"], MANAGED, {"v": ("2",), "config-dir": (MANAGED,)}),
        (["config-dir+=/d"], MANAGED, {"config-dir": (MANAGED, "/d")}),
        (["config=/k.yaml"], None, {"config": ("/k.yaml",)}),
        (["fail-cgroupv1", "max-pods=1"], MANAGED, {"fail-cgroupv1": ("true",), "config-dir": (MANAGED,)}),
    ],
)
def test_the_kubelet_arguments_of_k3s_itself(
    given: list[str], managed: str | None, flags: dict[str, tuple[str, ...]]
) -> None:
    """A plain value drops k3s' own; since 1.32 the endpoint is in a file, and what is copied is not passed on."""
    assert kubelet_flags(given, SOCKET, managed) == flags


def test_releases_of_k3s_differ_on_an_argument_without_a_value() -> None:
    """Some drop the one after it; without the managed directory nothing tells which release it is."""
    with pytest.raises(ValueError, match="fail-cgroupv1"):
        kubelet_flags(["fail-cgroupv1", "feature-gates=UserNamespacesSupport=false"], SOCKET, None)


@pytest.mark.parametrize(
    ("words", "environment", "path"),
    [
        ([], {}, CONFIG),
        (["--config", "/a"], {}, "/a"),
        (["--config=/a"], {}, "/a"),
        (["-c", "/a"], {}, "/a"),
        (["-c=/a"], {}, "/a"),
        (["--config=/a", "--config=/b"], {}, "/a"),
        (["-c=/a", "--config=/b"], {}, "/a"),
        (["--config=/a"], {"K3S_CONFIG_FILE": "/b"}, "/b"),
        (["--config=/a"], {"K3S_CONFIG_FILE": ""}, "/a"),
        (["--kubelet-arg", "--config=/k.yaml"], {}, "/k.yaml"),
        (["--kubelet-arg=config=/k.yaml"], {}, CONFIG),
        (["-config=/a"], {}, CONFIG),
        (["--config="], {}, ""),
        (["--config"], {}, ""),
    ],
)
def test_the_configuration_file_of_k3s(words: list[str], environment: dict[str, str], path: str) -> None:
    """pkg/configfilearg/parser.go: the environment, else the first word that looks like the flag, else the default."""
    assert configuration_path(words, environment) == path


@pytest.mark.parametrize(
    ("name", "read"), [("9.YAML", True), ("9.yml", True), ("9.Yml", True), ("9.yaml.bak", False), ("yaml", False)]
)
def test_drop_in_files_of_k3s(name: str, read: bool) -> None:
    """In any case of letters."""
    assert is_drop_in(name) is read


def test_later_options_replace_and_plus_adds() -> None:
    """docs.k3s.io, "Value Merge Behavior"."""
    documents = [{"a": ["1"], "b": 1, "c": None}, {"a+": "2", "b": True, "d+": [None, "x"]}]
    assert merge_options(documents) == {"a": ["1", "2"], "b": ["true"], "c": [], "d": ["", "x"]}


@pytest.mark.parametrize(
    ("options", "words", "environment", "flags"),
    [
        ({}, ["--kubelet-arg", "--max-pods=1"], {}, {"kubelet-arg": ("--max-pods=1",)}),
        ({}, ["-kubelet-arg=max-pods=1"], {}, {"kubelet-arg": ("max-pods=1",)}),
        ({"kubelet-arg": ["a=1"]}, ["--kubelet-arg=a=2"], {}, {"kubelet-arg": ("a=1", "a=2")}),
        ({}, ["--docker", "--kubelet-arg=a=1"], {}, {"docker": ("true",), "kubelet-arg": ("a=1",)}),
        ({}, ["--selinux", "--kubelet-arg=a=1"], {}, {"selinux": ("true",), "kubelet-arg": ("a=1",)}),
        ({}, ["--node-name", "x", "--kubelet-arg=a=1"], {}, {"node-name": ("x",), "kubelet-arg": ("a=1",)}),
        ({"docker": ["true"]}, ["--docker=false"], {}, {"docker": ("true", "false")}),
        ({}, ["-d", "/data"], {}, {"data-dir": ("/data",)}),
        ({"d": ["/data"]}, [], {}, {"data-dir": ("/data",)}),
        ({}, [], {"K3S_DATA_DIR": "/env"}, {"data-dir": ("/env",)}),
        ({"data-dir": ["/data"]}, [], {"K3S_DATA_DIR": "/env"}, {"data-dir": ("/data",)}),
        ({"data-dir": []}, [], {"K3S_DATA_DIR": "/env"}, {"data-dir": ("/env",)}),
        ({}, ["--", "--docker"], {}, {}),
    ],
)
def test_the_flags_of_k3s(
    options: dict[str, list[str]], words: list[str], environment: dict[str, str], flags: dict[str, tuple[str, ...]]
) -> None:
    """Configuration files stand before the command line, and the environment counts where neither says anything."""
    assert parse_arguments(options, words, environment) == flags


@pytest.mark.parametrize(
    ("values", "on"), [((), False), (("true",), True), (("1",), True), (("true", "false"), False), (("no",), False)]
)
def test_a_switch_of_k3s(values: tuple[str, ...], on: bool) -> None:
    """The last value counts, as Go reads it."""
    assert is_on({"docker": values} if values else {}, "docker") is on


@pytest.mark.parametrize("version", ["v1.33.1+k3s1", "v1.35.0+k3s1"])
@pytest.mark.parametrize("sign", ["", "+", "-"])
@pytest.mark.parametrize("dashes", ["", "--"])
def test_a_gate_that_k3s_switches_off_is_off(dashes: str, sign: str, version: str) -> None:
    """However `kubelet-arg` spells it, the verdict is not ready."""
    config = {CONFIG: f"kubelet-arg: ['{dashes}feature-gates{sign}=UserNamespacesSupport=false']\n"}
    kubelet = kubelet_of(config, "--debug", version=version)
    assert kubelet.gate_configured.value is False
    assert make_report(make_facts(kubelet=kubelet), duration_seconds=0.1, **NOW).verdict == "not-ready"


def test_a_gate_that_k3s_switches_on_is_on() -> None:
    """Before 1.33 it is off by default."""
    config = {CONFIG: "kubelet-arg: ['feature-gates+=UserNamespacesSupport=true']\n"}
    assert kubelet_of(config, "--debug", version="v1.31.1+k3s1").gate.value is True


def test_k3s_asks_the_environment_first_and_takes_the_first_flag() -> None:
    files = {"/a": "kubelet-arg: ['max-pods=1']\n", "/b": "kubelet-arg: ['max-pods=2']\n"}
    assert kubelet_of(files, "--config=/a", K3S_CONFIG_FILE="/b").max_pods.value == 2
    assert kubelet_of(files, "--config=/a", "--config=/b").max_pods.value == 1


@given(st.lists(st.text(alphabet="-+=_ac/ ") | st.text()), st.none() | st.just(MANAGED))
def test_any_words_give_flags_or_a_value_error(words: list[str], managed: str | None) -> None:
    """Whatever stands there; no word is lost to a sign."""
    configuration_path(words, {})
    flags = parse_arguments({"kubelet-arg": words}, words, {})
    try:
        found = kubelet_flags(flags.get("kubelet-arg", ()), SOCKET, managed)
    except ValueError:
        return
    assert all(isinstance(value, str) for values in found.values() for value in values)
