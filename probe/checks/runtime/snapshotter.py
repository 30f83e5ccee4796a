"""Are image layers mapped to a Pod's IDs, or copied for each Pod?"""

from __future__ import annotations

from typing import Any

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import COPY_LESS
from probe.checks.remedies.platforms import inline, platforms_of
from probe.checks.remedies.runtime import use_overlay_driver, use_overlayfs
from probe.checks.runtime.around import why_no_socket
from probe.checks.runtime.names import no_runtime, runtime_name, snapshotter_of
from probe.facts.model import Facts, RuntimeFacts
from probe.facts.runtime.oci import parse_version_number
from probe.facts.tried import attempt_of
from probe.finding import Evidence
from probe.reading import Reading

_COPYING = ("blockfile", "btrfs", "devmapper", "native", "zfs")
"""containerd's own snapshotters that cannot map owners."""
_PROXIES = ("fuse-overlayfs", "nydus", "overlaybd", "soci", "stargz")
"""Snapshotters in processes of their own: containerd knows of them only what its configuration says."""
_EROFS_MAPS_SINCE = (2, 3, 0)

_COPIES_AS_PROXY = ("fuse-overlayfs",)
"""Whose layers are plain directories."""
_HARMLESS_OPTIONS = frozenset(("index", "metacopy", "redirect_dir", "userxattr", "volatile", "xino"))
"""Options of overlay with which Pods ran on Linux 6.18; with noexec, nfs_export and ro none did."""
_CHANGE_OPTIONS = (
    "Run one Pod, which shows whether the option is right, or take it out of containerd's configuration and restart "
    "containerd:\n  containerd config dump | grep -A8 snapshotter.v1.overlayfs"
)
_START_IT = (
    "Start the snapshotter's own service, which makes the socket, or correct the address of its entry in "
    "proxy_plugins and restart containerd:\n  containerd config dump | grep -A5 proxy_plugins"
)
_REMAP = "remap-ids"
_NOT_COPIED = "an image with hard links, or with IDs from 65536 on, cannot be copied, and its Pods do not start"
_COST = "a Pod waits until its image is copied, and each copy takes the image's size on disk"


def check_snapshotter(facts: Facts, name: str = "") -> Outcome:
    """Slow is not broken; whether layers can be mapped where they have to be is filesystem-overlay-layers."""
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, "how images get the IDs of a Pod")
    if runtime.name.value is None:
        return Outcome.not_read("how images get the IDs of a Pod", runtime.name)
    if runtime.handlers.value == ():
        return Outcome.skipped(f"{runtime_name(runtime)} does not support user namespaces", runtime.handlers)
    snapshotter = snapshotter_of(facts, name)
    if snapshotter.value is None:
        return Outcome.not_read("the snapshotter", snapshotter)
    if runtime.name.value == "cri-o":
        return _judge_crio(facts, snapshotter.value, snapshotter)
    if runtime.name.value == "containerd":
        return _judge_containerd(facts, runtime, snapshotter.value, snapshotter)
    message = f"unknown how {runtime_name(runtime)} gives images the IDs of a Pod: the probe does not know this runtime"
    return Outcome.unknown("not-readable", message, snapshotter)


def _judge_crio(facts: Facts, driver: str, seen: Reading[str]) -> Outcome:
    if driver == "overlay":
        return Outcome.passed("CRI-O's overlay driver maps layers wherever the kernel can", seen)
    message = f"slow: CRI-O's storage driver {inline(driver)} copies each image once per Pod's ID range: {_COST}"
    return Outcome.warn(message, seen, remediation=use_overlay_driver(facts))


def _judge_containerd(facts: Facts, runtime: RuntimeFacts, name: str, seen: Reading[str]) -> Outcome:
    if name == "overlayfs":
        return _judge_overlayfs(facts, runtime, seen)
    copies = f"slow: the snapshotter {inline(name)} copies each image once per Pod's ID range"
    proxies = _proxies(runtime)
    if gone := _without_socket(runtime, name, seen):
        return gone
    if name in _COPYING:
        message = f"{copies}: {_COST}; {_NOT_COPIED}"
        return Outcome.warn(message, seen, remediation=use_overlayfs(facts))
    if proxies.value is not None and name in proxies.value:
        return _judge_proxy(facts, name, proxies.value[name], seen, proxies)
    if name in _COPIES_AS_PROXY:
        message = f"{copies}, unless proxy_plugins says that it has the capability {_REMAP}: {_COST}; {_NOT_COPIED}"
        return Outcome.warn(message, seen, remediation=use_overlayfs(facts))
    if name in _PROXIES:
        return Outcome.not_read(f"whether the snapshotter {name} has the capability {_REMAP}", _unread(proxies), seen)
    if name != "erofs":
        message = f"unknown whether the snapshotter {inline(name)[:80]} maps owners or copies images"
        return Outcome.unknown("not-readable", message, seen)
    if runtime.version.value is None:
        return Outcome.not_read("whether the snapshotter erofs maps owners", runtime.version, seen)
    number = parse_version_number(runtime.version.value)
    if number is None:
        return Outcome.unknown("not-readable", f"{runtime_name(runtime)} reports no version", runtime.version, seen)
    if number >= _EROFS_MAPS_SINCE:
        return Outcome.passed(f"the snapshotter erofs of {runtime_name(runtime)} maps owners", runtime.version, seen)
    return Outcome.warn(
        f"{copies} before containerd 2.3: {_COST}; {_NOT_COPIED}",
        runtime.version,
        seen,
        remediation=f"Upgrade containerd to 2.3 or newer, or change the snapshotter. {use_overlayfs(facts)}",
    )


def _proxies(runtime: RuntimeFacts) -> Reading[dict[str, tuple[str, ...]]]:
    around = runtime.surroundings
    return around.value.proxies if around.value else Reading(around.source, None, around.problem, around.kind)


def _unread(proxies: Reading[dict[str, tuple[str, ...]]]) -> Reading[Any]:
    """Reason for unknown capabilities: not read, or no entry of that name."""
    absent: Reading[Any] = Reading.without(proxies.source, "not-readable", "proxy_plugins has no entry of that name")
    return proxies if proxies.value is None else absent


def _without_socket(runtime: RuntimeFacts, name: str, seen: Reading[str]) -> Outcome | None:
    """Outcome where no program has made the socket at which containerd asks a snapshotter of another process."""
    around = runtime.surroundings.value
    socket = around.sockets.get(name) if around else None
    if socket is None:
        return None
    if not (why := why_no_socket(socket)):
        what = f"whether the snapshotter {inline(name)} runs"
        return Outcome.not_read(what, socket, seen) if socket.value is None else None
    message = f"the snapshotter {inline(name)} does not run: its socket {inline(socket.source)} {why}"
    evidence = Evidence(socket.source, problem=why)
    return Outcome.fail("SnapshotterNotRunning", message, seen, evidence, remediation=_START_IT)


def _judge_proxy(
    facts: Facts, name: str, capabilities: tuple[str, ...], seen: Reading[str], proxies: Reading[Any]
) -> Outcome:
    """Containerd asks a snapshotter of another process for mapped owners only where its entry has the capability."""
    entry = Evidence(proxies.source, f"proxy_plugins.{name}.capabilities {list(capabilities)}")
    if _REMAP in capabilities:
        return Outcome.passed(f"the snapshotter {inline(name)} has the capability {_REMAP}", seen, entry)
    message = f"the entry of the snapshotter {inline(name)} in proxy_plugins lacks the capability {_REMAP}"
    if name in _COPIES_AS_PROXY:
        message = f"slow: {message}, so each image is copied once per Pod's ID range: {_COST}; {_NOT_COPIED}"
        return Outcome.warn(message, seen, entry, remediation=use_overlayfs(facts))
    remediation = (
        f"If {inline(name)} can map owners, declare it in containerd's configuration, and restart containerd:\n"
        f'  [proxy_plugins.{inline(name)}]\n    capabilities = ["{_REMAP}"]'
    )
    if "bottlerocket" in platforms_of(facts):
        remediation = f"Upgrade Bottlerocket to a release that gives {inline(name)} the capability {_REMAP}."
    return Outcome.fail(
        "SnapshotterWithoutRemap", f"{message}, so no sandbox starts", seen, entry, remediation=remediation
    )


def _judge_overlayfs(facts: Facts, runtime: RuntimeFacts, seen: Reading[str]) -> Outcome:
    """slow_chown is a fallback: containerd does not use it where the kernel maps layers."""
    given = runtime.overlay_options
    if untried := [one for one in given.value or () if one.partition("=")[0] not in _HARMLESS_OPTIONS]:
        message = (
            f"whether Pods start with {inline(untried[0])} of mount_options of the snapshotter overlayfs is unknown"
        )
        return Outcome.unknown("not-tried", message, given.parse(", ".join), seen, remediation=_CHANGE_OPTIONS)
    layers = attempt_of(facts.attempts, "overlay-layers")
    slow = runtime.slow_chown
    if slow.kind == "absent" or slow.value is False:
        return Outcome.passed("the snapshotter overlayfs maps owners, and copies no image", seen, slow)
    if layers is not None and layers.result == "supported":
        return Outcome.passed("the snapshotter overlayfs maps owners here, with or without slow_chown", seen, slow)
    if slow.value is None:
        return Outcome.not_read("whether slow_chown lets images be copied", slow, seen)
    if layers is None or layers.result == "unknown":
        problem = layers.reason if layers else "it was not tried"
        message = f"slow_chown is on; unknown whether it is needed: overlay with idmapped layers: {problem}"
        return Outcome.unknown((layers.kind if layers else "") or "not-tried", message, seen, slow)
    return Outcome.warn(
        f"slow: layers cannot be mapped here, so slow_chown copies each image once per Pod's ID range: {_COST}; "
        f"{_NOT_COPIED}",
        seen,
        slow,
        remediation=COPY_LESS,
    )


CHECKS = (
    Check(
        id="runtime-snapshotter",
        level="stateless",
        gating=True,
        question="Does the container runtime map the owners of image files instead of copying each image?",
        why="In a Pod with a user namespace, the files of its image must belong to the Pod's own IDs. A snapshotter "
        "that cannot map owners copies the whole image for each range of IDs, that is, for each Pod: Pods start "
        "slowly, and the disk fills. A snapshotter of another process has to run.",
        reasons=("SnapshotterWithoutRemap", "SnapshotterNotRunning"),
        remediation=GENERIC["runtime-snapshotter"],
        documentation="https://github.com/containerd/containerd/blob/main/docs/user-namespaces/README.md",
        check=check_snapshotter,
        per_handler=check_snapshotter,
    ),
)
