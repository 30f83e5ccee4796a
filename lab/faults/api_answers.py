"""What an API server, or whatever stands in its place, may answer: each kind in its variants."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from functools import partial

from lab.serve.api_double import ApiDouble, Drip, Fault, Flood, Handler, Refuse, Reset, Stall
from lab.serve.api_store import Answer, Request

FORBIDDEN = 'nodes "k8slab" is forbidden: User "u" cannot patch resource "nodes" in API group "" at the cluster scope'
CREATES = 'nodes "k8slab" is forbidden: User "u" cannot create resource "nodes" in API group "" at the cluster scope'
POLICY = "nodes \"k8slab\" is forbidden: ValidatingAdmissionPolicy 'up' with binding 'up' denied request: own node only"
WEBHOOK = 'admission webhook "guard.example.com" denied the request: no'
TOO_LONG = 'Node "k8slab" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes'
TAKEN = 'Apply failed with 1 conflict: conflict with "somebody": .metadata.annotations.userns-probe.io/verdict'
HTML = b"<html><h1>Bad gateway</h1></html>"
WAITS = ("0", "1", "86400", "9" * 30, "-1", "1.5", "soon", "", "\x7f", formatdate(0, usegmt=True), "Mon, 99 Foo 99999")

Frame = Callable[[bytes], bytes]
"""(the true answer's body) -> the bytes that are sent instead of the answer."""


class Lie(Fault):
    """Other bytes than the answer, and then the end; what was asked is done all the same if *granted*."""

    def __init__(self, frame: Frame, *, granted: bool) -> None:
        self.frame, self.granted = frame, granted

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        _, document = server.store.answer(request) if self.granted else (200, {})
        self.body = json.dumps(document).encode()
        return None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.wfile.write(self.frame(self.body))


def head(status: str = "200 OK", *headers: str) -> bytes:
    """The beginning of an answer that ends with its connection, unless *headers* say otherwise."""
    return "\r\n".join((f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, "", "")).encode()


def chunks(body: bytes, *, last: bytes = b"0\r\n\r\n", said: Callable[[int], str] = "{:x}".format) -> bytes:
    """*body* in two chunks, each after the size that is *said*."""
    half = len(body) // 2
    parts = b"".join(said(len(part)).encode() + b"\r\n" + part + b"\r\n" for part in (body[:half], body[half:]))
    return head("200 OK", "Transfer-Encoding: chunked") + parts + last


LENGTHS: Sequence[Frame] = (
    lambda body: head("200 OK", f"Content-Length: {len(body) + 100}") + body,
    lambda body: head("200 OK", f"Content-Length: {len(body) // 2}") + body,
    lambda body: head("200 OK", f"Content-Length: {10**18}") + body,
    lambda body: head("200 OK", "Content-Length: 0") + body,
    lambda body: head("200 OK", "Content-Length: -1") + body,
    lambda body: head("200 OK", "Content-Length: many") + body,
    lambda body: head("200 OK", f"Content-Length: {len(body)}", "Content-Length: 1") + body,
    lambda body: head() + body[:-1],
)
CHUNKS: Sequence[Frame] = (
    lambda body: chunks(body, last=b""),
    lambda body: chunks(body, last=b"zz\r\n\r\n"),
    lambda body: chunks(body)[:-20],
    lambda body: chunks(body, said=lambda size: f"{size - 1:x}"),
    lambda body: chunks(body, said=lambda size: f"{size + 7:x}"),
    lambda body: chunks(body, said=lambda size: "f" * 40),
    lambda body: chunks(body, said=lambda size: ""),
)
GARBAGE: Sequence[Frame] = (
    lambda body: b"",
    lambda body: b"SSH-2.0-OpenSSH_9.2\r\n",
    lambda body: b"\x00\xff" * 5000,
    lambda body: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n" + body,
    lambda body: b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n" + body,
    lambda body: b"HTTP/1.1 20 OK\r\n\r\n" + body,
    lambda body: b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n" + body,
    lambda body: body,
    lambda body: head("101 Switching Protocols") + body,
    lambda body: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
)
OBJECTS: Sequence[Frame] = (
    lambda body: head() + b"{}",
    lambda body: head() + b"[]",
    lambda body: head() + b"[" * 200_000,
    lambda body: head() + b"\xff" * 1000,
    lambda body: head() + b'{"kind":"Status","apiVersion":"v1","status":"Success"}',
    lambda body: head() + b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"k8slab-2"}}',
    lambda body: head() + body.replace(b'"kind": "Node"', b'"kind": "Pod"'),
    lambda body: head("200 OK", "Content-Encoding: gzip") + gzip.compress(body),
    lambda body: b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML,
    lambda body: head("204 No Content"),
    lambda body: head("206 Partial Content") + body,
    lambda body: head("304 Not Modified"),
    lambda body: head("418 I'm a teapot") + b"short and stout",
    lambda body: head("599 Else") + body,
)


def redirects(location: str) -> tuple[Callable[[], Fault], ...]:
    """Elsewhere, where our token must never be sent to."""
    statuses = ("301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent")
    return tuple(partial(Lie, _constant(head(each, f"Location: {location}")), granted=False) for each in statuses)


def answers(elsewhere: str) -> Mapping[str, Sequence[Callable[[], Fault]]]:
    """Kind of fault -> its variants; redirects lead to *elsewhere*."""
    return {
        "connection reset, request not heard": (partial(Reset, granted=False),),
        "connection reset, request granted": (partial(Reset, granted=True),),
        "no answer on an open connection": (Stall, partial(Stall, granted=True)),
        "an answer that drips without end": (Drip,),
        "an answer of another length than it says": _lies(LENGTHS),
        "a chunked answer cut off or malformed": _lies(CHUNKS),
        "an answer that is no HTTP": _lies(GARBAGE),
        "an answer that is not the Node": _lies(OBJECTS),
        "an answer without end, or huge": (Flood, *_lies((lambda body: head() + b" " * (8 << 20) + body,))),
        "a redirect elsewhere": redirects(elsewhere),
        "400 to 410": tuple(partial(Refuse, code, "", "no") for code in (400, 402, 405, 406, 408, 410, 415)),
        "401": (partial(Refuse, 401, "Unauthorized", "Unauthorized"),),
        "403": tuple(partial(Refuse, 403, "Forbidden", text) for text in (FORBIDDEN, CREATES, WEBHOOK, "no", "")),
        "404": (partial(Refuse, 404, "NotFound", 'nodes "k8slab" not found'),),
        "409": tuple(partial(Refuse, 409, "Conflict", text) for text in ("object was modified", TAKEN)),
        "413": (partial(Refuse, 413, "RequestEntityTooLarge", "too large"),),
        "422": tuple(partial(Refuse, 422, "Invalid", text) for text in (POLICY, TOO_LONG, "no")),
        "429 with any Retry-After": tuple(partial(Refuse, 429, "TooManyRequests", "later", each) for each in WAITS),
        "500 to 504": tuple(partial(Refuse, code, "", "no", each) for code in (500, 502, 503, 504) for each in WAITS),
        "502 in a proxy's HTML": _lies((lambda body: b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + HTML,)),
    }


def _lies(frames: Sequence[Frame]) -> tuple[Callable[[], Fault], ...]:
    return tuple(partial(Lie, frame, granted=granted) for granted in (False, True) for frame in frames)


def _constant(content: bytes) -> Frame:
    return lambda body: content
