"""What the process that publishes imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PUBLISHER = """
import sys
from probe.cli.exporter import make_publisher
make_publisher("annotations", "node-1")
import ssl
import httpx2
from probe.publish.api.transport import Guard
guard = Guard(ssl.create_default_context(), deadline=9, limit=lambda _: 9, judge=lambda _, body: body)
with httpx2.Client(transport=guard) as client:
    try:
        client.get("http://127.0.0.1:1/")
    except httpx2.ConnectError:
        print(client.headers["User-Agent"])
heavy = ("asyncio", "anyio", "importlib.metadata", "click", "httpcore2", "h11")
print(*(name for name in heavy if name in sys.modules))
"""


def test_the_publisher_speaks_http_without_what_it_does_not_use() -> None:
    """Neither when it starts nor at its first request; another release of a library that needs more gets it."""
    done = subprocess.run([sys.executable, "-c", PUBLISHER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "python-httpx2/userns-probe\n\n"
