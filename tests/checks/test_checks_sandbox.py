"""What the check says of a trial, in every status it can have."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import make_facts, make_handler, make_kernel, make_mounts, make_probe, make_runtime, unread
from probe.checks.catalog import judge
from probe.checks.check import Outcome
from probe.checks.sandbox import CHECKS, check_sandbox_trial
from probe.facts.trials.sandbox import _STEPS
from probe.facts.tried import HandlerTrial, PodTrialFacts, SandboxFacts, SandboxStep
from probe.reading import Reading
from probe.verdict import conclude


def judge_sandbox_trial(trial: SandboxFacts, **limits: Any) -> Outcome:
    """What is said of it on a node with these limits."""
    return judge_on(trial, kernel=make_kernel(namespace_limits=limits))


def judge_on(trial: SandboxFacts, handler: str = "", **facts: Any) -> Outcome:
    """What is said of it on a node of which this is known besides."""
    return check_sandbox_trial(make_facts(sandbox=Reading("sandbox trial", trial), **facts), handler)


def make_sandbox(**changed: dict[str, Any]) -> SandboxFacts:
    """A trial in which every step passed; each keyword changes fields of the step so named, with `_` for a space."""
    steps = []
    for name, (role, meaning) in _STEPS.items():
        fields: dict[str, Any] = {
            "name": name,
            "role": role,
            "result": "passed",
            "errno": "",
            "kind": "",
            "seconds": 0.001,
            "reason": meaning,
        }
        steps.append(SandboxStep(**fields | changed.get(name.replace(" ", "_"), {})))
    return SandboxFacts(steps=tuple(steps), seconds=0.0234)


FAILED = {"result": "failed", "errno": "EPERM"}
ENOSPC = {"result": "failed", "errno": "ENOSPC", "reason": "the limit is reached"}
UNKNOWN = {"result": "unknown", "errno": "EPERM", "kind": "not-permitted", "reason": "something confines the probe"}
SKIPPED = {"result": "skipped", "reason": "the running kernel does not know it now"}
NOT_TRIED = {"result": "not-tried", "reason": "an earlier step did not work"}


def test_pass() -> None:
    """Everything worked; the message counts the steps and names nothing else."""
    outcome = judge_sandbox_trial(make_sandbox())
    assert (outcome.status, outcome.reason) == ("pass", "")
    assert outcome.message == f"a sandbox with a user namespace can be set up: {len(_STEPS)} steps worked"
    assert [str(seen) for seen in outcome.evidence] == ["sandbox trial: took 23 ms"]


def test_pass_without_some() -> None:
    """What the kernel does not know now, and what only some Pods need, is named and is no warning."""
    outcome = judge_sandbox_trial(make_sandbox(veth=SKIPPED, writable_sysfs=FAILED))
    assert outcome.status == "pass"
    assert "writable sysfs, veth" in outcome.message
    assert [seen.source for seen in outcome.evidence][1:] == ["sandbox trial, writable sysfs", "sandbox trial, veth"]


@pytest.mark.parametrize("control", ["mknod", "block_file_system"])
def test_warn_when_a_control_is_allowed(control: str) -> None:
    """What must be refused was allowed: nothing that the trial says is trusted, whatever else happened."""
    outcome = judge_sandbox_trial(make_sandbox(**{control: {"result": "failed"}}, proc=FAILED, lo=UNKNOWN))
    assert outcome.status == "warn"
    assert "cannot be trusted" in outcome.message
    assert len(outcome.evidence) == 1
    assert outcome.remediation


def test_fail_names_the_step_and_its_error() -> None:
    """The first refused step explains, the others are named; unknown ones beside it are not dwelt upon."""
    outcome = judge_sandbox_trial(make_sandbox(proc=FAILED, hostname=FAILED, lo=UNKNOWN))
    assert (outcome.status, outcome.reason) == ("fail", "SandboxRefused")
    assert "proc (EPERM): each container has a /proc of its own PID namespace; also hostname" in outcome.message
    assert [seen.source for seen in outcome.evidence] == ["sandbox trial, proc", "sandbox trial, hostname"]
    assert "\n  mkdir -p /run/proc-clean && mount -t proc proc /run/proc-clean\n" in outcome.remediation
    assert outcome.remediation.endswith("findmnt -R -o TARGET,FSTYPE,OPTIONS /proc")


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(514_000, 1_028_000), (126_000, 252_000), (100, 65_536), (unread(), 65_536), (2_000_000_000, 2_147_483_647)],
)
def test_the_remedy_for_a_limit_can_be_pasted(limit: Any, wanted: int) -> None:
    """ENOSPC comes with the line that raises the limit, from what it is now."""
    trial = make_sandbox(net_namespace=ENOSPC, sysfs=NOT_TRIED, lo=NOT_TRIED, veth=NOT_TRIED)
    outcome = judge_sandbox_trial(trial, **{"user.max_net_namespaces": limit})
    assert (outcome.status, outcome.reason) == ("unknown", "NotTried")
    assert f"  echo 'user.max_net_namespaces = {wanted}' > /etc/sysctl.d/" in outcome.remediation


@pytest.mark.parametrize(("limit", "status"), [(0, "fail"), (1, "unknown"), (unread(), "unknown")])
def test_a_limit_stops_every_pod_only_where_it_is_0(limit: Any, status: str) -> None:
    """Any other one may be reached now, and not when the next Pod comes."""
    trial = make_sandbox(net_namespace=ENOSPC, sysfs=NOT_TRIED, lo=NOT_TRIED, veth=NOT_TRIED)
    assert judge_sandbox_trial(trial, **{"user.max_net_namespaces": limit}).status == status


def test_a_limit_that_is_reached_decides() -> None:
    """As for user namespaces: a limit of 0 is a failure, and one that is reached for now is unknown."""
    trial = make_sandbox(net_namespace=ENOSPC, sysfs=NOT_TRIED, lo=NOT_TRIED, veth=NOT_TRIED)
    facts = make_facts(sandbox=Reading("sandbox trial", trial))
    assert conclude(judge(facts)).verdict == "unknown"
    ran = HandlerTrial(handler="", result="runs", reason="it ran", step="x", mounts=("kubelet-root", "tmpfs"))
    proven = replace(facts, pod_trial=Reading("pod trial", PodTrialFacts(handlers=(ran,), seconds=0.3)))
    assert conclude(judge(proven)).verdict == "ready"


def test_too_many_mounts_for_now_are_no_failure_of_every_pod() -> None:
    """ENOSPC of a mount is fs.mount-max, which is reached or not from one moment to the next."""
    outcome = judge_sandbox_trial(make_sandbox(proc=FAILED | {"errno": "ENOSPC"}))
    assert (outcome.status, outcome.reason) == ("unknown", "NotTried")


@pytest.mark.parametrize(
    ("step", "facts", "status"),
    [
        ("veth", {}, "warn"),
        ("cgroup", {}, "fail"),
        ("cgroup", {"kernel": make_kernel(cgroup_version=1)}, "warn"),
        ("cgroup_namespace", {"kernel": make_kernel(cgroup_version=1)}, "warn"),
        ("cgroup_namespace", {"kernel": make_kernel(cgroup_version=unread())}, "warn"),
    ],
)
def test_warn_where_some_pods_can_do_without(step: str, facts: dict[str, Any], status: str) -> None:
    """Not every network plugin makes a veth pair, and with cgroup v1 runtimes make no cgroup namespace."""
    assert judge_on(make_sandbox(**{step: FAILED}), **facts).status == status


def test_crun_needs_no_sysfs_of_its_own() -> None:
    """It binds the node's /sys where the kernel refuses one; runc does not, and nobody binds /proc."""
    handlers = (make_handler(), make_handler(name="crun", oci_runtime="crun"))
    runtime = make_runtime(handlers=handlers)
    assert judge_on(make_sandbox(sysfs=FAILED), "crun", runtime=runtime).status == "warn"
    assert judge_on(make_sandbox(sysfs=FAILED | {"errno": "EINVAL"}), "crun", runtime=runtime).status == "fail"
    assert judge_on(make_sandbox(sysfs=FAILED), runtime=runtime).status == "fail"
    assert judge_on(make_sandbox(proc=FAILED), "crun", runtime=runtime).status == "fail"


EACCES = UNKNOWN | {"errno": "EACCES"}


@pytest.mark.parametrize(
    ("mode", "step", "expected"),
    [
        (0o700, EACCES, ("fail", "RootDirectoryClosed")),
        (0o750, EACCES, ("fail", "RootDirectoryClosed")),
        (0o755, EACCES, ("unknown", "NotPermitted")),
        (0o701, EACCES, ("unknown", "NotPermitted")),
        (unread("/"), EACCES, ("unknown", "NotPermitted")),
        (0o700, UNKNOWN, ("unknown", "NotPermitted")),
    ],
)
def test_a_root_directory_that_nobody_may_search_is_the_nodes_fault(
    mode: Any, step: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Seen with `chmod 0700 /`: each Pod with a user namespace failed, for runc and crun, and host Pods ran."""
    root_mode = mode if isinstance(mode, Reading) else Reading("/", mode)
    outcome = judge_on(make_sandbox(tmpfs=step, proc=NOT_TRIED), mounts=make_mounts(root_mode=root_mode))
    assert (outcome.status, outcome.reason) == expected


def test_the_root_directory_of_the_probes_own_container_says_nothing() -> None:
    """Where the node was not entered, / is another one."""
    trial, mounts = make_sandbox(tmpfs=EACCES, proc=NOT_TRIED), make_mounts(root_mode=0o700)
    assert judge_on(trial, mounts=mounts, probe=make_probe(entered=False)).status == "unknown"


def test_another_step_uses_what_the_check_declares() -> None:
    """Without anything special to say, the check's own remediation stands."""
    assert judge_sandbox_trial(make_sandbox(devpts={"result": "failed", "errno": "EINVAL"})).remediation == ""
    assert CHECKS[0].remediation


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("not-permitted", "NotPermitted"), ("timed-out", "TimedOut"), ("not-readable", "NotReadable")],
)
def test_unknown(kind: str, reason: str) -> None:
    """What the probe may not do, or what was cut short, says nothing of the node."""
    outcome = judge_sandbox_trial(make_sandbox(tmpfs=UNKNOWN | {"kind": kind}, proc=NOT_TRIED))
    assert (outcome.status, outcome.reason) == ("unknown", reason)
    assert "tmpfs (EPERM): something confines the probe" in outcome.message
    assert outcome.evidence[0].problem


def test_unknown_of_a_control() -> None:
    """A control without a result is not pass."""
    assert judge_sandbox_trial(make_sandbox(mknod=UNKNOWN)).status == "unknown"


def test_unknown_when_not_reached() -> None:
    """A required step that depends on a skipped one was not tried, which is not pass."""
    outcome = judge_sandbox_trial(make_sandbox(tmpfs=SKIPPED, proc=NOT_TRIED))
    assert (outcome.status, outcome.reason) == ("unknown", "NotTried")


@pytest.mark.parametrize("name", list(_STEPS))
@pytest.mark.parametrize("change", [FAILED, UNKNOWN, NOT_TRIED])
def test_only_informational_steps_may_go_wrong(name: str, change: dict[str, Any]) -> None:
    """No step but the informational ones can go wrong and leave a pass; a control never makes the check fail."""
    outcome = judge_sandbox_trial(make_sandbox(**{name.replace(" ", "_"): change}))
    role = _STEPS[name][0]
    assert (outcome.status == "pass") == (role == "informational")
    assert (outcome.status == "fail") == (role == "required" and change is FAILED and name != "veth")


def check(reading: Reading[SandboxFacts]) -> Outcome:
    return check_sandbox_trial(make_facts(sandbox=reading))


def test_unknown_without_a_trial() -> None:
    """When there was no trial at all, the reason is that of the reading."""
    outcome = check(Reading.without("sandbox trial", "timed-out", "no answer in time"))
    assert (outcome.status, outcome.reason) == ("unknown", "TimedOut")
    assert "no answer in time" in outcome.message


def test_the_trial_is_judged() -> None:
    """A trial that is there is judged as it is."""
    assert check(Reading("sandbox trial", make_sandbox())).status == "pass"


def test_it_never_gates() -> None:
    """A trial that did not come about leaves the verdict to others."""
    assert [(one.id, one.level, one.gating) for one in CHECKS] == [("sandbox-trial", "stateless", False)]
    assert CHECKS[0].reasons == ("SandboxRefused", "RootDirectoryClosed")
