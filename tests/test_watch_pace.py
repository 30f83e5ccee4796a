"""When `watch` probes, in simulated time: the clock and the looks are the test's."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from probe.host.look import digest, significant
from probe.settings import GRACE, Settings
from probe.watch import pace
from probe.watch.pace import Pace, next_probe
from probe.watch.rounds import Rounds, watch
from probe.watch.supervisor import Supervisor

DAY = 86400.0
TOOK = 0.5
"""Seconds of a simulated probe."""
NODE = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw shared:2 - proc proc rw\n"
POD = (
    b"%d 22 0:%d / /var/lib/kubelet/pods/8d5f0c4e-1f2a-4b7e-9d51-%012x/volumes/p/t rw - tmpfs t rw\n"
    b"%d 22 0:%d / /run/containerd/io.containerd.runtime.v2.task/k8s.io/%064x/rootfs rw - overlay overlay rw\n"
    b"%d 22 0:4 net:[%d] /run/netns/cni-%x rw shared:9 - nsfs nsfs rw\n"
)


class Day:
    """A day of `watch`: plays its supervisor, its clock and its rounds. *look* tells what a look sees at a time."""

    def __init__(
        self, look: Callable[[float], object], *, watched: bool = True, passing: bool = False, until: float = DAY
    ) -> None:
        self.look_at, self.watched, self.passing, self.until = look, watched, passing, until
        self.now_is = 0.0
        self.now = False
        self.probes: list[float] = []
        self.looks: list[float] = []
        self._seen: object = None

    @property
    def stop(self) -> bool:
        return self.now_is >= self.until

    def wait(self, _files: list[int], deadline: float) -> bool:
        self.now_is = max(self.now_is, min(deadline, self.until))
        return False

    def probe(self) -> bool:
        self.probes.append(self.now_is)
        self._seen = self.look_at(self.now_is)
        self.now_is += TOOK
        return self.watched

    def may_pass(self) -> bool:
        return self.passing

    def change(self, deadline: float) -> str:
        while self.now_is < min(deadline, self.until):
            self.now_is = min(self.now_is + pace.LOOK, deadline)
            self.looks.append(self.now_is)
            if self.look_at(self.now_is) != self._seen:
                return "it"
        return ""

    def pass_by(self, interval: float = 1800) -> Day:
        watch(cast(Rounds, self), cast(Supervisor, self), interval, lambda: self.now_is)
        return self


def churning(moment: float) -> str:
    """The look at a mount table of 60 Pods, of which another one is replaced every 20 seconds."""
    first = int(moment / 20)
    pods = [POD % (*[n] * 7, n, n) for n in range(first + 100, first + 160)]
    return digest(significant(NODE + b"".join(pods)))


def test_a_quiet_day_has_a_probe_every_half_hour() -> None:
    """And a look every 15 seconds."""
    day = Day(lambda _: 0).pass_by()
    assert 44 <= len(day.probes) <= 54
    assert 5600 <= len(day.looks) <= 5900


@pytest.mark.slow
def test_pods_that_come_and_go_make_no_probe() -> None:
    """Their mounts come and go, and decide nothing."""
    assert len(set(map(churning, range(0, 2000, 20)))) == 1
    assert 11 <= len(Day(churning, until=DAY / 4).pass_by().probes) <= 14


def test_a_file_system_of_a_new_kind_makes_one() -> None:
    """Whether volumes on it work is another question than the ones before."""
    nfs = NODE + (POD % (1, 1, 1, 1, 1, 1, 1, 1, 1)).replace(b"tmpfs", b"nfs4")
    assert significant(nfs) != significant(NODE + POD % (1, 1, 1, 1, 1, 1, 1, 1, 1))


def test_a_failure_that_may_pass_is_probed_again_soon() -> None:
    """A runtime may find its network ready before or after any file changes; looks go on, and hurry the next probe."""
    day = Day(lambda _: 0, passing=True).pass_by()
    assert DAY / pace.RENEWAL * 0.85 <= len(day.probes) <= pace.PER_DAY * 1.02
    assert len(day.looks) >= 5000
    assert Day(lambda now: now > 100, passing=True, until=200).pass_by().probes[1] <= 100 + pace.LOOK


@pytest.mark.parametrize("seconds", [1, 10, 20, 100, 400])
def test_a_node_that_never_rests_is_probed_no_more_than_before(seconds: int) -> None:
    """288 probes a day were those of an interval of five minutes; each change waits no longer than that."""
    day = Day(lambda now: int(now / seconds)).pass_by()
    assert len(day.probes) <= pace.PER_DAY
    gaps = [after - before for before, after in zip(day.probes, day.probes[1:], strict=False)]
    assert min(gaps) >= pace.SPACING
    assert max(gaps) < 2 * pace.RENEWAL + seconds


def test_a_change_is_probed_at_the_next_look() -> None:
    """Nobody has to wait for the interval to end, nor for more than a look."""
    day = Day(lambda now: now > 700, until=1000).pass_by()
    assert len(day.probes) == 2
    assert 700 < day.probes[1] <= 700 + pace.LOOK


def test_a_change_right_after_a_probe_waits_for_a_minute_to_pass() -> None:
    """And then it is probed, though the looks see nothing new meanwhile."""
    assert Day(lambda now: now > 5, until=100).pass_by().probes == [0, pace.SPACING]


def test_where_looks_tell_nothing_the_pace_is_the_old_one() -> None:
    """Each five minutes, and not one look."""
    day = Day(lambda _: 0, watched=False).pass_by()
    assert 280 <= len(day.probes) <= 296
    assert day.looks == []


def test_a_short_interval_is_kept() -> None:
    """Whoever asks for a probe each minute gets it."""
    assert 1390 <= len(Day(lambda _: 0).pass_by(60).probes) <= 1490


@pytest.mark.parametrize("seconds", [20, 300, 600])
def test_a_report_lives_until_the_next(seconds: int) -> None:
    """Also where each probe uses all of its budget, and the interval is no longer than that."""
    length = timedelta(seconds=seconds)
    lifetime = Settings(interval=length, budget=length).lifetime.total_seconds()
    for chance in (0, 0.5, 1):
        took = seconds + GRACE.total_seconds()
        assert next_probe(0, took, seconds, chance) + took <= lifetime
        later = next_probe(0, seconds + 1, seconds, chance)
        assert later + seconds + 1 <= lifetime


def test_the_allowance_comes_back() -> None:
    """After a storm of changes and a quiet while, changes are probed at once again."""
    storm = random.Random(1)
    day = Day(lambda now: storm.random() if now < 20_000 else now // 30_000, until=31_000).pass_by()
    assert 30_000 < day.probes[-1] < 30_000 + pace.LOOK + TOOK + 1


def test_hurry_never_delays() -> None:
    """What is due stays due."""
    one: Any = Pace(300, 0)
    one.probed(0, 1, watched=True, chance=0.5)
    due = one.due
    one.hurry()
    assert pace.SPACING <= one.due < due
