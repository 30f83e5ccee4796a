"""Secrets in what was read of a node, each replaced by `REDACTED-N`; equal secrets get the same number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from probe.facts.bundle.questions import Asked

_NAME = (
    r"(?:passwd|password|passphrase|(?<![a-z])(?:pass|auth)|secret|token|credentials?|signature|connection[-_.]?string"
    r"|(?:private|api|access|client|encryption|account)[-_.]?key)(?:[-_.]?(?:hash|data|value|base64|id))?"
)
_FLAG = re.compile(rf"--?[\w.-]*{_NAME}", re.IGNORECASE)
_NAMED = re.compile(
    rf"""([\w./-]*{_NAME}\\*["']?[ \t]*(?::(?!/)|=)[ \t]*)"""
    r"""([|>][-+]?\n(?:[ \t]+.*\n?)+|\\+"[^"\\\n]*\\+"|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"',;&}\]\\]+)""",
    re.IGNORECASE,
)
_OPEN_VALUE = re.compile(
    r"(?:true|false|null|none|\d{1,6}|\d+m?s|webhook|anonymous|x509|alwaysallow|[\[{]+"
    r"|/(?:boot|dev|etc|home|lib|mnt|opt|proc|root|run|snap|srv|sys|tmp|usr|var)(?:/[\w.@-]+)*/?)",
    re.IGNORECASE,
)
"""Values of settings that are no secrets: switches, durations, paths, lists that follow."""
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON Web Token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{30,}|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|\bya29\.[\w-]{20,}"
    r"|\bK10[0-9a-f]{40,}(?:::[\w:.-]+)?"  # of K3s
    r"|\b[a-z0-9]{6}\.[a-z0-9]{16}\b"  # a bootstrap token
    r"|(?i:(?<=bearer )|(?<=basic ))[\w+/.~=-]{12,}"
)
_USERINFO = re.compile(r"(?<=://)[^/\s\"'@]+(?=@)")
_CLOUD = re.compile(
    r"(?<=aws:///)[\w/.-]+|(?<=gce://)[\w/.-]+|(?<=azure:///)[\w/.-]+|(?<=openstack:///)[\w/.-]+|(?<=vsphere://)[\w-]+"
    r"|\barn:aws[\w-]*:[\w:/.*-]+"
    r"|\b(?:i|vol|subnet|vpc|eni|sg|ami|snap|fs|fsap|rtb)-[0-9a-f]{8,17}\b"
    r"|(?<=subscriptions/)[0-9a-fA-F-]{36}|(?<=projects/)[\w-]+(?=/)|\bocid1\.[\w.-]+"
)
_OPEN_VARIABLES = re.compile(
    r"PATH|TMPDIR|HOME|LANG|LC_\w+|INVOCATION_ID|KUBELET\w*|CONTAINERD\w*|CRIO\w*|GO\w+|"
    r"(?:K3S|RKE2)_(?!.*TOKEN)\w+|CONTAINER_RUNTIME_ENDPOINT|_?container"
)
"""Variables that decide what runs on the node; no other one is kept, not even its name."""


class Redactor:
    """Replaces secrets; remembers them, so that one that lies in two files has one number."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many different secrets it met."""
        return len(self._known)

    def redact(self, asked: Iterable[Asked]) -> list[Asked]:
        """The same questions and answers without secrets."""
        return [Asked(one.question, self._value(one.arguments), self._answer(one)) for one in asked]

    def value(self, value: Any) -> Any:
        """*value*, of dictionaries, lists and strings, without secrets."""
        return self._value(value)

    def text(self, text: str) -> str:
        """*text* without secrets."""
        text = _SHAPES.sub(lambda found: self._hide(found[0]), text)
        text = _USERINFO.sub(lambda found: self._hide(found[0]), text)
        text = _NAMED.sub(self._named, text)
        return _CLOUD.sub(lambda found: self._hide(found[0]), text)

    def _answer(self, one: Asked) -> Any:
        path = one.arguments[0] if one.question == "read" and one.arguments else ""
        if isinstance(path, str) and re.fullmatch(r"/proc/\w+/environ", path) and isinstance(one.answer, dict):
            return one.answer | {"value": self._environment(one.answer.get("value"))}
        return self._value(one.answer)

    def _environment(self, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("text"), str):
            return None if content is None else {"text": ""}
        variables = [variable.partition("=") for variable in content["text"].split("\0")]
        kept = [(name, value) for name, equals, value in variables if equals and _OPEN_VARIABLES.fullmatch(name)]
        return {"text": "".join(f"{name}={self.text(value)}\0" for name, value in kept)}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._item(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [
                self._hide(item) if isinstance(item, str) and self._follows_flag(value, index) else self._value(item)
                for index, item in enumerate(value)
            ]
        return value

    def _item(self, key: str, item: Any) -> Any:
        """A value of a JSON object, whose key may name it a secret."""
        if isinstance(item, str) and re.fullmatch(rf"(?i)[\w.-]*{_NAME}", key) and not _OPEN_VALUE.fullmatch(item):
            return self._hide(item) if item else item
        return self._value(item)

    def _follows_flag(self, words: list[Any], index: int) -> bool:
        before, word = words[index - 1] if index else "", words[index]
        return (
            isinstance(before, str)
            and bool(_FLAG.fullmatch(before))
            and not word.startswith("-")
            and not _OPEN_VALUE.fullmatch(word)
        )

    def _named(self, found: re.Match[str]) -> str:
        before, value = found[1], found[2]
        bare = value.strip("\\\"'")
        if not bare or bare.startswith("REDACTED-") or _OPEN_VALUE.fullmatch(bare):
            return found[0]
        opening, _, closing = value.partition(bare)
        return f"{before}{opening}{self._hide(bare)}{closing}"

    def _hide(self, secret: str) -> str:
        if secret.startswith("REDACTED-"):
            return secret
        return self._known.setdefault(secret, f"REDACTED-{len(self._known) + 1}")
