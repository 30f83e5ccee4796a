"""The bundle as a file: a gzip-compressed tar archive whose members people can read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from typing import Any

import msgspec
from msgspec import Struct

from probe.facts.bundle.keep import LIMIT
from probe.facts.bundle.questions import Asked
from probe.reading import spelled_out

FORMAT = "userns-probe.io/bundle/v1"
_MANIFEST, _ANSWERS, _REPORT, _README = "manifest.json", "answers.ndjson", "report.json", "README.txt"
_ABOUT = """All that one probe of userns-probe read of a node.

manifest.json    when, by which version, with which options
answers.ndjson   each question and its answer, a line each: files, links, mount tables, outputs of programs, attempts
report.json      the report that was made of them

Tokens, keys, passwords and their hashes, cloud IDs and environments are replaced by REDACTED-N. Addresses and names
of hosts, users, Pods and mounts are not: read answers.ndjson before you send it.
`userns-probe report --from-bundle FILE` prints the report again.
"""


class BundleError(ValueError):
    """The file is not a bundle; the text says why."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Settings and versions of the recorded probe."""

    format: str = FORMAT
    agent_version: str
    node_name: str | None = None
    probed_at: str
    expires_at: str
    duration_seconds: float
    uptime_seconds: float | None = None
    volume_paths: bool = False
    redacted: int = 0
    """Number of different secrets that were replaced."""


class Bundle(Struct, frozen=True):
    """Content of a bundle apart from the report, which follows from it."""

    manifest: Manifest
    asked: tuple[Asked, ...]


def pack(bundle: Bundle, report: str) -> bytes:
    """The archive. *report* is the report as JSON. The same content gives the same bytes."""
    lines = b"".join(_line(one) + b"\n" for one in bundle.asked)
    members = {
        _README: _ABOUT.encode(),
        _MANIFEST: json.dumps(spelled_out(msgspec.to_builtins(bundle.manifest)), indent=1).encode() + b"\n",
        _REPORT: report.encode(),
        _ANSWERS: lines,
    }
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def unpack(content: bytes) -> Bundle:
    """The bundle in an archive; nothing is written. *Errors*: BundleError."""
    try:
        members = _members(content)
        manifest = msgspec.json.decode(members[_MANIFEST], type=Manifest)
        asked = tuple(msgspec.json.decode(line, type=Asked) for line in members[_ANSWERS].splitlines() if line.strip())
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BundleError(f"is not a whole tar archive compressed with gzip: {error}") from error
    except KeyError as error:
        raise BundleError(f"has no member {error}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is not understood: {str(error)[:200]}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"has the format {manifest.format[:100]!r}, and this version reads {FORMAT!r}")
    return Bundle(manifest, asked)


def _members(content: bytes) -> dict[str, bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        plain = file.read(2 * LIMIT + 1)
    if len(plain) > 2 * LIMIT:
        raise ValueError(f"holds more than {2 * LIMIT >> 20} MiB")
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
        for member in archive:
            if member.isfile() and member.name in (_MANIFEST, _ANSWERS):
                opened = archive.extractfile(member)
                members[member.name] = opened.read() if opened else b""
    return members


def _line(value: Any) -> bytes:
    return json.dumps(msgspec.to_builtins(value)).encode()
