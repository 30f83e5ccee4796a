"""What leaves a node, and nothing on it can soil: the terminal, the page, metrics, annotations, documents and logs."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from probe.outputs.annotations import (
    KEYS,
    PREFIX,
    REPORT_LIMIT,
    node_annotations,
    node_condition,
    node_event,
    node_label,
)
from probe.outputs.documents import render_json, render_yaml
from probe.outputs.metrics import SERIES_LIMIT, ReportCollector
from probe.outputs.page import render_page
from probe.outputs.terminal import render_paths, render_report
from probe.outputs.text import safe
from probe.report import Report
from probe.watch.log import LINE_LIMIT, render_line
from probe.watch.report_file import REPORT_LIMIT as DOCUMENT_LIMIT

SGR = re.compile(r"\x1b\[[0-9;]*m")
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
"""Of a Node condition. *Source*: Kubernetes API conventions."""
LABEL = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
ANNOTATIONS_LIMIT = 256 << 10
"""Bytes of all annotations of an object together. *Source*: apimachinery, `TotalAnnotationSizeLimitB`."""
TAGS = frozenset((
    "article", "a", "body", "caption", "code", "dd", "details", "div", "dl", "dt", "footer", "h1", "h2", "h3",
    "head", "header", "html", "li", "link", "main", "meta", "nav", "ol", "p", "pre", "section", "span", "strong",
    "style", "summary", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
))  # fmt: skip
"""What the page is made of."""
ATTRIBUTES = frozenset((
    "aria-hidden", "aria-label", "aria-labelledby", "charset", "class", "colspan", "content", "data-head",
    "datetime", "href", "http-equiv", "id", "lang", "name", "open", "rel", "scope", "tabindex",
))  # fmt: skip
LINKS = (
    *("metrics", "report.json", "data:image/svg+xml,%3Csvg ", "#"),
    *("https://kubernetes.io/", "https://kep.k8s.io/", "https://man7.org/linux/man-pages/", "https://github.com/"),
)


def check_all(report: Report) -> None:
    """Every output of *report*; an AssertionError, or whatever an output raises, for the first that is not clean."""
    check_terminal(report)
    check_page(report)
    check_yaml(report)
    check_machines(report)


def check_machines(report: Report) -> None:
    """The same of what machines read, which takes a hundredth of the time."""
    check_metrics(report)
    check_published(report)
    check_json(report)
    check_logs(report)


def check_terminal(report: Report) -> None:
    """Nothing but visible characters and our own colours, at any width and in any encoding."""
    for width, colour, verbose in ((80, True, 1), (40, False, 0)):
        demand_visible(SGR.sub("", render_report(report, width=width, colour=colour, verbose=verbose)) if colour else
                       render_report(report, width=width, colour=colour, verbose=verbose))  # fmt: skip
    paths = render_paths(report.filesystems, width=None, colour=False)
    demand_visible(paths)
    rows = paths.partition("\n\n")[0].splitlines()  # what follows tells what to do about them
    assert len(report.filesystems) == len(rows)
    assert safe(paths, "ascii").isascii()


def check_page(report: Report | None) -> None:
    """Our own tags, attributes and links, whatever stands between them."""
    page = Page()
    page.feed(render_page(report))
    page.close()
    assert not page.open, page.open


def check_metrics(report: Report | None) -> None:
    """Both formats are read by their own parser; few series, with labels that show what they are."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: (report, None)))
    for text, parse in (
        (generate_latest(registry).decode(), parse_text),
        (generate_openmetrics(registry).decode(), parse_openmetrics),
    ):
        samples = [sample for family in parse(text) for sample in family.samples]
        assert 0 < len(samples) <= SERIES_LIMIT
        assert len({(sample.name, *sorted(sample.labels.items())) for sample in samples}) == len(samples)
        for value in (value for sample in samples for value in sample.labels.values()):
            assert len(value.encode()) <= 64
            demand_visible(value)


def check_published(report: Report) -> None:
    """Annotations, label, condition and Event that an API server takes."""
    annotations = node_annotations(report)
    assert {key.removeprefix(PREFIX) for key in annotations} <= set(KEYS)
    assert sum(len(key) + len(value.encode()) for key, value in annotations.items()) < ANNOTATIONS_LIMIT / 8
    for value in annotations.values():
        demand_visible(value)
        assert "\n" not in value
    summary = annotations[f"{PREFIX}report"]
    assert len(summary.encode()) <= REPORT_LIMIT
    assert json.loads(summary)["verdict"] == report.verdict
    assert all(LABEL.fullmatch(value) for value in node_label(report).values())
    condition, event = node_condition(report), node_event("ready", report)
    assert REASON.fullmatch(condition.reason)
    for message in (condition.message, event.message if event else ""):
        demand_visible(message)
        assert len(message.encode()) <= 1024


def check_json(report: Report) -> None:
    """ASCII that strict readers take, and not too large for `watch`."""
    text = render_json(report)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert len(text) <= DOCUMENT_LIMIT, f"{len(text)} bytes of JSON"
    json.dumps(json.loads(text), ensure_ascii=False).encode()


def check_yaml(report: Report) -> None:
    """The same document, for whatever reads YAML."""
    text = render_yaml(report)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert yaml.load(text, yaml.CSafeLoader) == json.loads(render_json(report))


def check_logs(report: Report) -> None:
    """One line of JSON in ASCII for whatever is logged of it, with the beginning of what is too long for a line."""
    line = render_line({"event": report.reason, "message": report.message, "node": report.node.name})
    assert line.isascii()
    assert line.isprintable()
    said = json.loads(line)["message"]
    assert said == report.message or (len(line) > LINE_LIMIT // 4 and report.message.startswith(said.rstrip(".")))


def demand_visible(text: str) -> None:
    """No control or format character, no mark that stacks, nothing that turns the direction of text."""
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)[:300]
        assert not any(unicodedata.category(char)[0] == "M" for char in line) or line.isascii(), ascii(line)[:300]
        assert not any(unicodedata.bidirectional(char) in _TURNS for char in line), ascii(line)[:300]


_TURNS = frozenset(["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"])


class Page(HTMLParser):
    """Reads the page as a browser does, and demands that it is made of what we made it of."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, name
            demand_visible(value or "")
            assert name != "href" or (value or "").startswith(LINKS), value
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            demand_visible(data)

    def handle_comment(self, data: str) -> Any:
        raise AssertionError(f"a comment: {data[:100]!r}")

    unknown_decl = handle_pi = handle_comment

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"
