"""Remediations for the container runtime and its OCI runtimes, by platform."""

from __future__ import annotations

from probe.checks.remedies.platforms import (
    PLATFORMS,
    RESTART_CONTAINERD,
    SERVICES,
    inline,
    own_command,
    platforms_of,
)
from probe.checks.remedies.table import fitting
from probe.facts.model import Facts, Handler

MINIMUM_OCI = {"runc": "1.2", "crun": "1.9"}
"""First version with idmapped mounts. *Source*: containerd, docs/user-namespaces."""
MINIMUM_RUNTIME = {"containerd": "2.0", "cri-o": "1.30"}
"""First version with `runtime_handlers` in Status."""

_OCI = "runc 1.2, crun 1.9 or newer"
_WRAPPERS = ("nvidia-container-runtime", "sysbox-runc")
"""OCI runtimes that wrap another one; the wrapped one needs the upgrade."""

PROVE_IT = "Run a Pod with hostUsers: false on this node, and probe again while it runs: that settles it."

SERVE_CRI = (
    "Remove cri from disabled_plugins in /etc/containerd/config.toml, where Docker's packages put it, or find out why "
    "the plugin failed to load, then restart containerd:\n"
    "  containerd config dump | grep disabled_plugins; ctr plugins ls | grep cri\n"
    f"  {RESTART_CONTAINERD}"
)


def restart(facts: Facts) -> str:
    """Restart of the runtime, which reads the features of its OCI runtimes at its start only."""
    if "talos" in platforms_of(facts):
        return "Drain the node, and reboot it:\n  talosctl reboot"
    if "microk8s" in platforms_of(facts):
        return "Restart the runtime:\n  snap restart microk8s.daemon-containerd"
    runtime = facts.runtime.value
    crio = runtime is not None and runtime.name.value == "cri-o"
    command = own_command(facts, SERVICES) or ("systemctl restart crio" if crio else RESTART_CONTAINERD)
    return f"Restart the runtime (running containers keep running):\n  {command}"


def upgrade_oci(facts: Facts, handler: Handler) -> str:
    """Upgrade to an OCI runtime with idmapped mounts; of a wrapper, upgrade of the wrapped one."""
    name, path = handler.oci_runtime.value or "", handler.binary.value or ""
    wanted = f"{name} {MINIMUM_OCI[name]} or newer" if name in MINIMUM_OCI else "runc 1.2, crun 1.9 or newer"
    file = path.rsplit("/", 1)[-1]
    if path and (file in _WRAPPERS or not file.startswith(("runc", "crun"))):
        place = f", without overwriting {inline(path)}, which may be a wrapper: replace the OCI runtime that it runs"
    else:
        place = f" as {inline(path)}" if path else ""
    return f"Install {wanted}{place}. {restart(facts)}"


def upgrade_runtime(facts: Facts) -> str:
    """Upgrade to a container runtime with `runtime_handlers`; empty if the table has a row."""
    name = (facts.runtime.value.name.value if facts.runtime.value else None) or ""
    if name not in MINIMUM_RUNTIME:
        return "Move the node to containerd 2.0 or newer, or to CRI-O 1.30 or newer."
    bundled = facts.kubelet.value.distribution if facts.kubelet.value else "kubelet"
    if bundled == "kubelet":
        return "" if name == "containerd" else f"Upgrade {name} to {MINIMUM_RUNTIME[name]} or newer, with {_OCI}."
    row = fitting("runtime-user-namespaces", "RuntimeTooOld", (bundled,))
    if row and row.platform == bundled:
        return ""
    wanted = f"{name} {MINIMUM_RUNTIME[name]}"
    return f"Upgrade {PLATFORMS[bundled]} to a release that ships {wanted} or newer, with {_OCI}."


def use_overlay_driver(facts: Facts) -> str:
    """Change of CRI-O's storage driver."""
    return (
        "On the drained node, which then pulls its images again, set the driver in the existing table of "
        "/etc/containers/storage.conf:\n"
        f'  [storage]\n  driver = "overlay"\n{restart(facts)}'
    )


def use_overlayfs(facts: Facts) -> str:
    """Change of containerd's snapshotter."""
    return (
        "On the drained node, which then pulls its images again, set this in containerd's configuration "
        "(/etc/containerd/config.toml, unless the distribution keeps it elsewhere), where the table may exist "
        "already:\n"
        "  [plugins.'io.containerd.cri.v1.images']\n"
        f"    snapshotter = 'overlayfs'\n{restart(facts)}"
    )


def upgrade_runc(facts: Facts, binary: str | None) -> str:
    """Upgrade of *binary* to runc 1.2.1; with a command only for a path that belongs to packages."""
    command = own_command(facts, _UPGRADES) if binary == "/usr/bin/runc" else ""
    wanted = f"Install runc 1.2.1 or newer as {inline(binary or 'runc')}; the next Pod uses it"
    if not command:
        return (
            f"{wanted}. Upgrade whatever installed it: containerd's bundle, the Kubernetes distribution, or a script."
        )
    return f"{wanted}. This upgrades the package that contains it, which may be containerd's:\n  {command}"


_DNF = "package=$(rpm -qf --qf '%{NAME}' /usr/bin/runc) && dnf upgrade -y \"$package\""
_APT = (
    "package=$(dpkg-query -S /usr/bin/runc | cut -d: -f1) && apt-get update"
    ' && apt-get install -y --only-upgrade "$package"'
)
_UPGRADES = {"rhel": _DNF, "al2023": _DNF, "debian": _APT, "ubuntu": _APT}
"""Upgrade command of the package that contains runc, which may have another name."""


def upgrade_containerd(facts: Facts, wanted: str) -> str:
    """Upgrade to containerd *wanted*, with a workaround for image volumes until then."""
    bundled = facts.kubelet.value.distribution if facts.kubelet.value else "kubelet"
    upgrade = f"Upgrade to {wanted}." if bundled == "kubelet" else f"Upgrade {bundled} to a release with {wanted}."
    return f"{upgrade} Until then let an init container copy the files into an emptyDir."
