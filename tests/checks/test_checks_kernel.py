"""The checks of the kernel and of the probe itself, in every status that each can give."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lab.factory import (
    ALL_CAPABILITIES,
    NAMESPACE_LIMITS,
    absent,
    make_attempt,
    make_attempts,
    make_facts,
    make_handler,
    make_kernel,
    make_mounts,
    make_namespace_attempt,
    make_probe,
    make_runtime,
    make_visibility,
    unread,
)
from probe.checks.check import Check, Outcome
from probe.checks.kernel import CHECKS, check_user_namespaces
from probe.checks.proc_sysfs import check_proc_sysfs
from probe.facts.model import Facts
from probe.facts.tried import SandboxFacts, SandboxStep
from probe.reading import Reading
from probe.terms import Status

LIMIT = "user.max_user_namespaces"

CHECK: dict[str, Check] = {check.id: check for check in CHECKS}
SYS_ADMIN, SETUID = 1 << 21, 1 << 7


def outcome(check_id: str, facts: Facts) -> Outcome:
    return CHECK[check_id].check(facts)


def refused(errno: str, step: str = "unshare", **overrides: Any) -> Any:
    fields = {"result": "refused", "step": step, "errno": errno, "reason": "said no"}
    return make_namespace_attempt(**fields | overrides)


def untried(kind: str, errno: str = "EPERM") -> Any:
    return make_namespace_attempt(result="unknown", step="unshare", errno=errno, reason="no answer", kind=kind)


def limited(**limits: Any) -> Any:
    """A kernel with these limits, by the kind of namespace."""
    return make_kernel(namespace_limits={f"user.max_{kind}_namespaces": limit for kind, limit in limits.items()})


def test_the_order_of_the_stack() -> None:
    """The first failure in this order is the node's reason."""
    assert list(CHECK) == [
        "probe-privileges",
        "kernel-user-namespaces",
        "kernel-namespace-limits",
        "kernel-unprivileged-switches",
        "kernel-security-modules",
        "kernel-proc-sysfs",
    ]
    assert {check.level for check in CHECKS} == {"stateless"}
    assert [check.id for check in CHECKS if check.gating] == ["kernel-user-namespaces", "kernel-proc-sysfs"]


# --- probe-privileges


def privileges(**probe: Any) -> Outcome:
    return outcome("probe-privileges", make_facts(probe=make_probe(**probe)))


def test_a_probe_that_may_all() -> None:
    """Nothing is missing."""
    assert privileges().status == "pass"


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"effective_capabilities": ALL_CAPABILITIES & ~SYS_ADMIN}, "without CAP_SYS_ADMIN"),
        ({"effective_capabilities": SYS_ADMIN | SETUID}, "without CAP_SETGID, CAP_SYS_CHROOT"),
        ({"in_initial_user_namespace": False}, "in its own user namespace"),
        ({"in_initial_user_namespace": unread()}, "its user namespace is unknown"),
        ({"chrooted": True}, "in a chroot"),
        ({"threads": 3}, "with 3 threads"),
        ({"entered": unread("/proc/1/ns/mnt")}, "the node could not be entered (/proc/1/ns/mnt: could not be read)"),
        ({"entered": False}, "the node was not entered"),
    ],
)
def test_each_way_in_which_a_probe_is_confined(probe: dict[str, Any], words: str) -> None:
    """What it may not is named, with what to grant."""
    found = privileges(**probe)
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    assert words in found.message


def test_all_that_confines_a_probe_is_told_at_once() -> None:
    """Nobody has to come back for the second obstacle."""
    found = privileges(effective_capabilities=0, chrooted=True, threads=2)
    assert all(words in found.message for words in ("CAP_SYS_ADMIN", "chroot", "threads"))


def test_a_seccomp_filter_counts_where_something_was_refused() -> None:
    """Many filters let all pass that is needed."""
    filtered = make_probe(seccomp=2)
    assert outcome("probe-privileges", make_facts(probe=filtered)).status == "pass"
    found = outcome("probe-privileges", make_facts(probe=filtered, user_namespace=untried("not-permitted")))
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    assert "seccomp" in found.message
    not_mapped = make_attempts(tmpfs=make_attempt(role="tmpfs", result="unknown", kind="not-permitted"))
    found = outcome("probe-privileges", make_facts(probe=filtered, attempts=not_mapped))
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    assert "seccomp" in found.message


def test_a_security_module_counts_where_something_was_refused() -> None:
    """No capability is missing then, and no filter is there: somebody else has answered EACCES."""
    found = outcome("probe-privileges", make_facts(user_namespace=untried("not-permitted")))
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    assert "AppArmor" in found.message


@pytest.mark.parametrize("entered", [False, unread("/proc/1/ns/mnt")])
def test_no_security_module_is_blamed_where_the_node_was_not_entered(entered: Any) -> None:
    """What was refused there may have been refused by the container around the probe."""
    facts = make_facts(probe=make_probe(entered=entered), user_namespace=untried("not-permitted"))
    found = outcome("probe-privileges", facts)
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    assert "AppArmor" not in found.message


def test_a_probe_that_does_not_know_itself() -> None:
    """Its own status was not readable."""
    found = privileges(seccomp=unread("/proc/self/status", "not-readable"))
    assert (found.status, found.reason) == ("unknown", "NotReadable")


def test_a_machine_whose_system_calls_are_not_known() -> None:
    """Nothing was tried there, which no right would change."""
    facts = make_facts(probe=make_probe(supported_architecture=False), kernel=make_kernel(architecture="riscv64"))
    found = outcome("probe-privileges", facts)
    assert (found.status, found.reason) == ("unknown", "NotTried")
    assert "riscv64" in found.message
    assert "CAP" not in found.remediation


# --- kernel-user-namespaces


def user_namespaces(attempt: Any, kernel: Any = None, **overrides: Any) -> Outcome:
    facts = make_facts(user_namespace=attempt, kernel=kernel or make_kernel(), **overrides)
    return outcome("kernel-user-namespaces", facts)


@pytest.mark.parametrize(
    "kernel",
    [
        make_kernel(),
        limited(user=0),
        make_kernel(user_namespace_file=absent("/proc/self/ns/user")),
        make_kernel(unprivileged_userns_clone=0, apparmor_restrict_unprivileged_userns=1),
    ],
)
def test_the_live_attempt_decides(kernel: Any) -> None:
    """One that worked is not argued with, whatever the switches say."""
    found = user_namespaces(make_namespace_attempt(), kernel)
    assert found.status == "pass"
    assert "0 65536 65536" in found.message


def test_a_limit_of_zero() -> None:
    """ENOSPC with a limit of 0 is for good; the remedy is a line of sysctl."""
    found = user_namespaces(refused("ENOSPC"), limited(user=0))
    assert (found.status, found.reason) == ("fail", "UserNamespacesDisabled")
    assert "user.max_user_namespaces = 65536" in (found.remediation or CHECK["kernel-user-namespaces"].remediation)


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(5, 65_536), (514_000, 1_028_000), (unread("/proc/sys/user/max_user_namespaces"), 65_536), (absent("x"), 65_536)],
)
@pytest.mark.parametrize("errno", ["ENOSPC", "EUSERS"])
def test_a_limit_that_is_merely_reached(limit: Any, wanted: int, errno: str) -> None:
    """It may be free again in a moment, so it is no failure; what raises it does not lower it."""
    found = user_namespaces(refused(errno), limited(user=limit))
    assert (found.status, found.reason) == ("unknown", "NotTried")
    file = "/etc/sysctl.d/99-zz-user.max_user_namespaces.conf"
    assert f"\n  echo 'user.max_user_namespaces = {wanted}' > {file} && sysctl -p {file}\n" in found.remediation


def test_a_kernel_built_without_them() -> None:
    """The link of a process's user namespace is missing then."""
    without = make_kernel(user_namespace_file=absent("/proc/self/ns/user"))
    for attempt in (refused("EINVAL"), untried("not-permitted"), untried("not-tried", "")):
        found = user_namespaces(attempt, without)
        assert (found.status, found.reason) == ("fail", "UserNamespacesNotBuilt")
        assert "6.12" in found.message


def test_without_proc_nothing_is_known_of_the_link() -> None:
    """A link that is missing with everything else in /proc proves nothing."""
    nothing = make_kernel(
        user_namespace_file=absent("/proc/self/ns/user"), release=absent("/proc/sys/kernel/osrelease")
    )
    assert user_namespaces(untried("not-permitted"), nothing).status == "unknown"


def test_refused_by_the_kernel() -> None:
    """EINVAL although it was built with them: the boot parameter of EL7, or a map that did not take effect."""
    for step in ("unshare", "read back"):
        found = user_namespaces(refused("EINVAL", step))
        assert (found.status, found.reason) == ("fail", "UserNamespaceRefused")
        assert step in found.message


@pytest.mark.parametrize("errno", ["ENOMEM", "EMFILE", "EAGAIN", "EIO"])
def test_a_machine_short_of_something(errno: str) -> None:
    """An error of this moment says nothing about the node."""
    found = user_namespaces(refused(errno))
    assert (found.status, found.reason) == ("unknown", "NotReadable")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("not-permitted", "NotPermitted"),
        ("timed-out", "TimedOut"),
        ("not-tried", "NotTried"),
        ("not-readable", "NotReadable"),
    ],
)
def test_an_attempt_without_an_answer(kind: str, reason: str) -> None:
    """Why nobody knows is kept."""
    found = user_namespaces(untried(kind))
    assert (found.status, found.reason) == ("unknown", reason)


def test_a_limit_of_zero_speaks_for_an_attempt_that_could_not() -> None:
    """No right would help against a limit of 0, so it is a failure also where the attempt was not permitted."""
    found = user_namespaces(untried("not-permitted"), limited(user=0))
    assert (found.status, found.reason) == ("fail", "UserNamespacesDisabled")


@pytest.mark.parametrize("errno", ["EINVAL", "ENOSPC"])
def test_a_probe_in_a_user_namespace_speaks_for_itself_only(errno: str) -> None:
    """There limits and refusals are those of its own namespace."""
    confined = make_probe(in_initial_user_namespace=False)
    found = user_namespaces(refused(errno), limited(user=0), probe=confined)
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
    unsure = make_probe(in_initial_user_namespace=unread("/proc/self/ns/user", "not-readable"))
    found = user_namespaces(refused(errno), limited(user=0), probe=unsure)
    assert (found.status, found.reason) == ("unknown", "NotReadable")


def test_facts_without_limits() -> None:
    """Nothing known is unknown, and no error."""
    nothing = make_kernel()
    nothing.namespace_limits.clear()
    assert user_namespaces(untried("timed-out"), nothing).reason == "TimedOut"
    found = outcome("kernel-namespace-limits", make_facts(kernel=nothing))
    assert (found.status, found.reason) == ("unknown", "NotTried")


# --- kernel-namespace-limits


@pytest.mark.parametrize(
    ("kernel", "status", "reason"),
    [
        (make_kernel(), "pass", ""),
        (limited(user=0), "pass", ""),
        (limited(net=1), "pass", ""),
        (limited(net=0), "fail", "NamespacesDisabled"),
        (limited(pid=0, uts=unread()), "fail", "NamespacesDisabled"),
        (limited(mnt=unread("/proc/sys/user/max_mnt_namespaces")), "unknown", "NotPermitted"),
        (limited(ipc=unread("/proc/sys/user/max_ipc_namespaces", "timed-out")), "unknown", "TimedOut"),
        (make_kernel(namespace_limits={name: absent(name) for name in NAMESPACE_LIMITS}), "skipped", ""),
    ],
)
def test_limits_of_other_namespaces(kernel: Any, status: Status, reason: str) -> None:
    """Only 0 is worth a word."""
    found = outcome("kernel-namespace-limits", make_facts(kernel=kernel))
    assert (found.status, found.reason) == (status, reason)


@pytest.mark.parametrize(("version", "status"), [(2, "fail"), (1, "warn"), (unread(), "warn")])
def test_cgroup_namespaces_are_needed_with_cgroup_v2(version: Any, status: Status) -> None:
    """With version 1 runtimes bind the node's hierarchies, and make no namespace."""
    kernel = msgspec.structs.replace(limited(cgroup=0), cgroup_version=reading("/proc/self/cgroup", version))
    assert outcome("kernel-namespace-limits", make_facts(kernel=kernel)).status == status


@pytest.mark.parametrize("own", [False, unread("/proc/self/ns/user")])
def test_limits_of_another_user_namespace_are_not_the_nodes(own: Any) -> None:
    """/proc/sys/user shows the limits of the reader's own user namespace (namespaces(7))."""
    facts = make_facts(kernel=limited(net=0), probe=make_probe(in_initial_user_namespace=own))
    found = outcome("kernel-namespace-limits", facts)
    assert (found.status, found.reason) == ("unknown", "NotPermitted")


def test_the_limits_that_are_zero_are_named() -> None:
    """Each with its line, ready to be pasted."""
    found = outcome("kernel-namespace-limits", make_facts(kernel=limited(net=0, cgroup=0)))
    assert "user.max_net_namespaces is 0, user.max_cgroup_namespaces is 0" in found.message
    for name in ("user.max_net_namespaces", "user.max_cgroup_namespaces"):
        file = f"/etc/sysctl.d/99-zz-{name}.conf"
        assert f"  echo '{name} = 65536' > {file} && sysctl -p {file}\n" in found.remediation
    assert {evidence.value for evidence in found.evidence} == {"0"}


# --- kernel-unprivileged-switches and kernel-security-modules


@pytest.mark.parametrize(
    ("clone", "restrict", "status"),
    [
        (0, 1, "pass"),
        (1, absent("b"), "pass"),
        (absent("a"), 1, "pass"),
        (absent("a"), absent("b"), "skipped"),
        (unread(), unread(), "skipped"),
    ],
)
def test_switches_for_unprivileged_users_never_matter(clone: Any, restrict: Any, status: Status) -> None:
    """Debian's and Ubuntu's knobs do not bind root (opencontainers/runc issue 4069)."""
    kernel = make_kernel(unprivileged_userns_clone=clone, apparmor_restrict_unprivileged_userns=restrict)
    assert outcome("kernel-unprivileged-switches", make_facts(kernel=kernel)).status == status


@pytest.mark.parametrize(
    ("lsm", "selinux", "status", "reason", "words"),
    [
        ("capability,apparmor", absent("s"), "pass", "", "capability,apparmor"),
        (absent("l"), True, "pass", "", "SELinux is enforcing"),
        (unread(), False, "pass", "", "SELinux is permissive"),
        ("selinux", unread(), "pass", "", "selinux"),
        (absent("l"), absent("s"), "skipped", "", "no security modules"),
        (unread(), absent("s"), "unknown", "NotPermitted", "could not be read"),
        (absent("l"), unread(kind="timed-out"), "unknown", "TimedOut", "could not be read"),
    ],
)
def test_security_modules_are_only_named(lsm: Any, selinux: Any, status: Status, reason: str, words: str) -> None:
    """Whether they bind the runtime is asked elsewhere."""
    found = outcome("kernel-security-modules", make_facts(kernel=make_kernel(lsm=lsm, selinux_enforcing=selinux)))
    assert (found.status, found.reason) == (status, reason)
    assert words in found.message


# --- kernel-proc-sysfs


def proc_sysfs(**overrides: Any) -> Outcome:
    return outcome("kernel-proc-sysfs", make_facts(**overrides))


def test_nothing_is_covered() -> None:
    """The table and its size are the evidence."""
    found = proc_sysfs()
    assert found.status == "pass"
    assert "42 mounts" in found.evidence[0].value


@pytest.mark.parametrize(
    ("proc", "sysfs", "reason"),
    [
        (make_visibility("/proc/tty"), make_visibility(), "ProcCovered"),
        (make_visibility(), make_visibility("/sys/kernel"), "SysfsCovered"),
        (make_visibility("/proc/tty"), make_visibility("/sys/kernel"), "ProcCovered"),
    ],
)
def test_what_is_covered_fails(proc: Any, sysfs: Any, reason: str) -> None:
    """All that is covered is told, and what is first names the reason."""
    found = proc_sysfs(mounts=make_mounts(proc=proc, sysfs=sysfs))
    assert (found.status, found.reason) == ("fail", reason)
    for covering in (*proc.covering, *sysfs.covering):
        assert covering in found.message
    for fstype, seen in (("proc", proc), ("sysfs", sysfs)):
        command = f"\n  mkdir -p /run/{fstype}-clean && mount -t {fstype} {fstype} /run/{fstype}-clean\n"
        assert (command in found.remediation) == bool(seen.covering)


def reading(source: str, value: Any) -> Reading[Any]:
    return value if isinstance(value, Reading) else Reading(source, value)


def sandbox(errno: str = "EPERM", **results: str) -> Reading[SandboxFacts]:
    """A trial in which these steps went that way, what failed with that errno."""
    fields = {"role": "required", "kind": "", "seconds": 0.0, "reason": "a meaning"}
    steps = tuple(
        msgspec.convert(
            fields | {"name": name, "result": result, "errno": errno if result == "failed" else ""}, SandboxStep
        )
        for name in ("proc", "sysfs")
        for result in (results.get(name, "passed"),)
    )
    return Reading("sandbox trial", SandboxFacts(steps=steps, seconds=0.02))


@pytest.mark.parametrize(
    ("covering", "result", "status"),
    [
        ((), "failed", "fail"),
        (("/proc/tty",), "passed", "pass"),
        (("/proc/tty",), "failed", "fail"),
        (("/proc/tty",), "unknown", "fail"),
        ((), "unknown", "pass"),
        ((), "not-tried", "pass"),
    ],
)
def test_the_trial_decides_and_the_table_explains(covering: tuple[str, ...], result: str, status: str) -> None:
    """What the kernel answered to a fresh /proc outweighs what the mount table lets one expect."""
    found = proc_sysfs(mounts=make_mounts(proc=make_visibility(*covering)), sandbox=sandbox(proc=result))
    assert (found.status, found.reason) == (status, "ProcCovered" if status == "fail" else "")


@pytest.mark.parametrize("errno", ["ENOSPC", "EINVAL", "ENAMETOOLONG"])
@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
def test_no_errno_is_invented(errno: str, fstype: str) -> None:
    """Only EPERM says that a part is covered; what any other errno means for Pods is the sandbox trial's to say."""
    found = proc_sysfs(sandbox=sandbox(errno, **{fstype: "failed"}))
    assert (found.status, found.reason) == ("unknown", "NotReadable")
    told = " ".join([found.message, *map(str, found.evidence)])
    assert errno in told
    assert "EPERM" not in told


def test_a_cover_that_the_table_shows_counts_whatever_errno_the_trial_met() -> None:
    """The place is evidence of its own, and the errno is told as it was."""
    found = proc_sysfs(mounts=make_mounts(proc=make_visibility("/proc/tty")), sandbox=sandbox("ENOSPC", proc="failed"))
    assert (found.status, found.reason) == ("fail", "ProcCovered")
    assert "EPERM" not in found.message


@pytest.mark.parametrize(
    ("name", "covered", "status"),
    [
        ("crun", {"sysfs": make_visibility("/sys/firmware")}, "pass"),
        ("", {"sysfs": make_visibility("/sys/firmware")}, "fail"),
        ("kata", {"sysfs": make_visibility("/sys/firmware")}, "fail"),
        ("crun", {"proc": make_visibility("/proc/tty")}, "fail"),
        ("crun", {"proc": make_visibility("/proc/tty"), "sysfs": make_visibility("/sys/firmware")}, "fail"),
    ],
)
def test_crun_binds_the_nodes_sys(name: str, covered: Any, status: Status) -> None:
    """Seen with tmpfs on /sys/firmware and with /sys noatime: Pods of crun ran, those of runc did not."""
    handlers = (make_handler(), make_handler(name="crun", oci_runtime="crun", oci_version="1.28"))
    facts = make_facts(mounts=make_mounts(**covered), runtime=make_runtime(handlers=handlers))
    assert check_proc_sysfs(facts, name).status == status


def test_the_remedy_can_be_pasted() -> None:
    """A whole proc is mounted beside it; what covers the other, as lxcfs does for good reason, stays as it is."""
    covered = make_visibility("/proc/a b; reboot", "option ro of /proc")
    remediation = proc_sysfs(mounts=make_mounts(proc=covered)).remediation
    commands = [line for line in remediation.split("\n") if line.startswith(" ")]
    assert commands == ["  mkdir -p /run/proc-clean && mount -t proc proc /run/proc-clean"]


def test_many_covers_stay_readable() -> None:
    """The message names three; the evidence all."""
    found = proc_sysfs(mounts=make_mounts(sysfs=make_visibility(*(f"/sys/{i}" for i in range(20)))))
    assert "/sys/0, /sys/1, /sys/2 and 17 more" in found.message
    assert len(found.evidence) == 20


def test_no_proc_at_all_has_a_remedy_too() -> None:
    """The same."""
    found = proc_sysfs(mounts=make_mounts(proc=make_visibility("no whole proc is mounted")))
    assert "mount -t proc" in found.remediation


def test_a_mount_table_that_was_not_read() -> None:
    """It keeps its problem."""
    found = proc_sysfs(mounts=unread("/proc/1/mountinfo", "timed-out"))
    assert (found.status, found.reason) == ("unknown", "TimedOut")


@pytest.mark.parametrize("proc", [make_visibility(), make_visibility("/proc/keys")])
@pytest.mark.parametrize(
    ("entered", "reason"),
    [(unread("/proc/1/ns/mnt"), "NotPermitted"), (unread(kind="absent"), "NotReadable"), (False, "NotPermitted")],
)
def test_the_table_of_a_container_is_not_the_nodes(proc: Any, entered: Any, reason: str) -> None:
    """A container's own /proc is covered as a rule, and clean in a privileged one: neither says anything."""
    found = proc_sysfs(mounts=make_mounts(proc=proc), probe=make_probe(entered=entered))
    assert (found.status, found.reason) == ("unknown", reason)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_evidence_names_its_sources(check: Check) -> None:
    """Whatever passes shows what was seen and where."""
    found = check.check(make_facts())
    assert found.status in ("pass", "skipped")
    if found.status == "pass":
        assert all(evidence.source for evidence in found.evidence)
        assert found.evidence


def test_every_declared_reason_was_given_above() -> None:
    """The list of reasons is closed, and none of them is dead."""
    assert {reason for check in CHECKS for reason in check.reasons} == {
        "UserNamespacesDisabled",
        "UserNamespacesNotBuilt",
        "UserNamespaceRefused",
        "NamespacesDisabled",
        "ProcCovered",
        "SysfsCovered",
    }


def test_a_limit_that_the_next_boot_sets_to_zero() -> None:
    """A node that was raised by sysctl -w alone works until then; the remedy is read after the file that wins."""
    zero = {LIMIT: Reading("/etc/sysctl.d/zz-guide.conf", 0)}
    outcome = check_user_namespaces(make_facts(kernel=make_kernel(boot_limits=zero)))
    assert outcome.status == "warn"
    assert "/etc/sysctl.d/zz-guide.conf" in outcome.message
    assert "/etc/sysctl.d/zz-guidez-99-zz-user.max_user_namespaces.conf" in outcome.remediation
    nested = make_kernel(boot_limits=zero, container=Reading("/run/systemd/container", "lxc"))
    assert check_user_namespaces(make_facts(kernel=nested)).status == "pass"
    set_elsewhere = make_facts(kernel=make_kernel(boot_limits=zero), distribution="bottlerocket 1.51.0")
    assert check_user_namespaces(set_elsewhere).status == "pass"
    enough = make_kernel(boot_limits={LIMIT: Reading("/etc/sysctl.d/a.conf", 10)})
    assert check_user_namespaces(make_facts(kernel=enough)).status == "pass"


def test_the_file_that_switched_user_namespaces_off_is_named() -> None:
    """Its line stands in the evidence, and the remedy wins over it."""
    kernel = make_kernel(
        namespace_limits={LIMIT: 0}, boot_limits={LIMIT: Reading("/usr/local/lib/sysctl.d/99-zzz.conf", 0)}
    )
    refused = make_namespace_attempt(result="refused", step="unshare", errno="ENOSPC", reason="No space left on device")
    outcome = check_user_namespaces(make_facts(kernel=kernel, user_namespace=refused))
    assert outcome.reason == "UserNamespacesDisabled"
    assert any(each.source == "/usr/local/lib/sysctl.d/99-zzz.conf" for each in outcome.evidence)
    assert "99-zzzz-99-zz-user.max_user_namespaces.conf" in outcome.remediation
