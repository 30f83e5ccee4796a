"""Whole recorded nodes of which one thing is rubbish: no answer that was not `ready` may become it."""

from __future__ import annotations

import errno
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from lab.faults import clean
from lab.faults.targets.target import Target
from lab.recorded import NAMES, Recording
from probe.facts.model import Facts
from probe.host.cri_call import _short
from probe.host.idmap import NamespaceAnswer
from probe.host.program import Output
from probe.make_report import make_report
from probe.reading import ProblemKind, Reading, encode
from probe.report import Report

NODE = "whole nodes of which one reading is rubbish"
SOILED = "whole nodes with hostile texts"
LOST = "whole nodes of which some readings are lost"
ERRORS = (errno.EACCES, errno.EIO, errno.ETIMEDOUT, errno.ELOOP, errno.ENOMEM, errno.ENOENT)
LONGEST = 40_000
"""Characters of all texts together that are soiled: what is longer, those who read have refused."""
COMMAND = "reboot -f"
"""What no text of a node may smuggle into what people paste."""
KINDS: tuple[ProblemKind, ...] = ("not-permitted", "timed-out", "not-readable", "not-tried")
_TEXTS_OF_CRI = {"name": 256, "version": 256, "config": 1 << 19, "image_filesystem": 4096}
Change = Callable[[Recording, bytes], None]
Path = tuple[str | int, ...]


def read_node(data: bytes) -> None:
    """The first bytes choose a node, one thing that is read there, and how the others replace it."""
    name, fault, way, rubbish = *_chosen(data), _at(data, 4), data[5:]
    node = _recording(name, fault)
    slots = _slots(node)
    slots[(_at(data, 2) << 8 | _at(data, 3)) % len(slots)](node, _replaced(way, rubbish))
    report = _report(msgspec.json.decode(encode(node.facts()), type=Facts))
    (clean.check_all if way == 0 else clean.check_machines)(report)
    _demand_no_better(report, name, fault)


def lose_readings(data: bytes) -> None:
    """The first bytes choose a node, each further three a reading of its Facts that is lost, and why."""
    name, fault = _chosen(data)
    facts = _facts(name, fault)
    for at in range(2, min(len(data), 20) - 2, 3):
        readings = list(find_readings(facts))
        path, reading = readings[(data[at] << 8 | data[at + 1]) % len(readings)]
        facts = put(facts, path, Reading.without(reading.source, KINDS[data[at + 2] % len(KINDS)], "lost"))
    _demand_no_better(_report(facts), name, fault)


def soil_texts(data: bytes) -> None:
    """The first bytes choose a node, and which of the texts in its Facts say what the others are."""
    name, fault = _chosen(data)
    facts, dice, dirt = _facts(name, fault), random.Random(data[2:5]), data[5:].decode(errors="replace")
    texts = list(find_texts(facts))
    number = dice.choice((1, 1, 3, 10, len(texts)))
    for path in dice.sample(texts, number):
        facts = put(facts, path, dirt[: LONGEST // number] or "?")
    report = _report(facts)
    forged = [line for one in report.findings for line in one.remediation.split("\n") if line.strip() == COMMAND]
    assert not forged, "what is pasted has a line that a text of the node made"
    (clean.check_all if _at(data, 4) < 16 else clean.check_machines)(report)
    _demand_no_better(report, name, fault)


def _refuse_tmpfs(node: Recording) -> None:
    node.kernel["tmpfs"] = "EINVAL"


def _refuse_disks(node: Recording) -> None:
    node.kernel["mounts"] |= dict.fromkeys(("ext4", "xfs", "btrfs", "tmpfs"), "EINVAL")


def _refuse_namespace(node: Recording) -> None:
    node.namespace = NamespaceAnswer("unshare", errno.ENOSPC)


def _refuse_handlers(node: Recording) -> None:
    said = tuple(msgspec.structs.replace(one, user_namespaces=False) for one in node.cri.handlers.value or ())
    node.cri = msgspec.structs.replace(node.cri, handlers=Reading("CRI Status", said))


FAULTS: tuple[Callable[[Recording], None], ...] = (
    *(lambda node: None, _refuse_tmpfs, _refuse_disks, _refuse_namespace, _refuse_handlers),
)
"""What is wrong with a node beside the rubbish, which cannot mend it."""


def _chosen(data: bytes) -> tuple[str, int]:
    return NAMES[_at(data, 0) % len(NAMES)], _at(data, 1) % len(FAULTS)


def _recording(name: str, fault: int) -> Recording:
    node = Recording(name)
    node.kernel["mounts"] = defaultdict(lambda: "EINVAL", node.kernel["mounts"])
    FAULTS[fault](node)
    return node


def _demand_no_better(report: Report, name: str, fault: int) -> None:
    if report.verdict == "ready":
        assert _verdict(name, fault) == "ready", f"{name} with fault {fault} became ready"


def find_texts(value: Any, path: Path = ()) -> Iterator[Path]:
    """The way to every text in *value*, a Struct, but for those that are of a closed list."""
    for key, item in _items(value):
        if not isinstance(item, str):
            yield from find_texts(item, (*path, key))
        elif isinstance(value, Reading) and key == "problem" and not item:
            continue  # that of a Reading with a value
        elif not isinstance(value, Struct) or _is_free(type(value), str(key)):
            yield *path, key


def find_readings(value: Any, path: Path = ()) -> Iterator[tuple[Path, Reading[Any]]]:
    """Every Reading in *value*, a Struct, with the way to it."""
    if isinstance(value, Reading):
        yield path, value
    for key, item in _items(value):
        yield from find_readings(item, (*path, key))


def put(value: Any, path: Path, new: object) -> Any:
    """*value* with *new* at the end of that way."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, Struct):
        return msgspec.structs.replace(value, **{str(key): put(getattr(value, str(key)), rest, new)})
    if isinstance(value, dict):
        return value | {key: put(value[key], rest, new)}
    return tuple(put(item, rest, new) if at == key else item for at, item in enumerate(value))


def _items(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, Struct):
        return ((field, getattr(value, field)) for field in value.__struct_fields__)
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, tuple) else ()


@lru_cache
def _is_free(kind: type, field: str) -> bool:
    """Whether that field of a Struct may hold any text; that of a Reading's value may, as far as anybody can tell."""
    hint = get_type_hints(kind)[field]
    return hint in (str, str | None) or (kind is Reading and field == "value")


def _slots(node: Recording) -> list[Change]:
    """What can be replaced on a node: each file, link, output, argument list, and text of the runtime."""

    def file(path: str) -> Change:
        return lambda node, data: node.host.files.__setitem__(path, data)

    def missing(path: str) -> Change:
        return lambda node, data: node.host.files.__setitem__(path, ERRORS[_at(data, 0) % len(ERRORS)])

    def link(path: str) -> Change:
        return lambda node, data: node.host.links.__setitem__(path, _fsdecode(data))

    def command(line: str) -> Change:
        return lambda node, data: node.host.commands.__setitem__(
            line, Output(_at(data, 0) % 3, data[1:].decode(errors="replace"), data[:50].decode(errors="replace"))
        )

    def process(index: int) -> Change:
        def change(node: Recording, data: bytes) -> None:
            old = node.host.process_list[index]
            words = tuple(_fsdecode(word) for word in data.split(b"\0")[:-1])
            node.host.process_list[index] = msgspec.structs.replace(old, argv=(*old.argv[:1], *words))

        return change

    def cri(field: str, limit: int) -> Change:
        def change(node: Recording, data: bytes) -> None:
            said: Reading[str] = Reading("CRI", data.decode(errors="replace")).parse(lambda text: _short(text, limit))
            node.cri = msgspec.structs.replace(node.cri, **{field: said})

        return change

    host = node.host
    return [
        *(make(path) for path in sorted(host.files) for make in (file, missing)),
        *map(link, sorted(host.links)),
        *map(command, sorted(host.commands)),
        *map(process, range(len(host.process_list))),
        *(cri(field, limit) for field, limit in _TEXTS_OF_CRI.items()),
    ]


def _replaced(way: int, rubbish: bytes) -> bytes:
    """Rubbish alone, long rubbish, or as many lines of it."""
    return (rubbish, rubbish * (1 + way), rubbish.replace(b" ", b"\n"), rubbish + b"\n")[way % 4][: 4 << 20]


def _report(facts: Facts) -> Report:
    now = "2026-11-21T21:00:00Z"
    return make_report(facts, agent_version="0", probed_at=now, expires_at=now, duration_seconds=0.0)


@lru_cache
def _facts(name: str, fault: int) -> Facts:
    return _recording(name, fault).facts()


@lru_cache
def _verdict(name: str, fault: int) -> str:
    return _recording(name, fault).report().verdict


def _at(data: bytes, index: int) -> int:
    return data[index] if index < len(data) else 0


def _fsdecode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _corpus() -> Sequence[bytes]:
    """Each kind of thing with what it might have said, and some nonsense."""
    dice = random.Random(0)
    texts = [content for path, content in Recording(NAMES[0]).host.files.items() if isinstance(content, bytes)]
    return [dice.randbytes(5) + dice.choice((*texts, b"\xff\n\x1b[2J", b"")) for _ in range(300)]


TARGETS = (
    Target("node", NODE, read_node, _corpus, ("kubelet", "containerd", "--config", "0 0 4294967295"), runs=5_000),
    Target("texts", SOILED, soil_texts, _corpus, (f"\n  {COMMAND}\n", f"\n{COMMAND}\n"), runs=5_000),
    Target("readings", LOST, lose_readings, lambda: [random.Random(at).randbytes(16) for at in range(50)], runs=20_000),
)
