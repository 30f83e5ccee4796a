"""`userns-probe serve` as it is shipped, in more haste: shorter pauses, and its service account elsewhere.

    python -m lab.faults.hasty_serve DIRECTORY-OF-THE-SERVICE-ACCOUNT [OPTION OF serve]...

Everything else is the command's own: its options, threads, sockets and logs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from probe.cli import agent, exporter
from probe.cli import start as cli
from probe.publish.api.interface import Access
from probe.publish.api.requester import Requester
from probe.publish.parts import parse_parts
from probe.publish.publisher import Pace, Publisher
from probe.serve import service

TICK = 0.05
PACE = Pace(
    tick=TICK, start_within=0, renew_within=0, backoff=0.05, backoff_limit=0.4, retry_after_limit=0.4, debounce=0.4
)
SILENCE, DEADLINE = 0.4, 1.0


def main() -> NoReturn:
    """The command line, run in haste."""
    service_account, *options = sys.argv[1:]
    requester = Requester(Access(service_account=service_account, silence=SILENCE, deadline=DEADLINE))

    def in_haste(publish: str, node_name: str | None) -> Callable[[Any, str], Publisher]:
        parts = parse_parts(publish)
        return lambda current, boot_id: Publisher(
            current, node_name=node_name, boot_id=boot_id, parts=parts, connect=requester.connect, pace=PACE
        )

    def serve_here(*arguments: str) -> NoReturn:
        sys.exit(exporter.main(arguments))  # a new interpreter would know nothing of the haste

    agent.execute_exporter = serve_here
    exporter.make_publisher = in_haste
    service.REFRESH = TICK
    cli.main(["serve", *options])


if __name__ == "__main__":
    main()
