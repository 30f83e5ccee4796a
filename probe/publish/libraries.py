"""The client of the Kubernetes API in a process that lives long: without what it imports and never uses."""

from __future__ import annotations

from probe.lean_import import left_out, stand_in


def load() -> None:
    """Import lightkube and httpx2 without asyncio, anyio and importlib.metadata: 3 MB less for as long as they live.

    `importlib.metadata` would tell httpx2 its version, which is the second half of the User-Agent.
    """
    with (
        left_out("anyio"),
        stand_in("asyncio"),
        stand_in("asyncio.subprocess"),
        stand_in("importlib.metadata", version=lambda _name: "userns-probe"),
    ):
        import lightkube  # noqa: F401
