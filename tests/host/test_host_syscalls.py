"""Which system calls this process has, by what the kernel calls the machine."""

import subprocess
import sys

import pytest

from probe.host.syscalls import SUPPORTED_ARCHITECTURE, native


@pytest.mark.parametrize(
    ("machine", "pointer", "expected"),
    [
        ("x86_64", 8, "x86_64"),
        ("x86_64", 4, "x86_64"),
        ("i686", 8, "x86_64"),
        ("i686", 4, "i686"),
        ("armv8l", 8, "aarch64"),
        ("armv8l", 4, "armv8l"),
        ("riscv64", 8, "riscv64"),
    ],
)
def test_native(machine: str, pointer: int, expected: str) -> None:
    """The name is that of 32 bits in old build chroots, the calls are those of the process."""
    assert native(machine, pointer) == expected


def test_a_process_that_is_told_of_a_machine_of_32_bits() -> None:
    """As `setarch linux32` makes it: personality(2), PER_LINUX32."""
    program = (
        "import ctypes; ctypes.CDLL(None).personality(8); import platform; "
        "from probe.host.syscalls import SUPPORTED_ARCHITECTURE; print(platform.machine(), SUPPORTED_ARCHITECTURE)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == str(SUPPORTED_ARCHITECTURE)
