"""A report that `watch` confirmed: what is served is, to the byte, what a parser would have made of the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.reports import REPORTS, make_report, tmpfs_refused
from lab.serve.serving import put, with_node
from probe.outputs.annotations import node_annotations
from probe.outputs.documents import render_json
from probe.outputs.exposition import generate_openmetrics, generate_text
from probe.outputs.memory import Memory, memory_of, render_memory
from probe.outputs.metrics import MetricsText, render_metrics
from probe.outputs.page import render_page
from probe.outputs.publishing import Publishing
from probe.report import Report
from probe.serve import report_file
from probe.serve.confirmation import Confirmable
from probe.serve.history import History
from probe.serve.report_file import Change, Current, _decode, parse_report
from probe.serve.untrusted_file import Unusable
from probe.watch.report_file import with_times

BOOT = make_report().node.boot_id
MOMENTS = ["2026-11-21T21:30:00Z", "2026-11-21T22:00:00Z", "2026-11-22T21:30:00Z", "2020-01-01T00:00:00Z"]
NONSENSE = ["2026-13-45T99:99:99Z", "0000-00-00T00:00:00Z", "2026-11-21T21:30:00+", '","verdict":"x","":"']
TIMES, ANYTHING = st.sampled_from(MOMENTS), st.sampled_from(MOMENTS + NONSENSE)


def written(report: Report, **times: str) -> bytes:
    """The report as `watch` writes it, with these times."""
    return with_times(json.dumps(json.loads(render_json(report)), indent=2).encode() + b"\n", {**times})


def confirmation(at: str = "2026-11-21T21:40:00Z", expires: str = "2026-11-21T23:00:00Z") -> dict[str, str]:
    return {"confirmed_at": at, "expires_at": expires}


def confirmed_at_minute(content: bytes, minute: int) -> bytes:
    return with_times(content, {**confirmation(f"2026-11-21T22:{minute}:00Z", f"2026-11-22T22:{minute}:00Z")})


def known_of(content: bytes, parses: list[bytes]) -> Confirmable:
    """What is known after *content* was parsed; each further one that is parsed goes to *parses*."""
    return Confirmable(content, parse_report(content), lambda content: parses.append(content) or _decode(content))


def a_report() -> Report:
    return with_node(make_report(), uptime_seconds=1.0)


def parsed(content: bytes) -> Report | None:
    with suppress(Unusable):
        return parse_report(content)
    return None


@pytest.mark.parametrize("name", REPORTS)
def test_a_confirmed_report_is_not_parsed(name: str) -> None:
    """But for once, to see which bytes its times are; and the result is that of the parser."""
    parses: list[bytes] = []
    content = written(with_node(REPORTS[name], uptime_seconds=1.0), **confirmation())
    known = known_of(content, parses)
    for minute in range(10, 50):
        later = confirmed_at_minute(content, minute)
        assert known.confirmed(later) == parse_report(later)
    assert len(parses) == 1


BOTH = b'\n  "confirmed_at": "2026-11-21T22:30:00Z",\n  "expires_at": "2026-11-21T22:30:00Z"'


EXPIRY, MOMENT = (b'\n  "%s": "2026-11-21T22:30:00Z"' % name for name in (b"expires_at", b"confirmed_at"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The parser takes the last of two keys; the first is what is found here.
        (b"{", b"," + EXPIRY + b"}"),
        (b"{", b',\n  "confirmed_at": null}'),
        (b"{", b"," + MOMENT + b"," + EXPIRY + b"}"),
        # In another object, where the parser ignores it.
        (b'{"x": {' + EXPIRY + b"},", b"}"),
        (b'{"x": {' + MOMENT + b"},", b"}"),
        (b'{"x": {' + MOMENT + b"," + EXPIRY + b"},", b"}"),
    ],
)
def test_what_only_looks_like_its_times_is_parsed(before: bytes, after: bytes) -> None:
    """The file is untrusted: keys may be doubled, or those of something else."""
    content = before + written(a_report(), **confirmation())[1:-3] + after
    assert json.loads(content)
    for old, new in ((b"22:30:00Z", b"22:31:00Z"), (b"21:40:00Z", b"21:41:00Z"), (b"23:00:00Z", b"22:59:00Z")):
        later = content.replace(old, new)
        assert later != content or old == b"22:30:00Z"
        assert known_of(content, []).confirmed(later) in (None, parsed(later))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), times=st.tuples(TIMES, TIMES), later=st.tuples(ANYTHING, ANYTHING))
def test_it_is_the_report_that_a_parser_makes(
    data: st.DataObject, times: tuple[str, str], later: tuple[str, str]
) -> None:
    """Of any file, however damaged before or after it was parsed; and never one that the parser refuses."""
    content = written(a_report(), **confirmation(*times))
    if data.draw(st.booleans()):
        content = damaged(data, content)
    report = parsed(content)
    if report is None:
        return
    known = known_of(content, [])
    for old, new in zip(times, later, strict=True):
        content = content.replace(f'"{old}"'.encode(), f'"{new}"'.encode())
    if data.draw(st.booleans()):
        content = damaged(data, content)
    found = known.confirmed(content)
    assert found is None or found == parsed(content)


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """The content with one part replaced, cut, doubled, or another value of a time in it."""
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 60)))
    part = content[end : end + data.draw(st.integers(0, 60))]
    time = b'\n  "expires_at": "2026-11-21T22:30:00Z",'
    return (
        content[:start]
        + data.draw(st.sampled_from([b"", part, time, time.replace(b"expires", b"confirmed")]))
        + content[end:]
    )


class Forgetful(History):
    """A history that works out each report anew."""

    @property
    def _settled(self) -> bool:
        return False

    @_settled.setter
    def _settled(self, value: bool) -> None:
        pass


class Parsing(Current):
    """The state of the file, of which each content is parsed."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.history = Forgetful()

    def _take(self, content: bytes) -> Change:
        self._content = parse_report(content)
        return "another"

    def effective(self) -> Report | None:
        return self.snapshot().effective


FORMATS = (generate_text, generate_openmetrics)


class Both:
    """Two readers of one file, which have to say the same."""

    def __init__(self, path: str) -> None:
        self.path, self.uptime = Path(path), 0.0
        kept, anew = (kind(path, boot_id=BOOT, uptime=lambda: self.uptime) for kind in (Current, Parsing))
        self.kept, self.anew = kept, anew
        self.texts = [MetricsText(generate) for generate in FORMATS]
        self.writes = 0

    def put(self, content: bytes) -> None:
        put(self.path, content)
        for each in (self.kept, self.anew):
            each.refresh()

    def compare(self) -> None:
        self.writes += 1
        now, then = self.kept.snapshot(), self.anew.snapshot()
        assert now == then
        assert self.kept.effective() == now.effective
        assert self.kept.history.annotations() == self.anew.history.annotations()
        assert self.kept.ever_valid == self.anew.ever_valid
        publishing = Publishing(results={"success": self.writes // 2}, last_success=None)
        for text, generate in zip(self.texts, FORMATS, strict=True):
            found = text.of(self.kept.effective(), publishing)
            assert found == render_metrics(self.anew.effective(), publishing, generate)
        if now.effective:
            assert node_annotations(now.effective) == node_annotations(then.effective or now.effective)


@contextmanager
def both() -> Iterator[Both]:
    with tempfile.TemporaryDirectory() as folder:
        yield Both(f"{folder}/report.json")


KINDS = (
    lambda uptime: with_node(make_report(since="2026-11-21T21:30:00Z"), uptime_seconds=uptime, boot_id=BOOT),
    lambda uptime: with_node(tmpfs_refused(), uptime_seconds=uptime, boot_id=BOOT),
    lambda uptime: with_node(make_report(), uptime_seconds=uptime, boot_id="another"),
)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_life_of_confirmations_is_told_as_if_each_were_a_probe(data: st.DataObject) -> None:
    """Document, metrics, annotations, history and expiry, whatever follows what, also as the clock runs."""
    with both() as readers:
        content = b""
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.sampled_from(["probe", "confirm", "confirm", "confirm", "wait", "recall", "damage"]))
            if step == "probe":
                content = written(data.draw(st.sampled_from(KINDS))(readers.uptime))
            elif step == "confirm" and content:
                content = with_times(content, {**confirmation(data.draw(TIMES), data.draw(TIMES))})
            elif step == "wait":
                readers.uptime += data.draw(st.sampled_from([1.0, 900.0, 3600.0, 90000.0]))
            elif step == "recall":
                memory = render_memory(memory_of(data.draw(st.sampled_from(KINDS))(0.0), Memory()))
                for each in (readers.kept, readers.anew):
                    each.history.recall(memory, ())
            put_now = damaged(data, content) if step == "damage" else content
            readers.put(put_now)
            readers.compare()


def test_the_page_of_a_confirmed_report_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no second report was parsed for it."""
    readers = Both(str(tmp_path / "report.json"))
    content = written(KINDS[0](0.0), **confirmation())
    readers.put(content)
    parses: list[bytes] = []
    monkeypatch.setattr(report_file, "parse_report", lambda content: parses.append(content) or parse_report(content))
    for minute in range(10, 20):
        put(
            readers.path,
            with_times(content, confirmation(f"2026-11-21T22:{minute}:00Z", f"2026-11-22T22:{minute}:00Z")),
        )
        assert readers.kept.refresh() == "confirmed"
        assert not parses
        readers.anew.refresh()
        parses.clear()
        readers.compare()
        pages = [
            render_page(each.snapshot().effective, last=each.snapshot().report, note="", minutes=1, node_name=None)
            for each in (readers.kept, readers.anew)
        ]
        assert f"22:{minute}" in pages[0]
        assert pages[0] == pages[1]
