"""Steps of an engine that makes a network inside a Pod: links, NAT, forwarding, TUN.

None loads a module: what the kernel does not know now is not requested.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any

from probe.host import syscalls
from probe.host.nested.pod import Devices
from probe.host.sandbox.links import Links, raise_error
from probe.host.sandbox.steps import UnknownToKernelError

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_BATCH_BEGIN, _BATCH_END, _NFTABLES = 0x10, 0x11, 10
_NEWTABLE, _NEWCHAIN = 0, 3
_NFPROTO_IPV4 = 2
_NESTED = 0x8000
_TABLE = b"probe\0"

_IPT_SO_GET_INFO = 64  # linux/netfilter_ipv4/ip_tables.h
_IPT_INFO = 84
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


class Network:
    """The network namespace of the Pod, and the netlink socket in it."""

    def __init__(self, codec: Any, devices: Devices, knows_module: Callable[[str], bool]) -> None:
        """*knows_module* returns whether the kernel has a module, or can load none."""
        self._codec = codec
        self._devices = devices
        self._knows_module = knows_module

    @cached_property
    def _links(self) -> Links:
        return Links(self._codec)

    def make_bridge(self) -> None:
        self._add("bridge")

    def make_veth(self) -> None:
        """Add a veth pair with both ends here."""
        self._add("veth")

    def make_vxlan(self) -> None:
        if not self._links.knows_kind("vxlan"):
            raise UnknownToKernelError("vxlan")
        self._links.add_vxlan("probe-vxlan", 1)

    def _add(self, kind: str) -> None:
        if not self._links.knows_kind(kind):
            raise UnknownToKernelError(kind)
        self._links.add_link(f"probe-{kind}", kind)

    def make_nat(self) -> None:
        """Add a table with a chain of type `nat` in one batch, as `nft` and `iptables-nft` do."""
        if not all(map(self._knows_module, ("nfnetlink", "nf_tables", "nft_chain_nat"))):
            raise UnknownToKernelError("nf_tables")
        send_batch()

    def ask_ip_tables(self) -> None:
        """Ask for the table `nat`, as the legacy iptables does first."""
        if not all(map(self._knows_module, ("ip_tables", "iptable_nat"))):
            raise UnknownToKernelError("ip_tables")
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            syscalls.getsockopt(raw.fileno(), socket.SOL_IP, _IPT_SO_GET_INFO, b"nat".ljust(_IPT_INFO, b"\0"))

    def forward(self) -> None:
        """Switch forwarding on in this network namespace."""
        with open("/proc/sys/net/ipv4/ip_forward", "r+b", buffering=0) as file:
            file.write(b"1")

    def make_tun(self) -> None:
        if self._devices.tun < 0:
            raise UnknownToKernelError("tun")
        request = struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._devices.tun, _TUNSETIFF, request)


def send_batch() -> None:
    """Send a batch that makes a table and a chain of type `nat`. *Errors*: OSError with the kernel's errno."""
    table = _attribute(1, _TABLE)
    hook = _attribute(1, struct.pack(">I", 4)) + _attribute(2, struct.pack(">i", 100))  # postrouting, srcnat
    chain = table + _attribute(3, b"probe\0") + _attribute(4 | _NESTED, hook) + _attribute(7, b"nat\0")
    batch = (
        _message(_BATCH_BEGIN, 1, 0, 0, _NFTABLES, b""),
        _message(_NFTABLES << 8 | _NEWTABLE, 2, _ACK | _CREATE, _NFPROTO_IPV4, 0, table),
        _message(_NFTABLES << 8 | _NEWCHAIN, 3, _ACK | _CREATE, _NFPROTO_IPV4, 0, chain),
        _message(_BATCH_END, 4, 0, 0, _NFTABLES, b""),
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(1)
        netlink.sendto(b"".join(batch), (0, 0))
        for _ in (2, 3):
            raise_error(netlink.recv(1 << 16))


def _message(kind: int, sequence: int, flags: int, family: int, resource: int, attributes: bytes) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, sequence, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes. *Source*: netlink(7)."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def known_modules(own_proc: int) -> Callable[[str], bool]:
    """Tells whether the running kernel has a module now: one that is loaded, or any where none can be loaded.

    What is built into a kernel that can load modules and has no directory in /sys/module counts as unknown.
    """
    try:
        os.stat("modules", dir_fd=own_proc)
        with open(os.open("sys/kernel/modules_disabled", os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc), "rb") as file:
            loads = file.read(1) != b"1"
    except FileNotFoundError:
        loads = False
    present = set(os.listdir("/sys/module")) if loads else set()
    return lambda name: not loads or name in present
