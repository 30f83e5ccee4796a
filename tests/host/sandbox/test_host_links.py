"""rtnetlink: what is sent, by pyroute2's word too, and what is understood."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from probe.host.sandbox import links as links_module
from probe.host.sandbox.links import Links

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
    made = Links()
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


def info(kind: str, *data: list[Any]) -> list[Any]:
    more = [["IFLA_INFO_DATA", {"attrs": list(data)}]] if data else []
    return ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", kind], *more]}]


NAME = ["IFLA_IFNAME", "eth0"]
PEER = ["VETH_INFO_PEER", {"attrs": [NAME, ["IFLA_NET_NS_FD", 77]]}]
VXLAN = (["IFLA_VXLAN_ID", 5], ["IFLA_VXLAN_PORT", 4789])


@pytest.mark.parametrize(
    ("change", "link"),
    [
        (lambda one: one.raise_link(3), {"index": 3, "flags": 1, "change": 1}),
        (lambda one: one.add_link("eth0", "bridge"), {"attrs": [NAME, info("bridge")]}),
        (lambda one: one.add_veth("eth0", 77), {"attrs": [NAME, info("veth", PEER)]}),
        (lambda one: one.add_vxlan("eth0", 5), {"attrs": [NAME, info("vxlan", *VXLAN)]}),
    ],
    ids=["up", "link", "veth", "vxlan"],
)
def test_messages_are_those_of_pyroute2(change: Callable[[Links], None], link: dict[str, Any]) -> None:
    """Attribute by attribute, whatever padding either has."""
    kernel = Kernel(answer(NLMSG_ERROR, 0))
    change(links(kernel))
    (message,) = kernel.sent
    ours, theirs = ifinfmsg(message), ifinfmsg()
    theirs.setvalue(link)
    theirs.encode()
    expected = ifinfmsg(bytes(theirs.data))
    for one in (ours, expected):
        one.decode()
    assert message[HEADER.size : HEADER.size + 16] == bytes(theirs.data)[HEADER.size : HEADER.size + 16]
    assert plain(ours["attrs"]) == plain(expected["attrs"])
    assert ours["attrs"] or "attrs" not in link


def plain(value: Any) -> Any:
    """Decoded attributes as names and values, without pyroute2's own notes about them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "header"}
    if hasattr(value, "name") and hasattr(value, "value"):
        return value.name, plain(value.value)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


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
    """Never a traceback, and never an answer."""
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
    with Links() as real:
        assert real.knows_kind("userns-nothing") is False
