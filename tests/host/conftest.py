"""What tests of the host share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.grpc_server import Servers, servers


@pytest.fixture(scope="session")
def grpc_servers() -> Iterator[Servers]:
    """The process that starts gRPC servers."""
    with servers() as made:
        yield made
