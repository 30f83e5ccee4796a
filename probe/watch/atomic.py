"""Files that are replaced as a whole."""

from __future__ import annotations

import contextlib
import os


def replace_file(directory: int | None, name: str, content: bytes, mode: int = 0o644) -> None:
    """Put *content* at *name*, by default readable by everyone; readers see the old file or the new one, never a part.

    *directory* is an open directory, None for the current one. The temporary name begins with a dot. *Errors*: OSError.
    """
    folder, base = os.path.split(name)
    temporary = os.path.join(folder, f".{base}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)  # of a predecessor that was killed between open and rename
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)  # readers are other users, whatever the umask here
            file.write(content)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:  # also SystemExit, with which SIGTERM ends a probe
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
