"""A hundredth of the campaign of hostile content, and that it would notice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab.faults import clean, content, fuzz
from lab.faults.content import FAULTS, inputs, on_a_node
from lab.faults.fuzz import GUIDED, Job, run
from lab.faults.imitators import gate_as_others_read_it
from lab.faults.mutate import LARGEST, mutated
from lab.faults.stage import BrokenError, Stage, make_stage
from lab.faults.targets import TARGETS
from lab.faults.targets.target import Target
from lab.faults.trees import LONG, SHAPES, long_path, planted
from lab.real.imitations import Watch
from lab.real.node import descendants
from lab.real.programs import KUBELET_HEADER
from lab.reports import REPORTS, make_finding, make_report
from probe.outputs.page import render_page
from tests.extent import CAMPAIGN_SCALE

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
SMALL = 0.01
WORDS = [b"one", b"two", b"three"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_share_of_the_inputs() -> None:
    """Every parser, without a guide: recordings, changed at random."""
    rows = list(inputs(SEED, CAMPAIGN_SCALE, lambda _: None))
    assert [problem for row in rows for problem in row.problems] == []
    assert {row.fault for row in rows} == {f"{target.group} (mutated recordings)" for target in TARGETS.values()}
    assert all(row.clean and row.injected for row in rows)


@pytest.fixture(scope="module")
def stage(workspace: str) -> Iterator[Stage]:
    """A node with daemons."""
    with make_stage(workspace) as made:
        yield made


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_hundredth_of_the_tenants(stage: Stage) -> None:
    """Every kind of tree and of imitation, beside real daemons."""
    rows = list(on_a_node(stage, SEED, SMALL, lambda _: None))
    assert [problem for row in rows for problem in row.problems] == []
    assert [row.fault for row in rows] == [fault.name for fault in FAULTS]
    assert all(row.clean and row.injected for row in rows)


@pytest.mark.real
def test_it_notices_what_is_opened_in_a_tree(stage: Stage) -> None:
    """A watch sees a look into any of what must not be looked into."""
    for name in ("file", "1 GiB", "FIFO"):
        with planted(stage, random.Random(SEED)) as tree:
            path = os.path.join(tree.root, b"\xff")
            SHAPES[name](tree, path)
            with Watch(path) as watch:
                os.lstat(path)
                assert not watch.seen()
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                assert watch.seen() == {os.fsdecode(path)}
        assert os.listdir(tree.root) == []


@pytest.mark.parametrize("length", LONG)
def test_a_path_has_the_length_that_is_asked_for(length: int, tmp_path: Path) -> None:
    """All of its directories are there, below any other."""
    for number in range(1, 4):
        directory = os.fsencode(tmp_path) + b"/" + b"a" * number * 80
        os.mkdir(directory)
        path = long_path(directory, length)
        assert (len(path), path.startswith(directory + b"/")) == (length, True)
        assert not path.endswith(b"/")
        assert os.listdir(directory) == [path[len(directory) + 1 :].split(b"/")[0]]
    assert length > 4095 or os.path.isdir(path)


@pytest.mark.parametrize(
    ("content", "gate"),
    [
        ("", True),
        ("featureGates: {UserNamespacesSupport: false}", False),
        ("featureGates: {UserNamespacesSupport: true, AllBeta: false}", True),
        ("featureGates: {AllBeta: false}", False),
        ("featureGates: {UserNamespacesSupport: 'false'}", None),
        ("featureGates: []", None),
        ("featureGates: {", None),
        ("featureGates: !!int ''", None),
    ],
)
def test_the_gate_as_others_read_it(content: str, gate: bool | None) -> None:
    """Without the probe's own parser, or nothing could be held against that."""
    assert gate_as_others_read_it(f"{KUBELET_HEADER}{content}\n".encode()) is gate


@pytest.mark.real
def test_it_notices_another_verdict(stage: Stage) -> None:
    """A configuration that switches the gate off is not taken for rubbish."""
    with stage.other_kubelet(version="1.34.1", config="featureGates: {UserNamespacesSupport: false}\n"):
        probed = stage.probe()
    with pytest.raises(BrokenError, match="not-ready, KubeletGateOff"):
        stage.expect(probed, "ready", "unknown")


def job(directory: Path, attempt: Callable[[bytes], object], runs: int = 50, guided: bool = False) -> Job:
    """A target of the test's own, once it is over."""
    made = Job(Target("trial", "trials", attempt, lambda: WORDS), SEED, runs, str(directory), guided)
    made.start()
    while not made.is_over():
        time.sleep(0.01)
    return made


def test_it_notices_what_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time, with the place, and the input to do it again; the others are tried all the same."""
    monkeypatch.setattr(fuzz, "KEPT", tmp_path / "kept")

    def refuse_two(data: bytes) -> None:
        assert data != b"two", "not two"

    over = job(tmp_path, refuse_two)
    assert over.done == 50
    assert over.faults >= 1
    assert "AssertionError at test_faults_content.py" in over.problems[0]
    assert Path(over.problems[0].rpartition("input ")[2]).read_bytes() == b"two"
    row = content.row_of("trials", [over])
    assert (row.injected, row.survived, row.leftovers, row.clean) == (50, 50 - over.faults, None, False)
    over.guided = True
    assert (row.fault, content.row_of("trials", [over]).fault) == (
        "trials (mutated recordings)",
        "trials (guided by coverage)",
    )


@pytest.mark.parametrize(
    ("misbehave", "words"),
    [
        (lambda: time.sleep(1000), "no answer in time"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended with -9"),
        (lambda: bytearray(2 * fuzz.MEMORY), "MemoryError"),
        (lambda: [].append([].append), ""),
    ],
    ids=["hang", "crash", "memory", "none of these"],
)
def test_it_notices_what_cannot_be_caught(
    misbehave: Callable[[], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker goes on behind the input that was too much."""
    monkeypatch.setattr(fuzz, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(fuzz, "HANG", 1.0 if words == "no answer in time" else fuzz.HANG)
    over = job(tmp_path, lambda data: misbehave() if data == b"two" else None, runs=6)
    assert over.done == 6
    assert over.faults == bool(words)
    assert [words in problem for problem in over.problems] == [True] * over.faults


@pytest.mark.slow
def test_inputs_follow_from_the_seed() -> None:
    """The same again, and others for another seed; none is larger than it may be."""
    made = [
        [mutated(WORDS, [b"four"], random.Random(f"{seed} {number}")) for number in range(300)] for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]
    assert max(map(len, made[0])) <= LARGEST
    assert len(set(made[0])) > 200


def test_nobody_outlives_a_campaign_that_is_interrupted() -> None:
    """Whatever ends it, its workers end with it, and none of its files stays."""
    others = set(descendants(os.getpid()))
    slow = Target("slow", "trials", lambda _: time.sleep(60), lambda: WORDS)
    jobs = run([slow, Target("quick", "trials", lambda _: None, lambda: WORDS)], SEED, SMALL, lambda _: None, False)
    over = next(jobs)
    assert (over.target.name, over.done) == ("quick", over.runs)
    workers = set(descendants(os.getpid())) - others
    assert workers
    jobs.close()
    assert not os.path.exists(over.directory)
    assert not workers & set(descendants(os.getpid()))


@pytest.mark.skipif(not GUIDED, reason="missing: atheris (pip install -e '.[fuzz]')")
def test_inputs_are_guided_by_coverage(tmp_path: Path) -> None:
    """Inputs that were never recorded are found: the record of a Pod in which a number is none."""
    over = Job(TARGETS["kubelet-version"], SEED, 300, str(tmp_path), guided=True)
    over.start()
    while not over.is_over():
        time.sleep(0.01)
    assert (over.done, over.problems) == (300, [])
    assert "cov:" in (tmp_path / "kubelet-version.out").read_text()


# What is soiled is noticed


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\rb", "\u202eydaer", "\u2066x", "\x9b", "\x07", "\u200b", "\udc80", "Z\u0351\u0351", "\u2028"]
)
def test_it_notices_what_is_not_plainly_visible(text: str) -> None:
    """On whatever line it stands."""
    clean.demand_visible("ready\nnot ready: \u6f22 \u2714")
    with pytest.raises(AssertionError):
        clean.demand_visible(f"a line\n{text}\n")


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        '<a href="https://elsewhere">x</a>',
        '<p onclick="x">y</p>',
        '<p style="background: url(//x)">y</p>',
        "<!-- x -->",
        "<?x?>",
        "</p>",
        "<p>\u202e</p>",
        "<iframe></iframe>",
    ],
)
def test_it_notices_what_breaks_out_of_the_page(markup: str) -> None:
    """Tags, attributes and links that are not ours; our own page has none of them."""
    text = render_page(make_report())
    page = clean.Page()
    page.feed(text)
    page.close()
    assert page.open == []
    page = clean.Page()
    with pytest.raises(AssertionError):
        page.feed(text.replace("<main>", f"<main>{markup}"))


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_reports_of_nodes_as_they_are_met_are_clean(name: str) -> None:
    clean.check_all(REPORTS[name])


def test_it_notices_a_report_that_is_too_large() -> None:
    """For `watch`, which drops it."""
    large = make_report(findings=(make_finding(message="x" * (1 << 20)),))
    with pytest.raises(AssertionError, match="bytes of JSON"):
        clean.check_machines(large)


def test_it_notices_a_message_that_an_api_server_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an Event it takes 1024 bytes."""
    condition = clean.node_condition(make_report())
    monkeypatch.setattr(clean, "node_condition", lambda report: replace(condition, message="x" * 1025))
    with pytest.raises(AssertionError):
        clean.check_published(make_report())
