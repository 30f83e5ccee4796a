"""Reading a cluster whatever its API server goes through: nothing is read twice, lost or written."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.fleet import cluster
from lab.fleet.cluster import small
from lab.fleet.objects import HTTP_NOW
from lab.fleet.server import Documents, ListServer, Trouble, serving
from probe.fleet.inventory import Inventory, section_of
from probe.fleet.server import PAGE_BYTES
from probe.fleet.take import Options, take
from probe.publish.api.interface import NO_CREDENTIALS, UNREACHABLE, Access, Failure
from tests.extent import some_slow
from tests.fleet.conftest import taking

PODS = "/api/v1/pods"


def without_times(one: Inventory) -> dict[str, Any]:
    """All but what differs between two readings of one cluster."""
    found = {name: getattr(one, name) for name in one.__struct_fields__}
    for name in ("seconds", "clock_skew_seconds", "sections"):
        del found[name]
    return found


def asked(server: ListServer, path: str = PODS) -> list[Any]:
    return [each for each in server.requests if each.path == path]


def small_pages(server: ListServer, most: int) -> None:
    """Have the server refuse pages of more than *most* objects, as one that is too slow for them."""
    server.largest = most


def test_it_only_gets(inventory: Inventory, tmp_path: Path) -> None:
    """No request but GET; lists in pages, as they are, and Pods without the finished ones."""
    server = small()
    with taking(server, tmp_path) as take_now:
        take_now()
    assert {each.method for each in server.requests} == {"GET"}
    assert {each.headers["Accept-Encoding"] for each in server.requests} == {"identity"}
    lists = [each for each in server.requests if each.path != "/version"]
    assert all(int(each.params["limit"]) <= 500 for each in lists)
    assert not any("resourceVersion" in each.params for each in lists)
    assert asked(server)[0].params["fieldSelector"] == "status.phase!=Succeeded,status.phase!=Failed"
    for path in ("/apis/apps/v1/replicasets", "/apis/batch/v1/jobs", "/api/v1/namespaces"):
        assert "PartialObjectMetadataList" in asked(server, path)[0].headers["Accept"]
    assert not any("/proxy" in each.path or "/nodes/" in each.path for each in server.requests)


@pytest.mark.slow
def test_pages_are_folded_into_the_same(inventory: Inventory, tmp_path: Path) -> None:
    """Timeouts make pages smaller, and what comes of them is the same."""
    server = small()
    small_pages(server, 7)
    pauses: list[float] = []
    with taking(server, tmp_path) as take_now:
        found = take_now(pauses)
    assert without_times(found) == without_times(inventory)
    sizes = [int(each.params["limit"]) for each in asked(server)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 7, "the largest page that the server gives"
    assert len(pauses) > 0


@pytest.mark.slow
@pytest.mark.parametrize("page", [1, *some_slow(2, 5)])
def test_an_expired_token_is_replaced(inventory: Inventory, tmp_path: Path, page: int) -> None:
    """410 with a fresh token: go on where it was, and say that later pages are of a later state."""
    server = small()
    small_pages(server, 7)
    server.troubles.append(
        Trouble(410, "Expired", "The provided continue parameter is too old", token="fresh", path=PODS, after=8 + page)
    )
    with taking(server, tmp_path) as take_now:
        found = take_now()
    assert without_times(found) == without_times(inventory)
    assert len(section_of(found, "pods").resource_versions) == 2
    assert len(section_of(found, "nodes").resource_versions) == 1


@pytest.mark.slow
def test_a_list_without_token_begins_anew_once(inventory: Inventory, tmp_path: Path) -> None:
    """410 without a token: what was folded is forgotten, so nothing counts twice; the second time it is partial."""
    for times in (1, 2):
        server = small()
        small_pages(server, 7)
        server.troubles.extend(Trouble(410, "Expired", "too old", path=PODS, after=10) for _ in range(times))
        with taking(server, tmp_path) as take_now:
            found = take_now()
        if times == 1:
            assert without_times(found) == without_times(inventory)
        else:
            assert section_of(found, "pods").state == "partial"
            assert {each.safe for each in found.enforcement if each.of == "namespace"} <= {"no", "unknown"}


def test_it_waits_as_long_as_it_is_asked_to(inventory: Inventory, tmp_path: Path) -> None:
    """429 with Retry-After: at least as long, with a page of the same size."""
    server = small()
    server.troubles.append(Trouble(429, "TooManyRequests", "wait", {"Retry-After": "17"}, path=PODS))
    pauses: list[float] = []
    with taking(server, tmp_path) as take_now:
        found = take_now(pauses)
    assert without_times(found) == without_times(inventory)
    assert len(pauses) == 1
    assert pauses[0] >= 17
    assert [each.params["limit"] for each in asked(server)] == ["500", "500"]


def test_it_gives_up_in_the_end(tmp_path: Path) -> None:
    """A list that fails again and again is unknown, and the others are read all the same."""
    server = small()
    server.troubles.extend(Trouble(503, "ServiceUnavailable", "no", path=PODS) for _ in range(20))
    with taking(server, tmp_path) as take_now:
        found = take_now()
    assert section_of(found, "pods").state == "unknown"
    assert section_of(found, "pods").problem
    assert found.summary.nodes == len(cluster.nodes())
    assert not found.workloads


@pytest.mark.slow
def test_the_token_is_read_again(inventory: Inventory, tmp_path: Path) -> None:
    """A token of a file is rotated while the list is read."""
    token = tmp_path / "token"
    token.write_text("token-1")

    class Rotating(ListServer):
        def answer(self, asked: Any) -> Any:
            if len(self.requests) == 20:
                self.tokens = {"token-2"}
                token.write_text("token-2")
            return super().answer(asked)

    server = small()
    small_pages(server, 7)
    server.__class__ = Rotating
    with taking(server, tmp_path, tokenFile=str(token)) as take_now:
        found = take_now()
    assert without_times(found) == without_times(inventory)
    assert 401 in {each.status for each in server.requests}


def test_a_credential_plugin(inventory: Inventory, tmp_path: Path) -> None:
    """A kubeconfig of a cloud, whose plugin prints a token."""
    plugin = tmp_path / "plugin"
    plugin.write_text('#!/bin/sh\necho \'{"status": {"token": "token-1"}}\'\n')
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    with taking(small(), tmp_path, **user) as take_now:
        assert without_times(take_now()) == without_times(inventory)


@pytest.mark.slow
@pytest.mark.parametrize(
    "user",
    [
        {"tokenFile": "token"},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}},
        {"token": "token-1", "client-certificate": "none.crt", "client-certificate-data": ""},
    ],
    ids=["token-file", "plugin", "empty-data"],
)
def test_a_kubeconfig_as_client_go_reads_it(tmp_path: Path, user: dict[str, Any]) -> None:
    """Its paths are relative to its folder, and data goes before files; what is missing is a Failure."""
    (tmp_path / "token").write_text("token-1\n")
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "token-1"}}
    (tmp_path / "plugin").write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    (tmp_path / "plugin").chmod(0o755)
    with serving(small(), tmp_path, **user) as kubeconfig:
        document = yaml.safe_load(kubeconfig.read_text())
        document["clusters"][0]["cluster"]["certificate-authority"] = "none.crt"
        kubeconfig.write_text(yaml.safe_dump(document))
        options = Options(access=Access(kubeconfig=str(kubeconfig)), namespace="shop")
        if "client-certificate" in user:
            with pytest.raises(Failure) as failed:
                take(options)
            assert failed.value.reason == NO_CREDENTIALS
        else:
            assert section_of(take(options), "pods").state == "read"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nodes",
        PODS,
        *some_slow("/api/v1/namespaces", "/apis/apps/v1/replicasets", "/api/v1/persistentvolumes"),
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    ],
)
def test_a_missing_right_costs_its_section_alone(inventory: Inventory, tmp_path: Path, path: str) -> None:
    """The section is unknown and names the right; nothing else is lost, and nothing becomes better."""
    server = small()
    server.forbidden = {path}
    name = path.rpartition("/")[2]
    with taking(server, tmp_path) as take_now:
        found = take_now()
    section = section_of(found, name)
    assert (section.state, section.problem) == ("unknown", f"no right to list {name}")
    states = {one.name: one.state for one in found.sections if one.name != name}
    assert states == {one.name: one.state for one in inventory.sections if one.name != name}
    assert found.summary.lists["isolated"] <= inventory.summary.lists["isolated"]
    assert found.summary.ready <= inventory.summary.ready
    if name == "nodes":
        assert {each.list for each in found.workloads} <= {"asked-unknown", "unknown", "blocked"}
        assert {each.safe for each in found.enforcement} <= {"no", "unknown"}
    if name == "replicasets":
        kinds = {each.name: (each.kind, each.resolved) for each in found.workloads}
        assert kinds["isolated"] == ("Deployment", "name")
    if name == "pods":
        spaces = [each for each in found.enforcement if each.of == "namespace"]
        assert {one.reason for each in spaces for one in each.breaks} == {"PolicyForbids"}
        assert {each.safe for each in spaces if not each.breaks} == {"unknown"}
    if name.endswith("policies"):
        assert "yes" not in {each.safe for each in found.enforcement if each.of == "namespace"}


def test_nobody_may_read_anything(tmp_path: Path) -> None:
    """All sections are unknown, none of them is empty by mistake."""
    server = small()
    server.forbidden = set(server.lists)
    with taking(server, tmp_path) as take_now:
        found = take_now()
    assert {one.state for one in found.sections} <= {"unknown", "not-served"}
    assert found.summary.nodes == found.summary.workloads == 0


@pytest.mark.parametrize(
    "status", ["Cluster-autoscaler status at 2024:\nCluster-wide: Healthy", *some_slow("[]", "", "{nodeGroups: 1}")]
)
def test_another_status_of_the_autoscaler(tmp_path: Path, status: str) -> None:
    """A text that is not that of 1.30 and later, or none, is a problem of its section; no pool is made of it."""
    server = small()
    document = {
        "metadata": {"name": "cluster-autoscaler-status", "namespace": "kube-system"},
        "data": {"status": status},
    }
    server.lists["/api/v1/namespaces/kube-system/configmaps"] = ("ConfigMap", Documents([document]))
    with taking(server, tmp_path) as take_now:
        found = take_now()
    section = section_of(found, "cluster-autoscaler-status")
    assert (section.state, bool(section.problem)) == ("partial", True)
    assert not any("asg" in one.name for one in found.enforcement)


def test_one_namespace(inventory: Inventory, tmp_path: Path) -> None:
    """Its workloads are the same as those among all."""
    with taking(small(), tmp_path) as take_now:
        found = take_now(namespace="shop")
    assert found.workloads == tuple(each for each in inventory.workloads if each.namespace == "shop")
    assert [each.name for each in found.namespaces] == ["shop"]


def test_an_object_of_the_wrong_shape_costs_itself_alone(inventory: Inventory, tmp_path: Path) -> None:
    """Fields of the wrong type, as no API server of Kubernetes sends: counted, and the rest of the page is read."""
    server = small()
    good = cluster.pods()
    wrong = [
        {"metadata": 1},
        {"metadata": {"name": []}, "spec": {}},
        {"metadata": {"name": "x"}, "spec": {"hostUsers": "false"}},
        7,
    ]
    server.lists[PODS] = ("Pod", Documents([*good[:5], *wrong, *good[5:]]))  # type: ignore[list-item]
    server.select = False
    with taking(server, tmp_path) as take_now:
        found = take_now()
    section = section_of(found, "pods")
    assert (section.state, section.skipped, section.objects) == ("partial", len(wrong), len(good))


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b'{"kind":"PodList","metadata":{"continue":7}}',
        b"[" * 100_000,
        *some_slow(
            b"",
            b"{",
            b"[]",
            b'{"kind":"Status"}',
            b'{"kind":"Pod","metadata":{},"items":[]}',
            b'{"kind":"PodList","metadata":{},"items":[' + b"{" * 50_000,
        ),
    ],
)
def test_an_answer_that_is_no_list(tmp_path: Path, content: bytes) -> None:
    """A proxy's page, a cut document, nesting without end: the section is unknown, and no traceback."""
    server = small()
    server.troubles.extend(Trouble(200, content=content, path=PODS) for _ in range(20))
    with taking(server, tmp_path) as take_now:
        found = take_now()
    assert section_of(found, "pods").state == "unknown"
    assert found.summary.nodes == len(cluster.nodes())


@pytest.mark.slow
def test_a_page_that_is_too_large_is_halved(inventory: Inventory, tmp_path: Path) -> None:
    """A page beyond the limit is asked for with half as many objects, without a pause."""
    server = small()
    server.troubles.append(Trouble(200, content=b" " * (PAGE_BYTES + 1), path=PODS))
    pauses: list[float] = []
    with taking(server, tmp_path) as take_now:
        found = take_now(pauses)
    assert without_times(found) == without_times(inventory)
    assert [each.params["limit"] for each in asked(server)] == ["500", "250"]
    assert pauses == []


PACKED = gzip.compress(b'{"kind":"PodList","metadata":{},"items":[]}')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "content", "state"),
    [
        ("gzip", PACKED, "read"),
        ("GZIP", PACKED, "read"),
        ("identity", PACKED, "unknown"),
        ("gzip", PACKED[:-4], "unknown"),
        ("gzip", b"{}", "unknown"),
        ("br", PACKED, "unknown"),
    ],
)
def test_a_proxy_that_compresses_all_the_same(tmp_path: Path, encoding: str, content: bytes, state: str) -> None:
    """Nobody asked for it, and it is unpacked as long as it is gzip and whole."""
    server = small()
    headers = {"Content-Encoding": encoding}
    server.troubles.extend(Trouble(200, content=content, headers=headers, path=PODS) for _ in range(20))
    with taking(server, tmp_path) as take_now:
        assert section_of(take_now(), "pods").state == state


def test_a_bomb_of_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is packed counts for its size when unpacked."""
    monkeypatch.setattr("probe.fleet.server.PAGE_BYTES", 1 << 20)
    server = small()
    headers = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * (2 << 20))
    server.troubles.extend(Trouble(200, content=bomb, headers=headers, path=PODS) for _ in range(20))
    with taking(server, tmp_path) as take_now:
        assert section_of(take_now(), "pods").problem
    assert [each.params["limit"] for each in asked(server)][:3] == ["500", "250", "125"]


def test_a_list_without_end_ends(tmp_path: Path) -> None:
    """A server that always gives the same token, or ever new ones with nothing, is not asked for ever."""

    class Endless(ListServer):
        def answer(self, asked: Any) -> Any:
            if asked.path == PODS:
                meta = {"continue": f"{asked.params.get('continue', '')}x"[-3:]}
                return 200, json.dumps({"kind": "PodList", "metadata": meta, "items": []}).encode(), {}
            return super().answer(asked)

    server = small()
    server.__class__ = Endless
    with taking(server, tmp_path) as take_now:
        found = take_now()
    assert section_of(found, "pods").state == "unknown"


def test_the_servers_clock_counts(inventory: Inventory) -> None:
    """This machine's clock is off by months: ages are by the API server's, and the difference is said."""
    assert inventory.taken_at == "2026-11-29T12:00:00Z"
    assert HTTP_NOW.startswith("Sun, 29 Nov 2026 12:00:00")
    assert abs(inventory.clock_skew_seconds - (time.time() - 1795953600)) < 3600


def test_no_credentials(tmp_path: Path) -> None:
    """A kubeconfig that is none, and an address that nobody listens on: a Failure that says which."""
    wrong = tmp_path / "wrong"
    for content in ("", "[1, 2]", "a: &a [*a, *a]", "clusters: 7", "{" * 10_000):
        wrong.write_text(content)
        with pytest.raises(Failure) as raised:
            take(Options(access=Access(kubeconfig=str(wrong))))
        assert raised.value.reason == NO_CREDENTIALS
    with serving(small(), tmp_path) as kubeconfig:
        document = yaml.safe_load(kubeconfig.read_text())
    kubeconfig.write_text(yaml.safe_dump(document))
    with pytest.raises(Failure) as raised:
        take(Options(access=Access(kubeconfig=str(kubeconfig))))
    assert raised.value.reason == UNREACHABLE
