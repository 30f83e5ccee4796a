"""Start of the kubelet's user namespace manager: the pool of IDs, and the slots that Pods hold already.

Pure replay of its checks in their order. Messages are those of the kubelet, as found in its journal.
*Source*: kubelet, `MakeUserNsManager` in `pkg/kubelet/userns/userns_manager.go`, `getKubeletMappings` in
`pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, Literal, TypeVar

from msgspec import Struct

from probe.facts.defaults import ALL_IDS, BLOCK, MAX_UINT32
from probe.facts.ids.range import ACCOUNT
from probe.facts.model import IdFacts, KubeletFacts, Mapping, PodUserns, UsernsFile
from probe.host.program import Output
from probe.reading import Reading

T = TypeVar("T")

Release = tuple[int, int]
Cause = Literal["gate", "configuration", "cgroup", "ids-per-pod", "getsubids", "subids", "range", "files", "root"]

_PREFIX = "failed to run Kubelet: failed to create kubelet: create user namespace manager: "
_IDS_PER_POD_IGNORED = ((1, 33), (1, 35))  # kubernetes/kubernetes#133144; fixed by #133373 in 1.35.0, not in 1.34
_WORDS_SINCE = (1, 34)  # messages were recorded of 1.36.2; before 1.34 two prefixes differ


class Obstacle(Struct, frozen=True):
    """A failed check: the kubelet exits with *words* in its log."""

    cause: Cause
    words: str
    reason: str


class Missing(Struct, frozen=True):
    """A missing reading: the result of this check is unknown, and the replay continues."""

    reading: Reading[Any]


Checks = Generator[Obstacle | Missing, None, T]
"""Checks in the kubelet's order and their result; the replay stops at the first Obstacle."""


class IdPool(Struct, frozen=True, kw_only=True):
    """Range of IDs that a kubelet gives to Pods, in slots of equal size, one per Pod."""

    first: int
    count: int
    ids_per_pod: int
    configured: bool
    """False for the default range: all IDs except the first slot."""

    @property
    def slots(self) -> int:
        """Number of Pods that can have a user namespace at the same time."""
        return self.count // self.ids_per_pod

    @property
    def end(self) -> int:
        """First ID after the range; IDs beyond 2^32 wrap around to the host's own IDs."""
        return self.first + self.count


def find_pool(ids: IdFacts, kubelet: KubeletFacts, release: Release) -> Checks[IdPool | None]:
    """Range that the kubelet will use; None when unknown."""
    account, configured = ids.account, kubelet.ids_per_pod.value
    if account.value is None:
        yield Missing(account)
        return None
    length = None if configured is None else _ids_per_pod(configured, ids, release)
    found: tuple[int, int] | None = None
    if account.value:
        found = yield from _find_range(ids, release)
    elif length:
        found = length, ALL_IDS - length
    if not length or not found:
        return None
    first, count = found
    if first % length:
        yield _refused_range(f"ID {first} is not a multiple of {length}")
    if first < length:
        yield _refused_range(f"ID {first} must be greater or equal to {length}")
    if count % length:
        yield _refused_range(f"IDs length {count} is not a multiple of {length}")
    max_pods = kubelet.max_pods
    if max_pods.value is None:
        yield Missing(max_pods)
    elif count // length < max_pods.value:
        yield _refused_range(f"IDs are not enough to support {max_pods.value} pods")
    return IdPool(first=first, count=count, ids_per_pod=length, configured=account.value)


def ignores_ids_per_pod(configured: int, ids: IdFacts, release: Release) -> bool:
    """True when this kubelet accepts `idsPerPod` and still gives each Pod 65536 IDs.

    Its records of Pods win over its version, since distributions may have backported the fix.
    """
    if configured == BLOCK or not _IDS_PER_POD_IGNORED[0] <= release < _IDS_PER_POD_IGNORED[1]:
        return False
    return not any(
        mapping.length == configured
        for file in ids.files.value or ()
        for mapping in (file.content.value.uid_mappings if file.content.value else ())
    )


def take_up(pool: IdPool, files: tuple[UsernsFile, ...], release: Release) -> Checks[int | None]:
    """Number of slots held by Pods; None when a file could not be read."""
    taken: set[int] = set()
    known = True
    for file in files:
        if file.content.value is None and not file.malformed:
            yield Missing(file.content)
            known = False
            continue
        refusal = _refusal(pool, file, taken)
        if refusal:
            new = f"record pod mappings for existing pod {quoted(file.pod)}: {refusal}"
            words = new if release >= _WORDS_SINCE else f"record pod mappings: {refusal}"
            yield Obstacle("files", _PREFIX + words, _why(pool, file))
    return len(taken) if known else None


def quoted(text: str) -> str:
    """*text* quoted as by Go's %q, for ASCII."""
    return json.dumps(text)


def parse_getsubids(output: str) -> tuple[int, int]:
    """(first ID, count) in the output of getsubids(1).

    *Errors*: ValueError with the beginning of the kubelet's error message.
    """
    lines = output.strip("\n").split("\n")
    if len(lines) != 1:
        raise ValueError(f"error parsing line {quoted(output)}: it must contain only one line")
    fields = lines[0].split()
    if len(fields) != 4:
        raise ValueError(f"invalid line {quoted(output)}")
    first, count = (_uint32(field) for field in fields[2:])
    if first is None or count is None:
        raise ValueError(f"error parsing line {quoted(output)}")
    return first, count


def _uint32(text: str) -> int | None:
    digits = text.lstrip("0") or "0"  # Python limits digits to 4300, Go allows any number of leading zeros
    plain = text.isascii() and text.isdecimal() and len(digits) <= 10
    return int(digits) if plain and int(digits) <= MAX_UINT32 else None


def _ids_per_pod(configured: int, ids: IdFacts, release: Release) -> int:
    return BLOCK if ignores_ids_per_pod(configured, ids, release) else configured


def _find_range(ids: IdFacts, release: Release) -> Checks[tuple[int, int] | None]:
    """Range from getsubids(1) for the account. The kubelet asks for UIDs first and exits at the first error."""
    if ids.getsubids.kind == "absent":
        words = 'exec: "getsubids": executable file not found in $PATH'
        reason = "the account kubelet exists, and getsubids is not on its PATH"
        yield _refused_lookup(release, "getsubids", words, reason)
    missing = "the account kubelet exists, and getsubids has no range for it"
    uids = yield from _stdout(ids.subuids)
    if uids is None:
        return None
    if uids.status:
        words = f'error retrieving additional uids for user "{ACCOUNT}": exit status {uids.status}'
        yield _refused_lookup(release, "subids", words, missing)
    gids = yield from _stdout(ids.subgids)
    if gids is None:
        return None
    if gids.status:
        yield _refused_lookup(release, "subids", f'error retrieving additional gids for user "{ACCOUNT}"', missing)
    if uids.stdout != gids.stdout:
        words = f'mismatched subuids and subgids for user "{ACCOUNT}"'
        reason = "/etc/subuid and /etc/subgid give the account different ranges"
        yield _refused_lookup(release, "subids", words, reason)
    try:
        return parse_getsubids(uids.stdout)
    except ValueError as error:
        reason = "getsubids prints not exactly one range for the account"
        yield _refused_lookup(release, "subids", str(error), reason)
        return None


def _stdout(answer: Reading[Output]) -> Checks[Output | None]:
    if answer.value is None:
        yield Missing(answer)
    return answer.value


def _refused_lookup(release: Release, cause: Cause, words: str, reason: str) -> Obstacle:
    prefix = "kubelet mappings: " if release >= _WORDS_SINCE else ""
    return Obstacle(cause, _PREFIX + prefix + words, reason)


def _refused_range(words: str) -> Obstacle:
    reason = "it refuses the range of IDs it is given"
    return Obstacle("range", f"{_PREFIX}kubelet user assigned {words}", reason)


def _refusal(pool: IdPool, file: UsernsFile, taken: set[int]) -> str:
    """Error message of the kubelet for a Pod's file; empty when it accepts the file and marks the slot as taken."""
    if file.content.value is None:
        return "invalid user namespace mappings file"  # the rest is Go's message and depends on its version
    mapping = _only_mapping(file.content.value)
    if isinstance(mapping, str):
        return f"invalid user namespace configuration: {mapping}"
    if mapping.length != pool.ids_per_pod:
        return f"wrong user namespace length {mapping.length}"
    if mapping.host_id % pool.ids_per_pod:
        return f"wrong user namespace offset specified {mapping.host_id}"
    if not pool.first <= mapping.host_id < pool.end:
        return f"id {mapping.host_id} is out of range"
    if mapping.host_id in taken:
        return f"range picked for pod {quoted(file.pod)} already taken"
    taken.add(mapping.host_id)
    return ""


def _only_mapping(userns: PodUserns) -> Mapping | str:
    uids, gids = userns.uid_mappings, userns.gid_mappings
    if len(uids) != 1:
        return "no more than one mapping allowed."
    if len(uids) != len(gids):
        return "GID and UID mappings should be identical."
    if uids[0] != gids[0]:
        return "GID and UID mapping should be identical"
    if uids[0].container_id:
        return "UID 0 must be mapped"
    return uids[0]


def _why(pool: IdPool, file: UsernsFile) -> str:
    source = file.content.source
    if file.content.value is None:
        return f"{source} is {file.content.problem}"
    return f"{source} does not fit {pool.slots} slots of {pool.ids_per_pod} IDs from {pool.first} on"
