"""The files of which containerd makes its configuration, as far as their text alone tells which it imports."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from probe.host.abstract import Host

DEFAULT_CONFIG = "/etc/containerd/config.toml"
DEFAULT_IMPORT = "/etc/containerd/conf.d/*.toml"
"""Import of containerd's default configuration since version 2.2."""

_LIMIT = 20  # files and directories
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_IMPORTS = re.compile(r"^[ \t]*imports[ \t]*=[ \t]*\[([^\[\]]*)\]", re.MULTILINE)
_STRINGS = re.compile(r"""\s*(?:(?:"[^"\\\n]*"|'[^'\n]*')\s*(?:,\s*|$))*""")
_STRING = re.compile(r"""["']([^"'\n]*)["']""")
_OTHER = re.compile(r"[\[\]\\{}?]")  # Go and Python may read these differently


def files_of_dump(host: Host, arguments: Sequence[str]) -> list[str] | None:
    """All files and directories that containerd reads when *arguments* have it print its configuration.

    None where not all of them are known, and for other arguments.
    """
    match tuple(arguments):
        case ("config", "dump"):
            pending = [DEFAULT_CONFIG]
        case ("--config", file, "config", "dump"):
            pending = [file]
        case _:
            return None
    found: dict[str, None] = {}
    while pending and len(found) < _LIMIT:
        file = pending.pop()
        found[file] = None
        text = host.read_text(file).value
        try:
            places = [] if text is None else [place_of(each, file) for each in (*parse_imports(text), DEFAULT_IMPORT)]
        except ValueError:
            return None
        if not places:
            return None
        for directory, name in places:
            found[directory] = None
            names = host.list_directory(directory)
            if names.value is None and names.kind != "absent":
                return None
            imported = (f"{directory}/{each}" for each in names.value or () if fnmatchcase(each, name))
            pending += [each for each in imported if each not in found]
    return None if pending else list(found)


def parse_imports(text: str) -> tuple[str, ...]:
    """The patterns of `imports` in a configuration file. *Source*: containerd-config.toml(5).

    *Errors*: ValueError unless each mention of the word is such a list of plain strings.
    """
    plain = _COMMENT.sub("", text)
    lists = _IMPORTS.findall(plain)
    escaped = "\\u" in plain or "\\U" in plain  # by which a key may be written otherwise
    if escaped or plain.count("imports") != len(lists) or not all(map(_STRINGS.fullmatch, lists)):
        raise ValueError("its imports are not a plain list")
    return tuple(pattern for one in lists for pattern in _STRING.findall(one))


def place_of(pattern: str, file: str) -> tuple[str, str]:
    """The directory in which *pattern* in *file* names entries, and the pattern of their names.

    *Errors*: ValueError for a pattern of more than one directory, and for one that Go and Python may read differently.
    """
    directory, name = os.path.split(os.path.join(os.path.dirname(file), pattern))
    if "*" in directory or _OTHER.search(pattern):
        raise ValueError(f"{pattern!r} may name entries of many directories")
    return os.path.normpath(directory), name
