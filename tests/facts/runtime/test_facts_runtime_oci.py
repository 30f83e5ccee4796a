"""What OCI runtimes print about themselves."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.runtime.oci import (
    OciFeatures,
    OciRuntimes,
    OciVersion,
    lacks_features_command,
    parse_described_version,
    parse_features,
    parse_runtime_version,
    parse_version_number,
)
from probe.host.program import Output
from probe.reading import Reading

RECORDED = Path(__file__).parents[2] / "data/oci"


@pytest.mark.parametrize(
    ("recording", "name", "version"),
    [
        ("runc-1.1.5", "runc", "1.1.5+ds1"),
        ("runc-1.1.15", "runc", "1.1.15+ds1"),
        ("runc-1.3.6", "runc", "1.3.6+ds1"),
        ("crun-1.8.1", "crun", "1.8.1"),
        ("crun-1.21", "crun", "1.21"),
        ("crun-1.28", "crun", "1.28"),
    ],
)
def test_recorded_version(recording: str, name: str, version: str) -> None:
    """The versions of Debian's runc and crun are read as they spell them."""
    assert parse_runtime_version((RECORDED / f"{recording}.version.txt").read_text()) == OciVersion(name, version)


@pytest.mark.parametrize("recording", ["runc-1.1.5", "runc-1.1.15", "runc-1.3.6", "crun-1.21", "crun-1.28"])
def test_features_name_the_same_version(recording: str) -> None:
    """What `features` says of the version is what `--version` says."""
    described = parse_described_version((RECORDED / f"{recording}.features.json").read_text())
    assert described == parse_runtime_version((RECORDED / f"{recording}.version.txt").read_text())


def test_a_fork_is_asked_for_its_own_version() -> None:
    """Its features name it as the runtime that it came from."""
    commands: dict[str, Output | str | Reading[Output]] = {
        "/sysbox-runc features": _features("runc-1.3.6"),
        "/sysbox-runc --version": SYSBOX,
    }
    assert OciRuntimes(FakeHost(commands=commands), ()).ask("/sysbox-runc").version.value == OciVersion(
        "sysbox-runc", "0.6.5"
    )


def test_a_fork_under_the_name_of_runc_is_no_runc() -> None:
    """Its annotation has a version of its own, below 1.1, in which runc got `features`: `--version` decides."""
    features = json.loads(_features("runc-1.3.6")) | {"annotations": {"org.opencontainers.runc.version": "0.6.7"}}
    commands: dict[str, Output | str | Reading[Output]] = {
        "/usr/bin/runc features": json.dumps(features),
        "/usr/bin/runc --version": SYSBOX,
    }
    found = OciRuntimes(FakeHost(commands=commands), ()).ask("/usr/bin/runc").version
    assert found == Reading("/usr/bin/runc --version", OciVersion("sysbox-runc", "0.6.5"))


@pytest.mark.parametrize(
    ("annotation", "version"),
    [
        ("1.3.4\n", "1.3.4"),
        ("1.3.6\n", "1.3.6"),
        (" 1.1.0-rc.1 ", "1.1.0-rc.1"),
        ("unknown", "unknown"),
        *((text, "") for text in ("0.6.7", "0.6.7\n", "v1.0.3", "1.0", "", "\n", "1.3.6\nx", "1 2")),
    ],
)
def test_the_annotation_of_runc(annotation: str, version: str) -> None:
    """Space around it is no part of the version."""
    document = json.dumps({"annotations": {"org.opencontainers.runc.version": annotation}})
    if version:
        assert parse_described_version(document) == OciVersion("runc", version)
    else:
        with pytest.raises(ValueError, match="version"):
            parse_described_version(document)


@pytest.mark.parametrize(
    "annotations",
    [None, 1, [], {}, {"run.oci.crun.version": None}, {"run.oci.crun.version": ""}, {"run.oci.crun.version": "a b"}],
)
def test_features_without_a_version_lead_to_the_other_command(annotations: object) -> None:
    """Whatever stands there instead."""
    features = json.loads((RECORDED / "crun-1.28.features.json").read_text()) | {"annotations": annotations}
    commands: dict[str, Output | str | Reading[Output]] = {
        "/crun features": json.dumps(features),
        "/crun --version": "crun version 1.28\n",
    }
    answers = OciRuntimes(FakeHost(commands=commands), ()).ask("/crun")
    assert answers.version == Reading("/crun --version", OciVersion("crun", "1.28"))
    assert answers.features.value == OciFeatures(idmap=True, user_namespace=True)


NVIDIA = """NVIDIA Container Runtime version 1.17.4
commit: 9b69590c7428470a72f2ae05f826412976af1395
spec: 1.2.0

runc version 1.2.5
commit: v1.2.5-0-g59923ef
spec: 1.2.0
go: go1.22.12
libseccomp: 2.5.3
"""
SYSBOX = """sysbox-runc
	edition: 	Community Edition (CE)
	version: 	0.6.5
	commit: 	e302370b9c58b0ac4eea2a1dd6fa3a0a8ae6d2a5
"""


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("runc version v1.2.0-rc.3", "runc", "1.2.0-rc.3"),
        ("runc version 1.1.12-0ubuntu2~22.04.1\nspec: 1.0.2-dev\n", "runc", "1.1.12-0ubuntu2~22.04.1"),
        ("crun version UNKNOWN\n", "crun", "UNKNOWN"),
        ("crun version 1.8.7.0.0.0.12-abcd\n", "crun", "1.8.7.0.0.0.12-abcd"),
        ("youki version 0.5.4\ncommit: 1234\n", "youki", "0.5.4"),
        ("runsc version release-20240212.0\nspec: 1.1.0-rc.1\n", "runsc", "release-20240212.0"),
        ("kata-runtime  : 3.2.0\n   commit   : abc\n", "kata-runtime", "3.2.0"),
        ("kata-runtime  : 3.2.0\n   commit   : abc\n   OCI specs: 1.0.2-dev\n", "kata-runtime", "3.2.0"),
        (NVIDIA, "runc", "1.2.5"),
        (NVIDIA.partition("\n\n")[0], "NVIDIA Container Runtime", "1.17.4"),
        (SYSBOX, "sysbox-runc", "0.6.5"),
        ("crun version 1.14\ncommit: a\nspec: 1.0.0\n+SYSTEMD +SELINUX +WASM:wasmedge +YAJL\n", "crun", "1.14"),
        ("youki version: 0.3.3\n", "youki", "0.3.3"),
        ("wrapper version 7\nrunc version 1.3.0\nspec: 1.2.1\n", "runc", "1.3.0"),
        ("time=1 level=warning msg=x\nrunc version 1.3.0\n", "runc", "1.3.0"),
    ],
)
def test_version_shapes(text: str, name: str, version: str) -> None:
    """Release candidates, distributions' suffixes and other runtimes keep their names; wrappers tell what they run."""
    assert parse_runtime_version(text) == OciVersion(name, version)


@pytest.mark.parametrize(
    "text", ["", "\n", "usage: runc [options]", "version 1.2", "runc version ", "a version " + "1" * 200]
)
def test_no_version(text: str) -> None:
    """Anything else is not understood, rather than taken for a version."""
    with pytest.raises(ValueError, match="not a version"):
        parse_runtime_version(text)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("1.1.15+ds1", (1, 1, 15)),
        ("1.2.0-rc.1", (1, 2, 0)),
        ("1.9", (1, 9, 0)),
        ("1.28", (1, 28, 0)),
        ("v2.1.9+unknown", (2, 1, 9)),
        ("1.2.5-0+deb12u1", (1, 2, 5)),
        ("release-20240212.0", (20240212, 0, 0)),
        ("1.8.7.0.0.0.12-abcd", None),
        ("UNKNOWN", None),
        ("", None),
    ],
)
def test_version_number(version: str, number: tuple[int, int, int] | None) -> None:
    """The number that a minimum is compared with; none rather than a wrong one."""
    assert parse_version_number(version) == number


@pytest.mark.parametrize(
    ("recording", "idmap"),
    [("runc-1.1.5", False), ("runc-1.1.15", False), ("runc-1.3.6", True), ("crun-1.21", True), ("crun-1.28", True)],
)
def test_recorded_features(recording: str, idmap: bool) -> None:
    """runc 1.1 knows user namespaces and no idmapped mounts; newer ones know both."""
    text = (RECORDED / f"{recording}.features.json").read_text()
    assert parse_features(text) == OciFeatures(idmap=idmap, user_namespace=True)


VERSIONS = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.2.0"}


@pytest.mark.parametrize(
    ("linux", "idmap", "user_namespace"),
    [
        (None, False, False),
        ({}, False, False),
        ({"namespaces": None, "mountExtensions": None}, False, False),
        ({"namespaces": ["user"], "mountExtensions": {}}, False, True),
        ({"namespaces": ["pid"], "mountExtensions": {"idmap": {"enabled": None}}}, False, False),
        ({"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": False}}}, False, True),
        ({"mountExtensions": {"idmap": {"enabled": True}}}, True, False),
    ],
)
def test_what_is_not_said(linux: object, idmap: bool, user_namespace: bool) -> None:
    """What a features document leaves out counts as no, as for containerd and CRI-O."""
    document = json.dumps(VERSIONS | {"linux": linux})
    assert parse_features(document) == OciFeatures(idmap=idmap, user_namespace=user_namespace)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"ociVersionMin": "", "ociVersionMax": ""}',
        '{"ociVersionMin": "1", "ociVersionMax": "1", "linux": 3}',
        '{"ociVersionMin": "1", "ociVersionMax": "1", "linux": {"mountExtensions": {"idmap": {"enabled": "yes"}}}}',
        "[" * 100_000,
        '{"ociVersionMin": "1", "x": ' + '{"a":' * 100_000,
    ],
)
def test_no_features(text: str) -> None:
    """What is no features document says nothing, neither yes nor no."""
    with pytest.raises(ValueError, match=r"."):
        parse_features(text)


@given(st.text() | st.from_regex(r"runc version .*\n.*"))
def test_any_text(text: str) -> None:
    """No text raises anything but ValueError."""
    for parse in (parse_features, parse_runtime_version):
        with contextlib.suppress(ValueError):
            parse(text)
    parse_version_number(text)


@given(st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999)))
def test_number_round_trip(number: tuple[int, int, int]) -> None:
    """A number that was written is read again."""
    text = ".".join(map(str, number))
    assert parse_version_number(parse_runtime_version(f"runc version {text}").version) == number


def test_no_such_command() -> None:
    """crun 1.8.1's own words mean that it has no such command; a crash does not."""
    words = (RECORDED / "crun-1.8.1.features.stderr.txt").read_text()
    assert lacks_features_command(1, words)
    assert lacks_features_command(3, "No help topic for 'features'")
    assert lacks_features_command(2, "error: unrecognized subcommand 'features'")
    assert not lacks_features_command(1, "cannot allocate memory")
    assert not lacks_features_command(0, words)


def _features(recording: str) -> str:
    return (RECORDED / f"{recording}.features.json").read_text()


def test_each_binary_is_asked_once() -> None:
    """Many handlers with one binary cost one command, as its features name its version."""
    host = FakeHost(commands={"/usr/bin/runc features": _features("runc-1.3.6")})
    runtimes = OciRuntimes(host, ())
    for _ in range(5):
        assert runtimes.ask("/usr/bin/runc").features.value == OciFeatures(idmap=True, user_namespace=True)
        assert runtimes.ask("/usr/bin/runc").version.value == OciVersion("runc", "1.3.6+ds1")
    assert host.touched == ["/usr/bin/runc features"]


def test_without_features_command() -> None:
    """An OCI runtime without the command claims nothing: that is a no, with its reason as the source."""
    words = (RECORDED / "crun-1.8.1.features.stderr.txt").read_text()
    host = FakeHost(commands={"/crun --version": "crun version 1.8.1\n", "/crun features": Output(1, "", words)})
    answers = OciRuntimes(host, ()).ask("/crun")
    assert answers.version.value == OciVersion("crun", "1.8.1")
    assert answers.features.value == OciFeatures(idmap=False, user_namespace=False)
    assert answers.features.source == "/crun features (no such command)"


def test_failing_features_say_nothing() -> None:
    """A runtime that fails for another reason has said neither yes nor no."""
    host = FakeHost(
        commands={"/runc --version": "runc version 1.3.6\n", "/runc features": Output(1, "", "no memory\nx")}
    )
    answers = OciRuntimes(host, ()).ask("/runc")
    assert (answers.features.kind, answers.features.problem) == ("not-readable", "exit status 1: no memory")


def test_hanging_runtime_is_asked_once() -> None:
    """A runtime that did not answer its first question is not asked the second."""
    hung = Reading.without("/runc features", "timed-out", "no answer in time")
    host = FakeHost(commands={"/runc features": hung})
    answers = OciRuntimes(host, ()).ask("/runc")
    assert (answers.version.kind, answers.features.kind) == ("timed-out", "timed-out")
    assert host.touched == ["/runc features"]


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/kubelet/pods/1/runc",
        "/var/lib/kubelet/../kubelet/runc",
        "/var/lib/containerd/x/fs/usr/bin/runc",
        "//run/containerd/runc",
    ],
)
def test_where_pods_keep_files_nothing_is_run(path: str) -> None:
    """A binary below the kubelet's root or the runtime's directories is never run, whoever named it."""
    host = FakeHost(commands={f"{path} --version": "runc version 1.3.6\n", f"{path} features": _features("runc-1.3.6")})
    answers = OciRuntimes(host, ("/var/lib/kubelet", "/var/lib/containerd/", "/run/containerd", "", "/")).ask(path)
    assert (answers.version.kind, answers.features.kind) == ("not-permitted", "not-permitted")
    assert host.touched == []
