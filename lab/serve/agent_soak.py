"""`watch` that probes a real node without a pause, while clients scrape a `serve` that publishes what it finds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.real.leftovers import look
from lab.real.node import Node
from lab.serve import agent, soak
from lab.serve.agent import Watch
from lab.serve.api_double import ApiDouble
from lab.serve.serving import Serving, wait_for
from lab.serve.soak import Clients, Figures, Row, Sample

COVERED = "/proc/tty"
"""What is mounted there keeps the kernel from giving Pods a /proc: the node is not ready."""
WARM = 200
"""Scrapes between two publications, before anything is measured."""
TURN = 3
"""Probes after which the node becomes what it was not, so that there is something to publish."""


@dataclass
class AgentSoak:
    """One run, and what was not right in it."""

    node: Node
    watch: Watch
    server: Serving
    api: ApiDouble
    scrapes_per_probe: float
    problems: list[str] = field(default_factory=list)
    _probed: int = 0
    _covered: bool = False

    def run(
        self, probes: int, samples: int, progress: Callable[[float], None] = lambda share: None
    ) -> dict[str, list[Row]]:
        """What became of each figure, by the work that it is held against."""
        done = 0

        def work(count: int) -> None:
            nonlocal done
            self._work(count)
            done += count
            progress(done / probes)

        self._warm_up()
        found = soak.soak(work, self._look, probes, samples)
        wait_for(lambda: agent.published(self.api) == "ready")
        self.problems += [f"serve said: {line}" for line in self.server.unstructured]
        return {
            "probes": soak.judge(_only(found, ("watch", "node"), 1)),
            "scrapes": soak.judge(_only(found, ("serve",), self.scrapes_per_probe)),
        }

    def _warm_up(self) -> None:
        """Everything happens twice: what is imported, compiled or cached at first is there afterwards."""
        for ready in (False, True) * 2:
            self._probe(ready=ready)
            Clients(self.server).ask(WARM)
            wait_for(lambda: agent.published(self.api) == ("ready" if ready else "not-ready"))  # noqa: B023

    def _work(self, probes: int) -> None:
        """So many probes and the scrapes that go with them, side by side; the node is ready afterwards."""
        clients = Clients(self.server)
        scraping = threading.Thread(target=clients.ask, args=(round(probes * self.scrapes_per_probe),))
        scraping.start()
        try:
            for number in range(probes):
                self._probed += 1
                self._probe(ready=self._probed // TURN % 2 == 0 or number == probes - 1)
        finally:
            self._cover(False)
            scraping.join()
        self.problems += clients.refused

    def _probe(self, *, ready: bool) -> None:
        self._cover(not ready)
        self.watch.probe()
        verdict = json.loads(self.watch.report.read_text())["verdict"]
        if verdict != ("ready" if ready else "not-ready"):
            self.problems.append(f"the node is {'' if ready else 'not '}ready, and the probe says {verdict}")

    def _cover(self, covered: bool) -> None:
        if covered != self._covered:
            self.node.run(*(("mount", "-t", "tmpfs", "cover") if covered else ("umount",)), COVERED)
            self._covered = covered

    def _look(self) -> Figures:
        return {
            **soak.figures_of_process(self.watch.pid, "watch"),
            **soak.figures_of_process(self.server.process.pid, "serve"),
            **{f"node: {name}": len(found) for name, found in look(self.node).items()},
        }


def _only(samples: list[Sample], owners: tuple[str, ...], factor: float) -> list[Sample]:
    """The figures of these owners, with the work counted *factor* times."""
    return [
        Sample(one.work * factor, {name: value for name, value in one.figures.items() if name.startswith(owners)})
        for one in samples
    ]
