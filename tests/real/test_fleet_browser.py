"""The inventory's HTML in a real browser: two widths, light, dark and print; screenshots with --basetemp."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from lab.fleet.cluster import small
from probe.fleet.inventory import Inventory, Section
from probe.fleet.outputs.html import render_html
from probe.fleet.rows import EvidenceRow
from tests.fleet.conftest import taking
from tests.real.test_page_browser import CONTRAST, WIDTHS, Browser, browser, keep

pytestmark = [pytest.mark.real, pytest.mark.program]
__all__ = ["browser", "keep"]

LONG = "a-name-without-any-break-" * 10


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a file: the small cluster with evidence, something unread, and a very long name."""
    folder = tmp_path_factory.mktemp("html")
    with taking(small(), folder) as take_now:
        found: Inventory = take_now()
    evidence = (
        EvidenceRow(node="gen-0", verdict="ready", attempts=7, errors=7, contradiction=True),
        EvidenceRow(node="gen-1", verdict="ready", attempts=70, errors=2, contradiction=False),
    )
    sections = tuple(one for one in found.sections if one.name != "prometheus")
    read = Section(name="prometheus", state="read", objects=4)
    unread = Section(name="limitranges", state="unknown", problem="no right to list limitranges")
    long = replace(found.workloads[0], name=LONG)
    whole = replace(
        found,
        evidence=evidence,
        sections=(*sections, read, unread),
        workloads=(*found.workloads, long),
        cluster="prod-eu-1",
    )
    path = folder / "inventory.html"
    path.write_text(render_html(whole), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def show(browser: Browser, page: str) -> Iterator[Callable[..., Browser]]:
    """(width, scheme, media) -> the browser with the file open."""

    def show(width: int, scheme: str = "light", media: str = "") -> Browser:
        browser.open(page, width, scheme)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", media=media, features=features)
        return browser

    yield show
    browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize(("scheme", "media"), [("light", ""), ("dark", ""), ("light", "print"), ("dark", "print")])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_file_stands(
    show: Callable[..., Browser],
    keep: Callable[[str], None],
    width: int,
    scheme: str,
    media: str,
) -> None:
    """Styled, legible, nothing cut off, no error, no request elsewhere; on paper always dark on light."""
    shown = show(width, scheme, media)
    assert not [m for m in shown.messages if m.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled")]
    requests = [m["params"]["request"]["url"] for m in shown.messages if m.get("method") == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith("data:")] == [shown.value("location.href")]
    assert shown.value("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('section')].filter(each => each.scrollWidth > each.clientWidth + 1).length"
    assert shown.value(cut) == 0
    ratio, element = shown.value(CONTRAST)
    assert ratio >= 4.5, f"{element} has a contrast of {ratio:.2f}"
    light = shown.value("getComputedStyle(document.querySelector('h1')).color.match(/[0-9]+/g)[0] < 128")
    assert light == (scheme == "light" or media == "print")
    keep(f"fleet-{width}-{scheme}{media}")


def test_tables_are_sorted(show: Callable[..., Browser]) -> None:
    """By numbers as numbers, in both directions, with the keyboard too; no row is lost."""
    shown = show(1280)
    table = "document.querySelector('#list-movable').closest('section').querySelector('table')"
    column = f"[...{table}.tBodies[0].rows].map(row => +row.cells[1].textContent)"
    before = shown.value(column)
    shown.value(f"{table}.tHead.querySelectorAll('button')[1].focus()")
    shown.press("Enter", 13)
    assert shown.value(column) == sorted(before)
    shown.press("Enter", 13)
    assert shown.value(column) == sorted(before, reverse=True)
    assert shown.value(f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == "descending"


def test_an_injected_script_would_not_run(show: Callable[..., Browser]) -> None:
    """The policy in the file is in force, should escaping ever fail."""
    shown = show(1280)
    shown.value(
        "(s => { s.textContent = 'window.ran = 1'; document.body.append(s) })(document.createElement('script'))"
    )
    shown.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 2\">')")
    assert shown.value("window.ran") is None


def test_links_lead_to_parts(show: Callable[..., Browser]) -> None:
    """Each entry of the contents has its part."""
    shown = show(1280)
    assert (
        shown.value("[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length") == 0
    )
    assert shown.value("document.querySelectorAll('nav a').length") > 10
