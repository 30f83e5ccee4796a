"""The image, built once, and the node that Pods of ours run on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.deploy import image as images
from lab.deploy.image import Image
from lab.deploy.manifests import render
from lab.prerequisites import require
from lab.real import debian
from lab.real.debian import Unavailable


@pytest.fixture(scope="session")
def image(workspace: str) -> Image:
    """The image of this checkout, or a missing prerequisite."""
    for program, package in (("buildah", "buildah"), ("debootstrap", "debootstrap")):
        require(shutil.which(program), f"{program} (package {package})")
    try:
        return images.build()
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.fixture(scope="session")
def kubectl() -> str:
    """kubectl with kustomize, or a missing prerequisite."""
    try:
        return str(debian.fetch("kubectl", "trixie") / "usr/bin/kubectl")
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.fixture
def rendered(kubectl: str, tmp_path: Path) -> Any:
    """(component, ...) -> the objects that kustomize makes of daemonset.yaml with them."""
    return lambda *components: render(components, tmp_path, kubectl)
