"""Whatever becomes of the API server: what is wrong is said, and when it is over the last report stands on the Node."""

from __future__ import annotations

import datetime
import random
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lab.logs import capture_logs
from lab.serve.api_double import ApiDouble, Drip, Fault, Flood, Raw, Refuse, Reset, Stall
from lab.serve.api_store import condition_of
from lab.serve.publishing import NODE, World
from probe.outputs.annotations import node_annotations, node_condition, node_label
from probe.outputs.memory import REMEMBERED
from probe.publish.api import client as kube
from probe.publish.api.answers import judged
from probe.publish.api.errors import explain_failure
from probe.publish.api.interface import Access, Failure
from tests.extent import some_slow

FORBIDDEN = 'nodes "k8slab" is forbidden: User "u" cannot patch resource "nodes" in API group "" at the cluster scope'
TOO_LONG = 'Node "k8slab" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes'
POLICY = "nodes \"k8slab\" is forbidden: ValidatingAdmissionPolicy 'up' with binding 'up' denied request: own node only"
WEBHOOK = 'admission webhook "guard.example.com" denied the request: no'
HTML = b"<html>bad gateway</html>"
DEEP = b'{"a":' + b"[" * 90_000
OTHER_NODE = b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"k8slab-2"}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

FAULTS: dict[str, tuple[Callable[[], Fault], str]] = {
    "400": (lambda: Refuse(400, "BadRequest", "no"), "Refused"),
    "401": (lambda: Refuse(401, "Unauthorized", "Unauthorized"), "TokenRefused"),
    "403 by RBAC": (lambda: Refuse(403, "Forbidden", FORBIDDEN), "MissingPermission"),
    "403 otherwise": (lambda: Refuse(403, "Forbidden", "no"), "Forbidden"),
    "403 by a webhook": (lambda: Refuse(403, "", WEBHOOK), "DeniedByWebhook"),
    "404": (lambda: Refuse(404, "NotFound", 'nodes "k8slab" not found'), "NodeNotFound"),
    "409 without a manager": (lambda: Refuse(409, "Conflict", "object was modified"), "Conflict"),
    "413": (lambda: Refuse(413, "RequestEntityTooLarge", "too large"), "TooLarge"),
    "403 by our policy": (lambda: Refuse(403, "Forbidden", POLICY), "DeniedByPolicy"),
    "422 by a policy without a reason of its own": (lambda: Refuse(422, "Invalid", POLICY), "DeniedByPolicy"),
    "422 for too many annotations": (lambda: Refuse(422, "Invalid", TOO_LONG), "TooManyAnnotations"),
    "422 otherwise": (lambda: Refuse(422, "Invalid", "no"), "Invalid"),
    "429": (lambda: Refuse(429, "TooManyRequests", "later", retry_after="1"), "Throttled"),
    "500": (lambda: Refuse(500, "InternalError", "etcdserver: request timed out"), "ServerError"),
    "503": (lambda: Refuse(503, "ServiceUnavailable", "the server is shutting down", retry_after="x"), "ServerError"),
    "302": (lambda: Refuse(302), "Refused"),
    "502 by a proxy": (lambda: Raw(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n" + HTML), "ServerError"),
    "HTML that claims to be JSON": (lambda: Raw(HEAD + b"Content-Length: 24\r\n\r\n" + HTML), "Unreachable"),
    "JSON that is not an object": (lambda: Raw(HEAD + b"Content-Length: 2\r\n\r\n[]"), "Unreachable"),
    "an object that says nothing": (lambda: Raw(HEAD + b"Content-Length: 2\r\n\r\n{}"), "Unreachable"),
    "another Node": (
        lambda: Raw(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(OTHER_NODE), OTHER_NODE)),
        "Unreachable",
    ),
    "JSON without bottom": (lambda: Raw(HEAD + b"Content-Length: 90000\r\n\r\n" + b"[" * 90000), "Unreachable"),
    "an object without bottom": (lambda: Raw(HEAD + b"Content-Length: 90005\r\n\r\n" + DEEP), "Unreachable"),
    "less than its length": (lambda: Raw(HEAD + b"Content-Length: 900\r\n\r\n{}"), "Unreachable"),
    "a length that is none": (lambda: Raw(HEAD + b"Content-Length: -1\r\n\r\n{}"), "Unreachable"),
    "no HTTP": (lambda: Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "Unreachable"),
    "nothing, and the end": (lambda: Raw(b""), "Unreachable"),
    "reset, not heard": (lambda: Reset(granted=False), "Unreachable"),
    "reset, granted": (lambda: Reset(granted=True), "Unreachable"),
    "silence, not heard": (lambda: Stall(), "Unreachable"),
    "silence, granted": (lambda: Stall(granted=True), "Unreachable"),
    "a header without end": (lambda: Drip(), "Unreachable"),
    "a body without end": (lambda: Flood(), "Unreachable"),
}


def hurry(world: World) -> World:
    """Wait no longer than a test may last."""
    world.access = Access(service_account=world.access.service_account, silence=0.5, deadline=1.5)
    world.restart()
    return world


def assert_said(world: World) -> None:
    """All parts on the Node are those of the last report."""
    report = world.source.report
    assert report
    node = world.api.store.nodes[NODE]
    said = {key: text for key, text in world.node["annotations"].items() if key.startswith("userns-probe.io/")}
    said = {key: text for key, text in said.items() if key not in REMEMBERED}
    said.pop("userns-probe.io/refreshed-at")
    assert said == (node_annotations(report) if "annotations" in world.parts else {})
    assert {"kubernetes.io/hostname": NODE} | (node_label(report) if "label" in world.parts else {}) == node[
        "metadata"
    ]["labels"]
    condition = condition_of(node)
    if "condition" in world.parts:
        assert condition
        assert condition["reason"] == node_condition(report).reason
    assert condition_of(node, "Ready")


@pytest.mark.slow
@pytest.mark.parametrize("step", ["while reading", "while writing"])
@pytest.mark.parametrize("name", FAULTS)
def test_each_failure_is_named_and_outlived(world: World, name: str, step: str) -> None:
    """Logged once however often it happens; then what is wanted stands there, for one write more than failed."""
    make, problem = FAULTS[name]
    waits = name.startswith(("silence", "a header", "a body"))
    (hurry(world) if waits else world).probe("not-ready")
    times = 1 if waits or "granted" in name else 2
    for _ in range(times):
        world.api.faults += [make()] if step == "while reading" else [Fault(), make()]
        world.api.faults += [make()] if problem == "TokenRefused" else []  # the token is read again, and tried again
    with capture_logs() as logs:
        world.settle()
    assert_said(world)
    complaints = [one for one in logs if one["event"] == "publish_failed"]
    assert {one["problem"] for one in complaints} == {problem}
    assert len(complaints) == 1
    assert "publish_recovered" in [one["event"] for one in logs]
    assert world.result("error") == times
    assert world.api.store.writes == 1


def test_an_outage_ends_with_the_last_wanted_state(world: World) -> None:
    """What was wanted in between is never written."""
    world.probe("ready")
    world.settle()
    port = world.api.port
    world.api.stop()
    for verdict in ("not-ready", "ready", "not-ready"):
        world.probe(verdict)
        world.step(400)
    world.api.start(port)
    world.settle()
    assert_said(world)
    assert world.writes == 2


def test_retry_after_is_honoured(world: World) -> None:
    """Not one request before the server asked for it, also when the report changes."""
    world.probe("ready")
    world.api.faults.append(Refuse(429, "TooManyRequests", "later", retry_after="120"))
    world.step(60)
    asked = len(world.api.requests)
    world.probe("not-ready")
    world.step(55)
    assert len(world.api.requests) == asked
    world.step(120)
    world.step()
    assert_said(world)


def test_a_rotated_token_is_read_again(world: World) -> None:
    """Without a restart, and also when the file is late."""
    world.probe("ready")
    world.settle()
    world.api.rotate_token("token-2")
    world.probe("not-ready")
    world.settle()
    assert_said(world)
    world.api.rotate_token("token-3", tell=False)
    world.probe("ready")
    with capture_logs() as logs:
        world.step(400)
    assert [one["problem"] for one in logs] == ["TokenRefused"]
    world.api.rotate_token("token-3")
    world.settle()
    assert_said(world)


def test_a_token_that_rotates_within_a_request_is_not_even_a_failure(world: World) -> None:
    """The file is read again on a 401."""

    class Rotate(Fault):
        def answer(self, server: ApiDouble, request: Any) -> Any:
            server.rotate_token("token-2")
            return server.store.answer(request)

    world.probe("ready")
    world.api.faults.append(Rotate())
    world.step()
    assert_said(world)
    assert world.result("error") == 0


def test_a_rotated_ca_is_read_again(world: World) -> None:
    """A server with a certificate of a CA that is not known is not talked to, until it is known."""
    world.probe("ready")
    world.settle()
    world.api.rotate_ca(tell=False)
    world.probe("not-ready")
    asked = len(world.api.requests)
    with capture_logs() as logs:
        world.step(400)
    assert [one["problem"] for one in logs] == ["CertificateRefused"]
    assert len(world.api.requests) == asked
    world.api.tell_ca()
    world.settle()
    assert_said(world)


class BareCA:
    """A CA as older clusters have them: no key usage, no key identifiers."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
        basic = (x509.BasicConstraints(ca=True, path_length=None), True)
        self.certificate = self._sign(self.name, self.key, basic)
        self.cert_pem = trustme.Blob(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, name: x509.Name, key: Any, *extensions: tuple[Any, bool]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue_cert(self, address: str) -> trustme.LeafCert:
        import ipaddress

        key, name = (
            ec.generate_private_key(ec.SECP256R1()),
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")]),
        )
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        pem = self._sign(name, key, (names, False)).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return trustme.LeafCert(private, pem, [])


def test_a_ca_that_newer_pythons_refuse_is_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strict flag, which Python 3.13 sets, is cleared; where it stays set, this CA is refused."""
    world.api.rotate_ca(BareCA())  # type: ignore[arg-type]
    lenient = ssl.create_default_context

    def strict(*arguments: Any, **named: Any) -> ssl.SSLContext:
        context = lenient(*arguments, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    world.probe("ready")
    world.settle()
    assert_said(world)

    monkeypatch.setattr(kube, "tls_context", lambda config: strict(cafile=config.cluster.certificate_auth))
    world.probe("not-ready")
    with capture_logs() as logs:
        world.step()
    assert [one["problem"] for one in logs] == ["CertificateRefused"]


def test_no_certificate_of_another_host_is_accepted(world: World) -> None:
    """All other verification stays."""
    ca = trustme.CA()
    world.api.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("somewhere.else").configure_cert(world.api.tls)
    ca.cert_pem.write_to_path(str(world.api.directory / "ca.crt"))
    world.probe("ready")
    with capture_logs() as logs:
        world.step()
    assert [one["problem"] for one in logs] == ["CertificateRefused"]
    assert not world.api.requests


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", [("get", "nodes"), ("patch", "nodes"), ("patch", "nodes/status"), ("create", "events")]
)
def test_a_missing_rule_is_named_and_keeps_nothing_else_from_being_written(world: World, rule: tuple[str, str]) -> None:
    """The log has the rule as it would stand in the ClusterRole; granted, it is used without a restart."""
    world.api.store.rules |= {("create", "events")}
    world.restart("annotations", "label", "condition", "events")
    world.probe("ready")
    world.settle()
    world.api.store.rules -= {rule}
    if rule == ("get", "nodes"):
        world.restart()  # while it knows what stands on the Node, it need not ask
    world.probe("not-ready")
    with capture_logs() as logs:
        for _ in range(3):
            world.step(400)
    complaints = [one for one in logs if one["event"] == "publish_failed"]
    assert [one["problem"] for one in complaints] == ["MissingPermission"] * len(complaints)
    assert complaints[-1]["missing_rule"] == {"apiGroups": [""], "resources": [rule[1]], "verbs": [rule[0]]}
    assert complaints[-1].get("namespace") == ("default" if rule[1] == "events" else None)
    condition = condition_of(world.api.store.nodes[NODE])
    assert condition
    written = {
        ("patch", "nodes"): world.said("verdict") == "not-ready",
        ("patch", "nodes/status"): condition["status"] == "False",
    }
    if rule != ("get", "nodes"):
        assert [part for part, done in written.items() if not done] == [rule][: rule in written]
    world.api.store.rules |= {rule}
    world.settle()
    assert_said(world)
    assert len(world.api.store.events) == 1


def test_a_node_that_does_not_exist_is_no_missing_rule(world: World) -> None:
    """An apply would make it, so the server says that making Nodes is forbidden."""
    world.probe("ready")
    world.step(400)
    world.probe("not-ready")
    del world.api.store.nodes[NODE]
    with capture_logs() as logs:
        world.step(400)
        world.step(400)
    assert [one.status for one in world.api.requests[-2:]] == [403, 404]
    assert {one["problem"] for one in logs if one["event"] == "publish_failed"} == {"NodeNotFound"}
    world.api.add_node(NODE)
    world.settle()
    assert_said(world)


@pytest.mark.parametrize("keys", [("verdict",), ("verdict", "message")])
def test_what_somebody_else_took_over_is_taken_back(world: World, keys: tuple[str, ...]) -> None:
    """Once, when there is something to write: it says who, and does not fight in between."""
    world.probe("ready")
    world.settle()
    taken = {f"userns-probe.io/{key}": "mine" for key in keys}
    body = msgspec.json.encode({"apiVersion": "v1", "kind": "Node", "metadata": {"annotations": taken}})
    world.api.store.policy = None
    apply(world, "somebody-else", body)
    world.probe("ready")
    world.step()
    assert world.said("verdict") == "mine"
    world.probe("not-ready")
    with capture_logs() as logs:
        world.settle()
    assert [one["managers"] for one in logs if one["event"] == "publish_conflict"] == [["somebody-else"]]
    assert_said(world)
    assert world.result("error") == 0


def apply(world: World, manager: str, body: bytes) -> None:
    from lab.serve.api_store import APPLY, Request

    target = f"/api/v1/nodes/{NODE}?fieldManager={manager}&force=true"
    code, _ = world.api.store.answer(Request("PATCH", target, APPLY, "token-1", body))
    assert code == 200


def test_a_policy_that_refuses_is_named(world: World) -> None:
    """Which policy, which binding, and what it refused."""
    world.api.store.own_node = "other"
    world.probe("ready")
    with capture_logs() as logs:
        world.step()
    assert (logs[0]["policy"], logs[0]["binding"], logs[0]["refused"]) == ("up", "up", "own node only")


def test_an_event_whose_answer_was_lost_is_not_told_twice(world: World) -> None:
    """Its name is the change's."""
    world.api.store.rules |= {("create", "events")}
    world.restart("annotations", "events")
    world.probe("ready")
    world.settle()
    world.probe("not-ready")
    world.api.faults += [Fault(), Reset(granted=True)]
    world.settle()
    assert world.result("error") == 1
    assert len(world.api.store.events) == 1


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_missing_credentials_are_named_and_waited_for(world: World, missing: str) -> None:
    """The file may be mounted later."""
    path = world.api.directory / missing
    content = path.read_bytes()
    path.unlink()
    world.probe("ready")
    with capture_logs() as logs:
        world.step(400)
    assert [one["problem"] for one in logs] == ["NoCredentials"]
    path.write_bytes(content)
    world.settle()
    assert_said(world)


@pytest.mark.parametrize("token", ["geheim\x00", "geheim\nX-Other: 1", "geheim\u20ac", ""])
def test_a_malformed_token_is_a_problem_and_stays_a_secret(world: World, token: str) -> None:
    """Whatever is in the file; no log has it."""
    (world.api.directory / "token").write_text(token)
    world.probe("ready")
    with capture_logs() as logs:
        world.step()
    assert [one["problem"] in ("NoCredentials", "TokenRefused") for one in logs] == [True]
    assert "geheim" not in str(logs)


def test_outside_of_a_pod_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is guessed."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    world.probe("ready")
    with capture_logs() as logs:
        world.step()
    assert "not in a Pod" in logs[0]["message"]


@pytest.mark.parametrize("seed", [0, 1, *some_slow(*range(2, 8))])
def test_after_random_faults_the_last_wanted_state_stands(world: World, seed: int) -> None:
    """Whatever goes wrong in between; and nothing is written that neither changed nor failed."""
    dice = random.Random(seed)
    names = [name for name in FAULTS if not name.startswith(("silence", "a header", "a body"))]
    slow = ["silence, not heard", "silence, granted"]
    world.api.store.rules |= {("create", "events")}
    world.parts = frozenset({"annotations", "label", "condition", "events"})
    hurry(world)
    verdicts, changes, faults = [], 0, 0
    for _ in range(10):
        verdict = dice.choice(["ready", "not-ready"])
        changes += verdicts[-1:] != [verdict]
        verdicts.append(verdict)
        world.probe(verdict)
        for _ in range(dice.choice([0, 0, 1, 3])):
            name = dice.choice(slow if dice.random() < 0.1 else names)
            world.api.faults += [Fault()] * dice.randrange(3) + [FAULTS[name][0]()]
            faults += 1
        for _ in range(dice.randrange(4)):
            world.step(dice.choice([1, 400]))
        if dice.random() < 0.2:
            world.restart()
    world.api.faults.clear()
    world.settle()
    assert_said(world)
    parts = 3  # metadata, condition, Event
    failed = len([one for one in world.api.requests if one.status != 200])
    assert world.writes <= parts * changes + parts * (failed + faults)
    assert world.api.store.writes <= parts * changes


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("9" * 400, float("inf"), float("inf")),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_the_time_to_wait_is_seconds_or_a_date(said: str, least: float, most: float) -> None:
    """Both forms of RFC 9110, 10.2.3; how much of it is waited is up to the backoff."""
    seconds = kube.seconds_of(said)
    assert seconds is not None
    assert least <= seconds <= most


def test_the_time_to_wait_until_a_date_to_come() -> None:
    """From now on."""
    seconds = kube.seconds_of(formatdate(time.time() + 3600, usegmt=True))
    assert seconds is not None
    assert 1800 <= seconds <= 3600


@given(st.text() | st.from_regex(r"[A-Za-z]{0,4},? ?[0-9 :A-Za-z+-]{0,40}", fullmatch=True))
def test_any_other_time_to_wait_is_none(said: str) -> None:
    """No header of a server breaks a retry."""
    seconds = kube.seconds_of(said)
    assert seconds is None or seconds >= 0


@given(st.integers(0, 999), st.text(), st.text())
def test_every_failure_can_be_explained(status: int, reason: str, message: str) -> None:
    """No message of a server breaks the words about it."""
    fields = explain_failure(Failure(status, reason, message), NODE)
    assert fields["problem"]
    assert len(str(fields["message"]).encode()) <= 500


@given(st.integers(100, 599), st.binary())
def test_whatever_a_server_answers_is_an_object_or_a_failure(status: int, body: bytes) -> None:
    """A refusal becomes a Status; a success that is not an object becomes an error of the connection."""
    import httpx2

    try:
        document = msgspec.json.decode(judged(status, body))
    except httpx2.RemoteProtocolError:
        assert status in (200, 201)
    else:
        assert isinstance(document, dict)
