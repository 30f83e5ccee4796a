"""Each status that each hazard can give, with its exact reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import absent, make_facts, make_handler, make_kernel, make_kubelet, make_runtime, unread
from probe.checks import hazards
from probe.checks.check import Outcome
from probe.checks.hazards import (
    CHECKS,
    check_image_volumes,
    check_selinux_runc,
    judge_last_block,
    judge_mapping_ignored,
)
from probe.facts.model import Facts, PodFacts
from probe.reading import Reading

ENFORCING = make_kernel(selinux_enforcing=True)
PERMISSIVE = make_kernel(selinux_enforcing=False)
LIST = "kubectl get pods -A --field-selector spec.nodeName=node-1 -o json | jq -r"


def test_what_they_are() -> None:
    """None decides the verdict, so none has a reason to fail."""
    assert [one.id for one in CHECKS] == [
        "hazard-selinux-runc-1-2-0",
        "hazard-image-volumes",
        "hazard-device-hooks",
        "hazard-mapping-ignored",
        "hazard-last-block",
    ]
    assert not any(one.gating or one.reasons for one in CHECKS)


def said(outcome: Outcome) -> tuple[str, str]:
    """Status and reason."""
    return outcome.status, outcome.reason


def with_oci(version: Any, kernel: Any = ENFORCING, **handler: Any) -> Facts:
    """A node whose default handler runs that version."""
    handlers = (make_handler(oci_version=version, **handler),)
    return make_facts(kernel=kernel, runtime=make_runtime(handlers=Reading("CRI", handlers)))


class TestSelinux:
    @pytest.mark.parametrize("kernel", [ENFORCING, PERMISSIVE])
    @pytest.mark.parametrize("version", ["1.2.0", "1.2.0+ds1", "1.2.0-rc.3"])
    def test_warn(self, kernel: Any, version: str) -> None:
        """Also permissive: the refusal is the file system's, not the policy's."""
        outcome = check_selinux_runc(with_oci(version, kernel))
        assert said(outcome) == ("warn", "")
        assert f"runc {version} (/usr/bin/runc) cannot label /dev/mqueue" in outcome.message
        assert "Install runc 1.2.1 or newer as /usr/bin/runc" in outcome.remediation
        assert "\n  package=$(dpkg-query -S /usr/bin/runc | cut -d: -f1) && apt-get update" in outcome.remediation

    @pytest.mark.parametrize(
        ("system", "path", "command"),
        [
            ("rocky 9.4", "/usr/bin/runc", True),
            ("amzn 2023", "/usr/bin/runc", True),
            ("rocky 9.4", "/usr/local/sbin/runc", False),
            ("rhcos 4.20", "/usr/bin/runc", False),
            ("rocky 9.4", unread(), False),
        ],
    )
    def test_a_package_is_upgraded_only_where_one_brought_it(self, system: str, path: Any, command: bool) -> None:
        """It need not be called runc: containerd.io has one too. Elsewhere no package manager knows of it."""
        facts = replace(with_oci("1.2.0", binary=path), distribution=Reading("/etc/os-release", system))
        remediation = check_selinux_runc(facts).remediation
        asked = "\n  package=$(rpm -qf --qf '%{NAME}' /usr/bin/runc) && dnf upgrade -y \"$package\""
        assert remediation.endswith(asked) == command
        assert ("\n  " in remediation) == command

    @pytest.mark.parametrize(
        "facts",
        [
            with_oci("1.2.1"),
            with_oci("1.1.15"),
            with_oci("1.2.0", oci_runtime="crun"),
            with_oci("1.3.5", make_kernel(selinux_enforcing=unread())),
        ],
    )
    def test_pass(self, facts: Facts) -> None:
        assert said(check_selinux_runc(facts)) == ("pass", "")

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            (with_oci("1.2.0", make_kernel()), "SELinux is not active on this node"),
            (make_facts(kernel=make_kernel(), runtime=unread()), "SELinux is not active on this node"),
            (with_oci("1.2.0", binary=absent("kata")), "this handler runs no OCI runtime like runc"),
        ],
    )
    def test_skipped(self, facts: Facts, message: str) -> None:
        outcome = check_selinux_runc(facts)
        assert (outcome.status, outcome.message) == ("skipped", message)

    def test_skipped_for_a_handler_that_is_not_there(self) -> None:
        assert check_selinux_runc(make_facts(kernel=ENFORCING), "gone").status == "skipped"

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            (make_facts(kernel=ENFORCING, runtime=unread()), "NotPermitted"),
            (make_facts(kernel=ENFORCING, runtime=unread(), kubelet=absent("/proc")), "KubeletNotFound"),
            (make_facts(kernel=ENFORCING, runtime=make_runtime(handlers=unread(kind="timed-out"))), "TimedOut"),
            (with_oci(unread()), "NotPermitted"),
            (with_oci("1.2.0", oci_runtime=unread()), "NotPermitted"),
            (with_oci("1.2.0", make_kernel(selinux_enforcing=unread())), "NotPermitted"),
        ],
    )
    def test_unknown(self, facts: Facts, reason: str) -> None:
        assert said(check_selinux_runc(facts)) == ("unknown", reason)


class TestImageVolumes:
    @pytest.mark.parametrize(
        ("version", "wanted"),
        [("2.1.0", "2.1.7"), ("v2.1.6-k3s1", "2.1.7"), ("2.2.1", "2.2.2"), ("2.2.0-rc.0", "2.2.2")],
    )
    def test_warn(self, version: str, wanted: str) -> None:
        outcome = check_image_volumes(make_facts(runtime=make_runtime(version=version)))
        assert said(outcome) == ("warn", "")
        assert "a volume of type image fails" in outcome.message
        assert outcome.remediation.startswith(f"Upgrade to containerd {wanted} or newer.")

    def test_the_remediation_fits_the_distribution(self) -> None:
        facts = make_facts(runtime=make_runtime(version="2.1.6"), kubelet=make_kubelet(distribution="k3s"))
        remediation = check_image_volumes(facts).remediation
        assert remediation.startswith("Upgrade k3s to a release with containerd 2.1.7 or newer.")

    @pytest.mark.parametrize("version", ["2.1.7", "2.1.9", "2.2.2", "2.3.0", "2.4.0-beta.0", "3.0.0"])
    def test_pass(self, version: str) -> None:
        assert said(check_image_volumes(make_facts(runtime=make_runtime(version=version)))) == ("pass", "")

    @pytest.mark.parametrize(
        ("runtime", "message"),
        [
            (make_runtime(version="2.0.7"), "containerd 2.0.7 has no volumes of type image"),
            (make_runtime(version="1.7.24"), "containerd 1.7.24 has no volumes of type image"),
            (make_runtime(name="cri-o", version="1.36.0"), "only containerd had this fault"),
        ],
    )
    def test_skipped(self, runtime: Any, message: str) -> None:
        outcome = check_image_volumes(make_facts(runtime=runtime))
        assert (outcome.status, outcome.message) == ("skipped", message)

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            (make_facts(runtime=unread()), "NotPermitted"),
            (make_facts(runtime=unread(), kubelet=absent("/proc")), "KubeletNotFound"),
            (make_facts(runtime=make_runtime(name=unread())), "NotPermitted"),
            (make_facts(runtime=make_runtime(version=unread(kind="timed-out"))), "TimedOut"),
            (make_facts(runtime=make_runtime(version="UNKNOWN")), "NotReadable"),
            (make_facts(runtime=make_runtime(version="2.1.7-rc.0")), "NotTried"),
        ],
    )
    def test_unknown(self, facts: Facts, reason: str) -> None:
        """A prerelease of the first release with the fix may lack it."""
        assert said(check_image_volumes(facts)) == ("unknown", reason)


def pods(**fields: int) -> PodFacts:
    """Three Pods that asked and got it."""
    known = {"recorded": 3, "unread": 0, "own_namespace": 3, "host_namespace": 0, "last_block": 0}
    return PodFacts(**known | fields)


class TestMappingIgnored:
    @pytest.mark.parametrize("unread_files", [0, 1])
    def test_warn(self, unread_files: int) -> None:
        """One is enough, whatever is not known of others."""
        outcome = judge_mapping_ignored(pods(own_namespace=2, host_namespace=1, unread=unread_files), make_facts())
        assert said(outcome) == ("warn", "")
        assert outcome.message.startswith("1 of 3 Pods that asked for a user namespace run with the node's IDs")
        assert LIST in outcome.remediation
        assert [one.value for one in outcome.evidence] == ["3 Pods: 2 with IDs of their own, 1 with the node's"]

    def test_the_command_works_without_a_name_of_the_node_and_with_any(self) -> None:
        ignored = pods(host_namespace=1)
        nameless = judge_mapping_ignored(ignored, make_facts(node_name=None)).remediation
        assert "spec.nodeName=NODE -o json" in nameless
        assert nameless.splitlines()[-1].startswith("NODE ")
        hostile = judge_mapping_ignored(ignored, make_facts(node_name="$(reboot)")).remediation
        assert "spec.nodeName='$(reboot)' -o json" in hostile

    @pytest.mark.parametrize("found", [pods(), pods(own_namespace=0)])
    def test_pass(self, found: PodFacts) -> None:
        """Also when they do not run now."""
        assert said(judge_mapping_ignored(found, make_facts())) == ("pass", "")

    def test_skipped(self) -> None:
        assert said(judge_mapping_ignored(pods(recorded=0, own_namespace=0), make_facts())) == ("skipped", "")

    @pytest.mark.parametrize("found", [pods(unread=1), pods(recorded=0, own_namespace=0, unread=1)])
    def test_unknown(self, found: PodFacts) -> None:
        outcome = judge_mapping_ignored(found, make_facts())
        assert said(outcome) == ("unknown", "NotReadable")
        assert outcome.message.endswith("1 of the kubelet's records could not be read")


class TestLastBlock:
    def test_warn(self) -> None:
        outcome = judge_last_block(pods(last_block=1, unread=1), make_facts())
        assert said(outcome) == ("warn", "")
        assert "stays in ContainerCreating" in outcome.message
        assert "\n  grep -l '\"hostId\":4294901760,' /var/lib/kubelet/pods/*/userns | awk" in outcome.remediation

    def test_the_command_names_this_kubelets_files_and_block(self) -> None:
        kubelet = make_kubelet(root_dir="/data/my kubelet", ids_per_pod=131_072)
        remediation = judge_last_block(pods(last_block=1), make_facts(kubelet=kubelet)).remediation
        assert "grep -l '\"hostId\":4294836224,' '/data/my kubelet'/pods/*/userns" in remediation

    def test_the_command_works_without_a_kubelet(self) -> None:
        remediation = judge_last_block(pods(last_block=1), make_facts(kubelet=unread())).remediation
        assert "'\"hostId\":4294901760,' /var/lib/kubelet/pods/" in remediation

    @pytest.mark.parametrize("found", [pods(), pods(recorded=0, own_namespace=0)])
    def test_pass(self, found: PodFacts) -> None:
        assert said(judge_last_block(found, make_facts())) == ("pass", "")

    def test_unknown(self) -> None:
        assert said(judge_last_block(pods(unread=1), make_facts())) == ("unknown", "NotReadable")


FIELDS = {
    "check_mapping_ignored": ("pods", pods(), "pass"),
    "check_last_block": ("pods", pods(), "pass"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_checks_of_facts_that_were_or_were_not_gathered(name: str) -> None:
    """A problem of the whole is unknown, a value is judged."""
    field, value, status = FIELDS[name]
    check = getattr(hazards, name)
    known = make_facts()
    facts = SimpleNamespace(runtime=known.runtime, kubelet=known.kubelet, node_name="node-1")
    setattr(facts, field, Reading("somewhere", value))
    assert said(check(facts)) == (status, "")
    setattr(facts, field, unread(kind="timed-out"))
    assert said(check(facts)) == ("unknown", "TimedOut")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_the_declared_remediation_is_prose_or_a_command(check: Any) -> None:
    """It stands alone in `explain`."""
    assert check.remediation.endswith(".")
    assert check.why.endswith(".")
    assert check.question.endswith("?")
