"""Secrets are replaced, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.bundle.redact import Redactor
from probe.facts.bundle.questions import Asked

SECRETS = (
    ("password = 'hunter2!'", "hunter2!"),
    ('password: "two words"', "two words"),
    ('{"auth":"dXNlcjpodW50ZXIy"}', "dXNlcjpodW50ZXIy"),
    ('{\\"identitytoken\\":\\"abc.def\\"}', "abc.def"),
    ("K3S_TOKEN=K10" + "ab" * 32 + "::server:s3cr3t", "s3cr3t"),
    ("--token=abcdef.0123456789abcdef", "0123456789abcdef"),
    ("kubeadm join --discovery abcdef.0123456789abcdef", "0123456789abcdef"),
    ("client-key-data: LS0tLS1CRUdJTg==", "LS0tLS1CRUdJTg=="),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n", "MIIEow"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
    ("https://user:s3cr3t@mirror.example/v2", "s3cr3t"),
    ("http_proxy=http://me:pa55@proxy.example:3128", "pa55"),
    ("Authorization: Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    ("eyJhbGciOiJSUzI1.eyJzdWIiOiJzeXN0.c2lnbmF0dXJl", "eyJzdWIiOiJzeXN0"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    ("key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
    ("providerID: aws:///eu-west-1a/i-0123456789abcdef0", "i-0123456789abcdef0"),
    ("gce://my-project/zone/node", "my-project"),
    ("/subscriptions/12345678-1234-1234-1234-123456789abc/x", "12345678-1234-1234-1234-123456789abc"),
    ("arn:aws:iam::123456789012:role/node", "123456789012"),
    ("token: |\n  first-line\n  second-line\nnext: 1\n", "second-line"),
    ("db.connectionString=Server=tcp:x", "Server"),
    ("password: ab,cd ef", "ef"),
    ("--token=ab,cd", "cd"),
    ("vpn-auth: name=tailscale,joinKey=tskey-auth-abc", "tskey-auth-abc"),
    ("etcd-s3-secret-key: wJalrXUtnFEMI", "wJalrXUtnFEMI"),
    ('password = """two\nlines"""', "lines"),
    ("mysql://u:p/q@tcp(h)/d", "p/q"),
    ("ExecStart=/usr/local/bin/k3s \\\n    agent \\\n\t'--token' \\\n\t'unit-secret' \\\n", "unit-secret"),
    ("ExecStart=/usr/local/bin/k3s agent --token unit-secret --debug", "unit-secret"),
    ("HTTP_PROXY=http://user:p@ss@proxy:3128", "ss@"),
    ("http_proxy=user:pa55word@proxy.example:3128", "pa55word"),
    ("Authorization: Bearer abc123", "abc123"),
    ('[host."https://r".header]\n  Authorization = "Basic dXNlcjpw"', "dXNlcjpw"),
    ('"Authorization":["Bearer short1"]', "short1"),
    ('X-Api-Key = ["header-value"]', "header-value"),
    ("Cookie: session=abcdef123", "abcdef123"),
    ("password_pbkdf2 root grub.pbkdf2.sha512.10000.ABCDEF0123.4567", "ABCDEF0123"),
    ("root:$6$salt$hashhashhashhash:0:0:root:/root:/bin/sh", "hashhashhashhash"),
    ("client-certificate-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSU", "CRUdJTiBDRVJUSUZJQ0FURS0"),
    ("https://acc.blob.core.windows.net/x?sv=2020&sig=abc%2Fdef123&se=1", "abc%2Fdef123"),
    ("/vmlinuz ignition.config.url=https://h/c?token=abc123 rd.iscsi.password=pw123 quiet", "pw123"),
    ("//srv/share /mnt cifs username=me,password=hunter2,uid=0 0 0", "hunter2"),
    ('Environment="DB_DSN=x:yyyyyyyy@z" PATH=/usr/bin', "yyyyyyyy"),
    ("Environment=DB_DSN=x:yyyyyyyy@z", "yyyyyyyy"),
    ("glpat-ABCDEFGHIJKLMNOPQRST", "ABCDEFGHIJKLMNOPQRST"),
    ("github_pat_11ABCDEFG0abcdefghij_klmnop", "11ABCDEFG0abcdefghij"),
    ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/pause:3.5", "123456789012"),
    ("europe-docker.pkg.dev/my-project-1/repo/img:1", "my-project-1"),
    ("eu.gcr.io/my-project-1/img:1", "my-project-1"),
    ("node@my-project-1.iam.gserviceaccount.com", "my-project-1"),
    ("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0", "0123456789abcdef0"),
    ("/resourceGroups/my-group/providers/x", "my-group"),
    ("--provider-id=hcloud://1234567", "1234567"),
    ("providerID: scaleway://instance/fr-par-1/4b1f", "4b1f"),
)
INNOCENT = (
    "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token",
    "authentication:\n  webhook:\n    enabled: true\n",
    "authorization:\n  mode: Webhook\n",
    "--authentication-token-webhook=true",
    "secret: true",
    "password_file = '/etc/registry/password'",
    "Speculation_Store_Bypass:\tthread vulnerable",
    "22 27 0:21 / /var/lib/kubelet/pods/0b1c2d3e-aaaa-bbbb-cccc-0123456789ab/volumes/x rw - tmpfs tmpfs rw",
    "kubernetes.io~projected/kube-api-access-abcde",
    "runc version 1.3.6\nspec: 1.2.1",
    "https://example.org/docs",
    "secret:\n  name: x\n",
    '{"authorization":{"mode":"Webhook","webhook":{"cacheAuthorizedTTL":"0s"}}}',
    "authorization: {mode: Webhook}",
    "--authorization-mode=Webhook --client-ca-file=/etc/kubernetes/pki/ca.crt",
    "registry.k8s.io/pause:3.10@sha256:0123456789abcdef",
    "k8s.gcr.io/coredns/coredns:v1.8.0",
    "Environment=PATH=/usr/bin KUBELET_EXTRA_ARGS=--max-pods=50",
    "root:x:0:0:root:/root:/bin/bash",
    "proxy: http://proxy.example:3128",
    "passwd: files systemd\nsubid: files systemd",
    "CONFIG_MODULE_SIG=y",
    "BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID=0b1c2d3e-aaaa-bbbb-cccc-0123456789ab ro quiet user_namespace.enable=1",
)


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_is_replaced(text: str, secret: str) -> None:
    """Wherever it stands; what surrounds it stays readable."""
    redacted = Redactor().text(text)
    assert secret not in redacted
    assert "REDACTED-1" in redacted


@pytest.mark.parametrize("text", INNOCENT)
def test_what_decides_the_verdict_stays(text: str) -> None:
    """Settings, paths and mount tables say what they said."""
    assert Redactor().text(text) == text


def test_equal_secrets_have_one_number() -> None:
    """Two files that name the same secret can still be compared."""
    redactor = Redactor()
    assert redactor.text("token=aaa password=bbb token=aaa") == "token=REDACTED-1 password=REDACTED-2 token=REDACTED-1"
    assert redactor.count == 2


def test_a_flag_and_its_value_may_be_two_words() -> None:
    """As argv has them; a switch without value takes nothing from the next flag."""
    redacted = Redactor().value(["k3s", "--token", "s3cr3t", "--token-file", "/etc/token", "--password", "--debug"])
    assert redacted == ["k3s", "--token", "REDACTED-1", "--token-file", "/etc/token", "--password", "--debug"]


def test_a_command_line_of_a_process_is_an_argv() -> None:
    """Also k3s' short form, and a name that a process gave itself, all of it in one word."""
    for content, secret in (
        ("k3s\0agent\0--token\0s3cr3t\0", "s3cr3t"),
        ("/usr/local/bin/k3s\0agent\0-t\0s3cr3t\0", "s3cr3t"),
        ("k3s agent --token s3cr3t\0", "s3cr3t"),
    ):
        answer = {"source": "x", "value": {"text": content}}
        (kept,) = Redactor().redact([Asked("read", ["/proc/7/cmdline"], answer)])
        assert secret not in kept.answer["value"]["text"]
        assert kept.answer["value"]["text"].startswith(content[:3])


def test_bytes_that_are_no_text_are_looked_into() -> None:
    """One byte of another encoding in a comment hides nothing; all other bytes stay."""
    content = b"# gr\xfc\xdfe\npassword = 'hunter2secret'\n"
    answer = {"source": "x", "value": {"base64": base64.b64encode(content).decode()}}
    (kept,) = Redactor().redact([Asked("read", ["/etc/x"], answer)])
    assert base64.b64decode(kept.answer["value"]["base64"]) == content.replace(b"hunter2secret", b"REDACTED-1")


def test_a_secret_is_one_everywhere() -> None:
    """Also where nothing names it so."""
    redacted = Redactor().redact([Asked("a", [], "token=0123456789"), Asked("b", ["x 0123456789"], ["say 0123456789"])])
    assert "0123456789" not in str(redacted)


@pytest.mark.slow
def test_long_texts_take_no_long_time() -> None:
    """A word of a mebibyte, and URLs without an end: twice the length takes twice the time, or a timeout shows it."""
    for text in ("a" * (1 << 20), "://" * (1 << 15)):
        assert Redactor().text(text) == text


def test_of_an_environment_only_what_steers_a_daemon_is_kept() -> None:
    """All others may be secrets, whatever their names are, and names tell whose software runs there."""
    content = "PATH=/usr/bin\0HOME=/root\0DB_DSN=x:y@z\0K3S_CONFIG_FILE=/etc/k3s.yaml\0K3S_TOKEN=abc\0"
    answer = {"source": "/proc/7/environ", "value": {"text": content}}
    (kept,) = Redactor().redact([Asked("read", ["/proc/7/environ"], answer)])
    assert kept.answer["value"]["text"] == "PATH=/usr/bin\0HOME=/root\0K3S_CONFIG_FILE=/etc/k3s.yaml\0"


def test_an_environment_that_is_no_text_is_dropped() -> None:
    """Nobody can tell what is in it."""
    answer = {"source": "x", "value": {"base64": "//8="}}
    (kept,) = Redactor().redact([Asked("read", ["/proc/7/environ"], answer)])
    assert kept.answer["value"] == {"text": ""}


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=40) | st.sampled_from([text for text, _ in SECRETS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(JSON)
def test_redacting_twice_changes_nothing_more(value: object) -> None:
    """So a bundle of a replayed bundle is the same."""
    redactor = Redactor()
    once = redactor.value(value)
    assert redactor.value(once) == once
