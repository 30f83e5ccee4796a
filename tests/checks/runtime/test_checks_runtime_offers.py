"""The four checks of the container runtime, in every status that they can return."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from lab.factory import (
    ALL_CAPABILITIES,
    absent,
    make_attempts,
    make_confinement,
    make_facts,
    make_handler,
    make_kernel,
    make_kubelet,
    make_namespace_attempt,
    make_refusal,
    make_runtime,
    make_unknown_attempt,
    unread,
)
from probe.checks import catalog
from probe.checks.check import Check, Outcome
from probe.checks.kernel import USER_LIMIT
from probe.checks.runtime.offers import CHECKS, is_old
from probe.facts.model import Facts, Handler
from probe.finding import Finding
from probe.reading import ProblemKind, Reading

REASON_OF_KIND: dict[ProblemKind, str] = {
    "absent": "NotReadable",
    "not-permitted": "NotPermitted",
    "timed-out": "TimedOut",
    "not-readable": "NotReadable",
    "not-tried": "NotTried",
}
IDS = ("runtime-user-namespaces", "runtime-confinement", "runtime-oci-features", "runtime-kernel-claim")


def _check(check_id: str) -> Check:
    return next(check for check in CHECKS if check.id == check_id)


def judge(check_id: str, facts: Facts, handler: str = "") -> Outcome:
    check = _check(check_id)
    outcome = check.per_handler(facts, handler) if check.per_handler else check.check(facts)
    assert not outcome.message.endswith(".")
    assert "None" not in outcome.message
    return outcome


def find_in_report(check_id: str, facts: Facts) -> Finding:
    """The finding with all that the catalogue adds."""
    return next(finding for finding in catalog.judge(facts) if finding.id == check_id)


def with_handler(
    facts_of: dict[str, Any] | None = None, runtime: dict[str, Any] | None = None, **handler: Any
) -> Facts:
    """A node whose default handler is like that."""
    handlers = Reading("CRI Status /run/containerd/containerd.sock", (make_handler(**handler),))
    return make_facts(runtime=make_runtime(handlers=handlers, **(runtime or {})), **(facts_of or {}))


def test_declaration() -> None:
    """The checks stand in stack order; the first two gate, the last two hold claims against each other."""
    assert tuple(check.id for check in CHECKS) == IDS
    assert [check.gating for check in CHECKS] == [True, True, False, False]
    assert [check.contradiction for check in CHECKS] == [False, False, True, True]
    assert {check.level for check in CHECKS} == {"stateless"}


@pytest.mark.parametrize("check_id", IDS)
def test_all_well(check_id: str) -> None:
    """On a good node each of them passes."""
    assert judge(check_id, make_facts()).status == "pass"


@pytest.mark.parametrize("check_id", IDS)
def test_no_kubelet(check_id: str) -> None:
    """Without a kubelet nothing names the runtime's socket, and that is the reason."""
    facts = make_facts(kubelet=absent("/proc"), runtime=Reading.without("CRI", "absent", "no kubelet names its socket"))
    outcome = judge(check_id, facts)
    assert (outcome.status, outcome.reason) == ("unknown", "KubeletNotFound")


@pytest.mark.parametrize("kind", REASON_OF_KIND)
@pytest.mark.parametrize("check_id", IDS)
def test_no_runtime(check_id: str, kind: ProblemKind) -> None:
    """A runtime of which nothing is known makes each answer unknown, for the same reason."""
    outcome = judge(check_id, make_facts(runtime=unread("CRI", kind)))
    assert (outcome.status, outcome.reason) == ("unknown", REASON_OF_KIND[kind])


@pytest.mark.parametrize("kind", REASON_OF_KIND)
@pytest.mark.parametrize("check_id", [IDS[0], IDS[2], IDS[3]])
def test_no_status(check_id: str, kind: ProblemKind) -> None:
    """A runtime whose Status could not be read makes all that depends on it unknown."""
    outcome = judge(check_id, make_facts(runtime=make_runtime(handlers=unread("CRI Status", kind))))
    assert (outcome.status, outcome.reason) == ("unknown", REASON_OF_KIND[kind])


# runtime-user-namespaces


@pytest.mark.parametrize(
    ("name", "version", "distribution", "wanted"),
    [
        ("containerd", "1.7.24~ds1", "kubelet", "containerd"),
        ("cri-o", "1.29.1", "kubelet", "cri-o to 1.30"),
        ("containerd", "1.7.11-k3s2", "k3s", "K3s to v1.31.6+k3s1"),
        ("containerd", "1.7.11", "rke2", "RKE2 to a release that ships containerd 2.0"),
        ("docker", "27.0.1", "kubelet", "to containerd 2.0"),
    ],
)
def test_too_old(name: str, version: str, distribution: str, wanted: str) -> None:
    """A runtime that lists no handlers at all is too old, and what to do depends on who ships it."""
    runtime = make_runtime(name=name, version=version, handlers=Reading("CRI Status", ()))
    finding = find_in_report(IDS[0], make_facts(runtime=runtime, kubelet=make_kubelet(distribution=distribution)))
    assert (finding.status, finding.reason) == ("fail", "RuntimeTooOld")
    assert f"{name} {version}" in finding.message
    assert wanted in finding.remediation


@pytest.mark.parametrize(
    ("system", "wanted"),
    [
        ("debian 12", "apt-get install -y containerd.io"),
        ("debian 13", "apt-get install -y containerd.io"),
        ("ubuntu 22.04", "apt-get install -y containerd.io"),
        ("rocky 9.4", "dnf install -y containerd.io"),
        ("amzn 2023", "AMI"),
        ("sles 15", "systemctl restart containerd"),
    ],
)
def test_too_old_on_a_distribution_whose_packages_are(system: str, wanted: str) -> None:
    """Debian 12 and 13 have no containerd 2.0 to upgrade to, so their users are told where to get one."""
    runtime = make_runtime(version="1.7.24", handlers=Reading("CRI Status", ()))
    facts = make_facts(runtime=runtime, distribution=Reading("/etc/os-release", system))
    assert wanted in find_in_report(IDS[0], facts).remediation


@pytest.mark.parametrize("binary", ["/usr/bin/nvidia-container-runtime", "/opt/lab/wrapper"])
def test_a_wrapper_is_never_overwritten(binary: str) -> None:
    """What it runs has to be new; runc in its place would take the devices of all Pods away."""
    outcome = judge(IDS[0], with_handler(user_namespaces=False, oci_idmap=False, binary=binary))
    assert outcome.status == "fail"
    assert f"as {binary}" not in outcome.remediation
    assert f"without overwriting {binary}" in outcome.remediation


def test_handler_unknown() -> None:
    """A handler that CRI does not name fails, with the names that exist."""
    outcome = judge(IDS[0], make_facts(), "kata")
    assert (outcome.status, outcome.reason) == ("fail", "HandlerUnknown")
    assert outcome.message == 'containerd 2.1.9 has no handler "kata"'
    assert outcome.remediation.endswith('"", runc')


@pytest.mark.parametrize(
    ("handler", "message", "remediation"),
    [
        (
            {"user_namespaces": False, "oci_version": "1.1.15+ds1", "oci_idmap": False},
            "runc 1.1.15+ds1 (/usr/bin/runc) is older than 1.2",
            "Install runc 1.2 or newer as /usr/bin/runc. Restart the runtime",
        ),
        (
            {"user_namespaces": None, "oci_runtime": "crun", "oci_version": "1.8.1", "oci_idmap": False},
            "crun 1.8.1 (/usr/bin/runc) is older than 1.9",
            "Install crun 1.9 or newer",
        ),
        (
            {"user_namespaces": False},
            "though runc 1.3.5 (/usr/bin/runc) has them",
            "Restart the runtime",
        ),
        (
            {"user_namespaces": None, "oci_runtime": "youki", "oci_version": "0.5.4", "oci_idmap": False},
            "youki 0.5.4 (/usr/bin/runc) cannot idmap mounts",
            "Install runc 1.2, crun 1.9 or newer",
        ),
        (
            {
                "user_namespaces": None,
                "binary": Reading.without("CRI", "absent", "io.containerd.kata.v2 runs no runtime like runc"),
                "oci_runtime": absent("CRI"),
                "oci_version": absent("CRI"),
                "oci_idmap": absent("CRI"),
            },
            "io.containerd.kata.v2 runs no runtime like runc",
            "Use a RuntimeClass",
        ),
        (
            {"user_namespaces": None, "oci_idmap": unread(), "oci_version": unread()},
            "it could not learn the features of runc (/usr/bin/runc)",
            "Install runc 1.2",
        ),
        (
            {"user_namespaces": False, "oci_idmap": unread()},
            "runc 1.3.5 (/usr/bin/runc) had none when the runtime started",
            "Install runc 1.2",
        ),
    ],
    ids=["runc 1.1", "crun 1.8", "newer since", "youki", "kata", "no features", "not readable"],
)
def test_handler_without(handler: dict[str, Any], message: str, remediation: str) -> None:
    """CRI's no fails; the OCI runtime behind it explains, and the remediation fits the explanation."""
    outcome = judge(IDS[0], with_handler(**handler))
    assert (outcome.status, outcome.reason) == ("fail", "HandlerWithoutUserNamespaces")
    assert outcome.message.startswith("containerd 2.1.9 offers no user namespaces with the default handler")
    assert message in outcome.message
    assert outcome.remediation.startswith(remediation)


@pytest.mark.parametrize(("newer", "status"), [(True, "unknown"), (False, "pass"), (unread(), "pass")])
def test_a_replaced_binary_that_cannot_be_asked(newer: Any, status: str) -> None:
    """A promise that is older than the binary says nothing of it; one that is newer stands."""
    silent: Reading[Any] = Reading.without("/usr/bin/runc features", "not-permitted", "not run: writable by others")
    facts = with_handler(oci_idmap=silent, oci_version=silent, oci_user_namespace=silent, binary_newer=newer)
    assert judge(IDS[0], facts).status == status


@pytest.mark.parametrize(
    ("name", "version", "old"),
    [
        ("runc", "1.1.15+ds1", True),
        ("runc", "1.2.0", False),
        ("runc", "1.2.0-rc.1", False),
        ("crun", "1.8.7", True),
        ("crun", "1.9", False),
        ("youki", "0.1", False),
        ("runc", "UNKNOWN", False),
    ],
)
def test_which_versions_are_too_old(name: str, version: str, old: bool) -> None:
    """The first release that maps mounts is not older than itself."""
    assert is_old(make_handler(oci_runtime=name, oci_version=version)) is old


def test_old_promise() -> None:
    """A yes from before runc was downgraded is none: a real kubelet's containers fail then."""
    handler = {"oci_version": "1.1.15+ds1", "oci_idmap": False}
    outcome = judge(IDS[0], with_handler(**handler))
    assert (outcome.status, outcome.reason) == ("fail", "HandlerWithoutUserNamespaces")
    assert "still promises" in outcome.message


def test_yes_stands_when_the_binary_is_silent() -> None:
    """Where the binary could not be asked, CRI's yes stands."""
    assert judge(IDS[0], with_handler(oci_idmap=unread(), oci_user_namespace=unread())).status == "pass"


def test_user_namespace_claim_counts_for_containerd_only() -> None:
    """containerd asks for both claims; CRI-O for idmapped mounts alone."""
    assert judge(IDS[0], with_handler(oci_user_namespace=False)).status == "fail"
    assert judge(IDS[0], with_handler(runtime={"name": "cri-o"}, oci_user_namespace=False)).status == "pass"


def test_handlers_are_judged_one_by_one() -> None:
    """The handler that is asked about decides, not the default one."""
    handlers = (make_handler(), make_handler(name="old", user_namespaces=False, oci_idmap=False))
    facts = make_facts(runtime=make_runtime(handlers=Reading("CRI Status", handlers)))
    assert judge(IDS[0], facts).status == "pass"
    assert judge(IDS[0], facts, "old").reason == "HandlerWithoutUserNamespaces"


@pytest.mark.parametrize(
    ("distribution", "name", "command"),
    [
        ("kubelet", "containerd", "containerd config dump >/dev/null && systemctl restart containerd"),
        ("kubelet", "cri-o", "systemctl restart crio"),
        ("k3s", "containerd", "systemctl try-restart k3s k3s-agent"),
        ("rke2", "containerd", "systemctl try-restart rke2-server rke2-agent"),
        ("k0s", "containerd", "systemctl try-restart k0sworker k0scontroller"),
        ("microk8s", "containerd", "snap restart microk8s.daemon-containerd"),
    ],
)
def test_restart(distribution: str, name: str, command: str) -> None:
    """The command that restarts the runtime is the one of this distribution."""
    facts_of = {"kubelet": make_kubelet(distribution=distribution)}
    outcome = judge(IDS[0], with_handler(facts_of, {"name": name}, user_namespaces=False))
    assert outcome.remediation.endswith(f"\n  {command}")


# runtime-confinement


@pytest.mark.parametrize("problem", ["UNIMPLEMENTED: unknown service runtime.v1.RuntimeService"])
def test_a_runtime_that_serves_no_cri(problem: str) -> None:
    """Packages of Docker switch the plugin off (containerd issue 4581): no Pod of any kind can run."""
    nothing: Reading[Any] = Reading.without("CRI Status", "absent", problem)
    outcome = judge(IDS[0], make_facts(runtime=make_runtime(name=nothing, version=nothing, handlers=nothing)))
    assert (outcome.status, outcome.reason) == ("fail", "CriServiceMissing")
    assert "disabled_plugins" in outcome.remediation
    assert outcome.evidence


def test_a_socket_that_is_not_there_is_no_service_switched_off() -> None:
    """The runtime may be starting."""
    outcome = judge(IDS[0], make_facts(runtime=make_runtime(handlers=absent("CRI"))))
    assert (outcome.status, outcome.reason) == ("unknown", "NotReadable")


SILENT = {"oci_runtime": absent("/usr/bin/runc"), "oci_version": absent("/usr/bin/runc")}


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ({"executable": Reading("/usr/bin/runc", False)}, ("fail", "OciRuntimeMissing")),
        ({"executable": Reading("/usr/bin/runc", True)}, ("unknown", "NotReadable")),
        ({"executable": unread("/proc/700/ns/mnt", "not-tried")}, ("unknown", "NotReadable")),
        ({"executable": Reading("PATH", False), "binary": absent("PATH")}, ("fail", "OciRuntimeMissing")),
    ],
)
def test_an_oci_runtime_that_is_gone(handler: dict[str, Any], expected: tuple[str, str]) -> None:
    """The runtime still repeats its promise, and each container fails; certain only where it looks for the binary."""
    outcome = judge(IDS[0], with_handler(**SILENT, oci_idmap=absent("/usr/bin/runc"), **handler))
    assert (outcome.status, outcome.reason) == expected


def test_an_oci_runtime_that_is_no_program() -> None:
    """Empty, truncated, or of another architecture: the kernel refuses it to the daemon as it did to the probe."""
    refused: Reading[Any] = Reading.from_error(
        "/usr/bin/runc features", OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
    )
    there = Reading("/usr/bin/runc", True)
    outcome = judge(IDS[0], with_handler(**SILENT, oci_idmap=refused, executable=there))
    assert (outcome.status, outcome.reason) == ("fail", "OciRuntimeMissing")
    unseen = judge(
        IDS[0], with_handler(**SILENT, oci_idmap=refused, executable=unread("/proc/700/ns/mnt", "not-tried"))
    )
    assert unseen.status == "unknown"


def test_an_oci_runtime_that_answered_is_there() -> None:
    """Whatever stat(2) said of its path a moment before."""
    assert judge(IDS[0], with_handler(executable=Reading("/usr/bin/runc", False))).status == "pass"


def confined(facts_of: dict[str, Any] | None = None, **confinement: Any) -> Facts:
    return make_facts(runtime=make_runtime(confinement=make_confinement(**confinement)), **(facts_of or {}))


@pytest.mark.parametrize(
    ("confinement", "message"),
    [
        ({"effective_capabilities": ALL_CAPABILITIES & ~(1 << 21)}, "runs without CAP_SYS_ADMIN"),
        ({"effective_capabilities": ALL_CAPABILITIES & ~(1 << 6 | 1 << 7)}, "runs without CAP_SETGID, CAP_SETUID"),
        ({"effective_capabilities": 0}, "CAP_SYS_ADMIN"),
        ({"effective_capabilities": ALL_CAPABILITIES & ~(1 << 19)}, "runs without CAP_SYS_PTRACE"),
        ({"in_initial_user_namespace": False}, "in a user namespace of its own (rootless)"),
        ({"effective_capabilities": ALL_CAPABILITIES & ~(1 << 21), "seccomp": 2, "label": unread()}, "CAP_SYS_ADMIN"),
        ({"root": Reading("/proc/700/root", "/sysroot"), "seccomp": 2}, "runs in a chroot"),
    ],
)
@pytest.mark.parametrize("pod_runs", [False, True])
def test_surely_confined(confinement: dict[str, Any], message: str, pod_runs: bool) -> None:
    """What surely forbids user namespaces fails, even beside a Pod that was started before."""
    outcome = judge(IDS[1], confined({"userns_pod_runs": pod_runs}, **confinement))
    assert (outcome.status, outcome.reason) == ("fail", "RuntimeConfined")
    assert message in outcome.message


MAYBE: list[tuple[dict[str, Any], str, str]] = [
    ({"effective_capabilities": ALL_CAPABILITIES & ~(1 << 12)}, "runs without CAP_NET_ADMIN", "NotReadable"),
    ({"seccomp": 2}, "runs under a seccomp filter", "NotReadable"),
    ({"label": "cri-containerd.apparmor.d (enforce)"}, "cri-containerd.apparmor.d (enforce)", "NotReadable"),
    ({"label": "system_u:system_r:container_t:s0:c1,c2"}, "container_t", "NotReadable"),
    ({"label": "_"}, "a security module", "NotReadable"),
    ({"effective_capabilities": unread()}, "could not be read", "NotPermitted"),
    ({"in_initial_user_namespace": unread()}, "could not be read", "NotPermitted"),
    ({"seccomp": unread()}, "could not be read", "NotPermitted"),
    ({"label": unread()}, "could not be read", "NotPermitted"),
]


@pytest.mark.parametrize(("confinement", "message", "reason"), MAYBE)
def test_perhaps_confined(confinement: dict[str, Any], message: str, reason: str) -> None:
    """What only may forbid user namespaces is unknown."""
    outcome = judge(IDS[1], confined(**confinement))
    assert (outcome.status, outcome.reason) == ("unknown", reason)
    assert message in outcome.message


def test_daemon_not_found() -> None:
    """What confines a daemon that was not found is unknown."""
    lost: Reading[Any] = Reading.without("/proc", "not-readable", "no process is called containerd")
    facts = make_facts(runtime=make_runtime(confinement=lost))
    assert (judge(IDS[1], facts).status, judge(IDS[1], facts).reason) == ("unknown", "NotReadable")


@pytest.mark.parametrize(
    "label",
    [
        "",
        "unconfined",
        "crun (unconfined)",
        "snap.microk8s.daemon-containerd (complain)",
        "system_u:system_r:container_runtime_t:s0",
        "system_u:system_r:unconfined_service_t:s0-s0:c0.c1023",
        "system_u:system_r:spc_t:s0",
        "system_u:system_r:kernel_t:s0",
        "kernel",
        "init",
    ],
)
def test_free_labels(label: str) -> None:
    """Labels under which nothing is refused confine nobody."""
    assert judge(IDS[1], confined(label=label)).status == "pass"


def test_a_label_of_smack() -> None:
    """It may have the name that SELinux gives to processes before it has a policy."""
    smack = {"kernel": make_kernel(lsm="capability,smack")}
    assert judge(IDS[1], confined(smack, label="kernel")).status == "unknown"


def test_permissive_selinux() -> None:
    """In permissive mode no domain binds."""
    permissive = {"kernel": make_kernel(selinux_enforcing=False)}
    assert judge(IDS[1], confined(permissive, label="system_u:system_r:container_t:s0")).status == "pass"


def test_capabilities_in_the_kernels_words() -> None:
    """The evidence shows the capabilities as /proc does."""
    outcome = judge(IDS[1], make_facts())
    assert "CapEff 000001ffffffffff" in [evidence.value for evidence in outcome.evidence]


# runtime-oci-features


@pytest.mark.parametrize(
    ("handler", "runtime", "message", "remediation"),
    [
        (
            {"oci_version": "1.1.15", "oci_idmap": False},
            {},
            "missing mountExtensions.idmap entry",
            "Install runc 1.2 or newer as /usr/bin/runc",
        ),
        ({"oci_user_namespace": False}, {}, "still promises", "Install runc"),
        ({"user_namespaces": False}, {}, "denies it", "Restart the runtime"),
        ({"user_namespaces": None}, {}, "denies it", "Restart the runtime"),
        ({"binary_newer": True}, {}, "may have been replaced since containerd 2.1.9 started", "Restart the runtime"),
        (
            {"user_namespaces": False, "oci_user_namespace": False},
            {"name": "cri-o"},
            "denies it",
            "Restart the runtime",
        ),
    ],
)
def test_contradiction(handler: dict[str, Any], runtime: dict[str, Any], message: str, remediation: str) -> None:
    """A binary that says today what the runtime does not repeat is a warning, each with its own way out."""
    outcome = judge(IDS[2], with_handler(None, runtime, **handler))
    assert (outcome.status, outcome.reason) == ("warn", "")
    assert message in outcome.message
    assert outcome.remediation.startswith(remediation)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ({}, "can idmap mounts, just as containerd 2.1.9 says"),
        ({"user_namespaces": False, "oci_idmap": False}, "cannot idmap mounts, just as containerd 2.1.9 says"),
        ({"user_namespaces": None, "oci_idmap": False}, "cannot idmap mounts"),
        ({"binary_newer": unread()}, "can idmap mounts"),
    ],
)
def test_agreement(handler: dict[str, Any], message: str) -> None:
    """Both saying the same passes, be it yes or no."""
    outcome = judge(IDS[2], with_handler(**handler))
    assert outcome.status == "pass"
    assert message in outcome.message


@pytest.mark.parametrize("kind", REASON_OF_KIND)
def test_binary_that_says_nothing(kind: ProblemKind) -> None:
    """A binary that could not be asked is unknown."""
    outcome = judge(IDS[2], with_handler(oci_idmap=unread("/usr/bin/runc features", kind)))
    assert (outcome.status, outcome.reason) == ("unknown", REASON_OF_KIND[kind])


def test_binary_that_could_not_be_found_out() -> None:
    """Not knowing which binary it is, is unknown; a handler that has none has nothing to compare."""
    hidden = with_handler(binary=unread("/proc/700/environ"), oci_idmap=unread())
    assert (judge(IDS[2], hidden).status, judge(IDS[2], hidden).reason) == ("unknown", "NotPermitted")
    assert judge(IDS[2], with_handler(binary=absent("CRI"), oci_idmap=absent("CRI"))).status == "skipped"


def test_nothing_to_compare() -> None:
    """Without that handler there is nothing to compare."""
    assert judge(IDS[2], make_facts(), "kata").status == "skipped"
    assert judge(IDS[2], make_facts(runtime=make_runtime(handlers=Reading("CRI Status", ())))).status == "skipped"


# runtime-kernel-claim


@pytest.mark.parametrize(
    ("role", "named"),
    [
        ("kubelet-root", "the kubelet's root directory /somewhere (ext4)"),
        ("runtime-root", "the runtime's root directory /somewhere (ext4)"),
        ("overlay-layers", "overlay with idmapped layers /somewhere (ext4)"),
        ("tmpfs", "a fresh tmpfs /somewhere (ext4)"),
    ],
)
def test_kernel_refuses(role: str, named: str) -> None:
    """A promise that the kernel does not keep is a warning that names the layer."""
    attempts = make_attempts(**{role.replace("-", "_"): make_refusal(role=role, path="/somewhere")})
    outcome = judge(IDS[3], make_facts(attempts=attempts))
    assert (outcome.status, outcome.reason) == ("warn", "")
    assert f"containerd 2.1.9 promises user namespaces, but the kernel refuses {named}" in outcome.message


@pytest.mark.parametrize(("error", "limit"), [("EINVAL", 1000), ("ENOSPC", 0)])
def test_kernel_refuses_the_namespace(error: str, limit: int) -> None:
    """The same where already the user namespace is refused."""
    refused = make_namespace_attempt(result="refused", step="unshare", errno=error, reason="none may be made")
    outcome = judge(
        IDS[3], make_facts(user_namespace=refused, kernel=make_kernel(namespace_limits={USER_LIMIT: limit}))
    )
    assert outcome.status == "warn"
    assert outcome.message.endswith("the kernel refuses a user namespace: none may be made")


def test_a_kernel_with_enough_namespaces_for_now_breaks_no_promise() -> None:
    """The limit is reached; with one namespace less there is one more."""
    refused = make_namespace_attempt(result="refused", step="unshare", errno="ENOSPC", reason="none may be made")
    untried = make_attempts(tmpfs=make_unknown_attempt(role="tmpfs", path="", fstype="tmpfs", kind="not-tried"))
    kernel = make_kernel(namespace_limits={USER_LIMIT: 3})
    outcome = judge(IDS[3], make_facts(user_namespace=refused, kernel=kernel, attempts=untried))
    assert (outcome.status, outcome.reason) == ("unknown", "NotTried")


def test_volumes_do_not_count() -> None:
    """No runtime promised anything about the file systems of volumes."""
    facts = make_facts(attempts=(*make_attempts(), make_refusal(role="volume"), make_refusal(role="path")))
    assert judge(IDS[3], facts).status == "pass"


@pytest.mark.parametrize("runtime", [{"slow_chown": True}, {"snapshotter": "native"}])
def test_layers_that_need_no_mapping(runtime: dict[str, Any]) -> None:
    """Where layers may be copied, nobody minds that overlay cannot map them."""
    attempts = make_attempts(overlay_layers=make_refusal(role="overlay-layers"))
    snapshotter = runtime.get("snapshotter", "overlayfs")
    assert judge(IDS[3], with_handler({"attempts": attempts}, runtime, snapshotter=snapshotter)).status == "pass"


def test_claim_of_the_binary_alone() -> None:
    """Behind a runtime that denies it, the binary's own claim is held against the kernel."""
    facts_of = {"attempts": make_attempts(tmpfs=make_refusal(role="tmpfs", fstype="tmpfs", path=""))}
    outcome = judge(IDS[3], with_handler(facts_of, user_namespaces=False))
    assert outcome.status == "warn"
    assert outcome.message.startswith("runc 1.3.5 (/usr/bin/runc) promises")


@pytest.mark.parametrize(
    "handler", [{"user_namespaces": False, "oci_idmap": False}, {"user_namespaces": None, "oci_idmap": unread()}]
)
def test_no_promise(handler: dict[str, Any]) -> None:
    """Where nothing is promised, nothing can be broken."""
    assert judge(IDS[3], with_handler(**handler)).status == "skipped"
    assert judge(IDS[3], make_facts(), "kata").status == "skipped"


def test_promise_that_was_not_tried() -> None:
    """An attempt without a result leaves the promise unknown, as does none at all."""
    attempts = make_attempts(tmpfs=make_unknown_attempt(role="tmpfs", path="", fstype="tmpfs"))
    outcome = judge(IDS[3], make_facts(attempts=attempts))
    assert (outcome.status, outcome.reason) == ("unknown", "TimedOut")
    outcome = judge(IDS[3], make_facts(attempts=()))
    assert (outcome.status, outcome.reason) == ("unknown", "NotTried")


def test_names_that_are_not_known() -> None:
    """Whatever part of its name is unknown, a runtime is still spoken of in a sentence."""
    nameless: Handler = make_handler(
        name="x", user_namespaces=False, oci_runtime=unread(), oci_version=unread(), binary=unread(), oci_idmap=unread()
    )
    runtime = make_runtime(name=unread(), version=unread(), handlers=Reading("CRI Status", (nameless,)))
    facts = make_facts(runtime=runtime, kubelet=absent("/proc"))
    message = judge(IDS[0], facts, "x").message
    assert message.startswith('the container runtime offers no user namespaces with handler "x": its OCI runtime ')
    for check_id in IDS[1:]:
        judge(check_id, facts, "x")


@pytest.mark.parametrize(("system", "status"), [("bottlerocket 1.61.0", "pass"), ("debian 13", "unknown")])
def test_a_domain_of_one_distributions_policy(system: str, status: str) -> None:
    """Bottlerocket's public policy forbids its runtime_t no user namespaces; another's may have the same name."""
    runtime = make_runtime(confinement=make_confinement(label="system_u:system_r:runtime_t:s0"))
    facts = make_facts(distribution=system, kernel=make_kernel(selinux_enforcing=True), runtime=runtime)
    assert judge(IDS[1], facts).status == status
