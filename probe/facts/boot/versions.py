"""Order of kernel releases, as boot loaders sort them."""

from __future__ import annotations

import re

_PART = r"\d{1,18}|[A-Za-z]{1,40}|~"
_COUNTED = r"(.*)\+(\d{1,9})(?:-\d+)?"
_LIMIT = 128

Key = tuple[tuple[int, int, str], ...]


def version_key(release: str) -> Key:
    """Key that sorts releases: numbers by value, words below numbers, `rc` before the release itself.

    *Source*: GRUB, util/grub-mkconfig_lib.in, `version_test_numeric`; RPM, `rpmvercmp`.
    """
    text = re.sub(r"[._-](pre|rc|alpha|beta|trunk)", r"~\1", release[:_LIMIT])
    parts = [
        (1, int(part), "") if part.isdecimal() else (-1 if part == "~" else 0, 0, part)
        for part in re.findall(_PART, text)
    ]
    return (*parts, (0, 0, ""))


def tries_of(name: str) -> tuple[str, int | None]:
    """Name of an entry of systemd-boot without its counter, and the tries that are left (`NAME+2-1.conf`: 2).

    *Source*: systemd.io, Automatic Boot Assessment.
    """
    stem, dot, ending = name.rpartition(".")
    counted = re.fullmatch(_COUNTED, stem)
    return (f"{counted[1]}{dot}{ending}", int(counted[2])) if counted else (name, None)


def menu_order(name: str) -> tuple[bool, Key]:
    """Key that sorts entries of systemd-boot; one that has used up its tries (`NAME+0-3.conf`) is the last."""
    whole, left = tries_of(name)
    return left != 0, version_key(whole.rpartition(".")[0])
