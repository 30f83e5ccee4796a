"""Text for a terminal: whatever a node holds, it cannot move the cursor, change a colour, or forge a line."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from probe.checks.check import Status

if TYPE_CHECKING:
    from rich.text import Text

Part = str | tuple[str, str]
"""Words, or words with the style they are drawn in."""
Cell = Part | list[Part]
"""One cell of a table: a part, or lines of them."""

MARKS: dict[Status, str] = {"pass": "✔", "fail": "✘", "unknown": "?", "warn": "!", "skipped": "-"}
STYLES: dict[Status, str] = {"pass": "green", "fail": "red", "unknown": "magenta", "warn": "yellow", "skipped": "dim"}

WORST_FIRST: tuple[Status, ...] = ("fail", "unknown", "warn")
NARROWEST, WIDEST = 40, 120  # narrower nothing fits; wider the eye loses the line
_UNWRAPPED = 1 << 16
FEW = 8  # without -v no list is longer, so that a report fits a screen whatever the node holds

# No column of its own (conjoining jamo, skin tones) or nothing to see in it (fillers, the empty braille cell),
# although Unicode counts them among letters and symbols.
_UNSEEN = re.compile("[\u115f-\u11ff\u2800\u3164\ud7b0-\ud7ff\uffa0\U0001f3fb-\U0001f3ff]")
_ASCII = str.maketrans({"✔": "+", "✘": "x", "·": "-"})


def visible(text: str, limit: int = 0) -> str:
    r"""*text* with everything escaped that is not one plain visible character: `\x1b`, `\u202e`, `\udc80`.

    That is each control and format character, combining mark, line separator, lone surrogate, private and
    unassigned code point, and any space but U+0020. Of more than *limit* characters, only that many are kept.
    """
    if limit and len(text) > limit:
        return f"{visible(text[:limit])} (and {len(text) - limit} more characters)"
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _plain(char) else _escaped(char) for char in text)


def safe(text: str, encoding: str | None) -> str:
    """*text* as it can be written in *encoding*: marks become ASCII, all else that it lacks is escaped."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return safe(text, "ascii")
    return text


def mark(status: Status) -> Part:
    """The one character that stands for *status*."""
    return MARKS[status], f"bold {STYLES[status]}"


def spaced(word: str) -> str:
    """`not-ready` as people write it."""
    return word.replace("-", " ")


def shortened(rows: list[list[Cell]]) -> list[list[Cell]]:
    """A few rows, and a last one that tells of the others."""
    if len(rows) <= FEW:
        return rows
    more: list[Cell] = ["", f"and {len(rows) - FEW} more (-v)", *("" for _ in rows[0][2:])]
    return [*rows[:FEW], more]


class Page:
    """Lines for a terminal; everything given to it is escaped, and nothing in it is taken for markup.

    rich is imported with the first page, so that documents for machines do not pay for it.
    """

    def __init__(self, *, width: int | None, colour: bool, limit: int = 0) -> None:
        from rich.console import Console

        self.width = _UNWRAPPED if width is None else max(NARROWEST, min(width, WIDEST))
        self.narrow = self.width < 72
        self.limit = limit
        self._out = io.StringIO()
        self._console = Console(
            file=self._out,
            width=self.width,
            height=25,  # with it given, no environment variable is asked for a size
            color_system="standard" if colour else None,
            force_terminal=colour,
            no_color=not colour,
            force_jupyter=False,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )

    def line(self, *parts: Part, indent: int = 0) -> None:
        """One line, or as many as it needs."""
        from rich.padding import Padding

        self._console.print(Padding(self._text(parts), (0, 0, 0, indent), expand=False))

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def heading(self, *parts: Part) -> None:
        """A title, with an empty line above it."""
        self.blank()
        self.line(*parts)

    def table(self, rows: Sequence[Sequence[Cell]], indent: int = 2, marked: bool = False) -> None:
        """Rows of equally many cells, in aligned columns; where room is short, the widest column wraps first.

        With *marked*, the first column holds a mark, and stands close to the second.
        """
        from rich.padding import Padding
        from rich.table import Column, Table

        if not rows:
            return
        gaps = [2] * (len(rows[0]) - 1) + [0]
        if marked:
            gaps[0] = 1
        margins = [indent, *(0 for _ in rows[0][1:])]
        table = Table.grid(*(Column(overflow="fold") for _ in rows[0]))
        for row in rows:
            sides = zip(row, gaps, margins, strict=True)
            table.add_row(*(Padding(self._cell(cell), (0, gap, 0, margin)) for cell, gap, margin in sides))
        self._console.print(table)

    def advice(self, label: Part, text: str, indent: int = 2) -> None:
        """What to do: a sentence beside *label*, and below it, as they are, the indented lines, which can be pasted.

        Those alone may be longer than the page is wide. Broken in two, a command is another command; whole, the
        terminal wraps it, and gives it back whole when it is copied.
        """
        from rich.text import Text

        lines = text.split("\n")
        margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line[:1] == " "), default=0)
        for line in lines:
            if line[:1] == " ":
                command = f"{' ' * (indent + 2)}{visible(line[margin:])}"
                self._console.print(Text(command, style="bold"), soft_wrap=True)
                label = ""  # what is said after a command stands before the next one, not beside the first sentence
            elif line:
                self.table([[label, line] if label else [line]], indent)
                label = " " * len(label if isinstance(label, str) else label[0])

    def __str__(self) -> str:
        return "".join(f"{line.rstrip()}\n" for line in self._out.getvalue().splitlines())

    def _cell(self, cell: Cell) -> Text:
        from rich.text import Text

        return Text("\n").join(self._text([part]) for part in (cell if isinstance(cell, list) else [cell]))

    def _text(self, parts: Sequence[Part]) -> Text:
        from rich.text import Text

        text = Text(overflow="fold")
        for part in parts:
            words, style = (part, "") if isinstance(part, str) else part
            text.append(visible(words, self.limit), style or None)
        return text


def _plain(char: str) -> bool:
    """Whether it fills its columns with something to see, and does nothing else."""
    return char.isprintable() and unicodedata.category(char)[0] != "M" and not _UNSEEN.match(char)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
