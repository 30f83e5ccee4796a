"""Version and features of an OCI runtime, from its command `features`, else from `--version`, too."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from probe.facts.runtime.config import decode_json
from probe.host.host import Host
from probe.host.program import Output
from probe.reading import ProblemKind, Reading

_TIMEOUT = 2.0  # seconds for one command
_NO_WRAPPERS = ("runc", "crun")  # their output depends on nothing else, so it may be cached; a fork has another name
_BUDGET = 6.0  # seconds for all of them
_LINES = 20
_WORD = r"[A-Za-z][\w.-]{0,63}"
_VERSION_LINE = re.compile(rf"({_WORD}(?: {_WORD}){{0,3}}?)(?: version:? |\s+:\s)\s*v?(\S{{1,100}})\s*")
_VERSION_BELOW = rf"({_WORD})\n(?:\s+[^\n]*\n){{0,3}}?\s+version:\s+v?(\S{{1,100}})\s*(?:\n|$)"
_WRAPPED = ("crun", "runc", "youki")
"""OCI runtimes whose line comes below that of a wrapper, as nvidia-container-runtime prints them."""
_ANNOTATIONS = {"runc": "org.opencontainers.runc.version", "crun": "run.oci.crun.version"}
"""Where `features` names the version of the OCI runtime itself."""
_RUNC_HAS_FEATURES = (1, 1, 0)
_ANNOTATED = re.compile(r"\S{1,100}")
_NUMBER = re.compile(r"(?:release-)?v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?![\d.])", re.ASCII)


class OciVersion(Struct, frozen=True):
    """Name and version of an OCI runtime in its own spelling: `runc`, `1.1.15+ds1`."""

    name: str
    version: str


class OciFeatures(Struct, frozen=True):
    """The two features on which CRI bases its answer about user namespaces."""

    idmap: bool
    """`linux.mountExtensions.idmap.enabled`; False if missing, as for containerd and CRI-O."""
    user_namespace: bool
    """True when `linux.namespaces` contains `user`."""


class _Enabled(Struct):
    enabled: bool | None = None


class _MountExtensions(Struct):
    idmap: _Enabled | None = None


class _Linux(Struct):
    namespaces: tuple[str, ...] | None = None
    mount_extensions: _MountExtensions | None = field(default=None, name="mountExtensions")


class _Described(Struct):
    annotations: dict[str, Any] = {}


class _Features(Struct):
    minimum: str = field(name="ociVersionMin")
    maximum: str = field(name="ociVersionMax")
    linux: _Linux | None = None


def parse_runtime_version(text: str) -> OciVersion:
    """Parse `--version`: `runc version 1.3.6`, `kata-runtime  : 3.2.0`, and the lines of sysbox-runc and of wrappers.

    Of a wrapper that prints both, the OCI runtime that it hands containers to. *Errors*: ValueError for other text.
    """
    lines = text.split("\n")[:_LINES]
    found = [line for line in map(_VERSION_LINE.fullmatch, lines) if line]
    wrapped = next((line for line in found if line[1] in _WRAPPED), None)
    first = _VERSION_LINE.fullmatch(lines[0]) or re.match(_VERSION_BELOW, "\n".join(lines))
    chosen = wrapped or first
    if not chosen:
        raise ValueError(f"not a version: {lines[0][:60]!r}")
    return OciVersion(chosen[1], chosen[2])


def parse_described_version(text: str) -> OciVersion:
    """The version in the JSON printed by `features`; the text is that of `--version`.

    *Errors*: ValueError where no annotation names one, as of runtimes other than runc and crun, and for a runc that is
    older than its command `features`: sysbox-runc 0.6 writes its own version as that of runc.
    """
    annotations = decode_json(text, _Described).annotations
    for name, annotation in _ANNOTATIONS.items():
        version = annotations.get(annotation)
        version = version.strip() if isinstance(version, str) else ""  # runc 1.3 ends it with a newline
        if name == "runc" and (parse_version_number(version) or _RUNC_HAS_FEATURES) < _RUNC_HAS_FEATURES:
            raise ValueError(f"no version of runc that has features: {version[:60]!r}")
        if _ANNOTATED.fullmatch(version):
            return OciVersion(name, version)
    raise ValueError("names no version of the runtime")


def parse_version_number(version: str) -> tuple[int, int, int] | None:
    """(major, minor, patch) of a version, to compare with a minimum; None without a number (`UNKNOWN`).

    Release candidates, Debian's `+ds1` and Ubuntu's `-0ubuntu2` count as their release.
    """
    found = _NUMBER.match(version)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def is_prerelease(version: str) -> bool:
    """True for `2.1.5-rc.1`, `1.35.6-dev` and `1.30-alpha.4`, which may lack what their release has."""
    return re.search(r"\d[-~.+](?:alpha|beta|rc|dev|pre)(?![a-z])", version) is not None


def parse_features(text: str) -> OciFeatures:
    """Parse the JSON printed by `features`. *Source*: features.md of the OCI runtime specification, since 1.1."""
    features = decode_json(text, _Features)
    if not features.minimum or not features.maximum:
        raise ValueError("names no version of the OCI specification")
    linux = features.linux or _Linux()
    extensions = linux.mount_extensions or _MountExtensions()
    return OciFeatures(
        idmap=bool(extensions.idmap and extensions.idmap.enabled),
        user_namespace="user" in (linux.namespaces or ()),
    )


def lacks_features_command(status: int, stderr: str) -> bool:
    """True when `features` failed because the runtime is too old to have it (runc < 1.1, crun < 1.8.6)."""
    return status != 0 and bool(re.search(r"unknown command|no help topic|unrecognized subcommand", stderr, re.I))


class OciAnswers(Struct, frozen=True):
    """Version and features of one binary."""

    version: Reading[OciVersion]
    features: Reading[OciFeatures]


class OciRuntimes:
    """Runs the commands of each distinct OCI runtime once, within a total budget."""

    def __init__(self, host: Host, forbidden: Sequence[str], search_path: Sequence[str] = ()) -> None:
        """*search_path*: where a wrapper finds the OCI runtime that it hands everything to."""
        self._host = host
        self._environment = {"PATH": ":".join(search_path)} if search_path else None
        self._forbidden = tuple(_normal(path) for path in forbidden if path.strip("/"))
        self._deadline = min(time.monotonic() + _BUDGET * host.slowness, host.deadline)
        self._known: dict[str, OciAnswers] = {}

    def ask(self, path: str) -> OciAnswers:
        """Answers of the program at *path*, or the reason for not running it."""
        if path not in self._known:
            self._known[path] = self._ask(path)
        return self._known[path]

    def _ask(self, path: str) -> OciAnswers:
        if any(_normal(path).startswith(f"{directory}/") for directory in self._forbidden):
            return no_answers(path, "not-permitted", "not run: it is in a directory with files of Pods")
        features = self._run(path, "features")
        if features.kind == "timed-out":  # a second command would time out as well
            return no_answers(features.source, "timed-out", features.problem)
        claims = read_stdout(features).parse(parse_features)
        if features.value and lacks_features_command(features.value.status, features.value.stderr):
            claims = Reading(f"{features.source} (no such command)", OciFeatures(idmap=False, user_namespace=False))
        version = read_stdout(features).parse(parse_described_version)
        if version.value is None or os.path.basename(path) not in _NO_WRAPPERS:
            version = read_stdout(self._run(path, "--version")).parse(parse_runtime_version)
        return OciAnswers(version, claims)

    def _run(self, path: str, argument: str) -> Reading[Output]:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            return Reading.without(f"{path} {argument}", "not-tried", "not run: the time for it ran out")
        timeout = min(_TIMEOUT, remaining / self._host.slowness)
        environment = None if os.path.basename(path) in _NO_WRAPPERS else self._environment
        return self._host.run(path, argument, environment=environment, timeout=timeout)


def _normal(path: str) -> str:
    """*path* without `..` and doubled slashes; also not at the start, where POSIX keeps two."""
    return os.path.normpath("/" + path.lstrip("/"))


def no_answers(source: str, kind: ProblemKind, problem: str) -> OciAnswers:
    """Answers of a binary that was not run."""
    return OciAnswers(Reading.without(source, kind, problem), Reading.without(source, kind, problem))


def read_stdout(output: Reading[Output]) -> Reading[str]:
    """Stdout of a program with exit status 0; else a problem."""
    if output.value is None or output.value.status == 0:
        return output.parse(lambda done: done.stdout)
    said = (output.value.stderr or output.value.stdout).strip().split("\n", 1)[0][:200]
    return Reading.without(output.source, "not-readable", f"exit status {output.value.status}: {said}")
