"""The kubelet's records of Pods with user namespaces, held against the processes that run."""

from __future__ import annotations

import errno
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe.facts.defaults import MAX_UINT32

from lab.fake_host import FakeHost
from lab.recorded import Recording
from probe.facts.ids.pods import gather_pods, parse_pod_uids
from probe.facts.ids.records import gather_userns_files
from probe.facts.model import PodFacts
from probe.reading import Reading

ROOT = "/var/lib/kubelet"
NODE_MAP = "         0          0 4294967295\n"
POD = "1bfd8a8e-406a-4bc4-97d8-c73408d6612e"
OTHER = "af3db42d-b184-4fc5-b5e0-b00fb5a547f6"
STATIC = "0c1d5f6a7b8e9f00112233445566778a"


def userns(first: int = 131_072, length: int = 65_536) -> str:
    """A record of the kubelet's."""
    mappings = [{"hostId": first, "containerId": 0, "length": length}]
    return json.dumps({"uidMappings": mappings, "gidMappings": mappings})


def uid_map(first: int = 131_072, length: int = 65_536) -> str:
    """The same as the kernel prints it."""
    return f"{0:10d} {first:10d} {length:10d}\n"


def cgroup_v2(uid: str, container: str = "1f48f05c") -> str:
    """The cgroup of a container of that Pod."""
    return f"0::/kubepods/besteffort/pod{uid}/{container}\n"


class Node(FakeHost):
    """A node with process 1, a kubelet, and the Pods that a test adds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.add(1, "/sbin/init", cgroup="0::/init.scope\n")
        self.add(800, "/usr/bin/kubelet")

    def add(self, pid: int, *argv: str, mapped: str = NODE_MAP, namespace: str = "", **process: Any) -> None:
        """A process; *namespace* is its PID namespace, where that is not the node's."""
        nspid = f"{pid}\t7" if namespace else str(pid)
        self.add_process(pid, *(argv or ("/pause",)), nspid=nspid, **process)
        self.files[f"/proc/{pid}/uid_map"] = mapped
        if namespace:
            self.links[f"/proc/{pid}/ns/pid"] = f"pid:[{namespace}]"

    def record(self, uid: str, content: str | bytes | int) -> None:
        """A file of the kubelet's."""
        self.files[f"{ROOT}/pods/{uid}/userns"] = content

    def pods(self) -> PodFacts:
        """What is found, without times."""
        return timeless(gather_pods(self, ROOT, self.process_list).value)


def timeless(pods: PodFacts | None) -> PodFacts:
    """How many of each kind."""
    assert pods is not None
    return msgspec.structs.replace(pods, youngest_started_at=0.0)


def counts(**changed: int) -> PodFacts:
    """One recorded Pod, of which nothing more is known."""
    fields = {"recorded": 1, "unread": 0, "own_namespace": 0, "host_namespace": 0, "last_block": 0}
    return PodFacts(**fields | changed)


@pytest.fixture
def node() -> Node:
    """A node on which one Pod asked for a user namespace."""
    node = Node()
    node.record(POD, userns())
    return node


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("containerd-1.6.20-kernel-6.18", 0),
        ("containerd-1.7.24-kernel-6.18", 0),
        ("containerd-2.1.9-kernel-6.1", 1),
        ("containerd-2.1.9-kernel-6.18", 2),
        ("containerd-2.4.0-beta-kernel-6.18", 2),
        ("cri-o-1.37.0-dev-kernel-6.18", 2),
    ],
)
def test_recorded_nodes(name: str, recorded: int) -> None:
    """Each recorded Pod ran in its own user namespace, and the one without asked for none."""
    host = Recording(name).host
    found = timeless(gather_pods(host, ROOT, host.process_list).value)
    assert found == counts(recorded=recorded, own_namespace=recorded)


def test_a_recorded_node_whose_runtime_had_ignored_the_request() -> None:
    """The same processes with the node's map: one of two Pods is found out, whichever of its containers it is."""
    host = Recording("containerd-2.1.9-kernel-6.18").host
    for pid in (548, 640):  # sandbox and container of one Pod
        changed = host.files | {f"/proc/{pid}/uid_map": NODE_MAP.encode()}
        host.files, kept = changed, host.files
        found = timeless(gather_pods(host, ROOT, host.process_list).value)
        assert found == counts(recorded=2, own_namespace=2, host_namespace=1)
        host.files = kept


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_pod_runs_in_its_own_namespace(node: Node, sandbox: bool) -> None:
    """With its sandbox, or where the runtime keeps none, with a container."""
    node.add(2000, "/pause" if sandbox else "/app", mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))
    assert node.pods() == counts(own_namespace=1)


def test_the_youngest_pod_is_as_old_as_its_sandbox(node: Node) -> None:
    """A container that was started again in an old sandbox makes its Pod no younger."""
    node.record(OTHER, userns(262_144))
    started = {2000: 500.0, 2001: 900.0, 3000: 700.0, 3001: 600.0}
    for pid, start in started.items():
        mapped, pod = (uid_map(), POD) if pid < 3000 else (uid_map(262_144), OTHER)
        node.add(pid, mapped=mapped, namespace=str(pid), cgroup=cgroup_v2(pod), started=start)
    found = gather_pods(node, ROOT, node.process_list).value
    assert found is not None
    assert found.youngest_started_at == 600.0


def test_a_pod_of_which_nobody_knows_since_when_is_old(node: Node) -> None:
    """It proves nothing."""
    node.add(2000, mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))
    del node.started[2000]
    found = gather_pods(node, ROOT, node.process_list).value
    assert found is not None
    assert (found.own_namespace, found.youngest_started_at) == (1, 0.0)


def test_a_pod_runs_with_the_nodes_ids(node: Node) -> None:
    """Several processes and containers of one Pod are one Pod."""
    for pid, namespace in ((2000, "5"), (2001, "6"), (2002, "6")):
        node.add(pid, namespace=namespace, cgroup=cgroup_v2(POD))
    assert node.pods() == counts(host_namespace=1)


def test_a_node_in_a_user_namespace_knows_its_own_map(node: Node) -> None:
    """On a rootless node, process 1 tells what the node's map is."""
    node.files["/proc/1/uid_map"] = outer = uid_map(100_000, 65_536)
    node.add(2000, mapped=outer, namespace="5", cgroup=cgroup_v2(POD))
    assert node.pods() == counts(host_namespace=1)


def monitor(node: Node) -> None:
    """CRI-O's, which may be told to put it into the Pod's cgroup."""
    node.add(2000, "/usr/bin/conmon", cgroup=cgroup_v2(POD, "crio-conmon-1f48f05c"))


def starting(node: Node) -> None:
    """A runtime's process on its way into the container."""
    node.add(2000, "/proc/self/exe", "init", cgroup=cgroup_v2(POD))


def of_other_pod(node: Node) -> None:
    """A Pod that asked for nothing."""
    node.add(2000, namespace="5", cgroup=cgroup_v2(OTHER))


def entered_by_other_pod(node: Node) -> None:
    """A privileged Pod with hostPID has entered the PID namespace of a container, and has the later number."""
    node.add(2000, mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))
    node.add(2001, namespace="5", cgroup=cgroup_v2(OTHER))


def entered_before(node: Node) -> None:
    """The same after the kernel began to count anew."""
    node.add(1000, namespace="5", cgroup=cgroup_v2(OTHER))
    node.add(2000, mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))


def entered_where_all_are_nested(node: Node) -> None:
    """The same, where the container's own processes live in namespaces that it made."""
    node.add(2000, mapped=uid_map(1_000_000), namespace="5", cgroup=cgroup_v2(POD))
    node.add(2001, namespace="5", cgroup=cgroup_v2(OTHER))


def unmapped(node: Node) -> None:
    """A user namespace that is just being made."""
    node.add(2000, mapped="", namespace="5", cgroup=cgroup_v2(POD))


def ended(node: Node) -> None:
    """A process that ended meanwhile."""
    node.add(2000, namespace="5", cgroup=cgroup_v2(POD))
    node.links["/proc/2000/ns/pid"] = errno.ENOENT
    node.add(2001, namespace="6", cgroup=cgroup_v2(POD))
    node.files["/proc/2001/uid_map"] = errno.ESRCH
    node.add(2002, namespace="7", cgroup=cgroup_v2(POD))
    node.files["/proc/2002/cgroup"] = errno.ESRCH


@pytest.mark.parametrize(
    ("others", "own"),
    [
        (monitor, 0),
        (starting, 0),
        (of_other_pod, 0),
        (entered_by_other_pod, 1),
        (entered_before, 0),
        (entered_where_all_are_nested, 0),
        (unmapped, 0),
        (ended, 0),
    ],
)
def test_what_is_no_container_of_the_pod(node: Node, others: Any, own: int) -> None:
    """Nobody's request was ignored."""
    others(node)
    assert node.pods() == counts(own_namespace=own)


def test_without_the_right_to_see_namespaces_processes_are_still_judged(node: Node) -> None:
    """The links need CAP_SYS_PTRACE; status and cgroup do not."""
    node.add(2000, namespace="5", cgroup=cgroup_v2(POD))
    node.add(2001, "/usr/bin/conmon", cgroup=cgroup_v2(OTHER))
    node.record(OTHER, userns(262_144))
    node.links |= {path: errno.EACCES for path in node.links if path.endswith("/ns/pid")}
    assert node.pods() == counts(recorded=2, host_namespace=1)


def test_a_map_that_nobody_recorded_is_no_pods_own(node: Node) -> None:
    """A container engine, or the Pod itself, may make user namespaces that Kubernetes knows nothing of."""
    node.add(2000, mapped=uid_map(1_000_000), namespace="5", cgroup=cgroup_v2(POD))
    node.add(2001, mapped=uid_map(), namespace="6", cgroup=cgroup_v2(OTHER))
    assert node.pods() == counts()


def test_a_namespace_in_the_namespace_does_not_hide_the_pod(node: Node) -> None:
    """Only the first processes of a container are looked at; those of a browser's sandbox do not decide."""
    for pid in (2000, 2001, 2002):
        node.add(pid, mapped=uid_map(1_000_000), namespace="5", cgroup=cgroup_v2(POD))
    node.add(2003, mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))
    assert node.pods() == counts(own_namespace=1)


def test_a_bounded_number_of_processes_is_looked_at(node: Node) -> None:
    """A Pod with very many of them costs no more than one with a few."""
    for pid in range(2000, 3000):
        node.add(pid, mapped=uid_map(1_000_000), namespace="5", cgroup=cgroup_v2(POD))
    node.touched.clear()
    assert node.pods() == counts()
    assert sum(path.endswith("/uid_map") for path in node.touched) < 20


def test_a_node_without_records_looks_at_no_process(node: Node) -> None:
    """Nor does one whose records are empty, as those of Pods without user namespace are."""
    node.record(POD, "")
    node.add(2000, mapped=uid_map(), namespace="5", cgroup=cgroup_v2(POD))
    assert node.pods() == counts(recorded=0)
    assert not [path for path in node.touched if path.startswith("/proc/")]


@pytest.mark.parametrize(
    ("first", "length", "last"),
    [
        (4_294_901_760, 65_536, 1),
        (4_294_836_224, 65_536, 0),
        (4_294_836_224, 131_072, 1),
        (MAX_UINT32 - 65_536, 65_536, 0),
        (MAX_UINT32, 65_536, 1),
    ],
)
def test_the_last_block(node: Node, first: int, length: int, last: int) -> None:
    """It holds 4294967295, whatever its length."""
    node.record(POD, userns(first, length))
    assert node.pods() == counts(last_block=last)


def test_records_that_nobody_understands_are_counted_apart(node: Node) -> None:
    """They say neither that a Pod asked nor that it did not."""
    node.record(OTHER, errno.EIO)
    node.record(STATIC, '{"uidMappings": [{"hostId": -1}]}')
    node.add(2000, namespace="5", cgroup=cgroup_v2(OTHER))
    assert node.pods() == counts(unread=2)


def test_static_pods_have_uids_of_their_own_kind(node: Node) -> None:
    """The MD5 of their manifest."""
    node.record(STATIC, userns(262_144))
    node.add(2000, mapped=uid_map(262_144), namespace="5", cgroup=cgroup_v2(STATIC))
    assert node.pods() == counts(recorded=2, own_namespace=1)


def test_records_read_before_are_not_read_again(node: Node) -> None:
    files = gather_userns_files(node, f"{ROOT}/pods")
    node.touched.clear()
    assert gather_pods(node, ROOT, node.process_list, files).value == counts()
    assert not [path for path in node.touched if path.startswith(ROOT)]


@pytest.mark.parametrize("what", ["records", "processes", "map of process 1", "empty map of process 1"])
def test_what_could_not_be_looked_at_is_a_problem(node: Node, what: str) -> None:
    """And never a node without such Pods."""
    if what == "records":
        node.files[f"{ROOT}/pods"] = errno.EACCES
    if what == "processes":
        node.process_list.clear()
    if "map of process 1" in what:
        node.files["/proc/1/uid_map"] = "" if what.startswith("empty") else errno.EACCES
    found = gather_pods(node, ROOT, node.process_list)
    assert found.problem
    assert gather_pods(node, ROOT, node.process_list).value is None


def test_a_node_that_never_had_a_pod() -> None:
    assert gather_pods(FakeHost(), ROOT, []).value == counts(recorded=0)


@pytest.mark.parametrize(
    ("cgroup", "uids"),
    [
        (f"0::/kubepods/burstable/pod{POD}/1f48\n", (POD,)),
        (f"8:pids:/k8slab/kubepods/besteffort/pod{POD}/1f48\n0::/\n", (POD,)),
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod"
            f"{POD.replace('-', '_')}.slice/cri-containerd-1f48.scope\n",
            (POD,),
        ),
        (f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{STATIC}.slice/crio-1f48.scope\n", (STATIC,)),
        (f"1:cpu:/kubepods/pod{OTHER}/ab/kubelet/kubepods/pod{POD}/1f48\n", (OTHER, POD)),
        ("0::/system.slice/kubelet.service\n", ()),
        (f"0::/user.slice/mypod{POD}\n", ()),
        (f"0::/kubepods/pod{STATIC}0/x\n", ()),
        ("", ()),
    ],
)
def test_the_pod_of_a_cgroup(cgroup: str, uids: tuple[str, ...]) -> None:
    """As cgroupfs and systemd spell it, also of a node that lives in a Pod itself. Records decide which of them is."""
    assert parse_pod_uids(cgroup) == uids


@given(st.text() | st.from_regex(r"([/-]pod([0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})/?)+"))
def test_any_cgroup_is_one_of_some_pods(text: str) -> None:
    """Whatever a container calls its own cgroups, what is found is spelled like a UID of Kubernetes'."""
    for uid in parse_pod_uids(text):
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", uid)


@given(
    st.binary(), st.binary() | st.just(NODE_MAP.encode()), st.binary() | st.just(cgroup_v2(OTHER).encode()), st.text()
)
def test_hostile_files_are_counted_or_problems(record: bytes, mapped: bytes, cgroup: bytes, status: str) -> None:
    """Whatever they hold, there is an answer; without NSpid in its status no process counts as a container's."""
    node = Node()
    node.record(POD, record)
    node.record(OTHER, userns())
    node.add(2000, namespace="5")
    node.files |= {"/proc/2000/uid_map": mapped, "/proc/2000/cgroup": cgroup, "/proc/2000/status": status}
    assert node.pods().host_namespace == 0


def test_nothing_that_a_pod_chose_is_kept(node: Node) -> None:
    """Counts only: neither names of processes nor paths."""
    node.add(2000, "/evil", name="evil", namespace="5", cgroup=cgroup_v2(POD, "evil"))
    found = gather_pods(node, ROOT, node.process_list)
    assert found == Reading(f"uid_map of processes against {ROOT}/pods/*/userns", counts(host_namespace=1))
