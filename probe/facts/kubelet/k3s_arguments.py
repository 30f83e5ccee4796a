"""k3s' rules for its own arguments and those of the kubelet: from words to flags. Pure.

*Source*: k3s, `pkg/configfilearg/parser.go` (configuration file), `pkg/util/args.go` (`+` and `-` in `kubelet-arg`)
and `pkg/daemons/agent/agent.go` (managed drop-in directory); Go's package flag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probe.facts.kubelet.config import TRUE, Flags, parse_flags

CONFIG = "/etc/rancher/k3s/config.yaml"
_CONFIG_VARIABLE = "K3S_CONFIG_FILE"
_VARIABLES = {"data-dir": "K3S_DATA_DIR"}
"""Environment variables of flags; only the flags used here."""
_SHORTHANDS = {"c": "config", "d": "data-dir"}
_WITH_VALUE = {"config", "container-runtime-endpoint", "data-dir", "kubelet-arg"}
"""Flags that take the next word as value, even if it starts with a dash."""
_SWITCHES = {"debug", "disable-agent", "docker", "rootless"}


def configuration_path(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Path of k3s' configuration file; empty when k3s reads none.

    K3S_CONFIG_FILE comes before the first `--config` or `-c` among all *words*, the values of other flags included.
    *Errors*: ValueError for words that are not UTF-8.
    """
    "".join(words).encode()  # raises UnicodeEncodeError, a ValueError, for bytes that JSON cannot encode
    if named := environment.get(_CONFIG_VARIABLE):
        return named
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c"):
            return value if equals else "".join(words[index + 1 : index + 2])
    return CONFIG


def is_drop_in(name: str) -> bool:
    """True when k3s reads a file of that name in its drop-in directory."""
    return name.lower().endswith((".yaml", ".yml"))


def merge_options(documents: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Merged configuration files of k3s: later values replace earlier ones, `name+` appends."""
    merged: dict[str, list[str]] = {}
    for document in documents:
        for key, value in document.items():
            name = str(key).removesuffix("+")
            before = merged.get(name, []) if str(key).endswith("+") else []
            merged[name] = [*before, *_texts(value)]
    return merged


def parse_arguments(
    options: Mapping[str, Sequence[str]], words: Sequence[str], environment: Mapping[str, str]
) -> Flags:
    """Flags of k3s by name: from configuration files, then *words*; from the environment if in neither."""
    flags = {name: [variable] for name, key in _VARIABLES.items() if (variable := environment.get(key))}
    given: dict[str, list[str]] = {}
    for name, values in options.items():
        if values:
            given.setdefault(_SHORTHANDS.get(name, name), []).extend(values)
    rest = deque(words)
    while rest and rest[0] != "--":
        word = rest.popleft()
        if not word.startswith("-"):
            continue
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        name = _SHORTHANDS.get(name, name)
        if not equals:
            value = rest.popleft() if rest and _takes(name, rest[0]) else "true"
        given.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in (flags | given).items()}


def is_on(flags: Flags, name: str) -> bool:
    """True when a switch of k3s is on; its last value counts."""
    return flags.get(name, ("",))[-1] in TRUE


def kubelet_flags(given: Sequence[str], endpoint: str, managed: str | None) -> Flags:
    """Flags of the kubelet from the values of `kubelet-arg`, in k3s' order.

    `name+=value` appends and `name-=value` prepends to the present values, including k3s' own; `name=value` drops
    k3s' own. With *managed*, the drop-in directory of k3s 1.32 and newer, `config` and `config-dir` are copied
    there. *Errors*: ValueError where releases of k3s differ.
    """
    own = {"container-runtime-endpoint": endpoint} if managed is None else {"config-dir": managed}
    added: dict[str, list[str]] = {}
    for text in _without_copied(given, managed):
        key, equals, value = text.removeprefix("--").partition("=")
        name = key.rstrip("+-")
        default = [own.pop(name)] if name in own else []
        values, value = added.get(name, []), value if equals else "true"
        if key.endswith("+"):
            added[name] = [*default, *values, value]
        elif key.endswith("-"):
            added[name] = [value, *default, *values]
        else:
            added[name] = [*values, value]
    if "config-dir" in own:
        added["config-dir"] = [own["config-dir"]]
    return parse_flags([f"--{name}={value}" for name in sorted(added) for value in added[name]])


def _without_copied(given: Sequence[str], managed: str | None) -> list[str]:
    """Values of `kubelet-arg` that k3s passes on, without the files that it copies; one flag may span two values."""
    rest, kept = deque(filter(None, given)), []
    while rest:
        text = rest.popleft()
        name, equals, _ = text.removeprefix("--").partition("=")
        if not equals and rest:
            if managed is None:
                raise ValueError(f"{text[:80]!r} has no value, and releases of k3s differ on the one after it")
            rest.popleft()
        if managed is None or name not in ("config", "config-dir"):
            kept.append(text)
    return kept


def _takes(name: str, word: str) -> bool:
    """True when *word* is the value of the flag *name* before it."""
    return name in _WITH_VALUE or (name not in _SWITCHES and not word.startswith("-"))


def _texts(value: object) -> list[str]:
    """Arguments that k3s makes of a YAML value."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return ["" if each is None else str(each).lower() if isinstance(each, bool) else str(each) for each in values]
