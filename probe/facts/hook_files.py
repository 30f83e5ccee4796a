"""Facts of the programs that a runtime runs in a container beside its own: device hooks and OCI hooks."""

from __future__ import annotations

from msgspec import Struct

from probe.facts.around import Hook
from probe.reading import Reading


class HookFiles(Struct, frozen=True, kw_only=True):
    """The OCI hooks in some directories, counted."""

    found: int
    hooked: int
    """Those with a hook that runs in the container's namespaces, with the container's IDs."""
    unread: int
    """Those that could not be read, or that were too many to be read."""
    always: tuple[Hook, ...] = ()
    """The OCI hooks that match each container: `when: always` of oci-hooks(5), and what says the same."""


class HookFacts(Struct, frozen=True, kw_only=True):
    """All that may run a program in a Pod's user namespace that was written for the host's."""

    toolkit: Reading[tuple[str, ...]]
    """Paths of NVIDIA's programs."""
    oci_hooks: Reading[HookFiles]
    """Only CRI-O looks at them."""
