"""What the next start of the kubelet will do, told before it happens.

*Source*: kubelet, `cmd/kubelet/app/server.go`, `pkg/kubelet/apis/config/validation`; last words of kubelet 1.36.2 as
recorded on a node.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec import Struct

from probe.facts.defaults import BLOCK, MAX_UINT32
from probe.facts.ids.manager import Cause, IdPool, KubeletEnds, Release, Unknown, find_pool, go_quote, take_up
from probe.facts.ids.range import ACCOUNT_SINCE
from probe.facts.kubelet.versions import GATE, parse_release, version_rule
from probe.facts.model import IdFacts, KubeletFacts
from probe.facts.tried import Attempt
from probe.reading import ProblemKind, Reading

_FAIL_CGROUP_V1_KNOWN = (1, 31)
_CGROUP_V1_UNSUPPORTED = (1, 35)
_PANIC = "panic: failed to merge global and in-flight KubeletConfiguration while setting defaults"


class Forecast(Struct, frozen=True, kw_only=True):
    """What happens when the kubelet starts again, as far as its IDs and the settings around them decide."""

    outcome: Literal["starts", "fails", "unknown"]
    message: str = ""
    """Of a failure: the kubelet's last words, as its log has them."""
    reason: str = ""
    """Half a sentence: why it fails, or why that is unknown; empty when it starts."""
    cause: Cause | None = None
    """Of a failure: what has to change."""
    kind: ProblemKind | None = None
    """Of an unknown: why nobody knows."""
    pool: IdPool | None = None
    """None without user namespaces, when it is not known, and when the kubelet refuses it."""
    used: int | None = None
    """Slots of the pool that Pods hold; None when that is not known."""


def forecast(
    ids: Reading[IdFacts], kubelet: KubeletFacts, cgroup_version: Reading[int], root: Attempt | None = None
) -> Forecast:
    """What this kubelet's next start does; *root* is the attempt on its root directory.

    It `fails` when one of its checks is known to refuse, whatever the others say; it `starts` only when every one is
    known to pass.
    """
    release = kubelet.version.parse(parse_release)
    if release.value is None:
        return _unknown(release)
    unknown: Unknown = []
    pool, used = None, None
    replaced = kubelet.executable.value is not None and kubelet.executable.value.newer
    try:
        _validate(kubelet, release.value, cgroup_version, unknown)
        if _makes_manager(kubelet, release.value, ids, unknown) and ids.value is not None:
            pool = find_pool(ids.value, kubelet, release.value, unknown)
            used = _take_up(pool, ids.value, release.value, unknown)
        _start_container_manager(kubelet, root)
    except KubeletEnds as end:
        if replaced:
            return _unknown(_replaced(kubelet, f", which would end: {end.words}"), pool)
        return Forecast(outcome="fails", message=end.words, reason=end.reason, cause=end.cause, pool=pool)
    if replaced:
        unknown.append(_replaced(kubelet, ""))
    return _unknown(unknown[0], pool, used) if unknown else Forecast(outcome="starts", pool=pool, used=used)


def _validate(kubelet: KubeletFacts, release: Release, cgroup_version: Reading[int], unknown: Unknown) -> None:
    """Gates first, since they change the defaults; then the configuration, whose errors come together."""
    gate = kubelet.gate_configured
    if version_rule(release).locked and gate.value is False:
        locked = f"cannot set feature gate {GATE} to false, feature is locked to true"
        words = f"{_PANIC}, error: {locked}"
        if gate.source.startswith("--"):
            words = f"failed to set feature gates from initial flags-based config: {locked}"
        raise KubeletEnds("gate", words, f"the feature gate {GATE} is locked, and set to false")
    if version_rule(release).locked and gate.value is None and gate.kind != "absent":
        unknown.append(gate)
    errors: list[tuple[Cause, str]] = []
    if kubelet.max_pods.value is not None and kubelet.max_pods.value < 0:
        words = f"maxPods (--max-pods) {kubelet.max_pods.value} must not be a negative number"
        errors.append(("configuration", f"invalid configuration: {words}"))
    if not _validate_cgroup(kubelet, release, cgroup_version, unknown, errors):
        _validate_ids_per_pod(kubelet, unknown, errors)
    if errors:
        text = errors[0][1] if len(errors) == 1 else f"[{', '.join(words for _, words in errors)}]"
        words = f"failed to validate kubelet configuration, error: {text}, path: &TypeMeta{{Kind:,APIVersion:,}}"
        raise KubeletEnds(errors[-1][0], words, "it refuses its configuration")


def _validate_cgroup(
    kubelet: KubeletFacts,
    release: Release,
    version: Reading[int],
    unknown: Unknown,
    errors: list[tuple[Cause, str]],
) -> bool:
    """True when it refuses cgroup v1; what is checked after that is not looked at any more."""
    fails = kubelet.fail_cgroup_v1
    if release < _FAIL_CGROUP_V1_KNOWN or fails.value is False or version.value == 2:
        return False
    if fails.value is None or version.value is None:
        unknown.append(fails if fails.value is None else version)
        return False
    old = release < _CGROUP_V1_UNSUPPORTED
    support = "in maintenance mode" if old else "unsupported and will be removed in a future release"
    words = f"kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is {support}"
    errors.append(("cgroup", words))
    return True


def _validate_ids_per_pod(kubelet: KubeletFacts, unknown: Unknown, errors: list[tuple[Cause, str]]) -> None:
    number = kubelet.ids_per_pod.value
    if number is None:
        unknown.append(kubelet.ids_per_pod)
        return
    refused = ""
    if number < BLOCK:
        refused = f"not be less than {BLOCK}"
    elif number % BLOCK:
        refused = f"be a multiple of {BLOCK}"
    elif number > MAX_UINT32:
        refused = f"not be more than {MAX_UINT32}"
    if refused:
        errors.append(("ids-per-pod", f"invalid configuration: userNamespaces.idsPerPod must {refused}"))


def _makes_manager(kubelet: KubeletFacts, release: Release, ids: Reading[IdFacts], unknown: Unknown) -> bool:
    """Without user namespaces, none of their checks is done."""
    gate = _gate_at_next_start(kubelet, release)
    if gate.value is None:
        unknown.append(gate)
    if not gate.value:
        return False
    if release < ACCOUNT_SINCE:
        problem = "kubelets before 1.30 choose IDs by other rules, which are not replayed here"
        unknown.append(Reading.without("kubelet's version", "not-tried", problem))
        return False
    if ids.value is None:
        unknown.append(ids)
    return True


def _take_up(pool: IdPool | None, ids: IdFacts, release: Release, unknown: Unknown) -> int | None:
    if ids.files.value is None:
        unknown.append(ids.files)
    if pool is None or ids.files.value is None:
        return None
    return take_up(pool, ids.files.value, release, unknown)


def _gate_at_next_start(kubelet: KubeletFacts, release: Release) -> Reading[bool]:
    """The next start reads the files anew; the running kubelet may still have another value."""
    rule, configured = version_rule(release), kubelet.gate_configured
    if rule.locked or not rule.gate:
        return Reading(rule.source, rule.locked)
    if configured.kind != "absent":
        return configured
    return kubelet.gate if kubelet.gate.value is not None else Reading(rule.source, rule.default)


def _start_container_manager(kubelet: KubeletFacts, root: Attempt | None) -> None:
    """It wants to know the disk that its root directory lies on, and knows none behind FUSE. *Source*: cadvisor, fs."""
    directory = kubelet.root_dir.value
    if root is None or directory is None or not re.fullmatch(r"fuse(\..*)?", root.fstype):
        return
    major, _, minor = root.device.partition(":")
    where = f"failed to get device for dir {go_quote(directory)}: with major: {major}, minor: {minor}"
    words = f"failed to get rootfs info: {where}: could not find device in cached partitions map"
    raise KubeletEnds("root", words, f"its root directory {directory} lies on FUSE ({root.fstype})")


def _replaced(kubelet: KubeletFacts, and_so: str) -> Reading[str]:
    version = kubelet.version.value
    problem = f"was replaced since the kubelet started: another version than {version} starts next{and_so}"
    return Reading.without(kubelet.executable.source, "not-tried", problem)


def _unknown(missing: Reading[Any], pool: IdPool | None = None, used: int | None = None) -> Forecast:
    reason = f"{missing.source}: {missing.problem}"
    return Forecast(outcome="unknown", reason=reason, kind=missing.kind, pool=pool, used=used)
