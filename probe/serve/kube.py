"""The few requests that are made to the Kubernetes API, and one kind of failure for all that can go wrong with them.

A client lives for one publication, of which there are a handful a day. So no token, no cluster CA and no connection
is ever kept that has been rotated, revoked or lost meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube import ApiError, Client, ConfigError, KubeConfig, SingleConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SERVICE_ACCOUNT
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericGlobalStatus,
    GenericNamespacedResource,
    create_api_info,
)
from lightkube.types import PatchType
from msgspec import Struct

FIELD_MANAGER = "userns-probe"
EVENT_NAMESPACE = "default"
"""Where Events about Nodes live, since a Node has no namespace."""
RESPONSE_LIMIT = 4 << 20
"""Bytes of a response; etcd stores no object above 1.5 MiB, and what is decoded takes many times as much memory."""
PAGE = 10
"""Nodes of one page of a list: the annotations of each may have 256 KiB."""

APPLY, MERGE, STRATEGIC = PatchType.APPLY, PatchType.MERGE, PatchType.STRATEGIC

NO_CREDENTIALS = "NoCredentials"
UNREACHABLE = "Unreachable"


class Node(GenericGlobalResource):
    """A Node as the plain object it is in JSON: no field of a newer server can fail to decode."""

    _api_info = create_api_info("", "v1", "Node", "nodes")


class NodeStatus(GenericGlobalStatus):
    """The subresource of a Node's status."""

    _api_info = ApiInfo(
        resource=ResourceDef("", "v1", "Node"),
        parent=ResourceDef("", "v1", "Node"),
        plural="nodes",
        verbs=["get", "patch"],
        action="status",
    )


class CoreEvent(GenericNamespacedResource):
    """A core/v1 Event."""

    _api_info = create_api_info("", "v1", "Event", "events")


class Access(Struct, frozen=True, kw_only=True):
    """How to reach the API server, and how long to wait for it."""

    service_account: str = SERVICE_ACCOUNT
    """Directory of token and CA; used when there is no kubeconfig."""
    kubeconfig: str | None = None
    context: str | None = None
    """Of the kubeconfig; None is its current one."""
    silence: float = 10.0
    """Seconds without a byte, or for connecting, after which a request has failed."""
    deadline: float = 30.0
    """Seconds for a whole request, however busily the server dribbles."""


class Failure(Exception):
    """The API server refused (*status* is HTTP's), or there was no proper answer (*status* 0).

    *retry_after*: seconds that the server asked to wait, or None.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class Api:
    """The requests; each raises Failure and nothing else."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get_node(self, name: str) -> dict[str, Any]:
        """The Node."""
        with _failures():
            return _node(self._client.get(Node, name), name)

    def apply_metadata(self, name: str, metadata: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """The Node after the annotations and labels that we own became exactly those of *metadata*."""
        return self._apply(Node, name, {"metadata": {"name": name, **metadata}}, force)

    def apply_condition(self, name: str, condition: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """The Node after *condition* was set; the conditions of others stay."""
        return self._apply(NodeStatus, name, {"metadata": {"name": name}, "status": {"conditions": [condition]}}, force)

    def delete_condition(self, name: str, kind: str) -> dict[str, Any]:
        """The Node without the condition of type *kind*.

        Not by an apply of nothing: that took the kubelet's conditions along, `Ready` among them, since the kubelet
        owns fields of its conditions but not the conditions (seen with 1.36.2).
        """
        return self._patch(
            NodeStatus, name, {"status": {"conditions": [{"$patch": "delete", "type": kind}]}}, STRATEGIC
        )

    def delete_keys(self, name: str, *, annotations: Iterable[str], labels: Iterable[str]) -> dict[str, Any]:
        """The Node without these keys, whoever owns them; unlike an apply it makes no Node that is missing."""
        metadata = {"annotations": dict.fromkeys(annotations), "labels": dict.fromkeys(labels)}
        return self._patch(Node, name, {"metadata": {kind: keys for kind, keys in metadata.items() if keys}}, MERGE)

    def create_event(self, event: dict[str, Any]) -> None:
        """Make an Event; one of the same name that is there already is it, sent before."""
        with _failures():
            try:
                self._client.create(CoreEvent(**event), namespace=EVENT_NAMESPACE)
            except ApiError as error:
                if error.response.status_code != 409:
                    raise

    def list_nodes(self) -> Iterator[dict[str, Any]]:
        """Every Node, page by page."""
        with _failures():
            yield from self._client.list(Node, chunk_size=PAGE)

    def _apply(self, resource: Any, name: str, content: dict[str, Any], force: bool) -> dict[str, Any]:
        return self._patch(resource, name, {"apiVersion": "v1", "kind": "Node"} | content, APPLY, force=force)

    def _patch(
        self, resource: Any, name: str, body: dict[str, Any], patch_type: PatchType, **more: Any
    ) -> dict[str, Any]:
        with _failures():
            patched = self._client.patch(
                resource, name, body, patch_type=patch_type, field_manager=FIELD_MANAGER, **more
            )
            return _node(patched, name)


@contextlib.contextmanager
def connect(access: Access) -> Iterator[Api]:
    """A client with the token, the CA and the address as they are now. *Errors*: Failure."""
    with _failures(LookupError, TypeError, AttributeError):  # what a malformed kubeconfig raises
        config = _config(access)
        context = _tls(config)
        client = Client(config, timeout=httpx2.Timeout(access.silence), transport=_Guard(context, access.deadline))
    try:
        yield Api(client)
    finally:
        client.close()


def _config(access: Access) -> SingleConfig:
    if access.kubeconfig is not None:
        found = _kubeconfig(access.kubeconfig).get(access.context)
    elif not os.environ.get("KUBERNETES_SERVICE_HOST") or not os.environ.get("KUBERNETES_SERVICE_PORT"):
        raise ConfigError("no kubeconfig, and not in a Pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
    else:
        found = KubeConfig.from_service_account(access.service_account).get()
    if found is None or found.user is None:
        raise ConfigError("the kubeconfig's context names no user")
    return found


def _kubeconfig(path: str) -> KubeConfig:
    try:
        return KubeConfig.from_file(path)
    except (yaml.YAMLError, RecursionError) as error:  # its text would quote the file, and with it secrets
        raise ConfigError(f"{path} is no YAML") from error
    except (AttributeError, KeyError, TypeError) as error:  # lightkube's answer to YAML of another shape
        raise ConfigError(f"{path} is no kubeconfig") from error


def _tls(config: SingleConfig) -> ssl.SSLContext:
    """The cluster's CA, verified as client-go does.

    Python 3.13 and newer insist by default on extensions that the CA certificates of older kubeadm, of k3s and of
    managed clusters lack; that one flag goes, all other verification stays.
    """
    assert config.user is not None
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _Guard(httpx2.BaseTransport):
    """Bounds each response in time and size, and turns every refusal into a Status, also a proxy's page of HTML."""

    def __init__(self, context: ssl.SSLContext, deadline: float) -> None:
        self._inner = httpx2.HTTPTransport(verify=context)
        self._deadline = deadline
        self._socket: socket.socket | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The whole response, read."""
        request.headers["Accept-Encoding"] = "identity"
        request.extensions["trace"] = self._note_socket
        hang_up = threading.Timer(self._deadline, self._hang_up)
        hang_up.daemon = True
        hang_up.start()
        try:
            response = self._inner.handle_request(request)
            try:
                body = _read(response)
            finally:
                response.close()
        finally:
            hang_up.cancel()
        headers = {"Content-Type": "application/json"}
        if "Retry-After" in response.headers:
            headers["Retry-After"] = response.headers["Retry-After"]
        content = _judged(response.status_code, body)
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    def close(self) -> None:
        """End all connections."""
        self._inner.close()

    def _note_socket(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """Wake the thread that waits on the socket; closing it here could hand its number to another connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Told(Struct, kw_only=True):
    """What counts of a Status. It can be decoded from any object, of which nothing else takes memory."""

    reason: Any = ""
    message: Any = ""


def _read(response: httpx2.Response) -> bytes:
    content = bytearray()
    assert isinstance(response.stream, httpx2.SyncByteStream)
    for chunk in response.stream:
        content += chunk
        if len(content) > RESPONSE_LIMIT:
            raise httpx2.RemoteProtocolError(f"a response of more than {RESPONSE_LIMIT} bytes")
    return bytes(content)


def _judged(status: int, body: bytes) -> bytes:
    """*body* when it is what Kubernetes answers with *status*."""
    granted = status in (200, 201)
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if granted:
            raise httpx2.RemoteProtocolError("an answer that is no JSON object") from error
        told = _Told()
    if granted:
        return body
    reason, message = (text if isinstance(text, str) else "" for text in (told.reason, told.message))
    message = message or f"HTTP status {status}, which says nothing that Kubernetes would say"
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message})


def _node(document: dict[str, Any], name: str) -> dict[str, Any]:
    """*document*, when it is that Node: a proxy may grant whatever it is asked, and then nothing was written."""
    metadata = document.get("metadata")
    if document.get("kind") != "Node" or not isinstance(metadata, dict) or metadata.get("name") != name:
        raise httpx2.RemoteProtocolError(f"an answer that is not the Node {name}")
    return document


@contextlib.contextmanager
def _failures(*malformed: type[Exception]) -> Iterator[None]:
    unusable: tuple[type[Exception], ...] = (ConfigError, OSError, ValueError, *malformed)  # token, CA, kubeconfig
    try:
        yield
    except ApiError as error:
        retry_after = _seconds(error.response.headers.get("Retry-After", ""))
        status, told = error.response.status_code, error.status
        raise Failure(status, told.reason or "", told.message or "", retry_after) from error
    except httpx2.LocalProtocolError as error:  # its text would have the token
        raise Failure(0, NO_CREDENTIALS, "the token has characters that no HTTP header carries") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Failure(0, UNREACHABLE, f"{type(error).__name__}: {error}") from error
    except msgspec.DecodeError as error:
        raise Failure(0, UNREACHABLE, f"an answer of another shape: {error}") from error
    except unusable as error:
        raise Failure(0, NO_CREDENTIALS, f"{type(error).__name__}: {error}") from error


def _seconds(text: str) -> float | None:
    """What Retry-After says: seconds, or a date, by our own clock; None when it says neither."""
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
