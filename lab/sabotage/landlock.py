"""Runs a command under a Landlock ruleset that forbids block devices alone: python landlock.py COMMAND...

With LANDLOCK_ALONE in the environment, no_new_privs stays off: then nothing shows what confines the process.

Whatever the rules are, the kernel then refuses every change of the mount table. *Source*: landlock(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# Numbers of system calls from 424 on are the same on every architecture.
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_ACCESS_FS_MAKE_BLOCK = 1 << 11
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def restrict(no_new_privileges: bool) -> None:
    """Confine this process and all that it starts; without *no_new_privileges* this needs CAP_SYS_ADMIN.

    *Errors*: OSError, with ENOSYS or EOPNOTSUPP without Landlock.
    """
    rules = ctypes.create_string_buffer(struct.pack("=Q", LANDLOCK_ACCESS_FS_MAKE_BLOCK), 8)
    ruleset = _call(LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(8), 0)
    if no_new_privileges:
        _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(LANDLOCK_RESTRICT_SELF, ruleset, 0)


if __name__ == "__main__":
    restrict(no_new_privileges="LANDLOCK_ALONE" not in os.environ)
    os.execvp(sys.argv[1], sys.argv[1:])
