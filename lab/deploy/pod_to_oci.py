"""A container of a Pod as an OCI runtime gets it: what a kubelet and a CRI runtime make of the manifest.

Only what our manifests use is translated; anything else raises, so that nothing is silently left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# linux/capability.h
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
# What containers get when nobody asks for more or less (containerd's and Docker's defaults).
DEFAULT_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)
MASKED = (
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SECCOMP = "/usr/share/containers/seccomp.json"  # RuntimeDefault of CRI-O; package golang-github-containers-common
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave"}
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

# Of a Pod and of its containers: what is translated, and what changes nothing inside of a container.
HOST = {"hostPID": "pid", "hostIPC": "ipc", "hostNetwork": "network"}
"""Field of a Pod -> the namespace of the node that it keeps."""
POD_KEYS = {"containers", "volumes", "hostUsers", "serviceAccountName", "automountServiceAccountToken", *HOST}
POD_IGNORED = {
    *("enableServiceLinks", "priorityClassName", "terminationGracePeriodSeconds", "nodeSelector", "tolerations"),
    *("nodeName", "restartPolicy"),
}
CONTAINER_KEYS = {"name", "image", "command", "args", "env", "securityContext", "resources", "volumeMounts"}
CONTAINER_IGNORED = {"ports", "livenessProbe", "readinessProbe", "stdin", "tty", "terminationMessagePolicy"}
SECURITY_KEYS = {
    *("runAsUser", "runAsGroup", "runAsNonRoot", "privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem"),
    *("capabilities", "seccompProfile", "appArmorProfile", "seLinuxOptions"),
}


@dataclass(frozen=True)
class Surroundings:
    """What is not in the manifest."""

    image: Mapping[str, Any]  # the image's own configuration: Env, Entrypoint
    rootfs: str
    volumes: Mapping[str, str]  # name of a volume that is no hostPath -> the directory that the kubelet made for it
    namespaces: Mapping[str, str]  # what the containers of a Pod share: network, ipc, uts -> a file of /proc/PID/ns
    node_name: str
    variables: Mapping[str, str]  # what the kubelet adds to the environment of each container
    cgroup: str


def config(pod: Mapping[str, Any], name: str, around: Surroundings) -> dict[str, Any]:
    """config.json for the container *name* of the Pod's spec."""
    _only(pod, POD_KEYS | POD_IGNORED)
    assert pod.get("hostUsers", True) is True, "a user namespace is not translated"
    kept = {kind for field, kind in HOST.items() if pod.get(field)}
    container = next(each for each in pod["containers"] if each["name"] == name)
    _only(container, CONTAINER_KEYS | CONTAINER_IGNORED)
    security = container["securityContext"]
    _only(security, SECURITY_KEYS)
    capabilities = [f"CAP_{each}" for each in _capabilities(security)]
    return {
        "ociVersion": "1.0.2",
        "hostname": around.node_name,
        "process": {
            "args": [*container.get("command", around.image["Entrypoint"]), *container.get("args", ())],
            "env": [*around.image["Env"], *_environment(container, around)],
            "cwd": "/",
            "user": {"uid": security.get("runAsUser", 0), "gid": security.get("runAsGroup", 0)},
            "capabilities": {
                each: capabilities if security.get("runAsUser", 0) == 0 or each == "bounding" else []
                for each in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
            "oomScoreAdj": 1000,
        },
        "root": {"path": around.rootfs, "readonly": security.get("readOnlyRootFilesystem", False)},
        "mounts": [*_own_mounts(security), *(_mount(each, pod, around) for each in container["volumeMounts"])],
        "linux": {
            "namespaces": [
                {"type": "mount"},
                *({"type": kind} for kind in ("pid",) if kind not in kept),
                *({"type": kind, "path": path} for kind, path in around.namespaces.items() if kind not in kept),
            ],
            "cgroupsPath": f"{around.cgroup}/{name}",
            "resources": _resources(container.get("resources", {}), security),
            **_confinement(security, capabilities),
        },
    }


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: `500m`, `48Mi`, `1`."""
    if text.endswith("m"):
        return int(text[:-1]) / 1000
    return float(text[:-2]) * UNITS[text[-2:]] if text[-2:] in UNITS else float(text)


def _only(found: Mapping[str, Any], known: set[str]) -> None:
    assert set(found) <= known, f"not translated: {sorted(set(found) - known)}"


def _capabilities(security: Mapping[str, Any]) -> list[str]:
    if security.get("privileged"):  # all that the runtime has, which is us here
        with open("/proc/self/status") as status:
            held = int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)
        return [each for number, each in enumerate(CAPABILITIES) if held >> number & 1]
    asked = security.get("capabilities", {})
    _only(asked, {"add", "drop"})
    kept = () if "ALL" in asked.get("drop", ()) else DEFAULT_CAPABILITIES
    return [each for each in kept if each not in asked.get("drop", ())] + list(asked.get("add", ()))


def _environment(container: Mapping[str, Any], around: Surroundings) -> list[str]:
    found = [f"{name}={value}" for name, value in around.variables.items()]
    for each in container.get("env", ()):
        assert each["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}, each
        found.append(f"{each['name']}={around.node_name}")
    return found


def _own_mounts(security: Mapping[str, Any]) -> list[dict[str, Any]]:
    sysfs = ["nosuid", "noexec", "nodev", *([] if security.get("privileged") else ["ro"])]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": sysfs},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": sysfs},
    ]


def _mount(mount: Mapping[str, Any], pod: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
    _only(mount, {"name", "mountPath", "readOnly", "mountPropagation"})
    volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
    source = volume["hostPath"]["path"] if "hostPath" in volume else around.volumes[mount["name"]]
    return {
        "destination": mount["mountPath"],
        "type": "bind",
        "source": source,
        "options": [
            "rbind",
            PROPAGATION[mount.get("mountPropagation", "None")],
            "ro" if mount.get("readOnly") else "rw",
        ],
    }


def _resources(resources: Mapping[str, Any], security: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"devices": [{"allow": bool(security.get("privileged")), "access": "rwm"}]}
    limits = resources.get("limits", {})
    if "memory" in limits:
        found["memory"] = {"limit": int(quantity(limits["memory"]))}
    if "cpu" in limits:
        found["cpu"] = {"quota": int(quantity(limits["cpu"]) * 100_000), "period": 100_000}
    return found


def _confinement(security: Mapping[str, Any], capabilities: list[str]) -> dict[str, Any]:
    if security.get("privileged"):
        assert not security.keys() & {"seccompProfile", "capabilities"}, "privileged, and yet confined?"
        return {}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}, security["seccompProfile"]
    return {"maskedPaths": list(MASKED), "readonlyPaths": list(READONLY), "seccomp": _seccomp(capabilities)}


def _seccomp(capabilities: list[str]) -> dict[str, Any]:
    """The runtime's default profile, as it is for a container with these capabilities."""
    with open(SECCOMP) as file:
        profile = json.load(file)

    def holds(condition: Mapping[str, Any]) -> bool:
        caps, arches = condition.get("caps", ()), condition.get("arches", ())
        return all(each in capabilities for each in caps) and (not arches or ARCHITECTURE in arches)

    rules = []
    for rule in profile["syscalls"]:
        excludes = rule.get("excludes") or {}
        if holds(rule.get("includes") or {}) and not any(each in capabilities for each in excludes.get("caps", ())):
            rules.append({key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key)})
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": 1, "syscalls": rules}
