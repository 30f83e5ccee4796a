"""Network links of this process's network namespace, over rtnetlink(7).

The few messages are encoded here: the codec of pyroute2 alone takes 14 ms of CPU to import, a twentieth of a probe.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

LO = 1
"""Index of the loopback interface in every network namespace."""

# linux/netlink.h and linux/rtnetlink.h
_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWLINK, _RTM_GETLINK = 2, 3, 16, 18
_REQUEST, _ACK, _DUMP, _CREATE_NEW = 0x1, 0x4, 0x300, 0x600
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
# linux/veth.h and linux/if_link.h
_VETH_INFO_PEER = 1
_IFLA_VXLAN_ID, _IFLA_VXLAN_PORT = 1, 15
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ERROR = struct.Struct("=i")  # of NLMSG_ERROR and NLMSG_DONE: 0 or an errno, negative
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, device type, index, flags, which of these flags to change
_IFF_UP = 1
_NEW_LINK = _LINK.pack(0, 0, 0, 0, 0)

_DATAGRAM = 1 << 16  # bytes; the kernel fills 32 KiB at most
_DATAGRAMS = 1024  # of one answer


class Links:
    """One rtnetlink socket.

    *Errors* of every method: OSError with the kernel's errno, EIO when the kernel's answer is not understood.
    """

    def __init__(self) -> None:
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
        self._change(_LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))

    def add_link(self, name: str, kind: str) -> None:
        """Add link *name* of *kind*; the kernel loads a module for an unknown kind."""
        self._add(name, _link_info(kind))

    def add_veth(self, name: str, namespace: int) -> None:
        """Add a veth pair with both ends called *name*, the peer in the network namespace of descriptor *namespace*."""
        peer = _NEW_LINK + _name(name) + attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
        self._add(name, _link_info("veth", attribute(_VETH_INFO_PEER, peer)))

    def add_vxlan(self, name: str, identifier: int) -> None:
        """Add a vxlan link of that network identifier, without a device below."""
        port = attribute(_IFLA_VXLAN_PORT, struct.pack(">H", 4789))
        self._add(name, _link_info("vxlan", attribute(_IFLA_VXLAN_ID, struct.pack("=I", identifier)) + port))

    def knows_kind(self, kind: str) -> bool:
        """True when the kernel knows network links of *kind* now; no module is loaded.

        *Source*: RTM_GETLINK of rtnetlink(7) filtered by IFLA_INFO_KIND, since Linux 4.6. The kernel
        ignores the filter for an unknown kind, so `lo` is in the dump; a control call proves this on this kernel.
        """
        return not self._shows_lo(kind) and self._shows_lo("userns-probe")

    def _shows_lo(self, kind: str) -> bool:
        request = self._encode(_NEW_LINK + _link_info(kind), _RTM_GETLINK, _REQUEST | _DUMP)
        return LO in [_index(message) for message in self._answers(request)]

    def _add(self, name: str, info: bytes) -> None:
        self._change(_NEW_LINK + _name(name) + info, _CREATE_NEW)

    def _change(self, link: bytes, flags: int = 0) -> None:
        for _ in self._answers(self._encode(link, _RTM_NEWLINK, _REQUEST | _ACK | flags)):
            pass

    def _encode(self, link: bytes, kind: int, flags: int) -> bytes:
        self._sequence += 1
        return _HEADER.pack(_HEADER.size + len(link), kind, flags, self._sequence, 0) + link

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


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes. *Source*: netlink(7)."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _link_info(kind: str, data: bytes = b"") -> bytes:
    info = attribute(_IFLA_INFO_KIND, kind.encode() + b"\0")
    return attribute(_IFLA_LINKINFO, info + (attribute(_IFLA_INFO_DATA, data) if data else b""))


def _index(message: bytes) -> int:
    if len(message) < _HEADER.size + _LINK.size:
        raise OSError(errno.EIO, "netlink message is cut off")
    return int(_LINK.unpack_from(message, _HEADER.size)[2])


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


def raise_error(message: bytes) -> None:
    """Raise the error of a message of type NLMSG_ERROR or NLMSG_DONE; return when it has none."""
    if len(message) < _HEADER.size + _ERROR.size:
        raise OSError(errno.EIO, "netlink message is cut off")
    (number,) = _ERROR.unpack_from(message, _HEADER.size)
    if number:
        raise OSError(-number, os.strerror(-number))
