"""Row type of the table of remediations."""

from __future__ import annotations

from msgspec import Struct

from probe.checks.remedies.platforms import PLATFORMS, SERVICES


class Remediation(Struct, frozen=True):
    """One row of the table of remediations."""

    check: str
    """Empty: any check with the reason."""
    reason: str
    """Empty: a warning."""
    platform: str
    """One of PLATFORMS. Empty: all without a row of their own."""
    source: str
    written: str
    """The text as the table has it, indented and wrapped."""

    @property
    def text(self) -> str:
        """The text with each paragraph on one line; outputs wrap it."""
        lines: list[str] = []
        written = self.written.rstrip().lstrip("\n").split("\n")
        margin = min(len(line) - len(line.lstrip(" ")) for line in written)
        for line in (line[margin:] for line in written):
            if lines and " " not in (line[0], lines[-1][0]):
                lines[-1] += f" {line}"
            else:
                lines.append(line)
        return "\n".join(lines)


def row(where: tuple[str, str], platform: str, source: str, written: str) -> Remediation:
    """Row for a check and its reason."""
    return Remediation(*where, platform, source, written)


def k3s_and_rke2(where: tuple[str, str], source: str, text: str) -> tuple[Remediation, ...]:
    """Two rows, with `k3s` and `rke2` for NAME and the restart command of the service for RESTART."""
    return tuple(
        row(where, name, f"{PLATFORMS[name]} documentation, {source}", fitted)
        for name in ("k3s", "rke2")
        for fitted in (text.replace("NAME", name).replace("RESTART", SERVICES[name]),)
    )
