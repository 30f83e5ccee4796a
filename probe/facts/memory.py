"""The memory that a probe of `watch` passes to the looker and to the next probe."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from probe import __version__
from probe.facts.model import Facts
from probe.facts.proof import prove, without_pod
from probe.facts.trials.kept import KeptTrial, keep
from probe.host.host import Host
from probe.host.look import UNSEEN
from probe.host.memory_file import put_memory
from probe.host.recording import KEPT_FOR, Kept, RecordingHost, Source
from probe.proof import Proof
from probe.reading import encode


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The memory. It is optional: a probe without one finds out the same, at a higher cost."""

    version: str = __version__
    sources: tuple[Source, ...] = ()
    """Sources for the looker; empty when looks at them would miss a change."""
    outputs: dict[str, Kept] = {}
    proof: Proof | None = None
    pod_trial: KeptTrial | None = None


def parse_memory(content: bytes) -> Memory:
    """The memory in *content*; an empty one when it is malformed, only the proof when another version wrote it."""
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
    """*facts* with the remembered proof. Writes the memory for the next probe to the file *fd*, unless it is None."""
    now = without_pod(host, facts)
    proven = prove(facts, now, memory.proof)
    if fd is not None and isinstance(host, RecordingHost):
        # A daemon that is not known now may be found to be the same next time.
        proof = memory.proof if now.runtime_pid is None else proven.proof
        sources = watched(facts, host.sources())
        kept = keep(facts, memory.pod_trial)
        put_memory(fd, encode(Memory(sources=sources, outputs=host.outputs, proof=proof, pod_trial=kept)))
    return proven


def watched(facts: Facts, sources: list[Source]) -> tuple[Source, ...]:
    """*sources* when looks at them show every change that may change the verdict, else an empty tuple.

    Without a known kubelet and runtime, looks would miss the start of one.
    """
    kubelet, runtime = facts.kubelet.value, facts.runtime.value
    confinement = runtime.confinement.value if runtime else None
    if not facts.probe.entered.value or kubelet is None or confinement is None:
        return ()
    kinds = {(kind, path) for kind, path, _ in sources}
    needed = {("start", f"/proc/{pid}/stat") for pid in (kubelet.pid, confinement.pid)}
    needed |= {("mounts", f"/proc/{confinement.pid}/mountinfo")}
    return tuple(sources) if needed <= kinds and all(seen != UNSEEN for *_, seen in sources) else ()
