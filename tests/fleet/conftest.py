"""The inventory of the small cluster, taken once over real TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.fleet.cluster import small
from lab.fleet.server import ListServer, serving
from probe.fleet.inventory import Inventory
from probe.fleet.take import Options, take
from probe.publish.api.interface import Access

Taking = Callable[..., Inventory]


@pytest.fixture(scope="session")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Of the small cluster, by somebody who may read everything."""
    with taking(small(), tmp_path_factory.mktemp("small")) as take_now:
        return take_now()


@contextmanager
def taking(server: ListServer, folder: Path, **user: Any) -> Iterator[Taking]:
    """A function that takes the inventory of *server* without ever waiting; `pauses` are its waits."""
    with serving(server, folder, **user) as kubeconfig:
        access = Access(kubeconfig=str(kubeconfig), silence=10.0, deadline=30.0)
        yield lambda pauses=None, **options: take(
            Options(access=access, **options), sleep=(pauses if pauses is not None else []).append
        )
