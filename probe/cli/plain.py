"""Options of `report` read without click, whose import takes as long as that of all checks.

Only what is surely valid is read here. Everything else is left to click, which has the words for it: `--help`, other
verbs, combined short options, shell completion, and every mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.cli.report import COLOURS, OUTPUTS, Request
from probe.settings import BUDGETS, INTERVALS, Settings, parse_duration

_SWITCHES = {
    "--quiet": "quiet",
    "-q": "quiet",
    "--volume-paths": "volume_paths",
    "--try-runtime": "try_runtime",
    "--try-pod": "try_pod",
}
_VARIABLES = {
    "NODE_NAME": "node_name",
    "USERNS_PROBE_BUDGET": "budget",
    "USERNS_PROBE_INTERVAL": "interval",
    "USERNS_PROBE_OUTPUT": "output",
    "USERNS_PROBE_PROC": "proc",
}
_LEFT_TO_CLICK = ("_USERNS_PROBE_COMPLETE", "USERNS_PROBE_TRY_RUNTIME", "USERNS_PROBE_TRY_POD")
_OF_REQUEST = ("output", "verbose", "quiet", "volume_paths", "colour")


def read_plain(arguments: Sequence[str], environment: Mapping[str, str]) -> Request | None:
    """The request of a command line without the program name; None where click has to read it."""
    if any(environment.get(name) for name in _LEFT_TO_CLICK):
        return None
    try:
        given = {field: environment[name] for name, field in _VARIABLES.items() if environment.get(name)}
        values: dict[str, Any] = {field: _VALUES[field](text) for field, text in given.items()}
        values |= _read_words(arguments[1:] if arguments[:1] == ["report"] else arguments)
        of_request = {field: values.pop(field) for field in _OF_REQUEST if field in values}
        return Request(settings=Settings(**values), **of_request)
    except ValueError:
        return None


def _read_words(words: Sequence[str]) -> dict[str, Any]:
    """Fields of a Request and its Settings. *Errors*: ValueError for a word that is not plain."""
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in _SWITCHES:
            found[_SWITCHES[word]] = True
        elif word in ("-v", "--verbose"):
            found["verbose"] = found.get("verbose", 0) + 1
        elif name in _OPTIONS and (name == word or name.startswith("--")):
            value = value if equals else next(rest, "")
            field = _OPTIONS[name]
            found[field] = _VALUES[field](value)
        else:
            raise ValueError(f"{word!r} is left to click")
    return found


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not one of {allowed}")
        return text

    return read


def _duration(limits: Sequence[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        duration = parse_duration(text)
        if not limits[0] <= duration <= limits[1]:
            raise ValueError(f"{text!r} is too short or too long")
        return duration

    return read


def _word(text: str) -> str:
    if not text or text.startswith("-"):
        raise ValueError(f"{text!r} may be an option")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text!r} is not a descriptor")
    return int(text)


_OPTIONS = {
    "--output": "output",
    "-o": "output",
    "--node-name": "node_name",
    "--interval": "interval",
    "--memory": "memory",
    "--proc": "proc",
    "--budget": "budget",
    "--colour": "colour",
    "--color": "colour",
}
_VALUES: dict[str, Callable[[str], Any]] = {
    "output": _one_of(OUTPUTS),
    "node_name": _word,
    "interval": _duration(INTERVALS),
    "memory": _number,
    "proc": _word,
    "budget": _duration(BUDGETS),
    "colour": _one_of(COLOURS),
}
