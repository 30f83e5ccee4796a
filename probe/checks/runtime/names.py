"""Names of a container runtime and its handlers in messages."""

from __future__ import annotations

from typing import Any

from probe.checks.check import Outcome, unknown
from probe.checks.remedies.platforms import inline
from probe.facts.model import Facts, Handler, RuntimeFacts
from probe.finding import Evidence
from probe.reading import Reading


def no_runtime(facts: Facts, what: str) -> Outcome:
    """Unknown outcome, because no runtime is known."""
    if facts.kubelet.kind == "absent":
        message = f"{unknown(what)}: no kubelet names the runtime's socket"
        return Outcome.unknown("KubeletNotFound", message, facts.kubelet)
    return Outcome.not_read(what, facts.runtime)


def no_kubelet(facts: Facts, what: str, reading: Reading[Any]) -> Outcome:
    """Unknown outcome for *what* is around the kubelet: no kubelet runs, or *reading* has a problem."""
    if facts.kubelet.kind == "absent":
        return Outcome.unknown("KubeletNotFound", f"{unknown(what)}: no kubelet runs on this node", facts.kubelet)
    return Outcome.not_read(what, reading)


def kubelet_not_found(facts: Facts) -> Outcome:
    """Unknown outcome of a question that only a kubelet answers: none runs, or it could not be read."""
    if facts.kubelet.kind == "absent":
        return Outcome.unknown("KubeletNotFound", "no kubelet runs on this node", facts.kubelet)
    return Outcome.not_read("the node's kubelet", facts.kubelet)


def without_kubelet(facts: Facts) -> Outcome:
    """Outcome of a question about the running kubelet: skipped where none runs, unknown where none could be read."""
    if facts.kubelet.kind == "absent":
        return Outcome.skipped("no kubelet runs on this node", facts.kubelet)
    return Outcome.not_read("the node's kubelet", facts.kubelet)


def may_be_stale(facts: Facts, setting: Reading[Any] | None) -> str:
    """A file of the kubelet that changed since it was read, where *setting* comes from files; empty without one."""
    files = (facts.kubelet.value.files.value if facts.kubelet.value else None) or ()
    if setting is None or setting.source.startswith("--"):
        return ""
    return next((inline(file.path) for file in files if file.newer), "")


def handlers_of(facts: Facts) -> tuple[Handler, ...]:
    """All handlers in the answer of CRI; none where it is not known."""
    return (facts.runtime.value.handlers.value if facts.runtime.value else None) or ()


def find_handler(facts: Facts, name: str) -> Handler | None:
    """Handler *name* in the answer of CRI; empty for the default one."""
    return next((handler for handler in handlers_of(facts) if handler.name == name), None)


def handlers_told(runtime: RuntimeFacts) -> Evidence:
    """Names of all handlers in the answer of CRI."""
    names = ", ".join(inline(handler.name) or '""' for handler in (runtime.handlers.value or ())[:20])
    return Evidence(runtime.handlers.source, f"handlers: {names or 'none'}")


def snapshotter_of(facts: Facts, name: str) -> Reading[str]:
    """Snapshotter of handler *name*: its own, else that of the runtime."""
    runtime, handler = facts.runtime.value, find_handler(facts, name)
    if runtime is None:
        return Reading(facts.runtime.source, None, facts.runtime.problem, facts.runtime.kind)
    return handler.snapshotter if handler and handler.snapshotter.value else runtime.snapshotter


def binds_sysfs(handler: Handler | None) -> bool:
    """True when the OCI runtime binds the node's /sys if the kernel refuses a new one (EPERM). *Source*: crun."""
    return handler is not None and handler.oci_runtime.value == "crun"


def runtime_name(runtime: RuntimeFacts) -> str:
    """`containerd 2.1.9`."""
    return " ".join(part for part in (runtime.name.value, runtime.version.value) if part) or "the container runtime"


def handler_name(handler: Handler) -> str:
    """`handler "crun"`."""
    return f'handler "{handler.name}"' if handler.name else "the default handler"


def oci_name(handler: Handler) -> str:
    """`runc 1.3.6 (/usr/bin/runc)`."""
    name = " ".join(part for part in (handler.oci_runtime.value, handler.oci_version.value) if part)
    path = handler.binary.value
    return f"{name} ({path})" if name and path else name or path or "its OCI runtime"


def cri_claim(handler: Handler, runtime: RuntimeFacts) -> Evidence:
    """Answer of CRI for a handler, in its own spelling."""
    said = "no features" if handler.user_namespaces is None else f"user_namespaces {handler.user_namespaces}".lower()
    return Evidence(runtime.handlers.source, f"{handler_name(handler)}: {said}")


def idmap_claim(handler: Handler) -> Reading[str]:
    """Claim of the OCI runtime about idmapped mounts, from `features`."""
    return handler.oci_idmap.parse(lambda enabled: f"mountExtensions.idmap.enabled {str(enabled).lower()}")
