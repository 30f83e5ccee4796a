"""istio-cni: found in the networks of a node, its release, and nsenter."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.runtime.mesh import gather_istio_cni
from probe.host.places import Place

PID = 700
FOLDER = "/etc/cni/net.d"
PROGRAM = Place(path="/usr/bin/nsenter", mode=0o100755, uid=0, gid=0)
DIRECTORIES = ("/etc/cni/net.d",)


def node(*types: str, name: str = "10-net.conflist", nsenter: bool = True, version: str | None = "1.30.1") -> FakeHost:
    """A node whose network has plugins of these *types*."""
    host = FakeHost()
    host.add_process(PID, "/usr/bin/containerd", environment={"PATH": "/usr/bin:/bin"})
    host.files[f"{FOLDER}/{name}"] = json.dumps({"plugins": [{"type": one} for one in types]})
    host.places_found |= {f"{folder}/nsenter": errno.ENOENT for folder in ("/usr/bin", "/bin")}
    if nsenter:
        host.places_found["/usr/bin/nsenter"] = PROGRAM
    if version is not None:
        host.add_process(800, "install-cni", environment={"CURRENT_AGENT_VERSION": version, "SECRET": "x"})
    return host


@pytest.mark.parametrize("plugin", ["istio-cni", "istio-cni-canary"])
def test_it_is_found_in_a_chain(plugin: str) -> None:
    """With its release and nsenter, whatever comes before it."""
    found = gather_istio_cni(node("calico", "portmap", plugin), PID, DIRECTORIES).value
    assert found is not None
    assert (found.version.value, found.nsenter.value) == ((1, 30), "/usr/bin/nsenter")
    assert found.conf == "/etc/cni/net.d/10-net.conflist"


def test_it_is_found_in_a_file_of_its_own() -> None:
    """As it is installed beside Multus."""
    host = node("multus", name="00-multus.conf")
    host.files[f"{FOLDER}/istio-cni.conf"] = json.dumps({"type": "istio-cni"})
    assert gather_istio_cni(host, PID, DIRECTORIES).value is not None


@pytest.mark.parametrize(("plugin", "kind"), [("multus-shim", None), ("calico", "absent")])
def test_it_is_found_among_the_networks_of_multus(plugin: str, kind: str | None) -> None:
    """Where OpenShift installs it; nobody calls what lies there without Multus."""
    host = node(plugin)
    host.files["/etc/cni/multus/net.d/v1-30-istio-cni.conf"] = json.dumps({"type": "istio-cni-v1-30"})
    assert gather_istio_cni(host, PID, DIRECTORIES).kind == kind


@pytest.mark.parametrize("plugins", [("calico", "portmap"), ("istio-cnix",), ("not-istio-cni",)])
def test_others_are_not_it(plugins: tuple[str, ...]) -> None:
    assert gather_istio_cni(node(*plugins), PID, DIRECTORIES).kind == "absent"


def test_without_networks() -> None:
    """A directory that is not there names nothing; one that is not told, or not listed, is open."""
    host = FakeHost()
    host.add_process(PID, "/usr/bin/containerd", environment={"PATH": "/bin"})
    assert gather_istio_cni(host, PID, DIRECTORIES).kind == "absent"
    assert gather_istio_cni(host, PID, ()).kind == "not-tried"


def test_nsenter_is_looked_for_in_the_path_of_the_runtime() -> None:
    """Absent where no folder of it has the program; open where the PATH cannot be read."""
    found = gather_istio_cni(node("istio-cni", nsenter=False), PID, DIRECTORIES).value
    assert found is not None
    assert found.nsenter.kind == "absent"
    host = node("istio-cni")
    host.files[f"/proc/{PID}/environ"] = errno.EACCES
    found = gather_istio_cni(host, PID, DIRECTORIES).value
    assert found is not None
    assert found.nsenter.kind == "not-permitted"


@pytest.mark.parametrize(
    ("version", "number"),
    [("1.29.4", (1, 29)), ("v1.30.0", (1, 30)), ("1.31.0-rc.0", (1, 31)), ("1.30.2-distroless", (1, 30)),
     ("1.30", (1, 30)), ("latest", None), ("", None), ("1.30.0 evil\n", None), ("9" * 5000, None)],
)  # fmt: skip
def test_releases(version: str, number: tuple[int, int] | None) -> None:
    """Tags of images; what names no release is a problem."""
    found = gather_istio_cni(node("istio-cni", version=version), PID, DIRECTORIES).value
    assert found is not None
    assert found.version.value == number


def test_the_oldest_release_counts() -> None:
    """Two revisions may be installed, and nobody knows which one a Pod gets; without a process none is known."""
    host = node("istio-cni", version="1.31.0")
    host.add_process(801, "install-cni", environment={"CURRENT_AGENT_VERSION": "1.28.3"})
    found = gather_istio_cni(host, PID, DIRECTORIES).value
    assert found is not None
    assert found.version.value == (1, 28)
    found = gather_istio_cni(node("istio-cni", version=None), PID, DIRECTORIES).value
    assert found is not None
    assert found.version.kind == "absent"


HOSTILE = ["[" * 100_000, '{"plugins": 7}', '{"plugins": [{"type": null}]}']


@given(st.text(max_size=60) | st.sampled_from(HOSTILE))
def test_hostile_networks(content: str) -> None:
    """Whatever a file says: a Reading, and no pass for what could not be read."""
    host = FakeHost()
    host.add_process(PID, "/usr/bin/containerd", environment={"PATH": "/bin"})
    host.files[f"{FOLDER}/10-a.conf"] = content
    assert gather_istio_cni(host, PID, DIRECTORIES).kind == "not-readable"


def test_many_files() -> None:
    """No more than twenty are read, and what the others name is open."""
    host = FakeHost()
    host.add_process(PID, "/usr/bin/containerd", environment={"PATH": "/bin"})
    host.files |= {f"{FOLDER}/{number:03}.conf": json.dumps({"type": "x"}) for number in range(300)}
    assert gather_istio_cni(host, PID, DIRECTORIES).kind == "not-tried"
    assert sum(path.endswith(".conf") for path in host.touched) == 20
