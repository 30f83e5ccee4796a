"""Claims of the layers, compared with each other and with the live attempts."""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.kernel import USER_LIMIT
from probe.checks.remedies.runtime import restart, upgrade_oci
from probe.checks.runtime.names import (
    cri_claim,
    find_handler,
    handler_name,
    handlers_told,
    idmap_claim,
    no_runtime,
    oci_name,
    runtime_name,
)
from probe.facts.model import Facts, Handler, RuntimeFacts
from probe.facts.tried import Attempt
from probe.finding import Evidence

_NODE_ROLES = {
    "kubelet-root": "the kubelet's root directory",
    "runtime-root": "the runtime's root directory",
    "overlay-layers": "overlay with idmapped layers",
    "tmpfs": "a fresh tmpfs",
}


def check_oci_features(facts: Facts, name: str = "") -> Outcome:
    """The runtime reads the features of the binary once, at its start; the binary may have been replaced since."""
    runtime, handler = facts.runtime.value, find_handler(facts, name)
    if runtime is None:
        return no_runtime(facts, "what the OCI runtime supports")
    if runtime.handlers.value is None:
        return Outcome.not_read("which OCI runtime is used", runtime.handlers)
    if handler is None:
        message = "the container runtime has no such handler, so there is nothing to compare"
        return Outcome.skipped(message, handlers_told(runtime))
    if handler.binary.kind == "absent":
        return Outcome.skipped(f"{handler_name(handler)} runs no OCI runtime like runc", handler.binary)
    if handler.binary.value is None:
        return Outcome.not_read("which OCI runtime is used", handler.binary)
    if handler.oci_idmap.value is None:
        return Outcome.not_read("what the OCI runtime supports", handler.oci_idmap, cri_claim(handler, runtime))
    return _compare(facts, runtime, handler)


def _compare(facts: Facts, runtime: RuntimeFacts, handler: Handler) -> Outcome:
    name = runtime_name(runtime)
    seen = (
        cri_claim(handler, runtime),
        idmap_claim(handler),
        handler.oci_version,
        handler.binary_newer.parse(lambda newer: f"{'newer' if newer else 'older'} than the running {name}"),
    )
    able, promised = is_able(runtime, handler), bool(handler.user_namespaces)
    binary = oci_name(handler)
    if promised and not able:
        message = (
            f"{name} still promises user namespaces, but {binary} cannot idmap mounts: containers fail with "
            "“idmap mounts not supported: missing mountExtensions.idmap entry”, or see files with wrong owners"
        )
        return Outcome.warn(message, *seen, remediation=upgrade_oci(facts, handler))
    if able and not promised:
        message = f"{binary} can idmap mounts, but {name} denies it: the runtime asks only when it starts"
        return Outcome.warn(message, *seen, remediation=restart(facts))
    if handler.binary_newer.value:
        message = f"{binary} may have been replaced since {name} started and read its features"
        return Outcome.warn(message, *seen, remediation=restart(facts))
    return Outcome.passed(f"{binary} {'can' if able else 'cannot'} idmap mounts, just as {name} says", *seen)


def is_able(runtime: RuntimeFacts, handler: Handler) -> bool:
    """CRI's answer for the present binary: containerd requires both features, CRI-O the idmapped mounts only."""
    return bool(handler.oci_idmap.value and (handler.oci_user_namespace.value or runtime.name.value != "containerd"))


def check_kernel_claim(facts: Facts, name: str = "") -> Outcome:
    """CRI's answer reflects the build of the OCI runtime, not this kernel."""
    runtime, handler = facts.runtime.value, find_handler(facts, name)
    if runtime is None:
        return no_runtime(facts, "what the container runtime promises")
    if runtime.handlers.value is None:
        return Outcome.not_read("what the container runtime promises", runtime.handlers)
    if handler is None or not (handler.user_namespaces or handler.oci_idmap.value):
        message = "the container runtime promises nothing that the kernel could refuse"
        return Outcome.skipped(message, cri_claim(handler, runtime) if handler else handlers_told(runtime))
    claim = cri_claim(handler, runtime) if handler.user_namespaces else idmap_claim(handler)
    claimant = runtime_name(runtime) if handler.user_namespaces else oci_name(handler)
    attempts = [one for one in facts.attempts if one.role in _NODE_ROLES and _counts(runtime, handler, one)]
    refused = [f"{_place(one)}: {one.reason}" for one in attempts if one.result == "refused"]
    if facts.user_namespace.result == "refused" and not _is_for_now(facts):
        refused.insert(0, f"a user namespace: {facts.user_namespace.reason}")
    if refused:
        message = f"{claimant} promises user namespaces, but the kernel refuses {refused[0]}"
        return Outcome.warn(message, claim, *(Evidence("live attempt", text) for text in refused))
    unknown = next((one for one in attempts if one.result == "unknown"), None)
    if unknown:
        message = f"unknown whether the kernel keeps the promise: {_place(unknown)}: {unknown.reason}"
        return Outcome.unknown(unknown.kind or "not-tried", message, claim)
    if not attempts:
        return Outcome.unknown("not-tried", "unknown whether the kernel keeps the promise: not tried", claim)
    return Outcome.passed(f"the kernel keeps what {claimant} promises", claim)


def _is_for_now(facts: Facts) -> bool:
    """True when the user namespace failed because the limit was reached at that moment."""
    limit = facts.kernel.namespace_limits.get(USER_LIMIT)
    return facts.user_namespace.errno == "ENOSPC" and (limit is None or limit.value != 0)


def _counts(runtime: RuntimeFacts, handler: Handler, attempt: Attempt) -> bool:
    """True when the attempt concerns the handler; layers only with overlay and without `slow_chown`."""
    if attempt.role != "overlay-layers":
        return True
    snapshotter = handler.snapshotter.value or runtime.snapshotter.value
    return snapshotter in (None, "overlay", "overlayfs") and not runtime.slow_chown.value


def _place(attempt: Attempt) -> str:
    where = f" {attempt.path} ({attempt.fstype})" if attempt.path else ""
    return f"{_NODE_ROLES[attempt.role]}{where}"
