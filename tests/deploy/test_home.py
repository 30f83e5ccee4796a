"""scripts/set-home: the links of a release lead to pages that its tag has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from lab.deploy.manifests import CHECKOUT
from lab.home import RULES, with_home

HOME = "https://git.example/owner/userns-probe"
PAGES = f"{HOME}/blob/v1.2.3/"
TEXTS = {str(path.relative_to(CHECKOUT)): text for path, text in with_home(f"{HOME}/", "v1.2.3").items()}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_each_link_leads_to_a_page_of_the_checkout(name: str) -> None:
    """And to a heading that the page has; the rest of the file is as it was."""
    found = re.findall(rf"{re.escape(PAGES)}([\w./-]*)#?([\w-]*)", TEXTS[name])
    assert found or name.endswith("Chart.yaml")
    for page, anchor in found:
        assert (CHECKOUT / page).exists(), page
        assert not anchor or anchor in anchors(CHECKOUT / page), anchor
    lines = (CHECKOUT / name).read_text().splitlines()
    changed = re.compile(r"\]\(|runbook_url|git clone")
    assert {line for line in lines if not changed.search(line)} <= set(TEXTS[name].splitlines())


def test_package_indexes_know_the_project() -> None:
    """URLs that Python's metadata knows by these names, and no relative link in the description."""
    urls = tomllib.loads(TEXTS["pyproject.toml"])["project"]["urls"]
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(HOME) for url in urls.values())
    assert re.findall(r"\]\((?!https?://|#)", TEXTS["README.md"]) == []
    assert f"git clone {HOME} " in TEXTS["README.md"]


def test_the_chart_knows_its_home() -> None:
    chart = yaml.safe_load(TEXTS["deploy/chart/Chart.yaml"])
    assert (chart["home"], chart["sources"]) == (HOME, [HOME])


@pytest.mark.parametrize("name", RULES)
def test_every_alert_has_a_runbook_that_can_be_opened(name: str) -> None:
    """From a pager, where a path of a repository is no link."""
    runbooks = re.findall(r"runbook_url: (.*)", TEXTS[name])
    assert len(runbooks) > 10
    assert all(each.startswith(f"{PAGES}docs/alerts.md#") for each in runbooks)


@pytest.mark.slow
def test_the_script_writes_them_once(tmp_path: Path) -> None:
    """A second run, or rubbish in place of an address, changes nothing and says so."""
    for name in ("lab", "scripts", "probe", "deploy"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, tmp_path)

    def run(*arguments: str) -> int:
        script = [sys.executable, str(tmp_path / "scripts/set-home"), *arguments]
        return subprocess.run(script, capture_output=True, check=False).returncode

    assert run("git.example/owner") == run("https://git.example/x", "a b") == 64
    assert run(HOME, "v1.2.3") == 0
    assert {name: (tmp_path / name).read_text() for name in TEXTS} == TEXTS
    assert run(HOME) == 64
    assert (tmp_path / "README.md").read_text() == TEXTS["README.md"]
