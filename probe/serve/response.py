"""The response of the application to a request."""

from __future__ import annotations

from msgspec import Struct

_REASONS = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Response(Struct, frozen=True):
    """Response to a client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status_line(self) -> str:
        """Status code and reason phrase."""
        return f"{self.status} {_REASONS[self.status]}"
