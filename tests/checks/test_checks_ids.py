"""What is said of ID ranges, of the kubelet's next start, and of free slots."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from hypothesis import given as given_some
from hypothesis import settings
from hypothesis import strategies as st

from lab.factory import absent, make_attempt, make_facts, make_ids, make_kernel, make_kubelet, unread
from probe.checks.check import Check, Outcome
from probe.checks.ids import CHECKS, check_range, check_restart, check_slots
from probe.checks.remedies.ids import give_a_range, start_remediation
from probe.facts.ids.manager import Cause
from probe.facts.model import Account, DropIn, Mapping, PodUserns, SubIds, UsernsFile
from probe.host.program import Output
from probe.reading import Reading
from tests.extent import EXAMPLES

BLOCK = 65536
DEFAULT = "default range: 65535 slots of 65536 IDs, 65536 to 4294967295"
OWN = "range of the account kubelet: 110 slots of 65536 IDs, 65536 to 7274495"
PREFIX = "failed to run Kubelet: failed to create kubelet: create user namespace manager: "


def facts(ids: Any = None, kubelet: Any = None, **overrides: Any) -> Any:
    """The parts of a node's facts that these checks read."""
    return make_facts(
        ids=make_ids() if ids is None else ids,
        kubelet=make_kubelet() if kubelet is None else kubelet,
        **overrides,
    )


def with_range(first: int = BLOCK, count: int = 110 * BLOCK, **overrides: Any) -> Any:
    """An account with that range."""
    answer = Output(0, f"0: kubelet {first} {count}\n", "")
    fields = {"account": True, "local_account": True, "getsubids": "/usr/bin/getsubids"}
    return make_ids(**fields | {"subuids": answer, "subgids": answer} | overrides)


def pods(count: int, first: int = BLOCK, length: int = BLOCK) -> tuple[UsernsFile, ...]:
    """The files of that many Pods, in slots that follow each other."""
    maps = [(Mapping(first + slot * length, 0, length),) for slot in range(count)]
    return tuple(UsernsFile(pod=str(n), content=Reading("", PodUserns(each, each))) for n, each in enumerate(maps))


NO_SUBIDS = make_ids(account=True, local_account=True, getsubids="/usr/bin/getsubids", subuids=Output(1, "", ""))
HALF_READ = UsernsFile(pod="a", content=Reading.without("pods/a/userns", "not-readable", "is not a regular file"))
OFF = make_kubelet(version="1.35.0", gate=False, gate_configured=False)
LOCKED = make_kubelet(gate_configured=False)


def said(outcome: Outcome) -> str:
    return " | ".join((outcome.message, *map(str, outcome.evidence)))


@pytest.mark.parametrize(
    ("node", "status", "reason", "message"),
    [
        (facts(), "pass", "", f"{DEFAULT}, of which the kernel refuses the last one"),
        (facts(with_range()), "pass", "", OWN),
        (facts(kubelet=absent("processes")), "skipped", "", "no kubelet runs on this node"),
        (facts(kubelet=OFF), "skipped", "", "user namespaces are off in this kubelet"),
        (facts(kubelet=unread("processes")), "unknown", "NotPermitted", "the node's kubelet is unknown"),
        (facts(unread("/proc/800")), "unknown", "NotPermitted", "unknown"),
        (facts(make_ids(account=unread("getent", "timed-out"))), "unknown", "TimedOut", "which IDs the kubelet uses"),
        (facts(with_range(owners=unread())), "unknown", "NotPermitted", "whether the range overlaps others"),
        (facts(with_range(accounts=unread())), "unknown", "NotPermitted", "whether the range overlaps others"),
        (facts(kubelet=LOCKED), "unknown", "NotTried", "the range of IDs is unknown"),
        (facts(NO_SUBIDS), "warn", "", "the account kubelet exists"),
        (facts(with_range(count=BLOCK)), "warn", "", "it refuses the range of IDs it is given"),
        (
            facts(kubelet=make_kubelet(ids_per_pod=3 * BLOCK)),
            "warn",
            "",
            "it refuses the range of IDs it is given",
        ),
        (
            facts(with_range(2**32 - 10 * BLOCK)),
            "warn",
            "",
            "100 slots wrap around",
        ),
        (
            facts(with_range(2**32 - 110 * BLOCK)),
            "warn",
            "",
            "its last slot contains 4294967295",
        ),
        (
            facts(with_range(owners=(SubIds("alice", 100000, BLOCK, "/etc/subuid"),))),
            "warn",
            "",
            "it overlaps alice:100000:65536 of /etc/subuid",
        ),
        (
            facts(with_range(accounts=(Account("bob", 70000, "/etc/passwd"),))),
            "warn",
            "",
            "it overlaps bob (70000) of /etc/passwd",
        ),
        (
            facts(kubelet=make_kubelet(version="1.34.1", ids_per_pod=2 * BLOCK)),
            "warn",
            "",
            "kubelet 1.34.1 ignores idsPerPod: 131072, and gives each Pod 65536 IDs",
        ),
        (
            facts(
                make_ids(local_account=True, account=Reading("getent, which is not on the kubelet's PATH", False)),
                make_kubelet(version="1.38.0"),
            ),
            "warn",
            "",
            "does not find it (getent, which is not on the kubelet's PATH), so a range configured for it has no effect",
        ),
    ],
)
def test_the_range(node: Any, status: str, reason: str, message: str) -> None:
    outcome = check_range(node)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert message in outcome.message
    assert bool(outcome.remediation) == (status == "warn")


def test_a_default_range_that_holds_others_is_a_warning() -> None:
    """A Pod and the containers of such a user may get the same IDs; the remedy comes with getsubids and the account."""
    owners = tuple(SubIds(f"user{number}", 100000 + number * BLOCK, BLOCK, "/etc/subuid") for number in range(7))
    outcome = check_range(facts(make_ids(owners=owners)))
    assert outcome.status == "warn"
    assert outcome.remediation.index("uidmap") < outcome.remediation.index("useradd")
    assert "user0:100000:65536 of /etc/subuid" in said(outcome)
    assert "and 2 more" in said(outcome)


@pytest.mark.parametrize(
    "other",
    [
        {"owners": (SubIds("below", 0, BLOCK, "/etc/subuid"), SubIds("above", 111 * BLOCK, 1, "/etc/subgid"))},
        {"accounts": (Account("above", 111 * BLOCK, "/etc/group"),)},
    ],
)
def test_neighbours_do_not_overlap(other: dict[str, Any]) -> None:
    assert check_range(facts(with_range(**other))).status == "pass"


@pytest.mark.parametrize(
    ("node", "status", "reason", "message", "last_words"),
    [
        (facts(), "pass", "", " 0 Pods", ""),
        (facts(with_range(files=pods(3))), "pass", "", " 3 Pods", ""),
        (facts(kubelet=OFF), "pass", "", "without user namespaces it needs no IDs", ""),
        (facts(kubelet=absent("processes")), "skipped", "", "no kubelet runs on this node", ""),
        (facts(kubelet=unread("processes")), "unknown", "NotPermitted", "the node's kubelet is unknown", ""),
        (facts(unread("/proc/800")), "unknown", "NotPermitted", "unknown", ""),
        (facts(make_ids(files=(HALF_READ,))), "unknown", "NotReadable", "pods/a/userns: is not a regular file", ""),
        (
            facts(kubelet=make_kubelet(executable=Reading("exe", DropIn(path="/usr/bin/kubelet", newer=True)))),
            "unknown",
            "NotTried",
            "exe: was replaced since the kubelet started",
            "",
        ),
        (
            facts(kubelet=LOCKED),
            "warn",
            "",
            "the feature gate UserNamespacesSupport is locked, and set to false",
            "panic: failed to merge global and in-flight KubeletConfiguration while setting defaults, error: cannot set"
            " feature gate UserNamespacesSupport to false, feature is locked to true",
        ),
        (
            facts(kernel=make_kernel(cgroup_version=1)),
            "warn",
            "",
            "it refuses its configuration",
            "failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup"
            " v1. cgroup v1 support is unsupported and will be removed in a future release, path:"
            " &TypeMeta{Kind:,APIVersion:,}",
        ),
        (
            facts(NO_SUBIDS),
            "warn",
            "",
            "the account kubelet exists, and getsubids has no range for it",
            PREFIX + 'kubelet mappings: error retrieving additional uids for user "kubelet": exit status 1',
        ),
        (
            facts(with_range(files=pods(1, first=200 * BLOCK))),
            "warn",
            "",
            "does not fit 110 slots of 65536 IDs from 65536 on",
            PREFIX + 'record pod mappings for existing pod "0": id 13107200 is out of range',
        ),
        (
            facts(
                attempts=(make_attempt(role="kubelet-root", path="/var/lib/kubelet", fstype="fuse.x", device="0:5"),)
            ),
            "warn",
            "",
            "lies on FUSE (fuse.x)",
            'failed to get rootfs info: failed to get device for dir "/var/lib/kubelet": with major: 0, minor: 5: could'
            " not find device in cached partitions map",
        ),
    ],
)
def test_the_next_start(node: Any, status: str, reason: str, message: str, last_words: str) -> None:
    """A warning carries the kubelet's last words to the letter, and what prevents them."""
    outcome = check_restart(node)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert message in outcome.message
    if status == "warn":
        assert [each.value for each in outcome.evidence] == [last_words]
    assert bool(outcome.remediation) == (status == "warn")


@pytest.mark.parametrize(
    ("node", "status", "reason", "message"),
    [
        (facts(), "pass", "", "0 of 65535 slots for Pods with a user namespace are in use, 65535 are free"),
        (facts(with_range(files=pods(99))), "pass", "", "99 of 110 slots for Pods with a user namespace are in use"),
        (facts(with_range(files=pods(100))), "warn", "", "100 of 110 slots for Pods with a user namespace are in use"),
        (facts(with_range(files=pods(110))), "warn", "", "0 are free"),
        (facts(kubelet=absent("processes")), "skipped", "", "no kubelet runs on this node"),
        (facts(kubelet=unread("processes")), "unknown", "NotPermitted", "the node's kubelet is unknown"),
        (facts(kubelet=OFF), "skipped", "", "user namespaces are off"),
        (facts(make_ids(files=unread())), "unknown", "NotPermitted", "65535 slots"),
        (facts(make_ids(files=(HALF_READ,))), "unknown", "NotReadable", "pods/a/userns: is not a regular file"),
        (facts(NO_SUBIDS), "unknown", "NotTried", "the range of IDs is unknown"),
        (facts(with_range(files=pods(1, first=0))), "unknown", "NotTried", "how many of 110 slots are in use"),
        (facts(unread("/proc/800")), "unknown", "NotPermitted", "unknown"),
    ],
)
def test_the_slots(node: Any, status: str, reason: str, message: str) -> None:
    outcome = check_slots(node)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert message in outcome.message


@pytest.mark.parametrize("cause", get_args(Cause))
def test_every_failure_has_a_remedy_of_its_own(cause: Cause) -> None:
    assert start_remediation(cause, facts())
    assert start_remediation(cause, facts(unread(), unread()))


def given(text: str) -> tuple[int, int]:
    """First ID and count of the range that a remedy gives the account."""
    found = re.search(r"^  echo kubelet:(\d+):(\d+) [|]", text, re.MULTILINE)
    assert found, text
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("max_pods", "ids_per_pod", "first", "count"),
    [
        (110, BLOCK, 4194304, 110 * BLOCK),
        (250, BLOCK, 4194304, 250 * BLOCK),
        (110, 2 * BLOCK, 4194304, 220 * BLOCK),
        (110, 5 * BLOCK, 65 * BLOCK, 550 * BLOCK),
        (110, BLOCK + 1, 4194304, 110 * BLOCK),
        (-1, unread(), 4194304, 110 * BLOCK),
        (unread(), unread(), 4194304, 110 * BLOCK),
    ],
)
def test_the_range_given_fits_the_kubelet(max_pods: Any, ids_per_pod: Any, first: int, count: int) -> None:
    """Of maxPods slots of idsPerPod; defaults stand in for what is not known or would be refused, and are called so."""
    kubelet = make_kubelet(max_pods=max_pods, ids_per_pod=ids_per_pod)
    text = give_a_range(make_ids(), kubelet)
    assert given(text) == (first, count)
    assert ("default" in text) == (max_pods not in (110, 250) or ids_per_pod == BLOCK + 1)
    assert "Make sure before" not in text


@settings(max_examples=EXAMPLES // 2)
@given_some(
    st.integers(1, 500),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 1 << 26), st.integers(1, 1 << 24)), max_size=6),
    st.lists(st.integers(BLOCK, 1 << 26), max_size=4),
)
def test_the_range_given_is_accepted_and_free(
    max_pods: int, blocks: int, subids: list[tuple[int, int]], accounts: list[int]
) -> None:
    """The kubelet comes back with it, and nothing is left to warn of: the cure for an overlap is none itself."""
    kubelet = make_kubelet(max_pods=max_pods, ids_per_pod=blocks * BLOCK)
    others = {
        "owners": tuple(SubIds("someone", first, count, "/etc/subuid") for first, count in subids),
        "accounts": tuple(Account("someone", each, "/etc/passwd") for each in accounts),
    }
    first, count = given(give_a_range(make_ids(**others), kubelet))
    node = facts(with_range(first, count, **others), kubelet)
    assert check_range(node).status == check_restart(node).status == "pass"


def test_no_range_is_proposed_where_none_is_free() -> None:
    """All is somebody's, or as many slots do not fit into all IDs there are."""
    text = give_a_range(make_ids(owners=(SubIds("someone", 0, (1 << 32) - 1, "/etc/subuid"),)), make_kubelet())
    assert text.startswith("No range is free")
    assert "\n" not in text
    assert give_a_range(make_ids(), make_kubelet(max_pods=65536)).startswith("No range is free")


@pytest.mark.parametrize("ids", [None, make_ids(owners=unread()), make_ids(accounts=unread())])
def test_a_range_that_may_be_anothers_is_to_be_looked_at_first(ids: Any) -> None:
    """As in what the check declares, which knows no node."""
    assert "/etc/passwd" in give_a_range(ids, make_kubelet())


def test_a_missing_getsubids_costs_nobody_the_account() -> None:
    """To remove it is another way out, so it is in no line that is pasted."""
    text = start_remediation("getsubids", facts())
    assert not [line for line in text.split("\n") if line.startswith(" ") and "userdel" in line]
    assert "Remove the account kubelet" in text


@pytest.mark.parametrize(
    ("node", "command"),
    [
        (facts(), "  kubectl drain node-1 --ignore-daemonsets; ls /var/lib/kubelet/pods/*/userns"),
        (
            facts(kubelet=make_kubelet(root_dir="/data/my kubelet"), node_name=None),
            "  kubectl drain NODE --ignore-daemonsets; ls '/data/my kubelet'/pods/*/userns",
        ),
    ],
)
def test_what_pods_hold_is_looked_for_where_the_kubelet_keeps_it(node: Any, command: str) -> None:
    assert start_remediation("files", node).endswith(f"\n{command}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_none_of_them_gates(check: Check) -> None:
    """What happens at the next restart does not keep Pods from running now; a kubelet that admits no Pod does."""
    assert not check.gating
    assert check.reasons == (("NoPodAdmitted",) if check.id == "ids-slots" else ())


def test_their_order() -> None:
    assert [check.id for check in CHECKS] == ["ids-range", "ids-restart-forecast", "ids-slots"]


@pytest.mark.parametrize(("service", "asked"), [("sss", True), ("files", False), (unread("/etc/nsswitch.conf"), False)])
def test_a_directory_service_that_getsubids_asks_comes_first(service: Any, asked: bool) -> None:
    """With `subid: sss` getsubids reads no file, so a line in /etc/subuid changes nothing (podman issue 25041)."""
    reading = service if isinstance(service, Reading) else Reading("/etc/nsswitch.conf", service)
    text = give_a_range(make_ids(service=reading), make_kubelet())
    assert ("s/^subid:.*/subid: files/" in text) == asked
    assert "/etc/subuid" in text
