"""Container runtimes that run Pods with `hostNetwork: true` and a user namespace, and those of them that say so.

CRI says it of the runtime as a whole, in `features.user_namespaces_host_network` of Status, and of each handler only
whether it supports user namespaces. The kubelet declares the feature on the Node where CRI says so and its gate is on.
"""

from __future__ import annotations

import re

from msgspec import Struct

Version = tuple[int, int, int]


class Runtime(Struct, frozen=True, kw_only=True):
    """A container runtime."""

    name: str
    """CRI's `runtime_name`."""
    supports: Version
    """The first release that runs such Pods."""
    says: Version
    """The first release that says so in CRI."""
    source: str


RUNTIMES: tuple[Runtime, ...] = (
    Runtime(
        name="containerd",
        supports=(2, 3, 0),
        says=(2, 4, 0),
        source="containerd/containerd commits 93cf5418b (supports), a909c305c (says)",
    ),
    Runtime(
        name="cri-o",
        supports=(1, 35, 0),
        says=(1, 37, 0),
        source="cri-o/cri-o#9634 (supports), commit f6c147901c (says)",
    ),
)

_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,4})\.(\d{1,4})")


def supports(name: str, version: str) -> bool | None:
    """True when that release runs such Pods; None for another runtime, or without a version."""
    found = _VERSION.match(version)
    runtime = next((one for one in RUNTIMES if one.name == name), None)
    if runtime is None or found is None:
        return None
    return (int(found[1]), int(found[2]), int(found[3])) >= runtime.supports
