"""Client of the Kubernetes API: the few requests of userns-probe, and one exception for all failures.

Each publication, of which there are a few per day, creates a new client. So no token, cluster CA or connection is kept
after it was rotated, revoked or lost.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec
from lightkube import ApiError, Client, ConfigError, SingleConfig
from lightkube.types import PatchType

from probe.outputs.annotations import FIELD_MANAGER
from probe.publish.api.answers import judged, node_of
from probe.publish.api.interface import EVENT_NAMESPACE, NO_CREDENTIALS, UNREACHABLE, Access, Failure
from probe.publish.api.kubeconfig import from_kubeconfig, from_pod
from probe.publish.api.plain import RESPONSE_LIMIT
from probe.publish.api.resources import CoreEvent, Node, NodeStatus
from probe.publish.api.transport import Guard, tls_context

PAGE = 100
"""Nodes per page of a list."""
PAGE_LIMIT = PAGE * (384 << 10)
"""Maximum bytes of a page: a Node may have 256 KiB of annotations and about 100 KiB of image names."""

APPLY, MERGE, STRATEGIC = PatchType.APPLY, PatchType.MERGE, PatchType.STRATEGIC

_NO_TOKEN = (LookupError, TypeError, AttributeError, json.JSONDecodeError)
"""Exceptions of lightkube for a credential plugin whose output is not a token."""
_ADVICE = "a kubeconfig with a token, such as `kubectl create token` gives, needs no plugin"


class Api:
    """The requests; each raises only Failure."""

    def __init__(self, client: Client, plugin: str = "") -> None:
        """*plugin*: command of the credential plugin; empty without one."""
        self._client, self._plugin = client, plugin

    def get_node(self, name: str) -> dict[str, Any]:
        """Read the Node."""
        with self._failures():
            return node_of(self._client.get(Node, name), name)

    def apply_metadata(self, name: str, metadata: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply *metadata* as exactly our annotations and labels; returns the Node."""
        return self._apply(Node, name, {"metadata": {"name": name, **metadata}}, force)

    def apply_condition(self, name: str, condition: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply *condition*, keeping the conditions of others; returns the Node."""
        return self._apply(NodeStatus, name, {"metadata": {"name": name}, "status": {"conditions": [condition]}}, force)

    def delete_condition(self, name: str, kind: str, *, version: str = "") -> dict[str, Any]:
        """Delete the condition of type *kind*; returns the Node. *version*: refused (409) unless it is the Node's.

        Not by an empty apply, which also removed the kubelet's conditions with `Ready`: the kubelet owns fields of its
        conditions but not the list entries (seen with 1.36.2).
        """
        condition = {"status": {"conditions": [{"$patch": "delete", "type": kind}]}}
        return self._patch(NodeStatus, name, condition | _precondition(version), STRATEGIC)

    def delete_keys(
        self, name: str, *, annotations: Iterable[str], labels: Iterable[str], version: str = ""
    ) -> dict[str, Any]:
        """Delete keys of any owner; returns the Node. *version*: refused (409) unless it is the Node's.

        Unlike apply, the patch never creates a missing Node.
        """
        keys = {"annotations": dict.fromkeys(annotations), "labels": dict.fromkeys(labels)}
        metadata = {kind: names for kind, names in keys.items() if names} | _precondition(version).get("metadata", {})
        return self._patch(Node, name, {"metadata": metadata}, MERGE)

    def create_event(self, event: dict[str, Any]) -> None:
        """Create an Event; success if its name exists, since an earlier attempt created it."""
        with self._failures():
            try:
                self._client.create(CoreEvent(**event), namespace=EVENT_NAMESPACE)
            except ApiError as error:
                if error.response.status_code != 409:
                    raise

    def list_page(self, token: str = "") -> tuple[list[dict[str, Any]], str]:
        """(Nodes, token of the next page); the token is empty after the last page.

        The server refuses an expired token with 410, and the list must restart. `Client.list` would restart after any
        failure.
        """
        client = self._client._client
        with self._failures():
            request = client.prepare_request("list", Node, params={"limit": PAGE, "continue": token or None})
            response = client.send(client.build_adapter_request(request))
            more, _, nodes = client.handle_response("list", response, request)
        return nodes, request.params["continue"] if more else ""

    def _failures(self) -> contextlib.AbstractContextManager[None]:
        return failures(plugin=self._plugin)

    def _apply(self, resource: Any, name: str, content: dict[str, Any], force: bool) -> dict[str, Any]:
        return self._patch(resource, name, {"apiVersion": "v1", "kind": "Node"} | content, APPLY, force=force)

    def _patch(
        self, resource: Any, name: str, body: dict[str, Any], patch_type: PatchType, **more: Any
    ) -> dict[str, Any]:
        with self._failures():
            patched = self._client.patch(
                resource, name, body, patch_type=patch_type, field_manager=FIELD_MANAGER, **more
            )
            return node_of(patched, name)


@contextlib.contextmanager
def connect(access: Access) -> Iterator[Api]:
    """Client with the current token, CA and address. *Errors*: Failure."""
    with failures(LookupError, TypeError, AttributeError):  # raised for a malformed kubeconfig
        config = config_of(access)
        guard = Guard(tls_context(config), deadline=access.deadline, limit=_limit, judge=judged)
        client = Client(config, timeout=httpx2.Timeout(access.silence), transport=guard)
    try:
        yield Api(client, config.user.exec.command if config.user and config.user.exec else "")
    finally:
        client.close()


def _precondition(version: str) -> dict[str, dict[str, str]]:
    """The part of a patch by which the server refuses it once the object has another resourceVersion."""
    return {"metadata": {"resourceVersion": version}} if version else {}


def config_of(access: Access) -> SingleConfig:
    """Address and credentials. *Errors*: ConfigError, OSError, ValueError; LookupError, TypeError, AttributeError."""
    if access.kubeconfig is None:
        return from_pod(access.service_account)
    return from_kubeconfig(access.kubeconfig, access.context)


def _limit(request: httpx2.Request) -> int:
    return PAGE_LIMIT if "limit" in request.url.params else RESPONSE_LIMIT


@contextlib.contextmanager
def failures(*malformed: type[Exception], plugin: str = "") -> Iterator[None]:
    """Turn what lightkube and its HTTP client raise into Failure; *malformed*: further exceptions of bad settings."""
    unusable: tuple[type[Exception], ...] = (ConfigError, OSError, ValueError, NotImplementedError, *malformed)
    try:
        yield
    except ApiError as error:
        wait = seconds_of(error.response.headers.get("Retry-After", ""))
        status, told = error.response.status_code, error.status
        raise Failure(status, told.reason or "", told.message or "", wait) from error
    except httpx2.LocalProtocolError as error:  # its text contains the token
        raise Failure(0, NO_CREDENTIALS, "the token has characters that HTTP headers do not allow") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Failure(0, UNREACHABLE, f"{type(error).__name__}: {error}") from error
    except msgspec.DecodeError as error:
        raise Failure(0, UNREACHABLE, f"an unexpected answer: {error}") from error
    except Exception as error:
        if plugin and isinstance(error, _NO_TOKEN):
            wanted = f"{plugin} printed no token, and client certificates of plugins are not supported: {_ADVICE}"
            raise Failure(0, NO_CREDENTIALS, wanted) from error
        if not isinstance(error, unusable):
            raise
        raise Failure(0, NO_CREDENTIALS, f"{type(error).__name__}: {error}") from error


def seconds_of(text: str) -> float | None:
    """Seconds in Retry-After, given as a number or a date by our clock; None for other text."""
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
