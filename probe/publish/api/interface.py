"""What the client of the Kubernetes API takes, gives and raises: without the client, which takes 8 MB of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from msgspec import Struct

EVENT_NAMESPACE = "default"
"""Namespace of Events about Nodes, which have no namespace."""
NO_CREDENTIALS = "NoCredentials"
UNREACHABLE = "Unreachable"


class Access(Struct, frozen=True, kw_only=True):
    """Address, credentials and timeouts for the API server."""

    service_account: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Directory of token and CA; used without a kubeconfig."""
    kubeconfig: str | None = None
    context: str | None = None
    """Context of the kubeconfig; None for its current one."""
    silence: float = 10.0
    """Timeout in seconds for the connection and between bytes."""
    deadline: float = 30.0
    """Timeout in seconds for a whole request, even if bytes keep arriving."""


class Failure(Exception):
    """The API server refused a request (HTTP *status*), or gave no valid answer (*status* 0).

    *retry_after*: seconds that the server asked to wait, or None.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class NodeApi(Protocol):
    """The requests about one Node; each raises only Failure. `client.Api` says what they do."""

    def get_node(self, name: str) -> dict[str, Any]:
        """Read the Node."""

    def apply_metadata(self, name: str, metadata: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply annotations and labels."""

    def apply_condition(self, name: str, condition: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply the condition."""

    def delete_condition(self, name: str, kind: str) -> dict[str, Any]:
        """Delete the condition."""

    def delete_keys(self, name: str, *, annotations: Iterable[str], labels: Iterable[str]) -> dict[str, Any]:
        """Delete annotations and labels."""

    def create_event(self, event: dict[str, Any]) -> None:
        """Create an Event."""


def is_node(document: Any, name: str) -> bool:
    """Whether *document* is the Node *name*: a proxy may answer 200 without writing anything."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return isinstance(metadata, dict) and document.get("kind") == "Node" and metadata.get("name") == name
