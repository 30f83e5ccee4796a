"""When the trial of an earlier probe stands for another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    make_attempts,
    make_daemon,
    make_facts,
    make_handler,
    make_kernel,
    make_kubelet,
    make_kubelet_around,
    make_place,
    make_refusal,
    make_runtime,
    make_surroundings,
    unread,
)
from probe.facts.model import Facts
from probe.facts.trials.kept import KEPT_FOR, KeptTrial, identity_of, keep
from probe.facts.tried import HandlerTrial, PodTrialFacts
from probe.host.look import UNSEEN
from probe.reading import Reading

SOURCES = [("file", "/usr/bin/runc", "1 2 3"), ("place", "/proc/700/root/opt/cni/bin/bridge", "4")]
RAN = HandlerTrial(handler="", result="runs", reason="", mounts=("kubelet-root",))


def ample(path: str, **changes: Any) -> Any:
    return make_place(path, **{"size": 1 << 40, "free_bytes": 1 << 36, "inodes": 10**8, "free_inodes": 10**7} | changes)


def around(**surroundings: Any) -> Facts:
    """A node with much room, and these surroundings."""
    names = ("state_dir", "root_dir", "temporary", "cni_cache")
    made = make_surroundings(**{name: ample(f"/{name}") for name in names} | surroundings)
    kubelet = make_kubelet_around(root_dir=ample("/root"), logs_dir=ample("/logs"))
    return make_facts(runtime=make_runtime(surroundings=made), kubelet_around=kubelet)


WELL = around()


def with_handler(name: str) -> Facts:
    handlers = Reading("CRI", (make_handler(name=name),))
    return replace(WELL, runtime=WELL.runtime.parse(lambda runtime: replace(runtime, handlers=handlers)))


def trial(*handlers: HandlerTrial, **changes: Any) -> Facts:
    found = PodTrialFacts(handlers=handlers or (RAN,), seconds=0.3, identity="id")
    return make_facts(pod_trial=Reading("pod trial", replace(found, **changes)))


@pytest.mark.parametrize(
    "facts",
    [
        around(root_dir=ample("/root_dir", free_bytes=1 << 30, free_inodes=10**6)),
        replace(WELL, attempts=(*WELL.attempts, make_refusal(role="volume"))),
        replace(WELL, mounts=WELL.mounts.parse(lambda mounts: replace(mounts, count=7))),
    ],
    ids=["room", "volumes", "mounts"],
)
def test_what_each_pod_changes_says_nothing(facts: Facts) -> None:
    """A busy node stays the same node."""
    assert facts != WELL
    assert identity_of(facts, SOURCES) == identity_of(WELL, SOURCES) != ""


@pytest.mark.parametrize(
    "with_left",
    [
        lambda number: around(daemon=make_daemon(pids_left=number)),
        lambda number: around(files_left=Reading("/proc/sys/fs/file-nr", number)),
    ],
    ids=["processes", "files"],
)
def test_what_is_left_says_nothing(with_left: Callable[[int], Facts]) -> None:
    """Unless it is little."""
    one, other, few = map(with_left, (9000, 5000, 100))
    assert identity_of(one, SOURCES) == identity_of(other, SOURCES) != ""
    assert identity_of(few, SOURCES) == ""


@pytest.mark.parametrize(
    ("facts", "sources"),
    [
        (around(devices=()), SOURCES),
        (around(daemon=make_daemon(umask=0o077)), SOURCES),
        (replace(WELL, kernel=make_kernel(release="7.0")), SOURCES),
        (replace(WELL, kubelet=Reading("", make_kubelet(root_dir="/data"))), SOURCES),
        (replace(WELL, attempts=make_attempts(tmpfs=make_refusal(role="tmpfs"))), SOURCES),
        (with_handler("other"), SOURCES),
        (WELL, [("file", "/usr/bin/runc", "1 2 4"), SOURCES[1]]),
        (WELL, SOURCES[:1]),
    ],
)
def test_what_a_pod_meets_is_another_node(facts: Facts, sources: Any) -> None:
    """The runtime, its configuration, its programs, its surroundings, the kernel, and what was tried."""
    assert identity_of(facts, sources) not in ("", identity_of(WELL, SOURCES))


def test_kernel_files_are_known_by_facts_alone() -> None:
    """Most of them differ from one instant to the next."""
    assert identity_of(WELL, [*SOURCES, ("content", "/proc/meminfo", "1"), ("file", "/sys/x", "2")]) == identity_of(
        WELL, SOURCES
    )


@pytest.mark.parametrize(
    "facts",
    [
        around(root_dir=ample("/root_dir", free_bytes=1 << 20)),
        around(cni_cache=ample("/cni_cache", free_inodes=10)),
        around(folders=(ample("/state"), ample("/run/containerd/s", free_inodes=10))),
        replace(WELL, kubelet_around=Reading("kubelet", make_kubelet_around(pods_dir=ample("/pods", free_bytes=1)))),
        around(daemon=make_daemon(pids_left=100)),
        replace(WELL, runtime=unread()),
        replace(WELL, kubelet=unread()),
        replace(WELL, mounts=unread()),
    ],
)
def test_where_something_is_scarce_or_unknown_each_probe_tries(facts: Facts) -> None:
    """The next Pod may be the one that finds nothing left."""
    assert identity_of(facts, SOURCES) == ""


def test_what_cannot_be_seen_is_another_node_each_time() -> None:
    """Its look is always the same, whatever changes; a kernel file is known by facts."""
    for kind in ("file", "link", "place"):
        assert identity_of(WELL, [*SOURCES, (kind, "/proc/700/root/etc/cni/net.d/10-x.conflist", UNSEEN)]) == ""
    assert identity_of(WELL, [*SOURCES, ("content", "/proc/meminfo", UNSEEN)]) == identity_of(WELL, SOURCES) != ""


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        (trial(), True),
        (trial(RAN, HandlerTrial(handler="crun", result="refused", reason="")), True),
        (trial(RAN, HandlerTrial(handler="crun", result="unknown", reason="")), False),
        (trial(replace(RAN, result="refused")), False),
        (trial(replace(RAN, handler="crun")), False),
        (trial(left="busy"), False),
        (trial(identity=""), False),
        (make_facts(), False),
        (make_facts(pod_trial=unread("pod trial")), False),
    ],
)
def test_only_a_success_is_kept(facts: Facts, kept: bool) -> None:
    """A node that was refused may have been mended in a way that nobody can see."""
    assert (keep(facts, None) is not None) == kept


def test_a_kept_trial_stays_as_old_as_it_is() -> None:
    """Else it would never end."""
    before = KeptTrial(at=1.0, trial=PodTrialFacts(handlers=(RAN,), seconds=0.3, identity="id"))
    assert keep(trial(kept=True), before) is before
    after = keep(trial(), before)
    assert after
    assert after.at > 1.0


@pytest.mark.parametrize(
    ("identity", "age", "found"),
    [("id", 1.0, True), ("id", KEPT_FOR + 1, False), ("id", -60.0, False), ("other", 1.0, False), ("", 1.0, False)],
)
def test_a_kept_trial_is_taken_for_a_while(identity: str, age: float, found: bool) -> None:
    """Of the same node only, and of this boot's clock."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    kept = KeptTrial(at=now - age, trial=PodTrialFacts(handlers=(RAN,), seconds=0.3, identity="id"))
    reading = kept.of(identity)
    assert (reading is not None) == found
    assert reading is None or (reading.value and reading.value.kept)
