"""What runs in a guest: a node as real as it gets there, the real command in all kinds of circumstances, and the truth.

It only observes, and prints each observation as one line of JSON; what that means is judged outside (see matrix.py).
Run by `machine.boot` as `python -m lab.kernels.inside JOB`, where JOB is a Job in JSON.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from threading import Lock

from lab.kernels.filesystems import MADE_BY_IDMAPPING, OVERLAY_LAYERS, ROWS, volume
from lab.kernels.scenarios import ALONE, CONFINED, SCENARIOS
from lab.real import bundle, kernel
from lab.real.node import CHECKOUT, Node, environment
from lab.real.packages import Runtime

DISK = "node"
"""The disk with an empty ext4 for the daemons' files: the root of a guest is an overlay, that of a node is not."""
PODS = "/var/lib/kubelet/pods"
VOLUMES = "/var/volumes"
BUDGET = "60s"  # an emulated processor takes a multiple of the time
AGAIN = 4
"""How often the command is run once more where it finds the node too slow: nothing hangs here, but the machine may be
busy. The tables say how often that was."""
TOO_SLOW = ("TimedOut", "in the time that there was")
"""A reason, and words of the trial of a runtime, by which it says so."""

_telling = Lock()


@dataclass(frozen=True)
class Job:
    """What is to be observed."""

    runtimes: dict[str, Runtime]  # containerd by its name, and the OCI runtimes
    rows: tuple[str, ...]  # of filesystems.ROWS
    scenarios: tuple[str, ...] = ()  # of scenarios.SCENARIOS
    confined_paths: bool = True  # whether `path` is run in each of scenarios.CONFINED, too
    told_by: tuple[str, ...] = ()  # the OCI runtimes that tell the truth; none: all

    def encode(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Job:
        """The same, in the guest."""
        fields = json.loads(text)
        runtimes = {
            name: Runtime(**each | {"version": tuple(each["version"])}) for name, each in fields["runtimes"].items()
        }
        rows, scenarios, told_by = (tuple(fields[name]) for name in ("rows", "scenarios", "told_by"))
        return cls(runtimes, rows, scenarios, fields["confined_paths"], told_by)

    @property
    def oci_runtimes(self) -> list[Runtime]:
        """Those of which each makes containers."""
        told_by = self.told_by or self.runtimes.keys() - {"containerd"}
        return [each for name, each in self.runtimes.items() if name in told_by]


def main() -> None:
    job = Job.decode(sys.argv[1])
    kernel.mount(f"/dev/disk/{DISK}", "/var", "ext4")
    os.mkdir(VOLUMES, mode=0o711)
    with running_node(job), made_volumes(job) as paths:
        for name in job.scenarios:
            tell_scenario(name, paths if job.confined_paths else {}, job.oci_runtimes)
        tell_paths(paths)
        for name, path in paths.items():
            for runtime in job.oci_runtimes:
                tell_truth(name, path, runtime, VOLUMES, readonly=name in ROWS and ROWS[name].readonly)


@contextmanager
def running_node(job: Job) -> Iterator[None]:
    """The daemons of a node: a real containerd, and a kubelet that is one for the probe."""
    os.mkdir("/var/node")
    node = Node("/var/node", 1)
    handlers = {runtime.name: runtime.path for runtime in job.runtimes.values() if runtime.name != "containerd"}
    with node.containerd(job.runtimes["containerd"], handlers) as node.endpoint:
        with node.kubelet(root=os.path.dirname(PODS)):
            yield


@contextmanager
def made_volumes(job: Job) -> Iterator[dict[str, str]]:
    """Row -> path of a volume on that file system; the directory of all Pods is one, too."""
    paths = {"kubelet-root": PODS}
    with ExitStack() as stack:
        for name in job.rows:
            if missing := ROWS[name].missing():
                tell(row=name, missing=missing)
                continue
            try:
                paths[name] = stack.enter_context(volume(name, VOLUMES))
            except OSError as error:
                lacks = name in MADE_BY_IDMAPPING and error.errno == errno.ENOSYS
                tell(row=name, **{"missing" if lacks else "broken": str(error)})
        yield paths


def tell_scenario(scenario: str, paths: dict[str, str], oci_runtimes: Sequence[Runtime]) -> None:
    """What the real command says in that scenario.

    Where it may not try everything, that is also what it says of the volumes *paths*, if any; where the whole machine
    has changed, it is followed by what becomes of plain containers.
    """
    arguments = ["report", "-o", "json", "--budget", BUDGET]
    if scenario == "--try-runtime":
        arguments.append("--try-runtime")
    with SCENARIOS[scenario]() as prefix:
        done, again = probe(prefix, *arguments), 0
        while any(words in done.stdout for words in TOO_SLOW) and again < AGAIN:
            done, again = probe(prefix, *arguments), again + 1
        said = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        tell(scenario=scenario, again=again, paths_asked=bool(paths), **said)
        if paths and scenario in CONFINED:
            tell_paths(paths, scenario, prefix)
        for runtime in oci_runtimes if scenario in ALONE else ():
            outcome = bundle.run(runtime, PODS, VOLUMES, mapped=False)
            tell(scenario=scenario, runtime=runtime.name, **asdict(outcome))


def tell_paths(paths: dict[str, str], scenario: str = "", prefix: Sequence[str] = ()) -> None:
    """What the real command says of a volume on each file system."""
    done = probe(prefix, "path", "-o", "json", "--budget", BUDGET, *paths.values())
    tell(scenario=scenario, code=done.returncode, stdout=done.stdout, stderr=done.stderr, paths=paths)


def tell_truth(name: str, path: str, runtime: Runtime, workspace: str, *, readonly: bool) -> None:
    """What an OCI runtime then does with such a volume, and where it does not start, what it does without mapping it.

    That is the control: a container that does not start either way says nothing of the mapping.
    """
    mapped = name != OVERLAY_LAYERS
    outcome = bundle.run(runtime, path, workspace, readonly=readonly, mapped=mapped)
    told = asdict(outcome)
    if mapped and not outcome.started:
        told["control"] = asdict(bundle.run(runtime, path, workspace, readonly=readonly, mapped=False))
    tell(row=name, runtime=runtime.name, **told)


def probe(prefix: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command."""
    command = [*prefix, sys.executable, "-m", "probe", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment(), stdin=subprocess.DEVNULL
    )


def tell(**observation: object) -> None:
    """One line for those outside."""
    with _telling:  # sys.stdout may not be used by several threads at once
        sys.stdout.write(json.dumps(observation) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
