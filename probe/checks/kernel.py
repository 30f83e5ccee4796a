"""Checks of user namespaces, their limits and security settings in the kernel."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from probe.checks import privileges, proc_sysfs
from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC, GRANT
from probe.checks.remedies.kernel import raise_limits
from probe.checks.remedies.node import NOT_BUILT, READ_THE_LOG
from probe.checks.remedies.platforms import inline, is_image, nested, platforms_of, quoted
from probe.checks.remedies.table import fitting
from probe.checks.runtime.confinement import confined_program, profiles_of
from probe.facts.model import Facts
from probe.facts.tried import NamespaceAttempt
from probe.finding import Evidence
from probe.reading import Reading

_ALLOW = (
    "Let the profile allow what the program needs for user namespaces (userns, mount, pivot_root, capabilities), or "
    "take it away. Then run one Pod, or probe with --try-pod:\n  aa-status; grep -rlF -e {name} /etc/apparmor.d"
)
USER_LIMIT = "user.max_user_namespaces"
CGROUP_LIMIT = "user.max_cgroup_namespaces"


def check_user_namespaces(facts: Facts) -> Outcome:
    """The live attempt decides; limits and links explain it, and decide only if it gave no answer."""
    kernel, attempt, own = facts.kernel, facts.user_namespace, facts.probe.in_initial_user_namespace
    limit = kernel.namespace_limits.get(USER_LIMIT, _LIMIT_NOT_READ)
    link = kernel.user_namespace_file
    winner = kernel.boot_limits.get(USER_LIMIT)
    seen: list[Evidence | Reading[Any]] = [_attempt_evidence(attempt), limit, link, *([winner] if winner else [])]
    if attempt.result == "supported" and winner and winner.value == 0 and not (nested(facts) or is_image(facts)):
        message = f"user namespaces work now and not after the next boot: {inline(winner.source)} sets {USER_LIMIT} = 0"
        return Outcome.warn(message, *seen, remediation=_raise(facts, {USER_LIMIT: limit.value}))
    if attempt.result == "supported":
        return Outcome.passed(f"a user namespace with the map {attempt.map} was made and read back", *seen)
    if link.kind == "absent" and kernel.release.value is not None:  # a known release proves that /proc is mounted
        message = f"kernel {kernel.release.value} was built without user namespaces"
        return Outcome.fail("UserNamespacesNotBuilt", message, *seen, remediation=NOT_BUILT)
    if own.value and limit.value == 0 and (attempt.result == "unknown" or attempt.errno == "ENOSPC"):
        message = f"user namespaces are switched off: {USER_LIMIT} is 0"
        own_file = _raise(facts, {USER_LIMIT: 0}) if winner and not fitting_row(facts) else ""
        return Outcome.fail("UserNamespacesDisabled", message, *seen, remediation=own_file)
    if attempt.result == "unknown":
        message = f"the probe could not try to make a user namespace: {_step(attempt)}"
        remediation = GRANT if attempt.kind == "not-permitted" else READ_THE_LOG
        return Outcome.unknown(attempt.kind or "not-tried", message, *seen, remediation=remediation)
    if own.value is None:
        return Outcome.not_read("whether the node or a user namespace around the probe refused it", own, *seen)
    if not own.value:
        message = "the probe runs in its own user namespace, so a refusal says nothing about the node"
        whose = own.parse(privileges.user_namespace_words)
        return Outcome.unknown("not-permitted", message, *seen, whose, remediation=GRANT)
    return _refused(attempt, limit, *seen)


def check_namespace_limits(facts: Facts) -> Outcome:
    """Only a limit of 0 fails: any other may suffice, and the live trial shows if it does not."""
    limits = {name: limit for name, limit in facts.kernel.namespace_limits.items() if name != USER_LIMIT}
    unread = [limit for limit in limits.values() if limit.kind not in (None, "absent")]
    zero = {name: limit for name, limit in limits.items() if limit.value == 0}
    if zero:
        return _zero_limits(facts, zero)
    if unread:
        return Outcome.not_read("a limit on namespaces", *unread)
    if not limits:
        return Outcome.unknown("not-tried", "the limits on namespaces were not read", _LIMIT_NOT_READ)
    if all(limit.kind == "absent" for limit in limits.values()):
        return Outcome.skipped("this kernel has no limits on namespaces (they came with 4.9)", *limits.values())
    return Outcome.passed("all limits on other namespaces are above 0", *limits.values())


def _zero_limits(facts: Facts, zero: dict[str, Reading[int]]) -> Outcome:
    """Every Pod needs all of these namespaces; a cgroup namespace only with cgroup v2."""
    own, version = facts.probe.in_initial_user_namespace, facts.kernel.cgroup_version
    if own.value is None:
        return Outcome.not_read("whose limits on namespaces were read", own, *zero.values())
    if not own.value:
        message = "the probe runs in its own user namespace, whose limits are not the node's"
        return Outcome.unknown("not-permitted", message, *zero.values(), remediation=GRANT)
    message = (
        f"no Pod can get its namespaces, with hostUsers: false or true: {', '.join(f'{name} is 0' for name in zero)}"
    )
    if set(zero) == {CGROUP_LIMIT} and version.value != 2:
        message = f"{CGROUP_LIMIT} is 0, which stops Pods only on nodes with cgroup v2"
        return Outcome.warn(message, *zero.values(), version, remediation=_raise(facts, dict.fromkeys(zero, 0)))
    return Outcome.fail(
        "NamespacesDisabled", message, *zero.values(), remediation=_raise(facts, dict.fromkeys(zero, 0))
    )


def _raise(facts: Facts, limits: dict[str, int | None]) -> str:
    """Commands that raise *limits*, in a file that is read after those that set them at boot."""
    return raise_limits(limits, {name: winner.source for name, winner in facts.kernel.boot_limits.items()})


def fitting_row(facts: Facts) -> bool:
    """True when this platform has its own way to raise the limit."""
    row = fitting("kernel-user-namespaces", "UserNamespacesDisabled", platforms_of(facts))
    return row is not None and bool(row.platform)


def check_unprivileged_switches(facts: Facts) -> Outcome:
    """Container runtimes run as root with CAP_SYS_ADMIN: these switches do not apply to them."""
    kernel = facts.kernel
    switches = {
        "kernel.unprivileged_userns_clone": kernel.unprivileged_userns_clone,
        "kernel.apparmor_restrict_unprivileged_userns": kernel.apparmor_restrict_unprivileged_userns,
    }
    present = {name: reading for name, reading in switches.items() if reading.value is not None}
    if not present:
        message = "this kernel has no sysctl that restricts unprivileged users"
        return Outcome.skipped(message, *switches.values())
    values = ", ".join(f"{name}={reading.value}" for name, reading in present.items())
    return Outcome.passed(f"{values} affects unprivileged users only, not container runtimes", *present.values())


def check_security_modules(facts: Facts) -> Outcome:
    """Names the security modules, and judges profiles that AppArmor gives by path to what the runtime starts.

    The label of the runtime itself is judged by another check.
    """
    profiles = profiles_of(facts)
    if found := confined_program(facts):
        program, profile = found
        message = f"AppArmor confines {inline(program)} by the profile {inline(profile.name)} ({profile.mode})"
        confines = Evidence(profiles.source, f"{profile.name} ({profile.mode})")
        doubt, remediation = f"{message}, which may forbid user namespaces", _ALLOW.format(name=quoted(profile.name))
        return replace(Outcome.unknown("not-readable", doubt, confines, remediation=remediation), decides=True)
    if profiles.value is None and profiles.kind not in ("absent", "not-tried"):
        return Outcome.not_read("whether AppArmor confines the OCI runtime", profiles)
    lsm, selinux = facts.kernel.lsm, facts.kernel.selinux_enforcing
    named = []
    if selinux.value is not None:
        named.append(f"SELinux is {'enforcing' if selinux.value else 'permissive'}")
    if lsm.value is not None:
        named.append(f"active security modules: {lsm.value}")
    if named:
        seen = (selinux.parse(lambda on: "enforcing" if on else "permissive"), lsm)
        return Outcome.passed("; ".join(named), *(reading for reading in seen if reading.value is not None))
    for reading in (lsm, selinux):
        if reading.kind != "absent":
            return Outcome.not_read("which security modules are active", reading)
    return Outcome.skipped("the kernel lists no security modules here (securityfs is not mounted)", lsm, selinux)


def _refused(attempt: NamespaceAttempt, limit: Reading[int], *seen: Evidence | Reading[Any]) -> Outcome:
    """Outcome for an errno: only EINVAL is about the kernel's features, all others about its current state."""
    if attempt.errno == "EINVAL":
        message = f"the kernel refuses user namespaces: {_step(attempt)}"
        return Outcome.fail("UserNamespaceRefused", message, *seen, remediation=NOT_BUILT)
    if attempt.errno in ("ENOSPC", "EUSERS"):
        message = f"{USER_LIMIT} or the depth of nesting is exhausted at the moment: {_step(attempt)}"
        return Outcome.unknown("not-tried", message, *seen, remediation=raise_limits({USER_LIMIT: limit.value}))
    return Outcome.unknown("not-readable", f"no user namespace could be made at the moment: {_step(attempt)}", *seen)


def _step(attempt: NamespaceAttempt) -> str:
    return ": ".join(part for part in (attempt.step, attempt.reason) if part)


def _attempt_evidence(attempt: NamespaceAttempt) -> Evidence:
    answer = f"{attempt.errno or attempt.result} from {attempt.step}" if attempt.step else attempt.reason
    if attempt.result == "supported":
        answer = attempt.reason
    return Evidence(f"user namespace with the map {attempt.map}", answer or attempt.result)


_LIMIT_NOT_READ: Reading[int] = Reading(f"/proc/sys/{USER_LIMIT.replace('.', '/')}", None, "not read", "not-tried")
CHECKS = (
    privileges.CHECK,
    Check(
        id="kernel-user-namespaces",
        level="stateless",
        gating=True,
        question="Can a user namespace with a full map be made?",
        why="Each Pod with hostUsers: false gets one. Where the kernel refuses it, the sandbox of such a Pod fails "
        "with 'no space left on device' or 'invalid argument'.",
        reasons=("UserNamespacesDisabled", "UserNamespacesNotBuilt", "UserNamespaceRefused"),
        remediation=GENERIC["kernel-user-namespaces"],
        documentation="user_namespaces(7); namespaces(7), The /proc/sys/user directory",
        check=check_user_namespaces,
    ),
    Check(
        id="kernel-namespace-limits",
        level="stateless",
        gating=False,
        question="Are the limits of the other namespaces above 0?",
        why="A Pod's sandbox needs mount, PID, network, IPC, UTS and cgroup namespaces too. A limit of 0 stops every "
        "Pod that needs that namespace, with or without a user namespace.",
        reasons=("NamespacesDisabled",),
        remediation=GENERIC["kernel-namespace-limits"],
        documentation="namespaces(7), The /proc/sys/user directory",
        check=check_namespace_limits,
    ),
    Check(
        id="kernel-unprivileged-switches",
        level="stateless",
        gating=False,
        question="Do the sysctls that restrict unprivileged users leave container runtimes alone?",
        why="Debian and Ubuntu have sysctls that deny user namespaces to unprivileged users. Container runtimes are "
        "privileged, so these sysctls do not affect Pods.",
        remediation=GENERIC["kernel-unprivileged-switches"],
        documentation="user_namespaces(7); Ubuntu security documentation, unprivileged user namespace restrictions",
        check=check_unprivileged_switches,
    ),
    Check(
        id="kernel-security-modules",
        level="stateless",
        gating=False,
        question="Are the active security modules known?",
        why="AppArmor, SELinux and BPF modules may forbid user namespaces to a confined container runtime. "
        "This check names them, and looks for profiles that AppArmor has for the OCI runtime and the shim; "
        "runtime-confinement judges the label of the runtime.",
        remediation=GENERIC["kernel-security-modules"],
        documentation="Linux Documentation/admin-guide/LSM",
        check=check_security_modules,
    ),
    proc_sysfs.CHECK,
)
