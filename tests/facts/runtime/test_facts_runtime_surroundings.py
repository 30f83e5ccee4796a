"""What is read around the runtime's daemon, and what of it cannot be understood."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from lab.factory import make_confinement, make_handler_around, make_kubelet, make_runtime
from lab.fake_host import FakeHost
from probe.facts import go_json
from probe.facts.around import HandlerAround, Hook, Limit, Surroundings
from probe.facts.kubelet.surroundings import gather_kubelet_around, receives
from probe.facts.nearest import nearest
from probe.facts.runtime.base_spec import gather_added, place_hooks
from probe.facts.runtime.cni import gather_cni, parse_plugins
from probe.facts.runtime.crio import gather_crio_handlers
from probe.facts.runtime.handlers import (
    InForce,
    gather_handlers,
    gather_shim_cgroup,
    is_program,
    parse_in_force,
    trusted_path,
)
from probe.facts.runtime.limits import NAMES, parse_limits, parse_pids_cgroup, parse_ulimit
from probe.facts.runtime.model import Cni, ConfiguredHandler, CrioAdded, RuntimeConfig
from probe.facts.runtime.spec import parse_spec, unjudged
from probe.facts.runtime.surroundings import (
    Setup,
    folders_of_containerd,
    gather_surroundings,
    parse_preloaded,
    parse_temporary,
)
from probe.host.host import LocalHost
from probe.host.mountinfo import Mount, parse_mountinfo
from probe.host.places import Place, above
from probe.reading import ProblemKind, Reading, encode

PID = 700
FOLDER = Place(path="/", mode=0o40755, uid=0, gid=0)
PROGRAM = Place(path="/", mode=0o100755, uid=0, gid=0)


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        (b"", "/tmp"),
        (b"TMPDIR=\0", "/tmp"),
        (b"A=b\0TMPDIR=/var/tmp\0", "/var/tmp"),
        (b"XTMPDIR=/x\0", "/tmp"),
        (b"TMPDIR=/x\0XDG_RUNTIME_DIR=/y\0", "/y"),
    ],
)
def test_temporary_directory(environment: bytes, path: str) -> None:
    """As Go's os.TempDir finds it."""
    assert parse_temporary(environment) == path


def test_a_relative_temporary_directory() -> None:
    """It would lie in the bundle of each container, where nobody makes it."""
    host = make_host()
    host.files[f"/proc/{PID}/environ"] = "TMPDIR=x\0"
    found = gathered(host)
    assert (found.temporary.source, found.temporary.kind) == ("x", "absent")


def test_a_daemon_that_ends_lacks_no_temporary_directory() -> None:
    """A runtime restarts just then, and its environment is gone with it."""
    host = make_host()
    host.files.pop(f"/proc/{PID}/environ", None)
    assert gathered(host).temporary.kind == "not-readable"


def test_limits() -> None:
    """By the names of getrlimit(2), soft and hard, those without a unit too."""
    table = Path("/proc/self/limits").read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert parse_limits(table)["RLIMIT_NOFILE"] == Limit(soft, hard)
    assert set(parse_limits(table)) == NAMES
    unlimited = "Max processes             unlimited            9                    processes\n"
    assert parse_limits(unlimited) == {"RLIMIT_NPROC": Limit(-1, 9)}
    for broken in ("", "Max processes\n", "Max processes  x  y  processes\n"):
        with pytest.raises(ValueError, match="no limit"):
            parse_limits(broken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nofile=1024:2048", ("RLIMIT_NOFILE", Limit(1024, 2048))),
        (" nproc=5 ", ("RLIMIT_NPROC", Limit(5, 5))),
        ("memlock=-1:-1", ("RLIMIT_MEMLOCK", Limit(-1, -1))),
        ("core=99999999999999999999", ("RLIMIT_CORE", Limit(-1, -1))),
    ],
)
def test_ulimits(text: str, expected: object) -> None:
    """As CRI-O is configured with them."""
    assert parse_ulimit(text) == expected
    for broken in ("", "nofile", "nofile=x", "=1", "nofile=1:2:3"):
        with pytest.raises(ValueError, match="not a limit"):
            parse_ulimit(broken)


@pytest.mark.parametrize(
    ("text", "directories"),
    [
        ("0::/system.slice/c.service\n", ["/sys/fs/cgroup/system.slice/c.service", "/sys/fs/cgroup/system.slice"]),
        ("3:pids:/a\n1:name=systemd:/b\n", ["/sys/fs/cgroup/pids/a"]),
        ("0::/\n", []),
        ("0::/../a\n", []),
        ("rubbish", []),
    ],
)
def test_pids_cgroup(text: str, directories: list[str]) -> None:
    """Where processes are counted, in both versions of cgroups."""
    assert parse_pids_cgroup(text) == directories


def test_above() -> None:
    """Each folder on the way."""
    assert above("/a/b") == ["/", "/a", "/a/b"]
    assert above("/") == ["/"]


def make_host() -> FakeHost:
    """A node with containerd as pid 700."""
    host = FakeHost()
    host.add_process(PID, "/usr/bin/containerd", environment={"TMPDIR": "/var/tmp"})
    host.places_found = dict.fromkeys(("/", "/run", "/run/containerd", "/var/tmp"), FOLDER)
    return host


ROOT, NO_PROXIES = Reading("root", "/r"), Reading[dict[str, tuple[str, ...]]]("dump", {})


def no_networks(_pid: int) -> Reading[Cni]:
    return Reading.without("CRI", "absent", "nothing")


def gathered(host: FakeHost, folders: tuple[str, ...] = (), handlers: tuple[HandlerAround, ...] = ()) -> Surroundings:
    """The surroundings of a containerd of which nothing is told but its folders."""
    nothing: Reading[InForce] = Reading.without("CRI", "absent", "nothing")
    pid, state = Reading("pid", PID), "/run/containerd"
    setup = Setup(nothing, ROOT, state, lambda _: handlers, no_networks, NO_PROXIES, folders)
    found = gather_surroundings(host, pid, setup)
    assert found.value
    return found.value


def test_where_something_is_made_for_each_pod() -> None:
    """Each folder that exists, and the nearest above one that containerd will make; each is named once."""
    host = make_host()
    there, made = "/run/containerd/s", "/run/netns"
    host.places_found[there] = FOLDER
    assert [place.source for place in gathered(host, (there, made, "/run/more")).folders] == [there, "/run"]
    named = folders_of_containerd("/root", "/state", "/layers")
    assert {"/layers/snapshots", "/state/io.containerd.grpc.v1.cri/sandboxes", made} < set(named)
    assert not any(path.startswith("/io.") for path in folders_of_containerd("", "", ""))


def test_surroundings() -> None:
    """Everything is read of the daemon's own process; a device that is not there is absent."""
    host = make_host()
    host.files[f"/proc/{PID}/status"] = "Uid:\t0\t0\t0\t0\nUmask:\t0027\nNoNewPrivs:\t1\nCapEff:\t0\n"
    host.files[f"/proc/{PID}/cgroup"] = "0::/a\n"
    host.files |= {"/sys/fs/cgroup/a/pids.max": "10\n", "/sys/fs/cgroup/a/pids.current": "7\n"}
    pods = "/sys/fs/cgroup/kubepods.slice"
    host.files |= {f"{pods}/pids.max": "10\n", f"{pods}/pids.current": "9\n"}
    nothing: Reading[InForce] = Reading.without("CRI", "absent", "nothing")
    setup = Setup(nothing, Reading("root", "/r"), "/run/containerd", lambda _: (), no_networks, Reading("dump", {}))
    found = gather_surroundings(host, Reading("pid", PID), setup)
    assert found.value
    assert found.value.daemon.value
    assert found.value.daemon.value.umask.value == 0o027
    assert found.value.daemon.value.no_new_privileges.value is True
    assert found.value.daemon.value.pids_left.value == 3
    assert found.value.pods_left.value == 1
    assert found.value.temporary.value == FOLDER
    assert {each.kind for each in found.value.devices} == {"absent"}
    assert found.value.root_dir.kind == "absent"
    assert found.value.state.value
    assert [place.source for place in found.value.state.value] == ["/", "/run", "/run/containerd"]


@pytest.mark.parametrize(
    ("existing", "source"),
    [
        (("/var", "/var/lib", "/var/lib/cni", "/var/lib/cni/results"), "/var/lib/cni/results"),
        (("/var", "/var/lib"), "/var/lib"),
        ((), "/var/lib/cni/results"),
    ],
)
def test_where_a_daemon_will_make_a_directory(existing: tuple[str, ...], source: str) -> None:
    """The nearest folder that exists decides; the root never does, as too much lies between."""
    host = make_host()
    host.places_found = dict.fromkeys(existing, FOLDER)
    found = nearest(host, PID, "/var/lib/cni/results")
    assert found.source == source
    assert (found.value is not None) == bool(existing)


@pytest.mark.parametrize("directory", ["/", "//"])
def test_a_daemon_that_makes_nothing_above_the_root_directory(directory: str) -> None:
    """A configuration may name the root directory itself, as `Root` of an OCI runtime or as podLogsDir."""
    host = make_host()
    host.places_found["/"] = FOLDER
    assert nearest(host, PID, directory) == Reading("/", FOLDER)


@pytest.mark.parametrize(
    ("link", "source", "is_link"),
    [
        ("/var/lib/cni", "/var/lib/cni", True),
        ("/data/lib/cni", "/var/lib/cni", True),
        ("/var/lib/cni/results", "/var/lib", False),
    ],
)
def test_a_symlink_to_nothing_on_the_way(link: str, source: str, is_link: bool) -> None:
    """Only where a daemon would make its first directory does one stand in the way; the folder's real path counts."""
    host = make_host()
    real = "/data/lib" if link.startswith("/data") else "/var/lib"
    host.places_found = {"/var": FOLDER, "/var/lib": msgspec.structs.replace(FOLDER, path=real)}
    host.links[f"/proc/{PID}/root{link}"] = "/nowhere"
    found = nearest(host, PID, "/var/lib/cni/results")
    assert found.source == source
    assert found.value
    assert stat.S_ISLNK(found.value.mode) is is_link


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("/a.so:/b.so /c.so", ("/a.so", "/b.so", "/c.so")),
        ("libc.so /usr/$LIB/x.so", ()),
        ("", ()),
    ],
)
def test_preloaded_libraries(value: str, paths: tuple[str, ...]) -> None:
    """Separated by colons or spaces; where ld.so(8) looks for the others is not known."""
    assert parse_preloaded(f"LD_PRELOAD={value}\0PATH=/bin\0".encode()) == paths
    assert parse_preloaded(b"PATH=/bin\0") == ()


@pytest.mark.parametrize("there", [True, False])
def test_a_preloaded_library_that_is_missing(there: bool) -> None:
    """Shims are looked at only then."""
    host = make_host()
    host.add_process(PID, "/usr/bin/containerd", environment={"LD_PRELOAD": "/x.so"})
    shim = Reading("PATH", "/usr/bin/shim")
    host.places_found["/usr/bin/shim"] = msgspec.structs.replace(FOLDER, linked=True)
    if there:
        host.places_found["/x.so"] = FOLDER
    found = gathered(host, handlers=(make_handler_around(shim=shim),))
    assert found.missing_libraries == (() if there else ("/x.so",))
    assert found.linked_shims == (() if there else ("/usr/bin/shim",))


@pytest.mark.parametrize(
    ("unified", "existing", "kind", "value"),
    [
        (True, ("/sys/fs/cgroup/shims",), None, "/sys/fs/cgroup/shims"),
        (True, (), "absent", None),
        (False, ("/sys/fs/cgroup/pids/shims",), None, "/sys/fs/cgroup/pids/shims"),
        (False, ("/sys/fs/cgroup/shims",), "absent", None),
    ],
)
def test_the_cgroup_of_shims(unified: bool, existing: tuple[str, ...], kind: str | None, value: str | None) -> None:
    """One hierarchy of cgroup v1 that has it suffices."""
    host = make_host()
    names = ("cgroup.controllers",) if unified else ("cpu/x", "pids/x")
    host.files |= {f"/sys/fs/cgroup/{name}": "" for name in names}
    host.places_found |= {path: msgspec.structs.replace(FOLDER, path=path) for path in existing}
    found = gather_shim_cgroup(host, PID, "shims")
    assert (found.kind, found.value) == (kind, value)
    assert gather_shim_cgroup(host, PID, "").kind == "not-tried"


def test_no_daemon_no_surroundings() -> None:
    """Nothing is read of a daemon that is not surely the node's."""
    host = make_host()
    unknown: Reading[int] = Reading.without("pid", "not-readable", "nobody")
    nothing: Reading[InForce] = Reading.without("CRI", "absent", "nothing")
    setup = Setup(nothing, ROOT, "/run/containerd", lambda _: (), no_networks, NO_PROXIES)
    found = gather_surroundings(host, unknown, setup)
    assert found.kind == "not-readable"
    assert not host.touched


def in_force(loopback: bool = True, **runtime: object) -> Reading[InForce]:
    """Status with one handler; *loopback*: containerd needs no plugin for it."""
    cni = {"binDirs": ["/opt/cni/bin", "/usr/lib/cni"], "confDir": "/etc/cni/net.d", "useInternalLoopback": loopback}
    document = {"containerd": {"defaultRuntimeName": "runc", "runtimes": {"runc": runtime}}, "cni": cni}
    return Reading("CRI", json.dumps(document)).parse(parse_in_force)


@pytest.mark.parametrize(
    ("runtime_type", "place", "kind"),
    [
        ("io.containerd.runc.v2", "/usr/bin/containerd-shim-runc-v2", None),
        ("io.containerd.kata.v2", "/usr/bin/containerd-shim-kata-v2", None),
        ("/opt/shim", "/opt/shim", None),
        ("io.containerd.runc.v2", "/other/containerd-shim-runc-v2", "absent"),
        ("runc", "/usr/bin/runc", "not-readable"),
        ("../x.y", "/usr/bin/y", "not-readable"),
    ],
)
def test_shim(runtime_type: str, place: str, kind: str | None) -> None:
    """By the name that containerd makes of the type, where the daemon looks."""
    host = make_host()
    host.places_found[place] = PROGRAM
    default, row = gather_handlers(host, PID, in_force(runtimeType=runtime_type), Reading("PATH", ("/bin", "/usr/bin")))
    assert (default.name, row.name) == ("", "runc")
    assert default.shim == row.shim
    assert row.shim.kind == kind
    assert row.shim.value == (place if kind is None else None)


def test_a_shim_that_cannot_be_executed() -> None:
    """It is passed over, as exec.LookPath does."""
    host = make_host()
    host.places_found["/usr/bin/containerd-shim-runc-v2"] = Place(path="/", mode=0o100644, uid=0, gid=0)
    _, row = gather_handlers(host, PID, in_force(runtimeType="io.containerd.runc.v2"), Reading("PATH", ("/usr/bin",)))
    assert row.shim.kind == "absent"


@pytest.mark.parametrize(
    ("place", "runs"),
    [
        (Place(path="/", mode=0o104755, uid=65534, gid=0, runs_as=65534), False),
        (Place(path="/", mode=0o104755, uid=65534, gid=0), True),
        (Place(path="/", mode=0o104755, uid=0, gid=0), True),
    ],
)
def test_a_program_that_becomes_another_user(place: Place, runs: bool) -> None:
    """A shim, an OCI runtime or a plugin of the network that is set-user-ID of anybody but root has no rights."""
    host = make_host()
    host.places_found["/usr/bin/containerd-shim-runc-v2"] = place
    _, row = gather_handlers(host, PID, in_force(runtimeType="io.containerd.runc.v2"), Reading("PATH", ("/usr/bin",)))
    assert (row.shim.value is not None, is_program(place)) == (runs, runs)


def test_network() -> None:
    """The first configuration by name, and a plugin in any of the directories."""
    host = make_host()
    plugins = {"plugins": [{"type": "bridge"}, {"type": "portmap"}]}
    host.files |= {
        "/etc/cni/net.d/10-a.conflist": json.dumps(plugins),
        "/etc/cni/net.d/0.txt": "",
        "/etc/cni/net.d/9": "",
    }
    host.places_found["/usr/lib/cni/bridge"] = PROGRAM
    found = gather_cni(host, PID, in_force())
    assert found.value
    assert (found.value.conf, found.value.missing) == ("/etc/cni/net.d/10-a.conflist", ("portmap",))
    host.places_found["/opt/cni/bin/portmap"] = Place(path="/", mode=0o100644, uid=0, gid=0)
    host.places_found["/usr/lib/cni/portmap"] = PROGRAM
    found = gather_cni(host, PID, in_force())
    assert found.value
    assert found.value.missing == ("portmap",)  # the first regular file counts, executable or not
    found = gather_cni(host, PID, in_force(loopback=False))
    assert found.value
    assert found.value.missing == ("portmap", "loopback")
    host.places_found["/opt/cni/bin/portmap"] = errno.EACCES
    assert gather_cni(host, PID, in_force()).kind == "not-permitted"
    host.files = {"/etc/cni/net.d/README": ""}
    assert gather_cni(host, PID, in_force()).kind == "absent"


@pytest.mark.parametrize(
    ("namespaces", "names"),
    [
        ([{"type": "pid"}, {"type": "mount"}, {"type": "network"}], ()),
        ([{"type": "user", "path": "/proc/1/ns/user"}], ("linux.namespaces",)),
        ([{"type": "ipc", "path": "/proc/1/ns/ipc"}], ("linux.namespaces",)),
        ([{"type": "time"}], ()),
    ],
)
def test_namespaces_of_a_base_specification(namespaces: list[dict[str, str]], names: tuple[str, ...]) -> None:
    """Those that CRI makes anew for each container are no matter; others are left to be unknown."""
    assert parse_spec(json.dumps({"linux": {"namespaces": namespaces}})).unjudged == names


@pytest.mark.parametrize("kind", ["not-readable", "absent"])
def test_the_handler_of_a_configuration_that_was_not_read(kind: ProblemKind) -> None:
    """It is there, with the problem; that it has no base specification is not said."""
    unread: Reading[InForce] = Reading.without("CRI Status", kind, "truncated")
    (row,) = gather_handlers(make_host(), PID, unread, Reading("PATH", ("/usr/bin",)))
    assert row.name == ""
    assert (row.added.kind, row.added.problem) == ("not-readable", "truncated")


def test_the_default_handler_is_among_however_many() -> None:
    """It is the one that counts, whatever its place in the alphabet."""
    runtime = {"runtimeType": "io.containerd.runc.v2"}
    runtimes = {f"a{number:03}": runtime for number in range(200)} | {"runc": runtime}
    text = json.dumps({"containerd": {"defaultRuntimeName": "runc", "runtimes": runtimes}})
    rows = gather_handlers(make_host(), PID, Reading("CRI", parse_in_force(text)), Reading("PATH", ("/usr/bin",)))
    assert [row.name for row in rows[:2]] == ["", "runc"]
    assert len(rows) < 100


@pytest.mark.parametrize(("most", "missing"), [(1, ()), (2, ("dhcp",)), (0, ("dhcp",)), (-1, ("dhcp",))])
def test_several_networks(most: int, missing: tuple[str, ...]) -> None:
    """containerd loads as many as it is told, all for 0 or less; the one that lacks a plugin is named."""
    host = make_host()
    for name, plugin in (("1", "bridge"), ("2", "dhcp")):
        host.files[f"/etc/cni/net.d/{name}.conf"] = json.dumps({"type": plugin})
    host.places_found["/opt/cni/bin/bridge"] = PROGRAM
    config = in_force().value
    assert config is not None
    config = replace(config, cni=replace(config.cni, max_conf_num=most))
    found = gather_cni(host, PID, Reading("CRI", config)).value
    assert found is not None
    assert (found.missing, found.conf) == (missing, f"/etc/cni/net.d/{2 if missing else 1}.conf")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"plugins": []}', '{"type": "../x"}', '{"plugins": [1]}', "[" * 99_999]
)
def test_no_plugins(text: str) -> None:
    """Anything else is not understood."""
    with pytest.raises(ValueError, match=r"names|nested|JSON|truncated"):
        parse_plugins(text)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ('{"Type": "bridge"}', ("bridge",)),
        ('{"plugins": [{"TYPE": "bridge"}, {"type": "portmap", "Type": "x"}]}', ("bridge", "portmap")),
        ('{"Plugins": [{"type": "bridge"}], "type": "y"}', ("y",)),
    ],
)
def test_names_in_any_case(text: str, types: tuple[str, ...]) -> None:
    """libcni takes `plugins` by its exact name, and `type` in any case; of several the last in order of their names."""
    assert parse_plugins(text) == types


def test_base_specification() -> None:
    """Hooks with each folder on their way, sysctls, limits, and mounts with what they bind."""
    host = make_host()
    spec = {
        "hooks": {"createContainer": [{"path": "/opt/d/hook"}], "poststop": [{"path": "/x"}]},
        "linux": {"sysctl": {"net.core.somaxconn": "1"}},
        "mounts": [
            {"destination": "/a", "type": "debugfs"},
            {"destination": "/b", "type": "none", "source": "/gone", "options": ["rbind"]},
            {"destination": "/c", "type": "bind", "source": "relative"},
            {"destination": "/d", "source": "/etc/hosts"},
        ],
        "process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 18446744073709551615}]},
    }
    host.files["/etc/base.json"] = json.dumps(spec)
    host.places_found |= {
        "/opt": FOLDER,
        "/opt/d": FOLDER,
        "/opt/d/hook": Place(path="/opt/d/hook", mode=0o100700, uid=0, gid=0),
    }
    added = gather_added(host, PID, "/etc/base.json").value
    assert added
    assert [hook.when for hook in added.hooks] == ["createContainer", "poststop"]
    assert [step.source for step in added.hooks[0].steps] == ["/opt/d/hook", "/", "/opt", "/opt/d"]
    assert added.hooks[1].steps[0].kind == "absent"
    assert added.sysctls == (("net.core.somaxconn", "1"),)
    assert [(each.fstype, each.source.kind) for each in added.mounts] == [
        ("debugfs", "not-tried"),
        ("", "absent"),
        ("", "not-tried"),
        ("none", "not-tried"),
    ]
    assert added.limits == (("RLIMIT_NOFILE", Limit(1, -1)),)
    assert not added.newer
    host.modified["/etc/base.json"] = 5000.0
    newer = gather_added(host, PID, "/etc/base.json").value
    assert newer
    assert newer.newer


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 99_999,
        '{"hooks": {"createContainer": [{"path": "relative"}]}}',
        '{"hooks": 1}',
        "x" * (1 << 20 | 1),
        json.dumps({"mounts": [{"type": "bind", "source": "/" + "x" * 4096}]}),
        '{"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": "1"}]}}',
    ],
)
def test_a_hostile_base_specification(content: str) -> None:
    """It is not understood, and never taken for one that adds nothing."""
    host = make_host()
    host.files["/etc/base.json"] = content
    assert gather_added(host, PID, "/etc/base.json").kind == "not-readable"


def test_the_way_to_a_hook(tmp_path: Path) -> None:
    """To its program, to the interpreter of that, and to what starts this one; a script that starts itself ends it."""
    (tmp_path / "shut").mkdir(mode=0o700)
    for name, interpreter in (("hook", "link"), ("shut/one", "two"), ("two", "two")):
        (tmp_path / name).write_text(f"#!{tmp_path}/{interpreter}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "link").symlink_to("shut/one")
    with closing(LocalHost()) as host:
        (hook,) = place_hooks(host, os.getpid(), [Hook(when="createContainer", path=f"{tmp_path}/hook")])
    seen = [step.source.removeprefix(f"{tmp_path}/") for step in hook.steps]
    assert seen[0] == "hook"
    assert {"/", "link", "shut", "two"} <= set(seen)
    assert len(seen) == len(set(seen))


def test_what_crio_gives_each_container() -> None:
    """The node's own devices, and the directory in which its OCI runtime keeps state."""
    host = make_host()
    host.files["/dev/fuse"] = ""
    handler = ConfiguredHandler("/usr/bin/crun", "oci", state="/run/crun")
    crio = CrioAdded(devices=("/dev/fuse", "/dev/gone:/dev/x:rwm", "dev/relative"))
    config = Reading("CRI", RuntimeConfig(default_handler="crun", handlers={"crun": handler}, crio=crio))
    row, _ = gather_crio_handlers(host, PID, config, "")
    assert row.added.value
    devices = {device.path: device.source.kind for device in row.added.value.devices}
    assert devices == {"/dev/fuse": None, "/dev/gone": "absent"}
    assert row.oci_root.value


@pytest.mark.parametrize("number", [10**30, -(10**30), 1 << 64, -1])
def test_numbers_that_no_report_can_carry(number: int) -> None:
    """They are no limit."""
    parts = parse_spec(json.dumps({"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": number, "hard": 5}]}}))
    assert parts.limits == (("RLIMIT_CORE", Limit(-1, 5)),)
    assert encode(parts.limits)


def test_base_specifications_that_are_no_files(tmp_path: Path) -> None:
    """A FIFO, a directory, a device, a file of 100 MiB: none is waited for or read whole, and none is a pass."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").write_bytes(b"")
    os.truncate(tmp_path / "huge", 100 << 20)
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "huge", "zero", "loop", "."):
        with closing(LocalHost()) as host:
            assert gather_added(host, os.getpid(), str(tmp_path / name)).kind == "not-readable", name


def test_too_many_entries() -> None:
    """Nobody writes so many, and nobody reads them."""
    for spec in (
        {"mounts": [{"destination": str(number)} for number in range(201)]},
        {"hooks": {"prestart": [{"path": "/x"}] * 201}},
        {"process": {"rlimits": [{"type": "RLIMIT_CORE"}] * 201}},
    ):
        with pytest.raises(ValueError, match="entries"):
            parse_spec(json.dumps(spec))
    with pytest.raises(ValueError, match="entries"):
        parse_spec(json.dumps({"linux": {"sysctl": {f"net.{number}": "1" for number in range(201)}}}))


def test_a_base_specification_that_is_not_there() -> None:
    """containerd would refuse each container; without a path there is none."""
    assert gather_added(make_host(), PID, "/etc/none.json").kind == "not-readable"
    assert gather_added(make_host(), PID, "").kind == "absent"


def mount(propagation: str) -> Mount:
    (parsed,) = parse_mountinfo(
        f"1 0 8:1 / /var {'rw'} {propagation + ' ' if propagation else ''}- ext4 d rw\n".encode()
    )
    return parsed


@pytest.mark.parametrize(
    ("kubelet", "runtime", "others", "arrives"),
    [
        ("shared:1", "shared:1", (), True),
        ("shared:1", "master:1", (), True),
        ("shared:2 master:1", "shared:1", (), False),
        ("shared:1", "", (), False),
        ("", "shared:1", (), False),
        ("master:1", "shared:1", (), False),
        ("shared:1", "master:2", ("shared:2 master:1",), True),
        ("shared:1", "master:2", (), None),
        ("shared:1", "master:2", ("shared:2",), False),
        ("shared:1", "shared:3 master:1", (), True),
        ("shared:9", "master:2", ("shared:2 master:3", "shared:3 master:2"), None),
    ],
)
def test_propagation(kubelet: str, runtime: str, others: tuple[str, ...], arrives: bool | None) -> None:
    """Mounts go from a peer group to its members and its slaves, never back."""
    assert receives(mount(kubelet), mount(runtime), tuple(map(mount, others))) is arrives


@pytest.mark.parametrize(("below", "arrives"), [("shared:5 ", True), ("", False)])
def test_propagation_of_a_mount_that_holds_the_pods(below: str, arrives: bool) -> None:
    """Where `pods` is a mount of its own, it decides, whatever that of the kubelet's root does."""
    host = make_host()
    host.links |= {"/proc/800/ns/mnt": "mnt:[1]", f"/proc/{PID}/ns/mnt": "mnt:[2]"}
    pods = Place(path="/var/lib/kubelet/pods", mode=0o40755, uid=0, gid=0)
    host.places_found |= {"/var/lib/kubelet": replace(pods, path="/var/lib/kubelet"), "/var/lib/kubelet/pods": pods}
    root = "1 0 8:1 / /var/lib/kubelet rw shared:1 - ext4 d rw\n"
    for pid, own in ((800, "shared:5 "), (PID, below)):
        host.files[f"/proc/{pid}/mountinfo"] = f"{root}2 1 8:2 / /var/lib/kubelet/pods rw {own}- ext4 e rw\n"
    runtime = Reading("CRI", make_runtime(confinement=make_confinement(pid=PID)))
    around = gather_kubelet_around(host, Reading("kubelet", make_kubelet(pid=800)), runtime).value
    assert around is not None
    assert around.propagation.value is not None
    assert around.propagation.value.arrives is arrives


@pytest.mark.parametrize(
    ("runtime", "shared"),
    [
        ("8:1 / /", True),
        ("8:1 /var/lib/kubelet /var/lib/kubelet", True),
        ("8:1 /var/lib/other /var/lib/kubelet", False),
        ("0:50 / /var/lib/kubelet", False),
        ("8:1 /var/lib/kubelet//deleted /var/lib/kubelet", None),
    ],
)
def test_the_directory_that_the_runtime_finds(runtime: str, shared: bool | None) -> None:
    """It is the kubelet's when device and path in the file system are, by whichever mount."""
    host = make_host()
    host.links |= {"/proc/800/ns/mnt": "mnt:[1]", f"/proc/{PID}/ns/mnt": "mnt:[2]"}
    host.places_found["/var/lib/kubelet"] = Place(path="/var/lib/kubelet", mode=0o40755, uid=0, gid=0)
    host.files["/proc/800/mountinfo"] = "1 0 8:1 / / rw shared:1 - ext4 d rw\n"
    host.files[f"/proc/{PID}/mountinfo"] = f"1 0 {runtime} rw master:1 - ext4 d rw\n"
    answer = Reading("CRI", make_runtime(confinement=make_confinement(pid=PID)))
    around = gather_kubelet_around(host, Reading("kubelet", make_kubelet(pid=800)), answer).value
    assert around is not None
    assert around.propagation.value is not None
    assert around.propagation.value.same_directory is shared


@pytest.mark.parametrize("field", ["linux", "x"])
def test_a_specification_at_the_limit_of_nesting(field: str) -> None:
    """Each depth is either read or not understood, whatever part of it the parser of JSON skips."""
    for depth in range(600, 1100):
        try:
            parse_spec(f'{{"{field}":{{"y":{"[" * depth}{"]" * depth}}}}}')
        except ValueError:
            continue


@pytest.mark.parametrize("root", ["data", "./data"])
def test_a_relative_root(root: str) -> None:
    """What lies below the working directory of the daemon is not known, and is no folder below /."""
    nothing: Reading[InForce] = Reading.without("CRI", "absent", "nothing")
    told, pid, state = Reading("CRI", root), Reading("pid", PID), "/run/containerd"
    setup = Setup(nothing, told, state, lambda _: (), no_networks, NO_PROXIES)
    found = gather_surroundings(make_host(), pid, setup)
    assert found.value
    assert found.value.root_dir.kind == "not-readable"
    assert not any("data" in path for path in folders_of_containerd(root, root, root))


def test_the_path_of_wrappers() -> None:
    """Only folders that root alone may change, and that have no OCI runtime of anybody else's."""
    host = make_host()
    host.places_found |= dict.fromkeys(("/usr", "/usr/bin", "/tmp/own", "/opt", "/opt/bin"), FOLDER)
    host.places_found["/tmp"] = Place(path="/tmp", mode=0o41777, uid=0, gid=0)
    host.places_found["/home"] = Place(path="/home", mode=0o40755, uid=1000, gid=0)
    host.places_found["/home/bin"] = FOLDER
    host.places_found["/opt/bin/runc"] = Place(path="/opt/bin/runc", mode=0o100755, uid=1000, gid=0)
    path: Reading[tuple[str, ...]] = Reading("PATH", ("/usr/bin", "/tmp", "/tmp/own", "/home/bin", "/opt/bin", "/gone"))
    pid: Reading[int] = Reading("pid", PID)
    assert trusted_path(host, pid, path) == ("/usr/bin", "/tmp/own")


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ({"process": {"user": {"uid": 0}, "oomScoreAdj": -1000}, "linux": {"sysctl": {"net.a": "1"}}}, ()),
        ({"process": {"scheduler": {"policy": "SCHED_FIFO"}}}, ("process.scheduler",)),
        ({"process": {"ioPriority": None}, "linux": {"timeOffsets": {}}}, ()),
        ({"linux": {"timeOffsets": {"boottime": {"secs": 5}}}}, ("linux.timeOffsets",)),
        ({"linux": {"resources": {"devices": [{}], "blockIO": {"weight": 1}}}}, ("linux.resources.blockIO",)),
        ({"process": [], "linux": "x"}, ()),
        ({"Linux": {"TimeOffsets": {"boottime": {}}, "SYSCTL": {"net.a": "1"}}}, ("linux.TimeOffsets",)),
    ],
)
def test_parts_of_a_specification_that_nobody_judges(part: dict[str, object], names: tuple[str, ...]) -> None:
    """They are named, as each container gets them; what is empty sets nothing."""
    assert unjudged(go_json.parse(json.dumps(part))) == names


def test_what_the_node_has_of_the_sysctls() -> None:
    """By their names; one that leads out of /proc/sys is not looked for."""
    host = make_host()
    host.files["/proc/sys/net/ipv4/ip_forward"] = "1\n"
    sysctl = {"net.ipv4.ip_forward": "1", "net.nobody": "1", "net/../../../etc/passwd": "1"}
    linux = {"sysctl": sysctl, "devices": [{"path": "/dev/x"}], "resources": {"pids": {"limit": 1}}}
    host.files["/base.json"] = json.dumps({"linux": linux})
    added = gather_added(host, PID, "/base.json").value
    assert added
    assert added.limits == (("pids.limit", Limit(1, 1)),)
    assert [(now.value, now.kind) for now in added.now.values()] == [
        ("1", None),
        (None, "absent"),
        (None, "not-readable"),
    ]
    assert [(device.path, device.source.kind) for device in added.devices] == [("/dev/x", "absent")]
