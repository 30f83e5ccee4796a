"""A real account, /etc/subuid and getsubids, in the mount namespace and the root of a kubelet's stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from lab.factory import make_kubelet
from lab.prerequisites import require
from lab.real import debian
from lab.real.debian import Unavailable
from probe.facts.ids.forecast import Forecast, forecast
from probe.facts.ids.manager import IdPool
from probe.facts.ids.range import gather_ids
from probe.facts.model import KubeletFacts
from probe.host.host import LocalHost
from probe.reading import Reading

pytestmark = pytest.mark.real

ROOT_ONLY = "root:x:0:0:root:/root:/bin/sh\n"
WITH_ACCOUNT = ROOT_ONLY + "kubelet:x:990:990::/nonexistent:/usr/sbin/nologin\n"
OWN = "kubelet:65536:7208960\n"
PREFIX = "failed to run Kubelet: failed to create kubelet: create user namespace manager: "
CGROUP_V2 = Reading("/proc/self/mountinfo", 2)
PROGRAMS = "/opt/programs"  # in the stand-in's root, and first on its PATH


class StandIn:
    """A process that stands where a kubelet would: its own mount namespace, root and environment."""

    def __init__(self, pid: int) -> None:
        with closing(LocalHost()) as host:
            self.facts: KubeletFacts = make_kubelet(pid=pid, started_at=host.started_at(pid))
            self.ids = gather_ids(host, self.facts)

    def forecast(self) -> Forecast:
        return forecast(self.ids, self.facts, CGROUP_V2)


@contextmanager
def running(script: str, path: str) -> Iterator[int]:
    """The pid of `sleep`, once *script* has run in a new mount namespace and brought it up."""
    command = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", script]
    process = subprocess.Popen(command, env={"PATH": path})
    try:
        own = Path(f"/proc/{process.pid}")
        while (own / "comm").read_text() != "sleep\n" or not (own / "environ").read_bytes():  # empty early in execve(2)
            assert process.poll() is None, "it ended before it slept"
            time.sleep(0.005)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def stand_in(workspace: str) -> Iterator[Callable[..., StandIn]]:
    """(programs, root_files, path, **etc) -> a stand-in with the machine's programs in its root and an /etc of its own.

    The directories go with the workspace: deleting what another namespace has mounted over would be a gamble.
    """
    with ExitStack() as stack:

        def start(
            programs: dict[str, str | Path] | None = None,
            root_files: dict[str, str] | None = None,
            path: str = f"{PROGRAMS}:/usr/bin:/bin",
            **etc: str,
        ) -> StandIn:
            root = Path(workspace, f"root-{time.monotonic_ns()}")
            (root / "etc").mkdir(parents=True)
            for name, content in {"passwd": WITH_ACCOUNT, "group": "root:x:0:\n", **etc}.items():
                (root / "etc" / name).write_text(content)
            for name, content in (root_files or {}).items():
                (root / name).write_text(content)
            (root / PROGRAMS[1:]).mkdir(parents=True)
            for name, source in (programs or {}).items():
                shutil.copy(source, root / PROGRAMS[1:] / name)
            script = [*_shown(root), f"exec /usr/sbin/chroot {root} /usr/bin/sleep infinity"]
            return StandIn(stack.enter_context(running("\n".join(script), path)))

        yield start


def _shown(root: Path) -> Iterator[str]:
    """Commands that show the machine's programs and kernel files below *root*."""
    for name in ("usr", "bin", "lib", "lib64", "proc", "dev", "root"):
        original, shown = Path("/", name), root / name
        if original.is_symlink():
            shown.symlink_to(os.readlink(original))
        elif original.is_dir():
            shown.mkdir()
            yield f"/usr/bin/mount --rbind {original} {shown}"


@pytest.fixture(scope="session")
def getsubids() -> Path:
    """Debian's own, with its libraries beside it; it runs wherever root's home is shown."""
    try:
        return debian.fetch("uidmap", "trixie") / "usr/bin/getsubids"
    except Unavailable as problem:
        require(False, str(problem))
        raise


def test_without_an_account_the_name_services_are_asked(stand_in: Callable[..., StandIn]) -> None:
    """getent(1) runs in the kubelet's root, where /etc/passwd is another one."""
    kubelet = stand_in(passwd=ROOT_ONLY)
    assert kubelet.ids.value is not None
    assert kubelet.ids.value.account == Reading("/usr/bin/getent passwd kubelet", False)
    assert kubelet.forecast() == Forecast(
        outcome="starts",
        pool=IdPool(first=65536, count=2**32 - 65536, ids_per_pod=65536, configured=False),
        used=0,
    )


def test_a_real_range(stand_in: Callable[..., StandIn], getsubids: Path) -> None:
    kubelet = stand_in({"getsubids": getsubids}, subuid=OWN, subgid=OWN)
    assert kubelet.ids.value is not None
    assert kubelet.ids.value.getsubids.value == f"{PROGRAMS}/getsubids"
    expected = kubelet.forecast()
    assert expected.pool == IdPool(first=65536, count=7208960, ids_per_pod=65536, configured=True)
    assert expected.outcome == "starts"


@pytest.mark.parametrize(
    ("subuid", "subgid", "words"),
    [
        pytest.param("", "", 'error retrieving additional uids for user "kubelet": exit status 1', id="none"),
        pytest.param(OWN, "", 'error retrieving additional gids for user "kubelet"', id="no-groups"),
        pytest.param(OWN, "kubelet:131072:7208960\n", 'mismatched subuids and subgids for user "kubelet"', id="differ"),
        pytest.param(
            OWN * 2,
            OWN * 2,
            'error parsing line "0: kubelet 65536 7208960\\n1: kubelet 65536 7208960\\n": it must contain only one'
            " line",
            id="two-lines",
        ),
    ],
)
def test_real_entries_that_no_kubelet_takes(
    subuid: str, subgid: str, words: str, stand_in: Callable[..., StandIn], getsubids: Path
) -> None:
    expected = stand_in({"getsubids": getsubids}, subuid=subuid, subgid=subgid).forecast()
    assert (expected.outcome, expected.message) == ("fails", f"{PREFIX}kubelet mappings: {words}")


def test_a_getsubids_that_is_missing(stand_in: Callable[..., StandIn]) -> None:
    expected = stand_in(path=PROGRAMS, subuid=OWN, subgid=OWN).forecast()
    assert expected.message == f'{PREFIX}kubelet mappings: exec: "getsubids": executable file not found in $PATH'


# sort(1) knows -g, and prints what is in the file `kubelet`: whatever a getsubids could print.


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (
            "0: kubelet 4294967296 65536\n",
            'error parsing line "0: kubelet 4294967296 65536\\n"',
        ),
        ("0: kubelet 1 2\n1: kubelet 3 4\n", "it must contain only one line"),
        ("", 'invalid line ""'),
    ],
)
def test_whatever_getsubids_prints(printed: str, words: str, stand_in: Callable[..., StandIn]) -> None:
    expected = stand_in({"getsubids": "/usr/bin/sort"}, {"kubelet": printed}).forecast()
    assert expected.outcome == "fails"
    assert expected.message.endswith(words)


def test_a_getsubids_that_hangs(stand_in: Callable[..., StandIn]) -> None:
    """It waits for somebody to write to a FIFO; so would the kubelet, for ever."""
    kubelet = stand_in({"getsubids": "/usr/bin/sort"}, {"kubelet": ""})
    root = Path(f"/proc/{kubelet.facts.pid}/root")
    (root / "kubelet").unlink()
    os.mkfifo(root / "kubelet")
    again = StandIn(kubelet.facts.pid)
    assert again.ids.value is not None
    assert again.ids.value.subuids.kind == "timed-out"
    assert again.ids.value.subgids.kind == "not-tried"
    expected = again.forecast()
    assert (expected.outcome, expected.kind) == ("unknown", "timed-out")
    assert expected.reason == f"{PROGRAMS}/getsubids kubelet: no answer in time"


def test_a_getsubids_that_never_stops_printing(stand_in: Callable[..., StandIn]) -> None:
    expected = stand_in({"getsubids": "/usr/bin/yes"}).forecast()
    assert (expected.outcome, expected.kind) == ("unknown", "not-readable")
    assert "printed more than" in expected.reason


def test_a_getsubids_of_somebody_else_is_not_run(stand_in: Callable[..., StandIn]) -> None:
    kubelet = stand_in({"getsubids": "/usr/bin/sort"}, {"kubelet": "0: kubelet 65536 7208960\n"})
    os.chown(f"/proc/{kubelet.facts.pid}/root{PROGRAMS}/getsubids", 1000, 0)
    expected = StandIn(kubelet.facts.pid).forecast()
    assert expected.outcome == "unknown"
    assert "belongs to UID 1000, not to root" in expected.reason


def test_a_script_answers_as_well(stand_in: Callable[..., StandIn], tmp_path: Path) -> None:
    """Whatever the kubelet finds on its PATH is asked."""
    script = tmp_path / "getsubids"
    script.write_text("#!/bin/sh\necho 0: kubelet 65536 7208960\n")
    script.chmod(0o755)
    assert stand_in({"getsubids": script}).forecast().outcome == "starts"


def test_files_bound_over_etc_in_its_mount_namespace_count(workspace: str, getsubids: Path) -> None:
    """The machine's own /etc is untouched, and says nothing of this kubelet."""
    etc = Path(workspace, "etc")
    etc.mkdir()
    for name, content in {"passwd": WITH_ACCOUNT, "subuid": OWN, "subgid": OWN}.items():
        (etc / name).write_text(content)
    # The machine may have no /etc/subuid to bind over, so the whole directory is laid over.
    layers = f"lowerdir=/etc,upperdir={etc},workdir={workspace}/work"
    Path(workspace, "work").mkdir()
    script = f"/usr/bin/mount -t overlay test -o {layers} /etc\nexec /usr/bin/sleep infinity"
    with running(script, f"{getsubids.parent}:/usr/bin:/bin") as pid:
        kubelet = StandIn(pid)
        expected = kubelet.forecast()
    assert expected.pool == IdPool(first=65536, count=7208960, ids_per_pod=65536, configured=True)
    assert "kubelet:" not in Path("/etc/passwd").read_text()


def test_nothing_is_run_for_a_process_that_is_no_daemon_of_the_node(local_host: LocalHost) -> None:
    """A tenant's process may have any program at any path of its own."""
    with subprocess.Popen(["sleep", "infinity"], user=65534) as process:
        answer = local_host.run_in(process.pid, "/usr/bin/true")
        process.kill()
    assert answer.kind == "not-readable"
    assert "not known to be a daemon of this node" in answer.problem


def test_the_callers_namespace_and_root_stay_what_they_are(stand_in: Callable[..., StandIn]) -> None:
    before = os.readlink("/proc/self/ns/mnt"), os.stat("/").st_ino
    stand_in(passwd=ROOT_ONLY)
    assert (os.readlink("/proc/self/ns/mnt"), os.stat("/").st_ino) == before
