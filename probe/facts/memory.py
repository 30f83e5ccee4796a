"""What a probe of `watch` leaves to the next probe, and to the looks between both."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from probe import __version__
from probe.facts.model import Facts
from probe.facts.proof import prove, without_pod
from probe.host.host import Host
from probe.host.look import UNSEEN
from probe.host.memory_file import put_memory
from probe.host.recording import KEPT_FOR, Kept, RecordingHost, Source
from probe.proof import Proof
from probe.reading import encode


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing in it is needed: whatever is odd about it, a probe without memory takes its place."""

    version: str = __version__
    sources: tuple[Source, ...] = ()
    """What to look at; empty when looks would miss something."""
    outputs: dict[str, Kept] = {}
    proof: Proof | None = None


def parse_memory(content: bytes) -> Memory:
    """The memory in *content*, or an empty one when another version wrote it, or nobody can tell what it is."""
    try:
        memory = msgspec.json.decode(content, type=Memory)
    except (ValueError, RecursionError):
        return Memory()
    if memory.version != __version__:
        return Memory(proof=memory.proof)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    young = {key: kept for key, kept in memory.outputs.items() if 0 <= now - kept.at < KEPT_FOR}
    return msgspec.structs.replace(memory, outputs=young)


def remember(host: Host, facts: Facts, memory: Memory, fd: int | None) -> Facts:
    """*facts* with the proof that is remembered; what the next probe has to know is left in the file *fd*."""
    now = without_pod(host, facts)
    proven = prove(facts, now, memory.proof)
    if fd is not None and isinstance(host, RecordingHost):
        # A daemon that is not known now may be found to be the same next time.
        proof = memory.proof if now.runtime_pid is None else proven.proof
        sources = watched(facts, host.sources())
        put_memory(fd, encode(Memory(sources=sources, outputs=host.outputs, proof=proof)))
    return proven


def watched(facts: Facts, sources: list[Source]) -> tuple[Source, ...]:
    """*sources* if looking at them tells all that may change the verdict, else none.

    Where no kubelet or runtime is known, the next one to start would not be noticed.
    """
    kubelet, runtime = facts.kubelet.value, facts.runtime.value
    confinement = runtime.confinement.value if runtime else None
    if not facts.probe.entered.value or kubelet is None or confinement is None:
        return ()
    kinds = {(kind, path) for kind, path, _ in sources}
    needed = {("start", f"/proc/{pid}/stat") for pid in (kubelet.pid, confinement.pid)}
    needed |= {("mounts", f"/proc/{confinement.pid}/mountinfo")}
    return tuple(sources) if needed <= kinds and all(seen != UNSEEN for *_, seen in sources) else ()
