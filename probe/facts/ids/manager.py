"""The kubelet's user namespace manager as it starts: which IDs it may give out, and which its Pods hold already.

A replay of its checks in its order, all of it pure. Its words are its own, to be found in its journal.
*Source*: kubelet, `MakeUserNsManager` in `pkg/kubelet/userns/userns_manager.go`, `getKubeletMappings` in
`pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NoReturn

from msgspec import Struct

from probe.facts.defaults import BLOCK, MAX_UINT32
from probe.facts.ids.range import ACCOUNT
from probe.facts.model import IdFacts, KubeletFacts, Mapping, PodUserns, UsernsFile
from probe.host.program import Output
from probe.reading import Reading

Release = tuple[int, int]
Unknown = list[Reading[Any]]
"""What would have to be known; each function adds to it, and goes on as far as it can."""
Cause = Literal["gate", "configuration", "cgroup", "ids-per-pod", "getsubids", "subids", "range", "files", "root"]

_PREFIX = "failed to run Kubelet: failed to create kubelet: create user namespace manager: "
_IDS_PER_POD_IGNORED = ((1, 33), (1, 35))  # kubernetes/kubernetes#133144; fixed by #133373, in 1.35.0 and no 1.34
_WORDS_SINCE = (1, 34)  # the wording of 1.36.2 was recorded; before 1.34 two prefixes were other ones
# What Go takes for white space, which is not quite what Python does.
_SPACE = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_ESCAPES = {character: f"\\{letter}" for character, letter in zip('\a\b\f\n\r\t\v"\\', 'abfnrtv"\\', strict=True)}


class KubeletEnds(Exception):
    """The kubelet ends here, with *words* in its log."""

    def __init__(self, cause: Cause, words: str, reason: str) -> None:
        super().__init__(words)
        self.cause, self.words, self.reason = cause, words, reason


class IdPool(Struct, frozen=True, kw_only=True):
    """The IDs that a kubelet gives out, in slots of equal size, one for each Pod."""

    first: int
    count: int
    ids_per_pod: int
    configured: bool
    """False for the kubelet's default: all IDs but the first slot."""

    @property
    def slots(self) -> int:
        """How many Pods can have a user namespace at the same time."""
        return self.count // self.ids_per_pod

    @property
    def end(self) -> int:
        """The ID after the last one; what lies beyond 2^32 wraps around to the host's own IDs."""
        return self.first + self.count


def find_pool(ids: IdFacts, kubelet: KubeletFacts, release: Release, unknown: Unknown) -> IdPool | None:
    """The range that the kubelet will use; None when that is not known. *Errors*: KubeletEnds when it refuses it."""
    account, configured = ids.account, kubelet.ids_per_pod.value
    if account.value is None:
        unknown.append(account)
        return None
    length = None if configured is None else _ids_per_pod(configured, ids, release)
    found = _find_range(ids, release, unknown) if account.value else length and (length, (1 << 32) - length)
    if not length or not found:
        return None
    first, count = found
    if first % length:
        _refuse_range(f"ID {first} is not a multiple of {length}")
    if first < length:
        _refuse_range(f"ID {first} must be greater or equal to {length}")
    if count % length:
        _refuse_range(f"IDs length {count} is not a multiple of {length}")
    max_pods = kubelet.max_pods
    if max_pods.value is None:
        unknown.append(max_pods)
    elif count // length < max_pods.value:
        _refuse_range(f"IDs are not enough to support {max_pods.value} pods")
    return IdPool(first=first, count=count, ids_per_pod=length, configured=account.value)


def ignores_ids_per_pod(configured: int, ids: IdFacts, release: Release) -> bool:
    """Whether this kubelet accepts its `idsPerPod` and gives each Pod 65536 IDs all the same.

    What it has done before wins over its version: some distributions may have taken the fix over.
    """
    if configured == BLOCK or not _IDS_PER_POD_IGNORED[0] <= release < _IDS_PER_POD_IGNORED[1]:
        return False
    return not any(
        mapping.length == configured
        for file in ids.files.value or ()
        for mapping in (file.content.value.uid_mappings if file.content.value else ())
    )


def take_up(pool: IdPool, files: tuple[UsernsFile, ...], release: Release, unknown: Unknown) -> int | None:
    """How many slots the Pods hold; None when a file could not be read. *Errors*: KubeletEnds at the first bad file."""
    taken: set[int] = set()
    known = True
    for file in files:
        if file.content.value is None and not file.malformed:
            unknown.append(file.content)
            known = False
            continue
        refusal = _refusal(pool, file, taken)
        if refusal:
            new = f"record pod mappings for existing pod {go_quote(file.pod)}: {refusal}"
            words = new if release >= _WORDS_SINCE else f"record pod mappings: {refusal}"
            raise KubeletEnds("files", _PREFIX + words, _why(pool, file))
    return len(taken) if known else None


def go_quote(text: str) -> str:
    """A string as Go's `%q` writes it."""
    return '"' + "".join(_ESCAPES.get(each, each if each.isprintable() else _hex(each)) for each in text) + '"'


def parse_getsubids(output: str) -> tuple[int, int]:
    """First ID and count in what getsubids(1) prints, as the kubelet reads it; ValueError in the kubelet's words."""
    lines = output.strip("\n").split("\n")
    if len(lines) != 1:
        raise ValueError(f"error parsing line {go_quote(output)}: it must contain only one line")
    fields = [field for field in _SPACE.split(lines[0]) if field]
    if len(fields) != 4:
        raise ValueError(f"invalid line {go_quote(output)}")
    try:
        return _parse_uint32(fields[2]), _parse_uint32(fields[3])
    except ValueError as error:
        raise ValueError(f"error parsing line {go_quote(output)}: {error}") from error


def _ids_per_pod(configured: int, ids: IdFacts, release: Release) -> int:
    return BLOCK if ignores_ids_per_pod(configured, ids, release) else configured


def _find_range(ids: IdFacts, release: Release, unknown: Unknown) -> tuple[int, int] | None:
    """What getsubids says of the account. The kubelet asks for UIDs first, and ends at the first thing it dislikes."""
    if ids.getsubids.kind == "absent":
        words = 'exec: "getsubids": executable file not found in $PATH'
        _refuse_lookup(release, "getsubids", words, "the account kubelet exists, and getsubids is not on its PATH")
    missing = "the account kubelet exists, and getsubids has no range for it"
    uids = _stdout(ids.subuids, unknown)
    if uids is None:
        return None
    if uids.status:
        words = f'error retrieving additional uids for user "{ACCOUNT}": exit status {uids.status}'
        _refuse_lookup(release, "subids", words, missing)
    gids = _stdout(ids.subgids, unknown)
    if gids is None:
        return None
    if gids.status:
        _refuse_lookup(release, "subids", f'error retrieving additional gids for user "{ACCOUNT}"', missing)
    if uids.stdout != gids.stdout:
        words = f'mismatched subuids and subgids for user "{ACCOUNT}"'
        _refuse_lookup(release, "subids", words, "/etc/subuid and /etc/subgid give the account different ranges")
    try:
        return parse_getsubids(uids.stdout)
    except ValueError as error:
        _refuse_lookup(release, "subids", str(error), "getsubids prints not exactly one range for the account")


def _stdout(answer: Reading[Output], unknown: Unknown) -> Output | None:
    if answer.value is None:
        unknown.append(answer)
    return answer.value


def _refuse_lookup(release: Release, cause: Cause, words: str, reason: str) -> NoReturn:
    prefix = "kubelet mappings: " if release >= _WORDS_SINCE else ""
    raise KubeletEnds(cause, _PREFIX + prefix + words, reason)


def _refuse_range(words: str) -> NoReturn:
    raise KubeletEnds("range", f"{_PREFIX}kubelet user assigned {words}", "it refuses the range of IDs it is given")


def _refusal(pool: IdPool, file: UsernsFile, taken: set[int]) -> str:
    """Why the kubelet does not take a Pod's file up again, in its words; empty when it does, and the slot is taken."""
    if file.content.value is None:
        return "invalid user namespace mappings file"  # what follows is Go's, and differs between its versions
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
        return f"range picked for pod {go_quote(file.pod)} already taken"
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


def _parse_uint32(text: str) -> int:
    """As Go's strconv.ParseUint(text, 10, 32)."""
    call = f"strconv.ParseUint: parsing {go_quote(text)}"
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{call}: invalid syntax")
    digits = text.lstrip("0") or "0"  # Python takes no more than 4300, Go any number of leading zeros
    if len(digits) > 10 or int(digits) > MAX_UINT32:
        raise ValueError(f"{call}: value out of range")
    return int(digits)


def _hex(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
