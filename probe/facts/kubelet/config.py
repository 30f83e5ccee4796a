"""Configuration of a kubelet: flags over configuration files, by its own rules. Pure.

*Source*: kubernetes.io, "Set Kubelet Parameters Via A Configuration File"; KEP-3983 for drop-in files.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import Struct

from probe.facts.go_json import NullTwiceError, merge_pairs
from probe.lean_import import late_patterns
from probe.reading import Reading, or_problem

with late_patterns():
    import yaml

T = TypeVar("T", str, int, bool)
Flags = dict[str, tuple[str, ...]]
"""Flag name without dashes -> its values in the order of the command line."""

CONFIG_LIMIT = 256 << 10
"""Maximum bytes of one configuration file. Real ones have a few KiB, and YAML is slow to parse."""
_MAX_NODES = 20_000
_MAX_DEPTH = 40
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ENDPOINT = re.compile(r"(?:unix:)?(?://[^/?#]*)?+(/[^?#\0-\x1f\x7f]*)(?:[?#].*)?", re.IGNORECASE)
_SWITCHES = {"fail-cgroupv1", "seccomp-default", "help", "version", "docker", "disable-agent"}
"""Switches: flags that do not take the next argument as value."""
TRUE = ("1", "t", "T", "true", "TRUE", "True")
"""Texts that Go takes for true. *Source*: Go, strconv.ParseBool."""
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Configuration(Struct, frozen=True):
    """Flags of a kubelet, and its merged configuration files."""

    flags: Reading[Flags]
    files: Reading[dict[str, Any]]

    @or_problem
    def find(self, flag: str | None, field: str, kind: type[T], default: Reading[T]) -> Reading[T]:
        """The value of a flag, else of a field (`userNamespaces.idsPerPod`), else *default*."""
        flags = self.flags.need()
        if flag is not None and (given := flags.get(flag)):
            return Reading(f"--{flag}", given[-1]).parse(lambda text: _from_text(text, kind))
        value: object = self.files.need()
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return default
        return Reading(field, value).parse(lambda found: _of_kind(found, kind))

    def flag_gates(self) -> Reading[dict[str, bool]]:
        """Feature gates set by `--feature-gates`; several occurrences add up."""
        return self.flags.parse(lambda flags: parse_gates(",".join(flags.get("feature-gates", ()))))

    def gates(self) -> Reading[dict[str, bool]]:
        """All feature gates set by name; the command line wins over files for each gate."""
        from_flags = self.flag_gates()
        from_files = self.files.parse(_file_gates)
        if from_flags.value is None or from_files.value is None:
            return from_files if from_flags.value is not None else from_flags
        return Reading("featureGates", from_files.value | from_flags.value)


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Flags of a command line without the program name; `--name=value` equals `--name value`, `_` equals `-`.

    Shorthands and positional arguments are left out.
    """
    flags: dict[str, list[str]] = {}
    rest = deque(arguments)
    while rest:
        argument = rest.popleft()
        argument.encode()  # raises UnicodeEncodeError, a ValueError, for bytes that JSON cannot encode
        if argument == "--":
            break
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("_", "-")
        if not equals and name not in _SWITCHES and rest and not rest[0].startswith("--"):
            value = rest.popleft()
        elif not equals:
            value = "true"
        flags.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in flags.items()}


def parse_gates(text: str) -> dict[str, bool]:
    """`A=true,B=false` as a dictionary."""
    gates: dict[str, bool] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"no value for the feature gate {part[:80]!r}")
        gates[name.strip()] = _from_text(value.strip(), bool)
    return gates


def parse_configuration(text: str) -> dict[str, Any]:
    """A KubeletConfiguration in YAML or JSON; ValueError for another kind or version, as the kubelet refuses it."""
    document = parse_document(text)
    if document.get("kind") != "KubeletConfiguration":
        raise ValueError("kind is not KubeletConfiguration")
    if not str(document.get("apiVersion")).startswith("kubelet.config.k8s.io/"):
        raise ValueError("apiVersion is not one of kubelet.config.k8s.io")
    return document


def parse_document(text: str) -> dict[str, Any]:
    """First document of a YAML or JSON file, which must be a mapping; an empty file gives an empty one.

    Deep nesting and too many nodes are refused, those behind aliases included.
    """
    try:
        document = _parse_json(text) if text.lstrip().startswith("{") else _parse_yaml(text)
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    except (LookupError, AttributeError) as error:  # raised by PyYAML for a tag that does not fit its text: `!!int ""`
        raise ValueError("has a tagged value of another type") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError("is not a mapping")
    _demand_plain(document, _MAX_DEPTH)
    return document


def merge_patch(target: object, patch: object) -> Any:
    """*target* patched by *patch*: maps merge, lists are replaced, null removes. *Source*: RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def parse_endpoint(text: str) -> str:
    """Socket path of a CRI endpoint: `/run/x.sock`, `unix:/run/x.sock`, `unix:///run/x.sock`.

    As in the kubelet, text between `unix://` and the next slash is a host name, and ignored.
    """
    found = _ENDPOINT.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:80]!r} is not a path of a UNIX socket")
    return "/" + found[1].lstrip("/")


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=merge_pairs)
    except NullTwiceError:
        raise
    except ValueError:  # a flow mapping of YAML starts like JSON
        return _parse_yaml(text)


def _parse_yaml(text: str) -> object:
    _demand_modest(text)
    return next(iter(yaml.load_all(text, _Loader)), None)


def _demand_modest(text: str) -> None:
    """ValueError for excess in a YAML stream, by its events: no recursion, before objects are built.

    An alias counts as all that its anchor holds, so that ten lines cannot stand for a billion values.
    """
    open_nodes: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    nodes = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError("has an alias of what holds it, or of nothing")
            nodes += sizes[event.anchor]
        else:
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, nodes - 1))
            elif isinstance(event, yaml.ScalarEvent):
                sizes[event.anchor] = 1
        if len(open_nodes) > _MAX_DEPTH or nodes > _MAX_NODES:
            raise ValueError("is nested too deeply" if nodes <= _MAX_NODES else "has too many values")


def _demand_plain(value: object, depth: int) -> None:
    """ValueError for a value deeper than *depth*, or a number that Go or a Report cannot represent."""
    if depth < 0:
        raise ValueError("is nested too deeply")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("has a number of more than 64 bits")
    inner = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _demand_plain(each, depth - 1)


def _file_gates(document: dict[str, Any]) -> dict[str, bool]:
    gates = document.get("featureGates") or {}
    if not isinstance(gates, dict):
        raise ValueError("featureGates is not a mapping")
    return {str(name): _of_kind(value, bool) for name, value in gates.items()}


def _from_text(text: str, kind: type[T]) -> T:
    """Value of a flag, parsed as by Go's strconv."""
    if kind is bool:
        if text not in TRUE + _FALSE:
            raise ValueError(f"{text[:80]!r} is neither true nor false")
        return kind(text in TRUE)
    if kind is int and len(text) > 20:
        raise ValueError("is a number of too many digits")
    return kind(text)


def _of_kind(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise ValueError(f"is {type(value).__name__}, not {kind.__name__}")
    if isinstance(value, str):
        value.encode()
    return value
