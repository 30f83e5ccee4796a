"""For each break: what the probe predicts, what becomes of the Pods, and whether both agree."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.real.node import MOUNTED
from lab.sabotage import pods
from lab.sabotage.fate import Fates, none_runs
from lab.sabotage.judge import NO_REPORT, Claim, judge, judge_row
from lab.sabotage.machine import BIN, CGROUP, DidNotStartError, Lab, Machine
from lab.sabotage.row import HELPERS, Break

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
class Row:
    """One break, its prediction and its fate."""

    name: str
    kind: str
    report: Mapping[str, Any]  # the parts of the report that say something
    fates: Fates
    claims: tuple[Claim, ...]
    seconds: float
    with_trial: Mapping[str, Any] | None = None  # the same of a probe with --try-pod
    only_trial: str = ""  # of the break

    @property
    def verdict(self) -> str:
        """Its class."""
        tried = tuple(judge(self.with_trial, self.fates)) if self.with_trial else ()
        return judge_row(self.claims, tried, bool(self.only_trial))

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
            "with_trial": None if self.with_trial is None else dict(self.with_trial),
            "only_trial": self.only_trial,
            "fates": fates,
            "claims": claims,
            "seconds": round(self.seconds, 1),
        }


def try_one(lab: Lab, broken: Break, try_pod: bool = False) -> Row:
    """Break a new node this way, ask the probe, and make the Pods. *Errors*: NotBrokenError.

    With *try_pod* the probe is asked once more, with `--try-pod`.
    """
    began = time.monotonic()
    try:
        with lab.machine() as machine:
            reports, fates = _on(machine, broken, [(), ("--try-pod",)] if try_pod else [()])
    except OSError as error:  # of the kubelet that stands for the real one, or of the lab's own files
        raise NotBrokenError(str(error)[-400:]) from error
    finally:
        lab.sweep()
    report, with_trial = reports[0], reports[1] if try_pod else None
    claims, seconds = tuple(judge(report, fates)), time.monotonic() - began
    return Row(broken.name, broken.kind, report, fates, claims, seconds, with_trial, broken.only_trial)


def _on(machine: Machine, broken: Break, probes: Sequence[Sequence[str]]) -> tuple[list[dict[str, Any]], Fates]:
    machine.kubelet_root = broken.kubelet_root
    config = dict(broken.config)
    if broken.specification:
        config["runtime"] = _base_specification(machine, broken.specification)
    _break(machine, broken.before)
    environment = {"PYTHON": machine.node.python, "CHECKOUT": MOUNTED, "CGROUP": CGROUP, **broken.environment}
    try:
        with machine.containerd(config, wrapper(broken), environment):
            try:
                pods.import_images(machine)
            except OSError as error:
                fates = none_runs(f"images: {error}")
                return _ask_all(machine, probes), fates
            _break(machine, broken.after)
            return _ask_all(machine, probes), pods.try_pods(machine)
    except DidNotStartError as error:
        if _NOT_BROKEN in str(error):
            raise NotBrokenError(str(error)) from error
        return _ask_all(machine, probes), none_runs(f"containerd: {error}")


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
    except OSError as error:
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


def _ask_all(machine: Machine, probes: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    return [_ask(machine, options) for options in probes]


def _ask(machine: Machine, options: Sequence[str]) -> dict[str, Any]:
    """What the probe says of the node, in the parts that are judged or explain."""
    with machine.kubelet():
        probed = machine.node.probe("-o", "json", *options, wrapper=("timeout", "-k", "5", str(_TIMEOUT)))
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
