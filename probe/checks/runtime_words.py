"""How a container runtime and its handlers are named in messages, and what its administrator types."""

from __future__ import annotations

from probe.checks.check import Evidence, Outcome
from probe.facts.node import Facts
from probe.facts.types import Handler, RuntimeFacts

MINIMUM_OCI = {"runc": "1.2", "crun": "1.9"}
"""Since when each maps mounts. *Source*: containerd, docs/user-namespaces."""

_SERVICES = {"containerd": "containerd", "cri-o": "crio"}
_RESTART = {
    "k3s": "systemctl restart k3s (on an agent: k3s-agent)",
    "rke2": "systemctl restart rke2-server (on an agent: rke2-agent)",
    "k0s": "systemctl restart k0sworker (on a controller: k0scontroller)",
    "microk8s": "snap restart microk8s",
}


def no_runtime(facts: Facts, what: str) -> Outcome:
    """Unknown, because nothing is known of any runtime."""
    if facts.kubelet.kind == "absent":
        return Outcome.unknown("KubeletNotFound", f"{what} is unknown: no kubelet names its socket", facts.kubelet)
    return Outcome.not_read(what, facts.runtime)


def judged_handler(facts: Facts) -> Handler | None:
    """The handler that *facts* ask about, as CRI names it."""
    handlers = (facts.runtime.value.handlers.value if facts.runtime.value else None) or ()
    return next((handler for handler in handlers if handler.name == facts.handler), None)


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
    """What CRI says of a handler, in CRI's words."""
    said = "no features" if handler.user_namespaces is None else f"user_namespaces {handler.user_namespaces}".lower()
    return Evidence(runtime.handlers.source, f"{handler_name(handler)}: {said}")


def restart(facts: Facts) -> str:
    """The command that restarts the runtime, which asks its OCI runtimes for their features only then."""
    runtime, kubelet = facts.runtime.value, facts.kubelet.value
    service = _SERVICES.get(runtime.name.value or "", "containerd") if runtime else "containerd"
    command = _RESTART.get(kubelet.distribution if kubelet else "", f"systemctl restart {service}")
    return f"Restart the runtime, which leaves running containers alone: {command}"


def upgrade_oci(facts: Facts, handler: Handler) -> str:
    """How to get an OCI runtime with idmapped mounts."""
    name = handler.oci_runtime.value or ""
    wanted = f"{name} {MINIMUM_OCI[name]} or newer" if name in MINIMUM_OCI else "runc 1.2, crun 1.9 or newer"
    place = f" as {handler.binary.value}" if handler.binary.value else ""
    return f"Install {wanted}{place}. {restart(facts)}"
