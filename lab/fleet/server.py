"""A small API server of lists: TLS, tokens, pages with continue tokens, metadata alone, refusals and faults at will."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

from lab.serve.api_store import status

GO_BUFFER = 2048
"""Bytes that Go's net/http collects before it writes a chunk."""
Objects = Sequence[bytes]
"""Objects of one kind as JSON, in the order of their keys."""


class Documents(Sequence[bytes]):
    """Objects that are held as documents."""

    def __init__(self, documents: Sequence[dict[str, Any]]) -> None:
        self.documents = documents

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: Any) -> Any:
        return json.dumps(self.documents[index]).encode()


@dataclass
class Asked:
    """A request and the status of its answer."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    status: int = 0


@dataclass
class Trouble:
    """An answer in place of the list's: *code*, a Status, headers."""

    code: int
    reason: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    """`metadata.continue` of the Status; `fresh` for one that goes on where the expired one was."""
    content: bytes | None = None
    path: str = ""
    """Only for requests of this path, or any."""
    after: int = 0
    """Requests that it lets pass first."""


class ListServer:
    """Lists by path, who may read them, and what was asked."""

    def __init__(self, lists: Mapping[str, tuple[str, Objects]], documents: Mapping[str, Any] | None = None) -> None:
        self.lists = dict(lists)
        self.documents = dict(documents or {})
        self.tokens = {"token-1"}
        self.forbidden: set[str] = set()
        self.troubles: deque[Trouble] = deque()
        self.largest = 1 << 30
        """Objects of a page beyond which it answers 504."""
        self.slow = {"/api/v1/pods", "/api/v1/nodes"}
        """Lists for which that holds."""
        self.requests: list[Asked] = []
        self.keep_requests = True
        self.select = True
        """Whether field selectors and the wish for metadata alone are heard; else all objects are sent as they are."""
        self.revision = 1000
        self.headers: dict[str, str] = {}
        self.authority = trustme.CA()
        self.lock = threading.Lock()

    def answer(self, asked: Asked) -> tuple[int, bytes | list[bytes], dict[str, str]]:
        """Status, body or the writes that it is made of, and headers."""
        if asked.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return self.refuse(401, "Unauthorized", "Unauthorized")
        if asked.method != "GET":
            return self.refuse(405, "MethodNotAllowed", f"{asked.method} is not for readers")
        if (trouble := self._trouble(asked)) is not None:
            return self._troubled(trouble, asked)
        if asked.path in self.documents:
            return 200, json.dumps(self.documents[asked.path]).encode(), {}
        if asked.path in self.forbidden:
            resource = asked.path.rpartition("/")[2]
            denied = f'User "auditor" cannot list resource "{resource}" in API group "" at the cluster scope'
            return self.refuse(403, "Forbidden", f"{resource} is forbidden: {denied}")
        if (found := self._list(asked.path)) is None:
            return self.refuse(404, "NotFound", "the server could not find the requested resource")
        return self._page(asked, *found)

    def refuse(self, code: int, reason: str, message: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        return code, json.dumps(status(code, reason, message)).encode(), headers

    def _trouble(self, asked: Asked) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.path in ("", asked.path):
                if trouble.after == 0:
                    self.troubles.remove(trouble)
                    return trouble
                trouble.after -= 1
                return None
        return None

    def _troubled(self, trouble: Trouble, asked: Asked) -> tuple[int, bytes, dict[str, str]]:
        document = status(trouble.code, trouble.reason, trouble.message)
        if trouble.token is not None:
            self.revision += 1
            index = _index(asked.params.get("continue", ""))
            fresh = self._token(index) if trouble.token == "fresh" else trouble.token
            document["metadata"] = {"continue": fresh}
        content = json.dumps(document).encode() if trouble.content is None else trouble.content
        return trouble.code, content, trouble.headers

    def _list(self, path: str) -> tuple[str, Objects] | None:
        if path in self.lists:
            return self.lists[path]
        prefix, marker, rest = path.partition("/namespaces/")
        namespace, _, resource = rest.partition("/")
        whole = self.lists.get(f"{prefix}/{resource}") if marker and resource else None
        if whole is None:
            return None
        kind, objects = whole
        chosen = [each for each in objects if json.loads(each)["metadata"].get("namespace") == namespace]
        return kind, chosen

    def _page(self, asked: Asked, kind: str, objects: Objects) -> tuple[int, bytes | list[bytes], dict[str, str]]:
        limit, first = int(asked.params.get("limit", len(objects) or 1)), _index(asked.params.get("continue", ""))
        if limit > self.largest and asked.path in self.slow:
            return self.refuse(504, "Timeout", "the server was unable to return a response in the time allotted")
        if self.select and (selector := asked.params.get("fieldSelector")):
            objects = [each for each in objects if _selected(json.loads(each), selector)]
        items = [objects[index] for index in range(first, min(first + limit, len(objects)))]
        if "PartialObjectMetadata" in asked.headers.get("Accept", ""):
            kind = "PartialObjectMetadata"
            if self.select:
                items = [json.dumps({"metadata": json.loads(each)["metadata"]}).encode() for each in items]
        metadata: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if first + limit < len(objects):
            metadata["continue"] = self._token(first + limit)
            if "fieldSelector" not in asked.params:  # of a filtered list no API server tells what remains
                metadata["remainingItemCount"] = len(objects) - first - limit
        head = f'{{"kind":"{kind}List","apiVersion":"v1","metadata":{json.dumps(metadata)},"items":['.encode()
        parts = [part for item in items for part in (b",", item)]
        return 200, [head, *parts[1:], b"]}"], {}

    def _token(self, index: int) -> str:
        return base64.urlsafe_b64encode(f"{self.revision}:{index}".encode()).decode()


def _chunked(writes: Sequence[bytes]) -> bytes:
    """The chunks of Go's net/http, to which API servers since 1.34 write each item of a list, and each comma."""
    chunks, held = [], b""
    for write in writes:
        if held and len(held) + len(write) > GO_BUFFER:
            room = GO_BUFFER - len(held)
            chunks.append(held + write[:room])
            held, write = b"", write[room:]
        if len(write) > GO_BUFFER and not held:
            chunks.append(write)
        else:
            held += write
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (*chunks, held) if each) + b"0\r\n\r\n"


def _index(token: str) -> int:
    return int(base64.urlsafe_b64decode(token).decode().partition(":")[2]) if token else 0


def _selected(document: dict[str, Any], selector: str) -> bool:
    for term in selector.split(","):
        path, unequal, value = term.partition("!=")
        if not unequal:
            path, _, value = term.partition("=")
        found: Any = document
        for part in path.split("."):
            found = (found or {}).get(part, "")
        if (found == value) == bool(unequal):
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: _Http

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, params, dict(self.headers))
        served = self.server.lists
        with served.lock:
            asked.status, content, headers = served.answer(asked)
            if served.keep_requests:
                served.requests.append(asked)
        pieces = isinstance(content, list)
        length = {"Transfer-Encoding": "chunked"} if pieces else {"Content-Length": str(len(content))}
        self.send_response(asked.status)
        for name, value in ({"Content-Type": "application/json"} | length | served.headers | headers).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(_chunked(content) if isinstance(content, list) else content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.server.lists.headers.get("Date") or super().date_time_string(timestamp)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    lists: ListServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(lists: ListServer, folder: Path, **user: Any) -> Iterator[Path]:
    """A kubeconfig with the context `lab` for *lists*, served while the block lasts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lists.authority.issue_cert("127.0.0.1").configure_cert(context)
    server = _Http(("127.0.0.1", 0), _Handler)
    server.lists = lists
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield write_kubeconfig(folder / "kubeconfig", server.server_port, lists.authority.cert_pem.bytes(), **user)
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(path: Path, port: int, authority: bytes, **user: Any) -> Path:
    """A kubeconfig whose user has a token, or what *user* says."""
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    document = {
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "auditor", "user": user or {"token": "token-1"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "auditor"}}],
        "current-context": "lab",
    }
    path.write_text(yaml.safe_dump(document))
    return path
