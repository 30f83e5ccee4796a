"""The image as scripts/image builds it, run as the manifests say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lab.deploy.image import Image, digest
from lab.deploy.manifests import CHECKOUT, MANIFEST, container_of, documents, pod_of
from lab.deploy.pod import NODE_NAME, Pod, project, run_pod
from lab.deploy.sbom import bill
from lab.real.node import Node
from lab.real.packages import Runtime
from lab.serve.api_double import ApiDouble
from lab.serve.api_store import condition_of
from lab.serve.serving import wait_for
from probe import __version__
from probe.outputs.annotations import LABEL, PREFIX, node_annotations
from probe.outputs.memory import REMEMBERED
from probe.publish.owners import REFRESHED_AT
from probe.report import Report
from tests.extent import ALL
from tests.real.test_entering import comparable

# Building without any cache takes two minutes.
pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.timeout(900)]

Rendered = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def running(
    image: Image, node: Node, runtime: Callable[..., Runtime], request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """(spec) -> the Pod, running on a node where all is well but for the kubelet, which each test starts itself."""
    program = getattr(request, "param", "runc")
    return lambda spec, api=None: run_pod(spec, image, node, runtime(program, (1, 2)), api)


@pytest.fixture
def api(tmp_path: Path) -> ApiDouble:
    """An API server with this Node, which listens once there is a Pod."""
    (tmp_path / "api").mkdir()
    double = ApiDouble(tmp_path / "api")
    double.add_node(NODE_NAME)
    double.store.own_node = NODE_NAME
    return double


def permit(api: ApiDouble, found: list[dict[str, Any]]) -> None:
    """Let the server permit what the manifest's RBAC does, and nothing else."""
    rules = [rule for each in found if each["kind"] in ("ClusterRole", "Role") for rule in each["rules"]]
    api.store.rules = {(verb, kind) for rule in rules for verb in rule["verbs"] for kind in rule["resources"]}


def published(api: ApiDouble) -> dict[str, str]:
    """Our annotations on the Node, without the time and the history."""
    unsaid = REMEMBERED | {REFRESHED_AT}
    annotations = api.store.nodes[NODE_NAME]["metadata"]["annotations"]
    return {key: text for key, text in annotations.items() if key.startswith(PREFIX) and key not in unsaid}


def said(report: dict[str, Any]) -> dict[str, str]:
    """What is to be published of a report."""
    return node_annotations(msgspec.convert(report, Report))


@pytest.mark.parametrize("running", ["runc", "crun"], indirect=True)
def test_it_publishes_from_inside(running: Callable[..., Any], node: Node, api: ApiDouble) -> None:
    """Nobody, without any power, with the projected token: what the report says is on the Node, also after a rotation.

    What stands there stays when the Pod goes.
    """
    found = documents(MANIFEST.read_text())
    permit(api, found)
    spec = pod_of(found)
    with ExitStack() as kubelet:
        kubelet.enter_context(node.kubelet())
        with running(spec, api) as pod:
            wait_for(lambda: published(api))
            assert published(api) == said(pod.report())
            before = published(api)
            assert before[f"{PREFIX}verdict"] == "ready"
            assert_powerless(pod)
            assert_separate(pod)
            kubelet.close()
            api.rotate_token("token-2")
            api.rotate_ca()
            volume = next(each for each in spec["volumes"] if each["name"] == "token")
            project(volume, pod.volumes["token"], api)
            with node.kubelet(version="1.28.0"):
                pod.containers["probe"].signal("HUP")
                wait_for(lambda: published(api)[f"{PREFIX}verdict"] == "not-ready")
                assert published(api) == said(pod.report())
            assert before.keys() - published(api).keys()
            assert api.store.writes == 3  # an apply for each report, and before the second the removal of those keys
            for container in pod.containers.values():
                container.terminate()
        assert published(api)[f"{PREFIX}reason"] == "KubeletTooOld"


def bare(node: Node) -> dict[str, Any]:
    """What the command says on the node itself."""
    return node.probe("-o", "json", "--node-name", NODE_NAME).report


def test_labels_and_command(image: Image) -> None:
    """Who pulls it learns what it is; without arguments it is the command."""
    labels = image.configuration["Labels"]
    assert labels["org.opencontainers.image.title"] == "userns-probe"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.configuration["Entrypoint"] == ["userns-probe"]
    assert "User" not in image.configuration


def test_what_is_in_it(image: Image) -> None:
    """The locked versions, compiled; no compiler, no installer, and nothing that was needed to build only."""
    site = next(image.rootfs.glob("opt/userns-probe/lib/python3.*/site-packages"))
    found = {path.name.removesuffix(".dist-info").replace("_", "-").lower() for path in site.glob("*.dist-info")}
    locked = re.findall(r"^([a-z0-9.-]+)==(\S+)", (CHECKOUT / "requirements.lock").read_text(), re.MULTILINE)
    expected = {f"{name}-{version}" for name, version in locked if name != "setuptools"}
    assert {re.sub(r"\.(?=[a-z])", "-", name) for name in found} == expected | {f"userns-probe-{__version__}"}
    assert (site / "probe/__pycache__").is_dir()
    names = {path.name for path in chain(*(image.rootfs.glob(f"{place}/*") for place in ("usr/bin", "usr/sbin")))}
    assert not names & {"gcc", "cc", "ld", "make", "pip", "pip3"}
    assert not (image.rootfs / "build").exists()
    assert not any((image.rootfs / "var/lib/apt/lists").iterdir())


@pytest.mark.usefixtures("node")
def test_a_report_is_imported_from_the_archive(image: Image) -> None:
    """Its own modules, those of others and those of Python."""
    python = next(image.rootfs.glob("opt/userns-probe/bin/python3"))
    program = "import probe.__main__, probe.report, msgspec, typing, sys\n"
    program += "print(*{sys.modules[name].__spec__.cached for name in ('probe.report', 'msgspec')})"
    command = ["chroot", image.rootfs, f"/{python.relative_to(image.rootfs)}", "-c", program]
    assert subprocess.check_output(command, text=True).strip().endswith("/probe/modules.archive")


def test_it_is_small(image: Image) -> None:
    """Less than 200 MB on a node, 80 of which are the base."""
    assert int(subprocess.check_output(["du", "-sb", image.rootfs]).split()[0]) < 200 << 20


@pytest.mark.parametrize("running", ["runc", "crun"], indirect=True)
def test_as_the_manifest_says(running: Callable[..., Any], node: Node) -> None:
    """Two containers; the report is that of the node itself, and everybody gets it from the one that may do nothing."""
    with node.kubelet(), running(pod_of(documents(MANIFEST.read_text()))) as pod:
        report = pod.report()
        assert comparable(report) == comparable(bare(node))
        assert (report["verdict"], report["node"]["name"]) == ("ready", NODE_NAME)
        assert_served(pod, report)
        assert_powerless(pod)
        assert_separate(pod)
        for container in pod.containers.values():
            container.terminate()
            assert '"stopped"' in container.log.read_text()


def assert_served(pod: Pod, report: dict[str, Any]) -> None:
    """Health, the report, metrics and the page."""
    while pod.get("/readyz")[0] != 200:
        pass
    assert pod.get("/healthz")[0] == 200
    assert json.loads(pod.get("/report.json")[1])["probed_at"] == report["probed_at"]
    assert f'userns_probe_verdict{{verdict="{report["verdict"]}"}} 1.0' in pod.get("/metrics")[1]
    status, page = pod.get("/")
    assert status == 200
    assert NODE_NAME in page


def assert_powerless(pod: Pod) -> None:
    """What the kernel says of the process that listens."""
    status = pod.containers["exporter"].status()
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def assert_separate(pod: Pod) -> None:
    """The one has the report to write and no token, the other the token and the report to read."""
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    write = "open('/run/userns-probe/.test', 'w')"
    probe, exporter = pod.containers["probe"], pod.containers["exporter"]
    assert probe.execute("cat", token).returncode != 0
    assert exporter.execute("cat", token).returncode == 0
    assert probe.execute("python3", "-c", write).returncode == 0
    assert "Read-only file system" in exporter.execute("python3", "-c", write).stderr


@pytest.mark.parametrize("components", [(), ("before-1.30",)], ids="+".join)
def test_the_command_inside(
    components: tuple[str, ...], running: Callable[..., Any], node: Node, rendered: Rendered
) -> None:
    """`kubectl exec` into the container that probes asks about the node without any option."""
    with node.kubelet(), running(pod_of(rendered(*components))) as pod:
        done = pod.containers["probe"].execute("userns-probe", "-o", "json")
        assert done.returncode == 0
        assert comparable(json.loads(done.stdout)) == comparable(bare(node))


@pytest.mark.parametrize("others", [(), ("before-1.30",), ("openshift",)], ids="+".join)
def test_entering_finds_out_everything(
    others: tuple[str, ...], running: Callable[..., Any], node: Node, rendered: Rendered
) -> None:
    """Six capabilities under a seccomp filter, and the same report as on the node itself."""
    with node.kubelet(), running(pod_of(rendered("entering", *others))) as pod:
        assert comparable(pod.report()) == comparable(bare(node))
        status = pod.containers["probe"].status()
        assert bin(int(status["CapEff"], 16)).count("1") == 6
        assert status["Seccomp"] == "2"


def test_without_the_nodes_proc(running: Callable[..., Any], node: Node) -> None:
    """A container that nobody gave a sight of the node takes itself for no node."""
    spec = pod_of(documents(MANIFEST.read_text()))
    mounts = container_of(spec, "probe")["volumeMounts"]
    mounts[:] = [each for each in mounts if each["name"] != "proc"]
    with node.kubelet(), running(spec) as pod:
        report = pod.report()
        assert_knows_nothing_of_the_node(report)
        results = {row["role"]: row["result"] for row in report["filesystems"]}
        assert results.pop("tmpfs") == "supported"
        assert set(results.values()) == {"unknown"}


@pytest.mark.parametrize("missing", ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"])
def test_entering_with_too_little(missing: str, running: Callable[..., Any], node: Node, rendered: Rendered) -> None:
    """Without one of the capabilities that entering needs it is unknown: its own files are never the node's."""
    spec = pod_of(rendered("entering"))
    container_of(spec, "probe")["securityContext"]["capabilities"]["add"].remove(missing)
    with node.kubelet(), running(spec) as pod:
        assert_knows_nothing_of_the_node(pod.report())


def assert_knows_nothing_of_the_node(report: dict[str, Any]) -> None:
    """Neither good nor bad of what is not in sight, and nothing of the container instead."""
    assert report["verdict"] == "unknown"
    assert set(report["levels"].values()) == {"unknown"}
    assert [each["id"] for each in report["findings"] if each["status"] == "fail"] == []
    assert report["node"]["distribution"] == ""
    gating = {each["id"] for each in report["findings"] if each["gating"] and each["status"] == "pass"}
    assert gating <= {"kernel-user-namespaces", "filesystem-kubelet-root", "filesystem-tmpfs"}


def test_signals_publishes_everything(
    running: Callable[..., Any], node: Node, rendered: Rendered, api: ApiDouble
) -> None:
    """All four, with the rights of that overlay, and nothing else is different in the container that listens."""
    found = rendered("signals")
    permit(api, found)
    api.store.nodes[NODE_NAME]["metadata"]["annotations"][f"{PREFIX}verdict"] = "not-ready"
    with node.kubelet(), running(pod_of(found), api) as pod:
        assert_served(pod, pod.report())
        wait_for(lambda: condition_of(api.store.nodes[NODE_NAME]))  # which is written last
        assert published(api) == said(pod.report())
        assert api.store.nodes[NODE_NAME]["metadata"]["labels"][LABEL] == "true"
        condition = condition_of(api.store.nodes[NODE_NAME])
        assert condition
        assert condition["status"] == "True"
        assert [each["reason"] for each in api.store.events.values()] == ["UserNamespacesReady"]
        assert_powerless(pod)
        started = next(line for line in pod.logs().splitlines() if '"publishing"' in line)
        assert all(f'"{part}"' in started for part in ("annotations", "label", "condition", "events"))


if ALL:

    def test_two_builds_are_equal(image: Image) -> None:
        """Byte by byte, so that anyone can see whether an image is of this code; each takes minutes."""
        assert digest(1_700_000_000) == digest(1_700_000_000) != ""


def test_the_bill_of_materials_names_every_package(image: Image) -> None:
    """Of the image, by its own databases; the schema of CycloneDX is met, and the same image gives the same bytes."""
    made_at = datetime(2026, 11, 29, tzinfo=UTC)
    text = bill(image.rootfs, made_at)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert bill(image.rootfs, made_at) == text
    found = {(each["purl"].split("/")[0], each["name"]): each for each in json.loads(text)["components"]}
    locked = re.findall(r"^([\w.-]+)==", (CHECKOUT / "requirements.lock").read_text(), re.MULTILINE)
    named = {re.sub(r"[-_.]+", "-", name).lower() for kind, name in found if kind == "pkg:pypi"}  # PEP 503
    assert named == {*locked, "userns-probe"} - {"setuptools"}
    listed = [
        path.name.split(":")[0].removesuffix(".list") for path in (image.rootfs / "var/lib/dpkg/info").glob("*.list")
    ]
    assert {name for kind, name in found if kind == "pkg:deb"} == set(listed)
    assert all(each.get("licenses") for (kind, _), each in found.items() if kind == "pkg:pypi")
