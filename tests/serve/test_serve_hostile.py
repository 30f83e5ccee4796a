"""Clients that are slow, silent, greedy or malicious: others are answered, and nothing grows.

Each test does its worst, and asks for /healthz all the while; the test's own timeout is the watchdog. Kubelets ask
with a timeout of a second or more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.reports import make_row, make_volume
from lab.serve.serving import Serving, put_report, report_of_now, serving, wait_for

N = int(os.environ.get("USERNS_PROBE_TEST_CLIENTS", "200"))
"""Hostile clients of each kind."""
MEMORY = 8 << 20
"""Bytes that may be needed more while many clients are there: buffers of those that are served."""
DESCRIPTORS = 400
"""More than all queues together may hold."""
KEPT = 12
"""More connections than are kept between two requests."""
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a report that makes a large page."""
    path = tmp_path_factory.mktemp("hostile") / "report.json"
    rows = tuple(make_row(role="volume", path=f"/{number}/{'x' * 200}", fstype="nfs4") for number in range(2000))
    put_report(path, report_of_now(filesystems=rows, volumes=tuple(make_volume() for _ in range(50))))
    with serving(path) as server:
        for page in ("/", "/metrics", "/report.json", "/healthz") * 20:
            assert server.get(page).status == 200
        yield server


@pytest.fixture
def unharmed(served: Serving) -> Iterator[Serving]:
    """The server, of which afterwards nothing is more than before, and which ran into no bug."""
    memory, descriptors, threads = served.memory(), served.count("fd"), served.count("task")
    yield served
    assert served.get("/healthz").status == 200
    assert served.count("fd") < descriptors + DESCRIPTORS
    assert served.count("task") == threads
    assert served.memory() < memory + MEMORY
    assert not served.events("http_error")
    assert not served.events("request_failed")
    assert served.unstructured == []


@contextlib.contextmanager
def clients(server: Serving, number: int, **options: int) -> Iterator[list[socket.socket]]:
    """So many connections, closed in the end."""
    made: list[socket.socket] = []
    try:
        for _ in range(number):
            made.append(server.connect(**options))
        yield made
    finally:
        for one in made:
            one.close()


def send(connection: socket.socket, data: bytes) -> bool:
    """Whether it could be sent: a client that was dropped learns it so."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def stay_well(server: Serving) -> None:
    """Ask as the kubelet and Prometheus do."""
    assert server.get("/healthz").status == 200
    assert server.get("/metrics").status == 200


def test_silent_clients(unharmed: Serving) -> None:
    """Connections that say nothing."""
    with clients(unharmed, N):
        for _ in range(5):
            stay_well(unharmed)


def test_clients_that_ask_once_and_stay(unharmed: Serving) -> None:
    """Few connections are kept for another request, whoever asks first."""
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(N):
            connection = stack.enter_context(unharmed.connect())
            connection.sendall(GET % b"healthz")
            answers.append(connection.recv(1 << 16))
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
        kept = [answer for answer in answers if b"Connection: close" not in answer]
        assert 1 <= len(kept) <= KEPT
        stay_well(unharmed)


def test_half_requests(unharmed: Serving) -> None:
    """Slowloris: each client sends a header now and then, and never the end of them."""
    with clients(unharmed, N) as slow:
        for connection in slow:
            send(connection, b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(5):
            stay_well(unharmed)
            for connection in slow:
                send(connection, b"X-%d: y\r\n" % number)


def test_single_bytes(unharmed: Serving) -> None:
    """A request line that comes byte by byte."""
    with clients(unharmed, N) as slow:
        for byte in b"GET /m":
            for connection in slow:
                send(connection, bytes([byte]))
            stay_well(unharmed)


def test_one_who_dawdles_is_dropped_even_when_nobody_waits(unharmed: Serving) -> None:
    """A header each second would go on for hours: a request has five seconds."""
    with unharmed.connect() as connection:
        connection.settimeout(1)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        while send(connection, b"X: y\r\n"):
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    break


def test_clients_that_never_read(unharmed: Serving) -> None:
    """Answers larger than all buffers, for clients that do not take them."""
    with clients(unharmed, 40, receive_buffer=1) as deaf:
        for connection in deaf:
            send(connection, (GET % b"report.json") * 20)
        for _ in range(5):
            stay_well(unharmed)


def test_huge_headers_and_lines(unharmed: Serving) -> None:
    """Refused before they are read in full."""
    for line, status in (
        (b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100_000 + b"\r\n", b"413"),
        (b"a" * (1 << 20), b"414"),
    ):
        with unharmed.connect() as connection:
            send(connection, line)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(64).split()[1] == status
        stay_well(unharmed)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\r\n\r\n\r\n\r\n",
        b"\0" * 1000,
        b"\xff" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.x\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        b"GET //[ HTTP/1.1\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\n\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: first\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_refused_or_dropped(unharmed: Serving, request_: bytes) -> None:
    """Never a body, never a page, never an error of ours."""
    answer = unharmed.raw(request_)
    for line in (line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")):
        assert line.split()[1] in (b"100", b"400", b"404", b"405", b"413", b"414", b"501", b"505"), answer[:200]


def test_pipelined_requests_are_answered_in_turn(unharmed: Serving) -> None:
    """And those of others in between."""
    with unharmed.connect() as connection:
        connection.sendall((GET % b"healthz") * 200)
        connection.shutdown(socket.SHUT_WR)
        stay_well(unharmed)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 16):
                answer += chunk
    assert 1 <= answer.count(b"HTTP/1.1 200 OK") <= 200


def test_a_flood_of_connections(unharmed: Serving) -> None:
    """Some reset, some closed, some asking, as fast as four threads can."""
    stop = threading.Event()

    def flood(use: Callable[[socket.socket], object]) -> None:
        for _ in range(N * 5):
            if stop.is_set():
                return
            with contextlib.suppress(OSError), unharmed.connect() as connection:
                use(connection)

    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    uses = (
        reset,
        lambda connection: None,
        lambda connection: send(connection, b"GET / HTTP/1.1\r\n"),
        lambda connection: send(connection, GET % b""),
    )
    threads = [threading.Thread(target=flood, args=(use,)) for use in uses]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert patiently(unharmed)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    wait_for(lambda: unharmed.count("fd") < 60)


def patiently(server: Serving) -> bool:
    """Whether one of three probes in a row is answered: that is what keeps a container alive."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            return server.get("/healthz").status == 200
    return False


@pytest.mark.slow
def test_it_ends_in_the_middle_of_an_attack(tmp_path: Path) -> None:
    """SIGTERM is obeyed whatever clients do."""
    put_report(tmp_path / "r", report_of_now())
    with serving(tmp_path / "r") as server, clients(server, 100) as slow:
        for connection in slow:
            send(connection, b"GET / HTTP/1.1\r\n")
        assert server.end() == 0
