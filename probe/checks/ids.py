"""Checks of the IDs that Pods get, and of the kubelet's next start."""

from __future__ import annotations

from functools import lru_cache

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.ids import admit_pods, give_a_range, make_an_account, start_remediation
from probe.checks.runtime.names import without_kubelet
from probe.facts.defaults import ALL_IDS
from probe.facts.ids.forecast import Forecast, forecast
from probe.facts.ids.manager import Cause, IdPool, ignores_ids_per_pod
from probe.facts.ids.range import ACCOUNT
from probe.facts.kubelet.versions import GATE, parse_release
from probe.facts.model import Facts, IdFacts, KubeletFacts
from probe.facts.tried import attempt_of
from probe.finding import Evidence
from probe.reading import Reading

_EXAMPLES = 5  # maximum number of overlaps in a message

_ABOUT_IDS: tuple[Cause, ...] = ("ids-per-pod", "getsubids", "subids", "range")


def check_range(facts: Facts) -> Outcome:
    """Pass for a range of its own and for the default one; a warning for overlaps and settings without effect."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return without_kubelet(facts)
    return judge_range(facts, kubelet, _expect(facts, kubelet))


def check_restart(facts: Facts) -> Outcome:
    """A running kubelet proves nothing about its next start, which reads files and ranges again."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return without_kubelet(facts)
    return judge_restart(facts, _expect(facts, kubelet))


def check_slots(facts: Facts) -> Outcome:
    """The kubelet starts only with a slot for each of maxPods, but ended Pods keep their slots for a while."""
    kubelet = facts.kubelet.value
    if kubelet is None:
        return without_kubelet(facts)
    if kubelet.max_pods.value == 0:
        message = f"the kubelet admits no Pod at all: {kubelet.max_pods.source} is 0"
        return Outcome.fail("NoPodAdmitted", message, kubelet.max_pods, remediation=admit_pods(facts))
    return judge_slots(facts, _expect(facts, kubelet))


def judge_range(facts: Facts, kubelet: KubeletFacts, expected: Forecast) -> Outcome:
    """Outcome for the range that the kubelet will use."""
    ids = facts.ids
    if ids.value is None:
        return Outcome.not_read("which range of IDs the kubelet uses", ids)
    pool = expected.pool
    if pool is None:
        return _refused_range(facts, expected) or _no_pool(facts, expected)
    seen = [Evidence("range of IDs", _describe(pool)), _account_evidence(ids.value)]
    faults = _faults(pool, ids.value, kubelet)
    collisions = _collisions(pool, ids.value)
    if collisions and pool.configured:
        faults.append((f"it overlaps {_some(collisions)}", give_a_range(ids.value, kubelet)))
    if faults:
        message = f"{_describe(pool)}: {'; '.join(fault for fault, _ in faults)}"
        return Outcome.warn(message, *seen, remediation=faults[0][1])
    for unread in (ids.value.owners, ids.value.accounts):
        if unread.value is None:
            return Outcome.not_read("whether the range overlaps others", unread, *seen)
    remarks = ""
    if pool.end == ALL_IDS:
        remarks = ", of which the kernel refuses the last one (4294967295 is not a valid ID)"
    if collisions:
        seen.append(Evidence("within the default range", _some(collisions)))
        message = f"{_describe(pool)}{remarks}: Pods and {_some(collisions)} may get the same IDs"
        return Outcome.warn(message, *seen, remediation=make_an_account(facts, ids.value, kubelet))
    return Outcome.passed(_describe(pool) + remarks, *seen)


def judge_restart(facts: Facts, expected: Forecast) -> Outcome:
    """Outcome for the next start of the kubelet."""
    if expected.outcome == "fails" and expected.cause is not None:
        return Outcome.warn(
            f"the next restart of the kubelet will fail: {expected.reason}",
            Evidence("log message at the next start", expected.message),
            remediation=start_remediation(expected.cause, facts),
        )
    if expected.outcome == "unknown":
        message = f"unknown whether the kubelet will start again: {expected.reason}"
        return Outcome.unknown(expected.kind or "not-readable", message, _doubt(expected))
    if expected.pool is None:
        message = "the kubelet will start again: without user namespaces it needs no IDs"
        return Outcome.passed(message, *_gate_evidence(facts))
    held = "" if expected.used is None else f", with the IDs of {expected.used} Pods that have a user namespace"
    return Outcome.passed(f"the kubelet will start again{held}", Evidence("range of IDs", _describe(expected.pool)))


def judge_slots(facts: Facts, expected: Forecast) -> Outcome:
    """Outcome for the number of free slots."""
    pool, used = expected.pool, expected.used
    if pool is None:
        return _no_pool(facts, expected)
    if used is None:
        message = f"unknown how many of {pool.slots} slots are in use: {expected.reason}"
        return Outcome.unknown(expected.kind or "not-tried", message, _doubt(expected))
    free = pool.slots - used
    message = f"{used} of {pool.slots} slots for Pods with a user namespace are in use, {free} are free"
    if free * 10 < pool.slots:
        return Outcome.warn(message, Evidence("range of IDs", _describe(pool)))
    return Outcome.passed(message, Evidence("range of IDs", _describe(pool)))


def expect(facts: Facts) -> Forecast | None:
    """Forecast for the next start of this node's kubelet; None if no kubelet is known."""
    return _expect(facts, facts.kubelet.value) if facts.kubelet.value else None


def _expect(facts: Facts, kubelet: KubeletFacts) -> Forecast:
    root = attempt_of(facts.attempts, "kubelet-root")
    return _forecast(facts.ids, kubelet, facts.kernel.cgroup_version, root)


_forecast = lru_cache(maxsize=1)(forecast)
"""Cached, since three checks and the Report use the same forecast."""


def _refused_range(facts: Facts, expected: Forecast) -> Outcome | None:
    if expected.outcome != "fails" or expected.cause not in _ABOUT_IDS:
        return None
    return Outcome.warn(
        f"the next restart of the kubelet will fail, because it rejects its range of IDs: {expected.reason}",
        Evidence("log message at the next start", expected.message),
        remediation=start_remediation(expected.cause, facts),
    )


def _no_pool(facts: Facts, expected: Forecast) -> Outcome:
    if expected.outcome == "fails":
        message = (
            "the range of IDs is unknown: the next start of the kubelet will fail before it reads the range: "
            f"{expected.reason}"
        )
        return Outcome.unknown("not-tried", message, Evidence("next start of the kubelet", expected.message))
    if expected.outcome == "unknown":
        message = f"unknown which IDs the kubelet uses: {expected.reason}"
        return Outcome.unknown(expected.kind or "not-readable", message, _doubt(expected))
    message = "user namespaces are off in this kubelet, so it assigns no IDs"
    return Outcome.skipped(message, *_gate_evidence(facts))


def _doubt(expected: Forecast) -> Evidence:
    return Evidence("next start of the kubelet", problem=expected.reason)


def _gate_evidence(facts: Facts) -> tuple[Reading[str], ...]:
    kubelet = facts.kubelet.value
    return (kubelet.version, kubelet.gate.parse(lambda on: f"{GATE} is {'on' if on else 'off'}")) if kubelet else ()


def _faults(pool: IdPool, ids: IdFacts, kubelet: KubeletFacts) -> list[tuple[str, str]]:
    """(fault, remediation) of the range itself and of settings without effect."""
    found = []
    if pool.end > ALL_IDS:
        wrapped = (pool.end - ALL_IDS + pool.ids_per_pod - 1) // pool.ids_per_pod
        fault = f"it extends beyond 4294967295, so {wrapped} slots wrap around to the node's own IDs from 0 on"
        found.append((fault, give_a_range(ids, kubelet)))
    elif pool.end == ALL_IDS and pool.configured:
        fault = "its last slot contains 4294967295, which is not a valid ID: the kernel refuses the Pod that gets it"
        found.append((fault, give_a_range(ids, kubelet)))
    release, configured = kubelet.version.parse(parse_release).value, kubelet.ids_per_pod.value
    if release is not None and configured is not None and ignores_ids_per_pod(configured, ids, release):
        fault = f"kubelet {kubelet.version.value} ignores idsPerPod: {configured}, and gives each Pod 65536 IDs"
        remediation = "Upgrade the kubelet to 1.35 or newer, on the drained node: Pods started before have 65536 IDs."
        found.append((fault, remediation))
    if ids.local_account.value and not pool.configured:
        fault = f"the account kubelet exists, but the kubelet does not find it ({ids.account.source})"
        remediation = (
            "Drain the node, install getent on the kubelet's PATH, and restart the kubelet. Remove the account"
            " instead only if it was not created to give Pods a range.\n"
            "  apt-get install -y libc-bin || dnf install -y glibc-common"
        )
        found.append((f"{fault}, so a range configured for it has no effect", remediation))
    return found


def _collisions(pool: IdPool, ids: IdFacts) -> list[str]:
    """Other owners of IDs in the range."""
    subids = [
        f"{each.owner}:{each.first}:{each.count} of {each.file}"
        for each in ids.owners.value or ()
        if each.first < pool.end and pool.first < each.first + each.count
    ]
    accounts = [
        f"{each.name} ({each.id}) of {each.file}"
        for each in ids.accounts.value or ()
        if pool.first <= each.id < pool.end
    ]
    return subids + accounts


def _describe(pool: IdPool) -> str:
    kind = f"range of the account {ACCOUNT}" if pool.configured else "default range"
    return f"{kind}: {pool.slots} slots of {pool.ids_per_pod} IDs, {pool.first} to {pool.end - 1}"


def _account_evidence(ids: IdFacts) -> Evidence:
    return Evidence(f"account {ACCOUNT}: {ids.account.source}", "found" if ids.account.value else "not found")


def _some(found: list[str]) -> str:
    more = f" and {len(found) - _EXAMPLES} more" if len(found) > _EXAMPLES else ""
    return ", ".join(found[:_EXAMPLES]) + more


_DOCUMENTATION = "kubernetes.io, User Namespaces: set up a node; subuid(5), getsubids(1)"

CHECKS = (
    Check(
        id="ids-range",
        level="stateless",
        gating=False,
        question="Are the IDs that the kubelet gives to Pods used by no one else?",
        why="Users and Pods that share IDs are not isolated from each other: a Pod's root may own another user's files"
        " or processes. A range that wraps around gives a Pod the node's own IDs.",
        remediation=GENERIC["ids-range"],
        documentation=_DOCUMENTATION,
        check=check_range,
    ),
    Check(
        id="ids-restart-forecast",
        level="stateless",
        gating=False,
        question="Will the kubelet start again?",
        why="The kubelet reads its account, its range and the IDs of its Pods only when it starts, and exits if they"
        " conflict. A change made months ago can therefore take the node down at the next reboot.",
        remediation=GENERIC["ids-restart-forecast"],
        documentation=_DOCUMENTATION,
        check=check_restart,
    ),
    Check(
        id="ids-slots",
        level="stateless",
        gating=False,
        question="Are enough ID ranges left for further Pods?",
        why="Each Pod with a user namespace takes a slot of the range, until its directory is cleaned up. Without a"
        " free one it does not start: could not find an empty slot to allocate a user namespace.",
        reasons=("NoPodAdmitted",),
        remediation=GENERIC["ids-slots"],
        documentation=_DOCUMENTATION,
        check=check_slots,
    ),
)
