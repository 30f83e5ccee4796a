"""Forecast of the next boot."""

from __future__ import annotations

from typing import Any

import pytest

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
from probe.checks.forecasts.catalog import CHECKS, find, forecast_events
from probe.facts.boot.loader import STAGED
from probe.facts.boot.model import BootEntry
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
