"""The node's own kubelet among all that run on a node, and what is in force in it."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from lab.samples import HEADER, RECORDED_CONFIG
from probe.facts.kubelet.facts import gather_kubelet, parse_arguments_file
from probe.facts.kubelet.find import find_kubelets
from probe.facts.model import DropIn, KubeletFacts
from probe.host.processes import parse_unit
from probe.host.program import Output
from probe.reading import Reading

CONFIG = "/var/lib/kubelet/config.yaml"
POD_CGROUP = "0::/kubepods.slice/kubepods-pod6c1e0b7e_0000_0000_0000_000000000000.slice/cri-containerd-00.scope\n"
OWN = "user:[4026532252]"
KUBELET = ("/usr/bin/kubelet", f"--config={CONFIG}")


def node(*argv: str, version: str = "1.36.2", config: str = "", **process: Any) -> FakeHost:
    """A kubeadm node whose kubelet, process 42, started at second 1000."""
    host = FakeHost(files={CONFIG: HEADER + config} if config is not None else {})
    host.commands["/usr/bin/kubelet --version"] = f"Kubernetes v{version}\n"
    host.add_process(42, *(argv or KUBELET), **process)
    return host


def facts(host: FakeHost) -> KubeletFacts:
    reading = gather_kubelet(host)
    assert reading.value is not None, reading
    return reading.value


@dataclass
class Node:
    """One distribution's kubelet as a tree, and what is to be found in it."""

    argv: tuple[str, ...]
    expected: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    process: dict[str, Any] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    parent: tuple[str, ...] = ("/sbin/init",)


# recorded: kubelet 1.36.2 on Debian 12 with containerd 2.1.9, and the same with CRI-O; cgroup v1, no systemd.
RECORDED_CGROUP = "9:name=systemd:/\n8:pids:/\n4:memory:/machine/04db9763e41eb4a70df38edebed47100\n0::/\n"
RECORDED_ARGV = (
    "/usr/local/bin/kubelet",
    "--config=/etc/k8slab/kubelet.yaml",
    "--kubeconfig=/etc/k8slab/kubelet.kubeconfig",
    "--hostname-override=k8slab",
    "--node-ip=10.0.2.15",
    "--v=3",
)


def recorded(runtime: str) -> Node:
    return Node(
        RECORDED_ARGV,
        {"version": "1.36.2", "endpoint": f"/run/{runtime}/{runtime}.sock", "fail_cgroup_v1": False},
        {"/etc/k8slab/kubelet.yaml": RECORDED_CONFIG.format(runtime)},
        {"cgroup": RECORDED_CGROUP},
        {"/usr/local/bin/kubelet --version": "Kubernetes v1.36.2\n"},
    )


NODES = {
    "recorded-containerd": recorded("containerd"),
    "recorded-cri-o": recorded("crio"),
    # kubernetes.io, "Kubelet configuration in your cluster using kubeadm": flags from kubeadm-flags.env
    "kubeadm": Node(
        (
            "/usr/bin/kubelet",
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            f"--config={CONFIG}",
            "--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock",
        ),
        {"endpoint": "/var/run/containerd/containerd.sock", "max_pods": 110, "version": "1.32.9", "gate": False},
        {CONFIG: HEADER + "cgroupDriver: systemd\n"},
        commands={"/usr/bin/kubelet --version": "Kubernetes v1.32.9\n"},
    ),
    # docs.k3s.io, "Configuration Options"; k3s 1.32 and newer keep their defaults in a directory of drop-in files
    "k3s": Node(
        ("/usr/local/bin/k3s server",),
        {
            "distribution": "k3s",
            "version": "1.33.1+k3s1",
            "endpoint": "/run/k3s/containerd/containerd.sock",
            "max_pods": 60,
            "ids_per_pod": 131_072,
            "gate": True,
        },
        {
            "/etc/rancher/k3s/config.yaml": "kubelet-arg:\n- max-pods=60\n",
            "/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s \\\n  server\n",
            "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": HEADER
            + "containerRuntimeEndpoint: unix:///run/k3s/containerd/containerd.sock\n",
            "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-own.conf": HEADER
            + "userNamespaces: {idsPerPod: 131072}\n",
        },
        {
            "name": "k3s-server",
            "exe": "/var/lib/rancher/k3s/data/0ff1ce/bin/k3s",
            "cgroup": "0::/system.slice/k3s.service\n",
        },
        {"/var/lib/rancher/k3s/data/0ff1ce/bin/k3s --version": "k3s version v1.33.1+k3s1 (99d91538)\n"},
    ),
    # docs.k3s.io: before 1.32 there was no such directory, and the kubelet got flags only
    "k3s-1.30": Node(
        ("/usr/local/bin/k3s agent",),
        {
            "distribution": "k3s",
            "version": "1.30.4+k3s1",
            "endpoint": "/run/k3s/containerd/containerd.sock",
            "gate": True,
        },
        {
            "/etc/rancher/k3s/config.yaml.d/userns.yaml": "kubelet-arg+: [feature-gates=UserNamespacesSupport=true]\n",
            "/etc/systemd/system/k3s-agent.service": "[Service]\nExecStart=/usr/local/bin/k3s agent\n",
        },
        {
            "name": "k3s-agent",
            "exe": "/var/lib/rancher/k3s/data/0ff1ce/bin/k3s",
            "cgroup": "0::/system.slice/k3s-agent.service\n",
        },
        {"/var/lib/rancher/k3s/data/0ff1ce/bin/k3s --version": "k3s version v1.30.4+k3s1 (98262b5d)\n"},
    ),
    # rancher/rke2#4043 and the process tree of rke2 1.34: a kubelet of its own below rke2, with visible arguments
    "rke2": Node(
        (
            "kubelet",
            "--volume-plugin-dir=/var/lib/kubelet/volumeplugins",
            "--config-dir=/var/lib/rancher/rke2/agent/etc/kubelet.conf.d",
            "--containerd=/run/k3s/containerd/containerd.sock",
            "--node-labels=",
        ),
        {"distribution": "rke2", "version": "1.34.4+rke2r1", "endpoint": "/run/k3s/containerd/containerd.sock"},
        {
            "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/00-rke2-defaults.conf": HEADER
            + "containerRuntimeEndpoint: unix:///run/k3s/containerd/containerd.sock\n"
        },
        {"exe": "/var/lib/rancher/rke2/data/v1.34.4-rke2r1-0d52/bin/kubelet"},
        {
            "/var/lib/rancher/rke2/data/v1.34.4-rke2r1-0d52/bin/kubelet --version": "Kubernetes v1.34.4+rke2r1\n",
        },
        ("/usr/bin/rke2 server",),
    ),
    # k0sproject/k0s, pkg/component/worker/kubelet.go
    "k0s": Node(
        (
            "/var/lib/k0s/bin/kubelet",
            "--root-dir=/var/lib/k0s/kubelet",
            "--config=/var/lib/k0s/kubelet-config.yaml",
            "--container-runtime-endpoint=unix:///run/k0s/containerd.sock",
        ),
        {"distribution": "k0s", "root_dir": "/var/lib/k0s/kubelet", "endpoint": "/run/k0s/containerd.sock"},
        {"/var/lib/k0s/kubelet-config.yaml": HEADER},
        commands={"/var/lib/k0s/bin/kubelet --version": "Kubernetes v1.34.1\n"},
        parent=("/usr/local/bin/k0s", "worker"),
    ),
    # canonical/microk8s: kubelite reads its kubelet's arguments from a file, and knows no --version
    "microk8s": Node(
        (
            "/snap/microk8s/9044/kubelite",
            "--scheduler-args-file=/var/snap/microk8s/9044/args/kube-scheduler",
            "--kubelet-args-file=/var/snap/microk8s/9044/args/kubelet",
            "--start-control-plane=true",
        ),
        {
            "distribution": "microk8s",
            "version": "1.32.3",
            "root_dir": "/var/snap/microk8s/common/var/lib/kubelet",
            "endpoint": "/var/snap/microk8s/common/run/containerd.sock",
            "gate": True,
            "gate_configured": True,
        },
        {
            "/var/snap/microk8s/9044/args/kubelet": "# comment\n--root-dir=${SNAP_COMMON}/var/lib/kubelet\n"
            '--eviction-hard="memory.available<100Mi"\n--container-runtime-endpoint=${SNAP_COMMON}/run/containerd.sock\n'
            "--feature-gates=UserNamespacesSupport=true\n",
            "/snap/microk8s/9044/meta/snap.yaml": "name: microk8s\nversion: v1.32.3\n",
        },
        {"environment": {"SNAP_COMMON": "/var/snap/microk8s/common", "SNAP": "/snap/microk8s/9044"}},
    ),
    # awslabs/amazon-eks-ami, nodeadm: JSON, and drop-in files in config.json.d
    "eks-al2023": Node(
        (
            "/usr/bin/kubelet",
            "--config=/etc/kubernetes/kubelet/config.json",
            "--config-dir=/etc/kubernetes/kubelet/config.json.d",
            "--kubeconfig=/var/lib/kubelet/kubeconfig",
            "--hostname-override=i-0123456789abcdef0",
        ),
        {"version": "1.33.5-eks-113cf36", "max_pods": 17, "fail_cgroup_v1": False, "gate": True},
        {
            "/etc/kubernetes/kubelet/config.json": '{\n\t"kind": "KubeletConfiguration",\n\t"apiVersion": '
            '"kubelet.config.k8s.io/v1beta1",\n\t"maxPods": 58,\n\t"featureGates": {"SomeGate": true}\n}\n',
            "/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf": '{"apiVersion": "kubelet.config.k8s.io/v1beta1", '
            '"kind": "KubeletConfiguration", "maxPods": 17}',
        },
        commands={"/usr/bin/kubelet --version": "Kubernetes v1.33.5-eks-113cf36\n"},
    ),
    # openshift/machine-config-operator: kubelet.conf is the configuration here, and CRI-O's socket a flag
    "openshift": Node(
        (
            "/usr/bin/kubelet",
            "--config=/etc/kubernetes/kubelet.conf",
            "--config-dir=/etc/openshift/kubelet.conf.d",
            "--container-runtime-endpoint=/var/run/crio/crio.sock",
        ),
        {"version": "1.33.4+2d0ed3e", "endpoint": "/var/run/crio/crio.sock", "max_pods": 250},
        {
            "/etc/kubernetes/kubelet.conf": HEADER + "maxPods: 250\n",
            "/etc/openshift/kubelet.conf.d/10-own.conf": HEADER + "maxPods: 300\n",
            "/etc/openshift/kubelet.conf.d/20-own.conf": HEADER + "maxPods: null\n",
            "/etc/openshift/kubelet.conf.d/30-own.conf": HEADER + "maxPods: 250\n",
        },
        commands={"/usr/bin/kubelet --version": "Kubernetes v1.33.4+2d0ed3e\n"},
    ),
    # siderolabs/talos: the kubelet has a root file system of its own
    "talos": Node(
        ("/usr/local/bin/kubelet", "--config=/etc/kubernetes/kubelet.yaml"),
        {"version": "1.36.2", "max_pods": 111, "root_dir": "/var/lib/kubelet"},
        {
            "/rootfs/etc/kubernetes/kubelet.yaml": HEADER + "maxPods: 111\n",
            "/etc/kubernetes/kubelet.yaml": HEADER + "maxPods: 1\n",
        },
        {"root": "/rootfs", "cgroup": "0::/podruntime/kubelet\n"},
        {"/usr/local/bin/kubelet --version": "Kubernetes v1.36.2\n"},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_every_distribution_has_its_own_ways(name: str) -> None:
    """Where its kubelet hides, what it was told, and what version it has."""
    case = NODES[name]
    host = FakeHost(files=dict(case.files), commands=dict(case.commands))
    host.add_process(1, *case.parent)
    host.add_process(42, *case.argv, **case.process)
    found = facts(host)
    plain = {"distribution": "kubelet", "others": 0, "root_dir": "/var/lib/kubelet", "pid": 42}
    for attribute, value in (plain | case.expected).items():
        seen = getattr(found, attribute)
        assert (seen.value if isinstance(seen, Reading) else seen) == value, attribute
    assert found.files.value is not None
    assert [file for file in found.files.value if file.newer] == []


def test_null_for_a_gate_is_no_silence() -> None:
    """In the first file Go reads it as false, so the default is not in force; a drop-in file removes by it."""
    host = node("/usr/bin/kubelet", f"--config={CONFIG}", version="1.34.0")
    host.files[CONFIG] = HEADER + "featureGates: {UserNamespacesSupport: null}\nmaxPods: null\n"
    found = facts(host)
    assert found.gate.kind == "not-readable"
    assert found.max_pods.value == 110
    host = node("/usr/bin/kubelet", f"--config={CONFIG}", "--config-dir=/etc/d", version="1.34.0")
    host.files[CONFIG] = HEADER + "featureGates: {UserNamespacesSupport: false}\n"
    host.files["/etc/d/1.conf"] = HEADER + "featureGates: {UserNamespacesSupport: null}\n"
    assert facts(host).gate.value is True


def test_no_kubelet_is_absent() -> None:
    """An answer, and not a problem."""
    host = FakeHost()
    host.add_process(1, "/sbin/init")
    host.add_process(2, "/usr/bin/kubectl", "get", "kubelet")
    assert gather_kubelet(host).kind == "absent"


@pytest.mark.parametrize(
    ("of_first", "kind"), [(errno.EACCES, "not-permitted"), ("user:[4026531837]", "not-permitted"), (OWN, "absent")]
)
def test_from_a_user_namespace_of_its_own(of_first: str | int, kind: str) -> None:
    """Root's processes look like nobody's there; a whole node in such a namespace has its own."""
    host = node(uid=65_534)
    host.links |= {"/proc/self/ns/user": OWN, "/proc/1/ns/user": of_first}
    assert gather_kubelet(host).kind == kind


def test_processes_that_cannot_be_listed_are_no_absence() -> None:
    """Nobody knows."""
    host = FakeHost(processes_problem=Reading.without("/proc", "not-permitted", "Permission denied"))
    assert gather_kubelet(host).kind == "not-permitted"


@pytest.mark.parametrize(
    "imitation",
    [
        {"cgroup": POD_CGROUP},
        {"uid": 65_534},
        {"user_namespace": "user:[4026532252]"},
        {"nspid": "42\t7"},
    ],
    ids=lambda imitation: next(iter(imitation)),
)
@pytest.mark.parametrize("argv", [KUBELET, ("k3s", "server", "--v=1"), ("/snap/microk8s/1/kubelite",)])
def test_a_pod_that_imitates_a_kubelet_is_none(argv: tuple[str, ...], imitation: dict[str, Any]) -> None:
    """Nothing that it names is read, and nothing of it is run."""
    host = node(*argv, **imitation)
    assert gather_kubelet(host).value is None
    about_it = {"/proc/42/status", "/proc/42/cgroup", "/proc/42/ns/user"}
    about_the_node = {"/proc/1/cgroup", "/proc/1/ns/user", "/proc/self/ns/user", "/proc/1/net/tcp", "/proc/1/net/tcp6"}
    assert set(host.touched) <= about_it | about_the_node


@pytest.mark.parametrize(
    ("argv0", "exe"),
    [
        ("/opt/kubernetes/kubelet-1.36.2", ""),
        ("/usr/local/bin/kubelet.real", ""),
        ("/nix/store/0ff1ce-kubernetes-1.36.2/bin/.kubelet-wrapped", ""),
        ("node-agent", "/usr/bin/kubelet"),
    ],
)
def test_a_kubelet_of_another_name(argv0: str, exe: str) -> None:
    """It is described; beside one of the usual name it does not count, nor without a kubelet's flags."""
    host = node(argv0, f"--config={CONFIG}", exe=exe)
    assert facts(host).pid == 42
    host.add_process(43, *KUBELET)
    assert (facts(host).pid, facts(host).others) == (43, 0)
    assert gather_kubelet(node(argv0, "--listen=:9", exe=exe)).kind == "absent"


def test_what_the_kubelet_reads_and_leaves_for_each_pod() -> None:
    """By flag, by file, or by default; k3s has a resolv.conf of its own."""
    assert (facts(node()).resolv_conf.value, facts(node()).pod_pids_limit.value) == ("/etc/resolv.conf", -1)
    host = node(config="resolvConf: /run/resolv.conf\npodPidsLimit: 9\n")
    assert (facts(host).resolv_conf.value, facts(host).pod_pids_limit.value) == ("/run/resolv.conf", 9)
    host = node(*KUBELET, "--resolv-conf=", "--pod-max-pids=3")
    assert (facts(host).resolv_conf.value, facts(host).pod_pids_limit.value) == ("", 3)
    host = FakeHost()
    host.add_process(42, "/usr/local/bin/k3s", "server", "--debug", name="k3s-server")
    assert facts(host).resolv_conf.kind == "absent"


def test_the_nodes_own_kubelet_is_found_among_imitations() -> None:
    """Whichever has the lower number."""
    host = node()
    host.add_process(7, *KUBELET, cgroup=POD_CGROUP, started=1.0)
    host.add_process(99, *KUBELET, uid=1000)
    assert (facts(host).pid, facts(host).others) == (42, 0)


def test_who_owns_a_kubelet_may_be_unknowable() -> None:
    """Then it is not absent; and it does not matter once another is known to be the node's."""
    host = FakeHost()
    host.add_process(7, *KUBELET)
    host.links["/proc/7/ns/user"] = errno.EACCES
    assert gather_kubelet(host).kind == "not-permitted"
    host.add_process(42, *KUBELET)
    assert facts(host).pid == 42


def test_a_process_that_ended_meanwhile_is_nobody() -> None:
    """Between listing and looking."""
    host = node()
    host.files["/proc/42/status"] = errno.ESRCH
    assert gather_kubelet(host).kind == "absent"


def test_several_kubelets_are_counted_and_the_first_is_described() -> None:
    """The one that started first; asking a kubelet for its version starts no second one."""
    host = node(started=2000.0)
    host.add_process(50, "/opt/kubelet", started=1000.0)
    host.add_process(51, "/usr/bin/kubelet", "--version", started=1.0)
    assert (facts(host).pid, facts(host).others) == (50, 1)


def test_a_kubelet_that_restarts_meanwhile_is_no_mixture_of_two() -> None:
    """Two different starts are two different processes."""

    class Restarting(FakeHost):
        def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
            self.started[pid] += 60
            return super().run_daemon(pid, *arguments, timeout=timeout)

    host = Restarting(files={CONFIG: HEADER})
    host.add_process(42, *KUBELET)
    reading = gather_kubelet(host)
    assert (reading.kind, "restarted" in reading.problem) == ("not-readable", True)


def test_the_version_is_that_of_what_runs() -> None:
    """After an upgrade the path holds another program."""
    host = node()
    host.links["/proc/42/exe"] = "/usr/bin/kubelet (deleted)"
    host.commands["/proc/42/exe --version"] = "Kubernetes v1.32.1\n"
    found = facts(host)
    assert found.version.value == "1.32.1"
    assert found.executable.value == DropIn(path="/usr/bin/kubelet", newer=True)


@pytest.mark.parametrize("answer", [Output(0, "GNU bash, version 5.2", ""), Output(1, "", "unknown flag")])
def test_a_version_that_nobody_understands_is_a_problem(answer: Output) -> None:
    """And the gate, which depends on it, as well."""
    host = node(config="featureGates: {UserNamespacesSupport: true}\n")
    host.commands["/usr/bin/kubelet --version"] = answer
    found = facts(host)
    assert (found.version.kind, found.gate.kind) == ("not-readable", "not-readable")
    assert found.gate_configured.value is True


def test_relative_paths_are_the_kubelets_own() -> None:
    """They start where it works."""
    host = node("kubelet", "--config=k.yaml", "--root-dir=state/", exe="/usr/bin/kubelet", cwd="/srv")
    host.files["/srv/k.yaml"] = HEADER + "maxPods: 9\n"
    assert (facts(host).max_pods.value, facts(host).root_dir.value) == (9, "/srv/state")
    host.links["/proc/42/cwd"] = errno.EACCES
    assert (facts(host).max_pods.kind, facts(host).root_dir.kind) == ("not-permitted", "not-readable")


def test_drop_in_files_are_merged_in_the_order_of_their_paths() -> None:
    """Recursively, `.conf` alone, null deletes, and the command line on top."""
    host = node("/usr/bin/kubelet", f"--config={CONFIG}", "--config-dir=/etc/d", "--feature-gates=C=false")
    host.files |= {
        CONFIG: HEADER + "maxPods: 1\nfeatureGates: {A: true, B: true, UserNamespacesSupport: false}\n",
        "/etc/d/10.conf": HEADER + "maxPods: 2\nfeatureGates: {B: false, C: true}\n",
        "/etc/d/20/00.conf": HEADER + "maxPods: 3\n",
        "/etc/d/20/50.yaml": HEADER + "maxPods: 77\n",
        "/etc/d/30.conf": HEADER + "featureGates: {UserNamespacesSupport: null}\nfailCgroupV1: false\n",
        "/etc/d/README": "not yaml: [",
    }
    found = facts(host)
    assert [file.path for file in found.files.value or ()] == [
        CONFIG, "/etc/d/10.conf", "/etc/d/20/00.conf", "/etc/d/30.conf",
    ]  # fmt: skip
    assert (found.max_pods.value, found.fail_cgroup_v1.value) == (3, False)
    assert (found.gate_configured.kind, found.gate.value) == ("absent", True)


@pytest.mark.parametrize("content", ["maxPods: 5\n", "a: [", "\0", b"\xff\xfe", errno.EACCES, b"#" * (1 << 20)])
def test_one_bad_file_makes_all_that_files_say_unknown(content: str | bytes | int) -> None:
    """The kubelet would not start with it; what flags say remains known, and so does what no setting can change."""
    host = node("/usr/bin/kubelet", "--config-dir=/etc/d", "--container-runtime-endpoint=/run/x.sock")
    host.files |= {"/etc/d/10.conf": HEADER + "maxPods: 5\n", "/etc/d/20.conf": content}
    found = facts(host)
    assert found.max_pods.value is None
    assert found.max_pods.kind == ("not-permitted" if content == errno.EACCES else "not-readable")
    assert (found.endpoint.value, found.root_dir.value) == ("/run/x.sock", "/var/lib/kubelet")
    assert found.gate.value is True


def test_named_files_that_are_gone_are_a_problem_and_a_change() -> None:
    """What they said when the kubelet read them is lost."""
    host = node(version="1.34.0")
    del host.files[CONFIG]
    found = facts(host)
    assert found.files.value == (DropIn(path=CONFIG, newer=True),)
    assert (found.max_pods.kind, found.gate.kind) == ("not-readable", "not-readable")
    assert facts(node("/usr/bin/kubelet", "--config-dir=/etc/d")).max_pods.kind == "not-readable"


def test_a_directory_of_too_many_or_too_deep_files_is_a_problem() -> None:
    """Time is bounded."""
    for files in ({f"/etc/d/{n}.conf": HEADER for n in range(300)}, {"/etc/d" + "/d" * 20 + "/a.conf": HEADER}):
        host = node("/usr/bin/kubelet", "--config-dir=/etc/d")
        host.files |= files
        assert facts(host).max_pods.kind == "not-readable"


@pytest.mark.parametrize(
    ("version", "config", "gate", "configured"),
    [
        ("1.31.0", "", False, None),
        ("1.31.0", "featureGates: {UserNamespacesSupport: true}", True, True),
        ("1.31.0", "featureGates: {AllBeta: true}", True, None),
        ("1.34.0", "", True, None),
        ("1.34.0", "featureGates: {UserNamespacesSupport: false}", False, False),
        ("1.36.0", "featureGates: {UserNamespacesSupport: false}", True, False),
        ("1.26.0", "featureGates: {UserNamespacesStatelessPodsSupport: true}", True, True),
        ("1.24.0", "", False, None),
    ],
)
def test_the_gate_is_what_is_configured_else_the_versions_default(
    version: str, config: str, gate: bool, configured: bool | None
) -> None:
    """In a process that is younger than its files."""
    found = facts(node(version=version, config=config + "\n"))
    assert (found.gate.value, found.gate_configured.value) == (gate, configured)


@pytest.mark.parametrize("time", ["modified", "changed"])
def test_what_changed_after_the_start_is_configured_and_not_in_force(time: str) -> None:
    """A gate that somebody switched on without a restart is no gate that is on, also if `cp -p` did it."""
    host = node(version="1.34.0", config="featureGates: {UserNamespacesSupport: true}\n")
    getattr(host, time)[CONFIG] = 2000.0
    found = facts(host)
    assert found.files.value == (DropIn(path=CONFIG, newer=True, maybe_the_same=time == "changed"),)
    assert found.gate_configured.value is True
    assert (found.gate.kind, found.gate.source) == ("not-readable", CONFIG)


def test_a_changed_file_does_not_matter_where_nothing_can_change_the_gate() -> None:
    """Since 1.36 it is locked; before, the command line decides."""
    locked = node(version="1.36.0")
    flag = node(*KUBELET, "--feature-gates=UserNamespacesSupport=true", version="1.31.0")
    for host in (locked, flag):
        host.modified[CONFIG] = 2000.0
        assert facts(host).gate.value is True


def test_a_file_that_was_removed_from_a_directory_is_a_change() -> None:
    """The directory is younger than the kubelet, though no file in it is."""
    host = node("/usr/bin/kubelet", "--config-dir=/etc/d", version="1.34.0")
    host.files["/etc/d/a.conf"] = HEADER
    host.modified["/etc/d"] = 2000.0
    found = facts(host)
    assert found.files.value == (DropIn(path="/etc/d/a.conf", newer=False), DropIn(path="/etc/d", newer=True))
    assert found.gate.kind == "not-readable"


def test_k3s_writes_its_own_files_at_every_start() -> None:
    """They are younger than the process and in force all the same; only what is younger than they are is not."""
    case = NODES["k3s"]
    directory = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    host = FakeHost(files=dict(case.files), commands=dict(case.commands))
    host.add_process(42, *case.argv, **case.process)
    host.modified |= {f"{directory}/00-k3s-defaults.conf": 1030.0, directory: 1031.0}
    assert [file.path for file in facts(host).files.value or () if file.newer] == []
    host.modified[f"{directory}/50-own.conf"] = 1100.0
    assert [file.path for file in facts(host).files.value or () if file.newer] == [f"{directory}/50-own.conf"]


@pytest.mark.parametrize(
    "directory",
    ["/etc/rancher/k3s/config.yaml.d", "/run/systemd/system/k3s.service.d", "/etc/systemd/system/k3s.service.d"],
)
def test_a_file_that_k3s_had_read_and_that_is_gone(directory: str) -> None:
    """Only its directory shows that there was one, which may have switched the gate off."""
    case = NODES["k3s"]
    host = FakeHost(files=dict(case.files) | {f"{directory}/README": ""}, commands=dict(case.commands))
    host.add_process(42, *case.argv, **case.process)
    assert (facts(host).gate.value, [file for file in facts(host).files.value or () if file.newer]) == (True, [])
    host.modified[directory] = 2000.0
    assert (facts(host).gate.kind, facts(host).gate.source) == ("not-readable", directory)


def test_k3s_without_visible_arguments_is_known_as_far_as_it_shows() -> None:
    """Its usual directory and socket exist; what an argument could have changed unseen is unknown."""
    case = NODES["k3s"]
    host = FakeHost(commands=dict(case.commands))
    host.add_process(42, *case.argv, **case.process)
    assert facts(host).root_dir.kind == "not-readable"
    host.files |= {"/var/lib/kubelet/pods/x/etc-hosts": "", "/run/k3s/containerd/containerd.sock": ""}
    found = facts(host)
    assert found.root_dir.value == "/var/lib/kubelet"
    assert found.endpoint.value == "/run/k3s/containerd/containerd.sock"
    assert {found.gate.kind, found.max_pods.kind, found.gate_configured.kind} == {"not-readable"}


def test_arguments_in_a_file_are_no_older_than_the_file() -> None:
    """MicroK8s reads them at its start, and somebody edits them later."""
    case = NODES["microk8s"]
    host = FakeHost(files=dict(case.files))
    host.add_process(42, *case.argv, **case.process)
    host.modified["/var/snap/microk8s/9044/args/kubelet"] = 2000.0
    assert (facts(host).gate.kind, facts(host).gate_configured.value) == ("not-readable", True)


def test_ids_per_pod_mean_nothing_before_the_field_existed() -> None:
    """KubeletConfiguration v1beta1, userNamespaces, since 1.33."""
    config = "userNamespaces: {idsPerPod: 131072}\n"
    assert facts(node(version="1.32.0", config=config)).ids_per_pod.value == 65_536
    assert facts(node(version="1.33.0", config=config)).ids_per_pod.value == 131_072


@pytest.mark.parametrize(
    ("version", "arguments", "config", "fails"),
    [
        ("1.34.0", (), "", False),
        ("1.35.0", (), "", True),
        ("1.35.0", (), "failCgroupV1: false\n", False),
        ("1.34.0", ("--fail-cgroupv1",), "failCgroupV1: false\n", True),
        ("1.36.0", ("--fail-cgroupv1=false",), "", False),
    ],
)
def test_whether_it_refuses_cgroup_v1(version: str, arguments: tuple[str, ...], config: str, fails: bool) -> None:
    """By flag, by field, else by version."""
    assert facts(node(*KUBELET, *arguments, version=version, config=config)).fail_cgroup_v1.value is fails


def test_an_empty_root_directory_is_a_problem() -> None:
    """And never the root of the file system."""
    assert facts(node("/usr/bin/kubelet", "--root-dir=")).root_dir.kind == "not-readable"


def test_arguments_that_are_no_text_are_a_problem() -> None:
    """A Report could not carry them."""
    found = facts(node("/usr/bin/kubelet", "--root-dir=/\udcff"))
    assert {found.root_dir.kind, found.endpoint.kind, found.files.kind} == {"not-readable"}


@given(st.text(), st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_any_arguments_file_gives_arguments(text: str, environment: dict[str, str]) -> None:
    """Whatever somebody wrote there."""
    assert all(isinstance(argument, str) for argument in parse_arguments_file(text, environment))


def test_an_arguments_file_of_microk8s() -> None:
    """Comments and empty lines are no arguments, quotes go, and variables are those of the daemon."""
    text = "# --max-pods=1\n\n  --config=\"$SNAP_DATA/a\"\n#x\n--node-labels='a=${B}' --v 2\n--root-dir=$NONE\n"
    assert parse_arguments_file(text, {"SNAP_DATA": "/var/snap", "B": "b"}) == [
        "--config=/var/snap/a", "--node-labels=a=b", "--v", "2", "--root-dir=",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/kubelet.service\n", "kubelet.service"),
        ("0::/system.slice/snap.kubelet-eks.daemon.service\n", "snap.kubelet-eks.daemon.service"),
        ("12:memory:/x\n1:name=systemd:/system.slice/kubelet.service\n0::/\n", "kubelet.service"),
        ("0::/runtime.slice/kubelet.service/init.scope\n", None),
        ("4:cpu:/system.slice/other.service\n0::/\n", None),
        ("0::/system.slice/a b; reboot.service\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_cgroup(cgroup: str, unit: str | None) -> None:
    """What systemd made the cgroup for; a name that no unit can have is none."""
    assert Reading("/proc/800/cgroup", cgroup).parse(parse_unit).value == unit


@pytest.mark.parametrize(
    ("argument", "read"), [("/etc/d", False), ("/etc/d/", True), ("/etc/d.conf", True), ("/etc/one", False)]
)
def test_a_folder_of_drop_ins_that_is_a_symlink_is_not_walked_into(argument: str, read: bool) -> None:
    """WalkDir looks at its root with lstat: only a slash at the end follows the link, and a name in .conf is loaded."""
    host = node("/usr/bin/kubelet", f"--config-dir={argument}", version="1.32.9")
    gate = HEADER + "featureGates:\n  UserNamespacesSupport: true\n"
    host.files |= {"/etc/d/10.conf": gate, "/etc/d.conf": gate, "/etc/one": gate}
    for link in ("/etc/d", "/etc/d.conf", "/etc/one"):
        host.links[f"/proc/42/root{link}"] = "/etc/static/somewhere"
    assert facts(host).gate.value is read


def test_a_folder_of_drop_ins_may_have_been_made_a_symlink_later() -> None:
    """Then the kubelet has read what was in the folder."""
    host = node("/usr/bin/kubelet", "--config-dir=/etc/d", version="1.33.0")
    host.files["/etc/d/10.conf"] = HEADER
    host.links["/proc/42/root/etc/d"] = "/etc/static/d"
    host.modified["/etc"] = 2000.0
    assert facts(host).gate.kind == "not-readable"


@pytest.mark.parametrize(
    ("parent", "executable", "distribution"),
    [
        ("rke2", "/usr/bin/kubelet", "rke2"),
        ("systemd", "/var/lib/rancher/rke2/data/v1/bin/kubelet", "rke2"),
        ("k0s", "/usr/bin/kubelet", "k0s"),
        ("systemd", "/var/lib/k0s/bin/kubelet", "k0s"),
        ("systemd", "/usr/bin/kubelet", "kubelet"),
    ],
)
def test_a_distribution_by_its_parent_or_its_program(parent: str, executable: str, distribution: str) -> None:
    """Either is enough: a parent may have ended, and a program may lie anywhere."""
    host = FakeHost()
    host.add_process(40, f"/usr/bin/{parent}", name=parent)
    host.add_process(50, "/usr/bin/kubelet", exe=executable, parent=40)
    (daemon,), _ = find_kubelets(host, host.processes().value or ())
    assert daemon.distribution == distribution
