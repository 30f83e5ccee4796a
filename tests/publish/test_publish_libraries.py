"""What the process that publishes imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PUBLISHER = """
import sys
from probe.publish.libraries import load
load()
import ssl
import httpx2
from probe.publish.api.transport import Guard
guard = Guard(ssl.create_default_context(), deadline=9, limit=lambda _: 9, judge=lambda _, body: body)
with httpx2.Client(transport=guard) as client:
    try:
        client.get("http://127.0.0.1:1/")
    except httpx2.ConnectError:
        print(client.headers["User-Agent"])
heavy = (
    *("asyncio", "anyio", "h2", "h11", "httpcore2", "idna", "importlib.metadata", "lightkube.models.core_v1"),
    *("yaml", "click"),
)
print(*(name for name in heavy if name in sys.modules))
"""


def test_the_client_is_imported_without_what_it_does_not_use() -> None:
    """Neither at its import nor at its first request; another release of a library that needs more gets it."""
    done = subprocess.run([sys.executable, "-c", PUBLISHER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "python-httpx2/userns-probe\n\n"


RESTING = """
import sys
from probe.cli.exporter import make_publisher
make_publisher("annotations", "node-1")
heavy = ("ssl", "_ssl", "_hashlib", "http.client", "httpx2", "lightkube", "asyncio", "email.message", "jinja2", "click")
print(*(name for name in heavy if name in sys.modules))
"""


def test_the_exporter_holds_no_client_of_the_api() -> None:
    """Neither the client nor OpenSSL, which its own process holds while it makes requests."""
    done = subprocess.run([sys.executable, "-c", RESTING], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"


LATER = """
from probe.publish.libraries import load
load()
import lightkube.core.generic_client as client
import lightkube.resources.core_v1 as resources
import lightkube.config.kubeconfig as kubeconfig
import httpx2
print(client.core_v1_res.Pod is resources.Pod, kubeconfig.yaml.safe_load("[1]"), httpx2.URL("http://b\u00fccher.example").raw_host)
"""


def test_what_is_left_out_is_there_when_it_is_needed_after_all() -> None:
    """Resources, YAML and other host names."""
    done = subprocess.run([sys.executable, "-c", LATER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True [1] b'xn--bcher-kva.example'\n", done.stderr
