"""Parts of a Pod with their field paths."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from probe.pod.model import Origin, Outcome, Pod, Reason
from probe.pod.spec import Container, VolumeMount

KEEP_HOST = "set hostUsers: true in this Pod"


def containers(pod: Pod) -> Iterator[tuple[str, Container]]:
    """(`spec.initContainers[0]`, container), in the order in which they start."""
    kinds = (
        ("initContainers", pod.spec.init_containers),
        ("containers", pod.spec.containers),
        ("ephemeralContainers", pod.spec.ephemeral_containers),
    )
    for name, found in kinds:
        for index, one in enumerate(found or ()):
            yield f"{pod.path}.{name}[{index}]", one


def mounts_of(pod: Pod) -> dict[str, list[VolumeMount]]:
    """Name of a volume -> all its mounts. A volume that no container mounts is not there: no runtime maps it."""
    found: dict[str, list[VolumeMount]] = {}
    for _, one in containers(pod):
        for mount in one.volume_mounts or ():
            found.setdefault(mount.name, []).append(mount)
    return found


def with_command(words: str, command: str, name: str) -> str:
    """*words*, and the shell *command* with the quoted *name* for its `{}`; without it where *name* is hostile.

    A name with control characters, or one that the command takes for an option, is hostile.
    """
    if not name.isprintable() or name.startswith("-"):
        return words
    return f"{words}: {command.format(shlex.quote(name))}"


def reason(field: str, outcome: Outcome, source: Origin, word: str, message: str, remediation: str = "") -> Reason:
    """A Reason, in one line."""
    return Reason(field=field, outcome=outcome, source=source, reason=word, message=message, remediation=remediation)
