"""What a Pod with a user namespace that ran here disproves, and what stands whatever ran."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    ALL_CAPABILITIES,
    absent,
    make_attempts,
    make_confinement,
    make_daemon,
    make_devices,
    make_facts,
    make_handler,
    make_handler_around,
    make_kubelet,
    make_kubelet_around,
    make_mounts,
    make_place,
    make_refusal,
    make_runtime,
    make_surroundings,
    make_unknown_attempt,
    unread,
)
from probe.checks.catalog import CHECKS, find, judge, judge_again
from probe.checks.check import NOT_MET
from probe.checks.disproof import CLAIMS, FOR_LIFE, SEEN
from probe.facts.around import Added, Limit
from probe.facts.model import Facts
from probe.facts.tried import HandlerTrial, PodTrialFacts
from probe.finding import Finding
from probe.host.cri import CriCondition
from probe.proof import Proof
from probe.reading import Reading
from probe.verdict import conclude

BOTH = ("kubelet-root", "tmpfs")


def tried(result: Any = "runs", handler: str = "", mounts: Any = BOTH) -> Reading[PodTrialFacts]:
    trial = HandlerTrial(handler=handler, result=result, reason="did something", step="x", mounts=mounts)
    return Reading("pod trial", PodTrialFacts(handlers=(trial,), seconds=0.3))


def runtime(**surroundings: Any) -> dict[str, Any]:
    return {"runtime": make_runtime(surroundings=make_surroundings(**surroundings))}


def finding(check: str, facts: Facts, handler: str = "") -> Finding:
    return next(one for one in judge(facts, handler) if one.id == check)


TMP_GONE = runtime(temporary=absent("/tmp"))
UMASK = runtime(daemon=make_daemon(umask=0o077))
NO_ADMIN = ALL_CAPABILITIES & ~(1 << 21)
CLAIMED: dict[str, dict[str, Any]] = {
    "runtime-directories": TMP_GONE,
    "runtime-devices": runtime(devices=make_devices(full=absent("/dev/full"))),
    "runtime-limits": runtime(daemon=make_daemon(limits={"RLIMIT_NPROC": Limit(1, 1)})),
    "runtime-state-search": runtime(state=(make_place("/", mode=0o40700),)),
    "runtime-confinement": {"runtime": make_runtime(confinement=make_confinement(effective_capabilities=NO_ADMIN))},
}


FEW_FILES = ("RLIMIT_NOFILE", Limit(20, 20))
OFFLINE = (CriCondition("RuntimeReady", True), CriCondition("NetworkReady", False))
NO_CNI = make_surroundings(cni=absent("/etc/cni/net.d"))
SHIMLESS = make_surroundings(handlers=(make_handler_around(shim=absent("shim")),))


def adding(**added: Any) -> dict[str, Any]:
    """The base specification of each container."""
    return runtime(handlers=(make_handler_around(added=Reading("/base.json", Added(**added))),))


@pytest.mark.parametrize("check", CLAIMED)
def test_a_trial_disproves_a_claim(check: str) -> None:
    """It stays to be seen as a warning, with the Pod that ran beside what was read."""
    facts = make_facts(**CLAIMED[check])
    before, after = finding(check, facts), finding(check, replace(facts, pod_trial=tried()))
    assert (before.status, after.status, after.reason) == ("fail", "warn", "")
    assert set(before.evidence) < set(after.evidence)
    assert after.remediation == before.remediation
    assert conclude(judge(replace(facts, pod_trial=tried()))).verdict == "ready"


@pytest.mark.parametrize("trial", [tried("refused"), tried("unknown"), unread("pod trial"), tried(handler="crun")])
def test_only_a_pod_that_ran_disproves(trial: Reading[PodTrialFacts]) -> None:
    """And only one of this handler."""
    assert finding("runtime-directories", make_facts(**TMP_GONE, pod_trial=trial)).status == "fail"


@pytest.mark.parametrize("check", ["runtime-directories", "runtime-confinement"])
def test_a_pod_of_an_hour_ago_disproves_no_failure(check: str) -> None:
    """Whatever it met then, it would meet something else now."""
    facts = make_facts(**CLAIMED[check], userns_pod_runs=Reading("processes of Pods", True))
    assert finding(check, facts).status == "fail"


@pytest.mark.parametrize(("bit", "status"), [(0, "unknown"), (3, "unknown"), (12, "pass")])
def test_a_capability_that_only_some_images_need(bit: int, status: str) -> None:
    """CAP_CHOWN and CAP_FOWNER unpack images, which for some has been done before; CAP_NET_ADMIN is for each Pod."""
    confinement = make_confinement(effective_capabilities=ALL_CAPABILITIES & ~(1 << bit))
    facts = make_facts(runtime=make_runtime(confinement=confinement), pod_trial=tried())
    assert finding("runtime-confinement", facts).status == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"effective_capabilities": 0}, "fail"),
        ({"effective_capabilities": ALL_CAPABILITIES & ~1, "in_initial_user_namespace": False}, "fail"),
        ({"effective_capabilities": ALL_CAPABILITIES & ~1, "seccomp": unread()}, "unknown"),
    ],
)
def test_a_capability_for_images_is_not_hidden(changes: dict[str, Any], status: str) -> None:
    """Neither by a capability that the Pod shows not to be needed, nor by what could not be read."""
    facts = make_facts(runtime=make_runtime(confinement=make_confinement(**changes)), pod_trial=tried())
    assert finding("runtime-confinement", facts).status == status
    assert conclude(judge(facts)).verdict != "ready"


@pytest.mark.parametrize(
    ("limit", "status"), [(FEW_FILES, "unknown"), (("RLIMIT_CORE", Limit(5, 3)), "pass")], ids=["not-met", "met"]
)
def test_a_limit_that_no_trial_meets_stays_unknown(limit: tuple[str, Limit], status: str) -> None:
    """The file changed since the runtime started, so the limit may be in force, and the pause image opens no files."""
    facts = make_facts(**adding(limits=(limit,), newer=True))
    assert finding("runtime-base-spec", facts).status == "unknown"
    assert finding("runtime-base-spec", replace(facts, pod_trial=tried())).status == status


UNSURE = (make_confinement(seccomp=2), make_confinement(label=unread()), unread("/proc"))


@pytest.mark.parametrize("confinement", UNSURE)
def test_any_pod_of_this_daemon_settles_what_binds_it_for_life(confinement: Any) -> None:
    """A filter that nobody can read has let one through."""
    facts = make_facts(runtime=make_runtime(confinement=confinement))
    assert finding("runtime-confinement", facts).status == "unknown"
    ran = replace(facts, userns_pod_runs=Reading("processes of Pods", True))
    assert finding("runtime-confinement", ran).status == "pass"


@pytest.mark.parametrize(
    ("other", "kind", "status"),
    [
        ({"name": "crun", "oci_runtime": "crun"}, "running-pod", "unknown"),
        ({"name": "crun", "oci_runtime": "crun"}, "pod-trial", "pass"),
        ({"name": "crun", "oci_runtime": "crun", "user_namespaces": False}, "running-pod", "pass"),
        ({"name": "nvidia", "oci_runtime": "runc"}, "running-pod", "pass"),
    ],
)
def test_a_pod_of_another_oci_runtime_settles_nothing(other: dict[str, Any], kind: Any, status: str) -> None:
    """Which handler a running Pod has is not told: under one filter runc may fail where crun does not."""
    handlers = (make_handler(), make_handler(**other))
    runtime = make_runtime(handlers=handlers, confinement=make_confinement(seccomp=2))
    ran = Reading("processes of Pods", True)
    facts = make_facts(runtime=runtime, userns_pod_runs=ran, proof=Proof(kind=kind))
    assert finding("runtime-confinement", facts).status == status


def test_what_was_refused_to_the_probe_stands() -> None:
    """The kernel's own answer is no claim."""
    facts = make_facts(attempts=make_attempts(kubelet_root=make_refusal(role="kubelet-root")), pod_trial=tried())
    assert finding("filesystem-kubelet-root", facts).status == "fail"


@pytest.mark.parametrize(("mounts", "status"), [(BOTH, "pass"), (("kubelet-root",), "unknown"), ((), "unknown")])
def test_a_mount_that_the_pod_had_settles_what_the_probe_could_not_try(mounts: Any, status: str) -> None:
    """The same mount, not just any Pod."""
    attempts = make_attempts(tmpfs=make_unknown_attempt(role="tmpfs", fstype="tmpfs"))
    assert finding("filesystem-tmpfs", make_facts(attempts=attempts, pod_trial=tried(mounts=mounts))).status == status


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("kubelet-user-namespaces", {"kubelet": make_kubelet(version="1.29.0")}),
        ("runtime-directories", UMASK),
        ("kubelet-confinement", {"kubelet_around": make_kubelet_around(effective_capabilities=0)}),
        ("runtime-directories", {"kubelet_around": make_kubelet_around(root_dir=make_place("/x", flags=1))}),
    ],
)
def test_what_no_pod_of_a_trial_meets_stands(check: str, changes: dict[str, Any]) -> None:
    """No kubelet takes part in it, and its image has nothing but one program."""
    assert finding(check, make_facts(**changes, pod_trial=tried())).status == "fail"


@pytest.mark.parametrize(
    ("check", "reason", "changes"),
    [
        ("runtime-directories", "UmaskTooStrict", runtime(temporary=absent("/tmp"), daemon=make_daemon(umask=0o077))),
        ("runtime-base-spec", "LimitTooSmall", adding(limits=(FEW_FILES,), sysctls=(("net.core.xfrm_x", "1"),))),
        ("runtime-base-spec", "LimitTooSmall", adding(limits=(("RLIMIT_CORE", Limit(5, 3)), FEW_FILES))),
        ("runtime-parts", "NetworkNotReady", {"runtime": make_runtime(conditions=OFFLINE, surroundings=SHIMLESS)}),
        ("runtime-parts", "NetworkNotConfigured", {"runtime": make_runtime(conditions=OFFLINE, surroundings=NO_CNI)}),
    ],
)
def test_a_failure_that_stands_is_not_hidden_by_one_that_does_not(
    check: str, reason: str, changes: dict[str, Any]
) -> None:
    """One check may fail for two reasons: the Pod of a trial disproves the one that it met, and not the other."""
    facts = make_facts(**changes, pod_trial=tried())
    assert (finding(check, facts).status, finding(check, facts).reason) == ("fail", reason)
    assert conclude(judge(facts)).verdict == "not-ready"


def test_reasons_that_no_trial_meets_are_reasons_of_claims() -> None:
    """A name that no such check has would never match."""
    assert {reason for check in CHECKS if check.id in CLAIMS for reason in check.reasons} >= NOT_MET


def test_each_handler_is_cleared_by_its_own_pod() -> None:
    """One that runs another OCI runtime keeps its failure."""
    handlers = (make_handler(), make_handler(name="crun", oci_runtime="crun", binary="/usr/bin/crun"))
    around = make_surroundings(temporary=absent("/tmp"))
    facts = make_facts(runtime=make_runtime(handlers=handlers, surroundings=around), pod_trial=tried())
    again = judge_again(facts, "crun", judge(facts))
    assert again == judge(facts, "crun")
    statuses = [one.status for one in again if one.id == "runtime-directories"]
    assert (finding("runtime-directories", facts).status, statuses) == ("warn", ["fail"])


def test_the_table_names_checks_that_exist() -> None:
    """A check is either a claim or was seen; a trial is neither, as nothing but itself may contradict it."""
    assert {*CLAIMS, *FOR_LIFE, *SEEN} <= {check.id for check in CHECKS}
    assert not CLAIMS & SEEN.keys()
    assert not {check.id for check in CHECKS if "trial" in check.id} & {*CLAIMS, *SEEN}
    assert all(find(check) for check in FOR_LIFE)


@pytest.mark.parametrize(
    ("check", "facts"),
    [
        ("runtime-directories", runtime(logs_dir=make_place("/var/log/pods", flags=os.ST_RDONLY))),
        ("runtime-directories", {"mounts": make_mounts(pods_options=("ro", "relatime"))}),
        ("runtime-limits", runtime(pods_left=Reading("pids.max", 0))),
    ],
)
def test_what_the_pod_of_a_trial_does_not_meet(check: str, facts: dict[str, Any]) -> None:
    """It keeps no log, mounts the kubelet's files read-only, and its cgroup is not among those of Pods."""
    assert finding(check, make_facts(**facts, pod_trial=tried())).status == "fail"
