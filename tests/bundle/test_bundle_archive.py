"""A bundle is read again as it was written; anything else is refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.factory import make_probe
from lab.recorded import NAMES, TESTS, RecordedTrials, Recording
from probe.bundle import archive
from probe.bundle.again import report_again, report_of
from probe.bundle.archive import Bundle, BundleError, Manifest, pack, unpack
from probe.bundle.redact import Redactor
from probe.facts.bundle.keep import keep
from probe.facts.bundle.questions import Answers, Asked
from probe.facts.bundle.replay import MISSING, replayed_host
from probe.facts.model import Facts
from probe.outputs.documents import builtins
from probe.report import decisive_finding
from tests.extent import some_slow

BUNDLES = sorted((TESTS / "bundles").glob("*.tar.gz"))

MANIFEST = Manifest(
    agent_version="1",
    node_name="k8slab",
    probed_at="2026-11-21T21:00:00Z",
    expires_at="2026-11-21T21:15:00Z",
    duration_seconds=0.5,
    volume_paths=True,
)


def probed(name: str) -> tuple[Facts, list[Asked]]:
    """Facts of a recorded node, and what they were made of."""
    recording = Recording(name)
    asked: list[Asked] = []
    return keep(asked, "k8slab", recording.host, make_probe(), RecordedTrials(recording)), asked


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES[:2], *some_slow(*NAMES[2:])])
def test_the_same_report_comes_out_of_a_bundle(name: str) -> None:
    """Field by field, of every recorded node, after redaction and through the archive."""
    facts, asked = probed(name)
    content = pack(Bundle(MANIFEST, tuple(Redactor().redact(asked))), "{}")
    assert builtins(report_again(unpack(content))) == builtins(report_of(MANIFEST, facts))


def test_the_same_answers_give_the_same_bytes() -> None:
    """Two bundles of one probe can be compared with cmp(1)."""
    _, asked = probed(NAMES[0])
    bundle = Bundle(MANIFEST, tuple(asked))
    assert pack(bundle, "{}") == pack(bundle, "{}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "question", ["cri_answer", "mountinfo", "namespace", "places", "read", "resolve", "run", "walk"]
)
def test_what_nobody_asked_is_unknown(question: str) -> None:
    """A later version may ask more than the one that wrote the bundle: that is never a pass."""
    facts, asked = probed("containerd-2.1.9-kernel-6.18")
    rest = tuple(one for one in asked if one.question != question)
    assert report_of(MANIFEST, facts).verdict == "ready"
    assert len(rest) < len(asked)
    assert report_again(Bundle(MANIFEST, rest)).verdict == "unknown"


def tar_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def manifest(**fields: object) -> bytes:
    return json.dumps(
        {"format": archive.FORMAT, "agent_version": "1", "probed_at": "", "expires_at": ""} | fields
    ).encode()


GOOD = manifest()
LINE = b'{"question": "read", "arguments": ["/x"], "answer": {"source": "/x", "value": 7}}\n'
HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello\n",
    "truncated": lambda: tar_of({"manifest.json": GOOD, "answers.ndjson": LINE * 99})[:-60],
    "gzip of text": lambda: gzip.compress(b"hello" * 500),
    "no answers": lambda: tar_of({"manifest.json": GOOD}),
    "no manifest": lambda: tar_of({"answers.ndjson": LINE}),
    "another format": lambda: tar_of({"manifest.json": manifest(format="v9"), "answers.ndjson": b""}),
    "wrong types": lambda: tar_of({"manifest.json": manifest(duration_seconds="long"), "answers.ndjson": b""}),
    "half a line": lambda: tar_of({"manifest.json": GOOD, "answers.ndjson": LINE + LINE[:20]}),
    "deep": lambda: tar_of({"manifest.json": GOOD, "answers.ndjson": b"[" * 100_000}),
    "no probe": lambda: tar_of({"manifest.json": GOOD, "answers.ndjson": LINE}),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_anything_else_is_refused(content: Callable[[], bytes]) -> None:
    """With a reason, and without writing or running anything."""
    with pytest.raises(BundleError, match=r"\S"):
        report_again(unpack(content()))


def test_an_answer_of_another_type_is_refused() -> None:
    """A number where a file's content belongs is not a file."""
    _, asked = probed(NAMES[0])
    odd = [Asked(one.question, one.arguments, 7) if one.question == "read" else one for one in asked]
    with pytest.raises(BundleError):
        report_again(Bundle(MANIFEST, tuple(odd)))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that grows without end is left after twice the size that a bundle can have."""
    monkeypatch.setattr(archive, "LIMIT", 1 << 20)
    with pytest.raises(BundleError):
        unpack(tar_of({"manifest.json": GOOD, "answers.ndjson": b" " * (3 << 20)}))


def test_a_question_that_nobody_asked() -> None:
    """Each of its parts has a problem as answer, as in a bundle of an earlier version."""
    host = replayed_host(Answers(()))
    for answer in (
        host.try_sysctls({"net.a": "1"}),
        host.places(1, ["/x"]),
        host.read_all_beneath("/d", ["f"], 5),
        {"/x": host.status("/x")},
    ):
        assert [one.problem for one in answer.values()] == [MISSING]


@pytest.mark.parametrize("file", BUNDLES, ids=lambda file: file.name)
def test_a_reported_node_is_judged_rightly(file: Path) -> None:
    """Beside the bundle stands what Pods did there; a question that is newer than the bundle may leave it unknown."""
    right = json.loads(file.with_name(file.name.replace(".tar.gz", ".json")).read_text())
    report = report_again(unpack(file.read_bytes()))
    decisive = decisive_finding(report)
    if report.verdict == "unknown" and right["verdict"] != "unknown":
        assert decisive
        assert MISSING in decisive.message + str(decisive.evidence)
    else:
        assert {"verdict": report.verdict, "reason": report.reason} == right
