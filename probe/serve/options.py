"""Options of `serve`, checked before anything else is imported."""

from __future__ import annotations

import re

from msgspec import Struct

DEFAULT_LISTEN = ":9476"
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w.-]*):(?P<port>[0-9]{1,5})", re.ASCII)


class Options(Struct, frozen=True, kw_only=True):
    """Options of one `serve`."""

    report_file: str
    listen: str = DEFAULT_LISTEN
    node_name: str | None = None
    certificate: str | None = None
    private_key: str | None = None

    def __post_init__(self) -> None:
        parse_listen(self.listen)
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("TLS needs both a certificate and its private key")


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `:9476`, `127.0.0.1:9476` or `[::1]:9476`; an empty host is every address of the machine.

    ValueError for anything else.
    """
    match = _LISTEN.fullmatch(text)
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address to listen on, such as :9476, 127.0.0.1:9476 or [::1]:0")
    return match["host"].strip("[]"), int(match["port"])
