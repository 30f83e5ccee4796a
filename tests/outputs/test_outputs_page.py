"""The page: all that a person asks first, and nothing that a node could put into it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from lab.reports import REPORTS, make_finding, make_report, make_row, tmpfs_refused
from probe.finding import Evidence
from probe.outputs import view
from probe.outputs.links import links
from probe.outputs.page import ROWS_LIMIT, content_security_policy, render_page
from probe.outputs.staleness import MESSAGE, expired
from probe.outputs.text import visible
from probe.report import IdRange, Node, Report, RestartForecast, VolumeRow
from tests.outputs.test_outputs_terminal import evil, hostile_reports

VOID = {"meta", "link"}
PAGES = ("https://kubernetes.io/", "https://kep.k8s.io/", "https://man7.org/linux/man-pages/", "https://github.com/")
TAGS = {
    "html", "head", "title", "meta", "link", "style", "body", "header", "footer", "nav", "main", "section", "article",
    "p", "strong", "code", "pre", "a", "span", "div", "h1", "h2", "h3", "ul", "ol", "li", "dl", "dt", "dd", "table",
    "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "time",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "rel", "href", "class", "id", "aria-label", "aria-labelledby", "aria-hidden",
    "tabindex", "scope", "colspan", "datetime", "data-head", "http-equiv", "open",
}  # fmt: skip


def make_volume(**overrides: object) -> VolumeRow:
    """A driver whose volumes work."""
    fields = {"driver": "ebs.csi.aws.com", "fstype": "ext4", "result": "supported", "reason": "", "usable": "yes"}
    return VolumeRow(**fields | {"count": 14} | overrides)


def rich_report() -> Report:
    """A report with something in every part of the page."""
    refused = {"result": "refused", "reason": "nfs4 cannot be idmapped on this kernel", "usable": "no"}
    hung = {"result": "unknown", "reason": "timed out: its server does not answer", "usable": None}
    return replace(
        tmpfs_refused(),
        volumes=(
            make_volume(driver="nfs.csi.k8s.io", fstype="nfs4", count=2, **refused),
            make_volume(driver="s3.csi.aws.com", fstype="fuse.s3fs", count=1, **hung),
            make_volume(),
        ),
        id_ranges=(IdRange(first=131072, count=786432, ids_per_pod=65536, configured=True, slots=12, used=3),),
        forecast=RestartForecast(
            outcome="fails",
            reason="its range holds 12 slots of IDs, fewer than maxPods: 110",
            message="run kubelet: failed to create user namespace manager: the kubelet's range holds too few IDs",
        ),
    )


class Reader(HTMLParser):
    """Elements, attributes and text of a page; complains of what is not closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[tuple[str, str, str]] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {(tag, name, value or "") for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def values(page: Reader, attribute: str) -> set[str]:
    return {value for _, name, value in page.attributes if name == attribute}


CLASSES = values(Reader(render_page(expired(rich_report()), last=rich_report())), "class")
for _report in REPORTS.values():
    CLASSES |= values(Reader(render_page(_report)), "class")


@pytest.mark.parametrize("name", REPORTS)
def test_what_a_person_asks_first(name: str) -> None:
    """Verdict, reason, message, the fix, each problem, and when it was seen."""
    report = REPORTS[name]
    page = Reader(render_page(report))
    words = page.words()
    for said in (report.verdict.replace("-", " ").capitalize(), report.reason, report.message):
        assert said in words
    for finding in report.findings:
        assert finding.id in words
        assert finding.message in words
        for line in finding.remediation.split("\n") if finding not in view.consequences(report) else ():
            assert line.strip() in words
    assert "2026-11-21 21:30:00 UTC" in words
    assert ("time", "datetime", "2026-11-21T21:30:00Z") in page.attributes
    assert page.tags.count("h1") == 1


def test_everything_has_its_place() -> None:
    """Levels, stack, handlers, file systems, volumes, IDs and the kubelet's next start."""
    words = Reader(render_page(rich_report())).words()
    for said in (
        "stateless", "6.1.0-44-amd64 x86_64", "containerd 2.1.9, snapshotter overlayfs", "runc 1.3.6",
        "(default), runc", "kubelet-root", "EINVAL from mount_setattr", "nfs.csi.k8s.io", "fuse.s3fs", "14",
        "131072 to 917503, configured", "3 of 12 in use", "the kubelet will not start again",
        "fewer than maxPods: 110", "do not apply here",
    ):  # fmt: skip
        assert said in words


def test_what_can_be_pasted_stands_alone() -> None:
    """Commands are in a block of their own, line by line, without the margin; sentences are not."""
    page = render_page(REPORTS["user-namespaces-off"])
    block = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    assert block
    assert block[1] == (
        "sysctl -w user.max_user_namespaces=16384\n"
        "echo user.max_user_namespaces=16384 &gt; /etc/sysctl.d/90-user-namespaces.conf\n"
    )
    assert "<p>Allow user namespaces, now and after each boot:</p>" in page


def test_what_has_one_cause_is_told_together() -> None:
    """Advice that helps several findings is given once."""
    page = render_page(REPORTS["user-namespaces-off"])
    assert page.count("Make user namespaces work first; then this can be tried.") == 1
    assert render_page(REPORTS["not-permitted"]).count("sudo userns-probe") == 1


def test_tables_tell_what_their_cells_are() -> None:
    """Each has a caption, and each heading says what it heads."""
    page = render_page(rich_report())
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert len(tables) == 4
    for table in tables:
        assert "<caption>" in table
        heads = re.findall(r"<th\b[^>]*>", table)
        assert set(heads) == {'<th scope="col">', '<th scope="row">'}


def test_no_report_yet() -> None:
    """It says so, why if that is known, and what to do; it claims nothing."""
    words = Reader(render_page(None, note="the last report is of another boot")).words()
    assert "No report yet" in words
    assert "the last report is of another boot" in words
    assert "Ready" not in words
    assert "No report yet" in Reader(render_page(None)).words()


def test_expired() -> None:
    """The verdict is unknown; what the last report said stands below, marked as such."""
    last = rich_report()
    words = Reader(render_page(expired(last), last=last)).words()
    assert words.index("Unknown") < words.index(MESSAGE) < words.index("What the last report said")
    assert "Its verdict was not ready" in re.sub(r" +", " ", words)
    assert words.index("What the last report said") < words.index("TmpfsNotIdmappable")
    alone = Reader(render_page(expired(REPORTS["ready"]))).words()
    assert "ready" not in alone.replace("Ready", "ready").split()


def test_long_tables_end() -> None:
    """Of five hundred rows some are shown and the others counted."""
    rows = tuple(make_row(role="tmpfs", path=f"/{i}") for i in range(500))
    assert f"and {500 - ROWS_LIMIT} more" in Reader(render_page(make_report(filesystems=rows))).words()


@settings.get_profile("hostile")
@given(hostile_reports(), evil)
def test_hostile_reports(report: Report, text: str) -> None:
    """No string of a node makes an element, an attribute, a link or a class, or anything that cannot be seen."""
    volume = make_volume(driver=text, fstype=text, result="unknown", reason=text, usable=None)
    forecast = RestartForecast(outcome="fails", reason=text, message=text)
    report = replace(report, volumes=(volume,), forecast=forecast)
    for content in (
        render_page(report),
        render_page(expired(report), last=report),
        render_page(None, note=text),
    ):
        page = Reader(content)
        assert set(page.tags) <= TAGS
        assert {name for _, name, _ in page.attributes} <= ATTRIBUTES
        for link in values(page, "href") - {"metrics", "report.json"}:
            assert link.startswith(("data:image/svg+xml,", *PAGES)) or re.fullmatch("#[a-z][a-z0-9-]{0,63}", link)
        assert values(page, "class") <= CLASSES
        assert visible("".join(page.text).replace("\n", "")) == "".join(page.text).replace("\n", "")
    shown = Reader(render_page(report)).words()
    assert re.sub(r"\s+", " ", visible(report.message)).strip() in shown


def test_markup_stays_text() -> None:
    """What looks like HTML is shown as it is."""
    words = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\" onclick='x' {{ 7 * 7 }} {% raw %}"
    report = make_report(
        make_finding(status="fail", reason=words, message=words, remediation=f"{words}\n  {words}", id=words,
                     evidence=(Evidence(words, words),)),
        node=Node(name=words, boot_id=words, distribution=words),
    )  # fmt: skip
    page = Reader(render_page(report))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.words().count(words) >= 7


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    """The hash is that of the page's own style; no script, frame, form or request is allowed."""
    policy = dict(part.split(" ", 1) for part in content_security_policy().split("; "))
    styles = re.findall(r"<style>(.*?)</style>", render_page(REPORTS["ready"]), re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_it_loads_nothing() -> None:
    """No script, no style attribute, no source; addresses elsewhere are links, which load nothing by themselves."""
    page = render_page(rich_report())
    assert not re.search(r"<script|\bstyle=|\bsrc=|@import|url\(|\bon[a-z]+=", page)
    assert re.findall("http-equiv=[^>]*", page) == ['http-equiv="refresh" content="60"']
    elsewhere = re.sub(r'<a href="https://[^"]*" rel="noopener noreferrer external">', "", page)
    assert set(re.findall(r"https?://[^'\" )<]+", elsewhere)) == {"http://www.w3.org/2000/svg"}


def test_whose_page_it_is() -> None:
    """The title begins with the node's name, so that tabs can be told apart, and ends with the program's."""
    for name, hostname, shown in (
        ("worker-7", "host-7", "worker-7"),
        (None, "host-7", "host-7"),
        (None, "", "this node"),
    ):
        node = Node(name=name, hostname=hostname, boot_id="", distribution="")
        page = render_page(make_report(node=node))
        assert f"<title>{shown} · ready · userns-probe</title>" in page
        assert f"<strong>{shown}</strong>" in page


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (None, "2026-11-21"),
        (0, "less than a minute ago"),
        (1, "1 minute ago"),
        (4, "4 minutes ago"),
        (60, "1 hour ago"),
        (4321, "3 days ago"),
    ],
)
def test_its_age_in_words(minutes: int | None, words: str) -> None:
    """A tab that stays open says how old it is, and asks again."""
    assert words in Reader(render_page(REPORTS["ready"], minutes=minutes)).words()


@pytest.mark.parametrize("name", REPORTS)
def test_each_check_can_be_linked_to(name: str) -> None:
    """Every finding is an anchor, and every link inside of the page has a target."""
    page = Reader(render_page(REPORTS[name]))
    anchors = values(page, "id")
    assert {finding.id for finding in REPORTS[name].findings} <= anchors
    assert {link[1:] for link in values(page, "href") if link.startswith("#")} <= anchors


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("mount_setattr(2), NOTES", ["https://man7.org/linux/man-pages/man2/mount_setattr.2.html"]),
        ("KEP-127; https://kubernetes.io/docs/x/", ["https://kep.k8s.io/127", "https://kubernetes.io/docs/x/"]),
        ("https://example.org/mount_setattr", []),
        ("javascript:alert(1)", []),
        ("https://kubernetes.io.example.org/docs", []),
        ("runc(8)", []),
    ],
)
def test_documentation_is_linked(text: str, addresses: list[str]) -> None:
    """Manual pages, KEPs and the projects' own pages are links; no address of a report's own choice is."""
    assert [link.url for link in links(text) if link.url] == addresses
    assert "".join(link.text for link in links(text)) == text


def colours(scheme: str) -> dict[str, str]:
    """The colours that the style names, in light or dark."""
    style = re.search(r"<style>(.*?)</style>", render_page(None), re.DOTALL)
    assert style
    light, dark = re.findall(r":root \{(.*?)\}", style[1], re.DOTALL)
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark))


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """WCAG AA: every colour of text on every ground that it stands on."""
    named = colours(scheme)
    grounds = ["page", "card", "code", *(name for name in named if name.endswith("-tint"))]
    pairs = [(text, ground) for text in ("text", "muted", "link") for ground in grounds]
    for status in ("pass", "fail", "unknown", "warn"):
        pairs += [(status, f"{status}-tint"), (status, "card")]
    for text, ground in pairs:
        assert contrast(named[text], named[ground]) >= 4.5, f"{text} on {ground}"


def test_changes_of_the_verdict() -> None:
    """Since when, what was before, and of each change the time, both answers and the difference; the newest first."""
    reader = Reader(render_page(REPORTS["changed"]))
    text = " ".join(" ".join(reader.text).split())
    assert "Since 2026-11-21 20:00:00 UTC , before: ready" in text
    changes = text[text.index("Changes of the verdict") :]
    assert changes.index("2026-11-21 20:00:00 UTC") < changes.index("At an unknown time")
    assert "kernel from 6.12.38+deb13-amd64 to 6.1.0-44-amd64" in changes
    assert "check filesystem-tmpfs from no problem to fail TmpfsNotIdmappable" in changes
    assert "before: unknown, because TimedOut" in changes
    assert "Changes of the verdict" not in render_page(REPORTS["tmpfs-refused"])


def test_changes_that_are_not_known() -> None:
    """The page says why."""
    problem = "the annotation userns-probe.io/changes cannot be read"
    page = render_page(replace(make_report(), changes_problem=problem))
    assert f"Earlier changes are not known: {problem}." in page


def test_a_page_without_a_report_names_its_node() -> None:
    """Five tabs of a roll-out are told apart before the first report; a name that is not known is left out."""
    assert "<title>worker-7 · unknown" in render_page(None, node_name="worker-7")
    assert "<title>unknown" in render_page(None)
