"""Tokens of CEL and of JMESPath. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

CEL = re.compile(
    r"""(?:\s|//[^\n]*+)*+(?:
    (?P<string>[rRbB]{0,2}(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)
    |(?P<operator>&&|\|\||[=!<>]=|\.\?|\[\?|[-+*/%!<>()\[\]{}.,:?])
    |(?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)


JMESPATH = re.compile(
    r"\s*(?:(?P<literal>`(?:[^`\\]|\\.)*`)|(?P<raw>'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)|(?P<quoted>\"[^\"\\]*\")"
    r"|(?P<operator>\|\||&&|[=!]=|[!().,@])|(?P<end>\Z))"
)


class Tokens:
    """The tokens of an expression, the next one first. *Errors*: ValueError for text that is not a token.

    *pattern* names each kind of token by a group, the last of all `end`.
    """

    def __init__(self, text: str, pattern: re.Pattern[str]) -> None:
        self._rest = _tokens(text, pattern)
        self.kind, self.token = next(self._rest)

    def next(self) -> str:
        """The next token, which is taken."""
        token = self.token
        if self.kind == "end":
            raise ValueError("the expression is cut off")
        self.kind, self.token = next(self._rest)
        return token

    def take(self, *operators: str) -> str:
        """The next token if it is one of *operators*, else nothing."""
        return self.next() if self.kind == "operator" and self.token in operators else ""

    def expect(self, operator: str) -> None:
        """Take *operator*."""
        if not self.take(operator):
            raise ValueError(f"no {operator}")

    def items(self, closing: str) -> Iterator[None]:
        """Once for each item of a list that *closing* ends, for the caller to take; a comma may follow the last."""
        while not self.take(closing):
            yield
            if not self.take(","):
                self.expect(closing)
                return


def _tokens(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(Kind, token), the last of the kind `end`."""
    at = 0
    while True:
        found = pattern.match(text, at)
        if found is None or found.lastgroup is None:
            raise ValueError("not a token")
        yield found.lastgroup, found[found.lastgroup]
        if found.lastgroup == "end":
            return
        at = found.end()
