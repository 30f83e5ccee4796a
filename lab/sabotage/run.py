"""For each break: what the probe predicts, what becomes of the Pods, and whether both agree."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.real.node import CHECKOUT
from lab.sabotage import pods
from lab.sabotage.machine import BIN, DidNotStartError, Lab, Machine
from lab.sabotage.pods import HANDLERS, KINDS, LEVELS, Fates
from lab.sabotage.row import HELPERS, Break

AGREE, UNKNOWN, NO_REPORT, FALSE_NOT_READY, FALSE_READY = (
    "agree",
    "unknown",
    "no report",
    "false not-ready",
    "false ready",
)
CLASSES = (AGREE, UNKNOWN, NO_REPORT, FALSE_NOT_READY, FALSE_READY)
"""From best to worst."""
WRONG = CLASSES[2:]
_DEFAULT_HANDLER = "runc"
_JUDGED = ("plain", "token", "memory", "disk", "configmap")
"""The Pods that a verdict is about: all below the level `volumes`."""
_TIMEOUT = 90
_NOT_BROKEN = "this break could not be made"

# execve runs no trap: only a script that fails says so.
_GUARDED = f"""{{}}
trap 'echo {_NOT_BROKEN} >&2' EXIT
{{}}
exec "$@"
"""


class NotBrokenError(Exception):
    """A break that could not be made here, with what was missing."""


@dataclass(frozen=True)
class Claim:
    """One thing that the probe said, beside what it is about."""

    subject: str  # a level, or a handler
    predicted: str
    verdict: str  # one of CLASSES


@dataclass(frozen=True)
class Row:
    """One break, its prediction and its fate."""

    name: str
    kind: str
    report: Mapping[str, Any]  # the parts of the report that say something
    fates: Fates
    claims: tuple[Claim, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """The worst class of its claims."""
        return max((claim.verdict for claim in self.claims), key=CLASSES.index)

    @property
    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        fates = {
            handler: {kind: [fate.outcome, fate.words] for kind, fate in kinds.items()}
            for handler, kinds in self.fates.items()
        }
        claims = [[claim.subject, claim.predicted, claim.verdict] for claim in self.claims]
        return {
            "name": self.name,
            "kind": self.kind,
            "class": self.verdict,
            "report": dict(self.report),
            "fates": fates,
            "claims": claims,
            "seconds": round(self.seconds, 1),
        }


def try_all(lab: Lab, breaks: Iterable[Break]) -> Iterator[Row]:
    """A row for each break, when it is done. *Errors*: NotBrokenError."""
    for each in breaks:
        yield try_one(lab, each)


def try_one(lab: Lab, broken: Break) -> Row:
    """Break a new node this way, ask the probe, and make the Pods. *Errors*: NotBrokenError."""
    began = time.monotonic()
    try:
        with lab.machine() as machine:
            report, fates = _on(machine, broken)
    finally:
        lab.sweep()
    claims = tuple(judge(report, fates))
    return Row(broken.name, broken.kind, report, fates, claims, time.monotonic() - began)


def _on(machine: Machine, broken: Break) -> tuple[dict[str, Any], Fates]:
    machine.kubelet_root = broken.kubelet_root
    config = dict(broken.config)
    if broken.specification:
        config["runtime"] = _base_specification(machine, broken.specification)
    _break(machine, broken.before)
    environment = {"PYTHON": sys.executable, "CHECKOUT": CHECKOUT, **broken.environment}
    try:
        with machine.containerd(config, wrapper(broken), environment):
            try:
                pods.import_images(machine)
            except OSError as error:
                fates = pods.none_runs(f"images: {error}")
                return _ask(machine), fates
            _break(machine, broken.after)
            return _ask(machine), pods.try_pods(machine)
    except DidNotStartError as error:
        if _NOT_BROKEN in str(error):
            raise NotBrokenError(str(error)) from error
        return _ask(machine), pods.none_runs(f"containerd: {error}")


def wrapper(broken: Break) -> tuple[str, ...]:
    """The command that becomes containerd."""
    if broken.sandboxed:
        propagation, _, script = broken.sandboxed.partition(";")
        return (
            "unshare",
            "--mount",
            f"--propagation={propagation}",
            "sh",
            "-ec",
            _GUARDED.format(HELPERS, script),
            "sh",
        )
    return ("sh", "-ec", f'{broken.daemon}\nexec "$@"', "sh") if broken.daemon else ()


def _break(machine: Machine, script: str) -> None:
    if not script:
        return
    try:
        machine.shell(f"{HELPERS}\n{script}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBrokenError(str(error)[-400:]) from error


def _base_specification(machine: Machine, changes: Mapping[str, Any]) -> str:
    """The line of the configuration that names containerd's own default with *changes*."""
    whole = _merge(json.loads(machine.shell(f"{BIN}/ctr oci spec")), changes)
    machine.write("/etc/containerd/base.json", json.dumps(whole))
    return 'base_runtime_spec = "/etc/containerd/base.json"'


def _merge(base: Any, changes: Any) -> Any:
    if isinstance(base, dict) and isinstance(changes, Mapping):
        return base | {key: _merge(base.get(key), value) for key, value in changes.items()}
    return base + changes if isinstance(base, list) else changes


def _ask(machine: Machine) -> dict[str, Any]:
    """What the probe says of the node, in the parts that are judged or explain."""
    with machine.kubelet():
        probed = machine.node.probe("-o", "json", wrapper=("timeout", "-k", "5", str(_TIMEOUT)))
    if probed.code not in (0, 1, 2):
        problem = f"exit code {probed.code}: {probed.stderr[-500:].strip()}"
        return {"verdict": "", "reason": NO_REPORT, "message": problem, "levels": {}, "handlers": {}, "findings": []}
    report = probed.report
    return {
        "verdict": report["verdict"],
        "reason": report["reason"],
        "message": report["message"],
        "levels": report["levels"],
        "handlers": {each["name"]: [each["verdict"], each["reason"]] for each in report["handlers"]},
        "findings": [
            [each["id"], each["status"], each["message"]]
            for each in report["findings"]
            if each["status"] not in ("pass", "skipped")
        ],
    }


def judge(report: Mapping[str, Any], fates: Fates) -> Iterator[Claim]:
    """Every claim of the report about something that was tried."""
    if report["reason"] == NO_REPORT:
        yield Claim("node", NO_REPORT, NO_REPORT)
        return
    default = fates[_DEFAULT_HANDLER]
    yield _claim("node", report["verdict"], default, _JUDGED)
    kinds: tuple[str, ...] = ()
    for level, more in LEVELS.items():
        kinds += more
        yield _claim(level, report["levels"][level], default, kinds)
    for handler in HANDLERS:
        if handler in report["handlers"]:
            yield _claim(f"handler {handler}", report["handlers"][handler][0], fates[handler], _JUDGED)


def _claim(subject: str, predicted: str, fates: Mapping[str, pods.Fate], kinds: Sequence[str]) -> Claim:
    """`ready` promises that all of these Pods run, `not-ready` that they do not all."""
    all_run = all(fates[kind].runs for kind in kinds)
    right = {"ready": all_run, "not-ready": not all_run}
    if predicted not in right:
        return Claim(subject, predicted, UNKNOWN)
    wrong = FALSE_READY if predicted == "ready" else FALSE_NOT_READY
    return Claim(subject, predicted, AGREE if right[predicted] else wrong)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of these documents, and how many there are of each class."""
    counts = {name: sum(row["class"] == name for row in rows) for name in CLASSES}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [f"{len(rows)} breaks: {summary}.", ""]
    lines += ["| break | predicted | handler crun | Pods with runc | Pods with crun | host Pods | class |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> str:
    report, fates = row["report"], row["fates"]
    cells = [
        row["name"],
        f"{report['verdict']} {report['reason']}".strip(),
        " ".join(report["handlers"].get("crun", ["not reported", ""])).strip(),
        *(_pods(fates[handler]) for handler in HANDLERS),
        _control(fates),
        row["class"],
    ]
    return f"| {' | '.join(cells)} |"


def _pods(fates: Mapping[str, Sequence[str]]) -> str:
    outcomes = {kind: fates[kind][0] for kind in KINDS}
    if len(set(outcomes.values())) == 1:
        return f"all {outcomes['plain']}" if outcomes["plain"] == pods.UNUSABLE else outcomes["plain"].replace("s", "")
    return ", ".join(f"{kind} {outcome}" for kind, outcome in outcomes.items() if outcome != pods.RUNS)


def _control(fates: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    tried = [f"{handler} {fates[handler]['host'][0]}" for handler in HANDLERS if "host" in fates[handler]]
    return ", ".join(tried) or "not needed"
