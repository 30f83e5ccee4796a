"""An API server for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.serve.api_double import ApiDouble, running
from lab.serve.publishing import World


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """A double of the API server, and the environment of a Pod that finds it."""
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    with running(directory) as double:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(double.port))
        yield double


@pytest.fixture
def world(api: ApiDouble) -> World:
    return World(api)
