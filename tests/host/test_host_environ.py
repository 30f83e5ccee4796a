"""The environment of a process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.host.environ import parse_environment, search_path


@pytest.mark.parametrize(
    ("content", "environment"),
    [
        (b"", {}),
        (b"A=1\0B=a=b\0", {"A": "1", "B": "a=b"}),
        (b"A=1\0A=2\0", {"A": "1"}),
        (b"A=\0no variable\0", {"A": ""}),
        (b"A=\xff\0", {"A": "\udcff"}),
    ],
)
def test_variables_by_name(content: bytes, environment: dict[str, str]) -> None:
    """As the process itself would find them: of two values the first."""
    assert parse_environment(content) == environment


@pytest.mark.parametrize(
    ("path", "directories"), [(None, ()), ("", ()), ("/a::b:/c", ("/a", "/c")), ("/a b:.", ("/a b",))]
)
def test_search_path_has_absolute_directories_only(path: str | None, directories: tuple[str, ...]) -> None:
    """Go refuses the others."""
    assert search_path({} if path is None else {"PATH": path}) == directories


def test_a_real_process() -> None:
    """It has the variables that it was started with, and no others."""
    given = {"PATH": "/usr/bin:/bin", "EMPTY": "", "BYTES": "\udcff"}
    with subprocess.Popen(["/bin/cat"], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"here\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"here\n"  # until it runs, /proc shows no environment
        found = parse_environment(Path(f"/proc/{process.pid}/environ").read_bytes())
        process.kill()
    assert found == given


@given(st.binary())
def test_any_bytes_are_an_environment(content: bytes) -> None:
    """Whoever starts a process may give it anything."""
    for environment in (parse_environment(content), parse_environment(b"PATH=" + content)):
        assert all(directory.startswith("/") for directory in search_path(environment))
