"""Text for a terminal: nothing that a node holds can move the cursor, change a colour, or forge a line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from probe.terms import Status

Part = str | tuple[str, str]
"""Words, or words with their style."""
Cell = Part | list[Part]
"""One cell of a table: a part, or lines of them."""
_Line = list[tuple[str, str]]

MARKS: dict[Status, str] = {"pass": "✔", "fail": "✘", "unknown": "?", "warn": "!", "skipped": "-"}
STYLES: dict[Status, str] = {"pass": "green", "fail": "red", "unknown": "magenta", "warn": "yellow", "skipped": "dim"}

WORST_FIRST: tuple[Status, ...] = ("fail", "unknown", "warn")
NARROWEST, WIDEST = 40, 120  # narrower nothing fits; wider the eye loses the line
FEW = 8  # without -v no list is longer, so that a report fits a screen whatever the node holds

_UNFOLDED = 1 << 30
_LEAST_ROOM = 20  # columns for the last cell of a row; with less it begins on a line of its own
_SGR = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35"}

# No column of its own (conjoining jamo, skin tones) or nothing to see in it (fillers, the empty braille cell),
# although Unicode counts them among letters and symbols.
_UNSEEN = "[\u115f-\u11ff\u2800\u3164\ud7b0-\ud7ff\uffa0\U0001f3fb-\U0001f3ff]"
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
    """The one character for *status*."""
    return MARKS[status], f"bold {STYLES[status]}"


def spaced(word: str) -> str:
    """`not-ready` as people write it: `not ready`."""
    return word.replace("-", " ")


def shortened(rows: list[list[Cell]]) -> list[list[Cell]]:
    """The first rows, and a last one that counts the others."""
    if len(rows) <= FEW:
        return rows
    more: list[Cell] = ["", f"and {len(rows) - FEW} more (-v)", *("" for _ in rows[0][2:])]
    return [*rows[:FEW], more]


class Page:
    """Lines for a terminal. All text is escaped, and folded between words: a path or command is never broken.

    A word that is longer than its line stands alone on it; the terminal wraps it, and gives it back whole when copied.
    """

    def __init__(self, *, width: int | None, colour: bool, limit: int = 0) -> None:
        """*width* in columns, None: no folding at all; of each string *limit* characters are kept."""
        self.width = _UNFOLDED if width is None else max(NARROWEST, min(width, WIDEST))
        self.narrow = self.width < 72
        self._colour = colour
        self._limit = limit
        self._lines: list[_Line] = []

    def line(self, *parts: Part, indent: int = 0) -> None:
        """One line, or as many as it needs."""
        self._put([], indent, self._fold(parts, self.width - indent))

    def blank(self) -> None:
        """An empty line."""
        self._lines.append([])

    def heading(self, *parts: Part) -> None:
        """A title below an empty line."""
        self.blank()
        self.line(*parts)

    def table(self, rows: Sequence[Sequence[Cell]], indent: int = 2, marked: bool = False) -> None:
        """Rows of equally many cells, in aligned columns; the last one is folded.

        With *marked*, the first column holds a mark, one column away from the second. A cell that is wider than its
        column moves the rest of its row to the next line.
        """
        if not rows:
            return
        starts = self._columns(rows, indent, marked)
        for row in rows:
            line: _Line = []
            for column, cell in enumerate(row):
                parts = cell if isinstance(cell, list) else [cell]
                start = starts[column]
                if column == len(row) - 1 and self.width - start < min(_LEAST_ROOM, self._widest(parts)):
                    line, start = self._flush(line), indent + 2
                elif line and _width(line) >= start:
                    line = self._flush(line)
                folded = [one for part in parts for one in self._fold([part], self.width - start)]
                line = self._put(line, start, folded, whole=False)
            self._flush(line)

    def remediation(self, label: Part, text: str, indent: int = 2) -> None:
        """A remediation: a sentence after *label*, and below it the indented lines, never wrapped, to be pasted."""
        lines = text.split("\n")
        margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line[:1] == " "), default=0)
        for line in lines:
            if line[:1] == " ":
                self._lines.append([(" " * (indent + 2), ""), (visible(line[margin:]), "bold")])
                label = ""  # a sentence after a command stands in the margin, where it is seen to be none
            elif line:
                self.table([[label, line] if label else [line]], indent)
                label = " " * len(label if isinstance(label, str) else label[0])

    def __str__(self) -> str:
        return "".join(f"{self._drawn(line)}\n" for line in self._lines)

    def _columns(self, rows: Sequence[Sequence[Cell]], indent: int, marked: bool) -> list[int]:
        """Start of each column."""
        starts = [indent]
        for index in range(len(rows[0]) - 1):
            cells = (row[index] for row in rows)
            widest = self._widest(part for cell in cells for part in (cell if isinstance(cell, list) else [cell]))
            gap = (1 if marked and index == 0 else 2) if widest else 0
            starts.append(starts[-1] + min(widest, max(self.width // 3, 14)) + gap)
        return starts

    def _widest(self, parts: Iterable[Part]) -> int:
        return max((_columns_of(self._shown(part)[0]) for part in parts), default=0)

    def _put(self, line: _Line, start: int, folded: list[_Line], whole: bool = True) -> _Line:
        """Put *folded* at column *start*, its first line behind *line*; return the last one unless it is *whole*."""
        for index, fragments in enumerate(folded):
            if index:
                line = self._flush(line)
            if fragments:
                line = [*line, (" " * (start - _width(line)), ""), *fragments]
        return self._flush(line, empty=True) if whole else line

    def _flush(self, line: _Line, empty: bool = False) -> _Line:
        if line or empty:
            self._lines.append(line)
        return []

    def _fold(self, parts: Sequence[Part], room: int) -> list[_Line]:
        """Lines of words, each at most *room* columns wide, or a single word."""
        lines: list[_Line] = [[]]
        used = 0
        for word in _words([self._shown(part) for part in parts]):
            size = _width(word)
            if lines[-1] and used + 1 + size > room:
                lines.append([])
                used = 0
            if lines[-1] or used:
                blank_style = word[0][1] if lines[-1] and word[0][1] == lines[-1][-1][1] else ""
                lines[-1].append((" ", blank_style))
                used += 1
            elif not size and len(lines) > 1:
                continue  # blanks at the fold
            lines[-1] += word
            used += size
        return lines

    def _shown(self, part: Part) -> tuple[str, str]:
        words, style = (part, "") if isinstance(part, str) else part
        return visible(words, self._limit), style

    def _drawn(self, line: _Line) -> str:
        """The line as it is written, with a sequence of SGR around neighbours of one style."""
        merged: _Line = []
        for text, style in line:
            if merged and merged[-1][1] == style:
                merged[-1] = (merged[-1][0] + text, style)
            elif text:
                merged.append((text, style))
        while merged and not merged[-1][0].strip(" "):
            merged.pop()
        if merged:
            merged[-1] = (merged[-1][0].rstrip(" "), merged[-1][1])
        return "".join(self._coloured(text, style) for text, style in merged)

    def _coloured(self, text: str, style: str) -> str:
        if not style or not self._colour:
            return text
        return f"\x1b[{';'.join(_SGR[word] for word in style.split())}m{text}\x1b[0m"


def _words(parts: list[tuple[str, str]]) -> list[_Line]:
    """*parts* taken apart at their blanks; a word may have more than one style."""
    words: list[_Line] = [[]]
    for text, style in parts:
        first, *others = text.split(" ")
        words[-1].append((first, style))
        words += [[(other, style)] for other in others]
    return words


def _width(line: _Line) -> int:
    return sum(_columns_of(text) for text, _ in line)


def _columns_of(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _plain(char: str) -> bool:
    """True when the character is visible, fills its columns and has no other effect."""
    return char.isprintable() and unicodedata.category(char)[0] != "M" and not re.match(_UNSEEN, char)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
