"""Where the kubelet takes IDs from: asked by its rules, on its PATH, of its files."""

from __future__ import annotations

import errno
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.factory import KUBELET_PID, make_kubelet, unread
from lab.fake_host import FakeHost
from probe.checks.remedies.ids import give_a_range
from probe.facts.ids.owners import merge_subids, parse_accounts, parse_subids
from probe.facts.ids.range import gather_ids, parse_subid_service
from probe.facts.model import Account, IdFacts, KubeletFacts, SubIds
from probe.host.program import Output
from probe.reading import Reading

PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
WITH_ACCOUNT = PASSWD + "kubelet:x:999:999::/:/usr/sbin/nologin\n"
RANGE = "0: kubelet 65536 7208960\n"


def node(**overrides: Any) -> FakeHost:
    """A node with a kubelet, its account, getent and getsubids; a file that is None does not exist."""
    files = {
        "/etc/passwd": WITH_ACCOUNT,
        "/etc/group": "root:x:0:\n",
        "/etc/subuid": "kubelet:65536:7208960\n",
        "/etc/subgid": "kubelet:65536:7208960\n",
        "/usr/bin/getsubids": "program",
        "/usr/bin/getent": "program",
    } | overrides.pop("files", {})
    host = FakeHost(files={path: content for path, content in files.items() if content is not None})
    host.modes = {"/usr/bin/getsubids": 0o755, "/usr/bin/getent": 0o755} | overrides.pop("modes", {})
    host.commands = {
        "/usr/bin/getsubids kubelet": RANGE,
        "/usr/bin/getsubids -g kubelet": RANGE,
        "/usr/bin/getent passwd kubelet": Output(2, "", ""),
    } | overrides.pop("commands", {})
    environment = {"PATH": "/opt/bin:relative:/usr/bin", "HOME": "/root"} | overrides.pop("environment", {})
    host.add_process(KUBELET_PID, "/usr/bin/kubelet", environment=environment)
    assert not overrides
    return host


def gather(host: FakeHost, kubelet: KubeletFacts | None = None) -> IdFacts:
    kubelet = kubelet or make_kubelet(started_at=host.started_at(KUBELET_PID))
    found = gather_ids(host, kubelet).value
    assert found is not None
    return found


def kubelet_of(host: FakeHost, **overrides: Any) -> KubeletFacts:
    return make_kubelet(started_at=host.started_at(KUBELET_PID), **overrides)


def test_a_kubelet_with_an_account_asks_getsubids_twice() -> None:
    """The account leads to the program on the kubelet's PATH, run for users and for groups."""
    facts = gather(node())
    assert facts.account == Reading(f"/proc/{KUBELET_PID}/root/etc/passwd", True)
    assert facts.getsubids.value == "/usr/bin/getsubids"
    assert facts.subuids.value == facts.subgids.value == Output(0, RANGE, "")


def test_a_kubelet_without_account_asks_nothing_more() -> None:
    """What the kubelet does not run, nobody runs in its place."""
    host = node(files={"/etc/passwd": PASSWD})
    facts = gather(host)
    assert facts.account.value is facts.local_account.value is False
    assert facts.account.source == "/usr/bin/getent passwd kubelet"
    assert facts.getsubids.kind == facts.subuids.kind == facts.subgids.kind == "not-tried"
    assert not any("getsubids" in touched for touched in host.touched)


@pytest.mark.parametrize(
    ("version", "about", "account"),
    [
        pytest.param("1.36.2", {}, True, id="file"),
        pytest.param("1.36.2", {"files": {"/etc/passwd": PASSWD}}, False, id="nobody"),
        pytest.param("1.36.2", {"files": {"/etc/passwd": None}}, False, id="no-file"),
        pytest.param(
            "1.36.2", {"files": {"/etc/passwd": PASSWD, "/usr/bin/getent": None}}, False, id="no-getent-needed"
        ),
        pytest.param(
            "1.36.2",
            {"files": {"/etc/passwd": PASSWD}, "commands": {"/usr/bin/getent passwd kubelet": "kubelet:x:70000:"}},
            True,
            id="nss",
        ),
        pytest.param("1.38.0", {}, False, id="getent-overrules-the-file"),
        pytest.param("1.38.0", {"files": {"/usr/bin/getent": None}}, False, id="static-without-getent"),
        pytest.param("1.38.0", {"modes": {"/usr/bin/getent": 0o644}}, False, id="getent-not-executable"),
        pytest.param("1.38.0", {"commands": {"/usr/bin/getent passwd kubelet": "kubelet:x:9:"}}, True, id="getent"),
        pytest.param("1.29.1", {}, False, id="before-1.30"),
    ],
)
def test_who_finds_the_account(version: str, about: dict[str, Any], account: bool) -> None:
    """Up to 1.37 libc is asked, later getent(1) on the kubelet's PATH, and nothing else; before 1.30 nobody."""
    host = node(**about)
    assert gather(host, kubelet_of(host, version=version)).account.value is account


@pytest.mark.parametrize(
    ("about", "overrides", "kind", "words"),
    [
        pytest.param(
            {"files": {"/etc/passwd": errno.EACCES, "/usr/bin/getent": None}}, {}, "not-permitted", "", id="passwd"
        ),
        pytest.param(
            {
                "files": {"/etc/passwd": PASSWD},
                "commands": {
                    "/usr/bin/getent passwd kubelet": Reading.without("getent", "timed-out", "no answer in time")
                },
            },
            {},
            "timed-out",
            "no answer in time",
            id="dead-directory-service",
        ),
        pytest.param(
            {"commands": {"/usr/bin/getent passwd kubelet": Output(3, "", "")}},
            {"version": "1.38.1"},
            "not-readable",
            "ended with status 3",
            id="getent-fails",
        ),
        pytest.param(
            {"commands": {"/usr/bin/getent passwd kubelet": Output(1, "", "")}},
            {"version": "1.38.0"},
            "not-readable",
            "ended with status 1",
            id="getent-misused",
        ),
        pytest.param(
            {"files": {"/etc/passwd": PASSWD}, "commands": {"/usr/bin/getent passwd kubelet": "kubelet:x:70000:"}},
            {"distribution": "k3s"},
            "not-readable",
            "whether this build of the kubelet asks NSS",
            id="nss-and-k3s",
        ),
    ],
)
def test_an_account_that_nobody_can_tell(
    about: dict[str, Any], overrides: dict[str, Any], kind: str, words: str
) -> None:
    """What could not be asked is a problem, never "no account"."""
    host = node(**about)
    facts = gather(host, kubelet_of(host, **overrides))
    assert facts.account.kind == kind
    assert words in facts.account.problem
    assert facts.subuids.kind == "not-tried"


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        pytest.param({"files": {"/usr/bin/getsubids": None}}, "absent", id="not-installed"),
        pytest.param({"modes": {"/usr/bin/getsubids": 0o644}}, "absent", id="not-executable"),
        pytest.param({"environment": {"PATH": "/sbin:relative"}}, "absent", id="not-on-its-path"),
        pytest.param({"environment": {"PATH": ""}}, "absent", id="no-path"),
        pytest.param({"files": {"/opt/bin/getsubids": errno.EACCES}}, "not-permitted", id="unreadable-directory"),
    ],
)
def test_getsubids_is_looked_for_on_the_kubelets_path(about: dict[str, Any], kind: str) -> None:
    """Only there, and only an executable file counts."""
    facts = gather(node(**about))
    assert facts.getsubids.kind == facts.subuids.kind == kind


def test_an_unreadable_environment_is_no_empty_path() -> None:
    host = node()
    host.files[f"/proc/{KUBELET_PID}/environ"] = errno.EACCES
    assert gather(host).getsubids.kind == "not-permitted"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Output(127, "", ""), "not-readable"),
        (Output(126, "", ""), "not-readable"),
        (Output(0, "0: kubelet 65536 65536\n" * 1000, ""), "not-readable"),  # no answer is that long
        (Reading.without("getsubids", "timed-out", "no answer in time"), "timed-out"),
    ],
)
def test_a_getsubids_that_did_not_run_is_no_answer(answer: Any, kind: str) -> None:
    """A script, say, cannot be run by its descriptor; the kubelet could have."""
    facts = gather(node(commands={"/usr/bin/getsubids kubelet": answer}))
    assert facts.subuids.kind == kind
    assert facts.subgids.kind == "not-tried"


def test_others_that_have_ids() -> None:
    """The kubelet's own lines, by its name and by its number, are not among them; neither are low IDs."""
    facts = gather(
        node(
            files={
                "/etc/subuid": "kubelet:65536:7208960\nalice:100000:65536\n999:1:2\n# a comment\nbroken:1\n",
                "/etc/subgid": None,
                "/etc/group": "root:x:0:\nbig:x:4000000000:\n",
            }
        )
    )
    assert facts.owners.value == (SubIds("alice", 100000, 65536, "/etc/subuid"),)
    assert facts.accounts.value == (Account("big", 4000000000, "/etc/group"),)


@pytest.mark.slow
@pytest.mark.parametrize("users", [1500, 25_000])
def test_no_range_is_advised_that_somebody_has(users: int) -> None:
    """However many have IDs, each of their ranges counts, for the advice and for what a range overlaps."""
    starts = [100_000 + number * 65_536 for number in range(users)]
    lines = "".join(f"u{number}:{start}:65536\n" for number, start in enumerate(starts))
    host = node(files={"/etc/subuid": lines, "/etc/subgid": lines})
    facts = gather(host)
    advised = re.search(r"echo kubelet:(\d+):(\d+)", give_a_range(facts, kubelet_of(host)))
    assert advised
    first, count = map(int, advised.groups())
    assert not [start for start in starts if start < first + count and first < start + 65_536]
    assert all(any(o.first <= s and s + 65_536 <= o.first + o.count for o in facts.owners.value or ()) for s in starts)


def test_the_second_range_of_one_file_is_as_taken_as_the_first() -> None:
    """Merged ranges keep their gaps."""
    entries = (SubIds("c", 40, 5, "f"), SubIds("a", 0, 10, "f"), SubIds("b", 10, 10, "f"), SubIds("d", 2, 3, "f"))
    assert merge_subids(entries, 4) == entries
    assert merge_subids(entries, 3) == (SubIds("3 owners", 0, 20, "f"), SubIds("c", 40, 5, "f"))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9))))
def test_merging_neither_adds_nor_loses_an_id(entries: list[tuple[int, int]]) -> None:
    def ids(ranges: tuple[SubIds, ...]) -> set[int]:
        return {number for each in ranges for number in range(each.first, each.first + each.count)}

    ranges = tuple(SubIds("x", first, count, "f") for first, count in entries)
    assert ids(merge_subids(ranges, 0)) == ids(ranges)


@pytest.mark.parametrize(
    ("file", "line", "fact"),
    [("/etc/subuid", "u{0}:{0}00000:10\n", "owners"), ("/etc/group", "g{0}:x:{0}00000:\n", "accounts")],
)
def test_more_than_can_be_kept_is_a_problem_and_no_cut(file: str, line: str, fact: str) -> None:
    """A part of them would say that the others have nothing."""
    lines = "".join(line.format(number) for number in range(1, 10_020))
    reading = getattr(gather(node(files={file: lines})), fact)
    assert (reading.kind, reading.source) == ("not-readable", file)


@pytest.mark.parametrize("file", ["/etc/subuid", "/etc/subgid"])
def test_unreadable_owners_are_not_no_owners(file: str) -> None:
    assert gather(node(files={file: errno.EACCES})).owners.kind == "not-permitted"


def test_an_unreadable_group_file_is_not_an_empty_one() -> None:
    assert gather(node(files={"/etc/group": errno.EIO})).accounts.kind == "not-readable"


def test_a_kubelet_that_was_restarted_meanwhile_is_not_described() -> None:
    """Its root and its PATH would have been those of another process, or of none."""
    reading = gather_ids(node(), make_kubelet(started_at=7.0))
    assert reading.value is None
    assert "restarted" in reading.problem


def test_an_unknown_root_directory_leaves_the_files_unknown() -> None:
    host = node()
    assert gather(host, kubelet_of(host, root_dir=unread("--root-dir", "not-readable"))).files.kind == "not-readable"


def test_only_a_newline_ends_a_line() -> None:
    """Users choose their own full names, and what Python takes for the end of a line may stand in them."""
    text = "anna:x:1000:1000:Anna\u2028kubelet:x:0:0::/:/bin/sh\nkubelet:x:999:999:::/\x0bx:0:0\n"
    assert parse_accounts(text, "f") == (Account("anna", 1000, "f"), Account("kubelet", 999, "f"))
    assert parse_subids("anna:1:2\x85kubelet:65536:65536\n", "f") == ()


def test_an_account_without_a_list_of_members() -> None:
    """A line of group(5) has four fields: libc takes none with fewer, and one whose list is empty."""
    assert parse_accounts("kubelet:x:999\n", "f") == ()
    assert parse_accounts("kubelet:x:999:\n", "f") == (Account("kubelet", 999, "f"),)


@given(st.text())
def test_parsers_take_any_text(text: str) -> None:
    """What is no entry is none; no text is an error."""
    assert all(0 <= entry.id < 10**10 for entry in parse_accounts(text, "f"))
    assert all(0 <= entry.first < 10**10 and 0 <= entry.count < 10**10 for entry in parse_subids(text, "f"))


names = st.from_regex(r"[a-z_][a-z0-9_-]{0,30}", fullmatch=True)
numbers = st.integers(0, 2**32)


@given(st.lists(st.tuples(names, numbers, numbers)))
def test_subids_round_trip(entries: list[tuple[str, int, int]]) -> None:
    text = "".join(f"{owner}:{first}:{count}\n" for owner, first, count in entries)
    assert parse_subids(text, "f") == tuple(SubIds(*entry, "f") for entry in entries)


@given(st.lists(st.tuples(names, numbers)))
def test_accounts_round_trip(entries: list[tuple[str, int]]) -> None:
    text = "".join(f"{name}:x:{number}:0::/:/bin/sh\n" for name, number in entries)
    assert parse_accounts(text, "f") == tuple(Account(name, number, "f") for name, number in entries)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("passwd: files sss\nsubid: sss\n", "sss"),
        ("subid:\tfiles # sss\n", "files"),
        ("#subid: sss\n", "files"),
        ("subid:\n", "files"),
        ("", "files"),
        ("subid sss\n", "files"),
    ],
)
def test_the_service_that_getsubids_asks(text: str, service: str) -> None:
    """The first of the line `subid:` in nsswitch.conf(5); files without one."""
    assert parse_subid_service(text) == service
