"""Nodes of each kind that broke Pods elsewhere, by another example of the kind, and beside it one that is well.

Each is a recorded node without Pods, changed in one way; what is expected is what the source tells of that way.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from lab.recorded import Recording
from probe.checks.runtime.confinement import is_for
from probe.facts.runtime.model import Profile
from probe.host.places import Place
from probe.host.program import Output
from tests.test_distributions import CONTAINERD, CRIO, HEADER, run_kubelet, without_pods

Change = Callable[[Recording], None]
SPECIFICATION: dict[str, Any] = {"ociVersion": "1.1.0", "process": {}, "linux": {}}
BRIDGE = {"cniVersion": "1.0.0", "name": "net", "type": "bridge"}
FLANNEL = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "flannel"}]}
SOCI = "/run/soci-snapshotter-grpc/soci.sock"
NRI = "plugins.'io.containerd.nri.v1.nri'"
APPARMOR = "/sys/kernel/security/apparmor"
HOOK = "/opt/audit/hook"


class Case(NamedTuple):
    """One node and its verdict."""

    change: Change
    verdict: str
    reason: str = ""
    base: str = CONTAINERD


def file(path: str, content: object) -> Change:
    """A file with that text, or with that JSON."""
    return lambda node: node.host.files.update({path: content if isinstance(content, str) else json.dumps(content)})


def place(path: str, mode: int, **seen: Any) -> Change:
    return lambda node: node.host.places_found.update({path: Place(path=path, mode=mode, uid=0, gid=0, **seen)})


def both(*changes: Change) -> Change:
    def change(node: Recording) -> None:
        for each in changes:
            each(node)

    return change


def status(edit: Callable[[dict[str, Any]], object]) -> Change:
    """The configuration that is a part of CRI's Status."""

    def edited(text: str) -> str:
        edit(config := json.loads(text))
        return json.dumps(config)

    def change(node: Recording) -> None:
        node.cri = msgspec.structs.replace(node.cri, config=node.cri.config.parse(edited))

    return change


def dump(edit: Callable[[str], str]) -> Change:
    """The configuration that containerd prints."""

    def change(node: Recording) -> None:
        command = next(name for name in node.host.commands if name.endswith(" config dump"))
        printed = node.host.commands[command]
        node.host.commands[command] = edit(printed.stdout if isinstance(printed, Output) else str(printed))

    return change


def specification(**parts: Any) -> Change:
    """A base specification of the default handler."""
    path = "/etc/containerd/base.json"
    return both(
        file(path, SPECIFICATION | parts),
        status(lambda config: config["containerd"]["runtimes"]["runc"].update(baseRuntimeSpec=path)),
    )


def hook(
    stage: str = "createContainer", mode: int = 0o100755, seen: dict[str, Any] | None = None, **more: Any
) -> Change:
    """A hook of the base specification, in folders that all may search."""
    folders = [place(path, 0o40755) for path in ("/", "/opt", "/opt/audit", "/usr", "/usr/bin")]
    programs = [place(f"/usr/bin/{name}", 0o100755, linked=True) for name in ("env", "python3")]
    hooks = {stage: [{"path": HOOK, **more}]}
    return both(specification(hooks=hooks), place(HOOK, mode, **(seen or {})), *folders, *programs)


def general_hook(**when: Any) -> Change:
    """A hook of CRI-O that a Pod's own root may not execute."""
    content = {"version": "1.0.0", "hook": {"path": HOOK}, "when": when, "stages": ["createContainer"]}
    folders = [place(path, 0o40755) for path in ("/", "/opt", "/opt/audit")]
    return both(file("/usr/share/containers/oci/hooks.d/99.json", content), place(HOOK, 0o100700), *folders)


def mount(fstype: str, *options: str) -> Change:
    return specification(mounts=[{"destination": "/d", "type": fstype, "source": fstype, "options": list(options)}])


def network(content: object, *plugins: str) -> Change:
    """The only network, and plugins that are installed beside bridge and loopback."""
    installed = [place(f"/usr/lib/cni/{name}", 0o100755) for name in plugins]
    return both(file("/etc/cni/net.d/10-bridge.conf", content), *installed)


def snapshotter(socket: Change) -> Change:
    """SOCI as the snapshotter, with the capability to map owners."""
    entry = f'[proxy_plugins.soci]\ntype = "snapshot"\naddress = "{SOCI}"\ncapabilities = ["remap-ids"]\n'

    def change(node: Recording) -> None:
        images = node.cri.image_filesystem.parse(lambda path: path.replace("overlayfs", "soci"))
        node.cri = msgspec.structs.replace(node.cri, image_filesystem=images)

    return both(dump(lambda text: re.sub(r"(?m)^\[proxy_plugins\]$", "", text) + entry), change, socket)


def required_plugins(enable: str) -> Change:
    table = f"[{NRI}]\ndisable = false\n[{NRI}.default_validator]\nenable = {enable}\nrequired_plugins = ['policy']\n"
    without = re.compile(r"(?ms)^ *\[plugins\.'io\.containerd\.nri\.v1\.nri'\].*?(?=^ *\[)")
    return dump(lambda text: without.sub("", text) + table)


def profiles(*lines: str, **attached: str) -> Change:
    """Loaded profiles of AppArmor, and what the kernel tells of those with a name."""
    told = [file(f"{APPARMOR}/policy/profiles/{name}.7/attach", path + "\n") for name, path in attached.items()]
    return both(file(f"{APPARMOR}/profiles", "\n".join(lines) + "\n"), *told)


def cgroup(**files: str) -> Change:
    """Files of the cgroup of all Pods."""
    return both(*(file(f"/sys/fs/cgroup/kubepods/cgroup.{k.replace('_', '.')}", v + "\n") for k, v in files.items()))


def kubelet(*flags: str, config: str = HEADER, path: str = "/usr/sbin:/usr/bin") -> Change:
    def change(node: Recording) -> None:
        run_kubelet(
            node,
            "/usr/bin/kubelet",
            "--config=/var/lib/kubelet/config.yaml",
            *flags,
            version="Kubernetes v1.34.1\n",
            files={"/var/lib/kubelet/config.yaml": config},
            environment={"PATH": path},
        )

    return change


def shims(*variables: str) -> Change:
    """Variables that containerd gives to its shims."""
    empty = "[plugins.'io.containerd.shim.v1.manager']\n    env = []"
    return dump(lambda text: text.replace(empty, empty.replace("[]", repr(list(variables)))))


def runc(**options: object) -> Change:
    """Options of the default handler of containerd."""
    return status(lambda config: config["containerd"]["runtimes"]["runc"]["options"].update(options))


def systemd(node: Recording) -> None:
    node.host.add_directory("/run/systemd/system")


def driver(of_crio: str, of_kubelet: str, version: str) -> Change:
    """Cgroup drivers of CRI-O and of a kubelet of that version."""

    def change(node: Recording) -> None:
        config = f"{HEADER}cgroupDriver: {of_kubelet}\nfeatureGates: {{UserNamespacesSupport: true}}\n"
        flags = ("--config=/etc/kubelet.yaml", "--container-runtime-endpoint=unix:///run/crio/crio.sock")
        run_kubelet(node, "/usr/bin/kubelet", *flags, version=f"{version}\n", files={"/etc/kubelet.yaml": config})

    return both(status(lambda config: config["crio"].update(CgroupManagerName=of_crio)), systemd, change)


def listens(node: Recording) -> None:
    """A kubelet's port in place of the kubelet."""
    node.host.end_process(node.kubelet_pid)
    row = f"   0: {'0' * 32}:280A {'0' * 32}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
    node.host.files["/proc/1/net/tcp6"] = "  sl  local_address                         remote_address ...\n" + row


NO_DRIVER = "CgroupDriverMismatch"
NO_NETWORK, NO_HOOK = "CniPluginMissing", "HookNotExecutable"
CASES = {
    "plugin-for-addresses-gone": Case(network(BRIDGE | {"ipam": {"type": "host-local"}}), "not-ready", NO_NETWORK),
    "plugin-for-addresses-there": Case(network(BRIDGE | {"ipam": {"type": "host-local"}}, "host-local"), "ready"),
    "no-plugin-for-addresses": Case(network(BRIDGE | {"ipam": {}}), "ready"),
    "plugin-that-runs-none": Case(network(BRIDGE | {"type": "own", "ipam": {"type": "nobody"}}, "own"), "ready"),
    "flannel-without-host-local": Case(network(FLANNEL, "flannel"), "not-ready", NO_NETWORK),
    "flannel": Case(network(FLANNEL, "flannel", "host-local"), "ready"),
    "snapshotter-that-does-not-run": Case(
        snapshotter(lambda node: node.host.places_found.update({SOCI: errno.ENOENT})),
        "not-ready",
        "SnapshotterNotRunning",
    ),
    "snapshotter-that-runs": Case(snapshotter(place(SOCI, 0o140700)), "ready"),
    "annotation-for-crun": Case(specification(annotations={"run.oci.handler": "krun"}), "unknown", "NotTried"),
    "annotation-for-systemd": Case(
        specification(annotations={"org.systemd.property.TasksMax": "'x'"}), "unknown", "NotTried"
    ),
    "annotation-for-nobody": Case(specification(annotations={"example.com/team": "a"}), "ready"),
    "hook-that-has-no-time": Case(hook(timeout=0), "not-ready", NO_HOOK),
    "hook-that-has-less-than-no-time": Case(hook(timeout=-1), "not-ready", NO_HOOK),
    "late-hook-that-has-no-time": Case(hook("poststop", timeout=0), "ready"),
    "hook-that-has-time": Case(hook(timeout=1), "ready"),
    "hook-with-own-libraries": Case(
        hook(env=["LD_LIBRARY_PATH=/opt/audit"], seen={"linked": True}), "unknown", "NotTried"
    ),
    "hook-whose-own-libraries-may-suffice": Case(
        hook(env=["LD_LIBRARY_PATH=/opt/audit"], seen={"linked": True, "defect": "needs libaudit.so"}),
        "unknown",
        "NotTried",
    ),
    "script-with-own-path": Case(
        hook(env=["PATH=/opt/audit"], seen={"interpreter": "/usr/bin/env", "command": "/usr/bin/python3"}),
        "unknown",
        "NotTried",
    ),
    "hook-with-other-variables": Case(hook(env=["PATH=/opt/audit", "LEVEL=1"], seen={"linked": True}), "ready"),
    "hook-of-each-command": Case(general_hook(commands=["(.*)"]), "not-ready", NO_HOOK, CRIO),
    "hook-of-each-annotation": Case(
        general_hook(annotations={r"^io\.kubernetes\.container": ".*"}), "not-ready", NO_HOOK, CRIO
    ),
    "hook-of-some-commands": Case(general_hook(commands=["^/usr/sbin/init$"]), "ready", "", CRIO),
    "hook-of-an-annotation": Case(general_hook(annotations={"^example.com/audit$": ".*"}), "ready", "", CRIO),
    "hook-of-a-pattern-without-end": Case(general_hook(commands=["(a+)+$"]), "ready", "", CRIO),
    "tmpfs-with-an-unknown-option": Case(mount("tmpfs", "nosuid", "bogus=1"), "unknown", "NotTried"),
    "tmpfs-of-nodes-of-memory": Case(mount("tmpfs", "mpol=bind:7"), "unknown", "NotTried"),
    "tmpfs-as-usual": Case(mount("tmpfs", "nosuid", "nodev", "noexec", "size=64k", "mode=1777"), "ready"),
    "nri-plugin-required": Case(required_plugins("true"), "unknown", "NotTried"),
    "nri-plugin-not-required": Case(required_plugins("false"), "ready"),
    "profile-of-runc": Case(profiles("/usr/sbin/runc (enforce)"), "unknown", "NotReadable"),
    "profile-of-all-programs": Case(profiles("/{usr/,}{s,}bin/* (kill)"), "unknown", "NotReadable"),
    "profile-by-name": Case(profiles("oci (enforce)", oci="/usr/sbin/runc"), "unknown", "NotReadable"),
    "profile-of-the-shim": Case(profiles("/usr/bin/containerd-shim-* (enforce)"), "unknown", "NotReadable"),
    "profile-of-conmon": Case(profiles("/usr/bin/conmon (enforce)"), "unknown", "NotReadable", CRIO),
    "profiles-of-ubuntu": Case(
        profiles("runc (unconfined)", "docker-default (enforce)", "/usr/bin/man (enforce)", runc="/usr/sbin/runc"),
        "ready",
    ),
    "profile-that-complains": Case(profiles("/usr/sbin/runc (complain)"), "ready"),
    "cgroups-are-too-many": Case(
        cgroup(max_descendants="5", stat="nr_descendants 5"), "not-ready", "DirectoryNotWritable"
    ),
    "cgroups-are-too-deep": Case(cgroup(max_depth="0"), "not-ready", "DirectoryNotWritable"),
    "cgroups-are-frozen": Case(cgroup(freeze="1"), "not-ready", "DirectoryNotWritable"),
    "cgroups-are-few": Case(cgroup(max_descendants="9", stat="nr_descendants 5", max_depth="max", freeze="0"), "ready"),
    "shims-with-another-tmpdir": Case(shims("TMPDIR=/nowhere"), "not-ready", "TemporaryDirectoryUnusable"),
    "shims-with-fewer-threads": Case(shims("GOMAXPROCS=2"), "ready"),
    "shims-with-another-path": Case(
        both(shims("PATH=/nowhere"), runc(BinaryName="runc")), "not-ready", "OciRuntimeMissing"
    ),
    "systemd-without-a-bus": Case(
        both(
            runc(SystemdCgroup=True),
            systemd,
            lambda node: node.host.places_found.update({"/run/dbus/system_bus_socket": errno.ENOENT}),
        ),
        "not-ready",
        NO_DRIVER,
    ),
    "systemd-with-another-bus": Case(
        both(
            runc(SystemdCgroup=True),
            systemd,
            lambda node: node.host.places_found.update({"/run/dbus/system_bus_socket": errno.ENOENT}),
            lambda node: node.host.files.update(
                {f"/proc/{node.runtime_pid}/environ": "PATH=/usr/sbin\0DBUS_SYSTEM_BUS_ADDRESS=unix:path=/srv/bus\0"}
            ),
        ),
        "ready",
    ),
    "systemd-with-a-bus": Case(both(runc(SystemdCgroup=True), systemd), "ready"),
    "crio-with-cgroupfs": Case(driver("cgroupfs", "systemd", "Kubernetes v1.30.4"), "not-ready", NO_DRIVER, CRIO),
    "crio-with-systemd": Case(driver("systemd", "cgroupfs", "Kubernetes v1.30.4"), "not-ready", NO_DRIVER, CRIO),
    "crio-as-the-kubelet": Case(driver("systemd", "systemd", "Kubernetes v1.30.4"), "ready", "", CRIO),
    "crio-which-tells-the-kubelet": Case(driver("cgroupfs", "systemd", "Kubernetes v1.33.4"), "ready", "", CRIO),
    "kubelet-in-an-unknown-program": Case(listens, "unknown", "NotReadable"),
    "no-pod-by-flag": Case(kubelet("--max-pods=0"), "not-ready", "NoPodAdmitted"),
    "default-of-pods-by-file": Case(kubelet(config=HEADER + "maxPods: 0\n"), "ready"),
    "kubelet-without-mount-beside-a-tmpfs": Case(kubelet(path="/opt/bin"), "unknown", "NotReadable"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_further_node(name: str) -> None:
    """Verdict and reason are those that the Pods of such a node would give."""
    case = CASES[name]
    node = without_pods(case.base)
    case.change(node)
    report = node.report()
    assert (report.verdict, report.reason) == (case.verdict, case.reason), report.message


def test_a_kubelet_without_mount_runs_pods_that_have_no_tmpfs() -> None:
    """The kubelet runs mount(8) for tmpfs alone; where a Pod has one, an earlier kubelet may have mounted it."""
    node = without_pods(CONTAINERD)
    node.mountinfo = "".join(line for line in node.mountinfo.splitlines(True) if "/pods/" not in line)
    kubelet(path="/opt/bin")(node)
    report = node.report()
    assert (report.levels["stateless"], report.levels["projected"]) == ("ready", "not-ready")
    assert report.reason == "MountProgramMissing"


def test_a_pattern_of_a_profile_is_no_endless_search() -> None:
    """On a path that matches its stars in all ways and then not its end: the profile counts, as nobody searches."""
    assert is_for(Profile("x", "enforce", f"/{'a*' * 6}b"), f"/{'a' * 4000}")
    assert not is_for(Profile("x", "enforce", "/{,usr/}{s,}bin/**/a*b*"), "/usr/bin/containerd-shim-runc-v2")


def test_profiles_that_cannot_be_read_are_no_profiles_that_allow() -> None:
    """Whether AppArmor confines the OCI runtime is then unknown, and said so."""
    node = without_pods(CONTAINERD)
    node.host.files[f"{APPARMOR}/profiles"] = errno.EACCES
    found = next(one for one in node.report().findings if one.id == "kernel-security-modules")
    assert (found.status, found.reason) == ("unknown", "NotPermitted")
