"""Options of `report` that are read without click."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.cli import verbs
from probe.cli.plain import read_plain
from probe.cli.report import Request

WORDS = (
    *("report", "path", "-h", "--help", "--version", "--", "-", "", "x"),
    *("-q", "--quiet", "-v", "-vv", "-qv", "--verbose", "--volume-paths", "--try-runtime", "--try-pod", "--quiet=1"),
    *("-o", "json", "-ojson", "-o=json", "--output", "--output=yaml", "--output=", "--output=xml", "--out=json"),
    *("--interval", "10s", "--interval=1h30m", "--interval=1s", "--budget=30s", "--budget=2h", "--budget=x"),
    *("--node-name", "node-1", "--node-name=Node_1", "--node-name=", "--proc=/host/proc", "--proc", "proc"),
    *("--memory", "3", "--memory=4", "--memory=-1", "--memory= 5", "--colour=never", "--color", "always"),
    *("--output-file=/tmp/x", "--from-bundle", "nfd"),
)
VARIABLES = {
    "NODE_NAME": ("", "node-2", "Node"),
    "USERNS_PROBE_OUTPUT": ("", "json", "toml"),
    "USERNS_PROBE_INTERVAL": ("", "1m", "never"),
    "USERNS_PROBE_BUDGET": ("", "40s", "40"),
    "USERNS_PROBE_PROC": ("", "/host/proc", "host"),
    "USERNS_PROBE_TRY_RUNTIME": ("", "1", "0"),
    "USERNS_PROBE_TRY_POD": ("", "true", "false"),
}
ENVIRONMENTS = st.fixed_dictionaries({}, optional={name: st.sampled_from(some) for name, some in VARIABLES.items()})


class Asked(BaseException):
    """What `report` is asked to do, in place of a probe."""


def ask(request: Request) -> NoReturn:
    raise Asked(request)


def read_by_click(words: list[str], environment: dict[str, str]) -> Request:
    """The request that click reads from the same command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbs, "probe_and_say", ask)
        for name in (*VARIABLES, "_USERNS_PROBE_COMPLETE"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(Asked) as asked:
            verbs.run(words)
        request = asked.value.args[0]
        assert isinstance(request, Request)
        return request


@given(st.lists(st.sampled_from(WORDS), max_size=6), ENVIRONMENTS)
def test_what_is_read_without_click_is_what_click_reads(words: list[str], environment: dict[str, str]) -> None:
    """Whatever the words and variables: the same request, or none at all."""
    plain = read_plain(words, environment)
    if plain is not None:
        assert plain == read_by_click(words, environment)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["report"],
        ["-o", "json", "-v", "--volume-paths"],
        ["report", "-o", "json", "--interval=300s", "--proc=/host/proc", "--budget=20s", "--node-name=a", "--memory=3"],
    ],
)
def test_usual_command_lines_need_no_click(words: list[str]) -> None:
    """Those of people, scripts and `watch`, which starts one for each probe."""
    environment = dict.fromkeys(os.environ, "") | {"USERNS_PROBE_PROC": "/host/proc", "NODE_NAME": "node-1"}
    assert read_plain(words, environment) == read_by_click(words, {k: v for k, v in environment.items() if v})


@pytest.mark.parametrize("words", [["--help"], ["path", "/"], ["-qv"], ["--output"], ["-o", "xml"], ["--budget=1d"]])
def test_the_rest_is_left_to_click(words: list[str]) -> None:
    """Help, other verbs, and mistakes, which need words."""
    assert read_plain(words, {}) is None
