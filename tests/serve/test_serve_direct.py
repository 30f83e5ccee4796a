"""Requests that are answered without a worker: only plain ones, and exactly as a worker answers them."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from lab.serve.serving import Serving, put_report, report_of_now, serving, wait_for
from probe.serve.connections import Limiter, Tracked
from probe.serve.direct import parse_plain, peek, send_now
from probe.serve.response import Response
from probe.serve.server import _DIRECT_LIMIT, _KNOWN, Server

PROMETHEUS = (
    b"GET /metrics HTTP/1.1\r\nHost: 10.0.0.1:9476\r\nUser-Agent: Prometheus/3.5.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
)
KUBELET = (
    b"GET /readyz HTTP/1.1\r\nHost: 10.0.0.1:9476\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
    b"Connection: close\r\n\r\n"
)
PATHS = ("/metrics", "/healthz", "/readyz")
BY_A_WORKER = {"X-Other": "a header that no plain request has"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = tmp_path_factory.mktemp("direct") / "report.json"
    put_report(path, report_of_now())
    with serving(path) as server:
        yield server


@contextmanager
def client_of(server: Serving) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        yield client
    finally:
        client.close()


def test_requests_of_prometheus_kubelet_and_curl_are_plain() -> None:
    """Their headers are all known."""
    found = parse_plain(PROMETHEUS)
    assert found
    assert (found.path, found.keeps) == ("/metrics", True)
    assert found.accept.startswith("application/openmetrics-text")
    assert parse_plain(KUBELET) == ("/readyz", "*/*", False)
    assert parse_plain(b"GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        PROMETHEUS[:-1],
        PROMETHEUS[:-2],
        PROMETHEUS + PROMETHEUS,
        PROMETHEUS + b"x",
        b"\r\n" + PROMETHEUS,
        PROMETHEUS.replace(b"GET", b"HEAD"),
        PROMETHEUS.replace(b"/metrics", b"/"),
        PROMETHEUS.replace(b"/metrics", b"/metrics?x"),
        PROMETHEUS.replace(b"/metrics", b"http://x/metrics"),
        PROMETHEUS.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PROMETHEUS.replace(b"\r\n", b"\n"),
        PROMETHEUS.replace(b"Host: ", b"Host : "),
        PROMETHEUS.replace(b"Host: ", b" Host: "),
        PROMETHEUS.replace(b"Host: 10.0.0.1:9476\r\n", b""),
        PROMETHEUS.replace(b"gzip", b"gzip\r\n deflate"),
        PROMETHEUS.replace(b"gzip", b"gz\x00ip"),
        PROMETHEUS.replace(b"gzip", b"gz\xffip"),
        PROMETHEUS.replace(b"Accept-Encoding", b"Host"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"Content-Length: 5"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"Transfer-Encoding: chunked"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"Expect: 100-continue"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"Connection: upgrade"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"Connection: close, te"),
        PROMETHEUS.replace(b"Accept-Encoding: gzip", b"X-Forwarded-For: x"),
    ],
)
def test_no_other_request_is_plain(content: bytes) -> None:
    """Neither a part of one nor more than one, nor whatever else cheroot has rules for."""
    assert parse_plain(content) is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_both_ways_answer_alike(served: Serving, path: str, accept: str) -> None:
    """Status, headers and body, whether the connection is new or kept."""
    plain = {"Accept": accept} if accept else {}
    answers = []
    with client_of(served) as client:
        for headers in (plain, plain | BY_A_WORKER) * 3:
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            fields = [(name, value) for name, value in response.getheaders() if name != "Date"]
            answers.append((response.status, response.version, fields, response.read()))
            assert response.headers["Date"].endswith(" GMT")
    assert answers == [answers[0]] * 6


@pytest.mark.parametrize("path", PATHS)
def test_both_ways_close_alike(served: Serving, path: str) -> None:
    """As a kubelet asks for it: the response says so, is whole, and nothing follows."""
    answers = []
    for more in (b"", b"X-Other: x\r\n") * 2:
        answer = served.raw(KUBELET.replace(b"/readyz", path.encode()).replace(b"Accept", more + b"Accept"))
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
        assert b"Content-Length: %d" % len(body) in lines
        assert b"Connection: close" in lines
        answers.append((lines, body))
    assert answers == [answers[0]] * 4


def test_a_connection_is_kept_for_the_next_scrape(served: Serving) -> None:
    """Whatever is asked in between, and by whom."""
    with served.connect() as connection, connection.makefile("rb") as file:
        for path in PATHS * 2:
            connection.sendall(PROMETHEUS.replace(b"/metrics", path.encode()))
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            assert _bytes_of_an_answer(file)
            assert served.get(path).status == 200


def test_few_different_requests_are_remembered() -> None:
    """Each is answered; what is known of the first ones goes."""
    with listening(Sized(3)) as (port, server):
        for number in range(3 * _KNOWN):
            with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as file:
                client.sendall(PROMETHEUS.replace(b"gzip", b"gzip;q=%d" % number))
                assert _bytes_of_an_answer(file) == 3
            assert 1 <= len(server._answers) <= _KNOWN


def test_requests_in_one_piece_are_answered_in_turn(served: Serving) -> None:
    """A worker does, though each of them is plain."""
    answer = served.raw(PROMETHEUS * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 3


def test_a_request_in_two_pieces_is_answered(served: Serving) -> None:
    """What was looked at is still there for the worker."""
    with served.connect() as connection:
        connection.sendall(PROMETHEUS[:40])
        assert served.get("/healthz").status == 200
        connection.sendall(PROMETHEUS[40:])
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_what_does_not_fit_is_sent_later() -> None:
    """The buffer of a socket may be full; nothing waits for the client."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        content = bytes(8 << 20)
        rest = send_now(ours, (b"head", content))
        assert 0 < len(rest) < len(content)
        assert send_now(ours, (rest,)) == rest
        theirs.close()
        with pytest.raises(OSError, match="Broken pipe"):
            send_now(ours, (rest,))


def test_a_look_at_what_has_come_leaves_it_and_does_not_wait() -> None:
    """Nothing, something, and the end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peek(ours) is None
        theirs.sendall(b"GET")
        assert peek(ours) == peek(ours) == ours.recv(100) == b"GET"
        theirs.close()
        with pytest.raises(EOFError):
            peek(ours)


def test_clients_that_ask_and_never_read_take_nothing_from_others(served: Serving) -> None:
    """Their answers wait in small buffers."""
    greedy = [served.connect(receive_buffer=1024) for _ in range(50)]
    try:
        for connection in greedy:
            connection.sendall(PROMETHEUS)
        for path in PATHS:
            assert served.get(path).status == 200
    finally:
        for connection in greedy:
            connection.close()


class Sized:
    """An application whose response has a body of *size* bytes."""

    def __init__(self, size: int) -> None:
        self.response = Response(200, (("Content-Length", str(size)),), b"x" * size)

    def __call__(self, _environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response(self.response.status_line, list(self.response.headers))
        return [self.response.body]

    def route(self, _path: str, _accept: str) -> Callable[[], Response]:
        return lambda: self.response


@contextmanager
def listening(application: Sized) -> Iterator[tuple[int, Server]]:
    """A server of *application* in this process, and its port."""
    server = Server(("127.0.0.1", 0), application)
    server.prepare()
    serving = threading.Thread(target=server.serve)
    serving.start()
    try:
        yield server.bind_addr[1], server
    finally:
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        while stopping.is_alive():
            server.wake()
            stopping.join(0.05)
        serving.join()


@pytest.mark.parametrize("size", [1, _DIRECT_LIMIT, _DIRECT_LIMIT + 1, 5 << 20])
def test_an_answer_of_any_size_comes_whole(size: int) -> None:
    """Also to a client with a small buffer, which gets the rest from a worker; others are answered meanwhile."""
    with listening(Sized(size)) as (port, _), socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        slow.connect(("127.0.0.1", port))
        slow.sendall(PROMETHEUS)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as file:
                client.sendall(PROMETHEUS)
                assert _bytes_of_an_answer(file) == size
        with slow.makefile("rb") as file:
            assert _bytes_of_an_answer(file) == size
            slow.sendall(PROMETHEUS)
            assert _bytes_of_an_answer(file) == size


def test_no_client_makes_the_others_wait() -> None:
    """A socket has a timeout, for which Python waits, only while a worker has it."""
    with listening(Sized(3)) as (port, server), socket.create_connection(("127.0.0.1", port)) as client:
        idle = server._connections._connections
        with client.makefile("rb") as file:
            for more in (b"", b"X-Other: x\r\n", b"", b"X-Other: x\r\n"):
                client.sendall(PROMETHEUS.replace(b"Accept-Encoding", more + b"Accept-Encoding"))
                assert _bytes_of_an_answer(file) == 3
                wait_for(lambda: [each.phase for each in idle.values()] in (["idle"], ["kept"]))
                assert [each.socket.gettimeout() for each in idle.values()] == [None]


def _bytes_of_an_answer(file: BinaryIO) -> int:
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b": ")
        if name == b"Content-Length":
            size = int(value)
    return len(file.read(size))


def test_nothing_wakes_the_server_before_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of a worker may become idle meanwhile, and has the shortest timeout then."""
    limiter, now = Limiter(), 1000.0
    monkeypatch.setattr("probe.serve.connections.time.monotonic", lambda: now)
    kept, idle, busy, waiting = (Tracked() for _ in range(4))
    kept.socket = socket.socket()
    assert limiter.pause() is None
    limiter.move(kept, "kept")
    assert limiter.pause() == pytest.approx(75, abs=0.1)
    limiter.move(busy, "answering")
    assert limiter.pause() == pytest.approx(5, abs=0.1)
    now += 2
    limiter.move(idle, "idle")
    now += 4
    assert limiter.pause() == pytest.approx(1, abs=0.1)
    limiter.move(waiting, "waiting")
    assert limiter.pause() == pytest.approx(0, abs=0.1)
    for each in (busy, idle, waiting):
        limiter.leave(each)
    assert limiter.pause() == pytest.approx(69, abs=0.1)
    now += 70
    assert limiter.pause() == pytest.approx(0, abs=0.1)
    limiter.expire()
    assert kept.dropped
    assert limiter.pause() is None
    kept.socket.close()
