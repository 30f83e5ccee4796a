"""The report as a feature file of Node Feature Discovery, for hosts without access to the API server."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping

from probe.watch.atomic import replace_file
from probe.watch.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any

FILE_NAME = "userns-probe"
"""Name of the file in NFD's folder `features.d`; a name that begins with a dot is ignored there."""
FILE_LIMIT = 65536
"""Bytes above which NFD ignores the file."""

_READY = "userns-probe.io/ready"
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_BOOT = re.compile(r"^# boot (\S+)$", re.MULTILINE)
_LABEL = re.compile(rf"^{re.escape(_READY)}=(true|false)$", re.MULTILINE)
_OF_VERDICT = {"ready": "true", "not-ready": "false"}


def render_features(report: Mapping[str, Any], before: str = "") -> str:
    """Feature file of *report*, a Report as JSON; *before* is the last file.

    While the verdict is unknown, the label `userns-probe.io/ready` keeps what *before* says of the same boot. Verdict,
    reason and levels are features for NodeFeatureRules, no labels. All of it is void once the report has expired.
    *Source*: nfd-worker, source/local; `expiry-time` since v0.15.
    """
    boot = str(report["node"]["boot_id"])
    ready = _OF_VERDICT.get(str(report["verdict"])) or known_label(before, boot) or "unknown"
    features = {"verdict": report["verdict"], "reason": report["reason"]}
    features |= {f"level-{level}": verdict for level, verdict in report["levels"].items()}
    lines = [f"# boot {boot}"] if boot else []
    if report["expires_at"]:
        lines.append(f"# +expiry-time={report['expires_at']}")
    lines.append(f"{_READY}={ready}")
    for name, value in features.items():
        if _VALUE.fullmatch(str(value)):
            lines += ["# +no-label", f"userns-probe.io/{name}={value}"]
    return "\n".join(lines) + "\n"


def known_label(features: str, boot: str) -> str:
    """`true` or `false` of a feature file of this boot; empty when it says neither."""
    of, label = _BOOT.search(features), _LABEL.search(features)
    return label[1] if boot and of and of[1] == boot and label else ""


def own_features(name: str, directory: int | None = None) -> str:
    """The feature file that an earlier probe left at *name*; empty when it is not text, or somebody else owns it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError, UnicodeDecodeError):
        with open(os.open(name, flags, dir_fd=directory), "rb") as file:
            if os.fstat(file.fileno()).st_uid == os.geteuid():
                return file.read(FILE_LIMIT).decode()
    return ""


class FeatureFile:
    """The file `userns-probe` in the open *directory*, NFD's `features.d`."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._content = own_features(FILE_NAME, directory)

    def put(self, report: Mapping[str, object]) -> None:
        """Write what *report* says. A failure is logged: the report itself is in its place."""
        try:
            content = render_features(report, self._content)
            replace_file(self._directory, FILE_NAME, content.encode())
            self._content = content
        except OSError as error:
            log("features_not_written", "error", reason=f"{type(error).__name__}: {error}")
