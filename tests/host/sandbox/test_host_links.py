"""rtnetlink with pyroute2's codec alone: what is sent, what is understood, and that the rest of pyroute2 stays out."""

from __future__ import annotations

import errno
import importlib
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from probe.host.sandbox import links as links_module
from probe.host.sandbox.links import Links, load_codec

HEADER = struct.Struct("=IHHII")
NLMSG_ERROR, NLMSG_DONE, RTM_NEWLINK, RTM_GETLINK = 2, 3, 16, 18


class Kernel:
    """In the place of a socket: it keeps what is sent, and answers as it is told."""

    def __init__(self, *answers: Sequence[tuple[int, bytes]]) -> None:
        self.sent: list[bytes] = []
        self._answers = list(answers)

    def sendto(self, request: bytes, _: object) -> None:
        self.sent.append(request)

    def recv(self, _: int) -> bytes:
        number = HEADER.unpack_from(self.sent[-1])[3]
        answer = self._answers.pop(0)
        return b"".join(HEADER.pack(HEADER.size + len(body), kind, 0, number, 0) + body for kind, body in answer)


def links(kernel: Kernel) -> Links:
    made = Links(load_codec())
    made.close()
    made._socket = kernel  # type: ignore[assignment]
    return made


def answer(kind: int, number: int) -> list[tuple[int, bytes]]:
    return [(kind, struct.pack("=i", -number))]


def attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute, as rtnetlink(7) lays them out."""
    while content:
        length, kind = struct.unpack_from("=HH", content)
        yield kind & 0x3FFF, content[4:length]
        content = content[(length + 3) & ~3 :]


def run_alone(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_nothing_else_of_the_package_is_imported() -> None:
    """Neither its start nor asyncio; and who imports the package afterwards gets the whole of it."""
    program = """
import sys
from probe.host.sandbox.links import load_codec
codec = load_codec()
print(codec.__name__, *(name in sys.modules for name in ("pyroute2", "pyroute2.iproute", "asyncio", "ssl")))
import pyroute2
print(pyroute2.IPRoute.__name__, pyroute2.netlink.rtnl.ifinfmsg.ifinfmsg.__name__)
"""
    assert run_alone(program) == "ifinfmsg False False False False\nIPRoute ifinfmsg"


@pytest.mark.slow
def test_a_package_without_the_codec_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else comes out of it, whatever the package has become."""
    monkeypatch.delattr(importlib.import_module("pyroute2.netlink.rtnl.ifinfmsg"), "ifinfmsg")
    with pytest.raises(ImportError):
        load_codec()


def test_raising_lo_is_one_message() -> None:
    """RTM_NEWLINK of interface 1 with IFF_UP, acknowledged, and not allowed to make a link."""
    kernel = Kernel(answer(NLMSG_ERROR, 0))
    links(kernel).raise_link(1)
    (message,) = kernel.sent
    length, kind, flags, _, _ = HEADER.unpack_from(message)
    family, _, index, up, change = struct.unpack_from("=BxHiII", message, HEADER.size)
    assert (length, kind, flags) == (len(message), RTM_NEWLINK, 0x1 | 0x4)
    assert (family, index, up & 1, change) == (0, 1, 1, 1)
    assert message[HEADER.size + 16 :] == b""


def test_a_veth_pair_is_one_message() -> None:
    """The kind, the name of both ends, and the other end's network namespace by its descriptor."""
    kernel = Kernel(answer(NLMSG_ERROR, 0))
    links(kernel).add_veth("eth0", 77)
    (message,) = kernel.sent
    assert HEADER.unpack_from(message)[1:3] == (RTM_NEWLINK, 0x1 | 0x4 | 0x600)
    found = dict(attributes(message[HEADER.size + 16 :]))
    assert found[3] == b"eth0\0"  # IFLA_IFNAME
    info = dict(attributes(found[18]))  # IFLA_LINKINFO
    assert info[1].rstrip(b"\0") == b"veth"  # IFLA_INFO_KIND
    peer = dict(attributes(dict(attributes(info[2]))[1][16:]))  # IFLA_INFO_DATA, VETH_INFO_PEER, after its ifinfomsg
    assert (peer[3], struct.unpack("=I", peer[28])) == (b"eth0\0", (77,))  # IFLA_NET_NS_FD


@pytest.mark.parametrize(("known", "shown"), [(True, (False, True)), (False, (True, True)), (False, (False, False))])
def test_a_kind_is_known_when_its_filter_works(known: bool, shown: tuple[bool, bool]) -> None:
    """The dump of that kind hides lo, and the control's does not."""
    lo = (RTM_NEWLINK, struct.pack("=BxHiII", 0, 772, 1, 0x49, 0))
    other = (RTM_NEWLINK, struct.pack("=BxHiII", 0, 1, 7, 0, 0))
    done = (NLMSG_DONE, struct.pack("=i", 0))
    kernel = Kernel(*([other, lo, done] if there else [other, done] for there in shown))
    assert links(kernel).knows_kind("veth") is known
    assert {HEADER.unpack_from(message)[1:3] for message in kernel.sent} == {(RTM_GETLINK, 0x1 | 0x300)}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC, errno.EOPNOTSUPP])
@pytest.mark.parametrize("kind", [NLMSG_ERROR, NLMSG_DONE])
def test_the_kernels_error_is_raised(number: int, kind: int) -> None:
    """With its errno, whether it ends a change or a dump."""
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        links(Kernel(answer(kind, number))).knows_kind("veth")
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "datagram",
    [
        [(NLMSG_ERROR, b"")],
        [(NLMSG_DONE, b"\0")],
        [(RTM_NEWLINK, b"")],
        [(RTM_NEWLINK, b"\0" * 7)],
    ],
)
def test_what_is_not_understood_is_eio(datagram: list[tuple[int, bytes]]) -> None:
    """Never a traceback of the codec, and never an answer."""
    done = (NLMSG_DONE, struct.pack("=i", 0))
    with pytest.raises(OSError, match="netlink") as caught:
        links(Kernel([*datagram, done], [*datagram, done])).knows_kind("veth")
    assert caught.value.errno == errno.EIO


def test_an_answer_that_never_ends_is_eio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams of others, or without an end, are read so often and not more."""
    monkeypatch.setattr(links_module, "_DATAGRAMS", 3)
    with pytest.raises(OSError, match="does not end") as caught:
        links(Kernel([], [], [])).raise_link(1)
    assert caught.value.errno == errno.EIO


def test_a_message_cut_off_is_eio() -> None:
    """Its length says more than there is."""

    class Cut(Kernel):
        def recv(self, size: int) -> bytes:
            return super().recv(size)[:-2]

    with pytest.raises(OSError, match="cut off") as caught:
        links(Cut(answer(NLMSG_ERROR, 0))).raise_link(1)
    assert caught.value.errno == errno.EIO


def test_the_real_kernel_answers() -> None:
    """A dump of this machine's links ends, for a kind and for the control."""
    with Links(load_codec()) as real:
        assert real.knows_kind("userns-nothing") is False
