"""`serve` as a real process on loopback, and reports for it to find."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lab import forked
from lab.reports import make_report
from probe.outputs.documents import render_json
from probe.report import Node, Report
from probe.serve.report_file import boot_time, read_boot_id

ROOT = Path(__file__).parents[2]


def report_of_now(*, name: str | None = "node-1", age: float = 0.0, **overrides: Any) -> Report:
    """A ready report of this machine's running boot, from *age* seconds ago."""
    node = Node(name=name, boot_id=read_boot_id(), distribution="debian 13", uptime_seconds=boot_time() - age)
    return make_report(**{"node": node} | overrides)


def put_report(path: Path, report: Report) -> None:
    """Put *report* in place as `watch` does."""
    put(path, render_json(report).encode())


def put(path: Path, content: bytes) -> None:
    """Put *content* in place at once."""
    new = path.with_name(f".{path.name}.test")
    new.write_bytes(content)
    new.rename(path)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str


class Serving:
    """A running `serve`."""

    def __init__(self, process: subprocess.Popen[bytes], context: ssl.SSLContext | None = None) -> None:
        self.process = process
        self.context = context
        self.port = 0
        self.log: list[dict[str, Any]] = []
        self.unstructured: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                self.unstructured.append(line.decode())
                continue
            if entry["event"] == "listening":
                self.port = int(re.findall(r":(\d+)$", entry["address"])[0])
            self.log.append(entry)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log entries of that name so far."""
        return [entry for entry in self.log if entry["event"] == name]

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """The answer to one request, on a connection of its own."""
        if self.context:
            client = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=30)
        else:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = client.getresponse()
            body = response.read().decode()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)
        finally:
            client.close()

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """A bare connection."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def raw(self, data: bytes) -> bytes:
        """All that comes back for *data*."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):  # it may be refused before it was read
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            return _all_of(connection)

    def memory(self) -> int:
        """Bytes of its own that it holds."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            return int(re.findall(r"^Private_Dirty: +(\d+)", file.read(), re.MULTILINE)[0]) * 1024

    def count(self, what: str) -> int:
        """How many descriptors (`fd`) or threads (`task`) it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/{what}"))

    def opened(self) -> list[str]:
        """What its descriptors stand for."""
        directory = f"/proc/{self.process.pid}/fd"
        return [os.readlink(f"{directory}/{number}") for number in os.listdir(directory)]

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        code = self.process.wait()
        self._reader.join()
        return code


@contextmanager
def serving(
    report_file: Path,
    *options: str,
    listen: str = "127.0.0.1:0",
    context: ssl.SSLContext | None = None,
    wrapper: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """`serve` with these options and environment variables, listening; *wrapper* is a command that becomes it."""
    arguments = ("serve", "--report-file", str(report_file), "--listen", listen, *options)
    process = start(*arguments, wrapper=wrapper, variables=variables)
    server = Serving(process, context)
    try:
        wait_for(lambda: server.port or process.poll() is not None)
        assert server.port, server.unstructured
        yield server
    finally:
        process.kill()
        process.wait()


def start(
    *arguments: str, wrapper: Sequence[str] = (), variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """`userns-probe` with these arguments, its stderr in a pipe, without what the environment could tell it."""
    return subprocess.Popen(
        [*wrapper, sys.executable, "-m", "probe", *arguments],
        cwd=ROOT,
        env=_environment() | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options,
    )


def wait_for(condition: Any) -> None:
    """Return when *condition* holds; the test's own timeout is the only limit."""
    while not condition():
        time.sleep(0.01)


def refused(arguments: Sequence[str]) -> str:
    """The words of a start that is refused as wrong usage."""
    done = forked.run(*arguments, environment=_environment())
    assert done.returncode == 64, done.stderr
    return done.stderr


def _environment() -> dict[str, str]:
    told = ("NODE_NAME", "USERNS_PROBE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(told)}


def changed(report: Report, **fields: Any) -> bytes:
    """The JSON of *report* with other top-level values, also ones that its type does not allow."""
    return json.dumps(json.loads(render_json(report)) | fields).encode()


def with_node(report: Report, **fields: Any) -> Report:
    """*report*, with its node changed."""
    return msgspec.structs.replace(report, node=msgspec.structs.replace(report.node, **fields))


def _all_of(connection: socket.socket) -> bytes:
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            content += chunk
    return content
