"""The compiled template: the page is the same with it, and without one that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.reports import make_report
from probe.outputs import compiled, page
from probe.outputs.compile_page import compile_page


def rendered(monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The page, and how often Jinja compiled its template."""
    compilations = []
    environment = page.environment()
    compile_template = type(environment).compile
    monkeypatch.setattr(
        type(environment), "compile", lambda *args, **names: compilations.append(1) or compile_template(*args, **names)
    )
    page._template.cache_clear()
    text = page.render_page(make_report(), last=None, note="", minutes=1, node_name="node-1")
    page._template.cache_clear()
    return text, len(compilations)


@pytest.mark.slow
def test_a_compiled_template_is_used_while_it_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing, of another template, cut off or no code at all: Jinja compiles it, and the page is the same."""
    monkeypatch.setattr(compiled, "COMPILED", tmp_path / "page.compiled")
    plain, times = rendered(monkeypatch)
    assert times == 1
    compile_page()
    content = compiled.COMPILED.read_bytes()
    assert rendered(monkeypatch) == (plain, 0)
    for damaged in (b"", content[:10], content[: len(content) // 2], b"x" * 1000, content.replace(b"j2", b"j3", 1)):
        compiled.COMPILED.write_bytes(damaged)
        assert rendered(monkeypatch)[0] == plain
    assert sorted(tmp_path.iterdir()) == [compiled.COMPILED]  # nothing is written by who reads it
