"""Databases of package managers, whole or half-written, as far as they decide what boots next."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.boot.packages import gather_unsettled, parse_status

STATUS, JOURNAL = "/var/lib/dpkg/status", "/var/lib/dpkg/updates"
RUNNING, NEXT = "6.12.9-amd64", "6.12.38+deb13-amd64"


def stanza(package: str, state: str) -> str:
    return f"Package: {package}\nStatus: install ok {state}\nVersion: 1\nDescription: a kernel\n more\n\n"


def unsettled(files: dict[str, str | bytes | int], following: str = NEXT) -> list[str]:
    """Sources of the problems."""
    found = gather_unsettled(FakeHost(files=dict(files)), RUNNING, following)
    assert all(one.value is None and one.kind for one in found)
    return [one.source for one in found]


EMPTY = {f"{JOURNAL}/tmp.i": ""}


@pytest.mark.parametrize(
    ("files", "sources"),
    [
        ({}, []),
        (EMPTY, []),
        ({f"{JOURNAL}/0003": ""}, [JOURNAL]),
        ({JOURNAL: errno.EACCES}, [JOURNAL]),
        ({"/var/lib/pacman/db.lck": ""}, ["/var/lib/pacman/db.lck"]),
        ({"/usr/sbin/transactional-update": ""}, ["/usr/sbin/transactional-update"]),
        (EMPTY | {STATUS: stanza(f"linux-image-{NEXT}", "installed")}, []),
        (EMPTY | {STATUS: stanza(f"linux-image-{NEXT}", "half-configured")}, [STATUS]),
        (EMPTY | {STATUS: stanza(f"linux-image-{NEXT}", "half-installed")}, [STATUS]),
        (EMPTY | {STATUS: stanza(f"linux-image-unsigned-{NEXT}", "unpacked")}, [STATUS]),
        (EMPTY | {STATUS: stanza(f"proxmox-kernel-{NEXT}-signed", "unpacked")}, [STATUS]),
        (EMPTY | {STATUS: stanza(f"linux-image-{NEXT}-dbg", "unpacked")}, []),
        (EMPTY | {STATUS: stanza("linux-image-6.12.38xdeb13-amd64", "unpacked")}, []),
        (EMPTY | {STATUS: stanza("nginx", "unpacked") + stanza(f"linux-headers-{NEXT}", "config-files")}, []),
        (EMPTY | {STATUS: stanza(f"linux-image-{NEXT}", "installed")[:-20]}, [STATUS]),
        (EMPTY | {STATUS: b"\0" * 4096}, [STATUS]),
        (EMPTY | {STATUS: b"Package: \xff\n"}, []),
        (EMPTY | {STATUS: errno.EIO}, [STATUS]),
    ],
)
def test_a_kernel_that_is_not_installed_to_the_end(files: dict[str, str | bytes | int], sources: list[str]) -> None:
    """And a database that was cut off, or is in work, is a problem; none of them is waited for."""
    assert unsettled(files) == sources


def test_an_offline_update() -> None:
    """A link makes the next boot install packages; a directory of that name does not."""
    for link in ("/system-update", "/etc/system-update"):
        found = gather_unsettled(FakeHost(links={link: "/var/cache/PackageKit"}), RUNNING, NEXT)
        assert [one.source for one in found] == [link]
    assert unsettled({"/system-update/file": ""}) == []


def test_the_status_is_not_read_where_the_running_kernel_boots_again() -> None:
    """It is large, and decides nothing then."""
    host = FakeHost(files=EMPTY | {STATUS: stanza(f"linux-image-{RUNNING}", "unpacked")})
    assert gather_unsettled(host, RUNNING, RUNNING) == ()
    assert gather_unsettled(host, RUNNING, "") == ()
    assert STATUS not in host.touched


@pytest.mark.parametrize(("present", "told"), [((RUNNING,), True), ((RUNNING, NEXT), False), ((), False)])
def test_a_kernel_without_modules(present: tuple[str, ...], told: bool) -> None:
    """Its package was not unpacked to the end, unless no kernel of the node has any."""
    files: dict[str, str | bytes | int] = {f"/lib/modules/{release}/modules.dep": "" for release in present}
    assert unsettled(files) == ["/lib/modules"] * told
    assert unsettled(files, RUNNING) == []


@given(st.binary(max_size=200))
def test_no_content_breaks_it(content: bytes) -> None:
    """A whole one says something or nothing."""
    with suppress(ValueError):
        assert parse_status(content, NEXT) == ""
