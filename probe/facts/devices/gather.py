"""From the host to the facts of its devices. A node that offers none pays for a look at folders, and for no import."""

from __future__ import annotations

from probe.facts.devices.listing import list_folders
from probe.facts.devices.model import CdiFolders, DeviceFacts
from probe.facts.devices.toolkit import NO_TOOLKIT, has_nvidia_runtime
from probe.facts.filesystems.attempts import Bench
from probe.facts.model import HookFacts, KernelFacts, ProbeFacts, RuntimeFacts
from probe.facts.runtime.cdi import gather_maps_mounts
from probe.host.host import Host
from probe.host.namespaces import import_own
from probe.reading import Reading, problem_of


def gather_devices(
    host: Host,
    runtime: Reading[RuntimeFacts],
    hooks: Reading[HookFacts],
    sockets: Reading[tuple[str, ...]],
    bench: Bench,
    probe: ProbeFacts,
    kernel: KernelFacts,
) -> Reading[DeviceFacts]:
    """CDI specifications and what the runtime finds of them; *sockets* are those of device plugins."""
    listed, known = list_folders(host, runtime), runtime.value
    seen = DeviceFacts(
        cdi=listed.parse(lambda listing: CdiFolders(folders=((),) * len(listing.folders), found=0)),
        maps_mounts=gather_maps_mounts(known.name, known.version) if known else problem_of(runtime),
        toolkit=NO_TOOLKIT,
    )
    empty = listed.value is None or listed.value.is_empty()
    if empty and not sockets.value and not has_nvidia_runtime(runtime):
        return Reading(listed.source, seen)
    found: Reading[DeviceFacts] = import_own("probe.facts.devices.offered").gather_offered(
        host, runtime, hooks, sockets, bench, probe, kernel, seen, listed
    )
    return found
