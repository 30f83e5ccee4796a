"""The trial of real OCI runtimes on the real kernel: what it sees, and that nothing of it remains."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.prerequisites import require
from lab.real import kernel, packages
from lab.real.filesystems import CATALOG
from lab.waiting import wait_for
from probe.facts.paths import gather_paths
from probe.facts.trials.oci import judge_trial
from probe.facts.tried import RuntimeTrialFacts
from probe.host.child import Child
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH
from probe.host.oci_trial import bundle as runtime_trial_bundle
from probe.host.oci_trial import trial as runtime_trial
from probe.host.oci_trial.bundle import BUNDLES, DESTINATIONS, choose_place, is_unbindable, write_config
from probe.host.oci_trial.cgroup import CGROUP, sole_trial
from probe.host.oci_trial.trial import TrialAnswer, TrialPlan, sweep_trial_cgroups, try_runtime
from probe.reading import Reading
from probe.settings import Settings
from tests.host.sandbox.test_host_sandbox import KILLS, SEED, isolated

real = pytest.mark.real
CGROUPS = "/sys/fs/cgroup"
CONTROLLERS = [Path(CGROUPS, where, "cgroup.subtree_control") for where in ("", "unified")]
RUNTIMES = {"runc 1.1": "runc", "runc": "runc", "crun 1.8": "crun", "crun": "crun"}
"""Those of the machine, which are old on Debian 12, and new ones."""

Get = Callable[[str], packages.Runtime]
Volume = Callable[[str], str]


@pytest.fixture(scope="session")
def oci(runtime: Callable[..., packages.Runtime], machine_runtime: Callable[[str], packages.Runtime]) -> Get:
    """A name of RUNTIMES -> that runtime."""

    def get(name: str) -> packages.Runtime:
        if " " in name:
            return machine_runtime(RUNTIMES[name])
        return runtime(name, (1, 2) if name == "runc" else (1, 9))

    return get


def plan(path: str, directory: str, **changes: Any) -> TrialPlan:
    return TrialPlan(binary=path, kubelet_root=os.path.realpath(directory), **changes)


def answer_of(path: str, directory: str, enter: Callable[[], object] = lambda: None, **changes: Any) -> TrialAnswer:
    """The whole trial of one binary, in the mount namespace of the test."""
    reading = try_runtime(plan(path, directory, **changes), enter, time.monotonic() + 60)
    assert reading.value is not None, reading.problem
    return reading.value


def facts_of(path: str, directory: str, **changes: Any) -> RuntimeTrialFacts:
    """The same, judged."""
    reading = judge_trial(plan(path, directory), Reading("trial", answer_of(path, directory, **changes)), "")
    assert reading.value is not None, reading.problem
    return reading.value


def results(facts: RuntimeTrialFacts) -> dict[str, str]:
    return {step.name: step.result for step in facts.steps}


def left() -> list[str]:
    """The trial's cgroups in all real hierarchies, wherever they are mounted."""
    return sorted(
        str(path) for path in [*Path(CGROUPS).glob(f"*/{CGROUP}"), *Path(CGROUPS).glob(CGROUP)] if _is_cgroup(path)
    )


def _is_cgroup(path: Path) -> bool:
    return (path.parent / "cgroup.procs").exists()


@real
@pytest.mark.parametrize("filesystem", CATALOG)
@pytest.mark.parametrize("name", RUNTIMES)
def test_prediction_and_trial_agree(name: str, filesystem: str, oci: Get, volume: Volume) -> None:
    """What the live attempt predicts of a file system is what the runtime does with it as the kubelet's root.

    One that knows no mappings ignores them everywhere, and is caught everywhere.
    """
    found, path = oci(name), volume(filesystem)
    (row,) = gather_paths(Settings(), [path], found.name)
    facts = facts_of(found.path, path)
    assert facts.step("delete").result in ("passed", "not-tried"), facts
    if found.name == "runc" and found.version < (1, 2):
        assert results(facts)["create"] == "passed", facts
        assert results(facts)["idmapped binds"] == "failed", facts
        ignored = "tmpfs" if filesystem == "idmapped" else "kubelet root and tmpfs"
        assert f"silently ignores the mapping of {ignored}:" in facts.step("idmapped binds").reason
        assert results(facts)["owners"] == "failed", facts
    elif row.result == "supported":
        assert set(results(facts).values()) == {"passed"}, facts
    else:
        assert row.result == "refused"
        assert (results(facts)["create"], facts.blame) == ("failed", "kubelet root"), facts
        assert "MOUNT_ATTR_IDMAP" in facts.step("create").said or "`" in facts.step("create").said
    assert left() == []


@real
@pytest.mark.parametrize("name", RUNTIMES)
def test_nothing_remains(name: str, oci: Get, workspace: str) -> None:
    """Processes, namespaces, mounts, cgroups and descriptors are afterwards exactly what they were before.

    So is the owner of /dev/null, which crun before 1.24 would give to the container that has it as its stdin.
    """
    path = oci(name).path

    def before_and_after() -> list[Any]:
        before = snapshot()
        for _ in range(2):
            assert answer_of(path, workspace).delete is not None
        return [before, settled(before)]

    before, after = isolated(before_and_after)
    assert before["processes"] == [1]
    assert before["cgroups"] == []
    assert after == before


def snapshot() -> dict[str, Any]:
    """What a trial could leave behind in this PID and mount namespace."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    namespaces = set()
    for pid in pids:
        with suppress(OSError):
            namespaces |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in os.listdir(f"/proc/{pid}/ns")}
    return {
        "processes": pids,
        "namespaces": sorted(namespaces),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "cgroups": left(),
        "run": sorted(os.listdir("/run")),
        "controllers": [file.read_text() for file in CONTROLLERS if file.exists()],
        "modules": sorted(os.listdir("/sys/module")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "null": (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode),
    }


def settled(before: dict[str, Any]) -> dict[str, Any]:
    """The snapshot once it equals *before*, or the last one after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        after = snapshot()
        if after == before or time.monotonic() > deadline:
            return after
        time.sleep(0.01)


@real
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_killed_at_any_instant_only_the_cgroup_remains(name: str, oci: Get, workspace: str) -> None:
    """kill -9 of any process of the probe, at any instant: the next probe's sweep removes all that is left."""
    path = oci(name).path

    def campaign() -> list[str]:
        chance = random.Random(f"{SEED} {name}")
        failures = []
        before = snapshot()
        for turn in range(KILLS):
            gatherer = os.fork()
            if gatherer == 0:
                try:
                    answer_of(path, workspace)
                finally:
                    os._exit(0)
            time.sleep(chance.uniform(0, 0.2))
            # Any process of the probe's own, down to process 1 of the trial; the runtime ends with them.
            family = [gatherer, *(pid for pid in descendants(gatherer) if _is_ours(pid))]
            with suppress(ProcessLookupError):
                os.kill(gatherer if turn % 3 == 0 else chance.choice(family), signal.SIGKILL)
            os.waitpid(gatherer, 0)
            wait_until_ended(before)  # the next probe comes later
            wait_until_swept()
            after = settled(before)
            if after != before:
                failures.append(
                    f"turn {turn}: {[(before[key], after[key]) for key in before if before[key] != after[key]]}"
                )
        return failures

    print(f"USERNS_PROBE_SEED={SEED} USERNS_PROBE_KILLS={KILLS}")  # noqa: T201
    assert isolated(campaign) == []


def wait_until_ended(before: dict[str, Any]) -> None:
    """Until only those processes are left that were there before. Ten seconds at most."""
    deadline = time.monotonic() + 10
    while snapshot()["processes"] != before["processes"] and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.005)


def wait_until_swept() -> None:
    """Sweep until the cgroup is gone: the kernel takes a moment to end processes. Ten seconds at most."""
    deadline = time.monotonic() + 10
    while not sweep_trial_cgroups() and time.monotonic() < deadline:
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found[1:]


def _is_ours(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe")
    except OSError:
        return False


@real
def test_an_orphaned_cgroup_is_swept_and_the_next_trial_works(oci: Get, workspace: str) -> None:
    """A cgroup that a killed probe left behind is no obstacle: the trial removes it first, and so does the sweep."""
    crun = oci("crun").path

    def body() -> list[Any]:
        hierarchies = [path for path in Path(CGROUPS).iterdir() if (path / "cgroup.procs").exists()]
        for path in hierarchies:
            (path / CGROUP / "below").mkdir(parents=True)
        assert left()
        first = answer_of(crun, workspace)
        for path in hierarchies:
            (path / CGROUP).mkdir()
        return [bool(first.delete), sweep_trial_cgroups(), left()]

    assert isolated(body) == [True, True, []]


@real
def test_a_cgroup_in_use_is_left_alone(oci: Get, workspace: str) -> None:
    """Somebody else's process in a cgroup of that name lives on in it, and the trial says why it was not made."""
    crun = oci("crun").path

    def body() -> list[Any]:
        (hierarchy, *_) = [
            path for path in Path(CGROUPS).iterdir() if (path / "cgroup.procs").exists() and path.name == "pids"
        ]
        cgroup = hierarchy / CGROUP
        cgroup.mkdir()
        stranger = subprocess.Popen(["sleep", "60"])
        try:
            (cgroup / "cgroup.procs").write_text(str(stranger.pid))
            answer = answer_of(crun, workspace)
            assert answer.obstacle is not None
            swept, members = sweep_trial_cgroups(), (cgroup / "cgroup.procs").read_text().split()
            return [
                answer.obstacle.kind,
                "cgroup" in answer.obstacle.problem,
                swept,
                members == [str(stranger.pid)],
                stranger.poll(),
            ]
        finally:
            stranger.kill()
            stranger.wait()
            wait_until_swept()

    require(Path(CGROUPS, "pids/cgroup.procs").exists(), "cgroup v1")
    assert isolated(body) == ["not-tried", True, False, True, None]


@real
def test_two_trials_at_once(oci: Get, workspace: str) -> None:
    """While a trial is under way another is not begun, and its cgroup not swept."""
    crun = oci("crun").path

    def body() -> list[Any]:
        hierarchy = next(path for path in Path(CGROUPS).iterdir() if (path / "cgroup.procs").exists())
        with sole_trial() as alone:
            assert alone
            (hierarchy / CGROUP).mkdir()
            answer = answer_of(crun, workspace)
            assert answer.obstacle is not None
            other = "another trial" in answer.obstacle.problem
            seen = [answer.obstacle.kind, other, sweep_trial_cgroups(), len(left())]
        return [*seen, sweep_trial_cgroups(), left()]

    assert isolated(body) == ["not-tried", True, False, 1, True, []]


@real
@pytest.mark.parametrize("name", RUNTIMES)
def test_cgroup_v2_stays_as_it_is(name: str, oci: Get, workspace: str) -> None:
    """Where all is version 2 the trial works as well, and switches no controller on for the node."""
    require(
        Path(CGROUPS, "cgroup.controllers").exists() or "cgroup2" in Path("/proc/filesystems").read_text(), "cgroup2"
    )
    path = oci(name).path

    def body() -> list[Any]:
        while os.path.ismount(CGROUPS):
            kernel.detach(CGROUPS)
        kernel.mount("test", CGROUPS, "cgroup2")
        before = snapshot()
        steps = results(facts_of(path, workspace))
        return [steps["create"], steps["delete"], settled(before) == before]

    assert isolated(body) == ["passed", "passed", True]


@real
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_covered_proc(name: str, oci: Get, workspace: str) -> None:
    """Where the node forbids containers a new /proc, the trial fails as they do, and blames the user namespace."""
    facts = facts_of(oci(name).path, workspace, proc_covered=True)
    assert (results(facts)["create"], facts.blame) == ("failed", "user namespace")
    assert "proc" in facts.step("create").said


@real
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_a_tmpfs_that_cannot_be_mapped(name: str, oci: Get, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel whose tmpfs refuses mappings (here: a ramfs in its place), the tmpfs is to blame and nothing else."""
    kind = {"memory": "ramfs"}
    mount = runtime_trial_bundle.syscalls.mount

    def other(source: str, target: str, fstype: str | None, flags: int = 0, data: str = "") -> None:
        mount(source, target, kind.get(os.path.basename(target), fstype) if fstype else None, flags, data)

    monkeypatch.setattr(runtime_trial_bundle.syscalls, "mount", other)
    facts = facts_of(oci(name).path, workspace)
    assert (results(facts)["create"], facts.blame) == ("failed", "tmpfs")


@pytest.fixture
def program(workspace: str) -> Iterator[Callable[[str], str]]:
    """Shell script -> path of a program that only root can have put there; the tests' tmpfs is no such place."""
    made = []

    def make(script: str) -> str:
        directory = tempfile.mkdtemp(prefix="userns-probe-test-", dir="/usr/local")
        made.append(directory)
        os.chmod(directory, 0o755)
        path = f"{directory}/runtime"
        Path(path).write_text(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)
        return path

    yield make
    for directory in made:
        subprocess.run(["rm", "-r", directory], check=True)


PID_FILE = 'while [ "$1" ]; do [ "$1" = --pid-file ] && pid_file=$2; shift; done\n'


@real
@pytest.mark.parametrize(
    ("script", "kind", "meaning"),
    [
        ("exec sleep 600", "timed-out", "no answer in time"),
        ("setsid sleep 600 & setsid sleep 600 & wait", "timed-out", "no answer in time"),
        ("kill -9 $$", "not-readable", "was ended by signal 9"),
        ("trap '' PIPE; head -c 1000000000 /dev/zero; echo it is all said >&2; exit 1", "not-readable", "either"),
        ("exit 1", "not-readable", "either"),
    ],
)
def test_a_runtime_that_makes_no_container(
    script: str, kind: str, meaning: str, program: Callable[[str], str], workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs, is killed, talks for ever or fails: unknown, with the reason, and all of it is ended."""
    monkeypatch.setattr(runtime_trial, "COMMAND_TIMEOUT", 0.7)
    path = program(script)

    def body() -> list[Any]:
        before = snapshot()
        step = facts_of(path, workspace).step("create")
        return [step.result, step.kind, step.reason, settled(before) == before]

    result, found, said, clean = isolated(body)
    assert (result, found, clean) == ("unknown", kind, True)
    assert meaning in said


@real
@pytest.mark.parametrize(
    ("script", "step", "kind", "meaning"),
    [
        ("exit 0", "maps", "not-readable", "names no process"),
        (PID_FILE + 'echo 1 > "$pid_file"', "maps", "not-readable", "'1\\n'"),
        (PID_FILE + 'echo -n 99999 > "$pid_file"', "maps", "not-readable", "No such process"),
        (PID_FILE + 'mkfifo "$pid_file"', "maps", "timed-out", "no answer in time"),
        (
            PID_FILE + '[ "$pid_file" ] || exec sleep 600; sleep 600 & echo -n $! > "$pid_file"',
            "maps",
            "",
            "0 0 4294967295",
        ),
    ],
)
def test_a_runtime_that_lies(
    script: str,
    step: Any,
    kind: str,
    meaning: str,
    program: Callable[[str], str],
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that claims success without a container is not believed."""
    monkeypatch.setattr(runtime_trial, "COMMAND_TIMEOUT", 0.7)
    path = program(script)

    def body() -> list[Any]:
        before = snapshot()
        found = facts_of(path, workspace).step(step)
        return [found.result, found.kind, found.reason, settled(before) == before]

    result, found, said, clean = isolated(body)
    assert (result, found, clean) == ("unknown" if kind else "failed", kind, True)
    assert meaning in said or (step == "maps" and "No such file" in said and "99999" in script)


@real
def test_a_runtime_that_creates_and_hangs_dies_with_the_probe(program: Callable[[str], str], workspace: str) -> None:
    """However long it would hang, kill -9 of the probe ends it with all that it has started."""
    path = program("setsid sleep 600 & exec sleep 600")

    def body() -> list[Any]:
        before = snapshot()
        gatherer = os.fork()
        if gatherer == 0:
            try:
                answer_of(path, workspace)
            finally:
                os._exit(0)
        wait_for(lambda: len(named("sleep")) == 2)
        os.kill(gatherer, signal.SIGKILL)
        os.waitpid(gatherer, 0)
        return [before, settled(before)]

    before, after = isolated(body)
    assert after == before


def named(name: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                found.append(pid)
    return found


@real
def test_the_runtime_gets_a_clean_environment(program: Callable[[str], str], workspace: str) -> None:
    """No variable and no pipe of the probe, and no word of systemd."""
    seen = f"{workspace}/seen-{time.monotonic_ns()}"
    script = f'{{ env; echo "$@"; ls -l /proc/$$/fd; }} > {seen} 2>/dev/null; exit 1'
    os.environ["USERNS_PROBE_SECRET"] = "secret"
    try:
        answer_of(program(script), workspace)
    finally:
        del os.environ["USERNS_PROBE_SECRET"]
    text = Path(seen).read_text()
    assert "secret" not in text
    assert "systemd" not in text
    assert "/dev/null" in text
    assert "pipe:" not in text
    assert "create --bundle" in text
    assert "PATH=/usr/local/sbin:" in text


@real
def test_an_untrusted_binary_is_not_run(program: Callable[[str], str], workspace: str) -> None:
    """What somebody but root may write is left alone, and so is what is no program."""
    path = program("touch /tmp/never")
    os.chmod(path, 0o757)
    answer = answer_of(path, workspace)
    assert answer.creates == ()
    assert answer.obstacle is not None
    assert "writable by others than root" in answer.obstacle.problem
    obstacle = answer_of("/usr/local/there-is-no-such-runtime", workspace).obstacle
    assert obstacle is not None
    assert obstacle.kind == "absent"


@real
def test_what_cannot_be_executed(workspace: str) -> None:
    """A file without a program in it is no runtime, and says so in words."""
    answer = answer_of("/etc/hostname" if os.path.exists("/etc/hostname") else "/etc/passwd", workspace)
    assert {command.status for command in answer.creates} == {126}
    assert "cannot be run" in answer.creates[0].said


@real
def test_a_node_that_cannot_be_entered_is_not_tried(workspace: str) -> None:
    """In another mount namespace than the runtime's nothing is run."""
    problem: Reading[bool] = Reading.without("/proc/7/ns/mnt", "not-permitted", "Operation not permitted")
    assert answer_of("/bin/true", workspace, enter=lambda: problem).obstacle == problem

    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    obstacle = answer_of("/bin/true", workspace, enter=refuse).obstacle
    assert obstacle is not None
    assert (obstacle.source, obstacle.kind) == ("entering the node", "not-permitted")


@real
def test_no_time_left() -> None:
    """Without the time for one command and for tidying up, nothing is begun."""
    reading = try_runtime(plan("/bin/true", "/"), lambda: None, time.monotonic() + 1)
    assert (reading.kind, reading.problem) == ("not-tried", "too little time was left for it")


@real
def test_process_1_of_the_trial_is_nothing_else(workspace: str) -> None:
    """In a process that is not process 1 of a PID namespace of its own nothing is mounted or run."""
    with Child(lambda write: runtime_trial.Trial(write).run(plan("/bin/true", workspace))) as child:
        (line,) = list(child.lines(30))
    answer = msgspec.json.decode(line, type=TrialAnswer)
    assert answer.obstacle is not None
    assert answer.obstacle.problem == os.strerror(10)


def test_the_bundle(tmp_path: Path) -> None:
    """What runtimes are asked for: mappings on the mounts as containerd writes them, and nothing of systemd."""
    sources = dict.fromkeys(DESTINATIONS, "/source")
    mapping = [{"containerID": 0, "hostID": FIRST_HOST_ID, "size": MAP_LENGTH}]
    for bundle in BUNDLES:
        write_config(str(tmp_path), bundle, sources)
        config = json.loads((tmp_path / "config.json").read_text())
        binds = {mount["destination"]: mount for mount in config["mounts"] if mount["type"] == "bind"}
        for name, destination in DESTINATIONS.items():
            assert (binds[destination].get("uidMappings") == mapping) == (name in bundle.mapped)
            assert (binds[destination].get("gidMappings") == mapping) == (name in bundle.mapped)
            assert not {"idmap", "ridmap", "rbind"} & set(binds[destination]["options"])
        assert ({"type": "user"} in config["linux"]["namespaces"]) == bundle.user_namespace
        assert (config["linux"].get("uidMappings") == mapping) == bundle.user_namespace
        assert config["linux"]["cgroupsPath"] == f"/{CGROUP}"
        assert "hooks" not in config


@pytest.mark.parametrize(
    ("needed", "place"),
    [
        (("/usr/bin/runc", "/var/lib/kubelet/pods"), "/run"),
        (("/runner/runc",), "/run"),
        (("/run/current-system/sw/bin/runc", "/var/lib/kubelet/pods"), "/tmp"),
        (("/run", "/tmp/kubelet"), "/mnt"),
    ],
)
def test_nothing_needed_is_covered(needed: tuple[str, ...], place: str) -> None:
    """The place of the trial hides neither the binary nor the kubelet's files."""
    assert choose_place(*needed) == place


def test_where_everything_is_needed_nothing_is_covered() -> None:
    """Then there is no place."""
    with pytest.raises(ValueError, match="no directory"):
        choose_place("/run/x", "/tmp/x", "/mnt/x", "/srv/x", "/media/x", "/home/x")


@real
def test_unbindable_mounts_are_known(volume: Volume) -> None:
    """The mount that a path lies on decides, and not one that only begins like it."""
    path = volume("unbindable")
    assert is_unbindable(path)
    assert is_unbindable(f"{path}/d")
    assert not is_unbindable(f"{path}-other")
    assert not is_unbindable(volume("ext4"))


@real
@pytest.mark.parametrize("name", ["a\rb", "My\u00a0Disk", "a\x0b\x0c\x1c\x85\u2028b", "a - b", "k\udcff\n\t\\"])
def test_mount_points_of_any_name_are_told_apart(name: str, workspace: str) -> None:
    """Only a space ends a field of mountinfo, and only a newline ends a line."""
    path = f"{workspace}/{name}"
    os.mkdir(path)
    kernel.mount("test", path, "tmpfs")
    try:
        assert not is_unbindable(path)
        kernel.mount("none", path, "", 1 << 17)  # MS_UNBINDABLE
        assert is_unbindable(path)
    finally:
        kernel.detach(path)
        os.rmdir(path)
