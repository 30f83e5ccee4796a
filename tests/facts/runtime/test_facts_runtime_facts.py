"""The container runtime of a node, from CRI's answer to the OCI runtime behind each handler."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import msgspec
import pytest

from lab.cri_recordings import FOLDER, recorded_answer
from lab.fake_host import FakeHost
from probe.facts.model import RuntimeFacts
from probe.facts.runtime.crio import gather_crio_networks
from probe.facts.runtime.facts import gather_runtime
from probe.facts.runtime.handlers import first_program
from probe.facts.runtime.model import CrioAdded, Handler, RuntimeConfig
from probe.host.cri import CriAnswer, CriHandler, no_answer
from probe.host.places import Place
from probe.host.program import Output
from probe.reading import Reading

CONTAINERD = "/run/containerd/containerd.sock"
CRIO = "/run/crio/crio.sock"
OCI = Path(__file__).parents[2] / "data/oci"
STARTED = 1000.0


def _oci(path: str, recording: str) -> dict[str, Output | str | Reading[Output]]:
    """The commands of one OCI runtime, as it was recorded."""
    version = (OCI / f"{recording}.version.txt").read_text()
    features = OCI / f"{recording}.features.json"
    if features.exists():
        return {f"{path} --version": version, f"{path} features": features.read_text()}
    error = (OCI / f"{recording}.features.stderr.txt").read_text()
    return {f"{path} --version": version, f"{path} features": Output(1, "", error)}


def _dump(recording: str = "containerd-2.1.9") -> str:
    return (FOLDER / recording / "config-dump.toml").read_text()


def make_host() -> FakeHost:
    """The node on which the recordings were made: containerd 2.1.9 as pid 700, CRI-O as pid 800."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd", "-c", "/etc/containerd/config.toml", started=STARTED)
    host.add_process(800, "/opt/crio/bin/crio", "-c", "/etc/crio/crio.conf", started=STARTED)
    host.commands = {
        "/usr/bin/containerd --config /etc/containerd/config.toml config dump": _dump(),
        **_oci("/usr/sbin/runc", "runc-1.3.6"),
        **_oci("/usr/bin/crun", "crun-1.28"),
        **_oci("/opt/trixie/usr/sbin/runc", "runc-1.1.15"),
        **_oci("/opt/bookworm/usr/bin/crun", "crun-1.8.1"),
    }
    host.modified = dict.fromkeys(
        ("/usr/sbin/runc", "/usr/bin/crun", "/opt/trixie/usr/sbin/runc", "/opt/bookworm/usr/bin/crun"), 500.0
    )
    return host


def _answer(name: str = "containerd-2.1.9", listener: int = 700, **changes: object) -> CriAnswer:
    endpoint = CRIO if name.startswith("cri-o") else CONTAINERD
    return msgspec.structs.replace(recorded_answer(name, endpoint, listener), **changes)


def gather(host: FakeHost, answer: CriAnswer) -> RuntimeFacts:
    facts = gather_runtime(host, answer.endpoint, Reading("CRI", answer)).value
    assert facts is not None
    assert msgspec.json.decode(msgspec.json.encode(facts), type=RuntimeFacts) == facts
    return facts


def _row(handler: Handler) -> tuple[object, ...]:
    return (
        handler.name,
        handler.user_namespaces,
        handler.binary.value,
        handler.oci_runtime.value,
        handler.oci_version.value,
        handler.oci_idmap.value,
        handler.oci_user_namespace.value,
        handler.binary_newer.value,
    )


RUNC = ("/usr/sbin/runc", "runc", "1.3.6+ds1", True, True, False)
CRUN = ("/usr/bin/crun", "crun", "1.28", True, True, False)
OLDRUNC = ("/opt/trixie/usr/sbin/runc", "runc", "1.1.15+ds1", False, True, False)
OLDCRUN = ("/opt/bookworm/usr/bin/crun", "crun", "1.8.1", False, False, False)


def test_containerd() -> None:
    """Of containerd 2.1.9 all is known: each handler's binary and its own claims, the root, the snapshotter."""
    facts = gather(make_host(), _answer())
    assert (facts.name.value, facts.version.value) == ("containerd", "2.1.9+unknown")
    assert [_row(handler) for handler in facts.handlers.value or ()] == [
        ("", True, *RUNC),
        ("crun", True, *CRUN),
        ("oldcrun", None, *OLDCRUN),
        ("oldrunc", False, *OLDRUNC),
        ("runc", True, *RUNC),
    ]
    assert {handler.snapshotter.value for handler in facts.handlers.value or ()} == {"overlayfs"}
    assert facts.root_dir.value == "/var/lib/containerd"
    assert facts.layers_dir.value == "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
    assert (facts.snapshotter.value, facts.slow_chown.value) == ("overlayfs", False)
    assert facts.confinement.value is not None
    assert facts.confinement.value.pid == 700


def test_crio() -> None:
    """Of CRI-O the same is known without running it."""
    host = make_host()
    facts = gather(host, _answer("cri-o-1.37.0-dev", 800))
    assert sorted(_row(handler) for handler in facts.handlers.value or ()) == sorted(
        [
            ("oldrunc", False, *OLDRUNC),
            ("oldcrun", False, *OLDCRUN),
            ("crun", True, *CRUN),
            ("runc", True, *RUNC),
            ("", True, *RUNC),
        ]
    )
    assert facts.root_dir.value == "/var/lib/containers/storage"
    assert facts.layers_dir.value == "/var/lib/containers/storage"
    assert facts.snapshotter.value == "overlay"
    assert facts.slow_chown.kind == "absent"
    assert not [command for command in host.touched if "crio" in command and "config" in command]
    assert "/proc/800/root/etc/cni/net.d" in host.touched


@pytest.mark.parametrize("changed", ["/etc/containerd/conf.d", "/etc/containerd/config.toml", ""])
def test_what_may_not_be_in_force(changed: str) -> None:
    """A file that was taken away shows by its folder alone; what the command prints without it is then no proof."""
    host = make_host()
    host.files |= {"/etc/containerd/config.toml": "", "/etc/containerd/conf.d/50-x.toml": ""}
    if changed:
        host.modified[changed] = 5000.0
    around = gather(host, _answer()).surroundings.value
    assert around is not None
    assert (around.proxies.value is None) is bool(changed)


@pytest.mark.parametrize("version", ["1.6.20", "1.7.24"])
def test_containerd_without_handlers(version: str) -> None:
    """containerd 1.x lists no handlers; its root and snapshotter are known, and no OCI runtime is asked."""
    host = make_host()
    host.commands["/usr/bin/containerd --config /etc/containerd/config.toml config dump"] = _dump(
        f"containerd-{version}"
    )
    facts = gather(host, _answer(f"containerd-{version}"))
    assert facts.handlers.value == ()
    assert facts.root_dir.value == f"/var/lib/containerd-{version}"
    assert facts.snapshotter.value == "overlayfs"
    assert facts.slow_chown.kind == "absent"
    assert not [command for command in host.touched if command.endswith((" features", "--version"))]


def test_each_binary_is_run_once() -> None:
    """Five handlers with four binaries cost one command each, a second for the one whose `features` names no version,
    and one for the daemon's configuration.
    """
    host = make_host()
    gather(host, _answer())
    assert len([command for command in host.touched if command in host.commands]) == 6


IMITATION = {"cgroup": "0::/kubepods/burstable/pod1/2\n"}


def test_imitation_gets_nothing_run() -> None:
    """Behind a socket where a Pod's process listens, nothing that it names is run, and nothing of it is read."""
    host = make_host()
    host.add_process(700, "/usr/bin/containerd", **IMITATION)  # type: ignore[arg-type]
    facts = gather(host, _answer())
    assert not [command for command in host.touched if command in host.commands]
    assert "/proc/700/environ" not in host.touched
    assert facts.confinement.value is None
    for handler in facts.handlers.value or ():
        assert handler.oci_idmap.problem.startswith("not run: process 700 is not a daemon of this node")
    assert facts.slow_chown.value is None


def _info(**runtime: object) -> Reading[str]:
    """Verbose info of a containerd whose default handler is configured like that."""
    config = {
        "containerd": {"defaultRuntimeName": "runc", "runtimes": {"runc": runtime}},
        "containerdRootDir": "/var/lib/containerd",
        "stateDir": "/run/containerd/io.containerd.grpc.v1.cri",
    }
    return Reading("CRI Status", json.dumps(config))


def _default(host: FakeHost, config: Reading[str], **changes: object) -> Handler:
    handlers = Reading("CRI Status", (CriHandler("", True),))
    facts = gather(host, _answer(config=config, handlers=handlers, **changes))
    assert facts.handlers.value
    return facts.handlers.value[0]


RUNC_V2 = {"runtimeType": "io.containerd.runc.v2"}


def test_runc_from_the_daemons_path() -> None:
    """Without BinaryName it is the first runc in the PATH of the daemon, not in ours."""
    host = make_host()
    host.files["/proc/700/environ"] = "PATH=/usr/local/bin:/opt/trixie/usr/sbin:/usr/sbin\0TOKEN=secret\0"
    assert _default(host, _info(**RUNC_V2)).binary.value == "/opt/trixie/usr/sbin/runc"


def test_runc_from_containerds_own_directory() -> None:
    """containerd puts a directory of its own before its PATH, which its environment does not show."""
    host = make_host()
    host.files["/proc/700/environ"] = "PATH=/usr/sbin\0"
    host.modified["/opt/containerd/bin/runc"] = 500.0
    host.commands |= _oci("/opt/containerd/bin/runc", "runc-1.1.5")
    handler = _default(host, _info(**RUNC_V2))
    assert (handler.binary.value, handler.oci_idmap.value) == ("/opt/containerd/bin/runc", False)


@pytest.mark.parametrize(
    ("runtime", "kind", "problem"),
    [
        ({"runtimeType": "io.containerd.kata.v2"}, "absent", "io.containerd.kata.v2 runs no runtime like runc"),
        (RUNC_V2 | {"options": {"BinaryName": "bin/runc"}}, "not-readable", "is not an absolute path: bin/runc"),
        (RUNC_V2 | {"options": {"BinaryName": "x"}}, "absent", "no executable x in /opt/containerd/bin, /usr/sbin"),
    ],
)
def test_no_binary(runtime: dict[str, object], kind: str, problem: str) -> None:
    """Where no OCI runtime can be named, its features are unknown for the same reason."""
    host = make_host()
    host.files["/proc/700/environ"] = "PATH=/usr/sbin\0"
    handler = _default(host, _info(**runtime))
    assert (handler.binary.kind, handler.binary.problem) == (kind, problem)
    assert (handler.oci_idmap.kind, handler.oci_version.kind) == (kind, kind)


def test_a_runtime_that_is_found_first_and_cannot_run() -> None:
    """The shim starts the first runc whose mode lets it, and so fails: a good one further on is of no use."""
    host = make_host()
    host.files["/proc/700/environ"] = "PATH=/usr/local/sbin:/usr/sbin\0"
    host.places_found["/usr/local/sbin/runc"] = Place(
        path="/usr/local/sbin/runc", mode=0o100755, uid=0, gid=0, defect="is truncated"
    )
    handler = _default(host, _info(**RUNC_V2))
    assert (handler.binary.kind, handler.executable.value) == ("absent", False)
    assert handler.binary.problem == "/usr/local/sbin/runc is truncated"


def test_a_path_without_a_directory() -> None:
    """Only relative directories are in it: nothing is found, and nothing raises."""
    host = make_host()
    host.files["/proc/700/environ"] = "PATH=bin:sbin\0"
    assert first_program(host, 700, []).kind == "absent"


def test_directory_of_the_path_that_cannot_be_read() -> None:
    """A runc behind a directory that could not be looked into is not passed over for the next one."""
    host = make_host()
    host.files |= {"/proc/700/environ": "PATH=/nfs:/usr/sbin\0", "/nfs/runc": errno.ETIMEDOUT}
    assert _default(host, _info(**RUNC_V2)).binary.kind == "timed-out"


def test_environment_that_may_not_be_read() -> None:
    """Without the right to read the daemon's PATH, no binary is guessed."""
    host = make_host()
    host.files["/proc/700/environ"] = errno.EACCES
    assert _default(host, _info(**RUNC_V2)).binary.kind == "not-permitted"


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/kubelet/pods/1/volumes/x/runc",
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/runc",
        "/run/containerd/runc",
        "/run/containers/storage/runc",
    ],
)
def test_binary_where_pods_keep_files(path: str) -> None:
    """A binary that lies where Pods keep files is not run."""
    host = make_host()
    host.commands |= _oci(path, "runc-1.3.6")
    handler = _default(host, _info(**RUNC_V2, options={"BinaryName": path}))
    assert (handler.binary.value, handler.oci_idmap.kind) == (path, "not-permitted")
    assert f"{path} --version" not in host.touched


@pytest.mark.parametrize(("modified", "newer"), [(STARTED - 1, False), (STARTED + 1, False), (STARTED + 3, True)])
def test_binary_newer_than_the_daemon(modified: float, newer: bool) -> None:
    """A binary from after the daemon's start, which is known to two seconds, is not the one that it asked."""
    host = make_host()
    host.modified["/usr/sbin/runc"] = modified
    handlers = gather(host, _answer()).handlers.value or ()
    assert handlers[0].binary_newer.value is newer


def test_dump_where_status_is_silent() -> None:
    """Without verbose info the daemon's own command tells the handlers, the root and the snapshotter."""
    silent: Reading[str] = Reading.without("CRI Status", "absent", "the runtime tells nothing of its configuration")
    missing: Reading[str] = Reading.without("CRI ImageFsInfo", "absent", "UNIMPLEMENTED")
    facts = gather(make_host(), _answer(config=silent, image_filesystem=missing))
    assert [handler.binary.value for handler in facts.handlers.value or ()][:2] == ["/usr/sbin/runc", "/usr/bin/crun"]
    assert (facts.root_dir.value, facts.snapshotter.value) == ("/var/lib/containerd", "overlayfs")
    assert facts.layers_dir.kind == "absent"


def test_crio_config_where_status_is_silent() -> None:
    """The same for CRI-O, whose flags name a file and a directory."""
    host = make_host()
    host.add_process(800, "/opt/crio/bin/crio", "--config=crio.conf", "-d", "/etc/crio.d", cwd="/etc/crio", started=1.0)
    command = "/opt/crio/bin/crio --config /etc/crio/crio.conf --config-dir /etc/crio.d config"
    host.commands[command] = (FOLDER / "cri-o-1.37.0-dev/config.toml").read_text()
    silent: Reading[str] = Reading.without("CRI Status", "absent", "nothing")
    facts = gather(host, _answer("cri-o-1.37.0-dev", 800, config=silent))
    assert {handler.binary.value for handler in facts.handlers.value or ()} >= {"/usr/sbin/runc", "/usr/bin/crun"}


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ((), "/etc/crio/crio.conf"),
        ((), "/etc/crio/crio.conf.d"),
        ((), "/etc/crio/crio.conf.d/10.conf"),
        (("--config", "/crio.conf"), "/crio.conf"),
        (("--config", "/crio.conf"), "/etc/crio/crio.conf.d/10.conf"),
        (("--config-dir", "/crio.d"), "/etc/crio/crio.conf"),
        (("--config-dir", "/crio.d"), "/crio.d/10.conf"),
    ],
)
def test_files_of_crio_that_changed_after_its_start(flags: tuple[str, ...], changed: str) -> None:
    """Each flag replaces one of two places, and leaves the other; drop-in files count one by one."""
    host = make_host()
    host.add_process(801, "/usr/bin/crio", *flags, started=STARTED)
    for file in ("/etc/crio/crio.conf", "/crio.conf", "/etc/crio/crio.conf.d/10.conf", "/crio.d/10.conf"):
        host.files[file] = ""
    answer = _answer("cri-o-1.37.0-dev", 801)
    unchanged = gather(host, answer).pending.value
    host.modified[changed] = 5000.0
    pending = gather(host, answer).pending.value
    assert unchanged
    assert pending
    assert (unchanged.changed_file, pending.changed_file) == ("", changed)


def test_drop_in_files_of_crio_that_are_too_many() -> None:
    """Any of those that are not looked at may be newer than the daemon."""
    host = make_host()
    host.files |= {f"/etc/crio/crio.conf.d/{number}.conf": "" for number in range(51)}
    pending = gather(host, _answer("cri-o-1.37.0-dev", 800)).pending.value
    assert pending
    assert pending.changed_file == "/etc/crio/crio.conf.d"


@pytest.mark.parametrize(
    ("told", "listed"),
    [("/opt/net.d/", "/opt/net.d"), ("", "/etc/cni/net.d"), ("/", "/etc/cni/net.d"), ("net.d", "/etc/cni/net.d")],
)
def test_networks_of_crio_are_looked_at(told: str, listed: str) -> None:
    """The directory of networks is a source for `watch`: NetworkReady depends on it, whatever is in it."""
    host = make_host()
    config = Reading("crio config", RuntimeConfig(crio=CrioAdded(network_dir=told)))
    assert gather_crio_networks(host, 800, config).kind == "absent"
    assert host.touched == [f"/proc/800/root{listed}"]


def test_k3s_is_called_containerd() -> None:
    """One executable is k3s and containerd; it is asked by the name under which it is containerd."""
    host = make_host()
    folder = "/var/lib/rancher/k3s/data/1234/bin"
    arguments = ("containerd", "-c", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml")
    host.add_process(700, *arguments, exe=f"{folder}/k3s", started=STARTED)
    host.commands[f"{folder}/containerd --config {arguments[2]} config dump"] = _dump()
    assert gather(host, _answer()).slow_chown.value is False


@pytest.mark.parametrize(
    "dump",
    [
        Output(1, "", "failed to load TOML"),
        "not = toml = at all",
        Reading.without("x", "timed-out", "no answer in time"),
    ],
)
def test_dump_that_fails(dump: Output | str | Reading[Output]) -> None:
    """Without the dump only what it alone tells is unknown."""
    host = make_host()
    host.commands["/usr/bin/containerd --config /etc/containerd/config.toml config dump"] = dump
    facts = gather(host, _answer())
    assert facts.slow_chown.value is None
    assert facts.slow_chown.kind in ("not-readable", "timed-out")
    assert (facts.snapshotter.value, facts.root_dir.value) == ("overlayfs", "/var/lib/containerd")


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(
    ("modified", "in_force"),
    [
        ({}, True),
        ({"/etc/containerd/config.toml": STARTED + 3}, False),
        ({"/etc/containerd/conf.d": STARTED + 3}, False),
    ],
)
def test_slow_chown_not_yet_in_force(modified: dict[str, float], in_force: bool, written: bool) -> None:
    """slow_chown that was written after the daemon started is not what it does before its next start."""
    host = make_host()
    host.modified |= {"/etc/containerd/config.toml": 1.0, "/etc/containerd/conf.d": 1.0} | modified
    dump = _dump("containerd-2.4.0-beta").replace("slow_chown = false", f"slow_chown = {str(written).lower()}")
    host.commands["/usr/bin/containerd --config /etc/containerd/config.toml config dump"] = dump
    assert gather(host, _answer("containerd-2.4.0-beta")).slow_chown.value is (written if in_force else None)


def test_snapshotter_of_a_handler() -> None:
    """A handler may have a snapshotter of its own."""
    handler = _default(make_host(), _info(**RUNC_V2, snapshotter="native", options={"BinaryName": "/usr/sbin/runc"}))
    assert handler.snapshotter.value == "native"


def test_layers_elsewhere() -> None:
    """Layers need not lie below containerd's root."""
    elsewhere = Reading("CRI ImageFsInfo", "/data/layers")
    facts = gather(make_host(), _answer(image_filesystem=elsewhere))
    assert (facts.root_dir.value, facts.layers_dir.value) == ("/var/lib/containerd", "/data/layers")
    assert facts.snapshotter.value == "overlayfs"  # from the dump, since the directory does not say


def test_no_endpoint() -> None:
    """Without a kubelet there is no socket to ask, and that is all that is said."""
    facts = gather_runtime(FakeHost(), "", Reading.without("CRI", "absent", "no kubelet names its socket"))
    assert (facts.kind, facts.problem) == ("absent", "no kubelet names its socket")


@pytest.mark.parametrize("kind", ["timed-out", "not-readable", "not-permitted"])
def test_no_answer(kind: str) -> None:
    """A runtime that could not be asked is a runtime of which each part is unknown for that reason; nothing is run."""
    host = make_host()
    facts = gather_runtime(host, CONTAINERD, Reading.without("CRI", kind, "was silent")).value  # type: ignore[arg-type]
    assert facts is not None
    assert facts.endpoint == CONTAINERD
    parts = (facts.name, facts.version, facts.handlers, facts.root_dir, facts.snapshotter, facts.confinement)
    assert {(part.kind, part.problem) for part in parts} == {(kind, "was silent")}
    assert not [command for command in host.touched if command in host.commands]


def test_unknown_runtime() -> None:
    """A runtime that the probe does not know is judged by its handlers; its configuration stays unknown."""
    answer = _answer(name="containerd-2.1.9")
    answer = msgspec.structs.replace(answer, name=Reading("CRI Version", "docker"))
    facts = gather(make_host(), answer)
    assert [handler.user_namespaces for handler in facts.handlers.value or ()] == [True, True, None, False, True]
    assert facts.handlers.value
    assert facts.handlers.value[0].binary.kind == "not-readable"
    assert facts.root_dir.value == "/var/lib/containerd"


def test_answer_of_a_crashed_child() -> None:
    """The answer of a child that could not ask has every part."""
    answer = no_answer(CONTAINERD, "not-readable", "signal 9")
    assert msgspec.json.decode(msgspec.json.encode(answer), type=CriAnswer) == answer


@pytest.mark.parametrize(
    ("binary", "modes", "executable"),
    [
        ("/usr/sbin/runc", {}, True),
        ("/usr/sbin/runc", {"/usr/sbin/runc": 0o600}, False),
        ("/usr/sbin/gone", {}, False),
        ("", {"/usr/sbin/runc": 0o600}, True),
        ("", {"/usr/sbin/runc": 0o600, "/opt/trixie/usr/sbin/runc": 0o600}, False),
    ],
)
def test_whether_the_daemon_can_execute_it(binary: str, modes: dict[str, int], executable: bool) -> None:
    """By path it is that file; by name the first that may be executed, as execvp(3) and Go's LookPath have it."""
    host = make_host()
    host.modes |= modes
    host.files["/proc/700/environ"] = "PATH=/usr/sbin:/opt/trixie/usr/sbin\0"
    options = {"options": {"BinaryName": binary}} if binary else {}
    assert _default(host, _info(**RUNC_V2, **options)).executable.value is executable


@pytest.mark.parametrize("links", [{"/proc/700/ns/mnt": "mnt:[1]"}, {"/proc/700/root": "/run/other"}])
@pytest.mark.parametrize(("mode", "flags", "executable"), [(0o755, 0, True), (0o644, 0, False), (0o755, 8, False)])
def test_what_the_daemon_sees_counts(links: dict[str, str], mode: int, flags: int, executable: bool) -> None:
    """In its own mount namespace or root the binary may well be there, or lie on a mount with noexec."""
    host = make_host()
    host.links |= links
    host.places_found["/usr/sbin/gone"] = Place(path="/x", mode=0o100000 | mode, uid=0, gid=0, flags=flags)
    handler = _default(host, _info(**RUNC_V2, options={"BinaryName": "/usr/sbin/gone"}))
    assert handler.executable.value is executable
