"""Table of the meanings of the kernel's answers to attempts at a file system; the first matching row decides."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from msgspec import Struct

from probe.facts.tried import Answered, Doubt
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH, Answer
from probe.host.mountinfo import is_served
from probe.host.walk import is_fuse
from probe.terms import Role

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_SERVER_GONE = (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT)
_FOR_NOW = (
    *(errno.EINTR, errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ENOSPC),
    *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
)
"""Errors that prove nothing about overlay: an exhausted resource or a lost server."""
_EL9 = re.compile(r"5\.14\.0-(\d+)\.[^/]*el9")
_EL9_FIRST_WITH_IDMAP = 334
_FIRST_WITH_MOUNT_SETATTR = (5, 12)


class Subject(Struct, frozen=True, kw_only=True):
    """One file system to try, with its mount table entry."""

    role: Role
    path: str
    fstype: str
    device: str
    read_only: bool = False
    mount_read_only: bool = False
    idmapped: bool = False
    unbindable: bool = False
    mounts_below: int = 0
    below: tuple[str, ...] = ()
    plugin: str = ""
    linked: bool = False
    """Whether a driver publishes the volume by a symbolic link to *path*, which then is not a mount point."""
    recursive: bool = False
    """True to map all mounts below, too."""


class Circumstances(Struct, frozen=True, kw_only=True):
    """Context that the meaning of an errno depends on."""

    worked_elsewhere: bool
    """True when this probe idmapped another file system with the same user namespace."""
    proc_refused: bool
    """True when the negative control was refused: procfs can never be idmapped."""
    seccomp: bool
    """True when a seccomp filter may have answered instead of the kernel, or the mode is unknown."""
    release: str
    oci_runtime: str
    """Runtime whose behaviour counts: `runc`, `crun`, or empty for the common part of all."""


class Case(Struct, frozen=True):
    """One answer with its subject and circumstances."""

    subject: Subject
    answer: Answer
    circumstances: Circumstances


def _always(_: Case) -> bool:
    return True


def _is_served(case: Case) -> bool:
    return is_served(case.subject.fstype) or case.subject.role in ("volume", "path")


def _is_ignored(case: Case) -> bool:
    """True when the mapping was accepted without effect: a known owner did not change as mapped."""
    if case.answer.owner is None:
        return False
    before, through = case.answer.owner
    return through == before or (before < MAP_LENGTH and through != FIRST_HOST_ID + before)


def _has_no_system_call(case: Case) -> bool:
    """True when the kernel lacks the system call, and no seccomp filter can have faked ENOSYS."""
    version = re.match(r"(\d+)\.(\d+)", case.circumstances.release)
    old = version is not None and (int(version[1]), int(version[2])) < _FIRST_WITH_MOUNT_SETATTR
    return old and not case.circumstances.seccomp


def _is_switched_off(case: Case) -> bool:
    build = _EL9.match(case.circumstances.release)
    return build is not None and int(build[1]) < _EL9_FIRST_WITH_IDMAP and not case.circumstances.seccomp


class Rule(Struct, frozen=True, kw_only=True):
    """Row: meaning of an answer at one of *steps* with one of *errors*; empty matches any."""

    steps: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    when: Callable[[Case], bool] = _always
    result: Answered
    kind: Doubt = ""
    reason: str = ""
    """Template; placeholders in braces are the keys of `_words`."""

    def fits(self, case: Case) -> bool:
        """True when the row matches *case*."""
        answer = case.answer
        return (
            (not self.steps or answer.step in self.steps)
            and (not self.errors or answer.error in self.errors)
            and self.when(case)
        )


def _refused(reason: str, *errors: int, when: Callable[[Case], bool] = _always, steps: tuple[str, ...] = ()) -> Rule:
    return Rule(steps=steps, errors=errors, when=when, result="refused", reason=reason)


def _unknown(
    kind: Doubt, reason: str, *errors: int, when: Callable[[Case], bool] = _always, steps: tuple[str, ...] = ()
) -> Rule:
    return Rule(steps=steps, errors=errors, when=when, result="unknown", kind=kind, reason=reason)


_DONE = 0
_OPEN, _MAP, _HELPER = ("open_tree",), ("mount_setattr", "overlay"), ("helper",)
_FUSE = "as this server mounts it (it does not offer FUSE_ALLOW_IDMAP, or the kernel is older than 6.12)"

RULES: tuple[Rule, ...] = (
    _unknown(
        "not-readable",
        "the negative control failed: even procfs seemed to accept an idmapping",
        when=lambda case: not case.circumstances.proc_refused,
    ),
    _refused(
        "the mount is unbindable, and no overlay can be made of layers on it",
        _DONE,
        when=lambda case: case.subject.unbindable and case.subject.role == "overlay-layers",
    ),
    # runc binds in the mount namespace of the container, where the mount is bindable; crun on the node.
    _refused(
        "the mount is unbindable, and crun cannot bind it into a Pod (runc can)",
        _DONE,
        when=lambda case: case.subject.unbindable and case.circumstances.oci_runtime != "runc",
    ),
    _refused("accepts the mapping and does not apply it: UID {before} is seen as {through}", _DONE, when=_is_ignored),
    Rule(errors=(_DONE,), result="supported"),
    _unknown(
        "timed-out",
        "timed out: its server does not answer",
        errno.ETIMEDOUT,
        steps=_OPEN + _HELPER,
        when=_is_served,
    ),
    _unknown("timed-out", "timed out: no answer within the time left", errno.ETIMEDOUT, steps=_OPEN + _HELPER),
    _unknown("not-readable", "the process that tried it ended without an answer", steps=_HELPER),
    _refused("kernel {release} has no idmapped mounts (they came with 5.12)", errno.ENOSYS, when=_has_no_system_call),
    _unknown("not-permitted", "{call} is not available to the probe; a seccomp filter may hide it", errno.ENOSYS),
    # Many kernels answer the same for an unbindable mount in a new mount namespace.
    _refused(
        "the mount is unbindable, and no runtime can bind it into a Pod",
        errno.EINVAL,
        steps=_OPEN,
        when=lambda case: case.subject.unbindable,
    ),
    _unknown("not-tried", "the mount belongs to another mount namespace than the probe", errno.EINVAL, steps=_OPEN),
    _unknown("not-permitted", "the probe may not clone mounts (CAP_SYS_ADMIN, seccomp)", errno.EPERM, steps=_OPEN),
    _unknown("not-readable", "the path is gone: {error}", *_GONE, steps=_OPEN),
    _unknown("not-readable", "its server is gone: {error}", *_SERVER_GONE, steps=_OPEN),
    _unknown("not-readable", "could not be opened: {error}", steps=_OPEN),
    _unknown(
        "timed-out",
        "timed out: its FUSE server leaves requests unanswered",
        steps=_MAP,
        when=lambda case: case.answer.waiting,
    ),
    _refused(
        "is idmapped already, and runtimes cannot map it again", steps=_MAP, when=lambda case: case.subject.idmapped
    ),
    _refused(
        "overlay refuses an idmapped layer of it: {error}",
        steps=("overlay",),
        when=lambda case: case.answer.error not in _FOR_NOW,
    ),
    # For FUSE the server decides, for all others the kernel.
    _refused(
        f"{{fstype}} cannot be idmapped {_FUSE}",
        errno.EINVAL,
        steps=_MAP,
        when=lambda case: is_fuse(case.subject.fstype),
    ),
    _refused("{fstype} cannot be idmapped on this kernel", errno.EINVAL, steps=_MAP),
    _refused("kernel {release} has idmapped mounts switched off", errno.EPERM, steps=_MAP, when=_is_switched_off),
    _refused(
        "belongs to another user namespace than the node's",
        errno.EPERM,
        steps=_MAP,
        when=lambda case: case.circumstances.worked_elsewhere,
    ),
    _unknown(
        "not-permitted",
        "the probe may not map mounts (CAP_SYS_ADMIN, seccomp, security module)",
        errno.EPERM,
        steps=_MAP,
    ),
    _unknown("not-readable", "idmapping failed at the moment: {error}", steps=_MAP),
    _unknown(
        "not-readable",
        "the container runtime, in whose mount namespace it was tried, ended meanwhile",
        errno.ESRCH,
        steps=("setns",),
    ),
    _unknown(
        "not-permitted",
        "the probe may not change mounts (CAP_SYS_ADMIN, seccomp, security module)",
        errno.EPERM,
        steps=("control",),
    ),
    _unknown("not-permitted", "{step} failed: {error}", errno.EPERM, errno.EACCES),
    _unknown("not-readable", "{step} failed: {error}"),
)
"""Meanings of all answers to an attempt at one file system."""


def rule_of(case: Case) -> Rule:
    """First row that matches *case*."""
    return next(rule for rule in RULES if rule.fits(case))
