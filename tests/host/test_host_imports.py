"""What containerd prints of its configuration is kept while none of the files is another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probe.host import recording
from probe.host.imports import DEFAULT_IMPORT, files_of_dump, parse_imports, place_of
from probe.host.program import Output
from probe.host.recording import Kept, RecordingHost
from probe.reading import Reading

MAIN = 'version = 3\nimports = ["conf.d/*.toml", "one.toml"]\n'


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("", ()),
        ("version = 3\n# imports = [1]\n", ()),
        ("imports = []\n", ()),
        ("imports = [\"/etc/a.toml\", 'b/*.toml',]\n", ("/etc/a.toml", "b/*.toml")),
        ('  imports = [\n  "a",\n  # not "b"\n  "c"\n]\n[plugins]\n', ("a", "c")),
    ],
)
def test_imports_that_are_a_plain_list(text: str, patterns: tuple[str, ...]) -> None:
    """As people write it, and as containerd prints it."""
    assert parse_imports(text) == patterns


@pytest.mark.parametrize(
    "text",
    [
        "imports = [1]",
        'imports = ["a"] # imports of ours',
        '"imports" = ["a"]',
        'imports = ["a\\"b"]',
        'imports = """a"""',
        'imports = ["a", ["b"]]',
        '"\\u0069mports" = ["a"]',
        'a.imports = ["a"]',
        "imports = [",
    ],
)
def test_imports_that_are_anything_else_are_not_known(text: str) -> None:
    """Nobody guesses: the program is run then."""
    with pytest.raises(ValueError, match="plain list"):
        parse_imports(text)


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("a.toml", ("/etc/containerd", "a.toml")),
        ("conf.d/*.toml", ("/etc/containerd/conf.d", "*.toml")),
        ("../x/*", ("/etc/x", "*")),
        (DEFAULT_IMPORT, ("/etc/containerd/conf.d", "*.toml")),
    ],
)
def test_where_a_pattern_names_entries(pattern: str, place: tuple[str, str]) -> None:
    """Relative to the directory of the file that has it."""
    assert place_of(pattern, "/etc/containerd/config.toml") == place


@pytest.mark.parametrize("pattern", ["*/a.toml", "[ab].toml", "a?.toml", "{a,b}.toml", "a\\*.toml"])
def test_a_pattern_whose_entries_may_be_anywhere_is_not_known(pattern: str) -> None:
    """Also one that Go and Python read differently."""
    with pytest.raises(ValueError, match="may name"):
        place_of(pattern, "/etc/containerd/config.toml")


class Printing(RecordingHost):
    """A node whose programs print how often one ran."""

    runs = 0

    def _ask_to_run(self, source: str, *_: Any) -> Reading[Output]:
        self.runs += 1
        return Reading(source, Output(0, str(self.runs), ""))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """containerd and its configuration, all of it old enough to be kept."""
    monkeypatch.setattr(recording, "_SETTLED", -(10**12))
    (tmp_path / "conf.d").mkdir()
    for name, text in {
        "containerd": "",
        "config.toml": MAIN,
        "one.toml": "",
        "conf.d/two.toml": "imports = []",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def runs_of(folder: Path, outputs: dict[str, Kept]) -> int:
    """How often a probe that has *outputs* runs the command."""
    host = Printing(outputs)
    try:
        assert host.run(f"{folder}/containerd", "--config", f"{folder}/config.toml", "config", "dump").value
        return host.runs
    finally:
        host.close()


def test_nothing_changed(folder: Path) -> None:
    """The second probe runs nothing."""
    outputs: dict[str, Kept] = {}
    assert [runs_of(folder, outputs) for _ in range(3)] == [1, 0, 0]


def replace_program(folder: Path) -> None:
    (folder / "new").write_text("")
    (folder / "new").rename(folder / "containerd")


def lead_elsewhere(folder: Path) -> None:
    (folder / "one.toml").unlink()
    (folder / "one.toml").symlink_to("conf.d/two.toml")


CHANGES: dict[str, Callable[[Path], object]] = {
    "the program": replace_program,
    "the file": lambda folder: (folder / "config.toml").write_text(MAIN + "#"),
    "an imported file": lambda folder: (folder / "one.toml").write_text("version = 3"),
    "a file of a pattern": lambda folder: (folder / "conf.d/two.toml").write_text("version = 3"),
    "one more": lambda folder: (folder / "conf.d/three.toml").touch(),
    "one less": lambda folder: (folder / "conf.d/two.toml").unlink(),
    "a file that leads elsewhere": lead_elsewhere,
    "a directory less": lambda folder: (folder / "conf.d").rename(folder / "old"),
    "a file that imports oddly": lambda folder: (folder / "one.toml").write_text("imports = 1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_a_change_it_is_run_again(folder: Path, change: Callable[[Path], object]) -> None:
    """Of whatever it is made of."""
    outputs: dict[str, Kept] = {}
    assert runs_of(folder, outputs) == 1
    change(folder)
    assert runs_of(folder, outputs) == 1


def test_what_changed_just_now_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another change within a tick of the clock would look the same."""
    monkeypatch.setattr(recording, "_SETTLED", 3600 * 10**9)
    outputs: dict[str, Kept] = {}
    assert [runs_of(folder, outputs) for _ in range(2)] == [1, 1]
    assert outputs == {}


def test_what_changes_meanwhile_is_not_kept(folder: Path) -> None:
    """While the program runs, which may have read either."""

    class Changing(Printing):
        def _ask_to_run(self, source: str, *rest: Any) -> Reading[Output]:
            (folder / "one.toml").write_text("version = 3")
            return super()._ask_to_run(source, *rest)

    host = Changing({})
    host.run(f"{folder}/containerd", "--config", f"{folder}/config.toml", "config", "dump")
    host.close()
    assert host.outputs == {}


def test_a_configuration_that_is_absent_or_imports_without_end_is_not_known(folder: Path) -> None:
    """As is that of other programs and arguments."""
    host = Printing({})
    try:
        arguments = ("--config", f"{folder}/config.toml", "config", "dump")
        found = files_of_dump(host, arguments)
        assert found is not None
        assert {os.path.basename(path) for path in found} >= {"config.toml", "conf.d", "one.toml", "two.toml"}
        for odd in (
            ("config",),
            ("--config", f"{folder}/absent", "config", "dump"),
            ("--root", "/x", "config", "dump"),
        ):
            assert files_of_dump(host, odd) is None
        for number in range(30):
            (folder / f"conf.d/{number}.toml").touch()
        assert files_of_dump(host, arguments) is None
    finally:
        host.close()
