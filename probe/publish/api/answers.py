"""Answers that count as those of Kubernetes: a proxy may say anything, with any status."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from probe.publish.api.interface import is_node


class _Told(Struct, kw_only=True):
    """Relevant fields of a Status. It decodes from any JSON object without memory for other fields."""

    reason: Any = ""
    message: Any = ""


def judged(status: int, body: bytes) -> bytes:
    """*body* if it is a valid answer of Kubernetes; any other refusal, such as the page of a proxy, as a Status."""
    granted = status in (200, 201)
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if granted:
            raise httpx2.RemoteProtocolError("an answer that is not a JSON object") from error
        told = _Told()
    if granted:
        return body
    reason, message = (text if isinstance(text, str) else "" for text in (told.reason, told.message))
    message = message or f"HTTP status {status} without a message of Kubernetes"
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message})


def node_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """*document* if it is Node *name*; an error otherwise."""
    if not is_node(document, name):
        raise httpx2.RemoteProtocolError(f"an answer that is not the Node {name}")
    return document
