"""Rows of the report from the kernel's answers to attempts."""

from __future__ import annotations

import errno
import os

from probe.facts.filesystems.rules import Case, Circumstances, Subject, rule_of
from probe.facts.tried import Answered, Attempt, Doubt, NamespaceAttempt
from probe.host.idmap import Answer, NamespaceAnswer
from probe.tables.filesystems import READS_ONLY
from probe.terms import Usable


def judge_answer(subject: Subject, answer: Answer, circumstances: Circumstances) -> Attempt:
    """Row of the report for one answer of the kernel."""
    case = Case(subject, answer, circumstances)
    rule = rule_of(case)
    return Attempt(
        role=subject.role,
        path=subject.path,
        fstype=subject.fstype,
        device=subject.device,
        result=rule.result,
        reason=rule.reason.format_map(_words(case)) or _unproven(subject, rule.result),
        kind=rule.kind,
        step=answer.step,
        errno=error_name(answer.error),
        usable=_usable(subject, answer, rule.result),
        mounts_below=subject.mounts_below,
        below=subject.below,
        mount_read_only=subject.mount_read_only,
        owner=answer.owner,
        plugin=subject.plugin,
    )


def not_tried(subject: Subject, kind: Doubt, why: str) -> Attempt:
    """Row of a file system that was not tried, with the reason *why*."""
    return Attempt(
        role=subject.role,
        path=subject.path,
        fstype=subject.fstype,
        device=subject.device,
        result="unknown",
        reason=why,
        kind=kind,
        step="",
        errno="",
        usable=None,
        mounts_below=subject.mounts_below,
        below=subject.below,
        plugin=subject.plugin,
    )


def error_name(number: int) -> str:
    """Name of an errno: `EINVAL` for 22, the number if it has no name, empty for 0."""
    return errno.errorcode.get(number, str(number)) if number else ""


_NAMESPACE_STEPS: dict[str, tuple[Doubt, str]] = {
    "proc": ("not-readable", "no usable /proc, which probe and runtimes need: mount -t proc proc /proc"),
    "threads": ("not-tried", "probe is threaded"),
    "helper": ("not-readable", "the process that tried it ended without an answer"),
}
_NAMESPACE_ERRORS: dict[int, Doubt] = {
    errno.ETIMEDOUT: "timed-out",
    **dict.fromkeys((errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS), "not-permitted"),
    # The probe ran out of a resource, which proves nothing about user namespaces.
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EIO), "not-readable"),
}


def judge_namespace(answer: NamespaceAnswer, line: str) -> NamespaceAttempt:
    """Result of creating a user namespace with the map *line*."""
    if not answer.error:
        reason = "made, mapped and read back"
        return NamespaceAttempt(result="supported", reason=reason, step=answer.step, map=line)
    step, name = answer.step, error_name(answer.error)
    if step in _NAMESPACE_STEPS:
        kind, reason = _NAMESPACE_STEPS[step]
        return NamespaceAttempt(
            result="unknown", reason=reason, kind=kind, step="" if step == "helper" else step, map=line
        )
    kind = _NAMESPACE_ERRORS.get(answer.error, "not-readable" if step == "fork" else "")
    return NamespaceAttempt(
        result="unknown" if kind else "refused",
        reason="timed out" if kind == "timed-out" else os.strerror(answer.error),
        kind=kind,
        errno=name,
        step=step,
        map=line,
    )


def _words(case: Case) -> dict[str, object]:
    """Values for the placeholders in the reasons of rules."""
    step, (before, through) = case.answer.step, case.answer.owner or (-1, -1)
    return {
        "step": step,
        "call": "mount_setattr" if step == "control" else step,
        "error": os.strerror(case.answer.error),
        "fstype": case.subject.fstype,
        "release": case.circumstances.release,
        "before": before,
        "through": through,
    }


def _unproven(subject: Subject, result: Answered) -> str:
    """The limits of an accepted mapping as proof: no attempt writes through it."""
    return READS_ONLY.get(subject.fstype, "") if result == "supported" else ""


def _usable(subject: Subject, answer: Answer, result: Answered) -> Usable | None:
    if result == "unknown":
        return None
    if result == "refused":
        return "no"
    if subject.role in ("volume", "path") and subject.mounts_below:
        return "partly"  # runtimes map the top mount only: files in mounts below belong to nobody
    return "read-only" if subject.read_only or answer.sealed else "yes"
