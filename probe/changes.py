"""Changes of the verdict, and the difference between two reports. Pure; all values are those of JSON.

It imports the standard library alone, because `watch` imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any

    Json = Mapping[str, Any]
    """A JSON object. Its fields may be missing or of any type."""

KEPT = 5
"""Changes that a report keeps: the last ones."""
SHOWN = 8
"""Differences that a change keeps, the likeliest causes first."""
PER_POD = frozenset({"ids-slots", "hazard-last-block", "hazard-mapping-ignored"})
"""Checks whose answer depends on the Pods that run here, beside those of the level `volumes`."""
OMITTED = "omitted"
"""Name in a fingerprint that lost some of its entries; its value is their number."""

_NAMES = 64  # entries of a fingerprint
LONGEST = 80
"""Characters of a name, a value or a reason."""
_VERDICTS = ("ready", "not-ready", "unknown")
_RANKS = (
    "userns-probe", "boot", "kernel", "distribution", "kubelet", "runtime", "snapshotter", "oci-runtime", "setting",
    "filesystem", "check",
)  # fmt: skip
_SWITCHES = ("/sys/fs/selinux/enforce", "/sys/kernel/security/lsm", "featureGates")
_PROBLEMS = ("fail", "unknown", "warn")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def fingerprint(report: Json) -> dict[str, str]:
    """Name -> value of everything in *report* that may explain a change of its verdict, in the order of _RANKS.

    Versions, the boot, settings of the kernel, file systems that every Pod needs, and checks with a problem.
    """
    facts, node = _object(report.get("facts")), _object(report.get("node"))
    entries = [
        ("userns-probe", report.get("agent_version")),
        ("boot", node.get("boot_id")),
        ("kernel", facts.get("kernel_release")),
        ("distribution", node.get("distribution")),
        ("kubelet", facts.get("kubelet_version")),
        ("runtime", _words(facts.get("runtime_name"), facts.get("runtime_version"))),
        ("snapshotter", facts.get("snapshotter")),
        *sorted(_oci_runtimes(facts)),
        *sorted(_settings(report)),
        *_filesystems(report),
        *_checks(report),
    ]
    found = {clipped(name): clipped(value) for name, value in entries if isinstance(value, str) and value}
    return bounded(found, _NAMES)


def bounded(found: Mapping[str, str], most: int) -> dict[str, str]:
    """The first *most* entries of a fingerprint; OMITTED counts the others."""
    entries = [entry for entry in found.items() if entry[0] != OMITTED]
    told = found.get(OMITTED, "")
    lost = len(entries[most:]) + (int(told) if told.isdecimal() else bool(told))
    return dict(entries[:most]) | ({OMITTED: str(lost)} if lost else {})


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """The differences between two fingerprints: `what`, its value `before` and `after`; empty for absent.

    A name that *before* lacks and may have lost is not a difference. Numbers that the kernel computes at boot are none
    after a boot.
    """
    booted = before.get("boot") != after.get("boot")
    names = [name for name in (*after, *(name for name in before if name not in after)) if name != OMITTED]
    found = [
        {"what": name, "before": before.get(name, ""), "after": after.get(name, "")}
        for name in names
        if before.get(name, "") != after.get(name, "") and not (OMITTED in before and name not in before)
    ]
    said = [one for one in found if not (booted and _computed(one))]
    return sorted(said, key=lambda one: rank(one["what"]))[:SHOWN]


def followed(last: Json, report: Json) -> list[dict[str, Any]]:
    """The changes that *last* knew, and the one from *last* to *report*; the last KEPT."""
    known = last.get("changes")
    changes = [dict(one) for one in known if is_change(one)] if isinstance(known, list) else []
    before, after = answer(last), answer(report)
    if before and after and before != after:
        found = difference(fingerprint(last), fingerprint(report))
        changes.append({"at": report.get("probed_at"), "before": before, "after": after, "difference": found})
    probed_at = report.get("probed_at")
    return [one | {"at": dated(one["at"], probed_at)} for one in changes[-KEPT:]]


def dated(moment: object, now: object) -> str | None:
    """*moment* if it is a time (RFC 3339, UTC) up to *now*; None when the clock was set back since then."""
    if not (isinstance(moment, str) and _TIME.fullmatch(moment)):
        return None
    return None if isinstance(now, str) and _TIME.fullmatch(now) and moment > now else moment


def answer(report: Json) -> dict[str, str] | None:
    """`verdict` and `reason` of *report*; None when it has no verdict."""
    verdict, reason = report.get("verdict"), report.get("reason")
    if verdict not in _VERDICTS or not isinstance(reason, str):
        return None
    return {"verdict": verdict, "reason": clipped(reason)}


def is_change(value: object) -> bool:
    """True when *value* is a change as `followed` makes it."""
    if not isinstance(value, dict) or value.keys() != {"at", "before", "after", "difference"}:
        return False
    sides = all(isinstance(one, dict) and answer(one) == one for one in (value["before"], value["after"]))
    said = value["difference"]
    return (
        sides
        and (value["at"] is None or isinstance(value["at"], str))
        and isinstance(said, list | tuple)
        and all(
            isinstance(one, dict)
            and one.keys() == {"what", "before", "after"}
            and all(isinstance(text, str) and len(text) <= LONGEST for text in one.values())
            for one in said
        )
    )


def _oci_runtimes(facts: Json) -> Iterator[tuple[str, str]]:
    for one in _objects(facts.get("oci_runtimes")):
        yield f"oci-runtime {one.get('handler') or '(default)'}", _words(one.get("name"), one.get("version"))


def _settings(report: Json) -> Iterator[tuple[str, str]]:
    """Settings that gating checks, or checks with a problem, have seen."""
    for finding in _objects(report.get("findings")):
        if finding.get("gating") is True or finding.get("status") in _PROBLEMS:
            for one in _objects(finding.get("evidence")):
                source, value = str(one.get("source")), one.get("value")
                if isinstance(value, str) and source.startswith("/proc/sys/"):
                    yield f"setting {source.removeprefix('/proc/sys/').replace('/', '.')}", value
                elif isinstance(value, str) and source in _SWITCHES:
                    yield f"setting {source}", value


def _filesystems(report: Json) -> Iterator[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for row in _objects(report.get("filesystems")):
        if row.get("role") not in ("volume", "path"):
            found.setdefault(str(row.get("role")), []).append(_words(row.get("fstype"), row.get("result")))
    for role, words in found.items():
        yield f"filesystem {role}", ", ".join(dict.fromkeys(words))


def _checks(report: Json) -> Iterator[tuple[str, str]]:
    """Checks with a problem that no Pod decides: the one that the verdict names first, then the worst."""
    found = [
        one for one in _objects(report.get("findings"))
        if one.get("status") in _PROBLEMS and one.get("level") != "volumes" and one.get("id") not in PER_POD
    ]  # fmt: skip
    reason = report.get("reason")
    for one in sorted(found, key=lambda one: (one.get("reason") != reason, _PROBLEMS.index(one["status"]))):
        yield f"check {one.get('id')}", _words(one.get("status"), one.get("reason"))


def _computed(one: Mapping[str, str]) -> bool:
    numbers = all(one[side].isdigit() and one[side].strip("0") for side in ("before", "after"))
    return one["what"].startswith("setting ") and numbers


def rank(name: str) -> int:
    """Place of the name of a difference among the likeliest causes; 0 is the first."""
    kind = name.partition(" ")[0]
    return _RANKS.index(kind) if kind in _RANKS else len(_RANKS)


def _words(*words: object) -> str:
    return " ".join(word for word in words if isinstance(word, str) and word)


def clipped(text: str) -> str:
    """The beginning of *text*, in printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:LONGEST])


def _object(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> Iterable[Json]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []
