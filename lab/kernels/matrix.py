"""The kernel matrix: each kernel that Debian offers booted, observed (inside.py) and judged (judge.py).

The runs are plain values: `[asdict(run) for run in runs]` is what `scripts/kernel-matrix --json` writes, and `markdown`
makes the tables from that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from lab.kernels import filesystems, image, inside, machine, packages, wide
from lab.kernels.inside import Job
from lab.kernels.judge import Judged, judge
from lab.kernels.scenarios import SCENARIOS
from lab.kernels.truth import WORKS
from lab.real.debian import Broken, Unavailable
from lab.real.packages import Runtime

TIMEOUT = 1800  # seconds for a guest, which has a minute or two of work for an idle processor


@dataclass(frozen=True)
class Run:
    """One kernel and what was found on it, or why it was not run."""

    series: str
    release: str = ""
    version: str = ""  # of Debian's package
    suite: str = ""
    architecture: str = ""
    seconds: float = 0
    runtimes: tuple[str, ...] = ()  # that told the truth
    judged: Judged = field(default_factory=Judged)
    not_run: str = ""
    failed: str = ""

    @property
    def disagreements(self) -> list[str]:
        """What is wrong, a line each."""
        judged = self.judged
        wrong = [f"{row.name}: {row.predicted}, and {row.truth}" for row in judged.filesystems if not row.agrees]
        wrong += [f"{row.name}: {row.words}: {each}" for row in judged.scenarios for each in row.problems]
        return [*wrong, *judged.problems, *([self.failed] if self.failed else [])]


def run(
    series: str, scenarios: Iterable[str] = SCENARIOS, *, confined_paths: bool = True, told_by: Sequence[str] = ()
) -> Run:
    """Boot the kernel of that series, let the command predict in *scenarios*, and see what happens.

    *confined_paths*: run `path` in each of scenarios.CONFINED, too. *told_by*: the OCI runtimes that tell the truth;
    none: all.
    *Errors*: debian.Unavailable where a tool is missing here.
    """
    try:
        kernel = packages.kernel(series)
    except Unavailable as problem:
        return Run(series, not_run=f"gone: {problem}")
    except Broken as problem:
        return Run(series, failed=str(problem))
    runtimes = image.runtimes()
    job = Job(runtimes, filesystems.CORE, tuple(scenarios), confined_paths, tuple(told_by))
    found = run_of(series, kernel, *job.oci_runtimes, runtimes["containerd"])
    try:
        return ended(found, observe(kernel, job))
    except (machine.GuestError, Broken) as problem:
        return replace(found, failed=str(problem))


def run_of(series: str, kernel: packages.Kernel, *runtimes: Runtime) -> Run:
    """The run of that kernel before anything is known of it."""
    names = tuple(map(str, runtimes))
    return Run(series, kernel.release, kernel.version, kernel.suite, kernel.architecture, runtimes=names)


def ended(run: Run, outcome: machine.Outcome) -> Run:
    """The same with what its guest observed."""
    seconds = round(outcome.seconds, 1)
    return replace(run, seconds=seconds, judged=judge(outcome.documents), failed=failure(outcome))


def failure(outcome: machine.Outcome) -> str:
    """Why that guest counts for nothing; empty when it counts."""
    return f"the guest failed; its console ends:\n{outcome.console[-machine.TAIL :]}" if outcome.code else ""


def run_all(names: Sequence[str], progress: Callable[[str], None], make: Callable[[str], Run] = run) -> list[Run]:
    """The run of each series, as many at once as there are processors; *progress* is told what became of each.

    *make* makes one: `run`, or what goes further.

    *Errors*: debian.Unavailable where a tool is missing here.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            runs = pool.map(make, names)
            return [_told(one, progress) for one in runs]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            machine.stop_all()
            raise


def observe(kernel: packages.Kernel, job: Job) -> machine.Outcome:
    """What inside.py observes on that kernel."""
    with wide.node_disk() as disk:
        return machine.boot(
            kernel,
            image.images(),
            wide.inside(job, module=inside.__name__),
            modules=filesystems.MODULES,
            disks={inside.DISK: disk},
            timeout=TIMEOUT,
        )


def _told(run: Run, progress: Callable[[str], None]) -> Run:
    count = len(run.judged.filesystems) + len(run.judged.scenarios)
    found = f"{count} rows in {run.seconds:.0f} s, {len(run.disagreements)} disagree"
    progress(f"Linux {run.release or run.series}: {f'not run: {run.not_run}' if run.not_run else found}")
    for problem in run.disagreements:
        progress(f"  {problem}")
    return run


def markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """The tables of these runs, as JSON has them."""
    kernels = [run for run in runs if run["release"]]
    parts = [
        _table(
            ("kernel", "Debian's package", "seconds in qemu", "reports asked for again"),
            [
                (
                    run["release"],
                    f"{run['version']} ({run['suite']})",
                    f"{run['seconds']:.0f}",
                    str(run["judged"]["again"]),
                )
                for run in kernels
            ],
        ),
        "",
        *(f"Linux {run['series']} was not run: {run['not_run']}\n" for run in runs if run["not_run"]),
        *(f"**Linux {_name(run)} failed: {_line(run['failed'])}**\n" for run in runs if run["failed"]),
        *(f"**On Linux {_name(run)}: {_line(each)}**\n" for run in runs for each in run["judged"]["problems"]),
        *(
            f"On Linux {run['release']} {name} was {why}\n"
            for run in kernels
            for name, why in run["judged"]["absent"].items()
            if why.startswith("not run")
        ),
        "Each file system as a volume: what `userns-probe path` predicts (✔ supported, ✘ refused), then what became of"
        f" a container with a user namespace and that volume (✔ works, ✘ refused), by {_runtimes(kernels)}; - is not"
        " there on that kernel. `overlay-layers` is an overlay over an idmapped layer, and predicted by the report.",
        "",
        _table(
            ("file system", *(run["release"] for run in kernels)),
            [(name, *(_cell(run, name) for run in kernels)) for name in _names(kernels, "filesystems")],
        ),
        "",
        f"Not tried at all: {', '.join(filesystems.NOT_TRIED)}.",
        "",
        "What `userns-probe report` says of a node with that kernel, a kubelet and containerd. Whoever may not try"
        " everything has to say `unknown`; everywhere else the verdict has to be what containers then can do.",
        "",
        _table(
            ("scenario", *(run["release"] for run in kernels)),
            [(name, *(_verdict(run, name) for run in kernels)) for name in _names(kernels, "scenarios")],
        ),
    ]
    return "\n".join(parts)


def _name(run: Mapping[str, Any]) -> str:
    return str(run["release"] or run["series"])


def _line(text: str) -> str:
    """The first line of *text*; what follows is the end of a console, which the JSON has."""
    return text.partition("\n")[0]


def _names(kernels: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    return list(dict.fromkeys(row["name"] for run in kernels for row in run["judged"][kind]))


def _runtimes(kernels: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for run in kernels for name in run["runtimes"])
    return ", ".join(name for name in names if not name.startswith("containerd"))


def _find(run: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any] | None:
    return next((row for row in run["judged"][kind] if row["name"] == name), None)


def _cell(run: Mapping[str, Any], name: str) -> str:
    row = _find(run, "filesystems", name)
    if row is None:
        return "-"
    predicted = {"supported": "✔", "refused": "✘"}.get(row["predicted"], "?")
    truth = ("✔" if set(row["truth"].values()) == {WORKS} else "✘") if row["truth"] else "?"
    return f"{predicted} {truth}" if row["agrees"] else f"**{predicted} {truth}**"


def _verdict(run: Mapping[str, Any], name: str) -> str:
    row = _find(run, "scenarios", name)
    if row is None:
        return "-"
    words = f"{row['verdict']} {row['reason']}".strip()
    return f"**{words}**" if row["problems"] else words


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
