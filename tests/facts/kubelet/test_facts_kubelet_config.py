"""Flags, configuration files and their merging, by the kubelet's own rules."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.facts.kubelet.config import (
    Configuration,
    Flags,
    merge_patch,
    parse_configuration,
    parse_document,
    parse_endpoint,
    parse_flags,
    parse_gates,
)
from probe.reading import Reading

HEADER = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.text(max_size=3), JSON, max_size=3)


def configuration(*arguments: str, **files: Any) -> Configuration:
    return Configuration(Reading("cmdline", parse_flags(arguments)), Reading("configuration files", files))


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--config=/a", "--v=3"], {"config": ("/a",), "v": ("3",)}),
        (["--config", "/a", "--max-pods", "-1"], {"config": ("/a",), "max-pods": ("-1",)}),
        (["--config=/a", "--config=/b"], {"config": ("/a", "/b")}),
        (["--feature_gates", "A=true"], {"feature-gates": ("A=true",)}),
        (["--fail-cgroupv1", "--config=/a"], {"fail-cgroupv1": ("true",), "config": ("/a",)}),
        (["--fail-swap-on", "--config", "/a"], {"fail-swap-on": ("true",), "config": ("/a",)}),
        (["--node-labels=", "kubelet", "-v", "2", "--x=a=b"], {"node-labels": ("",), "x": ("a=b",)}),
        (["--a=1", "--", "--b=2"], {"a": ("1",)}),
        ([], {}),
    ],
)
def test_flags_are_read_as_pflag_reads_them(arguments: list[str], flags: Flags) -> None:
    """With and without `=`, repeated, with underscores, as switches, up to `--`."""
    assert parse_flags(arguments) == flags


@pytest.mark.parametrize(
    "switch", ["fail-cgroupv1", "seccomp-default", "help", "version", "docker", "disable-agent", "max-pods"]
)
def test_a_switch_leaves_the_next_word_alone(switch: str) -> None:
    """Any other flag takes it as its value."""
    assert parse_flags([f"--{switch}", "5"]) == {switch: ("5",) if switch == "max-pods" else ("true",)}


def test_the_last_of_repeated_flags_wins() -> None:
    """As on any command line."""
    found = configuration("--max-pods=5", "--max-pods", "7").find("max-pods", "maxPods", int, Reading("", 110))
    assert found == Reading("--max-pods", 7)


def test_flags_are_above_files_and_files_above_defaults() -> None:
    """The kubelet parses its command line once more, on top of its files."""
    default = Reading("default", 110)
    assert configuration("--max-pods=5", maxPods=9).find("max-pods", "maxPods", int, default).value == 5
    assert configuration(maxPods=9).find("max-pods", "maxPods", int, default).value == 9
    assert configuration().find("max-pods", "maxPods", int, default).value == 110
    nested = configuration(userNamespaces={"idsPerPod": 131072})
    assert nested.find(None, "userNamespaces.idsPerPod", int, default).value == 131072


@pytest.mark.parametrize("value", [True, "9", 9.5, [9], {"a": 1}])
def test_a_field_of_the_wrong_type_is_a_problem(value: object) -> None:
    """The kubelet would not have started with it, so nobody knows what is in force."""
    found = configuration(maxPods=value).find("max-pods", "maxPods", int, Reading("default", 110))
    assert (found.value, found.kind) == (None, "not-readable")


def test_a_file_that_was_not_read_leaves_flags_alone() -> None:
    """What the command line says needs no file."""
    broken: Reading[dict[str, Any]] = Reading.without("/a.yaml", "not-permitted", "Permission denied")
    found = Configuration(Reading("cmdline", parse_flags(["--max-pods=5"])), broken)
    assert found.find("max-pods", "maxPods", int, Reading("default", 110)).value == 5
    assert found.find("fail-cgroupv1", "failCgroupV1", bool, Reading("default", True)).kind == "not-permitted"
    assert found.gates().kind == "not-permitted"


def test_gates_merge_one_by_one_and_the_command_line_wins() -> None:
    """A flag that sets one gate leaves the others of the files as they are."""
    flags = ("--feature-gates=A=true,B=false", "--feature-gates=B=1")
    found = configuration(*flags, featureGates={"B": False, "C": False})
    assert found.gates().value == {"A": True, "B": True, "C": False}


@pytest.mark.parametrize("text", ["A", "A=yes", "A=true,B", "=", "A= maybe"])
def test_gates_that_the_kubelet_refuses_are_refused(text: str) -> None:
    """strconv.ParseBool knows twelve words."""
    with pytest.raises(ValueError, match=r"feature gate|neither"):
        parse_gates(text)


@pytest.mark.parametrize("gates", [["A"], "A=true", {"A": "true"}, {"A": 1}])
def test_gates_of_a_file_have_to_be_a_mapping_to_booleans(gates: object) -> None:
    """Anything else is a file that the kubelet does not start with."""
    assert configuration(featureGates=gates).gates().kind == "not-readable"


def test_yaml_and_json_are_the_same_configuration() -> None:
    """EKS writes JSON, with tabs that YAML refuses, and kubeadm YAML."""
    document = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "maxPods": 58}
    assert parse_configuration(json.dumps(document, indent="\t")) == document
    assert parse_configuration(HEADER + "maxPods: 58\n") == document
    assert parse_configuration("{kind: KubeletConfiguration, apiVersion: kubelet.config.k8s.io/v1beta1, maxPods: 58}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "maxPods: 5",
        "kind: KubeletConfiguration",
        "apiVersion: kubelet.config.k8s.io/v1beta1",
        "apiVersion: v1\nkind: Config",
        "- a\n- b",
        "just words",
        "{",
        "a: [b",
        "\x00",
        "a: !!python/object/apply:os.system ['true']",
    ],
)
def test_what_is_no_configuration_is_refused(text: str) -> None:
    """The kubelet fails on a file without kind and version; so does the parser."""
    with pytest.raises(ValueError, match=r".+"):
        parse_configuration(text)


@pytest.mark.parametrize("separator", ["", " #\n"], ids=["json", "yaml"])
def test_the_depth_that_is_read(separator: str) -> None:
    """Forty levels of mappings, more than any configuration has, and not one more."""
    for levels in (40, 41):
        text = '{"a":' * levels + "1" + separator + "}" * levels
        if levels == 40:
            assert parse_document(text)
            continue
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_document(text)


def _aliases(levels: int) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        _aliases(12),
        "a: &a\n  b: *a\n",
        "a: &a [1]\nb: *nobody\n",
        "a: &a [1,2]\n" + "".join(f"b{n}: *a\n" for n in range(10_000)),
        "a: " + "[" * 5_000 + "]" * 5_000,
        "[" * 100_000,
        "{" + '"a":{' * 5_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        "a: [" + "1," * 50_000 + "]",
        "".join(f"{' ' * n}a:\n" for n in range(300)),
    ],
    ids=["billion", "recursive", "unknown", "many", "deep", "open", "open-map", "deep-json", "wide", "stairs"],
)
def test_bombs_do_not_go_off(text: str) -> None:
    """Few lines that mean a billion values, endless depth: refused, in no more memory than a few times the file."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r".+"):
        parse_document(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("value", ['!!int ""', '!!float ""', "!!int _", "!!bool x", "!!timestamp x", "!!binary ä"])
def test_a_tag_that_its_text_does_not_fit_is_a_value_error(value: str) -> None:
    """PyYAML answers some of these with IndexError, KeyError and AttributeError."""
    with pytest.raises(ValueError, match=r"."):
        parse_document(f"maxPods: {value}")


def test_aliases_stand_for_what_they_name() -> None:
    """The kubelet reads them; a few are no bomb."""
    text = "kubeReserved: &r\n  memory: 1Gi\nsystemReserved: *r\nother: {<<: *r, cpu: 1}\nname: &n x\nagain: [*n, *n]\n"
    document = parse_document(text)
    assert document["systemReserved"] == {"memory": "1Gi"}
    assert document["other"] == {"memory": "1Gi", "cpu": 1}
    assert document["again"] == ["x", "x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"g": {"A": false}, "g": {"B": true}}', {"g": {"A": False, "B": True}}),
        (
            '{"g": {"A": false, "C": {"x": 1}}, "g": {"A": true, "C": {"y": 2}}}',
            {"g": {"A": True, "C": {"x": 1, "y": 2}}},
        ),
        ('{"a": [1, 2], "a": [3]}', {"a": [3]}),
    ],
)
def test_a_name_that_comes_twice_in_json(text: str, expected: object) -> None:
    """Go decodes both into one value: maps merge, and of anything else the last one counts."""
    assert parse_document(text) == expected


def test_a_name_that_comes_twice_once_with_null_is_a_value_error() -> None:
    """What null leaves depends on the type in Go; in YAML the last one wins for all readers."""
    for text in ('{"a": null, "a": 1}', '{"a": {"b": 1}, "a": null}'):
        with pytest.raises(ValueError, match="twice"):
            parse_document(text)
    assert parse_document("featureGates: {A: false}\nfeatureGates: {B: true}\n") == {"featureGates": {"B": True}}


def test_only_the_first_document_counts() -> None:
    """As with the kubelet's parser."""
    assert parse_document("a: 1\n---\na: 2\n") == {"a": 1}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (["a", "b"], {"a": "b"}, {"a": "b"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "foo"}, "bar", "bar"),
    ],
)
def test_merge_patches_follow_the_rfc(target: object, patch: object, result: object) -> None:
    """Examples of RFC 7386, appendix A."""
    assert merge_patch(target, patch) == result


@given(OBJECT, OBJECT)
def test_a_patch_applied_twice_is_a_patch_applied_once(target: object, patch: object) -> None:
    """And neither side is changed by it."""
    copies = json.dumps([target, patch])
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert json.dumps([target, patch]) == copies


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:///run/containerd/containerd.sock", "/run/containerd/containerd.sock"),
        ("unix:/run/crio/crio.sock", "/run/crio/crio.sock"),
        ("/var/run/crio/crio.sock", "/var/run/crio/crio.sock"),
        ("unix:////run/x.sock", "/run/x.sock"),
        ("unix://run/x.sock", "/x.sock"),
    ],
)
def test_endpoints_have_many_spellings(text: str, path: str) -> None:
    """And one meaning, the kubelet's."""
    assert parse_endpoint(text) == path


@pytest.mark.parametrize("text", ["", "run/x.sock", "tcp://127.0.0.1:1", "npipe:////./pipe/x", "unix:", "unix://"])
def test_what_is_no_socket_is_no_endpoint(text: str) -> None:
    """Said, not guessed."""
    with pytest.raises(ValueError, match="UNIX socket"):
        parse_endpoint(text)


@pytest.mark.parametrize("parse", [parse_document, parse_configuration, parse_gates, parse_endpoint])
@given(text=st.text() | st.text(alphabet="{}[]:,-&*!|>'\"%@#?a1\n\t =.~"))
def test_any_text_gives_a_value_or_a_value_error(parse: Callable[[str], object], text: str) -> None:
    """Whatever lies on a node, no parser ends in a traceback."""
    with suppress(ValueError):
        parse(text)


@given(st.lists(st.text(alphabet="-=_ab1 \udc80")))
def test_any_arguments_give_flags_or_a_value_error(arguments: list[str]) -> None:
    """Also bytes that are not text."""
    try:
        flags = parse_flags(arguments)
    except ValueError:
        return
    assert all(values for values in flags.values())


@given(st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), st.text("ab/=1"), max_size=4))
def test_flags_survive_a_round_trip(flags: dict[str, str]) -> None:
    """What is written as `--name=value` is read as that."""
    assert parse_flags([f"--{name}={value}" for name, value in flags.items()]) == {n: (v,) for n, v in flags.items()}


@pytest.mark.parametrize("number", [f"0x{'f' * 5000}", f"{1 << 64}", f"-{1 << 70}"])
@pytest.mark.parametrize("text", ["maxPods: {}", "a: [{{b: [{}]}}]", "? {}\n: 1", '{{"maxPods": {}}}'])
def test_numbers_that_nobody_can_carry_are_refused(text: str, number: str) -> None:
    """Neither Go nor a Report; the largest that both can is one."""
    with pytest.raises(ValueError, match="more than 64 bits"):
        parse_document(text.format(number))
    assert parse_document(text.format((1 << 64) - 1))


@given(OBJECT)
def test_documents_survive_a_round_trip(document: dict[str, Any]) -> None:
    """JSON is read as JSON."""
    assert parse_document(json.dumps(document)) == document
