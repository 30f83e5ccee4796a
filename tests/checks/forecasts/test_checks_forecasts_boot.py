"""Forecast of the next boot."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    absent,
    make_attempt,
    make_attempts,
    make_boot,
    make_facts,
    make_ids,
    make_kernel,
    make_kubelet,
    make_mount_at_boot,
    make_mounts,
    make_namespace_attempt,
    make_pending,
    make_refusal,
    make_runtime,
    unread,
)
from probe.checks.catalog import judge
from probe.checks.forecasts.boot import plan_boot
from probe.checks.forecasts.catalog import CHECKS, find, forecast_events
from probe.facts.boot.loader import STAGED
from probe.facts.boot.model import BootEntry, MountAtBoot
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.forecast import EventForecast
from probe.reading import Reading
from probe.verdict import conclude

LIMIT = "user.max_user_namespaces"
RUNNING = make_kernel().release.value or ""


def forecast(facts: Facts) -> EventForecast:
    """Of the next boot."""
    return forecast_events(facts, judge(facts))[0]


def attempts(**replacements: Attempt) -> tuple[Attempt, ...]:
    """Those of a node whose layers lie on ext4."""
    layers = make_attempt(role="overlay-layers", path="/var/lib/containerd", fstype="ext4")
    return make_attempts(**{"overlay_layers": layers} | replacements)


def sysctl(value: int, now: int = 63000) -> dict[str, Any]:
    """A node with this limit, whose files set *value*."""
    return {"kernel": limited(now, boot_limits=at("/etc/sysctl.d/z.conf", value))}


def boots(release: str, *options: str, **overrides: Any) -> dict[str, Any]:
    """A node that boots this kernel."""
    return {"boot": make_boot(entry=entry(release, *options), **overrides)}


def moved(**then: Any) -> dict[str, Any]:
    """A node whose kubelet's directory is on another mount after the boot."""
    return {"mounts": make_mounts(at_boot=(make_mount_at_boot(**then),))}


def entry(release: str = RUNNING, *options: str) -> BootEntry:
    return BootEntry(release=release, options=options)


def limited(now: int, **overrides: Any) -> Any:
    limits = dict(make_kernel().namespace_limits) | {LIMIT: Reading("/proc/sys/user/max_user_namespaces", now)}
    return make_kernel(namespace_limits=limits, **overrides)


def at(file: str, value: int) -> dict[str, Reading[int]]:
    return {LIMIT: Reading(file, value)}


V1 = "systemd.unified_cgroup_hierarchy=0"


def cgroup_v1(*options: str, systemd: int) -> dict[str, Any]:
    """A node whose next command line asks for cgroup v1."""
    return {"boot": make_boot(entry=entry(RUNNING, V1, *options), systemd=Reading("/usr/lib/systemd", systemd))}


DOWN = make_runtime(pending=make_pending(replaced=True, version="1.7.24"))
CUT_OFF = Reading.without("/var/lib/dpkg/status", "not-readable", "is cut off")
HANGS = unread("/etc/sysctl.d/1.conf", "timed-out")
OFF = make_namespace_attempt(result="refused", errno="ENOSPC", step="unshare", reason="No space left on device")


def test_nothing_changes() -> None:
    """The verdict stays, and nothing is to be done."""
    found = forecast(make_facts())
    assert (found.outcome, found.verdict, found.changes, found.message, found.remediation) == (
        "stays",
        "ready",
        (),
        "",
        "",
    )
    assert set(found.levels.values()) == {"ready"}


@pytest.mark.parametrize(
    ("facts", "outcome", "verdict", "reason"),
    [
        # sysctls
        (sysctl(0), "turns", "not-ready", "UserNamespacesDisabled"),
        (sysctl(7), "stays", "ready", ""),
        (boots(RUNNING, f"sysctl.{LIMIT}=0"), "turns", "not-ready", "UserNamespacesDisabled"),
        (sysctl(0, 0) | {"user_namespace": OFF}, "stays", "not-ready", "UserNamespacesDisabled"),
        ({"kernel": limited(0), "user_namespace": OFF}, "turns", "ready", ""),
        # kernels
        (boots("6.1.0-30-amd64"), "turns", "not-ready", "TmpfsNotIdmappable"),
        (boots("5.10.0-28-amd64"), "turns", "not-ready", "RuntimeRootNotIdmappable"),
        (boots("5.14.0-362.el9"), "turns", "unknown", "NotTried"),
        (boots("6.18.1-amd64"), "stays", "ready", ""),
        (
            {
                "kernel": make_kernel(release="6.1.0-30-amd64"),
                "attempts": attempts(tmpfs=make_refusal(role="tmpfs", fstype="tmpfs", path="", device="")),
                "boot": make_boot(entry=entry("6.12.9-amd64")),
            },
            "turns", "ready", "",
        ),
        (boots("6.18.1", built_in=False), "turns", "not-ready", "UserNamespacesNotBuilt"),
        # mounts
        (moved(fstype="nfs4"), "turns", "not-ready", "KubeletRootNotIdmappable"),
        (moved(fstype="xfs"), "stays", "ready", ""),
        (moved(options=("noexec",)), "stays", "ready", ""),
        (moved(options=("ro",)), "turns", "not-ready", "KubeletDirectoryNotWritable"),
        # the kubelet and the runtime start anew, too
        ({"kubelet": make_kubelet(gate_configured=False)}, "turns", "not-ready", "KubeletNotFound"),
        (
            {"boot": make_boot(entry=entry(RUNNING, "systemd.unified_cgroup_hierarchy=0"))},
            "turns", "not-ready", "KubeletNotFound",
        ),
        (cgroup_v1(systemd=255), "turns", "not-ready", "KubeletNotFound"),
        (cgroup_v1(systemd=257), "unknown", "unknown", "NotTried"),
        (cgroup_v1("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", systemd=257), "turns", "not-ready", "KubeletNotFound"),
        (cgroup_v1(systemd=258), "stays", "ready", ""),
        (boots("6.18.1", V1, running_options=(V1,)), "stays", "ready", ""),
        ({"runtime": DOWN}, "turns", "not-ready", "RuntimeTooOld"),
        # what is not known
        ({"boot": make_boot(entry=absent("/boot"))}, "unknown", "unknown", "NotReadable"),
        ({"boot": make_boot(entry=unread("/boot/grub/grub.cfg"))}, "unknown", "unknown", "NotPermitted"),
        ({"boot": make_boot(unread_sysctls=(HANGS,))}, "unknown", "unknown", "TimedOut"),
        (boots("6.18.1", incomplete=("6.18.1",)), "unknown", "unknown", "NotReadable"),
        (boots("6.18.1", unsettled=(CUT_OFF,)), "unknown", "unknown", "NotReadable"),
        (boots("", installed=(RUNNING, "6.18.1")), "unknown", "unknown", "NotReadable"),
        (boots("", installed=(RUNNING,)), "stays", "ready", ""),
        ({"boot": make_boot(entry=BootEntry(release=RUNNING, options=None))}, "unknown", "unknown", "NotReadable"),
        ({"boot": unread("the node")}, "unknown", "unknown", "NotPermitted"),
        (boots(RUNNING, running_options=("cgroup_no_v1=all",)), "unknown", "unknown", "NotTried"),
        (boots(RUNNING, "cgroup_no_v1=all", running_options=("cgroup_no_v1=all",)), "stays", "ready", ""),
        (sysctl(0) | {"distribution": "bottlerocket 1.51.0"}, "unknown", "unknown", "NotTried"),
        ({"kernel": limited(0), "user_namespace": OFF, "distribution": "talos 1.12"}, "unknown", "unknown", "NotTried"),
        ({"kernel": make_kernel(container="docker")}, "unknown", "unknown", "NotTried"),
    ],
)  # fmt: skip
def test_what_the_next_boot_brings(facts: dict[str, Any], outcome: str, verdict: str, reason: str) -> None:
    """The verdict of the checks of today on the facts of then; what cannot be known is unknown, never a promise."""
    node = make_facts(**{"attempts": attempts()} | facts)
    found = forecast(node)
    assert (found.outcome, found.verdict, found.reason) == (outcome, verdict, reason)
    assert found.changes or found.message or outcome == "stays"
    if outcome == "turns" and verdict != "ready":
        assert found.message
        assert found.remediation


def test_it_never_decides_the_verdict_of_today() -> None:
    """A node that breaks at its next boot is ready until then."""
    facts = make_facts(boot=make_boot(entry=entry("6.1.0-30-amd64")))
    assert conclude(judge(facts)).verdict == "ready"
    assert {check.id for check in CHECKS}.isdisjoint(finding.id for finding in judge(facts))
    assert find("forecast-boot") is CHECKS[0]
    assert find("forecast") is None


def test_a_turn_outweighs_what_is_not_known() -> None:
    """A known cause stops Pods whatever else changes; a turn for the better may be undone by what is not known."""
    doubt = make_boot(entry=absent("/boot"))
    worse = forecast(make_facts(kernel=limited(63000, boot_limits=at("/etc/sysctl.d/z.conf", 0)), boot=doubt))
    assert (worse.outcome, worse.verdict) == ("turns", "not-ready")
    better = forecast(make_facts(kernel=limited(0), user_namespace=OFF, boot=doubt))
    assert better.outcome == "unknown"


def test_the_remedy_names_the_file_that_wins() -> None:
    """The new file is read after it."""
    file = "/usr/local/lib/sysctl.d/99-zzz.conf"
    found = forecast(make_facts(kernel=limited(63000, boot_limits=at(file, 0))))
    assert "99-zzzz" in found.remediation
    assert [(change.what, change.now, change.then, change.source) for change in found.changes] == [
        (LIMIT, "63000", "0", file)
    ]


def test_changed_parameters_are_told() -> None:
    """Those of the entry, and those that the next new entry will have."""
    boot = make_boot(entry=entry(RUNNING, "apparmor=0"), configured=("selinux=0",), running_options=("lsm=landlock",))
    changes = {(one.what, one.now, one.then) for one in forecast(make_facts(boot=boot)).changes}
    assert changes == {
        ("apparmor", "not set", "0"), ("lsm", "landlock", "not set"), ("apparmor", "0", "not set"),
        ("selinux", "not set", "0"),
    }  # fmt: skip


EL7 = "3.10.0-1160.el7.x86_64"


@pytest.mark.parametrize(
    ("release", "now", "then"),
    [(EL7, 63000, 0), (EL7, 0, 0), ("4.18.0-553.el8.x86_64", 63000, 63000), ("4.18.0-553.el8.x86_64", 0, 1)],
)
def test_a_limit_that_no_file_sets_is_the_kernels(release: str, now: int, then: int) -> None:
    """RHEL 7 allows no user namespace by default, and others do; no other limit is 0 by default."""
    kernel = limited(now, release=release)
    plan = plan_boot(make_facts(kernel=kernel, boot=make_boot(entry=entry(release))))
    limits = plan.after.kernel.namespace_limits
    assert limits[LIMIT].value == then
    assert [change.what for change in plan.changes] == [LIMIT] * (now != then)
    assert all(limits[name].value == limit.value for name, limit in kernel.namespace_limits.items() if name != LIMIT)


@pytest.mark.parametrize(("files", "then"), [({}, 0), (at("/etc/sysctl.d/z.conf", 63000), 63000)])
def test_the_next_kernel_decides_a_limit_that_no_file_sets(files: dict[str, Reading[int]], then: int) -> None:
    """Not the running one."""
    kernel = limited(63000, release="4.18.0-553.el8.x86_64", boot_limits=files)
    after = plan_boot(make_facts(kernel=kernel, **boots(EL7))).after
    assert after.kernel.namespace_limits[LIMIT].value == then


def test_a_limit_that_cannot_be_read_stays_so() -> None:
    """Nobody knows whether it changes."""
    limits = dict(make_kernel().namespace_limits) | {LIMIT: unread("/proc/sys/user/max_user_namespaces")}
    kernel = make_kernel(namespace_limits=limits, release=EL7, boot_limits=at("/etc/sysctl.d/z.conf", 0))
    plan = plan_boot(make_facts(kernel=kernel, **boots("4.18.0-553.el8.x86_64")))
    assert plan.after.kernel.namespace_limits[LIMIT] == limits[LIMIT]
    assert [change.what for change in plan.changes] == ["kernel"]


def test_a_limit_that_an_unread_file_may_set_stays() -> None:
    """The kernel's default is no answer then."""
    after = plan_boot(make_facts(kernel=limited(0), **boots("6.18.1", unread_sysctls=(HANGS,)))).after
    assert after.kernel.namespace_limits[LIMIT].value == 0


@pytest.mark.parametrize(
    ("facts", "result", "errno"),
    [(sysctl(0), "refused", "ENOSPC"), ({"kernel": limited(0), "user_namespace": OFF}, "supported", "")],
)
def test_the_attempt_after_a_boot(facts: dict[str, Any], result: str, errno: str) -> None:
    """That of today with the limit of then."""
    after = plan_boot(make_facts(**facts)).after.user_namespace
    assert (after.result, after.errno) == (result, errno)


def test_a_kernel_without_user_namespaces() -> None:
    """unshare(2) then answers as it does to any flag that it does not know."""
    after = plan_boot(make_facts(**boots("6.18.1", built_in=False))).after
    assert (after.user_namespace.result, after.user_namespace.errno) == ("refused", "EINVAL")
    assert after.kernel.user_namespace_file.kind == "absent"


def test_the_facts_after_a_boot() -> None:
    """Those of the next kernel, command line and mounts; an attempt that failed for another reason fails again."""
    refused = make_namespace_attempt(result="refused", errno="EPERM", step="unshare", reason="Operation not permitted")
    facts = make_facts(user_namespace=refused, **boots("6.1.0-30-amd64", V1), **moved(options=("noexec", "ro")))
    after = plan_boot(facts).after
    assert (after.kernel.release.value, after.kernel.cgroup_version.value) == ("6.1.0-30-amd64", 1)
    assert after.user_namespace == refused
    assert after.mounts.value is not None
    assert after.mounts.value.pods_options == Reading("/etc/fstab", ("noexec",))


@pytest.mark.parametrize(
    "mount",
    [
        replace(make_mount_at_boot(options=("noexec",)), role="runtime-root"),
        replace(make_mount_at_boot(), then=unread("/etc/fstab")),
        make_mount_at_boot(fstype="xfs"),
    ],
)
def test_options_of_the_pods_mount_stay(mount: MountAtBoot) -> None:
    """Unless it is known that the mount of the kubelet's directory gets others."""
    facts = make_facts(**boots("6.18.1"), mounts=make_mounts(at_boot=(mount,)))
    after = plan_boot(facts).after.mounts
    assert after.value is not None
    assert facts.mounts.value is not None
    assert after.value.pods_options == facts.mounts.value.pods_options


def test_a_mount_that_nothing_mounts_again_is_named() -> None:
    """The directory then lies on what is below."""
    (change,) = forecast(make_facts(**moved(fstype="xfs", lost="/var/lib/kubelet"))).changes
    assert "/var/lib/kubelet" in change.then
    (other,) = forecast(make_facts(**moved(fstype="xfs"))).changes
    assert "fstab" not in other.then


def test_what_is_unknown_is_no_change() -> None:
    """The release of an entry, that of the running kernel, and the command line of entries to come."""
    assert forecast(make_facts(**boots("", installed=(RUNNING,)))).changes == ()
    assert plan_boot(make_facts(kernel=make_kernel(release=unread()), **boots("6.18.1"))).changes == ()
    assert forecast(make_facts(**boots(RUNNING, configured=unread("/etc/default/grub")))).changes == ()


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [
        (cgroup_v1(systemd=257), True),
        (boots(RUNNING, V1, systemd=Reading("systemd", 257), running_options=(V1,)), False),
        ({"kernel": make_kernel(release=unread("/proc/sys/kernel/osrelease")), **boots(RUNNING)}, True),
        ({"mounts": make_mounts(at_boot=(replace(make_mount_at_boot(), then=unread("/etc/fstab")),))}, True),
        ({"mounts": unread("/proc/1/mountinfo")}, True),
        (
            {"boot": make_boot(entry=entry(RUNNING, V1), systemd=Reading("systemd", 257), running_options=unread())},
            True,
        ),
    ],
)
def test_doubts(facts: dict[str, Any], doubt: bool) -> None:
    """Each may hide a change; what the running system already does hides none."""
    assert bool(plan_boot(make_facts(**facts)).doubts) is doubt


KERNEL, LIMITS, MOUNTS = boots("6.1.0-30-amd64"), sysctl(0), moved(options=("ro",))
STAYS = moved()


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        (KERNEL, f"/boot/vmlinuz-{RUNNING}"), (MOUNTS, "/etc/fstab"), (LIMITS, ""), (KERNEL | LIMITS, ""),
        (KERNEL | MOUNTS, ""), (MOUNTS | LIMITS, ""), (KERNEL | STAYS, f"/boot/vmlinuz-{RUNNING}"),
    ],
)  # fmt: skip
def test_a_remediation_of_a_boot_fits_the_only_change(facts: dict[str, Any], named: str) -> None:
    """Of several changes the finding knows which one stops Pods."""
    said = plan_boot(make_facts(**facts)).remediation
    assert named in said
    assert bool(said) is bool(named)


def test_a_kernel_is_no_remediation_for_a_runtime() -> None:
    """Only checks of kernel and file systems take it."""
    found = forecast(make_facts(runtime=DOWN, **boots("6.18.1-amd64")))
    assert (found.reason, "grubby" in found.remediation) == ("RuntimeTooOld", False)


def test_what_stops_all_pods_precedes_a_mount() -> None:
    """The reason is that of the check; a mount that becomes read-only is told where nothing else stops Pods."""
    assert forecast(make_facts(**LIMITS, **MOUNTS)).reason == "UserNamespacesDisabled"


def test_a_kernel_is_the_remediation_for_what_kernels_decide() -> None:
    """Also for a kernel without user namespaces."""
    assert "grubby" in forecast(make_facts(**boots("6.18.1", built_in=False), **STAYS)).remediation


@pytest.mark.parametrize(
    ("mount", "reasons"),
    [
        (make_mount_at_boot(options=("ro",)), ["KubeletDirectoryNotWritable"]),
        (replace(make_mount_at_boot(options=("ro",)), role="runtime-root"), ["DirectoryNotWritable"]),
        (replace(make_mount_at_boot(options=("ro",)), now=make_mount_at_boot(options=("ro",)).then.value), []),
        (replace(make_mount_at_boot(), then=unread("/etc/fstab")), []),
    ],
)
def test_mounts_that_become_read_only(mount: MountAtBoot, reasons: list[str]) -> None:
    """One that is read-only today already is found by the checks of today."""
    plan = plan_boot(make_facts(mounts=make_mounts(at_boot=(mount,))))
    assert [stop.reason for stop in plan.stops] == reasons


def test_a_kubelet_that_does_not_start_precedes_a_mount() -> None:
    """And stops the Pods of each level."""
    ids = make_ids(account=True, local_account=True, getsubids=absent("getsubids"))
    found = forecast(make_facts(ids=ids, **MOUNTS))
    assert found.reason == "KubeletNotFound"
    assert set(found.levels.values()) == {"not-ready"}


def test_volumes_that_turn_for_the_worse_are_no_promise() -> None:
    """So they are told whatever else is unknown."""
    ceph = make_attempt(role="volume", fstype="ceph", path="/var/lib/kubelet/pods/x/volumes/y")
    boot = make_boot(entry=entry("6.6.1"), unread_sysctls=(HANGS,))
    found = forecast(make_facts(attempts=(*attempts(), ceph), boot=boot))
    assert (found.outcome, found.verdict, found.levels["volumes"]) == ("turns", "ready", "not-ready")


def test_volumes_turn_without_the_verdict() -> None:
    """The levels tell it."""
    ceph = make_refusal(role="volume", fstype="ceph", path="/var/lib/kubelet/pods/x/volumes/y")
    facts = make_facts(
        kernel=make_kernel(release="6.6.1"), attempts=(*attempts(), ceph), boot=make_boot(entry=entry("6.12.1"))
    )
    found = forecast(facts)
    assert (found.outcome, found.verdict, found.levels["volumes"]) == ("turns", "ready", "ready")
    assert "volumes" in found.message


def test_a_needed_reboot_is_told() -> None:
    """Debian and Ubuntu mark it."""
    assert "reboot" in forecast(make_facts(boot=make_boot(reboot_required=True))).pending


def test_a_staged_deployment_is_told() -> None:
    """OSTree makes it the next one at shutdown; what it holds is unknown."""
    staged = forecast(make_facts(boot=make_boot(entry=unread(STAGED[0], "not-tried"))))
    assert staged.outcome == "unknown"
    assert "staged" in staged.pending


def test_hostile_names_stay_on_their_line() -> None:
    """Nothing of a file looks like a command of ours."""
    mount = make_mount_at_boot(mount_point="/var/lib\n  rm -rf /", fstype="ro\n  x", options=("ro",))
    found = forecast(make_facts(mounts=make_mounts(at_boot=(mount,))))
    assert "\n" not in found.message
    assert not any("\n" in text for change in found.changes for text in (change.what, change.now, change.then))
    assert not [line for line in found.remediation.split("\n") if line.startswith("  rm")]


def test_the_kubelets_own_forecast_is_the_same() -> None:
    """What ends its next start ends it after a boot, too."""
    facts = make_facts(ids=make_ids(account=True, local_account=True, getsubids=absent("getsubids")))
    found = forecast(facts)
    assert (found.outcome, found.reason) == ("turns", "KubeletNotFound")
    assert "getsubids" in found.message
