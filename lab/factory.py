"""Facts of a node on which everything works, for tests that change one thing about it.

Each function takes the fields of its type as keywords; a field that is a Reading also takes a bare value, which
becomes a Reading with the source that belongs to the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from probe.facts.around import (
    Daemon,
    HandlerAround,
    Keys,
    KubeletAround,
    Limit,
    Pipes,
    Place,
    Propagation,
    Surroundings,
)
from probe.facts.boot.model import BootEntry, BootFacts, MountAtBoot, Under
from probe.facts.devices.model import CdiFolders, CdiSettings, CdiSpecification, DeviceFacts
from probe.facts.devices.toolkit import NO_TOOLKIT
from probe.facts.model import (
    Confinement,
    DropIn,
    Facts,
    HookFacts,
    HookFiles,
    IdFacts,
    KernelFacts,
    KubeletFacts,
    MountFacts,
    PodFacts,
    ProbeFacts,
    RuntimeFacts,
    Visibility,
)
from probe.facts.nested.model import NestedFacts, NestedStep, NestedTrial
from probe.facts.runtime.limits import NAMES
from probe.facts.runtime.model import Cni, Handler, RuntimePending
from probe.facts.tried import NOT_ASKED, POD_NOT_ASKED, Attempt, NamespaceAttempt
from probe.host.cri import CriCondition
from probe.host.nested.trial import STEP_NAMES as NESTED_STEPS
from probe.reading import ProblemKind, Reading

P = ParamSpec("P")
T = TypeVar("T")

ALL_CAPABILITIES = (1 << 41) - 1
CONTAINERD_ROOT = "/var/lib/containerd"
KUBELET_ROOT = "/var/lib/kubelet"
ENDPOINT = "/run/containerd/containerd.sock"
KUBELET_PID = 800
RUNTIME_PID = 700


def _made_once(make: Callable[P, T]) -> Callable[P, T]:
    """The same facts each time nothing is overridden: they are immutable, and thousands of tests ask for them."""
    usual = cache(make)
    return wraps(make)(lambda *args, **overrides: make(*args, **overrides) if args or overrides else usual())


def absent(source: str) -> Reading[Any]:
    """A reading of something that does not exist here."""
    return Reading.without(source, "absent", "No such file or directory")


def unread(source: str = "/some/file", kind: ProblemKind = "not-permitted") -> Reading[Any]:
    """A reading that failed."""
    return Reading.without(source, kind, "could not be read")


def make_facts(**overrides: Any) -> Facts:
    """A Debian 12 node with kubelet 1.36.2, containerd 2.1.9 and runc 1.3.5, where all is well.

    `kubelet`, `runtime` and `mounts` take their facts bare or as a Reading; so does `distribution`.
    """
    fields: dict[str, Any] = {
        "node_name": "node-1",
        "distribution": Reading("/etc/os-release", "debian 12"),
        "probe": make_probe(),
        "kernel": make_kernel(),
        "mounts": make_mounts(),
        "user_namespace": make_namespace_attempt(),
        "kubelet": make_kubelet(),
        "getsubids_missing": Reading.without("getsubids", "not-tried", "a kubelet runs"),
        "runtime": make_runtime(),
        "attempts": make_attempts(),
        "ids": make_ids(),
        "sandbox": Reading.without("sandbox trial", "not-tried", "not tried"),
        "runtime_trial": NOT_ASKED,
        "pod_trial": POD_NOT_ASKED,
        "pods": make_pods(),
        "hooks": make_hooks(),
        "devices": make_device_facts(),
        "kubelet_around": make_kubelet_around(),
        "nested": make_nested(),
        "userns_pod_runs": Reading("processes of Pods", False),
        "boot": make_boot(),
    }
    sources = {
        "distribution": "/etc/os-release",
        "mounts": f"/proc/{RUNTIME_PID}/mountinfo",
        "kubelet": f"/proc/{KUBELET_PID}",
        "runtime": f"CRI {ENDPOINT}",
        "ids": f"/proc/{KUBELET_PID}",
        "pods": f"{KUBELET_ROOT}/pods/*/userns",
        "hooks": "device hooks",
        "devices": "CDI",
        "kubelet_around": f"/proc/{KUBELET_PID}",
        "userns_pod_runs": "processes of Pods",
        "boot": "files of the next boot",
    }
    return Facts(**_readings(fields | overrides, sources))


def make_boot(**overrides: Any) -> BootFacts:
    """The running kernel boots again, with the same command line, and no file was unreadable."""
    fields: dict[str, Any] = {
        "entry": BootEntry(release=make_kernel().release.value or "", options=()),
        "running_options": (),
        "configured": (),
        "installed": (make_kernel().release.value or "",),
        "built_in": Reading.without("/boot", "not-tried", "the running kernel boots again"),
    }
    sources = {"entry": "/boot/grub/grub.cfg", "running_options": "/proc/cmdline", "configured": "/etc/default/grub"}
    sources["built_in"] = "/boot/config"
    return BootFacts(**_readings(fields | overrides, sources))


def make_mount_at_boot(**then: Any) -> MountAtBoot:
    """The root file system holds the kubelet's directory; *then* are the fields that a boot changes."""
    now = {"mount_point": "/", "fstype": "ext4", "options": ()}
    return MountAtBoot(role="kubelet-root", now=Under(**now), then=Reading("/etc/fstab", Under(**now | then)))


@_made_once
def make_probe(**overrides: Any) -> ProbeFacts:
    """A probe that may do everything."""
    fields: dict[str, Any] = {
        "uid": 0,
        "effective_capabilities": ALL_CAPABILITIES,
        "seccomp": 0,
        "in_initial_user_namespace": True,
        "chrooted": False,
        "threads": 1,
        "entered": True,
        "supported_architecture": True,
    }
    sources = {
        "seccomp": "/proc/self/status",
        "in_initial_user_namespace": "/proc/self/ns/user",
        "entered": "/proc/1/ns/mnt",
    }
    return ProbeFacts(**_readings(fields | overrides, sources))


NAMESPACE_LIMITS = tuple(
    f"user.max_{kind}_namespaces" for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
)


def make_kernel(**overrides: Any) -> KernelFacts:
    """Linux 6.12 as Debian builds it, without the switches that only some distributions have.

    `namespace_limits` takes bare numbers too, and is merged into the defaults.
    """
    limits = dict.fromkeys(NAMESPACE_LIMITS, 126_000) | overrides.pop("namespace_limits", {})
    fields: dict[str, Any] = {
        "release": "6.12.38+deb13-amd64",
        "architecture": "x86_64",
        "boot_id": "0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11",
        "user_namespace_file": "user:[4026531837]",
        "namespace_limits": {
            name: _reading(f"/proc/sys/{name.replace('.', '/')}", value) for name, value in limits.items()
        },
        "unprivileged_userns_clone": absent("/proc/sys/kernel/unprivileged_userns_clone"),
        "apparmor_restrict_unprivileged_userns": absent("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        "lsm": "lockdown,capability,landlock,yama,apparmor,tomoyo,bpf,ipe,ima,evm",
        "selinux_enforcing": absent("/sys/fs/selinux/enforce"),
        "cgroup_version": 2,
        "container": absent("/run/systemd/container"),
    }
    sources = {
        "release": "/proc/sys/kernel/osrelease",
        "boot_id": "/proc/sys/kernel/random/boot_id",
        "user_namespace_file": "/proc/self/ns/user",
        "unprivileged_userns_clone": "/proc/sys/kernel/unprivileged_userns_clone",
        "apparmor_restrict_unprivileged_userns": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "lsm": "/sys/kernel/security/lsm",
        "selinux_enforcing": "/sys/fs/selinux/enforce",
        "cgroup_version": "/proc/self/mountinfo",
        "container": "/run/systemd/container",
    }
    return KernelFacts(**_readings(fields | overrides, sources))


def make_visibility(*covering: str, **overrides: Any) -> Visibility:
    """Visible when nothing covers it."""
    return Visibility(**{"visible": not covering, "covering": covering} | overrides)


@_made_once
def make_mounts(**overrides: Any) -> MountFacts:
    """A mount table in which nothing covers /proc or /sys."""
    fields: dict[str, Any] = {
        "count": 42,
        "proc": make_visibility(),
        "sysfs": make_visibility(),
        "pods_options": ("rw", "relatime"),
        "root_mode": 0o755,
        "cgroup2_options": ("rw", "nsdelegate", "memory_recursiveprot"),
    }
    return MountFacts(**_readings(fields | overrides, {"pods_options": f"{KUBELET_ROOT}/pods", "root_mode": "/"}))


def make_namespace_attempt(**overrides: Any) -> NamespaceAttempt:
    """A user namespace that was made, mapped and read back."""
    fields = {
        "result": "supported",
        "step": "done",
        "errno": "",
        "reason": "a user namespace with a full map was made",
        "kind": "",
        "map": "0 65536 65536",
    }
    return NamespaceAttempt(**fields | overrides)


@_made_once
def make_kubelet(**overrides: Any) -> KubeletFacts:
    """kubelet 1.36.2 with `--config=/var/lib/kubelet/config.yaml`, which is silent about user namespaces."""
    fields: dict[str, Any] = {
        "pid": KUBELET_PID,
        "distribution": "kubelet",
        "others": 0,
        "version": "1.36.2",
        "started_at": 1_700_000_000.0,
        "files": Reading("configuration files", ()),
        "root_dir": KUBELET_ROOT,
        "endpoint": ENDPOINT,
        "max_pods": 110,
        "ids_per_pod": 65_536,
        "gate": True,
        "gate_configured": Reading.without("featureGates", "absent", "not set"),
        "fail_cgroup_v1": True,
        "logs_dir": "/var/log/pods",
        "cgroup_driver": "cgroupfs",
        "seccomp_default": False,
        "resolv_conf": "/etc/resolv.conf",
        "pod_pids_limit": -1,
        "executable": DropIn(path="/usr/bin/kubelet", newer=False),
        "unit": Reading.without(f"/proc/{KUBELET_PID}/cgroup", "absent", "belongs to no service of systemd"),
    }
    sources = {
        "version": f"/proc/{KUBELET_PID}/exe --version",
        "started_at": f"/proc/{KUBELET_PID}/stat",
        "files": "configuration files",
        "root_dir": "--root-dir",
        "endpoint": "containerRuntimeEndpoint",
        "max_pods": "maxPods",
        "ids_per_pod": "userNamespaces.idsPerPod",
        "gate": "featureGates",
        "gate_configured": "featureGates",
        "fail_cgroup_v1": "failCgroupV1",
        "logs_dir": "podLogsDir",
        "cgroup_driver": "cgroupDriver",
        "resolv_conf": "resolvConf",
        "pod_pids_limit": "podPidsLimit",
        "seccomp_default": "seccompDefault",
        "executable": f"/proc/{KUBELET_PID}/exe",
        "unit": f"/proc/{KUBELET_PID}/cgroup",
    }
    return KubeletFacts(**_readings(fields | overrides, sources))


@_made_once
def make_pods(**overrides: Any) -> PodFacts:
    """Two Pods with a user namespace, both running in it."""
    fields = {"recorded": 2, "unread": 0, "own_namespace": 2, "host_namespace": 0, "last_block": 0}
    return PodFacts(**fields | overrides)


@_made_once
def make_hooks(**overrides: Any) -> HookFacts:
    """A node without devices."""
    nothing = Reading("specifications", HookFiles(found=0, hooked=0, unread=0))
    fields: dict[str, Any] = {"toolkit": Reading("NVIDIA's programs", ()), "oci_hooks": nothing}
    return HookFacts(**fields | overrides)


def make_device_facts(*specifications: CdiSpecification, **overrides: Any) -> DeviceFacts:
    """A node with these CDI specifications in one folder; containerd 2.1.9 adds no mapping to mounts."""
    folders = (specifications,) if specifications else ()
    fields: dict[str, Any] = {
        "cdi": Reading("/etc/cdi, /var/run/cdi (CRI Status)", CdiFolders(folders=folders, found=len(specifications))),
        "maps_mounts": Reading("CRI", False),
        "toolkit": NO_TOOLKIT,
    }
    return DeviceFacts(**fields | overrides)


@_made_once
def make_ids(**overrides: Any) -> IdFacts:
    """No account `kubelet`, so the default range, and no Pod with a user namespace."""
    root = f"/proc/{KUBELET_PID}/root"
    not_asked: Reading[Any] = Reading.without("getsubids", "not-tried", "not asked")
    fields: dict[str, Any] = {
        "account": False,
        "local_account": False,
        "getsubids": not_asked,
        "subuids": not_asked,
        "subgids": not_asked,
        "owners": Reading("/etc/subuid, /etc/subgid", ()),
        "accounts": Reading("/etc/passwd, /etc/group", ()),
        "service": "files",
        "files": Reading(f"{root}{KUBELET_ROOT}/pods", ()),
    }
    sources = {
        "account": "/usr/bin/getent passwd kubelet",
        "local_account": f"{root}/etc/passwd",
        "getsubids": "getsubids on the kubelet's PATH",
        "subuids": "/usr/bin/getsubids kubelet",
        "subgids": "/usr/bin/getsubids -g kubelet",
        "owners": "/etc/subuid, /etc/subgid",
        "accounts": "/etc/passwd, /etc/group",
        "service": f"{root}/etc/nsswitch.conf",
        "files": f"{root}{KUBELET_ROOT}/pods",
    }
    return IdFacts(**_readings(fields | overrides, sources))


def make_handler(**overrides: Any) -> Handler:
    """The default handler: runc 1.3.5 behind containerd."""
    fields: dict[str, Any] = {
        "name": "",
        "user_namespaces": True,
        "binary": "/usr/bin/runc",
        "oci_runtime": "runc",
        "oci_version": "1.3.5",
        "oci_idmap": True,
        "oci_user_namespace": True,
        "binary_newer": False,
        "executable": True,
        "snapshotter": "overlayfs",
        "cgroup_writable": False,
        "systemd_cgroup": True,
    }
    sources = {
        "binary": f"CRI {ENDPOINT}",
        "oci_runtime": "/usr/bin/runc --version",
        "oci_version": "/usr/bin/runc --version",
        "oci_idmap": "/usr/bin/runc features",
        "oci_user_namespace": "/usr/bin/runc features",
        "binary_newer": "/usr/bin/runc",
        "executable": "/usr/bin/runc",
        "snapshotter": f"CRI {ENDPOINT}",
        "cgroup_writable": f"CRI {ENDPOINT}",
        "systemd_cgroup": f"CRI {ENDPOINT}",
    }
    return Handler(**_readings(fields | overrides, sources))


def make_confinement(**overrides: Any) -> Confinement:
    """A daemon that nothing binds."""
    fields: dict[str, Any] = {
        "pid": RUNTIME_PID,
        "effective_capabilities": ALL_CAPABILITIES,
        "seccomp": 0,
        "in_initial_user_namespace": True,
        "label": "unconfined",
    }
    process = f"/proc/{RUNTIME_PID}"
    sources = {
        "effective_capabilities": f"{process}/status",
        "seccomp": f"{process}/status",
        "in_initial_user_namespace": f"{process}/ns/user",
        "label": f"{process}/attr/current",
    }
    return Confinement(**_readings(fields | overrides, sources))


@_made_once
def make_runtime(**overrides: Any) -> RuntimeFacts:
    """containerd 2.1.9 with the handlers `""` and `runc`, both of them runc 1.3.5, on overlayfs."""
    fields: dict[str, Any] = {
        "endpoint": ENDPOINT,
        "name": "containerd",
        "version": "2.1.9",
        "handlers": Reading(f"CRI {ENDPOINT}", (make_handler(), make_handler(name="runc"))),
        "conditions": Reading(
            f"CRI {ENDPOINT}", (CriCondition("RuntimeReady", True), CriCondition("NetworkReady", True))
        ),
        "root_dir": CONTAINERD_ROOT,
        "layers_dir": f"{CONTAINERD_ROOT}/io.containerd.snapshotter.v1.overlayfs",
        "pause_image": "registry.example/pause:3.10.1",
        "snapshotter": "overlayfs",
        "slow_chown": False,
        "confinement": make_confinement(),
        "hooks_dirs": Reading.without(f"CRI {ENDPOINT}", "absent", "only CRI-O looks for OCI hooks"),
        "surroundings": make_surroundings(),
        "allowed_devices": absent(f"CRI {ENDPOINT}"),
        "pending": make_pending(),
        "cdi": CdiSettings(folders=("/etc/cdi", "/var/run/cdi")),
    }
    call = f"CRI {ENDPOINT}"
    sources = dict.fromkeys(
        ("name", "version", "handlers", "conditions", "root_dir", "layers_dir", "pause_image", "snapshotter"), call
    )
    own = ("confinement", "surroundings", "pending")
    sources |= {"slow_chown": call, "cdi": call} | dict.fromkeys(own, f"/proc/{RUNTIME_PID}")
    return RuntimeFacts(**_readings(fields | overrides, sources))


def make_pending(**overrides: Any) -> RuntimePending:
    """The same program and configuration start again."""
    fields: dict[str, Any] = {
        "executable": "/usr/bin/containerd",
        "version": absent("/usr/bin/containerd"),
        "differences": (),
    }
    sources = {
        "executable": f"/proc/{RUNTIME_PID}/exe",
        "version": "containerd --version",
        "differences": "config dump",
    }
    return RuntimePending(**_readings(fields | overrides, sources))


def make_place(path: str, **overrides: Any) -> Reading[Place]:
    """A directory of root's that everybody may search, on a file system with room."""
    fields: dict[str, Any] = {
        "path": path,
        "mode": 0o40755,
        "uid": 0,
        "gid": 0,
        "size": 1 << 40,
        "free_bytes": 1 << 30,
        "inodes": 1000,
    }
    return Reading(path, Place(**fields | {"free_inodes": 900} | overrides))


DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def make_devices(**replacements: Reading[Place]) -> tuple[Reading[Place], ...]:
    """The six device nodes; a keyword (`full=`) replaces one."""
    made = {name: make_place(f"/dev/{name}", mode=0o20666, device=number) for name, number in DEVICES.items()}
    return tuple((made | replacements).values())


def make_daemon(**overrides: Any) -> Daemon:
    """containerd as its own unit starts it."""
    fields: dict[str, Any] = {
        "umask": 0o022,
        "no_new_privileges": False,
        "effective_capabilities": ALL_CAPABILITIES,
        "limits": dict.fromkeys(NAMES, Limit(-1, -1)) | {"RLIMIT_NOFILE": Limit(1 << 20, 1 << 20)},
        "oom_score_adj": -999,
        "pids_left": absent("pids.max"),
    }
    return Daemon(**_readings(fields | overrides, dict.fromkeys(fields, f"/proc/{RUNTIME_PID}/status")))


def make_handler_around(**overrides: Any) -> HandlerAround:
    """runc behind containerd's shim, without a base specification."""
    fields: dict[str, Any] = {
        "name": "",
        "shim": Reading("PATH", "/usr/bin/containerd-shim-runc-v2"),
        "systemd_cgroup": True,
        "no_new_keyring": False,
        "own_network": False,
        "added": absent("CRI Status"),
    }
    return HandlerAround(**fields | overrides)


@_made_once
def make_surroundings(**overrides: Any) -> Surroundings:
    """A daemon that nothing disturbs."""
    way = ("/", "/run", "/run/containerd", "/run/containerd/io.containerd.runtime.v2.task")
    fields: dict[str, Any] = {
        "state": tuple(map(make_place, way)),
        "state_dir": make_place("/run/containerd"),
        "root_dir": make_place(CONTAINERD_ROOT),
        "temporary": make_place("/tmp"),
        "devices": make_devices(),
        "dev": make_place("/dev"),
        "cgroups": (make_place("/sys/fs/cgroup"),),
        "daemon": make_daemon(),
        "pipes": make_pipes(),
        "keys": make_keys(),
        "restricts_oom_score": False,
        "handlers": (make_handler_around(), make_handler_around(name="runc")),
        "cni": Cni(conf="/etc/cni/net.d/10-net.conflist", missing=(), directories=("/opt/cni/bin",)),
        "cni_cache": make_place("/var/lib/cni"),
        "systemd": True,
        "hybrid_controllers": absent("/sys/fs/cgroup/unified/cgroup.controllers"),
        "open_files": 1 << 20,
        "files_left": 1 << 20,
        "proxies": Reading("containerd config dump", {}),
    }
    sources = {
        "state": "/run/containerd",
        "daemon": f"/proc/{RUNTIME_PID}",
        "restricts_oom_score": f"CRI {ENDPOINT}",
        "cni": "/etc/cni/net.d/10-net.conflist",
        "systemd": "/run/systemd/system",
        "open_files": "/proc/sys/fs/nr_open",
        "files_left": "/proc/sys/fs/file-nr",
        "hybrid_controllers": "/sys/fs/cgroup/unified/cgroup.controllers",
    }
    return Surroundings(**_readings(fields | overrides, sources))


def make_pipes(hard: int = 0, soft: int = 16_384) -> Pipes:
    """The kernel's own limits of pipes."""
    return Pipes(soft=Reading("/proc/sys/fs/pipe-user-pages-soft", soft), hard=Reading("pipe-user-pages-hard", hard))


def make_keys(count: int = 200, size: int = 20_000) -> Keys:
    """The kernel's own quota of keys."""
    return Keys(count=Reading("/proc/sys/kernel/keys/maxkeys", count), size=Reading("maxbytes", size))


@_made_once
def make_kubelet_around(**overrides: Any) -> KubeletAround:
    """A kubelet in the runtime's mount namespace."""
    fields: dict[str, Any] = {
        "effective_capabilities": ALL_CAPABILITIES,
        "propagation": Propagation(same_namespace=True, arrives=True, kubelet="", runtime=""),
        "root_dir": make_place(KUBELET_ROOT),
        "logs_dir": make_place("/var/log/pods"),
        "resolv_conf": make_place("/etc/resolv.conf", mode=0o100644),
        "cgroup_driver": "systemd",
    }
    sources = {
        "effective_capabilities": f"/proc/{KUBELET_PID}/status",
        "propagation": f"/proc/{KUBELET_PID}/ns/mnt",
        "cgroup_driver": "cgroupDriver",
    }
    return KubeletAround(**_readings(fields | overrides, sources))


def make_nested_step(name: str, **overrides: Any) -> NestedStep:
    """A step of the trial that worked."""
    return NestedStep(**{"name": name, "result": "passed", "seconds": 0.001} | overrides)


USUAL_NESTED: dict[str, dict[str, Any]] = {
    "writable sysfs": {"result": "failed", "errno": "EPERM"},
    "idmap of a volume": {"result": "failed", "errno": "EPERM"},
    "rootless proc": {"result": "failed", "errno": "EPERM"},
    "rootless proc subset": {"result": "failed", "errno": "EPERM"},
}
"""Steps that every kernel refuses, or every one up to 7.1."""


def make_nested_trial(steps: Mapping[str, dict[str, Any]] | None = None) -> NestedTrial:
    """The trial on Linux 6.12; *steps* are those that end in another way."""
    changes = USUAL_NESTED | dict(steps or {})
    return NestedTrial(
        steps=tuple(make_nested_step(name, **changes.get(name, {})) for name in NESTED_STEPS), seconds=0.1
    )


@_made_once
def make_nested(**overrides: Any) -> NestedFacts:
    """A node on which all that is nested works but for what every node refuses; `steps` are those of the trial."""
    steps = overrides.pop("steps", None)
    fields: dict[str, Any] = {
        "trial": make_nested_trial(steps),
        "inotify_instances": 8192,
        "controllers": ("cpuset", "cpu", "io", "memory", "pids"),
        "max_descendants": "10000",
        "fuse_mode": 0o666,
        "tun_mode": 0o666,
        "device_plugins": ("fuse.sock",),
    }
    sources = {
        "trial": "nested trial",
        "inotify_instances": "/proc/sys/fs/inotify/max_user_instances",
        "controllers": "/sys/fs/cgroup/kubepods.slice/cgroup.controllers",
        "max_descendants": "/sys/fs/cgroup/kubepods.slice/cgroup.max.descendants",
        "fuse_mode": "/dev/fuse",
        "tun_mode": "/dev/net/tun",
        "device_plugins": f"{KUBELET_ROOT}/device-plugins",
    }
    return NestedFacts(**_readings(fields | overrides, sources))


def make_attempt(**overrides: Any) -> Attempt:
    """An idmapped mount of ext4 that worked, in the role `volume`."""
    fields: dict[str, Any] = {
        "role": "volume",
        "path": f"{KUBELET_ROOT}/pods/6c1e0b7e/volumes/kubernetes.io~csi/data/mount",
        "fstype": "ext4",
        "device": "8:1",
        "result": "supported",
        "reason": "",
        "kind": "",
        "step": "mount_setattr",
        "errno": "",
        "usable": "yes",
        "mounts_below": 0,
        "owner": None,
        "plugin": "",
    }
    return Attempt(**fields | overrides)


def make_refusal(**overrides: Any) -> Attempt:
    """A file system that refused an idmapped mount."""
    fields = {
        "result": "refused",
        "reason": "this file system cannot be idmapped",
        "errno": "EINVAL",
        "usable": "no",
    }
    return make_attempt(**fields | overrides)


def make_unknown_attempt(**overrides: Any) -> Attempt:
    """A file system that did not answer in time."""
    fields = {
        "result": "unknown",
        "reason": "no answer in time",
        "kind": "timed-out",
        "usable": None,
    }
    return make_attempt(**fields | overrides)


@_made_once
def make_attempts(**replacements: Attempt | None) -> tuple[Attempt, ...]:
    """The four attempts that every node has; a keyword (`overlay_layers=`) replaces one, None leaves it out."""
    made: dict[str, Attempt | None] = {
        "kubelet_root": make_attempt(role="kubelet-root", path=KUBELET_ROOT, owner=(0, 65_536)),
        "runtime_root": make_attempt(role="runtime-root", path=CONTAINERD_ROOT, owner=(0, 65_536)),
        "overlay_layers": make_attempt(role="overlay-layers", path=CONTAINERD_ROOT, fstype="overlay", device=""),
        "tmpfs": make_attempt(role="tmpfs", path="", fstype="tmpfs", device="", owner=(0, 65_536)),
    }
    if unforeseen := replacements.keys() - made.keys():
        raise TypeError(f"no such role: {sorted(unforeseen)}")
    return tuple(attempt for attempt in (made | replacements).values() if attempt is not None)


def _readings(fields: dict[str, Any], sources: dict[str, str]) -> dict[str, Any]:
    return {name: _reading(sources[name], value) if name in sources else value for name, value in fields.items()}


def _reading(source: str, value: Any) -> Reading[Any]:
    return value if isinstance(value, Reading) else Reading(source, value)
