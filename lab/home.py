"""The address of the repository in what is released of it: no file of a checkout knows where it is published."""

from __future__ import annotations

import re
from pathlib import Path

from lab.command import ROOT

URLS = """[project.urls]
Homepage = "{address}"
Documentation = "{pages}docs"
Changelog = "{pages}CHANGELOG.md"
Issues = "{address}/issues"

"""
PACKAGE, README, CHART = "pyproject.toml", "README.md", "deploy/chart/Chart.yaml"
RULES = (
    "deploy/prometheus/rules.yaml",
    "deploy/prometheus/prometheusrule.yaml",
    "deploy/chart/files/prometheusrule.yaml",
)


def with_home(address: str, ref: str) -> dict[Path, str]:
    """File of the checkout -> its content with links to *ref*, a tag or branch, of the repository at *address*.

    They are: URLs of the Python package and its description, home and sources of the chart, and runbooks of the alerts.
    """
    address = address.rstrip("/")
    pages = f"{address}/blob/{ref}/"
    texts = {name: (ROOT / name).read_text() for name in (PACKAGE, README, CHART, *RULES)}
    texts[PACKAGE] = _added(texts[PACKAGE], "[project.scripts]\n", URLS.format(address=address, pages=pages))
    texts[README] = re.sub(r"\]\((?!https?://|#)", f"]({pages}", texts[README])
    texts[README] = texts[README].replace("git clone REPOSITORY ", f"git clone {address} ")
    texts[CHART] = _added(texts[CHART], "keywords:", f"home: {address}\nsources: [{address}]\n")
    for name in RULES:
        texts[name] = re.sub(r"(?<=runbook_url: )(?!https?://)", pages, texts[name])
    return {ROOT / name: text for name, text in texts.items()}


def _added(text: str, before: str, part: str) -> str:
    """*text* with *part* before the line that begins with *before*; ValueError where there is none or it has it."""
    head, found, tail = text.partition(f"\n{before}")
    if not found or part.partition("\n")[0].partition(":")[0] in head:
        raise ValueError(f"no place for {part.splitlines()[0]!r}")
    return f"{head}\n{part}{before}{tail}"
