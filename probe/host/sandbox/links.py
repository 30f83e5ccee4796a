"""Network links of this process's network namespace, over rtnetlink(7) with pyroute2's codec.

Only the codec of one message is imported: the package's own start imports asyncio and every other protocol it knows.
"""

from __future__ import annotations

import _weakref
import errno
import os
import socket
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from probe.lean_import import late_patterns, stand_in, submodules_of, without_logging, without_threads

LO = 1
"""Index of the loopback interface in every network namespace."""

# linux/netlink.h and linux/rtnetlink.h
_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWLINK, _RTM_GETLINK = 2, 3, 16, 18
_REQUEST, _ACK, _DUMP, _CREATE_NEW = 0x1, 0x4, 0x300, 0x600
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ERROR = struct.Struct("=i")  # of NLMSG_ERROR and NLMSG_DONE: 0 or an errno, negative
_LINK = struct.Struct("=4xi")  # of RTM_NEWLINK: family, type, and the index
_IFF_UP = 1

_DATAGRAM = 1 << 16  # bytes; the kernel fills 32 KiB at most
_DATAGRAMS = 1024  # of one answer


def load_codec() -> Any:
    """The class `ifinfmsg` of pyroute2, which encodes a message about a network link.

    *Errors*: ImportError when pyroute2 is not there, or has no such class.
    """
    unused = {"Pipe": None, "Process": None, "Queue": None}
    unheard = {"format_exc": str, "format_stack": list}  # of what it would log
    with (
        submodules_of("pyroute2"),
        without_logging(),
        without_threads(),
        late_patterns(),
        stand_in("weakref", proxy=_weakref.proxy),
        stand_in("pkgutil"),
        stand_in("multiprocessing", **unused),
        stand_in("traceback", **unheard),
    ):
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    return ifinfmsg


class Links:
    """One rtnetlink socket.

    *Errors* of every method: OSError with the kernel's errno, EIO when the kernel's answer is not understood.
    """

    def __init__(self, codec: Any) -> None:
        """*codec* is what `load_codec` returns."""
        self._codec = codec
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def raise_link(self, index: int) -> None:
        """Set link *index* up."""
        self._change({"index": index, "flags": _IFF_UP, "change": _IFF_UP})

    def add_link(self, name: str, kind: str) -> None:
        """Add link *name* of *kind*; the kernel loads a module for an unknown kind."""
        self._change({"attrs": [["IFLA_IFNAME", name], _link_info(kind)]}, _CREATE_NEW)

    def add_veth(self, name: str, namespace: int) -> None:
        """Add a veth pair with both ends called *name*, the peer in the network namespace of descriptor *namespace*."""
        peer = {"attrs": [["IFLA_IFNAME", name], ["IFLA_NET_NS_FD", namespace]]}
        info = _link_info("veth", ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", peer]]}])
        self._change({"attrs": [["IFLA_IFNAME", name], info]}, _CREATE_NEW)

    def add_vxlan(self, name: str, identifier: int) -> None:
        """Add a vxlan link of that network identifier, without a device below."""
        data = ["IFLA_INFO_DATA", {"attrs": [["IFLA_VXLAN_ID", identifier], ["IFLA_VXLAN_PORT", 4789]]}]
        self._change({"attrs": [["IFLA_IFNAME", name], _link_info("vxlan", data)]}, _CREATE_NEW)

    def knows_kind(self, kind: str) -> bool:
        """True when the kernel knows network links of *kind* now; no module is loaded.

        *Source*: RTM_GETLINK of rtnetlink(7) filtered by IFLA_INFO_KIND, since Linux 4.6. The kernel
        ignores the filter for an unknown kind, so `lo` is in the dump; a control call proves this on this kernel.
        """
        return not self._shows_lo(kind) and self._ignores_unknown_kinds

    @cached_property
    def _ignores_unknown_kinds(self) -> bool:
        return self._shows_lo("userns-probe")

    def _shows_lo(self, kind: str) -> bool:
        request = self._encode({"attrs": [_link_info(kind)]}, _RTM_GETLINK, _REQUEST | _DUMP)
        return LO in [_index(message) for message in self._answers(request)]

    def _change(self, link: dict[str, Any], flags: int = 0) -> None:
        for _ in self._answers(self._encode(link, _RTM_NEWLINK, _REQUEST | _ACK | flags)):
            pass

    def _encode(self, link: dict[str, Any], kind: int, flags: int) -> bytes:
        self._sequence += 1
        message = self._codec()
        message.setvalue(link)
        message["header"].update(type=kind, flags=flags, sequence_number=self._sequence)
        message.encode()
        return bytes(message.data)

    def _answers(self, request: bytes) -> Iterator[bytes]:
        """Messages that answer *request*, up to the terminating one."""
        self._socket.sendto(request, (0, 0))
        for _ in range(_DATAGRAMS):
            datagram = self._socket.recv(_DATAGRAM)
            for kind, message in _split(datagram, self._sequence):
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    raise_error(message)
                    return
                yield message
        raise OSError(errno.EIO, "netlink answer does not end")


def _link_info(kind: str, *more: list[Any]) -> list[Any]:
    return ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", kind], *more]}]


def _split(datagram: bytes, sequence: int) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each message in *datagram* that answers request number *sequence*."""
    offset = 0
    while len(datagram) - offset >= _HEADER.size:
        length, kind, _, number, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise OSError(errno.EIO, "netlink message is cut off")
        if number == sequence:
            yield kind, datagram[offset : offset + length]
        offset += (length + 3) & ~3


def _index(message: bytes) -> int:
    """Index of the link that a message tells of."""
    if len(message) < _HEADER.size + _LINK.size:
        raise OSError(errno.EIO, "netlink message is cut off")
    (index,) = _LINK.unpack_from(message, _HEADER.size)
    return int(index)


def raise_error(message: bytes) -> None:
    """Raise the error of a message of type NLMSG_ERROR or NLMSG_DONE; return when it has none."""
    if len(message) < _HEADER.size + _ERROR.size:
        raise OSError(errno.EIO, "netlink message is cut off")
    (number,) = _ERROR.unpack_from(message, _HEADER.size)
    if number:
        raise OSError(-number, os.strerror(-number))
