"""Events against a double of the API server."""

from __future__ import annotations

from typing import Any

import pytest

from lab.serve.api_double import ApiDouble
from lab.serve.publishing import World
from probe.publish.api.client import connect
from probe.publish.api.interface import Failure


def event(namespace: str) -> dict[str, Any]:
    """An Event in the namespace `default` of an object in *namespace*."""
    return {
        "metadata": {"name": "change", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": "node-1", "namespace": namespace},
    }


def test_an_event_that_the_server_finds_invalid_has_failed(world: World, api: ApiDouble) -> None:
    """It was not made, and whoever sent it is told so with the server's words."""
    api.store.rules |= {("create", "events")}
    with connect(world.access) as client, pytest.raises(Failure) as raised:
        client.create_event(event("kube-system"))
    assert (raised.value.status, raised.value.reason) == (422, "Invalid")
    assert api.store.events == {}


def test_an_event_that_is_there_already_was_made(world: World, api: ApiDouble) -> None:
    """The answer to the first request was lost, so it is sent again, under the same name."""
    api.store.rules |= {("create", "events")}
    with connect(world.access) as client:
        client.create_event(event("default"))
        client.create_event(event("default"))
    assert list(api.store.events) == ["change"]
