"""GET requests to the API server, and its lists page by page. It sends no other method."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import httpx2
import msgspec
from lightkube.config.client_adapter import Client, ConnectionParams
from msgspec import Struct, field

from probe.publish.api.client import config_of, failures, seconds_of
from probe.publish.api.connection import TooLarge
from probe.publish.api.interface import UNREACHABLE, Access, Failure
from probe.publish.api.transport import Guard, tls_context
from probe.publish.schedule import Backoff

T = TypeVar("T")

PAGE_BYTES = 64 << 20
"""Maximum bytes of a page; a larger one is asked for again with half as many objects."""
ATTEMPTS = 8
"""Attempts of one page, of which each after a timeout asks for half as many objects."""
EMPTY_PAGES = 100
"""Pages without objects, one after the other, after which a list counts as endless."""
EXPIRIES = 10
"""Expired tokens, one after the other, after which a list counts as endless."""
JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Asks for metadata alone, which any resource can give."""


class Refused(Failure):
    """The API server answered another status than 200; *token*: where a list may go on after 410, or empty."""

    token: str = ""


class Expired(Exception):
    """A list must begin anew: its token expired (410), and the server gave no other."""


class ListMeta(Struct, rename="camel"):
    """Metadata of a list."""

    resource_version: str = ""
    continue_: str = field(name="continue", default="")
    remaining_item_count: int | None = None


class Page(Struct, Generic[T]):
    """A page of a list as the API server sends it."""

    kind: str
    metadata: ListMeta
    items: list[T] | None = None


class Listing(Struct, kw_only=True):
    """The progress and result of reading one list."""

    path: str
    objects: int = 0
    skipped: int = 0
    """Objects that could not be decoded."""
    resource_versions: list[str] = field(default_factory=list)
    """One, or a further one for each time that the token had expired: later pages are of a later state."""


class _Status(Struct):
    reason: Any = ""
    message: Any = ""
    metadata: Any = None


class Server:
    """An API server, by GET alone. Each request raises only Failure."""

    def __init__(self, client: httpx2.Client, plugin: str, name: str, sleep: Callable[[float], None]) -> None:
        """*plugin*: command of the credential plugin; *name*: the kubeconfig's context; empty without one."""
        self._client, self._plugin, self.name, self._sleep = client, plugin, name, sleep
        self.clock: float | None = None
        """The server's time of its first answer, in seconds since the epoch; None if it told none."""

    def get(self, path: str, accept: str = JSON, **params: str | int) -> bytes:
        """The body of the answer. *Errors*: Refused, Failure."""
        with failures(plugin=self._plugin):
            response = self._client.get(path, params=params, headers={"Accept": accept})
        if self.clock is None:
            self.clock = _date(response.headers.get("Date", ""))
        if response.status_code == 200:
            return response.content
        raise _refused(response)

    def pages(
        self,
        listing: Listing,
        item: type[T],
        *,
        accept: str = JSON,
        limit: int = 500,
        selector: str = "",
        progress: Callable[[int, int | None], None] = lambda done, left: None,
    ) -> Iterator[list[T]]:
        """The objects of `listing.path`, page by page; *listing* is filled in on the way.

        *selector*: a field selector. *progress*(objects, remaining objects or None). *Errors*: Failure, Expired.
        """
        decoder, token, empty, expired = msgspec.json.Decoder(Page[item]), "", 0, 0  # type: ignore[valid-type]
        params: dict[str, str | int] = {"fieldSelector": selector} if selector else {}
        while True:
            try:
                content, limit = self._page(
                    listing.path, accept, limit, params | ({"continue": token} if token else {})
                )
            except Refused as refusal:
                if refusal.status != 410:
                    raise
                if not refusal.token or refusal.token == token:
                    raise Expired(listing.path) from refusal
                token, expired = refusal.token, expired + 1
                if expired > EXPIRIES:
                    raise Failure(0, UNREACHABLE, f"each token of {listing.path} has expired at once") from refusal
                continue
            expired = 0
            with failures():
                page, skipped = decoded(content, decoder, item)
            del content
            items = page.items or []
            listing.objects += len(items)
            listing.skipped += skipped
            if page.metadata.resource_version not in listing.resource_versions:
                listing.resource_versions.append(page.metadata.resource_version)
            progress(listing.objects, page.metadata.remaining_item_count)
            empty = 0 if items or skipped else empty + 1
            if empty > EMPTY_PAGES or (token and page.metadata.continue_ == token):
                raise Failure(0, UNREACHABLE, f"a list without end: {listing.path}")
            token = page.metadata.continue_
            del page
            yield items
            if not token:
                return

    def _page(self, path: str, accept: str, limit: int, params: dict[str, str | int]) -> tuple[bytes, int]:
        """(Body, number of objects that the next page asks for): fewer after a timeout or a page that is too large."""
        backoff = Backoff(1.0, 30.0, 120.0)
        while True:
            try:
                return self.get(path, accept, limit=limit, **params), limit
            except Failure as failure:
                if isinstance(failure.__cause__, TooLarge) and limit > 1:
                    limit //= 2
                    continue
                slow = failure.status == 504 or failure.reason == UNREACHABLE
                if not (slow or failure.status == 429 or failure.status >= 500) or backoff.failures + 1 >= ATTEMPTS:
                    raise
                limit = max(1, limit // 2) if slow else limit
                self._sleep(backoff.pause(failure.retry_after))


@contextlib.contextmanager
def connect(access: Access, sleep: Callable[[float], None] = time.sleep) -> Iterator[Server]:
    """The API server of *access*. *Errors*: Failure."""
    with failures(LookupError, TypeError, AttributeError):  # raised for a malformed kubeconfig
        config = config_of(access)
        guard = Guard(
            tls_context(config), deadline=access.deadline, limit=lambda _: PAGE_BYTES, judge=lambda _, body: body
        )
        client = Client(config, ConnectionParams(timeout=httpx2.Timeout(access.silence), transport=guard))
    plugin = config.user.exec.command if config.user and config.user.exec else ""
    name = config.context_name if access.kubeconfig else ""
    try:
        yield Server(client, plugin, name, sleep)
    finally:
        client.close()


def decoded(content: bytes, decoder: msgspec.json.Decoder[Page[T]], item: type[T]) -> tuple[Page[T], int]:
    """(Page, objects left out): an object with a field of the wrong type costs that object, not its page."""
    try:
        page, skipped = decoder.decode(content), 0
    except msgspec.ValidationError:
        raw = msgspec.json.decode(content, type=Page[msgspec.Raw])
        found = [one for each in raw.items or [] if (one := _item(each, item)) is not None]
        page, skipped = Page(raw.kind, raw.metadata, found), len(raw.items or []) - len(found)
    if not page.kind.endswith("List"):
        raise httpx2.RemoteProtocolError("an answer that is not a list")
    return page, skipped


def _item(content: msgspec.Raw, item: type[T]) -> T | None:
    try:
        return msgspec.json.decode(content, type=item)
    except msgspec.ValidationError:
        return None


def _refused(response: httpx2.Response) -> Refused:
    code = response.status_code
    try:
        told = msgspec.json.decode(response.content, type=_Status)
    except (msgspec.DecodeError, RecursionError):
        told = _Status()
    reason, message = (text if isinstance(text, str) else "" for text in (told.reason, told.message))
    message = message or f"HTTP status {code} without a message of Kubernetes"
    refused = Refused(code, reason, message, seconds_of(response.headers.get("Retry-After", "")))
    token = told.metadata.get("continue") if isinstance(told.metadata, dict) else ""
    refused.token = token if isinstance(token, str) else ""
    return refused


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
