"""The process that makes the requests: it answers as the client does, and whatever becomes of it, none is left."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from lab.real.node import descendants, is_alive
from lab.serve.api_double import ApiDouble, Drip, Fault, Flood, Raw, Refuse, Reset, Stall
from lab.serve.publishing import NODE, World
from lab.serve.serving import wait_for
from probe.publish.api import process
from probe.publish.api.client import connect
from probe.publish.api.errors import explain_failure
from probe.publish.api.interface import Access, Failure
from probe.publish.api.plain import RESPONSE_LIMIT, NotPlain, Refused, body_of
from probe.publish.api.requester import Requester

OURS = {"annotations": {"userns-probe.io/verdict": "ready"}}
NODE_JSON = b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"k8slab","uid":"1"}}'
CUT = b"HTTP/1.0 409 Conflict\r\nContent-Length: 3\r\n\r\n{}"
NO_TOKEN = b"HTTP/1.0 401 Unauthorized\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(NODE_JSON), NODE_JSON)


@pytest.fixture
def requester(api: ApiDouble) -> Iterator[Requester]:
    """In haste, and without a process in the end."""
    made = Requester(Access(service_account=str(api.directory), silence=1.0, deadline=2.0))
    before = set(os.listdir("/proc/self/fd"))
    yield made
    processes = processes_of(made)
    if made._pid:
        os.kill(made._pid, signal.SIGKILL)  # it may be stopped
    made.end()
    wait_for(lambda: not any(map(is_alive, processes)))
    wait_for(lambda: set(os.listdir("/proc/self/fd")) == before)  # the server may still have a connection


def processes_of(requester: Requester) -> list[int]:
    """The process that rests, and its child while a connection is open."""
    return descendants(requester._pid) if requester._pid else []


def uid(requester: Requester) -> str:
    with requester.connect() as api:
        return str(api.get_node(NODE)["metadata"]["uid"])


def failure(requester: Requester, *, write: bool = False) -> str:
    return str(explain_failure(refusal(requester, write=write), NODE)["problem"])


def refusal(requester: Requester, *, write: bool) -> Failure:
    with pytest.raises(Failure) as raised, requester.connect() as api:
        api.apply_metadata(NODE, OURS, force=False) if write else api.get_node(NODE)
    return raised.value


@pytest.mark.slow
def test_it_publishes_as_the_client_does(world: World, requester: Requester) -> None:
    """Annotations, label, condition and Event, also after token and CA were rotated; nothing is imported by `serve`."""
    world.restart("annotations", "label", "condition", "events")
    world.api.store.rules |= {("create", "events"), ("patch", "nodes/status")}
    world.publisher._connect = requester.connect
    for verdict in ("ready", "not-ready"):
        world.probe(verdict)
        world.settle()
        assert world.node["annotations"]["userns-probe.io/verdict"] == verdict
        world.api.rotate_token("token-2")
        world.api.rotate_ca()
    assert world.api.store.nodes[NODE]["status"]["conditions"][-1]["status"] == "False"
    assert world.result("error") == 0
    assert len(processes_of(requester)) == 1  # and no child


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Refuse(403, "Forbidden", "no"), "Forbidden"),
        (Refuse(404, "NotFound", 'nodes "k8slab" not found'), "NodeNotFound"),
        (Refuse(503, "", "later", retry_after="7"), "ServerError"),
        (Raw(b"HTTP/1.0 200 OK\r\n\r\n<html>"), "Unreachable"),
        (Raw(b"HTTP/1.0 200 OK\r\n\r\n" + NODE_JSON.replace(b"k8slab", b"other")), "Unreachable"),
        (Raw(b"HTTP/1.0 200 OK\r\n\r\n" + NODE_JSON[:-1]), "Unreachable"),
        (Raw(b"SSH-2.0-OpenSSH\r\n"), "Unreachable"),
        (Reset(granted=False), "Unreachable"),
        (Stall(), "Unreachable"),
        (Drip(), "Unreachable"),
        (Flood(), "Unreachable"),
    ],
)
@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_each_failure_has_its_name(
    api: ApiDouble, requester: Requester, fault: Fault, problem: str, write: bool
) -> None:
    """The same as in the client; the next request is made by the same process."""
    api.faults += [fault, fault]  # the client asks again where the short way does not understand
    assert failure(requester, write=write) == problem
    api.faults.clear()
    assert uid(requester) == "uid-of-k8slab"


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Refuse(403, "Forbidden", "no"),
        Refuse(409, "Conflict", 'Apply failed with 1 conflict: conflict with "kubectl"'),
        Refuse(422, "Invalid", "no"),
        Refuse(429, "", "later", retry_after="7"),
        Refuse(500, "InternalError", "x"),
        Raw(b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>"),
    ],
)
def test_a_refused_write_is_asked_once_and_told_as_by_the_client(
    api: ApiDouble, requester: Requester, fault: Fault
) -> None:
    """A server that refuses has enough to do; status, reason, message and the time to wait are the client's."""
    api.faults.append(fault)
    told = refusal(requester, write=True)
    assert len(api.requests) == 1
    api.faults.append(fault)
    with pytest.raises(Failure) as raised, connect(requester._access) as client:
        client.apply_metadata(NODE, OURS, force=False)
    theirs = raised.value
    assert (told.status, told.reason, str(told), told.retry_after) == (
        (theirs.status, theirs.reason, str(theirs), theirs.retry_after)
    )


def test_a_write_is_the_request_of_the_client(api: ApiDouble, requester: Requester) -> None:
    """Path, kind and token; the same object, as Python and as msgspec write it; also with force."""
    for force in (False, True):
        for way in (requester.connect(), connect(requester._access)):
            with way as one:
                assert one.apply_metadata(NODE, OURS, force=force)["metadata"]["name"] == NODE
    short, client, short_by_force, client_by_force = (
        (each.method, each.target, each.content_type, each.token, json.loads(each.body)) for each in api.requests
    )
    assert short == client
    assert short_by_force == client_by_force
    assert len({each.target for each in api.requests}) == 2


@pytest.mark.slow
def test_an_unknown_certificate_and_a_missing_token_are_named(api: ApiDouble, requester: Requester) -> None:
    """As in the client; both may be right at the next request."""
    api.rotate_ca(trustme.CA(), tell=False)
    assert failure(requester) == "CertificateRefused"
    api.tell_ca()
    (api.directory / "token").rename(api.directory / "away")
    assert failure(requester) == "NoCredentials"
    (api.directory / "away").rename(api.directory / "token")
    assert uid(requester) == "uid-of-k8slab"


def test_a_certificate_of_another_host_is_refused(
    api: ApiDouble, requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of the cluster's authority, and names 127.0.0.1 alone."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    assert failure(requester) == "CertificateRefused"
    assert api.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the process that rests", "its child", "both"])
def test_a_process_that_is_killed_costs_one_request(api: ApiDouble, requester: Requester, victim: str) -> None:
    """Killed while the server is silent: a failure at once. Killed at rest: nothing at all."""
    assert uid(requester)
    api.faults.append(Stall())

    def kill() -> None:
        wait_for(lambda: len(api.requests) == 2)
        resting, child = processes_of(requester)
        for pid in {"the process that rests": [resting], "its child": [child], "both": [resting, child]}[victim]:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert failure(requester) == "Unreachable"
    killer.join()
    assert uid(requester) == "uid-of-k8slab"
    os.kill(requester._pid, signal.SIGKILL)
    os.waitid(os.P_PID, requester._pid, os.WEXITED | os.WNOWAIT)
    assert uid(requester) == "uid-of-k8slab"


def test_a_process_that_hangs_is_given_up(
    api: ApiDouble, requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that takes too long ends with its process; while one cannot be killed, no other is started."""
    assert uid(requester)
    monkeypatch.setattr("probe.publish.api.requester._GRACE", -3.5)
    os.kill(requester._pid, signal.SIGSTOP)
    assert failure(requester) == "Unreachable"
    stopped = requester._pid
    assert failure(requester) == "Unreachable"
    assert requester._pid == stopped
    os.kill(stopped, signal.SIGCONT)
    os.waitid(os.P_PID, stopped, os.WEXITED | os.WNOWAIT)
    assert uid(requester) == "uid-of-k8slab"


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_a_lack_of_descriptors_costs_one_request(requester: Requester, free: int) -> None:
    """Wherever in the start of the process it comes, it is a failure, no descriptor is lost, and the next one works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = os.open(os.devnull, os.O_RDONLY)
    os.close(unused)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused + free, hard))
    try:
        assert failure(requester) == "Unreachable"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert uid(requester) == "uid-of-k8slab"


@pytest.mark.parametrize("host", ["kubernetes..default", "a" * 70, ".x"])
def test_a_host_that_is_no_name(requester: Requester, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The failure of the client, not that of a process which nobody foresaw."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    assert failure(requester) == "Unreachable"


def test_a_node_name_that_is_no_unicode(requester: Requester) -> None:
    """The server refuses it as any other name that it does not have."""
    with pytest.raises(Failure) as raised, requester.connect() as api:
        api.get_node("k8s\udcff")
    assert raised.value.status == 404


def test_a_lack_of_processes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork that the kernel refuses is a failure with its reason, and ends the process that rests."""
    written: list[bytes] = []

    def no_fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "")

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "fork", no_fork)
    monkeypatch.setattr(os, "read", lambda *_: b"get_node k8slab\n")
    monkeypatch.setattr(os, "write", lambda _, content: written.append(content))
    assert process.main(["/nowhere", "1", "2", *sys.path]) == 1
    head, _, body = b"".join(written).partition(b"\n")
    assert head == b"failed %d" % len(body)
    assert Failure(*json.loads(body)).message.endswith(os.strerror(errno.EAGAIN))


ASKING = """
import sys
from probe.publish.api.interface import Access
from probe.publish.api.requester import Requester
requester = Requester(Access(service_account=sys.argv[1]))
with requester.connect() as api:
    api.get_node("k8slab")
"""


REAPING = (
    ASKING
    + """
import os
orphan = os.fork()
if orphan == 0:
    os._exit(0)
os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
os.getpid = lambda: 1
with requester.connect() as api:
    api.get_node("k8slab")
try:
    os.waitpid(orphan, 0)
except ChildProcessError:
    raise SystemExit(0)
raise SystemExit("not reaped")
"""
)


@pytest.mark.slow
def test_process_1_of_a_container_reaps_orphans(api: ApiDouble) -> None:
    """Such as the child of a process that was killed: nobody else would."""
    command = [sys.executable, "-c", REAPING, str(api.directory)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_serve(api: ApiDouble, number: int) -> None:
    """However `serve` ends, and although the server keeps silent."""
    api.faults.append(Stall())
    asking = subprocess.Popen([sys.executable, "-c", ASKING, str(api.directory)], cwd=Path(__file__).parents[2])
    try:
        wait_for(lambda: bool(api.requests))
        others = descendants(asking.pid)[1:]
        assert len(others) == 2
        asking.send_signal(number)
        asking.wait()
        wait_for(lambda: not any(map(is_alive, others)))
    finally:
        asking.kill()
        asking.wait()


def test_only_a_complete_response_is_believed() -> None:
    """All others are read again by the client."""
    head = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert body_of(head + b"{}") == b"{}"
    with pytest.raises(Refused):
        body_of(head.replace(b"200 OK", b"409 Conflict") + b"{}")
    for content in (
        head + b"{",
        head + b"{}}",
        b"",
        b"HTTP/1.0 200 OK\r\n",
        CHUNKED,
        b"HTTP/1.0 201 OK\r\n\r\n{}",
        CUT,
        NO_TOKEN,
    ):
        with pytest.raises(NotPlain):
            body_of(content)
    assert len(NODE_JSON) < RESPONSE_LIMIT
