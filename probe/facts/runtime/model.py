"""Types of the runtime's daemon: what confines it, and what its restart makes take effect."""

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
    """Message with which the daemon's own command rejects its configuration."""
    without_cri: bool = False
    """True when the configuration switches the CRI plugin off."""


NOT_LOOKED_AT: Reading[RuntimePending] = Reading.without("the next start of the runtime", "not-tried", "not looked at")


NO_LINK: Reading[str] = Reading("the runtime's daemon", None, "not looked for", "not-tried")


class Confinement(Struct, frozen=True, kw_only=True):
    """Confinement of the runtime's daemon, from its pid."""

    pid: int
    effective_capabilities: Reading[int]
    seccomp: Reading[int]
    in_initial_user_namespace: Reading[bool]
    label: Reading[str]
    """LSM label of attr/current; `unconfined` or empty binds nothing."""
    root: Reading[str] = NO_LINK
    """Its root directory, `/` unless it runs in a chroot(2): of a root that pivot_root(2) made this is `/`, too."""
    unit: Reading[str] = NO_LINK
    """Its systemd unit, by its cgroup."""
