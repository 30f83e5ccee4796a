"""The checks of file systems, in every status that each can give."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    make_attempt,
    make_attempts,
    make_facts,
    make_handler,
    make_kubelet,
    make_mounts,
    make_probe,
    make_refusal,
    make_runtime,
    make_unknown_attempt,
    unread,
)
from probe.checks.catalog import judge
from probe.checks.check import Outcome
from probe.checks.filesystems import CHECKS, check_kubelet_root, check_local_volumes, check_overlay_layers
from probe.checks.remedies.node import newest_kernel
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.reading import Reading
from probe.verdict import conclude

CHECK = {check.id: check for check in CHECKS}
ROLES = {
    "filesystem-runtime-root": ("runtime-root", "RuntimeRootNotIdmappable"),
    "filesystem-overlay-layers": ("overlay-layers", "OverlayLayersNotIdmappable"),
    "filesystem-kubelet-root": ("kubelet-root", "KubeletRootNotIdmappable"),
    "filesystem-tmpfs": ("tmpfs", "TmpfsNotIdmappable"),
}


def outcome(check_id: str, facts: Facts) -> Outcome:
    """What that check says."""
    return CHECK[check_id].check(facts)


def facts_with(role: str, attempt: Attempt | None, **overrides: Any) -> Facts:
    """A good node on which one attempt went that way, or was not made."""
    return make_facts(attempts=make_attempts(**{role.replace("-", "_"): attempt}), **overrides)


@pytest.mark.parametrize("check_id", ROLES)
def test_every_role_in_every_status(check_id: str) -> None:
    """Supported passes, refused fails with the reason of the check, unknown keeps its kind, and so does nothing."""
    role, reason = ROLES[check_id]
    assert outcome(check_id, facts_with(role, make_attempt(role=role))).status == "pass"
    failed = outcome(check_id, facts_with(role, make_refusal(role=role)))
    assert (failed.status, failed.reason) == ("fail", reason)
    assert "EINVAL" in str(failed.evidence[0])
    unknown = outcome(check_id, facts_with(role, make_unknown_attempt(role=role)))
    assert (unknown.status, unknown.reason) == ("unknown", "TimedOut")
    untried = outcome(check_id, facts_with(role, None))
    assert (untried.status, untried.reason) == ("unknown", "NotTried")


@pytest.mark.parametrize(
    ("errno", "told", "never"),
    [("ENOSYS", "Debian 13", "dnf"), ("EPERM", "\n  dnf upgrade -y kernel", "Debian"), ("EINVAL", "", "kernel")],
)
def test_another_kernel_is_advised_where_this_one_maps_nothing(errno: str, told: str, never: str) -> None:
    """One without idmapped mounts on any distribution; one that has them switched off is EL9's."""
    refusal = make_refusal(role="kubelet-root", errno=errno, fstype="zfs")
    remediation = outcome("filesystem-kubelet-root", make_facts(attempts=(refusal,))).remediation
    assert told in remediation
    assert never not in remediation


@pytest.mark.parametrize("fstype", ["btrfs", "ext4", "xfs"])
def test_a_file_system_that_newer_kernels_map_is_not_to_be_replaced_by_itself(fstype: str) -> None:
    """Linux 5.14 of SLES 15 SP4 refuses btrfs, which the advice for other file systems names."""
    refusal = make_refusal(role="kubelet-root", fstype=fstype)
    facts = make_facts(attempts=make_attempts(kubelet_root=refusal))
    assert outcome("filesystem-kubelet-root", facts).remediation == newest_kernel(facts)


@pytest.mark.parametrize(
    ("check_id", "overrides"),
    [
        ("filesystem-kubelet-root", {"kubelet": make_kubelet(root_dir=unread("--root-dir"))}),
        ("filesystem-runtime-root", {"runtime": make_runtime(root_dir=unread("CRI ImageFsInfo"))}),
        ("filesystem-overlay-layers", {"runtime": make_runtime(layers_dir=unread("CRI ImageFsInfo"))}),
    ],
)
def test_what_was_tried_where_a_directory_usually_lies_says_nothing_of_the_real_one(
    check_id: str, overrides: dict[str, Any]
) -> None:
    """An idmapped mount of /var/lib/kubelet works; the kubelet, whose flags nobody could read, may live elsewhere."""
    role, _ = ROLES[check_id]
    facts = {name: Reading(name, value) for name, value in overrides.items()}
    found = outcome(check_id, facts_with(role, make_attempt(role=role), **facts))
    assert (found.status, found.reason) == ("unknown", "NotPermitted")


@pytest.mark.parametrize(
    ("runtime", "status", "reason"),
    [
        ({"snapshotter": "native"}, "skipped", ""),
        ({"snapshotter": "erofs"}, "unknown", "NotTried"),
        ({"slow_chown": True}, "skipped", ""),
        ({"slow_chown": unread("config dump")}, "unknown", "NotPermitted"),
        ({"snapshotter": unread("CRI")}, "unknown", "NotPermitted"),
        ({"name": "cri-o", "snapshotter": "overlay"}, "warn", ""),
        ({"name": "cri-o", "snapshotter": "overlay", "slow_chown": unread()}, "warn", ""),
    ],
)
def test_layers_matter_only_where_they_are_mapped(runtime: dict[str, Any], status: str, reason: str) -> None:
    """A refused overlay stands in the way only of a snapshotter that maps layers and cannot copy them instead."""
    overlay = make_refusal(role="overlay-layers")
    handlers = (make_handler(snapshotter=runtime.get("snapshotter", "overlayfs")),)
    facts = facts_with("overlay-layers", overlay, runtime=make_runtime(**runtime, handlers=handlers))
    found = outcome("filesystem-overlay-layers", facts)
    assert (found.status, found.reason) == (status, reason)


def test_a_running_pod_shows_that_erofs_maps_its_layers() -> None:
    """No better proof exists, unless that Pod may have another snapshotter."""
    handlers = (make_handler(snapshotter="erofs"),)
    running = Reading("processes of Pods", True)
    facts = make_facts(runtime=make_runtime(handlers=handlers), userns_pod_runs=running)
    assert outcome("filesystem-overlay-layers", facts).status == "pass"
    mixed = make_runtime(handlers=(*handlers, make_handler(name="other", snapshotter="overlayfs")))
    assert outcome("filesystem-overlay-layers", replace(facts, runtime=Reading("CRI", mixed))).status == "unknown"


def test_without_a_runtime_nobody_knows_the_snapshotter() -> None:
    """An unreadable runtime makes the question of layers unknown."""
    found = outcome("filesystem-overlay-layers", make_facts(runtime=unread("CRI", "timed-out")))
    assert (found.status, found.reason) == ("unknown", "TimedOut")


def test_a_handler_with_a_snapshotter_of_its_own_is_judged_by_it() -> None:
    """The default handler maps layers, the other one copies them."""
    handlers = (make_handler(), make_handler(name="native", snapshotter="native"))
    runtime = make_runtime(handlers=handlers)
    refused = make_refusal(role="overlay-layers")
    assert outcome("filesystem-overlay-layers", facts_with("overlay-layers", refused, runtime=runtime)).status == "fail"
    facts = facts_with("overlay-layers", refused, runtime=runtime)
    assert check_overlay_layers(facts, "native").status == "skipped"


CRUN = make_runtime(handlers=(make_handler(), make_handler(name="crun", oci_runtime="crun")))


@pytest.mark.parametrize(
    ("options", "handler", "expected"),
    [
        (("rw", "relatime"), "", ("pass", "")),
        (("rw", "nosuid", "nodev", "noexec"), "crun", ("pass", "")),
        (("rw", "nosymfollow"), "", ("pass", "")),
        (("rw", "nosymfollow"), "crun", ("fail", "LocalVolumesWithoutLinks")),
        (("rw", "nosymfollow"), "kata", ("warn", "")),
        (unread("/proc/1/mountinfo", "timed-out"), "", ("unknown", "TimedOut")),
    ],
)
def test_local_volumes(options: Any, handler: str, expected: tuple[str, str]) -> None:
    """Seen with runc 1.3.6 and crun 1.28: only nosymfollow matters, only to crun, and only to links."""
    facts = make_facts(mounts=make_mounts(pods_options=options), runtime=CRUN)
    found = check_local_volumes(facts, handler)
    assert (found.status, found.reason) == expected
    assert found.evidence


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (make_unknown_attempt(role="kubelet-root"), ("unknown", "TimedOut")),
        (make_refusal(role="kubelet-root"), ("skipped", "")),
        (None, ("unknown", "NotTried")),
    ],
)
def test_local_volumes_lie_in_the_kubelets_root(root: Attempt | None, expected: tuple[str, str]) -> None:
    """Where that cannot be idmapped no Pod starts at all, which is another finding's to say."""
    found = check_local_volumes(make_facts(attempts=make_attempts(kubelet_root=root)))
    assert (found.status, found.reason) == expected


@pytest.mark.parametrize("entered", [False, unread("/proc/1/ns/mnt")])
def test_options_of_the_probes_own_container_say_nothing(entered: Any) -> None:
    """A container has the kubelet's root directory by a mount of its own."""
    mounts = make_mounts(pods_options=("rw", "nosymfollow"))
    facts = make_facts(mounts=mounts, runtime=CRUN, probe=make_probe(entered=entered))
    assert check_local_volumes(facts, "crun").status == "unknown"


def test_links_of_a_configmap_decide_the_level_local_of_that_handler() -> None:
    """Pods with nothing but a token run, and those of runc too."""
    facts = make_facts(mounts=make_mounts(pods_options=("rw", "nosymfollow")), runtime=CRUN)
    assert conclude(judge(facts)).verdict == "ready"
    levels = conclude(judge(facts, "crun")).levels
    assert list(levels.values()) == ["ready", "ready", "not-ready", "not-ready"]


@pytest.mark.parametrize(
    ("volumes", "status", "reason"),
    [
        ([], "skipped", ""),
        ([make_attempt()], "pass", ""),
        ([make_attempt(), make_attempt(usable="partly", mounts_below=1)], "warn", ""),
        ([make_attempt(), make_unknown_attempt()], "unknown", "TimedOut"),
        ([make_unknown_attempt(), make_refusal(fstype="nfs4")], "fail", "VolumesNotIdmappable"),
    ],
)
def test_volumes_in_every_status(volumes: list[Attempt], status: str, reason: str) -> None:
    """The worst volume decides; none of it names a path, which would name a Pod."""
    found = outcome("filesystem-volumes", make_facts(attempts=(*make_attempts(), *volumes)))
    assert (found.status, found.reason) == (status, reason)
    assert "/pods/" not in " ".join(map(str, found.evidence))


def test_without_a_mount_table_nobody_knows_the_volumes() -> None:
    """None found in a table that nobody read is not none."""
    found = outcome("filesystem-volumes", make_facts(mounts=unread("/proc/1/mountinfo", "timed-out")))
    assert (found.status, found.reason) == ("unknown", "TimedOut")


@pytest.mark.parametrize(("oci", "status"), [("crun", "fail"), ("runc", "pass")])
def test_an_unbindable_root_of_the_kubelet(oci: str, status: str) -> None:
    """crun binds files of Pods where the mount is unbindable; runc does it in a copy of the mount table."""
    handlers = Reading("CRI", (make_handler(oci_runtime="runc"), make_handler(name="second", oci_runtime=oci)))
    facts = make_facts(runtime=make_runtime(handlers=handlers), mounts=make_mounts(pods_unbindable=True))
    assert check_kubelet_root(facts, "second").status == status
    assert check_kubelet_root(facts).status == "pass"
