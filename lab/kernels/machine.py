"""Booting a kernel in qemu to run one command, and bringing home what it printed.

    from lab.kernels import image, machine, packages

    kernel = packages.kernel("6.12")
    outcome = machine.boot(kernel, image.images(), "python3 -c 'print(1)'", modules=("ext4",))
    assert (outcome.code, outcome.documents) == (0, [1])

The guest has no network and shares nothing with this machine: what it writes to the images and disks that it is given
is thrown away. Its root is put together from squashfs images, each path in it as on this machine (see image.py), with a
tmpfs on top; its process 1 is a shell script (init.sh, then run.sh); it has the mounts of a booted machine with
cgroup v2.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from lab.kernels.initramfs import initramfs
from lab.kernels.packages import Kernel
from lab.real import debian
from lab.real.debian import Unavailable

TRIAL = 5.0  # seconds for a trial of hardware acceleration: where it works, a guest takes one or two
TAIL = 3000  # characters at the end of the console, which say why a guest did not come to its end


@dataclass(frozen=True)
class Hardware:
    """What qemu emulates for one of Debian's architectures."""

    qemu: str
    machine: str
    console: str  # Linux' name of its first serial port
    native: str  # how the kernel of a machine calls the architecture that may run it without emulation
    parameters: str = ""
    processor: str = "max"  # that is emulated
    package: str = ""  # of Debian bookworm, which has it for machines that have not: what it emulates needs no firmware


HARDWARE = {
    "amd64": Hardware(
        "qemu-system-x86_64",
        "q35",
        "ttyS0",
        "x86_64",
        parameters="no_timer_check",  # its timer comes late on a busy machine
        # Without -erms all copy memory with `rep movsb`, which is emulated byte by byte; with la57 each address that is
        # not in the emulated TLB takes a fifth level of page tables.
        processor="max,-erms,-fsrm,-la57",
    ),
    "arm64": Hardware("qemu-system-aarch64", "virt", "ttyAMA0", "aarch64", package="qemu-system-arm"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a command in a guest."""

    code: int  # its exit code
    documents: list[Any]  # what it printed, one JSON document a line
    seconds: float  # from the start of qemu to its end
    console: str  # what the kernel said, and stderr of the command


class GuestError(Exception):
    """A guest did not come to its end: it panicked, hung, or qemu refused. With the end of what its console said."""


def boot(
    kernel: Kernel,
    images: Sequence[Path],
    command: str,
    *,
    modules: Sequence[str] = (),
    disks: Mapping[str, Path] | None = None,
    arguments: Sequence[str] = (),
    parameters: str = "",
    memory: int = 1024,
    timeout: float = 300,
) -> Outcome:
    """Boot *kernel* with *images* as layers of its root, the last one on top, and run *command* in it.

    *command* is a line of shell, run by root in `/`. Each line that it prints has to be one JSON document; its stderr
    goes to the console. *modules* are loaded before, with all that they need; those that this kernel does not have are
    left out. *disks* are raw images, each found at /dev/disk/NAME. *arguments* are further ones of qemu, *parameters*
    of the kernel; *memory* in MiB, *timeout* in seconds.
    *Errors*: GuestError; debian.Unavailable where qemu or another tool is missing.
    """
    hardware = HARDWARE[kernel.architecture]
    drives = {f"root{number}": image for number, image in enumerate(images)} | dict(disks or {})
    words = ["-m", str(memory), "-append", _parameters(hardware, parameters), *arguments]
    for name, file in drives.items():
        words += ["-drive", f"file={file},format=raw,if=none,id={name},snapshot=on"]
        words += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
    return _boot(kernel, initramfs(kernel, command, modules), [*_acceleration(kernel), *words], timeout)


_accelerations: dict[str, tuple[str, ...]] = {}
"""Architecture -> qemu's arguments, as the first trial in this process came out."""
_trial = Lock()
_running: set[subprocess.Popen[str]] = set()


def stop_all() -> None:
    """Kill the guests that other threads wait for: those get a GuestError."""
    for qemu in tuple(_running):
        qemu.kill()


def _acceleration(kernel: Kernel) -> tuple[str, ...]:
    """Hardware acceleration where it really boots: /dev/kvm may be there, and open, and yet boot nothing."""
    with _trial:
        return _tried_acceleration(kernel)


def _tried_acceleration(kernel: Kernel) -> tuple[str, ...]:
    hardware = HARDWARE[kernel.architecture]
    if kernel.architecture not in _accelerations:
        _accelerations[kernel.architecture] = ("-accel", "tcg", "-cpu", hardware.processor)
        if platform.machine() == hardware.native and os.access("/dev/kvm", os.R_OK | os.W_OK):
            kvm = ("-accel", "kvm", "-cpu", "host")
            words = [*kvm, "-m", "512", "-append", _parameters(hardware, "")]
            try:
                _boot(kernel, initramfs(kernel, "true"), words, TRIAL)
                _accelerations[kernel.architecture] = kvm
            except GuestError:
                pass
    return _accelerations[kernel.architecture]


def _parameters(hardware: Hardware, more: str) -> str:
    basic = f"console={hardware.console} quiet panic=-1 mitigations=off random.trust_cpu=on"
    return " ".join([basic, hardware.parameters, more])


def _boot(kernel: Kernel, archive: bytes, words: Sequence[str], timeout: float) -> Outcome:
    """Run qemu with these arguments until the guest switches itself off."""
    hardware = HARDWARE[kernel.architecture]
    with tempfile.TemporaryDirectory(prefix="userns-probe-guest-") as scratch:
        initrd, results, console = (f"{scratch}/{name}" for name in ("initrd", "results", "console"))
        Path(initrd).write_bytes(archive)
        command = [
            # One processor: a kernel that changes its code while another one runs it may die under emulation.
            *(_qemu(hardware), "-machine", hardware.machine, "-smp", "1", "-nodefaults", "-no-user-config"),
            *("-display", "none", "-no-reboot", "-serial", f"file:{console}"),
            *("-kernel", str(kernel.image), "-initrd", initrd),
            # Results have a port of their own, where the kernel does not speak in between.
            *("-chardev", f"file,id=results,path={results}", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=results,name=results", *words),
        ]
        began = time.monotonic()
        ending = _run(command, timeout)
        seconds = time.monotonic() - began
        said, lines = _read(console), _read(results).splitlines()
    if not lines or not lines[-1].startswith('{"exit": '):
        raise GuestError(f"Linux {kernel}: {ending} after {seconds:.0f} s; its console ends:\n{said[-TAIL:]}")
    try:
        *documents, last = [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        words = f"the command printed what is not JSON: {error.doc!r}"
        raise GuestError(f"Linux {kernel}: {words}\n{said[-TAIL:]}") from None
    return Outcome(last["exit"], documents, seconds, said)


def _qemu(hardware: Hardware) -> str:
    found = shutil.which(hardware.qemu)
    if not found and hardware.package:
        return str(debian.fetch(hardware.package, "bookworm") / "usr/bin" / hardware.qemu)
    if not found:
        raise Unavailable(f"command {hardware.qemu} is not there")
    return found


def _run(command: Sequence[str], timeout: float) -> str:
    """How it ended, in words; it does not outlive this process."""
    mortal = ["setpriv", "--pdeathsig", "KILL", *command]
    qemu = subprocess.Popen(mortal, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _running.add(qemu)
    try:
        _, error = qemu.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return "the guest did not end by itself"
    finally:
        qemu.kill()
        qemu.wait()
        _running.discard(qemu)
    return f"qemu ended with status {qemu.returncode} {error.strip()}".strip()


def _read(file: str) -> str:
    try:
        return Path(file).read_text(errors="replace")
    except FileNotFoundError:
        return ""
