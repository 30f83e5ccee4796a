"""Tables of docs/volumes.md and docs/versions.md, from those of the code."""

from __future__ import annotations

from collections.abc import Iterable

from probe.tables import host_network
from probe.tables.csi import CSI
from probe.tables.driver import Driver
from probe.tables.drivers import IN_TREE, PROVISIONERS
from probe.tables.filesystems import FUSE_SINCE, KNOWN_TO, NEVER, OUT_OF_TREE, READS_ONLY, SINCE
from probe.tables.gates import GATES, Gate
from probe.tables.gates import KNOWN_TO as GATES_TO
from probe.tables.pod_limits import LIMITS
from probe.tables.pod_security import CONTROLS
from probe.tables.pod_security import SINCE as POLICY_SINCE
from probe.tables.servers import SERVERS
from probe.tables.version import spelled

OLDEST_GATES = 30
"""The first minor version with a column of its own."""
_LETTERS = {
    ("alpha", False): "a",
    ("beta", False): "b",
    ("beta", True): "B",
    ("stable", True): "G",
    ("beta", None): "b?",
}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def drivers() -> str:
    """A row for all names that reach the node alike by the same source."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    every: dict[str, Driver] = CSI | IN_TREE | PROVISIONERS
    for name, driver in every.items():
        groups.setdefault((driver.reaches(), driver.hint, driver.source), []).append(f"`{name}`")
    rows = ((", ".join(names), key[0], key[1], key[2]) for key, names in groups.items())
    return table(("names", "reaches the node as", "to know", "source"), rows)


def filesystems() -> str:
    """File systems by the first release that idmaps them."""
    rows = [(f"`{name}`", spelled(since), READS_ONLY.get(name, "")) for name, since in SINCE.items()]
    rows.append(("`fuse`, `virtiofs`", spelled(FUSE_SINCE), "if the server offers FUSE_ALLOW_IDMAP"))
    rows += [(f"`{name}`", "by its module", words) for name, words in OUT_OF_TREE.items()]
    rows.append((", ".join(f"`{name}`" for name in sorted(NEVER)), f"never up to {spelled(KNOWN_TO)}", ""))
    return table(("file system", "since Linux", "to know"), rows)


def servers() -> str:
    """FUSE servers and libraries."""
    return table(("server", "FUSE_ALLOW_IDMAP", "source"), ((f"`{n}`", s.words, s.source) for n, s in SERVERS.items()))


def gates() -> str:
    """A column for each version of Kubernetes."""
    minors = range(OLDEST_GATES, GATES_TO[1] + 1)
    rows = (
        (f"`{gate.name}`", gate.about, *(_letter(gate, minor) for minor in minors), _source(gate)) for gate in GATES
    )
    return table(("gate", "for", *(f"1.{minor}" for minor in minors), "source"), rows)


def _letter(gate: Gate, minor: int) -> str:
    stage = gate.at((1, minor))
    return _LETTERS[stage.stage, stage.default] if stage else "-"


def _source(gate: Gate) -> str:
    return gate.stages[-1].source.partition(",")[0].partition(":")[0]


def pod_security() -> str:
    """Controls with and without a user namespace."""
    since = f"with hostUsers: false, from {POLICY_SINCE[0]}.{POLICY_SINCE[1]} on"
    rows = ((one.level, one.field, one.without, one.relaxed or "the same", one.source) for one in CONTROLS)
    return table(("level", "field", "asked", since, "source"), rows)


def host_networks() -> str:
    """Container runtimes by release."""
    rows = ((one.name, spelled(one.supports), spelled(one.says), one.source) for one in host_network.RUNTIMES)
    return table(("runtime", "runs them since", "says so since", "source"), rows)


def pod_limits() -> str:
    """What no node shows."""
    return table(
        ("what", "is different", "instead", "source"),
        ((one.subject, one.what, one.instead, one.source) for one in LIMITS),
    )
