"""The client of the Kubernetes API in a process that lives for a few requests: without what it never uses."""

from __future__ import annotations

from probe.lean_import import left_out, stand_in, without_logging


def load() -> None:
    """Import lightkube and httpx2 without what no request of the publisher needs, which takes as long as the rest.

    That is other ways to wait and to connect, types of resources, logs, kubeconfigs and host names outside of ASCII.
    `importlib.metadata` would tell httpx2 its version, which is the second half of the User-Agent.
    """
    with (
        left_out("anyio"),
        left_out("h2"),
        stand_in("asyncio"),
        stand_in("asyncio.subprocess"),
        stand_in("importlib.metadata", version=lambda _name: "userns-probe"),
        stand_in("idna"),
        stand_in("lightkube.models.core_v1"),
        stand_in("lightkube.resources.core_v1"),
        stand_in("yaml"),
        without_logging(),
    ):
        import lightkube  # noqa: F401
