"""Types of the IDs of a node: who has which, and what the kubelet has given to Pods."""

from __future__ import annotations

from msgspec import Struct

from probe.host.program import Output
from probe.reading import Reading


class SubIds(Struct, frozen=True):
    """One line of subuid(5) or subgid(5)."""

    owner: str
    first: int
    count: int
    file: str


class Account(Struct, frozen=True):
    """One line of passwd(5) or group(5)."""

    name: str
    id: int
    file: str


class Mapping(Struct, frozen=True):
    """One line of a map, as the kubelet keeps it."""

    host_id: int = 0
    container_id: int = 0
    length: int = 0


class PodUserns(Struct, frozen=True):
    """Content of a `userns` file."""

    uid_mappings: tuple[Mapping, ...] = ()
    gid_mappings: tuple[Mapping, ...] = ()


class UsernsFile(Struct, frozen=True, kw_only=True):
    """The file of one Pod."""

    pod: str
    """The Pod's UID: the name of its directory."""
    content: Reading[PodUserns]
    malformed: bool = False
    """It was read, and the kubelet cannot decode it either. With any other problem its content is unknown."""


class IdFacts(Struct, frozen=True, kw_only=True):
    """Sources of the range of IDs of a kubelet, and the records of IDs given to Pods."""

    account: Reading[bool]
    """True when this kubelet finds the account `kubelet`; without it the default range applies."""
    local_account: Reading[bool]
    """True when /etc/passwd contains the account."""
    getsubids: Reading[str]
    """Path of getsubids in the kubelet's PATH, else `absent`. Not tried without the account, like the next two."""
    subuids: Reading[Output]
    subgids: Reading[Output]
    """Output of `getsubids kubelet` and `getsubids -g kubelet`; the second only after success of the first."""
    owners: Reading[tuple[SubIds, ...]]
    """Entries of /etc/subuid and /etc/subgid for owners other than the kubelet."""
    accounts: Reading[tuple[Account, ...]]
    """Users and groups of the node whose ID lies above the first 65536."""
    service: Reading[str]
    """The service that getsubids(1) asks, `subid:` of nsswitch.conf(5): `files`, which is the default, or `sss`."""
    files: Reading[tuple[UsernsFile, ...]]
    """Records of Pods that the next start of the kubelet reads."""


class PodFacts(Struct, frozen=True, kw_only=True):
    """Recorded Pods with a user namespace, and the number of those seen running, with their maps."""

    recorded: int
    unread: int
    """Further Pods whose record could not be read or understood."""
    own_namespace: int
    """Of the recorded, those with a process that has the recorded IDs. It may be the sandbox's alone."""
    youngest_started_at: float = 0.0
    """Start time of the first process of the youngest of these, in seconds since the epoch."""
    host_namespace: int
    """Of the recorded, those with a container's process that has the node's own IDs, and so is not isolated."""
    last_block: int
    """Of the recorded, those that were given 4294967295, which is not an ID: the kernel refuses their map."""
