"""What becomes of the process that asks the runtime, as the one sees it that waits for its answer."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

import msgspec
import pytest

from lab.factory import make_kubelet
from lab.fake_host import FakeHost
from probe.facts.model import KubeletFacts
from probe.facts.runtime.cri import cri_answer, endpoint_of
from probe.host.background import BackgroundChild
from probe.host.cri import no_answer
from probe.reading import Reading

SOCKET = "/run/containerd/containerd.sock"
SOON = 0.2


def killed() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def mute() -> bytes:
    time.sleep(60)
    return b""


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (killed, "not-readable", "ended without an answer"),
        (lambda: b'{"endpoint"', "not-readable", "failed: "),
        (mute, "timed-out", "no answer in time"),
    ],
)
def test_a_process_that_gives_no_answer(work: Callable[[], bytes], kind: str, words: str) -> None:
    """Killed, cut off, or too slow: each with its cause."""
    with BackgroundChild(lambda receive: receive().encode()[:0] + work()) as cri:
        cri.send(SOCKET)
        reading = cri_answer(cri, SOCKET, time.monotonic() + SOON if kind == "timed-out" else time.monotonic() + 60)
    assert (reading.kind, reading.value) == (kind, None)
    assert words in reading.problem


def test_a_process_that_could_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has reached its limit of processes."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    with BackgroundChild(lambda receive: b"") as cri:
        cri.send(SOCKET)
        reading = cri_answer(cri, SOCKET, time.monotonic() + 60)
    assert reading.kind == "not-readable"
    assert "did not start: Resource temporarily unavailable" in reading.problem


def test_an_answer() -> None:
    """It was told where to ask."""
    with BackgroundChild(lambda receive: msgspec.json.encode(no_answer(receive(), "absent", "nobody"))) as cri:
        cri.send(SOCKET)
        reading = cri_answer(cri, SOCKET, time.monotonic() + 60)
    assert reading.value == no_answer(SOCKET, "absent", "nobody")


def endpoint(*sockets: str, kubelet: Reading[KubeletFacts]) -> str:
    """The socket that is asked on a node with these."""
    return endpoint_of(FakeHost(files=dict.fromkeys(sockets, "")), kubelet)


def test_before_a_kubelet_is_there_the_installed_runtime_is_asked() -> None:
    """An image build, or a machine before `kubeadm join`: one usual socket is the one; of two, nobody knows which."""
    nobody: Reading[KubeletFacts] = Reading.without("processes", "absent", "no kubelet runs on this node")
    assert endpoint("/run/crio/crio.sock", kubelet=nobody) == "/run/crio/crio.sock"
    assert endpoint("/run/crio/crio.sock", "/run/containerd/containerd.sock", kubelet=nobody) == ""
    assert endpoint("/run/other.sock", kubelet=nobody) == ""


def test_a_kubelet_has_the_last_word_on_its_socket() -> None:
    """Also when nobody could read what it says."""
    there = "/run/containerd/containerd.sock"
    assert endpoint(there, kubelet=Reading("kubelet", make_kubelet(endpoint="/run/x.sock"))) == "/run/x.sock"
    unread: Reading[str] = Reading.without("configuration", "not-readable", "malformed")
    assert endpoint(there, kubelet=Reading("kubelet", make_kubelet(endpoint=unread))) == ""
    assert endpoint(there, kubelet=Reading.without("kubelet", "timed-out", "no answer in time")) == ""
