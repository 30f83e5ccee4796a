"""TLS from files that are rotated while clients come and go."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from lab.logs import capture_logs
from lab.serve.serving import Serving, put_report, refused, report_of_now, serving, wait_for
from probe.serve import tls
from probe.serve.tls import RotatingCertificate


class Secret:
    """A Secret's volume: `..data` is a symbolic link that the kubelet turns to the next version at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate, self.private_key = folder / "tls.crt", folder / "tls.key"
        for file in (self.certificate, self.private_key):
            file.symlink_to(f"..data/{file.name}")
        self.version = 0

    def rotate(self, certificate: bytes, private_key: bytes) -> None:
        self.version += 1
        version = self.folder / f"..{self.version}"
        version.mkdir()
        (version / "tls.crt").write_bytes(certificate)
        (version / "tls.key").write_bytes(private_key)
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").rename(self.folder / "..data")

    def issue(self, authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1")
        self.rotate(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())

    @property
    def options(self) -> tuple[str, ...]:
        return "--tls-cert-file", str(self.certificate), "--tls-private-key-file", str(self.private_key)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    folder = tmp_path / "secret"
    folder.mkdir()
    return Secret(folder)


@pytest.fixture
def served(tmp_path: Path, secret: Secret) -> Iterator[Serving]:
    authority = trustme.CA()
    secret.issue(authority)
    put_report(tmp_path / "r", report_of_now())
    with serving(tmp_path / "r", *secret.options, context=trusting(authority)) as server:
        yield server


def test_requests_are_answered_over_tls(served: Serving) -> None:
    """All of them, and the log says that it is TLS."""
    assert served.events("listening")[0]["tls"] is True
    assert served.get("/healthz").status == 200
    assert len(served.get("/").body) > 1000


def test_a_rotated_certificate_is_taken_up(served: Serving, secret: Secret) -> None:
    """New connections get the new one; one that was open before goes on."""
    before = http.client.HTTPSConnection("127.0.0.1", served.port, context=served.context)
    before.request("GET", "/healthz")
    before.getresponse().read()
    after = trustme.CA()
    secret.issue(after)
    wait_for(lambda: served.events("certificate_reloaded"))
    assert before.sock
    before.request("GET", "/healthz")
    assert before.getresponse().read() == b"ok\n"
    with pytest.raises(ssl.SSLCertVerificationError):
        served.get("/healthz")
    served.context = trusting(after)
    assert served.get("/healthz").status == 200


def test_a_rotation_that_cannot_be_used_changes_nothing(served: Serving, secret: Secret) -> None:
    """Garbage, a key of another certificate, or no file: one line each, and the old certificate stays."""
    one, other = (trustme.CA().issue_cert("127.0.0.1") for _ in range(2))
    for number, (certificate, key) in enumerate(
        (
            (b"garbage", b"garbage"),
            (one.cert_chain_pems[0].bytes(), other.private_key_pem.bytes()),
        ),
        1,
    ):
        secret.rotate(certificate, key)
        wait_for(lambda number=number: len(served.events("certificate_not_usable")) == number)
        assert served.get("/healthz").status == 200
    (secret.folder / "..data").unlink()
    wait_for(lambda: len(served.events("certificate_not_usable")) == 3)
    assert served.get("/healthz").status == 200


def test_a_certificate_that_could_not_be_loaded_is_tried_again(secret: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that met a lack of descriptors is made good, not forgotten until the next one; logged once."""
    secret.issue(trustme.CA())
    rotating = RotatingCertificate(str(secret.certificate), str(secret.private_key))
    old = rotating.context
    secret.issue(trustme.CA())
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(tls, "_context", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
        for _ in range(5):
            rotating.refresh()
    assert rotating.context is old
    assert [entry["event"] for entry in logs] == ["certificate_not_usable"]
    with capture_logs() as logs:
        for _ in range(5):
            rotating.refresh()
    assert rotating.context is not old
    assert [entry["event"] for entry in logs] == ["certificate_reloaded"]


def test_no_client_keeps_others_from_their_handshake(served: Serving) -> None:
    """Silent ones, half handshakes, plain HTTP and garbage."""
    clients = []
    for hello in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", os.urandom(100)) * 10:
        clients.append(served.connect())
        clients[-1].sendall(hello)
    for _ in range(10):
        assert served.get("/healthz").status == 200
    for client in clients:
        client.close()
    assert not served.events("http_error")
    assert served.unstructured == []


def test_old_versions_of_tls_are_refused(served: Serving) -> None:
    """1.2 is the oldest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", served.port)) as connection, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(connection)


@pytest.mark.slow
def test_what_is_no_certificate_with_its_key_is_one_line(tmp_path: Path, secret: Secret) -> None:
    """Also an encrypted key, for whose password nobody is there to be asked."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate = issued.cert_chain_pems[0].bytes()
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    for key in (b"", b"garbage", encrypted, trustme.CA().issue_cert("x").private_key_pem.bytes()):
        secret.rotate(certificate, key)
        said = refused(["serve", "--report-file", str(tmp_path / "r"), "--listen", "127.0.0.1:0", *secret.options])
        assert said.startswith("Error: no certificate with its private key in ")
        assert said.count("\n") == 1
