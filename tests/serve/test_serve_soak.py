"""Nothing grows, however long it runs; and what does grow is seen. scripts/soak is the same for longer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.faults import api_world
from lab.faults.kills import kill
from lab.real.node import Node
from lab.serve import soak
from lab.serve.agent import publishing, watching
from lab.serve.agent_soak import AgentSoak
from lab.serve.soak import MEMORY, Clients, Sample, figures_of_process, judge
from tests.extent import with_all

LEAKS = {
    "nothing": "",
    # Not from the heap: compiling modules, where no byte code lies, leaves so much room there that 2 MB would not show.
    MEMORY: "kept.append(mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)); kept[-1].write(b'1')",
    "descriptors": "kept.append(os.open('/dev/null', os.O_RDONLY))",
    "threads": "threading.Thread(target=signal.pause, daemon=True).start()",
    "children": "subprocess.Popen(['sleep', 'infinity'])",
    "zombies": "kept.append(os.posix_spawn('/bin/true', ['true'], {}))",
}
# Does as many pieces of work as each line says.
LEAKING = """
import mmap, os, signal, subprocess, sys, threading
kept, do = [], compile(sys.argv[1], "leak", "exec")
while line := sys.stdin.readline():
    for _ in range(int(line)):
        bytearray(4000)
        exec(do)
    print("done", flush=True)
"""


@contextmanager
def leaking(what: str) -> Iterator[tuple[int, Callable[[int], None]]]:
    """A process that leaks this with each piece of work: its pid, and how to have it work."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEAKING, LEAKS[what]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def work(times: int) -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{times}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    try:
        yield process.pid, work
    finally:
        for pid in reversed(soak.descendants(process.pid)):
            kill(pid)
        process.communicate()


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_seen(what: str) -> None:
    """Exactly what grows is said to grow; what else a leak takes may show as well."""
    expected = {"nothing": set(), "zombies": {"zombies", "children"}}.get(what, {what})
    total = 400 if what in ("nothing", MEMORY) else 20
    with leaking(what) as (pid, work):
        work(total // 4)  # to be warm
        rows = judge(soak.soak(work, lambda: figures_of_process(pid, "it"), total, samples=10))
    grown = {row.name.removeprefix("it: ") for row in rows if row.grows}
    assert grown - {MEMORY} == expected - {MEMORY}
    if what in ("nothing", MEMORY):
        assert grown == expected


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([5] * 12, False),
        ([5, 9, 5, 5, 5, 8, 5, 5, 5, 9, 5, 5], False),  # somebody looked at a busy moment
        ([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], True),
        ([5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6], True),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0], False),
    ],
)
def test_how_counts_are_judged(values: list[float], grows: bool) -> None:
    samples = [Sample(10 * number, {"mounts": value}) for number, value in enumerate(values)]
    assert judge(samples)[0].grows is grows


@pytest.mark.parametrize(
    ("first", "each", "grows"),
    [
        (40_000, 0.0, False),
        (40_000, 0.02, False),  # 20 KiB for a thousand
        (40_000, 0.05, True),
        (4_000_000, 0.05, False),  # less than so large a process moves by itself
    ],
)
def test_how_memory_is_judged(first: float, each: float, grows: bool) -> None:
    """With steps as an allocator makes them."""
    work = [number * 4000 for number in range(21)]
    samples = [Sample(done, {f"it: {MEMORY}": first + each * done // 512 * 512}) for done in work]
    assert judge(samples)[0].grows is grows


@pytest.mark.real
@pytest.mark.timeout(300)
def test_watch_and_serve(node: Node) -> None:
    """Forty probes of a node that becomes ready and not ready in turn, while clients scrape what is published of it."""
    with node.kubelet(), watching(node) as watch, publishing(node, watch.report) as (server, api):
        run = AgentSoak(node, watch, server, api, scrapes_per_probe=25)
        found = run.run(probes=40, samples=10)
        assert api.store.events
    assert run.problems == []
    assert [row for rows in found.values() for row in rows if row.grows] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@with_all
def test_serve_alone(tmp_path: Path) -> None:
    """Three thousand scrapes, and forty reports that say something else than the one before, each of them published.

    The same process has a thousand scrapes of forty reports beside `watch`, and tests/deploy/test_limits.py measures
    its memory in the image.
    """
    scrapes, rounds = 3000, 40
    with api_world.running(tmp_path) as world:
        clients = Clients(world.serve)

        def work(scrapes: int) -> None:
            for verdict in ("ready", "not-ready") * 2:
                world.probe(verdict)
                world.settle()
                clients.ask(scrapes // 4)

        # To be warm: the heap of a process that publishes grows for hundreds of reports, ever less, and then no more.
        for _ in range(rounds):
            work(scrapes // 25)
        samples = soak.soak(work, lambda: figures_of_process(world.serve.process.pid, "serve"), scrapes, samples=10)
        # Annotations and label, condition; of each change an Event, which has the name of an equal one in that second.
        reports = 4 * (rounds + 10)
        assert world.api.store.writes >= reports * 2 + len(world.api.store.events)
        assert sum(request.method == "POST" for request in world.api.requests) >= reports - 1
    assert (clients.refused, world.serve.unstructured) == ([], [])
    assert [row for row in judge(samples) if row.grows] == []
