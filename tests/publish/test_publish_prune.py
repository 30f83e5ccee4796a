"""What was published goes away wholly, and nothing else with it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import ConfigError

from lab import forked
from lab.serve.api_double import ApiDouble, Fault, Raw, Refuse, Reset
from lab.serve.api_store import APPLY, MERGE, Request, condition_of
from lab.serve.publishing import NODE, World
from probe.publish.api.client import PAGE
from probe.publish.api.interface import UNREACHABLE, Access, Failure
from probe.publish.api.kubeconfig import from_kubeconfig
from probe.publish.api.plain import RESPONSE_LIMIT
from probe.publish.prune import Pruned, Retries, exit_code, prune, render_failure, render_pruned

LABEL = "userns-probe.io/ready"


class Waits:
    """Pauses between attempts, which no test waits for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.retries = Retries(sleep=self.pauses.append)


@pytest.fixture
def published(world: World) -> World:
    """A Node with all that can be published."""
    world.restart("annotations", "label", "condition")
    world.probe("not-ready")
    world.settle()
    return world


def admin(api: ApiDouble, tmp_path: Path) -> Access:
    """The kubeconfig of somebody who may do all with Nodes."""
    api.store.policy = None
    api.store.rules |= {("list", "nodes"), ("create", "nodes")}
    api.store.tokens |= {"admin"}
    return kubeconfig(api, tmp_path)


def kubeconfig(
    api: ApiDouble, tmp_path: Path, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
) -> Access:
    """A kubeconfig, whose user is known by this, and whose cluster says this besides where it is."""
    where = {
        "server": f"https://127.0.0.1:{api.port}",
        "certificate-authority-data": base64.b64encode(api.ca_pem).decode(),
    }
    document = {
        "clusters": [{"name": "c", "cluster": where | (cluster or {})}],
        "users": [{"name": "u", "user": user or {"token": "admin"}}, {"name": "other", "user": {"token": "wrong"}}],
        "contexts": [
            {"name": "c", "context": {"cluster": "c", "user": "u"}},
            {"name": "wrong", "context": {"cluster": "c", "user": "other"}},
            {"name": "nobody", "context": {"cluster": "c"}},
        ],
        "current-context": "c",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return Access(kubeconfig=str(path), silence=2.0, deadline=4.0)


def plugin(tmp_path: Path, printed: str, version: str = "v1") -> dict[str, Any]:
    """A user whose credentials are what a command prints."""
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\nprintf %s \"$KUBERNETES_EXEC_INFO\" > {tmp_path}/told\ncat <<'EOF'\n{printed}\nEOF\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(path)}}


def bare(node: dict[str, Any]) -> tuple[Any, ...]:
    """All of a Node that a client reads, but its version."""
    return node["metadata"]["annotations"], node["metadata"]["labels"], node["spec"], node["status"]


def test_this_node_is_as_it_was(api: ApiDouble, world: World) -> None:
    """With the agent's own token, under the agent's own policy; again, there is nothing left to do."""
    before = bare(api.store.nodes[NODE])
    world.restart("annotations", "label", "condition")
    world.probe("not-ready")
    world.settle()
    written = len([key for key in world.node["annotations"] if key.startswith("userns-probe.io/")])
    results = list(prune(world.access, NODE))
    assert bare(api.store.nodes[NODE]) == before
    assert not api.store.nodes[NODE]["metadata"]["managedFields"] or not any(
        entry["fieldsV1"].get("f:metadata") for entry in api.store.nodes[NODE]["metadata"]["managedFields"]
    )
    assert [render_pruned(one) for one in results] == [
        f"{NODE}: removed {written} annotations, label {LABEL}, condition UserNamespacesReady"
    ]
    assert exit_code(results) == 0
    changes = api.store.writes
    assert [render_pruned(one) for one in prune(world.access, NODE)] == [f"{NODE}: nothing to remove"]
    assert api.store.writes == changes


def test_the_conditions_of_the_kubelet_stay(api: ApiDouble, published: World) -> None:
    """An apply of nothing takes them along, as was recorded; so that is not how ours is removed."""
    list(prune(published.access, NODE))
    assert condition_of(api.store.nodes[NODE], "Ready")

    published.restart()
    published.settle()
    body = b'{"apiVersion":"v1","kind":"Node","metadata":{"name":"k8slab"},"status":{}}'
    target = f"/api/v1/nodes/{NODE}/status?fieldManager=userns-probe&force=true"
    api.store.answer(Request("PATCH", target, APPLY, "token-1", body))
    assert condition_of(api.store.nodes[NODE], "Ready") is None


def test_keys_that_somebody_edited_go_and_foreign_ones_stay(api: ApiDouble, published: World) -> None:
    """`kubectl annotate --overwrite` makes another manager their owner; another name below our prefix is not ours."""
    api.store.policy = None
    body = (
        b'{"metadata":{"annotations":{"userns-probe.io/verdict":"x","userns-probe.io/note":"y","example.org/a":"z"}}}'
    )
    api.store.answer(Request("PATCH", f"/api/v1/nodes/{NODE}?fieldManager=kubectl", MERGE, "token-1", body))
    list(prune(published.access, NODE))
    assert published.node["annotations"] == {
        "node.alpha.kubernetes.io/ttl": "0",
        "userns-probe.io/note": "y",
        "example.org/a": "z",
    }


def test_keys_of_another_version_are_known_by_their_owner(api: ApiDouble, published: World) -> None:
    """What an older or newer agent applied is removed as well."""
    body = b'{"apiVersion":"v1","kind":"Node","metadata":{"annotations":{"userns-probe.io/of-old":"x"}}}'
    target = f"/api/v1/nodes/{NODE}?fieldManager=userns-probe&force=true"
    api.store.answer(Request("PATCH", target, APPLY, "token-1", body))
    list(prune(published.access, NODE))
    assert published.node["annotations"] == {"node.alpha.kubernetes.io/ttl": "0"}


def test_all_nodes_are_found_page_by_page(api: ApiDouble, world: World, tmp_path: Path) -> None:
    """Only those with something of ours are written, and each is told once."""
    access = admin(api, tmp_path)
    for index in range(2 * PAGE + 7):
        node = api.add_node(f"node-{index:03}")
        if index % 10 == 0:
            node["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"
    results = list(prune(access, None))
    assert [one.node for one in results] == [f"node-{index:03}" for index in range(0, 2 * PAGE + 7, 10)]
    assert exit_code(results) == 0
    assert len(lists(api)) == 3
    assert api.store.writes == len(results)
    assert list(prune(access, None)) == []


def lists(api: ApiDouble) -> list[str | None]:
    """The pages that were asked for, by their token."""
    return [one.params.get("continue") for one in api.requests if one.path == "/api/v1/nodes"]


@pytest.mark.slow
def test_a_page_that_fails_is_asked_for_again_and_no_other(api: ApiDouble, tmp_path: Path) -> None:
    """What is read already stays read."""
    access, waits = admin(api, tmp_path), Waits()
    for index in range(2 * PAGE):
        api.add_node(f"node-{index:03}")["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"
    api.faults += [Fault(), Refuse(503, "", ""), Reset(granted=True)]
    assert len(list(prune(access, None, waits.retries))) == 2 * PAGE
    assert lists(api) == [None, *[str(PAGE)] * 3, str(2 * PAGE)]
    assert len(waits.pauses) == 2


@pytest.mark.slow
def test_pages_that_expired_are_read_from_the_first_one_on(api: ApiDouble, tmp_path: Path) -> None:
    """The server keeps a list for some minutes, and says 410 to who asks for the rest of it later."""
    access, waits = admin(api, tmp_path), Waits()
    for index in range(PAGE + 1):
        api.add_node(f"node-{index:03}")["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"
    expired = Refuse(410, "Expired", "The provided continue parameter is too old")
    api.faults += [Fault(), expired]
    results = list(prune(access, None, waits.retries))
    assert len({one.node for one in results}) == len(results) == PAGE + 1
    assert lists(api) == [None, str(PAGE)] * 2
    api.faults += [expired] * 5
    with pytest.raises(Failure, match="too old"):
        list(prune(access, None, waits.retries))


@pytest.mark.slow
def test_nodes_as_large_as_they_get_are_read(api: ApiDouble, tmp_path: Path) -> None:
    """A page of them is longer than any other answer may be."""
    access = admin(api, tmp_path)
    for index in range(PAGE):
        node = api.add_node(f"node-{index:03}")
        node["metadata"]["annotations"] |= {"example.org/large": "x" * (100 << 10), "userns-probe.io/verdict": "ready"}
    assert len(list(prune(access, None))) == PAGE
    assert PAGE * (100 << 10) > RESPONSE_LIMIT


def test_a_node_that_goes_away_meanwhile_is_not_made_anew(api: ApiDouble, tmp_path: Path) -> None:
    """An administrator may create Nodes, and an apply would."""
    access = admin(api, tmp_path)
    for name in ("a", "b", "c"):
        api.add_node(name)["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"

    class Gone(Fault):
        def answer(self, server: ApiDouble, request: Request) -> Any:
            answer = server.store.answer(request)
            del server.store.nodes["a"]
            return answer

    api.faults += [Fault(), Gone()]  # the list; the read of the first, which is gone before it is written
    results = list(prune(access, None))
    assert [(one.node, one.problem) for one in results] == [("a", ""), ("b", ""), ("c", "")]
    assert sorted(api.store.nodes) == ["b", "c", NODE]


def test_one_node_that_fails_keeps_no_other_from_being_done(api: ApiDouble, tmp_path: Path) -> None:
    """The exit code says that not all is gone, and the line of that Node why."""
    access = admin(api, tmp_path)
    for name in ("a", "b"):
        api.add_node(name)["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"
    denied = 'admission webhook "guard.example.com" denied the request: no'
    api.faults += [Fault(), Fault(), Refuse(403, "Forbidden", denied)]
    results = list(prune(access, None))
    assert render_pruned(results[0]).startswith("a: failed: DeniedByWebhook: ")
    assert render_pruned(results[1]) == "b: removed 1 annotation"
    assert exit_code(results) == 1


def test_what_passes_is_waited_for(api: ApiDouble, published: World) -> None:
    """As long as the server asks for; a request that was granted without an answer is no failure."""
    waits = Waits()
    api.faults += [Refuse(429, "TooManyRequests", "later", "7"), Fault(), Reset(granted=True), Refuse(503, "", "")]
    results = list(prune(published.access, NODE, waits.retries))
    assert exit_code(results) == 0
    assert len(waits.pauses) == 3
    assert waits.pauses[0] >= 7
    assert not published.node["labels"].get(LABEL)


def test_what_lasts_is_given_up(api: ApiDouble, published: World) -> None:
    """Five attempts, then it says what is wrong."""
    waits = Waits()
    api.faults += [Refuse(503, "ServiceUnavailable", "shutting down")] * 5
    (result,) = prune(published.access, NODE, waits.retries)
    assert result.problem == "ServerError: shutting down; status: 503"
    assert len(waits.pauses) == 4


def test_half_a_job_is_told_as_such(api: ApiDouble, published: World) -> None:
    """The annotations are gone, the condition could not be removed, and the rule that is missing is named."""
    api.store.rules -= {("patch", "nodes/status")}
    (result,) = prune(published.access, NODE)
    line = render_pruned(result)
    assert "annotations, label userns-probe.io/ready; failed: MissingPermission: " in line
    assert "missing rule: {'apiGroups': [''], 'resources': ['nodes/status'], 'verbs': ['patch']}" in line
    assert exit_code([result]) == 1


def test_a_node_of_that_name_must_exist(world: World) -> None:
    """Asked for by name, a Node that is missing is a mistake."""
    (result,) = prune(world.access, "no-such-node")
    assert result.problem.startswith("NodeNotFound: ")


@pytest.mark.parametrize(("context", "problem"), [("wrong", "Unauthorized"), ("none", "Context 'none' not found")])
def test_without_a_way_in_nothing_is_done(api: ApiDouble, tmp_path: Path, context: str, problem: str) -> None:
    """One failure says why."""
    access = admin(api, tmp_path)
    with pytest.raises(Failure, match=problem):
        list(prune(Access(kubeconfig=access.kubeconfig, context=context), None))
    assert api.store.writes == 0


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "clusters: 1", "clusters: []\ncontexts: []\n", "\x00", "current-context: 1", "[" * 10_000],
    ids=lambda content: content[:20],
)
def test_a_malformed_kubeconfig_is_a_failure_and_no_traceback(tmp_path: Path, content: str) -> None:
    """Whatever is in the file."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(Failure):
        list(prune(Access(kubeconfig=str(path)), None))
    path.unlink()
    with pytest.raises(Failure, match="not found"):
        list(prune(Access(kubeconfig=str(path)), None))


def test_a_kubeconfig_without_a_bottom_is_refused_at_once(tmp_path: Path) -> None:
    """Not when Python's stack is full, which took PyYAML's own parser seconds."""
    path = tmp_path / "kubeconfig"
    path.write_text("[" * (1 << 17))
    with pytest.raises(ConfigError, match="is not YAML") as refused:
        from_kubeconfig(str(path), None)
    assert isinstance(refused.value.__cause__, yaml.YAMLError)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_a_plugin_gives_the_token(api: ApiDouble, tmp_path: Path, version: str) -> None:
    """As it does to kubectl, which tells it in which version of their protocol."""
    admin(api, tmp_path)
    access = kubeconfig(api, tmp_path, plugin(tmp_path, '{"status": {"token": "admin"}}', version))
    assert list(prune(access, None)) == []
    told = json.loads((tmp_path / "told").read_text())
    assert told["apiVersion"] == f"client.authentication.k8s.io/{version}"
    assert told["spec"] == {"interactive": False}


@pytest.mark.parametrize(
    "printed",
    [
        '{"status": {"clientCertificateData": "PEM", "clientKeyData": "geheim"}}',
        '{"status": null}',
        "{}",
        "[]",
        "null",
        "geheim",
        "",
    ],
)
def test_a_plugin_that_gives_no_token_is_named(api: ApiDouble, tmp_path: Path, printed: str) -> None:
    """One line says what is not supported, and what to do instead."""
    access = kubeconfig(api, tmp_path, plugin(tmp_path, printed))
    with pytest.raises(Failure, match=r"plugin printed no token.*not supported") as told:
        list(prune(access, None))
    assert "geheim" not in render_failure(told.value)
    (result,) = prune(access, NODE)
    assert result.problem.startswith("NoCredentials: ")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v2", "command": "x"}}, "v2 not implemented"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin"}}, "/no/such/plugin"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}, "false returned 1"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider of the user u in .*kubeconfig is not supported"),
        ({"token": "admin", "as": "somebody"}, "as of the user u in .*kubeconfig is not supported"),
    ],
)
def test_a_user_whom_it_cannot_be_is_refused(api: ApiDouble, tmp_path: Path, user: dict[str, Any], words: str) -> None:
    """Never is a request made as somebody else."""
    with pytest.raises(Failure, match=words):
        list(prune(kubeconfig(api, tmp_path, user), None))
    assert not api.requests


@pytest.mark.parametrize("key", ["proxy-url", "tls-server-name"])
def test_a_cluster_that_is_reached_otherwise_is_refused(api: ApiDouble, tmp_path: Path, key: str) -> None:
    """No request takes another way than kubectl's; what would take it is named."""
    access = kubeconfig(api, tmp_path, cluster={key: "https://proxy.example.org"})
    with pytest.raises(Failure, match=f"{key} of the cluster c in .*kubeconfig is not supported.*kubectl proxy"):
        list(prune(access, None))
    assert not api.requests


def test_a_context_without_a_user_is_nobody(api: ApiDouble, tmp_path: Path) -> None:
    """Which is enough for `kubectl proxy`; a server that wants to know says so."""
    access = kubeconfig(api, tmp_path)
    api.store.tokens |= {""}
    api.store.rules |= {("list", "nodes")}
    assert list(prune(Access(kubeconfig=access.kubeconfig, context="nobody"), None)) == []


def test_of_several_files_one_has_to_be_named(api: ApiDouble, tmp_path: Path) -> None:
    """kubectl would merge them; one with a colon in its name is one."""
    access = admin(api, tmp_path)
    assert access.kubeconfig
    with pytest.raises(Failure, match=r"several files.*--kubeconfig.*kubectl config view --flatten"):
        list(prune(Access(kubeconfig=f"{access.kubeconfig}:/etc/kubeconfig"), None))
    assert list(prune(Access(kubeconfig=f":{access.kubeconfig}:"), None)) == []
    other = Path(access.kubeconfig).rename(tmp_path / "a:b")
    assert list(prune(Access(kubeconfig=str(other)), None)) == []


class Outside:
    """The command, run outside of a Pod by somebody whose home is here."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG", "NODE_NAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(home))

    def run(self, *options: str, **variables: str) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        done = forked.run("prune", *options, **variables)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def outside(api: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outside:
    (tmp_path / ".kube").mkdir()
    access = admin(api, tmp_path)
    assert access.kubeconfig
    Path(access.kubeconfig).rename(tmp_path / ".kube" / "config")
    for name in ("a", "b"):
        api.add_node(name)["metadata"]["annotations"]["userns-probe.io/verdict"] = "ready"
    return Outside(tmp_path, monkeypatch)


@pytest.mark.slow
def test_all_nodes_and_one_node_is_no_sense(api: ApiDouble, outside: Outside) -> None:
    """Said both on the command line, one of them is a mistake; what a Pod's environment says is none."""
    code, said = outside.run("--all", "--node-name", "a")
    assert (code, "either --all or --node-name a" in said) == (64, True)
    assert not api.requests
    assert outside.run("--all", NODE_NAME="a") == (0, "a: removed 1 annotation\nb: removed 1 annotation\n")


@pytest.mark.slow
def test_the_kubeconfig_at_home_is_found(api: ApiDouble, outside: Outside) -> None:
    """For one Node as for all; in a Pod the service account counts."""
    assert outside.run("--node-name", "b") == (0, "b: removed 1 annotation\n")
    code, said = outside.run("--all", "--context", "wrong")
    assert (code, "TokenRefused" in said) == (1, True)


@pytest.mark.slow
def test_a_context_is_of_a_kubeconfig(api: ApiDouble, outside: Outside) -> None:
    """Without one nothing is done with other credentials."""
    (outside.home / ".kube" / "config").unlink()
    code, said = outside.run("--all", "--context", "c")
    assert (code, "--context c" in said and "kubeconfig" in said) == (64, True)
    code, said = outside.run(
        "--all", "--context", "c", KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(api.port)
    )
    assert (code, "--context c" in said and "kubeconfig" in said) == (64, True)
    assert not api.requests


def test_the_exit_code_is_of_the_worst() -> None:
    """One failure is enough."""
    assert exit_code([]) == 0
    assert exit_code([Pruned(node="a"), Pruned(node="b", problem="x")]) == 1


@pytest.mark.parametrize("answer", ["{}", '{"items": 5}'])
def test_a_list_that_is_none_is_the_servers_fault(api: ApiDouble, tmp_path: Path, answer: str) -> None:
    """Never taken for a cluster without Nodes, nor for missing credentials."""
    access, waits = admin(api, tmp_path), Waits()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
    api.faults += [Raw(f"{head}{answer}".encode())] * 5
    with pytest.raises(Failure) as told:
        list(prune(access, None, waits.retries))
    assert told.value.reason == UNREACHABLE
    assert len(waits.pauses) == 4
