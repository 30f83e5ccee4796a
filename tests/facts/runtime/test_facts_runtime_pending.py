"""Files of a runtime's configuration that may be newer than its daemon."""

from __future__ import annotations

import errno

import pytest

from lab.fake_host import FakeHost
from probe.facts.runtime.pending import find_changed_of_containerd, find_changed_of_crio

PID = 77
CONTAINERD, CRIO = "/etc/containerd", "/etc/crio"
FOLDER = f"{CRIO}/crio.conf.d"


def host_with(*newer: str, older: tuple[str, ...] = ()) -> FakeHost:
    """A host whose daemon started between these files."""
    host = FakeHost(files=dict.fromkeys((*newer, *older), ""))
    host.add_process(PID, "/usr/bin/daemon")
    started = host.started_at(PID).value or 0
    for path in (*newer, *older):
        host.modified[path] = host.changed[path] = started + (100 if path in newer else -100)
    return host


@pytest.mark.parametrize(
    ("newer", "flags", "found"),
    [
        (f"{CONTAINERD}/config.toml", {}, f"{CONTAINERD}/config.toml"),
        (f"{CONTAINERD}/config.toml", {"--config": "/srv/a.toml"}, ""),
        ("/srv/a.toml", {"--config": "/srv/a.toml"}, "/srv/a.toml"),
        ("/srv/conf.d/b.toml", {}, "/srv/conf.d/b.toml"),
        ("/srv/other.toml", {}, ""),
    ],
)
def test_files_of_containerd(newer: str, flags: dict[str, str], found: str) -> None:
    """The one that its flag names, else the usual one, and those that it said it had merged."""
    assert find_changed_of_containerd(host_with(newer), PID, flags, ["/srv/conf.d/b.toml"]) == found


@pytest.mark.parametrize(
    ("newer", "flags", "found"),
    [
        (f"{CRIO}/crio.conf", {}, f"{CRIO}/crio.conf"),
        (f"{CRIO}/crio.conf", {"--config": "/srv/a.conf"}, ""),
        (f"{FOLDER}/1.conf", {}, f"{FOLDER}/1.conf"),
        (f"{FOLDER}/1.conf", {"--config-dir": "/srv/d"}, ""),
        ("/srv/d/1.conf", {"--config-dir": "/srv/d"}, "/srv/d/1.conf"),
    ],
)
def test_files_of_crio(newer: str, flags: dict[str, str], found: str) -> None:
    """The one that its flag names, else the usual one, and the drop-ins of a folder."""
    assert find_changed_of_crio(host_with(newer), PID, flags) == found


@pytest.mark.parametrize(("count", "found"), [(50, ""), (51, FOLDER)])
def test_a_folder_of_too_many_files_may_hide_a_change(count: int, found: str) -> None:
    """No more are looked at."""
    host = host_with(older=tuple(f"{FOLDER}/{number}.conf" for number in range(count)))
    assert find_changed_of_crio(host, PID, {}) == found


def test_a_folder_that_cannot_be_listed_may_hide_a_change() -> None:
    """One that does not exist hides none."""
    host = host_with()
    assert find_changed_of_crio(host, PID, {}) == ""
    host.files[FOLDER] = errno.EACCES
    assert find_changed_of_crio(host, PID, {}) == FOLDER
