"""README.md and docs/ say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.readme import DOCS, PARTS, README, ROOT, part
from probe.cli.console import UNFORESEEN, USAGE
from probe.cli.report import EXIT_CODES
from probe.outputs.annotations import KEYS
from probe.terms import LEVELS, UnknownReason

PAGES = sorted(
    [README, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")), *DOCS.glob("*.md")]
)
MANIFESTS = sorted([ROOT / "daemonset.yaml", *(ROOT / "deploy").rglob("*.yaml")])


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below that heading of a page in docs/, without its head."""
    section = (DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("name", PARTS)
def test_what_the_code_decides(name: str) -> None:
    """The report of a recorded node, the checks, options and metrics; scripts/update-readme writes them."""
    assert part(PARTS[name].page.read_text(), name) == PARTS[name].write()


def test_every_option_is_explained() -> None:
    """An empty cell helps nobody."""
    assert all(row[3] for row in table("options.md", "Options"))


def test_exit_codes() -> None:
    """Each exit code has its row."""
    rows = table("options.md", "Exit codes")
    codes = {*EXIT_CODES.values(), USAGE, UNFORESEEN, 130, 143}
    assert {int(row[0]) for row in rows} >= codes
    assert [row[1] for row in rows][:3] == ["ready", "not ready", "unknown"]


def test_levels_and_reasons() -> None:
    """Each level has its row, and each reason of an unknown is named."""
    assert [row[0].strip("`") for row in table("checks.md", "Verdict and levels")] == list(LEVELS)
    reasons = [row[0].strip("`") for row in table("checks.md", "Reasons of an unknown")]
    assert reasons == list(UnknownReason.__args__)


def test_annotations() -> None:
    """Each annotation has its row."""
    keys = [row[0].strip("`") for row in table("annotations.md", "Annotations")]
    assert keys == [*KEYS, "refreshed-at"]


def test_the_readme_is_short() -> None:
    """A README is read in one sitting; the rest is in docs/."""
    assert len(README.read_bytes()) <= 9 << 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link into the repository names a file that exists, and a heading that the file has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match("https?://", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_manifests_name_what_exists(manifest: Path) -> None:
    """A page or a folder that a manifest mentions is there."""
    for path in re.findall(r"\b(?:docs|deploy|scripts|tests)/[A-Za-z0-9_./-]+", manifest.read_text()):
        assert (ROOT / path.rstrip(".")).exists(), path


def test_every_page_is_linked_from_the_readme() -> None:
    """Nobody finds a page that nothing links to."""
    linked = set(re.findall(r"\]\(docs/([a-z-]+\.md)", README.read_text()))
    assert {page.name for page in DOCS.glob("*.md")} <= linked


def test_the_two_commands() -> None:
    """README names the commands that run the probe and the tests, and they exist."""
    for script in ("scripts/probe", "scripts/test"):
        assert script in README.read_text()
        assert (ROOT / script).exists()
