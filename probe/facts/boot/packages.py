"""Databases of package managers: whether one was interrupted, and whether the next kernel is installed to the end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from probe.host.host import Host
from probe.reading import Reading, problem_of

_DPKG_JOURNAL = "/var/lib/dpkg/updates"
"""Directory with numbered files while dpkg(1) works, and after it was interrupted."""
_DPKG_STATUS = "/var/lib/dpkg/status"
_OFFLINE = ("/system-update", "/etc/system-update")
"""Links that make the next boot install packages. *Source*: systemd.offline-updates(7)."""
_TRANSACTIONAL = "/usr/sbin/transactional-update"
"""Program of openSUSE MicroOS and SUSE Linux Micro, which makes a new snapshot of the system the default."""
_PACMAN_LOCK = "/var/lib/pacman/db.lck"
_MODULES = "/lib/modules"
_LIMIT = 32 << 20


def gather_unsettled(host: Host, running: str, following: str) -> tuple[Reading[str], ...]:
    """Problems of package managers that may change the next boot.

    The status of packages is read only where a kernel *following* that is not the *running* one starts.
    """
    release = following if following != running else ""
    return (*_without_modules(host, running, release), *_unsettled(host, release))


def _without_modules(host: Host, running: str, release: str) -> Iterator[Reading[str]]:
    """A kernel without the modules that the running one has boots, and then lacks file systems and networks."""
    if not release or host.status(f"{_MODULES}/{running}").value is None:
        return
    if host.status(f"{_MODULES}/{release}").kind == "absent":
        yield _doubt(_MODULES, f"has no modules of kernel {release}, as if its package were not unpacked to the end")


def _unsettled(host: Host, release: str) -> Iterator[Reading[str]]:
    journal = host.list_directory(_DPKG_JOURNAL)
    if journal.value is None and journal.kind != "absent":
        yield problem_of(journal)
    elif any(name.isdecimal() for name in journal.value or ()):
        yield _doubt(_DPKG_JOURNAL, "dpkg works now, or was interrupted: dpkg --configure -a ends its work")
    for link in _OFFLINE:
        if host.read_link(link).kind is None:
            yield _doubt(link, "an offline update is prepared, which the next boot installs")
    if host.status(_TRANSACTIONAL).kind is None:
        yield _doubt(_TRANSACTIONAL, "which snapshot of the system boots next is known to btrfs alone")
    if host.status(_PACMAN_LOCK).value is not None:
        yield _doubt(_PACMAN_LOCK, "pacman works now, or was interrupted")
    if release and journal.kind != "absent":
        status = host.read(_DPKG_STATUS, _LIMIT)
        found = status.parse(lambda content: parse_status(content, release))
        if found.value is None and found.kind != "absent":
            yield problem_of(found)
        elif found.value:
            yield _doubt(_DPKG_STATUS, found.value)


def parse_status(content: bytes, release: str) -> str:
    """Sentence about a package of the kernel *release* that is not installed to the end; empty without one.

    *Errors*: ValueError for a database that is cut off. *Source*: dpkg(1), package states.
    """
    if content and (b"\0" in content or not content.endswith(b"\n")):
        raise ValueError("is cut off")
    name = re.escape(release.encode("utf-8", "replace"))
    stanza = rb"(?m)^Package: ((?:linux|proxmox|pve)-[a-z-]*" + name + rb"(?:-signed|-unsigned)?)\nStatus: (.*)$"
    for package, state in re.findall(stanza, content):
        if not state.decode("utf-8", "replace").endswith((" installed", " config-files", " not-installed")):
            words = state.decode("utf-8", "replace").rpartition(" ")[2][:40]
            return f"{package.decode('utf-8', 'replace')[:100]} is {words}: dpkg --configure -a ends its work"
    return ""


def _doubt(source: str, problem: str) -> Reading[str]:
    return Reading.without(source, "not-readable", problem)
