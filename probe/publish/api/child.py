"""The child that makes the requests of one connection to the API server, and imports for that what it needs."""

from __future__ import annotations

import fcntl
import os
import select

from probe.publish.api.plain import NotPlain, Refused, apply, read

TYPE_CHECKING = False
if TYPE_CHECKING:  # contextlib and typing take a quarter as long as the whole request
    from contextlib import AbstractContextManager

    from probe.publish.api.client import Api

_NODES = "/api/v1/nodes/"
_FIELD_MANAGER = "userns-probe"  # of probe.outputs.annotations, which imports all of a report
OK, FAILED, CRASHED = b"ok", b"failed", b"crashed"
"""Kinds of an answer: what the request returns, a Failure, or the text of an exception that nobody foresaw."""


class Child:
    """Requests with one set of credentials."""

    def __init__(self, service_account: str, silence: float, deadline: float) -> None:
        self._service_account, self._silence, self._deadline = service_account, silence, deadline
        self._client: AbstractContextManager[Api] | None = None
        self._api: Api | None = None

    def answer(self, line: bytes) -> tuple[bytes, bytes]:
        """(kind, content) of the answer to the request in *line*: a method of `Api`, and its arguments as JSON.

        `serve` ends a request by closing the pipe, or by ending itself: the kernel then sends SIGIO.
        """
        method, _, arguments = line.decode().strip().partition(" ")
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        _set_async(True)
        try:
            if _is_closed():  # before there was anybody to get a signal
                os._exit(1)
            return self._answer(method, arguments)
        except Exception as error:
            return CRASHED, f"{type(error).__name__}: {error}"[:500].encode(errors="replace")
        finally:
            _set_async(False)

    def _answer(self, method: str, arguments: str) -> tuple[bytes, bytes]:
        if method in ("get_node", "apply_metadata") and self._api is None:
            server = self._service_account, self._silence, self._deadline
            try:
                if method == "get_node":
                    return OK, read(_NODES + arguments, *server)
                path, content = _metadata(arguments)
                return OK, apply(path, content, *server)
            except Refused as refusal:
                return _refused(refusal)
            except OSError as error:
                return _failed(0, "Unreachable", f"{type(error).__name__}: {error}", None)
            except (NotPlain, ValueError):  # ValueError: a host that is no name
                pass
        return self._by_client(method, arguments)

    def _by_client(self, method: str, arguments: str) -> tuple[bytes, bytes]:
        import json
        from urllib.parse import unquote

        from probe.publish.libraries import load

        load()
        from probe.publish.api.client import connect
        from probe.publish.api.interface import Access, Failure

        try:
            if self._api is None:
                access = Access(service_account=self._service_account, silence=self._silence, deadline=self._deadline)
                self._client = connect(access)  # kept: it closes the connection when it is forgotten
                self._api = self._client.__enter__()
            if method == "get_node":
                return OK, json.dumps(self._api.get_node(unquote(arguments))).encode()
            positional, named = json.loads(arguments)
            return OK, json.dumps(getattr(self._api, method)(*positional, **named)).encode()
        except Failure as failure:
            return _failed(failure.status, failure.reason, failure.message, failure.retry_after)


def _metadata(arguments: str) -> tuple[str, bytes]:
    """(path, content) of the request that `Api.apply_metadata` makes. *Errors*: NotPlain for a name to be quoted."""
    import json

    (name, metadata), options = json.loads(arguments)
    if not (name.isascii() and name.replace("-", "").replace(".", "").isalnum()):
        raise NotPlain
    content = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **metadata}}
    force = "force=true&" if options["force"] else ""
    return f"{_NODES}{name}?{force}fieldManager={_FIELD_MANAGER}", json.dumps(content).encode()


def _refused(refusal: Refused) -> tuple[bytes, bytes]:
    """The same Failure as the client's."""
    import json

    from probe.publish.libraries import load

    load()
    from probe.publish.api.answers import judged
    from probe.publish.api.client import seconds_of

    told = json.loads(judged(refusal.status, refusal.body))
    return _failed(refusal.status, told["reason"], told["message"], seconds_of(refusal.wait))


def _failed(*fields: object) -> tuple[bytes, bytes]:
    import json

    return FAILED, json.dumps(fields).encode()


def _set_async(on: bool) -> None:
    """Whether the kernel sends SIGIO, which ends this process, when the other end of stdin is closed."""
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)


def _is_closed() -> bool:
    poll = select.poll()
    poll.register(0, 0)
    return bool(poll.poll(0))
