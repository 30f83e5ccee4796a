"""Check: the container runtime supports Pods with a user namespace."""

from __future__ import annotations

import errno
import os

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.runtime import MINIMUM_OCI, MINIMUM_RUNTIME, SERVE_CRI, restart, upgrade_oci, upgrade_runtime
from probe.checks.runtime.claims import check_kernel_claim, check_oci_features, is_able
from probe.checks.runtime.confinement import check_confinement
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
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence

_NO_PROGRAM = os.strerror(errno.ENOEXEC)
"""Of a file that is empty, truncated, or of another architecture. *Source*: execve(2)."""


def check_user_namespaces(facts: Facts, name: str = "") -> Outcome:
    """CRI decides, as for the kubelet, unless the binary was replaced since by one that lacks support."""
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, "whether the container runtime offers user namespaces")
    if runtime.handlers.value is None and "UNIMPLEMENTED" in runtime.handlers.problem:
        message = "the container runtime does not serve CRI: its CRI plugin is switched off, or failed to load"
        return Outcome.fail("CriServiceMissing", message, runtime.handlers, remediation=SERVE_CRI)
    if runtime.handlers.value is None:
        return Outcome.not_read("whether the container runtime offers user namespaces", runtime.handlers)
    if not runtime.handlers.value:
        return _too_old(facts, runtime)
    handler = find_handler(facts, name)
    if handler is None:
        return _unknown_handler(name, runtime)
    seen = (cri_claim(handler, runtime), handler.oci_version, idmap_claim(handler))
    if not handler.user_namespaces:
        message, remediation = _why_denied(facts, runtime, handler)
        return Outcome.fail("HandlerWithoutUserNamespaces", message, *seen, remediation=remediation)
    if handler.oci_idmap.value is not None and not is_able(runtime, handler):
        message = (
            f"{runtime_name(runtime)} still promises user namespaces with {handler_name(handler)}, "
            f"but {oci_name(handler)} cannot idmap mounts, so containers fail"
        )
        remediation = upgrade_oci(facts, handler)
        return Outcome.fail("HandlerWithoutUserNamespaces", message, *seen, remediation=remediation)
    if handler.executable.value and handler.oci_idmap.problem == _NO_PROGRAM:
        message = f"{runtime_name(runtime)} cannot execute {handler.binary.value}: it is not a program for this kernel"
        remediation = upgrade_oci(facts, handler)
        return Outcome.fail("OciRuntimeMissing", message, *seen, handler.oci_idmap, remediation=remediation)
    if handler.executable.value is False and handler.oci_version.value is None:
        missing = handler.binary.value or handler.binary.problem
        message = f"{runtime_name(runtime)} cannot execute the OCI runtime of {handler_name(handler)}: {missing}"
        found = handler.executable.parse(lambda _: "missing, or not executable as root")
        return Outcome.fail("OciRuntimeMissing", message, *seen, found, remediation=upgrade_oci(facts, handler))
    if _is_broken(handler):
        broken = f"{handler.binary.value} no longer answers: {handler.oci_idmap.problem}"
        message = f"{runtime_name(runtime)} still promises user namespaces with {handler_name(handler)}, but {broken}"
        return Outcome.unknown(handler.oci_idmap.kind or "not-readable", message, *seen)
    return Outcome.passed(f"{runtime_name(runtime)} offers user namespaces with {handler_name(handler)}", *seen)


def _is_broken(handler: Handler) -> bool:
    """True when the binary gave no answer, or was replaced and cannot be run: CRI's answer is outdated."""
    silence = handler.oci_idmap
    if silence.value is not None or handler.binary.value is None:
        return False
    not_run = silence.kind in ("not-permitted", "not-tried") or silence.problem.startswith("not run")
    return not not_run or bool(handler.binary_newer.value)


def _too_old(facts: Facts, runtime: RuntimeFacts) -> Outcome:
    """Outcome for a Status without `runtime_handlers`: the kubelet rejects every Pod with a user namespace."""
    name = runtime.name.value or ""
    seen = Evidence(runtime.handlers.source, "no runtime_handlers")
    message = f"{runtime_name(runtime)} does not support user namespaces"
    if name in MINIMUM_RUNTIME:
        message += f": {name} does from {MINIMUM_RUNTIME[name]} on"
    elif name == "docker":
        message += ": behind cri-dockerd no version does"
    return Outcome.fail("RuntimeTooOld", message, seen, remediation=upgrade_runtime(facts))


def _unknown_handler(name: str, runtime: RuntimeFacts) -> Outcome:
    seen = handlers_told(runtime)
    known = seen.value.removeprefix("handlers: ")
    asked = f'handler "{name}"' if name else "default handler"
    return Outcome.fail(
        "HandlerUnknown",
        f"{runtime_name(runtime)} has no {asked}",
        seen,
        remediation=f"Configure that handler, or name one that exists in the RuntimeClass: {known}",
    )


def _why_denied(facts: Facts, runtime: RuntimeFacts, handler: Handler) -> tuple[str, str]:
    """(message, remediation) for a handler without `user_namespaces` in CRI."""
    denied = f"{runtime_name(runtime)} offers no user namespaces with {handler_name(handler)}"
    if is_able(runtime, handler):
        return f"{denied}, though {oci_name(handler)} has them: the runtime asks only when it starts", restart(facts)
    if is_old(handler):
        name = handler.oci_runtime.value or ""
        return f"{denied}: {oci_name(handler)} is older than {MINIMUM_OCI[name]}", upgrade_oci(facts, handler)
    if handler.oci_idmap.value is False:
        return f"{denied}: {oci_name(handler)} cannot idmap mounts", upgrade_oci(facts, handler)
    if handler.binary.kind == "absent":
        remediation = "Use a RuntimeClass whose handler is runc 1.2, crun 1.9 or newer."
        return f"{denied}: {handler.binary.problem}", remediation
    if handler.user_namespaces is None:
        return f"{denied}: it could not learn the features of {oci_name(handler)}", upgrade_oci(facts, handler)
    return f"{denied}: {oci_name(handler)} had none when the runtime started", upgrade_oci(facts, handler)


def is_old(handler: Handler) -> bool:
    """True when the version is too old; it only explains, since distributions backport features."""
    number = parse_version_number(handler.oci_version.value or "")
    minimum = parse_version_number(MINIMUM_OCI.get(handler.oci_runtime.value or "", ""))
    return number is not None and minimum is not None and number < minimum


CHECKS = (
    Check(
        id="runtime-user-namespaces",
        level="stateless",
        gating=True,
        question="Does the container runtime offer user namespaces with this runtime handler?",
        why="The kubelet asks CRI, per runtime handler. Where the answer is no, each Pod with hostUsers: false stays "
        "in ContainerCreating with “runtime does not support user namespaces”.",
        reasons=(
            "RuntimeTooOld",
            "HandlerWithoutUserNamespaces",
            "HandlerUnknown",
            "OciRuntimeMissing",
            "CriServiceMissing",
        ),
        remediation=GENERIC["runtime-user-namespaces"],
        documentation="https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/",
        check=check_user_namespaces,
        per_handler=check_user_namespaces,
    ),
    Check(
        id="runtime-confinement",
        level="stateless",
        gating=True,
        question="Does the container runtime have the privileges that the probe has?",
        why="The probe tries user namespaces and idmapped mounts with its own rights. A runtime that runs rootless, "
        "without capabilities, under a seccomp filter or a security module may be refused the same.",
        reasons=("RuntimeConfined",),
        remediation=GENERIC["runtime-confinement"],
        documentation="capabilities(7), systemd.exec(5)",
        check=check_confinement,
    ),
    Check(
        id="runtime-oci-features",
        level="stateless",
        gating=False,
        question="Does the container runtime report the current features of its OCI runtime?",
        why="containerd and CRI-O ask an OCI runtime for its features once, when they start. After an upgrade or a "
        "downgrade of runc or crun they keep reporting the old answer.",
        remediation=GENERIC["runtime-oci-features"],
        documentation="https://github.com/opencontainers/runtime-spec/blob/main/features.md",
        contradiction=True,
        check=check_oci_features,
        per_handler=check_oci_features,
    ),
    Check(
        id="runtime-kernel-claim",
        level="stateless",
        gating=False,
        question="Does the kernel support what the container runtime promises?",
        why="user_namespaces in CRI and in the Node object tells what the OCI runtime was built for. It is true on "
        "kernels and file systems that refuse, too, and Pods are then scheduled to a node that cannot run them.",
        remediation=GENERIC["runtime-kernel-claim"],
        documentation="KEP-127, mount_setattr(2)",
        contradiction=True,
        check=check_kernel_claim,
        per_handler=check_kernel_claim,
    ),
)
