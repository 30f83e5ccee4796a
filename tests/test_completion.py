"""Completion in a real shell: what Tab offers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.prerequisites import require
from probe.checks.catalog import CHECKS
from probe.checks.remedies.platforms import PLATFORMS
from probe.outputs.workloads import WORKLOADS

ROOT = Path(__file__).parents[1]
VERBS = ["bundle", "explain", "fleet", "path", "pod", "prune", "report", "serve", "watch"]
PARTS = ["annotations", "label", "condition", "events"]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command userns-probe, as an installation makes it."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "userns-probe"
    program.write_text(f"#!{sys.executable} -P\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                       "from probe.__main__ import main\nmain()\n")  # fmt: skip
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def bash_script(command: Path) -> str:
    """What the command prints for bash."""
    require(shutil.which("bash") is not None, "bash")
    environment = os.environ | {"_USERNS_PROBE_COMPLETE": "bash_source"}
    return subprocess.check_output([command / "userns-probe"], env=environment, text=True)


def completed(command: Path, bash_script: str, line: str) -> list[str]:
    """What bash offers for *line* when Tab is pressed at its end, by the script that the command prints."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    script = (
        'eval "$SCRIPT" && complete -p userns-probe >&2 &&'
        f" COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1} &&"
        ' _userns_probe_completion userns-probe && printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{command}:{os.environ['PATH']}", "SCRIPT": bash_script}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "-F _userns_probe_completion userns-probe" in done.stderr
    return [word for word in done.stdout.split("\n") if word]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("userns-probe exp", ["explain"]),
        ("userns-probe ", VERBS),
        ("userns-probe --qu", ["--quiet"]),
        ("userns-probe --vers", ["--version"]),
        ("userns-probe -o js", ["json"]),
        ("userns-probe report --out", ["--output", "--output-file"]),
        ("userns-probe explain filesy", [check.id for check in CHECKS if check.id.startswith("filesy")]),
        ("userns-probe explain kernel-user-namespaces --for ta", ["talos"]),
        ("userns-probe explain kernel-user-namespaces --for ", list(PLATFORMS)),
        ("userns-probe explain tmpfs", []),
        ("userns-probe explain nested --for ", list(WORKLOADS)),
        ("userns-probe explain nested --for bu", ["buildah", "buildkit"]),
        ("userns-probe explain nested-d", ["nested-devices"]),
        ("userns-probe explain vol", ["volumes"]),
        ("userns-probe explain volumes --for ", []),
        ("userns-probe serve --publish ", PARTS),
        ("userns-probe serve --publish la", ["label"]),
        ("userns-probe serve --publish label,", [f"label,{part}" for part in PARTS if part != "label"]),
        ("userns-probe serve --publish label,ev", ["label,events"]),
        ("userns-probe path -o y", ["yaml"]),
        ("userns-probe fleet --fail-on fails,unk", ["fails,unknown"]),
    ],
)
def test_bash_offers_what_fits(command: Path, bash_script: str, line: str, offered: list[str]) -> None:
    """The names that the word begins with, and no others."""
    assert sorted(completed(command, bash_script, line)) == sorted(offered)


@pytest.mark.slow
def test_fish_offers_what_fits(command: Path) -> None:
    """By the script that the command prints for fish."""
    require(shutil.which("fish") is not None, "fish")
    script = "_USERNS_PROBE_COMPLETE=fish_source userns-probe | source; complete -C 'userns-probe explain nested-d'"
    environment = os.environ | {"PATH": f"{command}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["nested-devices"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script_from_the_command(command: Path, shell: str) -> None:
    """It names the command that it completes."""
    environment = os.environ | {"_USERNS_PROBE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([command / "userns-probe"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "userns-probe" in done.stdout
