"""Forecast of the next start of the kubelet, by a replay of its checks.

*Source*: kubelet, `cmd/kubelet/app/server.go`, `pkg/kubelet/apis/config/validation`; error messages of kubelet 1.36.2
as recorded on a node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from probe.facts.defaults import BLOCK, MAX_UINT32
from probe.facts.ids.manager import (
    Cause,
    Checks,
    IdPool,
    Missing,
    Obstacle,
    Release,
    find_pool,
    quoted,
    take_up,
)
from probe.facts.ids.range import ACCOUNT_SINCE
from probe.facts.kubelet.versions import GATE, parse_release, version_rule
from probe.facts.model import IdFacts, KubeletFacts
from probe.facts.tried import Attempt
from probe.reading import ProblemKind, Reading

_FAIL_CGROUP_V1_KNOWN = (1, 31)
_CGROUP_V1_UNSUPPORTED = (1, 35)
_PANIC = "panic: failed to merge global and in-flight KubeletConfiguration while setting defaults"


class Forecast(Struct, frozen=True, kw_only=True):
    """Result of the next start of the kubelet, as far as its IDs and related settings decide."""

    outcome: Literal["starts", "fails", "unknown"]
    message: str = ""
    """Error message of the kubelet when it fails, as in its log."""
    reason: str = ""
    """Half a sentence: reason of `fails` or unknown; empty for `starts`."""
    cause: Cause | None = None
    """Cause of a failure, which selects the remediation."""
    kind: ProblemKind | None = None
    """Kind of the missing reading when the outcome is unknown."""
    pool: IdPool | None = None
    """None without user namespaces, when unknown, and when the kubelet refuses it."""
    used: int | None = None
    """Slots of the pool held by Pods; None when unknown."""


class _Slots(Struct, frozen=True):
    pool: IdPool | None = None
    used: int | None = None


def forecast(
    ids: Reading[IdFacts], kubelet: KubeletFacts, cgroup_version: Reading[int], root: Attempt | None = None
) -> Forecast:
    """Forecast for this kubelet; *root* is the attempt on its root directory.

    `fails` when at least one of the kubelet's checks is known to fail; `starts` only when all are known to pass.
    """
    release = kubelet.version.parse(parse_release)
    if release.value is None:
        return _unknown(release, _Slots())
    replaced = kubelet.executable.value is not None and kubelet.executable.value.newer
    slots, missing = _Slots(), []
    for found in _next_start(kubelet, release.value, ids, cgroup_version, root):
        if isinstance(found, _Slots):
            slots = found
        elif isinstance(found, Missing):
            missing.append(found.reading)
        elif replaced:
            return _unknown(_replaced(kubelet, f", which would end: {found.words}"), _Slots(slots.pool))
        else:
            return Forecast(
                outcome="fails", message=found.words, reason=found.reason, cause=found.cause, pool=slots.pool
            )
    if replaced:
        missing.append(_replaced(kubelet, ""))
    return _unknown(missing[0], slots) if missing else Forecast(outcome="starts", pool=slots.pool, used=slots.used)


def _next_start(
    kubelet: KubeletFacts,
    release: Release,
    ids: Reading[IdFacts],
    cgroup_version: Reading[int],
    root: Attempt | None,
) -> Iterator[Obstacle | Missing | _Slots]:
    """All checks of a start in the kubelet's order, interleaved with the state of the pool so far."""
    yield from _check_gate(kubelet, release)
    yield from _check_configuration(kubelet, release, cgroup_version)
    if (yield from _makes_manager(kubelet, release, ids)) and ids.value is not None:
        pool = yield from find_pool(ids.value, kubelet, release)
        yield _Slots(pool)
        if ids.value.files.value is None:
            yield Missing(ids.value.files)
        elif pool is not None:
            yield _Slots(pool, (yield from take_up(pool, ids.value.files.value, release)))
    yield from _start_container_manager(kubelet, root)


def _check_gate(kubelet: KubeletFacts, release: Release) -> Checks[None]:
    """Check of feature gates; the first one, since gates change defaults."""
    gate = kubelet.gate_configured
    if not version_rule(release).locked or gate.value:
        return
    if gate.value is None and gate.kind != "absent":
        yield Missing(gate)
    elif gate.value is False:
        locked = f"cannot set feature gate {GATE} to false, feature is locked to true"
        words = f"{_PANIC}, error: {locked}"
        if gate.source.startswith("--"):
            words = f"failed to set feature gates from initial flags-based config: {locked}"
        yield Obstacle("gate", words, f"the feature gate {GATE} is locked, and set to false")


def _check_configuration(kubelet: KubeletFacts, release: Release, cgroup_version: Reading[int]) -> Checks[None]:
    """Check of the configuration; the kubelet reports all its errors together."""
    errors: list[tuple[Cause, str]] = []
    for found in _configuration_errors(kubelet, release, cgroup_version):
        if isinstance(found, Missing):
            yield found
        else:
            errors.append(found)
    if errors:
        text = errors[0][1] if len(errors) == 1 else f"[{', '.join(words for _, words in errors)}]"
        words = f"failed to validate kubelet configuration, error: {text}, path: &TypeMeta{{Kind:,APIVersion:,}}"
        yield Obstacle(errors[-1][0], words, "it refuses its configuration")


def _configuration_errors(
    kubelet: KubeletFacts, release: Release, cgroup_version: Reading[int]
) -> Iterator[tuple[Cause, str] | Missing]:
    if kubelet.max_pods.value is not None and kubelet.max_pods.value < 0:
        words = f"maxPods (--max-pods) {kubelet.max_pods.value} must not be a negative number"
        yield "configuration", f"invalid configuration: {words}"
    fails = kubelet.fail_cgroup_v1
    if release >= _FAIL_CGROUP_V1_KNOWN and fails.value is not False and cgroup_version.value != 2:
        if fails.value is None or cgroup_version.value is None:
            yield Missing(fails if fails.value is None else cgroup_version)
        else:
            old = release < _CGROUP_V1_UNSUPPORTED
            support = "in maintenance mode" if old else "unsupported and will be removed in a future release"
            words = f"kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is {support}"
            yield "cgroup", words
            return  # the kubelet checks nothing more
    number = kubelet.ids_per_pod.value
    if number is None:
        yield Missing(kubelet.ids_per_pod)
    elif refused := _refused_ids_per_pod(number):
        yield "ids-per-pod", f"invalid configuration: userNamespaces.idsPerPod must {refused}"


def _refused_ids_per_pod(number: int) -> str:
    if number < BLOCK:
        return f"not be less than {BLOCK}"
    if number % BLOCK:
        return f"be a multiple of {BLOCK}"
    return f"not be more than {MAX_UINT32}" if number > MAX_UINT32 else ""


def _makes_manager(kubelet: KubeletFacts, release: Release, ids: Reading[IdFacts]) -> Checks[bool]:
    """True when the kubelet creates its user namespace manager, whose checks are skipped otherwise."""
    gate = _gate_at_next_start(kubelet, release)
    if gate.value is None:
        yield Missing(gate)
    if not gate.value:
        return False
    if release < ACCOUNT_SINCE:
        problem = "kubelets before 1.30 choose IDs by other rules, which are not replayed here"
        yield Missing(Reading.without("kubelet's version", "not-tried", problem))
        return False
    if ids.value is None:
        yield Missing(ids)
    return True


def _gate_at_next_start(kubelet: KubeletFacts, release: Release) -> Reading[bool]:
    """Feature gate after the next start, which reads the files again; the running kubelet may have another value."""
    rule, configured = version_rule(release), kubelet.gate_configured
    if rule.locked or not rule.gate:
        return Reading(rule.source, rule.locked)
    if configured.kind != "absent":
        return configured
    return kubelet.gate if kubelet.gate.value is not None else Reading(rule.source, rule.default)


def _start_container_manager(kubelet: KubeletFacts, root: Attempt | None) -> Checks[None]:
    """Check of the disk of the root directory, which the kubelet cannot find on FUSE. *Source*: cadvisor, fs."""
    directory = kubelet.root_dir.value
    if root is None or directory is None or not re.fullmatch(r"fuse(\..*)?", root.fstype):
        return
    major, _, minor = root.device.partition(":")
    where = f"failed to get device for dir {quoted(directory)}: with major: {major}, minor: {minor}"
    words = f"failed to get rootfs info: {where}: could not find device in cached partitions map"
    yield Obstacle("root", words, f"its root directory {directory} lies on FUSE ({root.fstype})")


def _replaced(kubelet: KubeletFacts, and_so: str) -> Reading[str]:
    version = kubelet.version.value
    problem = f"was replaced since the kubelet started: another version than {version} starts next{and_so}"
    return Reading.without(kubelet.executable.source, "not-tried", problem)


def _unknown(missing: Reading[Any], slots: _Slots) -> Forecast:
    reason = f"{missing.source}: {missing.problem}"
    return Forecast(outcome="unknown", reason=reason, kind=missing.kind, pool=slots.pool, used=slots.used)
