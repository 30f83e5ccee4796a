"""`scripts/probe --serve`: page and metrics on loopback, a minute after the clone."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.serve.serving import ROOT, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]  # the first run after pyproject.toml changed makes .venv anew


@contextmanager
def script(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """It runs, with its temporary files in *folder*."""
    require(os.geteuid() == 0, "root")
    require((ROOT / ".venv" / "stamp").exists(), ".venv, made by scripts/probe or scripts/test")
    process = subprocess.Popen(
        [ROOT / "scripts" / "probe", "--serve", "--listen", f"127.0.0.1:{port}"],
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.suppress(OSError):
        client.request("GET", "/readyz")
        return client.getresponse().status == 200
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_end(tmp_path: Path, number: int) -> None:
    """Both halves end with it, and nothing stays behind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with script(tmp_path, port) as process:
        wait_for(lambda: is_ready(port))
        (private,) = tmp_path.glob("userns-probe.*")
        assert private.stat().st_mode & 0o777 == 0o700
        process.send_signal(number)
        assert process.wait() == 0
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def test_when_one_half_cannot_start_so_does_not_the_other(tmp_path: Path) -> None:
    """A port that is taken: the exit code says wrong usage."""
    with socket.create_server(("127.0.0.1", 0)) as taken, script(tmp_path, taken.getsockname()[1]) as process:
        assert process.wait() == 64
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
