"""Tiny programs of machine code, for processes that have to have a certain name, file and nothing else.

They stand for daemons: a script would show its interpreter's name in /proc.
"""

from __future__ import annotations

import platform
import struct
from pathlib import Path

EM_X86_64, EM_AARCH64 = 62, 183  # linux/elf-em.h

KUBELET_HEADER = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


def write_program(path: str | Path, code: str, data: bytes = b"", machine: int = EM_X86_64) -> None:
    """A program of nothing but these instructions, in hexadecimal, and *data* behind them, at 0x400078."""
    content = bytes.fromhex(code) + data
    base, start = 0x400000, 120
    size = start + len(content)
    magic = b"\x7fELF\2\1\1"
    header = struct.pack("<16sHHIQQQIHHHHHH", magic, 2, machine, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
    Path(path).write_bytes(header + segment + content)
    Path(path).chmod(0o755)


def write_kubelet(path: str | Path, version: str) -> None:
    """A program that prints *version* when it gets one argument, and waits for ever when it gets more."""
    text = f"Kubernetes v{version}\n".encode()
    if platform.machine() == "aarch64":
        return write_program(path, _KUBELET_AARCH64.format(length=_mov(2, len(text))), text, EM_AARCH64)
    code = (
        "48833c2402"  # cmp qword [rsp], 2
        "7521"  # jne to pause
        "b801000000bf01000000488d3519000000ba"  # write(1, text,
        + struct.pack("<I", len(text)).hex()
        + "0f05"  # length)
        "b83c00000031ff0f05b8220000000f05ebf7"  # exit(0); pause() for ever
    )
    return write_program(path, code, text)


def _mov(register: int, value: int) -> str:
    """The instruction `mov` of aarch64."""
    return struct.pack("<I", 0xD2800000 | value << 5 | register).hex()


_KUBELET_AARCH64 = (
    "e00340f9"  # ldr x0, [sp]
    "1f0800f1"  # cmp x0, 2
    "21010054"  # b.ne to ppoll
    + _mov(8, 64) + _mov(0, 1) + "a1010010" + "{length}" + "010000d4"  # write(1, text, length)
    + _mov(8, 93) + _mov(0, 0) + "010000d4"  # exit(0)
    + _mov(8, 73) + _mov(0, 0) + _mov(1, 0) + _mov(2, 0) + _mov(3, 0) + "010000d4"  # ppoll(nothing) for ever
    "faffff17"  # b to ppoll
)  # fmt: skip
