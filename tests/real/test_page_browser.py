"""The page in a real browser: Chromium, headless, driven by its own protocol over a pipe.

With --basetemp=DIRECTORY screenshots are kept there, to be looked at.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lab.prerequisites import require
from lab.reports import REPORTS
from lab.serve.serving import put_report, with_node
from probe.outputs.staleness import lifetime
from probe.report import Report
from probe.serve.app import App
from probe.serve.report_file import Current, boot_time, read_boot_id
from probe.serve.server import Server
from tests.outputs.test_outputs_page import rich_report

pytestmark = [pytest.mark.real, pytest.mark.program]

PAGES: dict[str, Report | None] = {**REPORTS, "none": None, "stale": rich_report(), "rich": rich_report()}
WIDTHS = (360, 1280)

# The lowest contrast of any text with what is painted behind it, as WCAG 2 counts it, and whose it is.
CONTRAST = """(() => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 100)];
  }
  return worst;
})()"""


def high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are in nobody's way: 3 and 4 are those that the browser speaks on."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


class Browser:
    """One tab of a Chromium of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        self.messages: list[dict[str, Any]] = []
        self._last = 0
        read_end, self._to = high_pipe()
        output, write_end = high_pipe()
        options = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
        )
        # A shell can put the pipes on 3 and 4, and subprocess cannot.
        shell = f'exec "$0" "$@" 3<&{read_end} 4>&{write_end} {read_end}<&- {write_end}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *options.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_end, write_end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_end)
        os.close(write_end)
        self._input = os.fdopen(output, "rb")
        self._session = ""
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        os.close(self._to)  # without its pipe it ends
        self._input.close()
        self._process.wait()

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command; events that come before it are kept in `messages`."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != self._last:
            self.messages.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, url: str, width: int, scheme: str) -> None:
        """Load a page as a screen of that width and colour scheme shows it, and wait until it is complete."""
        self.messages.clear()
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        while not any(message.get("method") == "Page.loadEventFired" for message in self.messages):
            self.messages.append(self._read())

    def value(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str, code: int) -> None:
        text = {"text": "\r"} if key == "Enter" else {}  # without it nothing is activated
        for kind, typed in (("keyDown", text), ("keyUp", {})):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def screenshot(self, path: Path) -> None:
        """The whole page, also what is below the screen."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._input.read(1)) != b"\0":
            assert byte, "the browser ended"
            content += byte
        message: dict[str, Any] = json.loads(content)
        return message


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium")
    require(program, "chromium (package chromium)")
    assert program
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def keep(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], None]:
    """Make a screenshot of that name, if --basetemp says where somebody will look for it: each takes a second."""

    def keep(name: str) -> None:
        if request.config.getoption("basetemp"):
            browser.screenshot(tmp_path / f"{name}.png")

    return keep


class Site:
    """What `serve` listens and answers with, and every path that was asked for."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        self._report_file, self._age = directory / "report.json", 0.0
        self._current = Current(str(self._report_file), boot_id=read_boot_id(), uptime=lambda: boot_time() + self._age)
        self._app = App(self._current)
        self._server = Server(("127.0.0.1", 0), self._answer)
        self._server.prepare()
        Thread(target=self._server.serve, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.bind_addr[1]}/"

    def put(self, name: str) -> None:
        """Have it serve that page."""
        self._report_file.unlink(missing_ok=True)
        if report := PAGES[name]:
            put_report(self._report_file, with_node(report, boot_id=read_boot_id(), uptime_seconds=boot_time()))
            self._age = lifetime(report) if name == "stale" else 0.0
        self._current.refresh()
        assert self._current.snapshot().state == {"none": "missing", "stale": "expired"}.get(name, "valid")
        self.asked.clear()

    def close(self) -> None:
        self._server.stop()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append(environ["PATH_INFO"])
        return self._app(environ, start_response)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    served = Site(tmp_path_factory.mktemp("site"))
    yield served
    served.close()


@pytest.fixture
def show(browser: Browser, site: Site) -> Callable[..., Browser]:
    """(name, width, scheme) -> the browser with that page open, which asked for nothing else."""

    def show(name: str, width: int = 1280, scheme: str = "light") -> Browser:
        site.put(name)
        browser.open(site.address, width, scheme)
        assert site.asked == ["/"]
        return browser

    return show


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_stands(show: Callable[..., Browser], keep: Callable[[str], None], name: str, scheme: str) -> None:
    """On a phone and on a desk, light and dark: styled, legible, nothing cut off, no error, no request elsewhere."""
    for width in WIDTHS:
        page = show(name, width, scheme)
        said = [m for m in page.messages if m.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled")]
        assert not said
        requests = [
            m["params"]["request"]["url"] for m in page.messages if m.get("method") == "Network.requestWillBeSent"
        ]
        assert [url for url in requests if not url.startswith("data:")] == [page.value("location.href")]
        assert page.value("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert page.value("getComputedStyle(document.body).maxWidth") != "none", "the style was not applied"
        assert page.value("document.documentElement.scrollWidth") <= width
        page.value("document.querySelectorAll('details').forEach(each => each.open = true)")
        ratio, element = page.value(CONTRAST)
        assert ratio >= 4.5, f"{element} has a contrast of {ratio:.2f}"
        assert page.value("document.documentElement.scrollWidth") <= width
        keep(f"{name}-{width}-{scheme}")


def test_the_keyboard_reaches_all_there_is_to_do(show: Callable[..., Browser]) -> None:
    """Links, commands (which scroll) and folded parts, each with a visible outline; Enter unfolds."""
    page = show("tmpfs-refused")
    expected = page.value("document.querySelectorAll('a, summary, pre').length")
    seen = []
    for _ in range(expected):
        page.press("Tab", 9)
        tag, outline = page.value(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline == "solid"
        seen.append(tag)
        if tag == "SUMMARY" and not page.value("document.activeElement.parentElement.open"):
            page.press("Enter", 13)
    assert {"A", "PRE", "SUMMARY"} == set(seen)
    assert len(seen) == expected


def test_an_injected_script_would_not_run(show: Callable[..., Browser]) -> None:
    """The policy is in force, should escaping ever fail."""
    page = show("ready")
    page.value("(s => { s.textContent = 'window.ran = 1'; document.body.append(s) })(document.createElement('script'))")
    assert page.value("window.ran") is None
    assert any(m.get("method") == "Log.entryAdded" for m in page.messages)
