"""Secrets in what was read of a node, each replaced by `REDACTED-N`; equal secrets get the same number."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any

from probe.facts.bundle.questions import Asked

_NAME = (
    r"(?:passwd|password|passphrase|(?<![a-z])(?:pass|auth|psk|sig|cookie)|secret|token|credentials?|signature"
    r"|connection[-_.]?string|provider[-_.]?id"
    r"|(?:private|api|access|client|encryption|account|join|secret|auth)[-_.]?key)(?:[-_.]?(?:hash|data|value|base64|id))?"
)
_FLAG = re.compile(rf"--?[\w.-]{{0,80}}{_NAME}", re.IGNORECASE)
_K3S_FLAG, _OF_K3S = "-t", re.compile(r"(?:^|/)(?:k3s|rke2)\b")  # a short form of --token
_FLAGGED = re.compile(
    rf"""((?<![\w-])--?[\w.-]{{0,80}}{_NAME}["']?[\s\\]+["']?)(?![-"'\s\\])([^\s"'\\]+)""", re.IGNORECASE
)
_QUOTED = r"""\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|\\+"[^"\\\n]*\\+"|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
_NAMED = tuple(
    re.compile(rf"""({_NAME}\\*["']?[ \t]*{separator}[ \t]*(?:\[\s*(?=\\*["']))?)({_QUOTED}|{bare})""", re.IGNORECASE)
    for separator, bare in (
        (r":(?!/)", r"""[|>][-+]?\n(?:[ \t]+.*\n?)+|[^"'\s\\][^"'\n\0]*"""),  # YAML: to the end of the line
        ("=", r"""[^"'\s\\][^"'\s\0]*"""),
    )
)
_AUTHORIZATION = re.compile(
    r"""(authorization["'\\\[\]:=\s]{1,40}[a-z0-9-]{1,40}[ \t]+)(?!REDACTED-)([^\s"'\\]+)""", re.IGNORECASE
)
"""A header of HTTP: its scheme stays."""
_PROXY = re.compile(
    r"""(proxy["']?[ \t]*[=:][ \t]*["']?)([^\s"'/@]{1,400}(?:@[^\s"'/@]{1,400})*)(?=@)""", re.IGNORECASE
)
"""The userinfo of a proxy without a scheme, which curl(1) takes."""
_END_OF_WORD = re.compile(r"[\s,;&}\]]")
_OPEN_VALUE = re.compile(
    r"(?:true|false|null|none|\d{1,6}|\d+m?s|webhook|anonymous|x509|alwaysallow|files|compat|sss|[ymn]|[\[{]+"
    r"|/(?:boot|dev|etc|home|lib|mnt|opt|proc|root|run|snap|srv|sys|tmp|usr|var)(?:/[\w.@-]+)*/?)",
    re.IGNORECASE,
)
"""Values of settings that are no secrets: switches, durations, paths, lists that follow, words of nsswitch.conf(5)."""
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON Web Token
    r"|\bLS0tLS1CRUdJT[\w+/=]*"  # PEM in base64, as kubeconfigs have it
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{30,}|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|\bya29\.[\w-]{20,}"
    r"|\bgithub_pat_\w{16,}|\bgl(?:pat|rt|dt|cbt)-[\w.-]{16,}|\bdckr_[op]at_[\w-]{16,}|\bnpm_\w{30,}"
    r"|\bhv[bsr]\.[\w-]{20,}|\bsk-[\w-]{20,}|\btskey-[\w-]{12,}"
    r"|\bgrub\.pbkdf2\.[\w.]+|\$(?:1|2[abxy]?|5|6|7|y|gy|argon2\w*)\$[\w./$=,+-]{8,}"  # hashes of passwords
    r"|\bK10[0-9a-f]{40,}(?:::[\w:.-]+)?"  # of K3s
    r"|\b[a-z0-9]{6}\.[a-z0-9]{16}\b"  # a bootstrap token
    r"|(?i:(?<=bearer )|(?<=basic ))[\w+/.~=-]{12,}"
)
_USERINFO = re.compile(r"(?<=://)[^\s\"'@]{1,250}(?:@[^\s\"'/@]{1,250})*(?=@)")  # a password may contain @ and /
_CLOUD = re.compile(
    r"(?<=aws:///)[\w/.-]+|(?<=gce://)[\w/.-]+|(?<=azure:///)[\w/.-]+|(?<=openstack:///)[\w/.-]+|(?<=vsphere://)[\w-]+"
    r"|\barn:aws[\w-]*:[\w:/.*-]+"
    r"|\b(?:i|vol|subnet|vpc|eni|sg|ami|snap|fs|fsap|rtb)-[0-9a-f]{8,17}\b"
    r"|(?<=[-_/]vol)[0-9a-f]{17}\b|\b\d{12}(?=\.dkr\.ecr\.)"
    r"|(?<=subscriptions/)[0-9a-fA-F-]{36}|(?i:(?<=resourcegroups/))[\w.()-]+|(?<=projects/)[\w-]+(?=/)|\bocid1\.[\w.-]+"
    r"|(?<=\bgcr\.io/)(?<!k8s\.gcr\.io/)[\w.-]+(?=/)|(?<=\.pkg\.dev/)[\w-]+|(?<=@)[\w-]+(?=\.iam\.gserviceaccount\.)"
)
_OPEN_VARIABLES = re.compile(
    r"PATH|TMPDIR|HOME|LANG|LC_\w+|INVOCATION_ID|KUBELET\w*|CONTAINERD\w*|CRIO\w*|GO\w+|CURRENT_AGENT_VERSION|"
    r"(?:K3S|RKE2)_(?!.*TOKEN)\w+|CONTAINER_RUNTIME_ENDPOINT|_?container"
)
"""Variables that decide what runs on the node; no other one is kept, of a process not even its name."""
_UNIT_ENVIRONMENT = re.compile(r"(?m)^([ \t]*Environment=)((?:.*\\\n)*.*)$")
_ASSIGNMENT = re.compile(r""""(\w+)=([^"\n]*)"|'(\w+)=([^'\n]*)'|(?<![\w"'])(\w+)=("[^"\n]*"|'[^'\n]*'|[^\s"'\\]+)""")

_WORTH_LOOKING_FOR = 8
"""Characters of a secret that is looked for everywhere: a shorter one may be a word by chance."""


class Redactor:
    """Replaces secrets; remembers them, so that one that lies in two files has one number."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    @property
    def count(self) -> int:
        """The number of different secrets it met."""
        return len(self._known)

    def redact(self, asked: Iterable[Asked]) -> list[Asked]:
        """The same questions and answers without secrets; what was a secret anywhere is one everywhere."""
        once = [Asked(one.question, self._value(one.arguments), self._answer(one)) for one in asked]
        return [Asked(one.question, self._again(one.arguments), self._again(one.answer)) for one in once]

    def value(self, value: Any) -> Any:
        """*value*, of dictionaries, lists and strings, without secrets."""
        return self._value(value)

    def text(self, text: str) -> str:
        """*text* without secrets."""
        text = _SHAPES.sub(lambda found: self._hide(found[0]), text)
        text = _USERINFO.sub(lambda found: self._hide(found[0]), text)
        text = _UNIT_ENVIRONMENT.sub(lambda found: found[1] + _ASSIGNMENT.sub(self._assigned, found[2]), text)
        for pattern in (_AUTHORIZATION, _PROXY):
            text = pattern.sub(lambda found: found[1] + self._hide(found[2]), text)
        for pattern in (*_NAMED, _FLAGGED):
            text = pattern.sub(self._named, text)
        return _CLOUD.sub(lambda found: self._hide(found[0]), text)

    def _answer(self, one: Asked) -> Any:
        path = one.arguments[0] if one.question == "read" and one.arguments else ""
        process = re.fullmatch(r"/proc/\w+/(environ|cmdline)", path) if isinstance(path, str) else None
        if process and isinstance(one.answer, dict) and one.answer.get("value") is not None:
            work = self._environment if process[1] == "environ" else self._command_line
            return one.answer | {"value": work(one.answer["value"])}
        return self._value(one.answer)

    def _command_line(self, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("text"), str):
            return {"text": ""}
        return {"text": "\0".join(self._words(content["text"].split("\0")))}

    def _environment(self, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("text"), str):
            return {"text": ""}
        variables = [variable.partition("=") for variable in content["text"].split("\0")]
        kept = [(name, value) for name, equals, value in variables if equals and _OPEN_VARIABLES.fullmatch(name)]
        return {"text": "".join(f"{name}={self.text(value)}\0" for name, value in kept)}

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case {"base64": str(encoded)} if len(value) == 1:  # bytes that are not UTF-8, between which words may stand
                text = self.text(base64.b64decode(encoded).decode("latin-1"))
                return {"base64": base64.b64encode(text.encode("latin-1")).decode()}
            case dict():
                return {self.text(key): self._item(key, item) for key, item in value.items()}
            case list():
                return self._words(value)
        return value

    def _words(self, words: list[Any]) -> list[Any]:
        """A list, which may be an argv: what follows a flag may be its value."""
        return [
            self._hide(word) if isinstance(word, str) and self._follows_flag(words, index) else self._value(word)
            for index, word in enumerate(words)
        ]

    def _item(self, key: str, item: Any) -> Any:
        """A value of a JSON object, whose key may name it a secret."""
        if isinstance(item, str) and re.fullmatch(rf"(?i)[\w.-]*{_NAME}", key) and not _OPEN_VALUE.fullmatch(item):
            return self._hide(item) if item else item
        return self._value(item)

    def _follows_flag(self, words: list[Any], index: int) -> bool:
        before, word = words[index - 1] if index else "", words[index]
        of_k3s = before == _K3S_FLAG and any(isinstance(one, str) and _OF_K3S.search(one) for one in words[:2])
        return (
            isinstance(before, str)
            and bool(word)
            and (of_k3s or bool(_FLAG.fullmatch(before)))
            and not word.startswith("-")
            and not _OPEN_VALUE.fullmatch(word)
        )

    def _named(self, found: re.Match[str]) -> str:
        before, value = found[1], found[2]
        bare = value.strip("\\\"'")
        end = _END_OF_WORD.search(bare) if value[:1] not in "\"'\\|>" else None
        word = bare[: end.start()] if end else bare
        if not bare or word.startswith("REDACTED-") or _OPEN_VALUE.fullmatch(word):
            return f"{before}{word}{self.text(bare[len(word) :])}" if end else found[0]
        opening, _, closing = value.partition(bare)
        return f"{before}{opening}{self._hide(bare)}{closing}"

    def _assigned(self, found: re.Match[str]) -> str:
        """One variable of a unit's environment."""
        name, value = (group for group in found.groups() if group is not None)
        if not value or _OPEN_VARIABLES.fullmatch(name):
            return found[0]
        before, _, after = found[0].rpartition(value)
        return f"{before}{self._hide(value)}{after}"

    def _again(self, value: Any) -> Any:
        """*value* without the secrets that were met elsewhere, each at least eight characters long."""
        known = sorted((secret for secret in self._known if len(secret) >= _WORTH_LOOKING_FOR), key=len, reverse=True)
        if not known:
            return value
        pattern = re.compile("|".join(map(re.escape, known)))
        return _mapped(value, lambda text: pattern.sub(lambda found: self._known[found[0]], text))

    def _hide(self, secret: str) -> str:
        if secret.startswith("REDACTED-"):
            return secret
        return self._known.setdefault(secret, f"REDACTED-{len(self._known) + 1}")


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value
