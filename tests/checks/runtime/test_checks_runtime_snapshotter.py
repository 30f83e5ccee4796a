"""Each status that the check of the snapshotter can give, with its exact reason."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import (
    absent,
    make_attempt,
    make_attempts,
    make_facts,
    make_handler,
    make_kubelet,
    make_refusal,
    make_runtime,
    make_surroundings,
    make_unknown_attempt,
    unread,
)
from probe.checks.check import Outcome
from probe.checks.runtime.snapshotter import CHECKS, check_snapshotter
from probe.facts.model import Facts
from probe.reading import Reading

SUPPORTED = make_attempt(role="overlay-layers")
REFUSED = make_refusal(role="overlay-layers")
UNKNOWN = make_unknown_attempt(role="overlay-layers")


def judge(facts: Facts) -> Outcome:
    """What the check says."""
    return CHECKS[0].check(facts)


def node(layers: Any = SUPPORTED, **runtime: Any) -> Facts:
    """A node whose default handler takes the runtime's snapshotter."""
    handlers = (make_handler(snapshotter=unread()),)
    fields = {"handlers": Reading("CRI", handlers)} | runtime
    return make_facts(runtime=make_runtime(**fields), attempts=make_attempts(overlay_layers=layers))


def test_what_it_is() -> None:
    assert [(one.id, one.level, one.gating, one.reasons) for one in CHECKS] == [
        ("runtime-snapshotter", "stateless", True, ("SnapshotterWithoutRemap", "SnapshotterNotRunning"))
    ]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (node(), "the snapshotter overlayfs maps owners, and copies no image"),
        (node(slow_chown=absent("config dump")), "the snapshotter overlayfs maps owners, and copies no image"),
        (node(slow_chown=True), "the snapshotter overlayfs maps owners here, with or without slow_chown"),
        (node(slow_chown=unread()), "the snapshotter overlayfs maps owners here, with or without slow_chown"),
        (node(snapshotter="erofs", version="2.3.0"), "the snapshotter erofs of containerd 2.3.0 maps owners"),
        (
            node(snapshotter="erofs", version="2.4.0-beta.0"),
            "the snapshotter erofs of containerd 2.4.0-beta.0 maps owners",
        ),
        (node(name="cri-o", snapshotter="overlay"), "CRI-O's overlay driver maps layers wherever the kernel can"),
    ],
)
def test_pass(facts: Facts, message: str) -> None:
    """Nothing is copied."""
    outcome = judge(facts)
    assert (outcome.status, outcome.reason, outcome.message) == ("pass", "", message)


@pytest.mark.parametrize("name", ["native", "devmapper", "btrfs", "zfs", "blockfile"])
def test_warn_of_snapshotters_that_copy(name: str) -> None:
    """It names the snapshotter, says that it is slow and for which images, and what to write where."""
    outcome = judge(node(snapshotter=name))
    assert outcome.status == "warn"
    assert outcome.message.startswith(f"slow: the snapshotter {name}")
    assert all(word in outcome.message for word in ("hard links", "65536"))
    assert "\n  [plugins.'io.containerd.cri.v1.images']\n    snapshotter = 'overlayfs'\n" in outcome.remediation
    assert outcome.remediation.endswith("\n  containerd config dump >/dev/null && systemctl restart containerd")


@pytest.mark.parametrize("name", ["stargz", "nydus", "soci", "overlaybd"])
@pytest.mark.parametrize("proxies", [unread("containerd config dump"), Reading("containerd config dump", {})])
def test_snapshotters_in_processes_of_their_own(name: str, proxies: Any) -> None:
    """Without the capability no sandbox starts; where it is not known that counts, and is no warning."""
    outcome = judge(node(snapshotter=name, surroundings=make_surroundings(proxies=proxies)))
    assert outcome.status == "unknown"
    assert "remap-ids" in outcome.message


def test_fuse_overlayfs_runs_either_way() -> None:
    """It maps owners or copies images, by what its entry says."""
    outcome = judge(node(snapshotter="fuse-overlayfs"))
    assert outcome.status == "warn"
    assert "unless proxy_plugins says that it has the capability remap-ids" in outcome.message


@pytest.mark.parametrize("name", ["soci", "lazy"])
@pytest.mark.parametrize(("capabilities", "expected"), [(("remap-ids",), "pass"), ((), "fail"), (("other",), "fail")])
def test_the_entry_of_a_proxy_decides(name: str, capabilities: tuple[str, ...], expected: str) -> None:
    """Known or not: containerd asks a snapshotter for mapped owners only where its entry says remap-ids."""
    around = make_surroundings(proxies=Reading("containerd config dump", {name: capabilities}))
    assert judge(node(snapshotter=name, surroundings=around)).status == expected


def test_a_proxy_that_copies() -> None:
    """The layers of fuse-overlayfs are plain directories: without the capability they are copied."""
    around = make_surroundings(proxies=Reading("containerd config dump", {"fuse-overlayfs": ()}))
    assert judge(node(snapshotter="fuse-overlayfs", surroundings=around)).status == "warn"


def test_an_unknown_proxy_whose_entry_was_not_read() -> None:
    """Nothing is known of it then."""
    around = make_surroundings(proxies=unread("containerd config dump"))
    assert judge(node(snapshotter="lazy", surroundings=around)).status == "unknown"


def test_warn_of_an_old_erofs() -> None:
    outcome = judge(node(snapshotter="erofs", version="2.1.9"))
    assert outcome.status == "warn"
    assert "containerd 2.3" in outcome.message
    assert outcome.remediation.startswith("Upgrade containerd to 2.3 or newer")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), "pass"),
        (("index=off", "metacopy=on", "volatile"), "pass"),
        (("metacopy=on", "nfs_export=on"), "unknown"),
        (("noexec",), "unknown"),
        (("nobody",), "unknown"),
    ],
)
def test_options_of_each_mount(options: tuple[str, ...], status: str) -> None:
    """Pods ran with some, and none with others, whether it had a user namespace or not."""
    assert judge(node(overlay_options=Reading("config dump", options))).status == status


def test_warn_of_slow_chown_where_it_is_needed() -> None:
    outcome = judge(node(layers=REFUSED, slow_chown=True))
    assert outcome.status == "warn"
    assert outcome.message.startswith("slow: layers cannot be mapped here, so slow_chown copies each image")
    assert "Linux 5.19" in outcome.remediation


def test_warn_of_another_driver_of_crio() -> None:
    outcome = judge(node(name="cri-o", snapshotter="vfs"))
    assert outcome.status == "warn"
    assert outcome.message.startswith("slow: CRI-O's storage driver vfs copies each image")
    assert '/etc/containers/storage.conf:\n  [storage]\n  driver = "overlay"\n' in outcome.remediation
    assert outcome.remediation.endswith("  systemctl restart crio")


def test_a_handler_may_have_a_snapshotter_of_its_own() -> None:
    """Another handler's does not count."""
    handlers = (make_handler(), make_handler(name="slow", snapshotter="native"))
    runtime = make_runtime(handlers=Reading("CRI", handlers))
    assert judge(make_facts(runtime=runtime)).status == "pass"
    assert check_snapshotter(make_facts(runtime=runtime), "slow").status == "warn"


def test_skipped_where_the_runtime_knows_no_user_namespaces() -> None:
    outcome = judge(node(handlers=Reading("CRI", ()), version="1.7.24"))
    assert outcome.status == "skipped"
    assert "containerd 1.7.24" in outcome.message


@pytest.mark.parametrize(
    ("facts", "reason", "message"),
    [
        (make_facts(runtime=unread()), "NotPermitted", "IDs of a Pod"),
        (make_facts(kubelet=absent("/proc"), runtime=unread()), "KubeletNotFound", "socket"),
        (node(name=unread()), "NotPermitted", "IDs of a Pod"),
        (node(snapshotter=unread()), "NotPermitted", "the snapshotter"),
        (node(snapshotter="own"), "NotReadable", "the snapshotter own"),
        (node(name="docker"), "NotReadable", "docker 2.1.9"),
        (node(snapshotter="erofs", version=unread()), "NotPermitted", "the snapshotter erofs"),
        (node(snapshotter="erofs", version="UNKNOWN"), "NotReadable", "containerd UNKNOWN"),
        (node(layers=UNKNOWN, slow_chown=True), "TimedOut", "slow_chown"),
        (node(layers=None, slow_chown=True), "NotTried", "slow_chown"),
        (node(layers=REFUSED, slow_chown=unread()), "NotPermitted", "slow_chown"),
    ],
)
def test_unknown(facts: Facts, reason: str, message: str) -> None:
    """Nobody knows, and it says why."""
    outcome = judge(facts)
    assert (outcome.status, outcome.reason) == ("unknown", reason)
    assert message in outcome.message


def test_the_remediation_fits_the_distribution() -> None:
    facts = make_facts(
        kubelet=make_kubelet(distribution="k3s"), runtime=make_runtime(snapshotter="native", handlers=unread())
    )
    assert "systemctl try-restart k3s k3s-agent" in judge(facts).remediation


def test_a_strange_name_cannot_pass_for_a_command() -> None:
    """It comes from the configuration of a daemon, and stays in its sentence."""
    outcome = judge(node(snapshotter="x\n  rm -rf /\x1b[31m"))
    assert outcome.status == "unknown"
    assert "\n" not in outcome.message
    assert "\x1b" not in outcome.message
