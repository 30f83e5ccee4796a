"""What sysctl.d(5) will set at the next boot."""

from __future__ import annotations

import errno

import pytest

from lab.fake_host import FakeHost
from probe.facts.boot.sysctls import gather_boot_sysctls, later_name

LIMIT = "user.max_user_namespaces"


def winner(files: dict[str, str | int], systemd: bool = True) -> tuple[int, str] | None:
    """Value and file that win."""
    host = FakeHost(files=dict(files))
    if systemd:
        host.modified["/run/systemd/system"] = 0.0
    found = gather_boot_sysctls(host, (LIMIT,)).values.get(LIMIT)
    return None if found is None or found.value is None else (found.value, found.source)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (
            {"/etc/sysctl.d/60-a.conf": "65536", "/etc/sysctl.d/99-sysctl.conf": "0"},
            (0, "/etc/sysctl.d/99-sysctl.conf"),
        ),
        (
            {"/etc/sysctl.d/99-a.conf": "1", "/usr/local/lib/sysctl.d/99-b.conf": "0"},
            (0, "/usr/local/lib/sysctl.d/99-b.conf"),
        ),
        ({"/usr/lib/sysctl.d/50-a.conf": "0", "/etc/sysctl.d/50-a.conf": "7"}, (7, "/etc/sysctl.d/50-a.conf")),
        ({"/run/sysctl.d/z.conf": "0", "/etc/sysctl.d/99-zz-x.conf": "7"}, (0, "/run/sysctl.d/z.conf")),
        ({"/etc/sysctl.d/a.txt": "0"}, None),
        ({"/etc/sysctl.d/a.conf": "5", "/etc/sysctl.conf": "0"}, (5, "/etc/sysctl.d/a.conf")),
    ],
)
def test_the_last_file_wins(files: dict[str, str], expected: tuple[int, str] | None) -> None:
    """By name, whatever its directory; of two with one name that of the earlier directory."""
    assert winner({path: f"{LIMIT} = {value}\n" for path, value in files.items()}) == expected


def test_hidden_files() -> None:
    """systemd passes over them, sysctl(8) does not."""
    hidden: dict[str, str | int] = {"/etc/sysctl.d/.x.conf": f"{LIMIT}=0\n"}
    assert winner(hidden) is None
    assert winner(hidden, systemd=False) == (0, "/etc/sysctl.d/.x.conf")


@pytest.mark.parametrize(
    ("files", "doubts"),
    [
        ({"/run/sysctl.d/50-a.conf": "7", "/usr/lib/sysctl.d/50-a.conf": "0"}, 1),
        ({"/run/sysctl.d/50-a.conf": "7"}, 1),
        ({"/run/sysctl.d/50-a.conf": "7", "/etc/sysctl.d/60-a.conf": "0"}, 0),
        ({"/run/sysctl.d/50-a.conf": "0", "/usr/lib/sysctl.d/50-a.conf": "0"}, 0),
    ],
)
def test_a_boot_empties_run(files: dict[str, str], doubts: int) -> None:
    """A file there may or may not be written again; that is said where it decides."""
    host = FakeHost(files={path: f"{LIMIT} = {value}\n" for path, value in files.items()})
    host.modified["/run/systemd/system"] = 0.0
    assert len(gather_boot_sysctls(host, (LIMIT,)).unread) == doubts


def test_without_systemd_one_more_file_is_read_last() -> None:
    """As `sysctl --system` does."""
    files: dict[str, str | int] = {"/etc/sysctl.d/z.conf": f"{LIMIT}=5\n", "/etc/sysctl.conf": f"{LIMIT}=0\n"}
    assert winner(files, systemd=False) == (0, "/etc/sysctl.conf")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"-{LIMIT} = 7", 7),
        ("user/max_user_namespaces=8", 8),
        (f"# {LIMIT} = 0\n; {LIMIT} = 0\n{LIMIT}=1\n  {LIMIT}\t=\t2  \n", 2),
        (f"{LIMIT} = many", None),
        (f"{LIMIT} = 5 6", 5),
        (f"{LIMIT} = 0x10", 16),
        (f"{LIMIT} = 010", 8),
        (f"{LIMIT} = 5\n{LIMIT} = -1", None),
        (f"{LIMIT} = 99999999999", None),
        ("user.max_*_namespaces = 0", 0),
        ("user/*=3", 3),
        ("*/max_user_namespaces = 4", 4),
        ("user.max_*_namespaces = 0\nuser.max_user_* = 2", 2),
        (f"{LIMIT} = 7\nuser.max_*_namespaces = 0", 7),
        (f"-{LIMIT}\nuser.max_*_namespaces = 0", None),
        ("user.*.max_user_namespaces = 0", None),
        ("", None),
    ],
)
def test_lines(text: str, found: int | None) -> None:
    """As systemd-sysctl reads them; a glob never sets what a line names, and the kernel refuses other values."""
    won = winner({"/etc/sysctl.d/a.conf": text})
    assert (won and won[0]) == found


@pytest.mark.parametrize("content", [errno.EACCES, "\0" * 100, "x" * (65 << 10), "=" * 10_000])
def test_a_file_that_says_nothing(content: str | int) -> None:
    """It decides nothing, and stops nothing."""
    files: dict[str, str | int] = {"/etc/sysctl.d/1.conf": f"{LIMIT} = 3\n", "/etc/sysctl.d/2.conf": content}
    assert winner(files) == (3, "/etc/sysctl.d/1.conf")


@pytest.mark.parametrize(
    ("content", "unread"),
    [(errno.EACCES, 1), ("x" * (65 << 10), 1), (b"\xff", 1), ("nonsense", 0)],
)
def test_a_file_that_cannot_be_read_is_named(content: str | bytes | int, unread: int) -> None:
    """It may set anything."""
    host = FakeHost(files={"/etc/sysctl.d/1.conf": content}, modified={"/run/systemd/system": 0.0})
    assert len(gather_boot_sysctls(host, (LIMIT,)).unread) == unread


@pytest.mark.parametrize("last", ["99-sysctl.conf", "zzz.conf", "99-zzz.conf", "99-zz-a.conf", "z.conf"])
def test_a_name_that_comes_later(last: str) -> None:
    """Whatever the name of the file that wins now."""
    assert later_name("99-zz-a.conf", f"/etc/sysctl.d/{last}") >= last
