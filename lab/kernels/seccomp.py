"""Runs a command under a seccomp filter that answers for the kernel: python seccomp.py ERRNO NUMBER,... COMMAND...

NUMBERs are those of system calls. So do profiles that are older than these system calls, or do not want them in
containers: some with EPERM, others with ENOSYS as if the kernel did not have them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence

MOUNT_SETATTR = (442, 467)
"""mount_setattr and open_tree_attr, the same numbers on every architecture that the tests run on."""
MOUNT_API = (428, 429, 430, 431, 432, 433, *MOUNT_SETATTR)
"""open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, and those."""
NAMESPACES = {"aarch64": (97, 268)}.get(platform.machine(), (272, 308))
"""unshare and setns, which the default profiles of container runtimes keep for CAP_SYS_ADMIN."""

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
BPF_LD_W_ABS, BPF_JEQ_K, BPF_RET_K = 0x20, 0x15, 0x06


def answer(error: int, system_calls: Sequence[int]) -> None:
    """Let this process, and all that it starts, get *error* from these system calls. Needs CAP_SYS_ADMIN."""
    count = len(system_calls)
    program = [(BPF_LD_W_ABS, 0, 0, 0)]  # seccomp_data.nr
    program += [(BPF_JEQ_K, count - index, 0, number) for index, number in enumerate(system_calls)]
    program += [(BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW), (BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | error)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filter_program = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0):
        raise OSError(ctypes.get_errno(), "the filter was not taken")


if __name__ == "__main__":
    answer(getattr(errno, sys.argv[1]), [int(number) for number in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])
