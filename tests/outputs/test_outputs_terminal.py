"""The Report on a terminal: the same words as ever, and nothing of a node's that could touch the terminal."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import (
    PATH_ROWS,
    REPORTS,
    make_facts,
    make_finding,
    make_oci_runtime,
    make_report,
    make_row,
    make_volume,
)
from probe.finding import Evidence
from probe.nested import NESTED_LEVELS, Field, Nested, NestedFinding, NestedVerdict, PodRequest
from probe.outputs import view
from probe.outputs.terminal import render_paths, render_report
from probe.outputs.text import Page, safe, visible
from probe.report import HandlerVerdict, Node, Report, RestartForecast
from probe.terms import LEVELS, Role
from probe.verdict import Verdict, conclude
from tests.outputs.golden_files import FOLDER, render_all

SGR = re.compile(r"\x1b\[[0-9;]*m")
GOLDEN = render_all()

# Whatever a node may hold: controls, escape sequences, bidi overrides, surrogates, wide and combining characters.
evil = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text("\x1b[]0;31m\r\n\x07\x9b\x85\u202e\u2066\u200b\u2028\udc80\u0301\ufe0f\u3164 /ab漢字🦀👍🏻", max_size=60),
    st.sampled_from(["[red]x[/red]", "[link=file:///etc]x[/link]", ":warning:", "\x1b]8;;http://x\x1b\\", " " * 50]),
)
roles = st.sampled_from(Role.__args__)  # type: ignore[attr-defined]
findings = st.builds(
    make_finding,
    id=st.one_of(st.sampled_from(["kernel-x", "kubelet-x", "runtime-x", "filesystem-x"]), evil),
    level=st.sampled_from(LEVELS),
    gating=st.booleans(),
    status=st.sampled_from(["pass", "warn", "fail", "unknown", "skipped"]),
    reason=st.one_of(st.just("TimedOut"), evil),
    message=evil,
    remediation=evil.filter(lambda text: not re.search("(^|\n) ", text)),  # what can be pasted has a test of its own
    documentation=evil,
    evidence=st.lists(st.builds(Evidence, source=evil, value=evil, problem=evil), max_size=8).map(tuple),
)
rows = st.builds(
    make_row,
    role=roles,
    path=st.none() | evil,
    fstype=evil,
    device=evil,
    result=st.sampled_from(["supported", "refused", "unknown"]),
    reason=evil,
    step=evil,
    errno=evil,
    usable=st.sampled_from([None, "yes", "read-only", "partly", "no"]),
    mounts_below=st.integers(0, 10**9),
    below=st.lists(evil, max_size=12).map(tuple),
)
volumes = st.builds(
    make_volume,
    driver=evil,
    fstype=evil,
    result=st.sampled_from(["supported", "refused", "unknown"]),
    reason=evil,
    usable=st.sampled_from([None, "yes", "read-only", "partly", "no"]),
    count=st.integers(1, 10**9),
)


def hostile_nested(text: str, verdict: Verdict) -> Nested:
    """A block in which each string is *text*."""
    requests = tuple(PodRequest(field, text, text) for field in Field.__args__)  # type: ignore[attr-defined]
    node = "" if re.search("(^|\n) ", text) else text  # what can be pasted has a test of its own
    finding = NestedFinding(
        id=text,
        levels=NESTED_LEVELS,
        decides=NESTED_LEVELS,
        status="fail",
        reason=text,
        message=text,
        remediation=node,
        documentation=text,
        pod=requests,
        evidence=(Evidence(text, text, text),),
    )
    told = NestedVerdict(verdict=verdict, reason=text, message=text, pod=requests, node=node)
    return Nested(levels=dict.fromkeys(NESTED_LEVELS[:3], told), handlers=(), findings=(finding,))


nested_blocks = st.none() | st.builds(hostile_nested, evil, st.sampled_from(["ready", "not-ready", "unknown"]))


@st.composite
def hostile_reports(draw: st.DrawFn) -> Report:
    """A report in which every string is the node's worst."""
    made = tuple(draw(st.lists(findings, max_size=5)))
    conclusion = conclude(made)
    names = draw(st.lists(evil, max_size=12))
    return make_report(
        findings=made,
        node=Node(name=draw(st.none() | evil), boot_id=draw(evil), distribution=draw(evil), hostname=draw(evil)),
        agent_version=draw(evil),
        probed_at=draw(evil),
        expires_at=draw(evil),
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        message=draw(evil),
        levels=conclusion.levels,
        handlers=tuple(HandlerVerdict(name=name, verdict="ready", reason=draw(evil)) for name in names),
        filesystems=tuple(draw(st.lists(rows, max_size=12))),
        volumes=tuple(draw(st.lists(volumes, max_size=12))),
        contradictions=tuple(finding.id for finding in made[:1]),
        nested=draw(nested_blocks),
        facts=make_facts(
            kernel_release=draw(evil), architecture=draw(evil), kubelet_version=draw(evil),
            kubelet_distribution=draw(evil), runtime_name=draw(evil), runtime_version=draw(evil),
            snapshotter=draw(evil),
            oci_runtimes=tuple(make_oci_runtime(handler=name, name=draw(evil), version=draw(evil)) for name in names),
        ),
    )  # fmt: skip


def cells(line: str) -> int:
    """Columns of a line, counted without the library that laid it out."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def assert_harmless(text: str, width: int | None) -> None:
    for line in SGR.sub("", text).split("\n"):
        assert line.isprintable()
        assert not [char for char in line if unicodedata.category(char)[0] == "M"]
        assert width is None or cells(line[: line.rfind(" ") + 1]) <= width, "only the last word may be too wide"


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    """Each example report reads as its golden file does (scripts/update-golden writes them anew)."""
    assert (FOLDER / name).read_text(encoding="utf-8") == GOLDEN[name]


def test_no_golden_file_is_left_over() -> None:
    """Every golden file is compared with something."""
    assert {path.name for path in FOLDER.iterdir()} == GOLDEN.keys()


@settings.get_profile("hostile")
@given(hostile_reports(), st.integers(40, 200), st.booleans(), st.integers(0, 2))
def test_hostile_report(report: Report, width: int, colour: bool, verbose: int) -> None:
    """No string of a node moves the cursor, colours, hides or forges a line; what is too wide is a single word."""
    text = render_report(report, width=width, colour=colour, verbose=verbose)
    assert_harmless(text, width)
    assert colour or "\x1b" not in text


@given(st.lists(rows, max_size=5), st.none() | st.integers(40, 200), st.booleans())
def test_hostile_paths(some: list, width: int | None, colour: bool) -> None:
    """The same holds for the rows of `userns-probe path`, each of which is one line where nothing is folded."""
    text = render_paths(some, width=width, colour=colour)
    assert_harmless(text, width)
    assert width is not None or len(text.partition("\n\n")[0].splitlines()) == len(some)


@settings(deadline=None)
@given(st.lists(evil, min_size=1, max_size=4), st.integers(40, 120))
def test_what_can_be_pasted_stays_whole(lines: list[str], width: int) -> None:
    """An indented line of a remediation is printed on one line of its own, at every width."""
    commands = [f"  {line.strip()}x" for line in (line.replace("\n", "") for line in lines)]
    report = make_report(
        make_finding(status="fail", reason="X", remediation="\n".join(["Do this:", *commands]), evidence=())
    )
    text = render_report(report, width=width, colour=False)
    assert_harmless(text, None)
    for command in commands:
        assert f"    {visible(command[2:])}".rstrip() in text.splitlines()


@given(st.text(st.characters(codec=None)))
def test_visible(text: str) -> None:
    """What is escaped is printable, has no zero-width character, and plain ASCII stays what it is."""
    assert_harmless(visible(text), None)
    assert all(char in visible(text) for char in text if " " <= char <= "~")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb", "a\\x0ab"),
        ("\x7f", "\\x7f"),
        ("\u202egpj", "\\u202egpj"),
        ("\u2066", "\\u2066"),
        ("a\u200bb", "a\\u200bb"),
        ("\u2028", "\\u2028"),
        ("\udc80", "\\udc80"),
        ("e\u0301", "e\\u0301"),
        ("\u00a0", "\\xa0"),
        ("\u3164", "\\u3164"),
        ("\U000e0041", "\\U000e0041"),
        ("漢字é🦀", "漢字é🦀"),
    ],
)
def test_visible_examples(text: str, shown: str) -> None:
    """Each kind of character that could deceive is spelled out; letters of all languages stay."""
    assert visible(text) == shown


@pytest.mark.parametrize("colour", [False, True])
def test_markup_in_data_is_text(colour: bool) -> None:
    """A path may be called `[red]`, and looks exactly so."""
    names = ["/[red]x[/red]", "/[/]", "/[link=http://x]y", "/:warning:", "/[bold"]
    text = SGR.sub("", render_paths([replace(PATH_ROWS[0], path=name) for name in names], width=None, colour=colour))
    assert [line.split()[1] for line in text.splitlines()] == names
    assert "fix" not in text


@settings(deadline=None)
@given(st.sampled_from(sorted(REPORTS)), st.sampled_from(["ascii", "latin-1", "cp437", "koi8-r", "utf-8", "shift_jis"]))
def test_safe(name: str, encoding: str) -> None:
    """A report can be written in every encoding of a terminal."""
    text = render_report(REPORTS[name], width=80, colour=True)
    safe(text, encoding).encode(encoding)


@given(
    st.text(st.characters(codec=None)), st.sampled_from(["ascii", "utf-8", "latin-1", "no-such-encoding", "hex", None])
)
def test_safe_never_fails(text: str, encoding: str | None) -> None:
    """No text and no encoding makes it raise; an encoding that nobody knows gets ASCII."""
    result = safe(text, encoding)
    result.encode("utf-8" if encoding == "utf-8" else "latin-1" if encoding == "latin-1" else "ascii")


def test_safe_keeps_marks_apart() -> None:
    """In ASCII the four marks are still four different characters."""
    assert safe("✔ ✘ ? ! · é", "ascii") == "+ x ? ! - \\xe9"
    assert safe("✔ é", "utf-8") == "✔ é"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable", ["FORCE_COLOR", "NO_COLOR", "COLUMNS", "TERM", "TTY_COMPATIBLE", "UNICODE_VERSION"]
)
@pytest.mark.parametrize("value", ["1", "dumb"])
def test_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Width and colour are arguments; no variable of the environment overrules them."""
    monkeypatch.setenv(variable, value)
    assert render_all() == GOLDEN


@pytest.mark.parametrize("name", REPORTS)
def test_first_lines_answer(name: str) -> None:
    """The first line is the verdict with its reason, the second the message."""
    report = REPORTS[name]
    first, second, *_ = render_report(report, width=200, colour=False).splitlines()
    words = {"ready": "✔ READY", "not-ready": "✘ NOT READY", "unknown": "? UNKNOWN"}[report.verdict]
    assert first == f"{words}  {report.reason}".rstrip()
    assert second == f"  {report.message}"


def test_fix_of_the_decisive_finding_is_on_top_once() -> None:
    """What to do about the reason of the verdict stands above all else, and is not said again."""
    text = render_report(REPORTS["user-namespaces-off"], width=80, colour=False)
    fix = "sysctl -w user.max_user_namespaces=16384"
    assert text.count(fix) == 1
    assert text.index(fix) < text.index("STACK")


def test_a_stale_verdict_has_no_fix() -> None:
    """A reason that no finding gives (a report that expired) is shown without anybody's remediation."""
    report = replace(REPORTS["tmpfs-refused"], verdict="unknown", reason="ReportStale", message="too old")
    text = render_report(report, width=80, colour=False)
    assert text.startswith("? UNKNOWN  ReportStale\n  too old\n")
    assert text.index("apt-get") > text.index("STACK")


def test_passed_checks_are_one_line_until_asked_for() -> None:
    """Without -v a passed check is a number; with it everything is shown with its evidence."""
    report = REPORTS["ready"]
    quiet = render_report(report, width=120, colour=False)
    full = " ".join(render_report(report, width=120, colour=False, verbose=1).split())
    assert "7 checks passed, 2 do not apply here" in quiet
    for finding in report.findings:
        assert finding.id not in quiet
        assert finding.id in full
        assert all(view.evidence_words(one) in full for one in finding.evidence)


def test_huge_strings_and_lists_are_cut_and_say_so() -> None:
    """A report stays a screen or two, whatever a node holds; -v has everything."""
    evidence = tuple(Evidence(f"file-{number}", "v" * 10_000) for number in range(20))
    report = make_report(
        make_finding(status="fail", reason="X", message="m" * 100_000, evidence=evidence),
        handlers=tuple(HandlerVerdict(name=f"h{n}", verdict="ready", reason=f"r{n}") for n in range(100)),
        filesystems=tuple(make_row(role="volume", path=None, fstype=f"fuse.{n}") for n in range(100)),
        volumes=tuple(make_volume(fstype=f"fuse.{n}") for n in range(100)),
    )
    quiet = render_report(report, width=80, colour=False)
    assert len(quiet.splitlines()) < 150
    assert quiet.count("more (-v)") == 3
    assert "more characters)" in quiet
    assert render_report(report, width=80, colour=False, verbose=1).count("v" * 60) >= 20 * 130


def test_many_volumes_are_counted() -> None:
    """Two hundred volumes are a row for each driver, file system and answer, the worst first; -v has each."""
    report = REPORTS["many-volumes"]
    text = render_report(report, width=120, colour=False)
    lines = text.split("\nVOLUMES\n")[1].split("\n\n")[0].splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["driver", "type", "count", "result"],
        ["✘", "nfs.csi.k8s.io", "nfs4", "12", "refused"],
        ["!", "iscsi", "ext4", "1", "supported", "in", "part"],
        ["✔", "ebs.csi.aws.com", "ext4", "177", "supported"],
        ["✔", "-", "squashfs", "10", "supported,", "read-only"],
    ]
    assert not re.search(r"^  . volume ", text, re.MULTILINE)
    full = render_report(report, width=120, colour=False, verbose=1)
    assert len(re.findall(r"^  . volume ", full, re.MULTILINE)) == 200


def test_the_worst_volumes_are_shown_first() -> None:
    """Where there are more kinds than fit, what is left out is never worse than what is shown."""
    good = [make_volume(driver=f"a{n}", count=n + 1) for n in range(20)]
    bad = make_volume(driver="z", fstype="nfs4", result="refused", reason="because")
    unknown = make_volume(driver="y", result="unknown", reason="timed out", usable=None)
    text = render_report(make_report(volumes=(*good, unknown, bad)), width=80, colour=False)
    lines = text.split("\nVOLUMES\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["✘", "z"], ["?", "y"]]
    assert len(lines) == 10
    assert lines[-1].split() == ["and", "14", "more", "(-v)"]


@pytest.mark.parametrize("paths", [0, 3, 9])
def test_volumes_are_named_when_their_paths_were_asked_for(paths: int) -> None:
    """With --volume-paths a few have a row each, beside the table of their kinds."""
    rows = tuple(make_row(role="volume", path=f"/pods/{n}") for n in range(paths))
    text = render_report(make_report(filesystems=rows, volumes=(make_volume(),)), width=80, colour=False)
    assert text.count("/pods/") == (3 if paths == 3 else 0)
    assert "VOLUMES" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "✔ /p  ext4  supported"),
        ({"usable": "read-only"}, "✔ /p  ext4  supported, read-only"),
        (
            {"usable": "partly", "mounts_below": 1},
            "! /p  ext4  supported in part: 1 mount below appears as nobody's (UID 65534)",
        ),
        ({"usable": "no"}, "✘ /p  ext4  not usable"),
        (
            {"result": "refused", "usable": "no", "reason": "because", "errno": "EINVAL"},
            "✘ /p  ext4  refused: because",
        ),
        ({"result": "unknown", "usable": None, "reason": "timed out"}, "? /p  ext4  unknown: timed out"),
        ({"result": "unknown", "usable": None, "errno": "EPERM"}, "? /p  ext4  unknown (EPERM from mount_setattr)"),
        ({"fstype": ""}, "✔ /p  -  supported"),
    ],
)
def test_path_lines(changes: dict, line: str) -> None:
    """Each answer about a path is one line with mark, path, file system, answer and reason."""
    text = render_paths([make_row(role="path", path="/p", **changes)], width=None, colour=False)
    assert text.splitlines()[0] == line


def test_the_errno_is_for_those_who_ask() -> None:
    """With -v each path has the system call that decided, and its errno."""
    row = make_row(role="path", path="/p", result="refused", usable="no", reason="because", errno="EINVAL")
    assert "EINVAL" not in render_paths([row], width=None, colour=False)
    assert "refused: because (EINVAL from mount_setattr)" in render_paths([row], width=None, colour=False, verbose=1)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fstype": "ext3"}, "ext4"),
        ({"fstype": "nfs4"}, "hostUsers: true"),
        ({"fstype": "proc"}, "hostUsers: true"),
        ({"fstype": "tmpfs"}, "Linux 6.3"),
        ({"fstype": "fuse.sshfs"}, "FUSE_ALLOW_IDMAP"),
        ({"reason": "the mount is unbindable, and crun cannot bind it"}, "mount --make-private /p"),
        ({"result": "supported", "usable": "partly", "mounts_below": 1, "below": ("/p/below",)}, "/p/below"),
    ],
)
def test_a_path_that_cannot_be_used_has_a_fix(changes: dict, word: str) -> None:
    """What to do stands below all rows, with the mounts that a Pod would see as nobody's."""
    fields = {"result": "refused", "usable": "no", "reason": "because"} | changes
    rows, _, ways = render_paths([make_row(role="path", path="/p", **fields)], width=None, colour=False).partition(
        "\n\n"
    )
    assert len(rows.splitlines()) == 1
    assert ways.startswith("fix  /p: ")
    assert word in ways


def test_a_path_that_can_be_used_has_no_fix() -> None:
    """Nothing needs to be done for a path that works."""
    rows = [make_row(role="path", path="/p"), make_row(role="path", path="/q", usable="read-only")]
    assert "fix" not in render_paths(rows, width=None, colour=False)


def test_no_rows() -> None:
    """Nothing asked, nothing said."""
    assert render_paths([], width=80, colour=False) == ""


@pytest.mark.slow
def test_yaml_is_imported_for_yaml_only() -> None:
    """Text for people does not pay for other documents."""
    code = (
        "import sys, probe.outputs.terminal, probe.outputs.documents, probe.outputs.explain;"
        "sys.exit('rich' in sys.modules or 'yaml' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_narrow_page_is_at_least_forty_columns() -> None:
    """A width that no terminal has is brought into bounds."""
    assert Page(width=0, colour=False).width == 40
    assert Page(width=10**9, colour=False).width == 120


def test_what_follows_from_the_decisive_finding_is_not_said_again() -> None:
    """Failures with the same cause keep id and message; advice and evidence stand once, at the top."""
    cause = make_finding(status="fail", reason="X", message="no kubelet", remediation="Start it.")
    same = replace(cause, id="runtime-handler", message="no socket")
    other = replace(cause, id="filesystem-tmpfs", message="no answer", evidence=(Evidence("tmpfs", "nothing"),))
    assert below(make_report(cause, same, other)) == [
        "✘ runtime-handler  X",
        "no socket",
        "✘ filesystem-tmpfs  X",
        "no answer",
        "fix    same as above",
        "seen   tmpfs: nothing",
    ]


def below(report: Report, verbose: int = 0) -> list[str]:
    """What stands below the heading of further problems."""
    text = render_report(report, width=100, colour=False, verbose=verbose)
    return [line.strip() for line in text.split("\nFURTHER PROBLEMS")[1].split("\n\n")[0].splitlines()[1:]]


def test_what_is_unknown_for_the_same_reason_is_one_line() -> None:
    """Nobody reads six times that there is no kubelet; -v says it of each."""
    cause = make_finding(status="unknown", reason="KubeletNotFound", message="no kubelet", remediation="Start it.")
    others = [replace(cause, id=name, evidence=()) for name in ("runtime-handler", "filesystem-tmpfs")]
    report = make_report(cause, *others)
    assert below(report) == ["? for the same reason: runtime-handler, filesystem-tmpfs"]
    assert [line for line in below(report, verbose=1) if line[0] == "?"] == [
        "? runtime-handler  KubeletNotFound",
        "? filesystem-tmpfs  KubeletNotFound",
    ]


def test_the_same_word_may_stand_for_two_causes() -> None:
    """Two servers that hang are two findings; two findings about one server are one."""
    cause = make_finding(status="unknown", reason="TimedOut", message="CRI is silent", remediation="Look.")
    same = replace(cause, id="runtime-handler")
    other = replace(cause, id="filesystem-tmpfs", message="no answer", evidence=(Evidence("tmpfs", "nothing"),))
    assert below(make_report(cause, same, other)) == [
        "? filesystem-tmpfs  TimedOut",
        "no answer",
        "next   same as above",
        "seen   tmpfs: nothing",
        "? for the same reason: runtime-handler",
    ]


def test_what_could_not_be_tried_is_one_line() -> None:
    """Without a user namespace no file system is tried; what has advice of its own is still said in full."""
    cause = make_finding(status="fail", reason="X", message="no user namespace", remediation="Allow them.")
    waiting = make_finding(
        id="filesystem-tmpfs",
        status="unknown",
        reason="NotTried",
        message="not tried",
        remediation="Mend.",
        evidence=(),
    )
    own = replace(waiting, id="runtime-handler", remediation="Ask it.")
    two = replace(waiting, id="filesystem-kubelet-root")
    lines = below(make_report(cause, waiting, own, two))
    assert lines[-1] == "? could not be tried: filesystem-kubelet-root, filesystem-tmpfs"
    assert "next   Ask it." in lines
    assert "? filesystem-tmpfs  NotTried" in below(make_report(cause, waiting, own))


def test_what_is_said_between_commands_is_no_command() -> None:
    """Prose after a snippet stands in the margin, where it is seen to be none."""
    page = Page(width=80, colour=False)
    page.remediation("fix  ", "Do this:\n  one: 1\nand then this:\n  two")
    assert str(page).splitlines() == ["  fix    Do this:", "    one: 1", "  and then this:", "    two"]


LONG = "/var/lib/" + "a-directory-with-a-long-name/" * 12 + "end"


@pytest.mark.parametrize("width", [40, 80, 100, None])
def test_a_path_is_never_broken(width: int | None) -> None:
    """A path can be copied as a whole, wherever it stands."""
    report = make_report(
        make_finding(status="fail", reason="X", message=f"look at {LONG} first", evidence=(Evidence(LONG, "gone"),)),
        filesystems=(make_row(path=LONG),),
    )
    text = render_report(report, width=width, colour=False)
    assert text.count(LONG) == 3
    assert LONG in render_paths([make_row(role="path", path=LONG)], width=width, colour=False)


def test_a_pipe_gets_whole_lines() -> None:
    """Without a width no sentence is folded."""
    message = "word " * 100 + "end"
    assert message in render_report(make_report(make_finding(status="fail", message=message)), width=None, colour=False)


def stack(report: Report) -> dict[str, str]:
    """Layer -> its mark."""
    lines = render_report(report, width=120, colour=False).split("\nSTACK\n")[1].split("\n\n")[0].splitlines()
    return {re.split("  +", line[4:])[0]: line[2] for line in lines}


def test_the_layer_at_fault_is_crossed_and_no_other() -> None:
    """The OCI runtime is fine while the kubelet is too old; it is crossed when it is the one that is too old."""
    kubelet = make_finding(id="kubelet-user-namespaces", status="fail", reason="KubeletTooOld", message="old")
    assert stack(make_report(kubelet)) == {
        "kernel": "✔", "kubelet": "✘", "container runtime": "✔", "OCI runtime": "✔", "file systems": "✔",
    }  # fmt: skip
    runc = make_finding(
        id="runtime-user-namespaces", status="fail", reason="HandlerWithoutUserNamespaces", message="runc is too old"
    )
    assert stack(make_report(runc)) == {
        "kernel": "✔", "kubelet": "✔", "container runtime": "✔", "OCI runtime": "✘", "file systems": "✔",
    }  # fmt: skip
    assert stack(REPORTS["tmpfs-refused"])["file systems"] == "✘"
    assert stack(REPORTS["tmpfs-refused"])["OCI runtime"] == "✔"


def test_a_known_cause_is_shown() -> None:
    """Why nothing was permitted, and which service does not run, stand above the stack."""
    confined = make_finding(
        id="probe-privileges", gating=False, status="unknown", reason="NotPermitted", message="confined: in a chroot"
    )
    refused = make_finding(status="unknown", reason="NotPermitted", message="the probe may not")
    assert "in a chroot" in render_report(make_report(refused, confined), width=80, colour=False).split("STACK")[0]
    silent = make_finding(
        id="runtime-handler",
        status="unknown",
        reason="NotReadable",
        message="unknown",
        evidence=(Evidence("CRI /run/containerd/containerd.sock", "", "No such file or directory"),),
    )
    text = render_report(make_report(silent), width=80, colour=False)
    assert "systemctl status containerd" in text.split("STACK")[0]
    other = replace(silent, evidence=(Evidence("CRI /run/containerd/containerd.sock", "", "Permission denied"),))
    assert "systemctl status" not in render_report(make_report(other), width=80, colour=False)


@pytest.mark.parametrize(
    ("outcome", "line"), [("starts", "✔ next restart"), ("fails", "✘ next restart"), ("unknown", "? next restart")]
)
def test_the_next_restart_stands_beside_the_verdict(outcome: str, line: str) -> None:
    """Whether the kubelet will start again is known before the stack is read; without a kubelet nothing is said."""
    report = make_report(forecast=RestartForecast(outcome=outcome, reason="because", message=""))
    assert line in render_report(report, width=80, colour=False).split("\n\n")[0]
    assert "next restart" not in render_report(REPORTS["no-kubelet"], width=80, colour=False)


def test_a_claim_that_repeats_the_verdict_is_one_line() -> None:
    """A contradiction with the decisive finding's own evidence is named, and told once."""
    assert below(REPORTS["tmpfs-refused"]) == ["! for the same reason: runtime-claim"]
    assert "Believe the attempt" in " ".join(below(REPORTS["tmpfs-refused"], verbose=1))


def test_preflight() -> None:
    """Without a kubelet it says what kernel, file systems and runtime allow; the verdict stays unknown."""
    report = REPORTS["no-kubelet"]
    assert report.verdict == "unknown"
    lines = render_report(report, width=80, colour=False).split("\nPREFLIGHT")[1].split("\n\n")[0].splitlines()[1:]
    assert [line.split()[:2] for line in lines if line[2] != " "] == [
        ["✔", "kernel"], ["✔", "file"], ["?", "container"],
    ]  # fmt: skip
    refused = replace(report, filesystems=REPORTS["tmpfs-refused"].filesystems)
    assert "✘ file systems" in render_report(refused, width=80, colour=False).split("STACK")[0]
    containerd = replace(report, facts=make_facts(kubelet_version=""))
    assert "✔ container runtime  containerd 2.1.9" in render_report(containerd, width=80, colour=False)
    assert "PREFLIGHT" not in render_report(REPORTS["ready"], width=80, colour=False)


def test_the_host_name_stands_in_for_the_nodes() -> None:
    """A report that was not told the Node's name still says whose it is."""
    node = Node(name=None, hostname="host-7", boot_id="", distribution="")
    assert "host-7" in render_report(make_report(node=node), width=80, colour=False)
    named = replace(node, name="worker-7")
    text = render_report(make_report(node=named), width=80, colour=False)
    assert "worker-7" in text
    assert "host-7" not in text
