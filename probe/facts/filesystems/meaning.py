"""Which file systems are tried, and what the kernel's answers mean."""

from __future__ import annotations

import errno
import os
import re
from typing import Literal

from msgspec import Struct

from probe.facts.filesystems.rules import Circumstances, Subject
from probe.facts.tried import Attempt, Role, Usable
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH, Answer
from probe.host.mountinfo import is_served
from probe.host.walk import is_fuse

Kind = Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"]

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_SERVER_GONE = (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT)
_FOR_NOW = (
    *(errno.EINTR, errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ENOSPC),
    *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
)
"""What says nothing of overlay itself: something had run out, or a server was gone."""
_EL9 = re.compile(r"5\.14\.0-(\d+)\.[^/]*el9")
_EL9_FIRST_WITH_IDMAP = 334
_FIRST_WITH_MOUNT_SETATTR = (5, 12)


class Subject(Struct, frozen=True, kw_only=True):
    """One file system that is tried, and what the mount table says of it."""

    role: Role
    path: str
    fstype: str
    device: str
    read_only: bool = False
    idmapped: bool = False
    unbindable: bool = False
    mounts_below: int = 0
    plugin: str = ""


class Circumstances(Struct, frozen=True, kw_only=True):
    """What an errno has to be read against."""

    worked_elsewhere: bool
    """The same user namespace was accepted for another file system in this probe."""
    proc_refused: bool
    """The negative control: procfs can never be idmapped."""
    seccomp: bool
    """A filter may have answered instead of the kernel; also when nobody knows."""
    release: str
    oci_runtime: str
    """Whose ways count where runtimes differ: `runc`, `crun`, or empty for what all of them can."""


class _Meaning(Struct, frozen=True):
    result: Literal["supported", "refused", "unknown"]
    reason: str = ""
    kind: Kind = ""


def judge_answer(subject: Subject, answer: Answer, circumstances: Circumstances) -> Attempt:
    """What one answer of the kernel means for that file system."""
    meaning = _meaning(subject, answer, circumstances)
    return Attempt(
        role=subject.role,
        path=subject.path,
        fstype=subject.fstype,
        device=subject.device,
        result=meaning.result,
        reason=meaning.reason,
        kind=meaning.kind,
        step=answer.step,
        errno=errno.errorcode.get(answer.error, str(answer.error)) if answer.error else "",
        usable=_usable(subject, meaning),
        mounts_below=subject.mounts_below,
        owner=answer.owner,
        plugin=subject.plugin,
    )


def not_tried(subject: Subject, kind: Kind, why: str) -> Attempt:
    """The row of a file system that was not reached, or is better left alone."""
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
        plugin=subject.plugin,
    )


def _meaning(subject: Subject, answer: Answer, circumstances: Circumstances) -> _Meaning:
    if not circumstances.proc_refused:
        return _unknown("not-readable", "the negative control failed: even procfs seemed to accept a mapping")
    if not answer.error:
        return _accepted_meaning(subject, answer, circumstances)
    if answer.error == errno.ETIMEDOUT and answer.step in ("open_tree", "helper"):
        served = is_served(subject.fstype) or subject.role in ("volume", "path")
        why = "its server does not answer" if served else "no answer in the time that there was"
        return _unknown("timed-out", f"timed out: {why}")
    if answer.step == "helper":
        return _unknown("not-readable", "the process that tried it ended without an answer")
    if answer.error == errno.ENOSYS:
        return _no_system_call(answer, circumstances)
    if answer.step == "open_tree":
        return _open_tree_meaning(subject, answer)
    if answer.step in ("mount_setattr", "overlay"):
        return _mapping_meaning(subject, answer, circumstances)
    if answer.step == "setns" and answer.error == errno.ESRCH:
        return _unknown("not-readable", "the container runtime, where mounts are made, ended while it was tried")
    if answer.step == "control" and answer.error == errno.EPERM:
        return _unknown("not-permitted", "the probe may not change mounts (CAP_SYS_ADMIN, seccomp, security module)")
    kind: Kind = "not-permitted" if answer.error in (errno.EPERM, errno.EACCES) else "not-readable"
    return _unknown(kind, f"{answer.step} failed: {os.strerror(answer.error)}")


def _accepted_meaning(subject: Subject, answer: Answer, circumstances: Circumstances) -> _Meaning:
    """Accepted; where the owner was asked for, it must have moved by the mapping."""
    if subject.unbindable and circumstances.oci_runtime != "runc":
        # runc binds in the container's own mount namespace, where the mount is bindable again; crun on the node.
        return _Meaning("refused", "the mount is unbindable, and crun cannot bind it into a Pod (runc can)")
    if answer.owner is None:
        return _Meaning("supported")
    before, through = answer.owner
    expected = FIRST_HOST_ID + before if before < MAP_LENGTH else None
    if through == before or (expected is not None and through != expected):
        return _Meaning("refused", f"accepts the mapping and does not apply it: UID {before} is seen as {through}")
    return _Meaning("supported")


def _no_system_call(answer: Answer, circumstances: Circumstances) -> _Meaning:
    """ENOSYS: the kernel's own word only if it is old enough and no seccomp filter can have spoken for it."""
    version = re.match(r"(\d+)\.(\d+)", circumstances.release)
    old = version is not None and (int(version[1]), int(version[2])) < _FIRST_WITH_MOUNT_SETATTR
    if old and not circumstances.seccomp:
        return _Meaning("refused", f"kernel {circumstances.release} has no idmapped mounts (they came with 5.12)")
    call = "mount_setattr" if answer.step == "control" else answer.step
    return _unknown("not-permitted", f"{call} is not available to the probe, a seccomp filter may hide it")


def _open_tree_meaning(subject: Subject, answer: Answer) -> _Meaning:
    if answer.error == errno.EINVAL and subject.unbindable:  # of many kernels in a copy of the mount table, too
        return _Meaning("refused", "the mount is unbindable, and no runtime can bind it into a Pod")
    if answer.error == errno.EINVAL:
        return _unknown("not-tried", "the mount belongs to another mount namespace than the probe")
    if answer.error == errno.EPERM:
        return _unknown("not-permitted", "the probe may not clone mounts (CAP_SYS_ADMIN, seccomp)")
    if answer.error in _GONE:
        return _unknown("not-readable", f"the path is gone: {os.strerror(answer.error)}")
    if answer.error in _SERVER_GONE:
        return _unknown("not-readable", f"its server is gone: {os.strerror(answer.error)}")
    return _unknown("not-readable", f"could not be opened: {os.strerror(answer.error)}")


def _mapping_meaning(subject: Subject, answer: Answer, circumstances: Circumstances) -> _Meaning:
    if answer.waiting:
        return _unknown("timed-out", "timed out: its FUSE server leaves requests unanswered")
    if subject.idmapped:
        return _Meaning("refused", "is idmapped already, and runtimes cannot map it again")
    if answer.step == "overlay" and answer.error not in _FOR_NOW:
        return _Meaning("refused", f"overlay does not take an idmapped layer of it: {os.strerror(answer.error)}")
    if answer.error == errno.EINVAL:
        return _Meaning("refused", f"{subject.fstype} cannot be idmapped {_where(subject)}")
    if answer.error == errno.EPERM:
        build = _EL9.match(circumstances.release)
        if build and int(build[1]) < _EL9_FIRST_WITH_IDMAP and not circumstances.seccomp:
            return _Meaning("refused", f"kernel {circumstances.release} has idmapped mounts switched off")
        if circumstances.worked_elsewhere:
            return _Meaning("refused", "belongs to another user namespace than the node's")
        return _unknown("not-permitted", "the probe may not map mounts (CAP_SYS_ADMIN, seccomp, security module)")
    return _unknown("not-readable", f"mapping failed for now: {os.strerror(answer.error)}")


def _where(subject: Subject) -> str:
    """Whose fault it is: of FUSE each server decides, of all else the kernel."""
    if is_fuse(subject.fstype):
        return "as this server mounts it (it does not offer FUSE_ALLOW_IDMAP, or the kernel is older than 6.12)"
    return "on this kernel"


def _usable(subject: Subject, meaning: _Meaning) -> Usable | None:
    if meaning.result == "unknown":
        return None
    if meaning.result == "refused":
        return "no"
    if subject.role in ("volume", "path") and subject.mounts_below:
        return "partly"  # runtimes map the top mount only: what lies below shows up as nobody's
    return "read-only" if subject.read_only else "yes"


def _unknown(kind: Kind, reason: str) -> _Meaning:
    return _Meaning("unknown", reason, kind)
