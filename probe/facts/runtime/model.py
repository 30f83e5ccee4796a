"""Types of what a restart of the container runtime makes take effect."""

from __future__ import annotations

from msgspec import Struct

from probe.reading import Reading


class Difference(Struct, frozen=True, kw_only=True):
    """One setting that the files give another value than the running daemon has."""

    setting: str
    """`default handler`, `snapshotter`, `root`, or `handler NAME`."""
    now: str
    then: str


class RuntimePending(Struct, frozen=True, kw_only=True):
    """All that is known of the next start of the daemon."""

    executable: Reading[str]
    """Path of the program."""
    replaced: bool = False
    """True when that path holds another program than the running one."""
    version: Reading[str]
    """Version of that other program; `absent` where the same one starts again."""
    changed_file: str = ""
    """A file of the configuration that may be newer than the daemon; empty when there is none."""
    differences: Reading[tuple[Difference, ...]]
    """Settings that differ; a problem where the configuration of the next start is not known."""
    refused: str = ""
    """What the daemon's own command says of its configuration, where it does not accept it."""
    without_cri: bool = False
    """True when the configuration switches the CRI plugin off."""


NOT_LOOKED_AT: Reading[RuntimePending] = Reading.without("the next start of the runtime", "not-tried", "not looked at")
