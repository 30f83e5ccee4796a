"""CDI specifications and what comes with them: parsed as a CDI library does, bounded, and never followed or opened."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cri_recordings import recorded_answer
from lab.factory import make_confinement, make_handler, make_hooks, make_kernel, make_probe, make_runtime
from lab.fake_host import FakeHost
from lab.samples import DRA_JSON, NVIDIA_YAML
from probe.facts.devices import folders
from probe.facts.devices.folders import gather_folders
from probe.facts.devices.gather import gather_devices
from probe.facts.devices.model import CdiFolders, CdiSettings, DeviceFacts, mapping_of
from probe.facts.devices.offered import specifications_of
from probe.facts.devices.specification import parse_specification
from probe.facts.devices.toolkit import CONFIGURATION, parse_mode, parse_version
from probe.facts.filesystems.attempts import Bench
from probe.facts.model import HookFacts, RuntimeFacts
from probe.facts.runtime.cdi import gather_cdi_settings, gather_maps_mounts, parse_containerd, parse_crio
from probe.host.host import Host, LocalHost
from probe.host.idmap import Answer, Target
from probe.host.places import Place
from probe.reading import Reading

RUNTIME_PID = 700
DEVICE = {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/x"}]}}

BOMB = b"kind: x/y\na0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)
)


def specification(**fields: Any) -> bytes:
    """A specification of one device node, as JSON."""
    return json.dumps({"cdiVersion": "0.6.0", "kind": "example.com/gpu", "devices": [DEVICE]} | fields).encode()


def told(*paths: str, **more: Any) -> Reading[RuntimeFacts]:
    """A runtime that names these folders."""
    return Reading("CRI", make_runtime(cdi=CdiSettings(folders=paths), **more))


UNKNOWN: Reading[RuntimeFacts] = Reading.without("CRI", "not-tried", "no endpoint")


def read(host: Host, runtime: Reading[RuntimeFacts] = UNKNOWN) -> CdiFolders:
    found = gather_folders(host, runtime).value
    assert found is not None
    return found


class Recorded(Bench):
    """Attempts answered by path: an errno, or success."""

    def __init__(self, answers: dict[str, int]) -> None:
        super().__init__(3, 0.0, lambda: None)
        self.answers = answers
        self.targets: list[Target] = []

    def control(self) -> Answer:
        return Answer("mount_setattr", errno.EINVAL)

    def walk(self, targets: Any) -> Any:
        self.targets += [target for target in targets if target.kind == "mount"]
        for index, target in enumerate(targets):
            number = max(
                (number for path, number in self.answers.items() if target.recursive and path.startswith(target.path)),
                default=self.answers.get(target.path, 0),
            )
            yield index, Answer("mount_setattr" if number else "done", number)


def gather(
    host: Host,
    runtime: Reading[RuntimeFacts] = UNKNOWN,
    sockets: tuple[str, ...] = (),
    bench: Recorded | None = None,
    hooks: HookFacts | None = None,
) -> DeviceFacts:
    found = gather_devices(
        host,
        runtime,
        Reading("hooks", hooks or make_hooks()),
        Reading("device-plugins", sockets),
        bench or Recorded({}),
        make_probe(),
        make_kernel(),
    ).value
    assert found is not None
    return found


class TestParser:
    def test_yaml_and_json_say_the_same(self) -> None:
        """As nvidia-ctk writes it, in both formats."""
        found = parse_specification(NVIDIA_YAML, "/etc/cdi/nvidia.yaml")
        assert found.kind == "nvidia.com/gpu"
        assert [node.path for node in found.devices["0"].nodes] == ["/dev/nvidia0"]
        assert [(hook.when, hook.program) for hook in found.edits.hooks] == [
            ("createContainer", "/usr/bin/nvidia-cdi-hook")
        ]
        edits = {"deviceNodes": [{"path": "/dev/nvidia0"}]}
        hooks = [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["x"]}]
        same = {"devices": [{"name": "0", "containerEdits": edits}], "containerEdits": {"hooks": hooks}}
        assert parse_specification(specification(kind="nvidia.com/gpu", **same), "/etc/cdi/nvidia.yaml") == found

    def test_a_number_without_quotes_names_a_device(self) -> None:
        """As a CDI library takes it from YAML; groups are kept without 0, which each process has."""
        content = b"cdiVersion: 0.7.0\nkind: a.b/c\ndevices: [{name: 0, containerEdits: {additionalGids: [44, 0]}}]\n"
        assert parse_specification(content, "f").devices["0"].gids == (44,)

    @pytest.mark.parametrize(
        ("version", "fields"),
        [
            ("0.4.0", {"containerEdits": {"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "bind"}]}}),
            ("0.5.0", {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/y"}]}}),
            ("0.5.0", {"devices": [DEVICE]}),  # a name that begins with a digit
            ("0.6.0", {"annotations": {"example.com/a": "b"}}),
            ("0.6.0", {"devices": [DEVICE | {"annotations": {"a": "b"}}]}),
            ("0.6.0", {"kind": "example.com/g.pu"}),
            ("0.7.0", {"containerEdits": {"additionalGids": [44]}}),
            ("0.7.0", {"containerEdits": {"intelRdt": {"closID": "group"}}}),
            ("1.1.0", {"containerEdits": {"netDevices": [{"hostInterfaceName": "eth1", "name": "eth0"}]}}),
        ],
    )
    def test_fields_and_the_version_that_brought_them(self, version: str, fields: dict[str, Any]) -> None:
        """A CDI library refuses them in a file that names an earlier version."""
        versions = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"]
        letter = {"name": "a", "containerEdits": DEVICE["containerEdits"]}
        for each in versions:
            content = specification(**{"cdiVersion": each, "devices": [letter]} | fields)
            if versions.index(each) < versions.index(version):
                with pytest.raises(ValueError, match=f"of version {version}"):
                    parse_specification(content, "f")
            else:
                assert parse_specification(content, "f").file == "f"

    @pytest.mark.parametrize(
        "fields",
        [
            {"cdiVersion": "0.2.0"},
            {"more": 1},
            {"containerEdits": {"more": 1}},
            {"devices": [DEVICE | {"more": 1}]},
            {"containerEdits": {"env": ["NAME"]}},
            {"containerEdits": {"env": ["=value"]}},
            {"containerEdits": {"hooks": [{"hookName": "poststop", "path": "/x", "env": [""]}]}},
            {"annotations": {"a b": "c"}},
            {"annotations": {"a": 1}},
            {"cdiVersion": "0.7.0", "containerEdits": {"additionalGids": [-1]}},
            {"cdiVersion": "0.7.0", "containerEdits": {"additionalGids": [1 << 32]}},
            {"cdiVersion": "0.7.0", "containerEdits": {"intelRdt": {"closID": "../x"}}},
            {"cdiVersion": "1.1.0", "containerEdits": {"netDevices": [{"hostInterfaceName": "", "name": "a"}]}},
            {"cdiVersion": "1.1.0", "containerEdits": {"netDevices": [{"hostInterfaceName": "a", "name": "b"}] * 2}},
            {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "uid": -1}]}},
            {"containerEdits": {"deviceNodes": [{"path": "/dev/x", "minor": -1}]}},
        ],
    )
    def test_what_a_cdi_library_refuses(self, fields: dict[str, Any]) -> None:
        """Unknown fields, and values that the library validates: the runtime leaves out the whole file."""
        with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the decoder
            parse_specification(specification(**fields), "f")

    def test_a_field_twice(self) -> None:
        with pytest.raises(ValueError, match="twice"):
            parse_specification(specification().replace(b'{"cdi', b'{"kind": "a.b/c", "cdi', 1), "f")

    def test_a_kind_without_devices(self) -> None:
        assert parse_specification(DRA_JSON, "f").devices == {}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            json.dumps({"kind": "example.com/gpu", "devices": [DEVICE]}).encode(),
            specification(containerEdits={"deviceNodes": [{"path": "/dev/x", "permissions": "none"}]}),
            specification(containerEdits={"deviceNodes": [{"path": "/dev/x", "type": "s"}]}),
            b"null",
            b"{}",
            b"\xff",
            b"{" * 10_000,
            b"- " * 10_000,
            b"a: &a [*a]\n",
            BOMB,
            specification(cdiVersion="9.9.9"),
            specification(cdiVersion="1.0"),
            specification(cdiVersion=""),
            specification(kind="gpu"),
            specification(kind="1st.com/gpu"),
            specification(kind="example.com/gpu-"),
            specification(devices=[{"name": "0-", "containerEdits": {"env": ["A=B"]}}]),
            specification(devices=[{"name": -1, "containerEdits": {"env": ["A=B"]}}]),
            specification(devices=[DEVICE, DEVICE | {"name": int(DEVICE["name"])}]),
            specification(kind=["example.com/gpu"]),
            specification(kind="<b>/gpu"),
            specification(kind="\x1b[31m/gpu"),
            specification(devices={}),
            specification(devices=[DEVICE, DEVICE]),
            specification(devices=[{"name": "0"}]),
            specification(devices=[{"name": "a b", "containerEdits": {"env": ["A=B"]}}]),
            specification(devices=[{"name": "0", "containerEdits": {"deviceNodes": [{"path": ""}]}}]),
            specification(devices=[{"name": "0", "containerEdits": {"deviceNodes": [{"path": 1}]}}]),
            specification(devices=[{"name": "0", "containerEdits": {"deviceNodes": {"path": "/dev/x"}}}]),
            specification(containerEdits={"hooks": [{"hookName": "whenever", "path": "/bin/x"}]}),
            specification(containerEdits={"mounts": [{"hostPath": "/x" * 4000, "containerPath": "/y"}]}),
            specification(containerEdits={"mounts": [{"hostPath": "/x\0", "containerPath": "/y"}]}),
            specification(devices=[{"name": str(n), "containerEdits": {"env": ["A=B"]}} for n in range(3000)]),
            specification(containerEdits={"deviceNodes": [{"path": f"/dev/{n}"} for n in range(3000)]}),
        ],
    )
    def test_what_a_cdi_library_refuses_is_a_problem(self, content: bytes) -> None:
        """Or what is larger than anybody writes: never a traceback, and never half a specification."""
        reading = Reading("f", content).parse(lambda text: parse_specification(text, "f"))
        assert reading.kind == "not-readable"
        assert len(reading.problem) < 400

    @given(st.binary(max_size=300))
    def test_any_content_is_a_specification_or_a_problem(self, content: bytes) -> None:
        reading = Reading("f", content).parse(lambda text: parse_specification(text, "f"))
        assert reading.value is None or reading.value.kind.isprintable()

    @pytest.mark.parametrize(
        ("options", "before", "since"),
        [
            (["rbind", "ro"], "", "ridmap"),
            (["ro", "bind"], "", "idmap"),
            (["ro"], "", ""),
            (["rbind", "idmap"], "idmap", "idmap"),
            (["bind", "ridmap"], "ridmap", "ridmap"),
        ],
    )
    def test_mapping_of_a_mount(self, options: list[str], before: str, since: str) -> None:
        """Before CDI 1.1.0 and since then."""
        mounts = [{"hostPath": "/a", "containerPath": "/b", "options": options}]
        (mount,) = parse_specification(specification(containerEdits={"mounts": mounts}), "f").edits.mounts
        assert (mapping_of(mount, maps_mounts=False), mapping_of(mount, maps_mounts=True)) == (before, since)


WITHOUT_DEVICES = """
import sys
from lab.factory import make_facts
from lab.fake_host import FakeHost
from probe.checks.devices.check import check_device_hooks
from probe.facts.devices.gather import gather_devices
from probe.make_report import make_report
from probe.reading import Reading
facts = make_facts()
hooks, sockets = Reading("hooks", facts.hooks), Reading("device-plugins", ())
gather_devices(FakeHost(), facts.runtime, hooks, sockets, None, facts.probe, facts.kernel)
print(check_device_hooks(facts).status)
print(*sorted(name for name in sys.modules if name.startswith(("probe.facts.devices.", "probe.checks.devices."))))
"""


class TestFolders:
    def test_a_node_without_any_imports_no_reader_and_no_judge(self) -> None:
        """Of those nodes there are most, and each probe of theirs would pay."""
        done = subprocess.run([sys.executable, "-c", WITHOUT_DEVICES], capture_output=True, text=True, check=True)
        status, modules = done.stdout.splitlines()
        facts = [f"probe.facts.devices.{name}" for name in ("gather", "listing", "model", "toolkit")]
        assert status == "pass"
        assert modules.split() == ["probe.checks.devices.check", "probe.checks.devices.offered", *facts]

    def test_a_node_without_any_pays_two_listings(self) -> None:
        """Of the folders, and of nothing else."""
        host = FakeHost()
        found = gather(host)
        assert found.cdi.value == CdiFolders(folders=((), ()), found=0)
        assert "default folders" in found.cdi.source
        assert host.touched == ["/etc/cdi", "/var/run/cdi"]

    def test_the_folders_are_those_of_the_runtime(self) -> None:
        """In its root directory."""
        host = FakeHost(files={"/srv/cdi/a.yaml": NVIDIA_YAML, "/etc/cdi/b.yaml": NVIDIA_YAML})
        found = gather_folders(host, told("/srv/cdi"))
        assert found.value is not None
        assert [one.file for one in specifications_of(found.value)] == ["/srv/cdi/a.yaml"]
        assert "CRI Status" in found.source
        assert f"/proc/{RUNTIME_PID}/root/srv/cdi" in host.touched

    def test_only_files_with_the_right_endings_count(self) -> None:
        files = dict.fromkeys(("/etc/cdi/README", "/etc/cdi/a.yml", "/etc/cdi/a.json.bak"), NVIDIA_YAML)
        assert read(FakeHost(files=files)).found == 0

    def test_files_that_cannot_be_read_are_told(self) -> None:
        files: dict[str, bytes | str | int] = {
            "/etc/cdi/a.json": errno.EIO,
            "/etc/cdi/b.json": b"x" * (folders.FILE_LIMIT + 1),
            "/etc/cdi/c.yaml": b"kind: [",
            "/etc/cdi/d.json": specification(),
        }
        found = read(FakeHost(files=files))
        assert (found.found, found.unread_count) == (4, 3)
        assert [one.source for one in found.unread] == ["/etc/cdi/a.json", "/etc/cdi/b.json", "/etc/cdi/c.yaml"]
        assert [one.file for one in specifications_of(found)] == ["/etc/cdi/d.json"]

    def test_a_relative_folder_is_one_of_the_root(self) -> None:
        """It is never looked for where the probe runs."""
        host = FakeHost(files={"/cdi/a.json": specification()})
        assert read(host, told("cdi")).found == 1

    def test_of_very_many_files_some_are_read(self) -> None:
        files: dict[str, bytes | str | int] = {f"/var/run/cdi/{number:05}.json": DRA_JSON for number in range(10_000)}
        found = read(FakeHost(files=files))
        assert (found.found, found.unread_count) == (10_000, 10_000 - folders.FILES)
        assert found.unread

    def test_yaml_is_parsed_up_to_a_limit(self) -> None:
        """Of all files together; a short file after them is still parsed."""
        large = NVIDIA_YAML + b"# " + b"x" * (folders.FILE_LIMIT - len(NVIDIA_YAML) - 2)
        files: dict[str, bytes | str | int] = {f"/etc/cdi/{number}.yaml": large for number in range(4)}
        found = read(FakeHost(files=files | {"/var/run/cdi/a.json": specification()}))
        assert (found.found, found.unread_count) == (5, 4 - folders.YAML_LIMIT // folders.FILE_LIMIT)
        assert len(found.folders[1]) == 1

    def test_a_folder_that_cannot_be_listed_is_a_problem(self) -> None:
        assert gather_folders(FakeHost(files={"/etc/cdi": errno.EACCES}), UNKNOWN).kind == "not-permitted"

    def test_hostile_folders(self, tmp_path: Path) -> None:
        """Links, loops, FIFOs, folders, strange names: none is followed, waited for, or carried into a report."""
        secret = tmp_path / "secret"
        secret.write_bytes(NVIDIA_YAML)
        cdi = tmp_path / "cdi"
        (cdi / "directory.json").mkdir(parents=True)
        (cdi / "link.json").symlink_to(secret)
        (cdi / "loop.json").symlink_to("loop.json")
        (cdi / "zero.json").symlink_to("/dev/zero")
        (cdi / "good.yaml").write_bytes(NVIDIA_YAML)
        os.mkfifo(cdi / "fifo.yaml")
        for name in (b"\xff.json", b"\x1b[31m.json"):
            Path(os.fsdecode(os.fsencode(cdi) + b"/" + name)).write_bytes(NVIDIA_YAML)
        (tmp_path / "around").symlink_to("around")
        host = LocalHost()
        confinement = make_confinement(pid=os.getpid())
        found = gather_folders(host, told(str(cdi), str(tmp_path / "absent"), confinement=confinement)).value
        looping = gather_folders(host, told(str(tmp_path / "around"), confinement=confinement))
        host.close()
        assert found is not None
        assert (found.found, found.unread_count) == (8, 7)
        assert [one.kind for one in specifications_of(found)] == ["nvidia.com/gpu"]
        assert looping.value is None


class TestSettings:
    def test_what_containerd_and_crio_tell(self) -> None:
        assert parse_containerd('{"enableCDI": false, "cdiSpecDirs": ["/a", "b"]}') == CdiSettings(
            folders=("/a",), enabled=False
        )
        assert parse_crio('{"crio": {"CDISpecDirs": ["/a"]}}') == CdiSettings(folders=("/a",))

    @pytest.mark.parametrize(
        ("recorded", "maps"), [("containerd-2.1.9", False), ("containerd-2.4.0-beta", True), ("cri-o-1.37.0-dev", True)]
    )
    def test_recorded_runtimes(self, recorded: str, maps: bool) -> None:
        """What real releases told: their folders, and whether their CDI library maps mounts."""
        answer = recorded_answer(recorded, "/run/s")
        assert gather_cdi_settings(answer).value == CdiSettings(folders=("/etc/cdi", "/var/run/cdi"))
        assert gather_maps_mounts(answer.name, answer.version).value is maps

    @pytest.mark.parametrize("text", ["{}", "[]", "", '{"cdiSpecDirs": "x"}', "[" * 99_999])
    def test_anything_else_is_a_problem(self, text: str) -> None:
        assert Reading("CRI", text).parse(parse_containerd).kind == "not-readable"
        assert Reading("CRI", text).parse(parse_crio).kind == "not-readable"

    @pytest.mark.parametrize(
        ("name", "version", "maps"),
        [
            ("containerd", "2.2.1", True),
            ("containerd", "v2.3.0-k3s1", True),
            ("containerd", "2.2.0", False),
            ("containerd", "2.1.9", False),
            ("containerd", "1.7.24", False),
            ("cri-o", "1.35.0", True),
            ("cri-o", "1.34.11", False),
            ("containerd", "UNKNOWN", None),
            ("docker", "29.0.0", None),
        ],
    )
    def test_releases_with_cdi_1_1(self, name: str, version: str, maps: bool | None) -> None:
        assert gather_maps_mounts(Reading("CRI", name), Reading("CRI", version)).value is maps


DRIVER = {"hostPath": "/run/driver", "containerPath": "/usr/lib/driver", "options": ["rbind", "ro"]}
TABLE = (
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "2 1 0:50 / /run/driver rw - tmpfs tmpfs rw\n"
    "3 2 0:51 / /run/driver/below rw - overlay overlay rw\n"
)


def driver_host() -> FakeHost:
    """A node whose driver lies on a tmpfs, with an overlay below it."""
    mounts = specification(containerEdits={"mounts": [DRIVER]})
    files: dict[str, bytes | str | int] = {"/etc/cdi/a.json": mounts, "/run/driver/f": "x"}
    return FakeHost(files=files | {f"/proc/{RUNTIME_PID}/mountinfo": TABLE})


class TestMounts:
    def test_the_tree_is_tried_where_the_library_maps_it(self) -> None:
        bench = Recorded({})
        found = gather(driver_host(), told("/etc/cdi", version="2.3.0"), bench=bench)
        assert [(one.path, one.recursive) for one in bench.targets] == [("/run/driver", True)]
        assert [(one.source, one.recursive, one.attempt.result) for one in found.mounts] == [
            ("/run/driver", True, "supported")
        ]
        assert found.below == {"/run/driver": 1}

    def test_the_mount_that_refuses_is_named(self) -> None:
        bench = Recorded({"/run/driver/below": errno.EINVAL})
        (one,) = gather(driver_host(), told("/etc/cdi", version="2.3.0"), bench=bench).mounts
        assert (one.attempt.result, one.refusing) == ("refused", ("/run/driver/below (overlay)",))

    def test_an_older_library_binds_without_a_mapping(self) -> None:
        bench = Recorded({})
        found = gather(driver_host(), told("/etc/cdi", version="2.1.9"), bench=bench)
        assert (bench.targets, found.mounts, found.below) == ([], (), {"/run/driver": 1})

    def test_a_source_that_does_not_exist_is_not_tried(self) -> None:
        host = driver_host()
        del host.files["/run/driver/f"]
        bench = Recorded({})
        found = gather(host, told("/etc/cdi", version="2.3.0"), bench=bench)
        assert bench.targets == []
        assert found.ways["/run/driver"][0].kind == "absent"


def test_devices_are_looked_at_and_never_opened() -> None:
    """By stat(2) alone, with each folder on the way; paths that are not absolute are left out."""
    relative = {"name": "1", "containerEdits": {"deviceNodes": [{"path": "dev/y"}]}}
    host = FakeHost(files={"/etc/cdi/a.json": specification(devices=[DEVICE, relative])})
    host.places_found["/dev/x"] = Place(path="/dev/x", mode=0o20660, uid=0, gid=44, device="1:3")
    found = gather(host)
    assert found.ways.keys() == {"/dev/x"}
    assert found.ways["/dev/x"][0].value == host.places_found["/dev/x"]
    assert {one.source for one in found.ways["/dev/x"][1:]} == {"/", "/dev"}


class Hanging(FakeHost):
    """A node on which whoever looks into a folder /hung* waits for ever."""

    def places(self, owner: int | str, paths: Any) -> dict[str, Reading[Place]]:
        if any(path.startswith("/hung") for path in paths):
            self.touched.append("hung")
            return {path: Reading.without(path, "timed-out", "no answer in time") for path in paths}
        return super().places(owner, paths)


def test_a_folder_that_hangs_leaves_others_known() -> None:
    """Nobody waits for more than two of them."""
    paths = ["/hung/a", "/dev/x", "/hung/b", "/hung2/c", "/hung3/d"]
    edits = {"deviceNodes": [{"path": path} for path in paths]}
    host = Hanging(files={"/etc/cdi/a.json": specification(containerEdits=edits), "/dev/x": "", "/dev/y": ""})
    found = gather(host)
    assert {path: way[0].kind for path, way in found.ways.items()} == {
        "/hung/a": "timed-out",
        "/hung/b": "timed-out",
        "/dev/x": None,
        "/hung2/c": "timed-out",
    }
    assert host.touched.count("hung") == 2


def test_paths_beyond_the_limit_are_counted() -> None:
    devices = [
        {"name": f"d{n}", "containerEdits": {"deviceNodes": [{"path": f"/dev/{n}", "hostPath": f"/dev/{n}"}]}}
        for n in range(700)
    ]
    assert gather(FakeHost(files={"/etc/cdi/a.json": specification(devices=devices)})).omitted == 200


def test_nodes_of_known_plugins_are_looked_at_where_a_plugin_runs() -> None:
    host = FakeHost(files={"/dev/dri/renderD128": "", "/dev/dri/card0": ""})
    assert gather(host).plugins == ()
    found = {one.resource: one.nodes for one in gather(host, sockets=("amd.com_gpu",)).plugins}
    assert found["amd.com/gpu"] == ("/dev/kfd", "/dev/dri/renderD128")
    assert found["devices.kubevirt.io/kvm"] == ("/dev/kvm",)


CHECKPOINT = "device-plugins/kubelet_internal_checkpoint"


@pytest.mark.parametrize(
    ("checkpoint", "known", "others"),
    [
        ({"amd.com/gpu": ["a"], "example.com/fpga": ["b"]}, {"amd.com/gpu"}, ("example.com/fpga",)),
        ({"rdma/hca_shared": ["a"], "devices.kubevirt.io/kvm": None}, {"rdma/*"}, ()),
        ({"a b/c": ["a"], "example.com/gone": []}, set(), ()),
        ({}, set(), ()),
    ],
)
def test_resources_that_are_registered(checkpoint: dict[str, Any], known: set[str], others: tuple[str, ...]) -> None:
    """By the kubelet's own file: plugins that do not run are not spoken of, and those that no table knows are named."""
    content = json.dumps({"Data": {"PodDeviceEntries": None, "RegisteredDevices": checkpoint}, "Checksum": 1})
    facts = gather(FakeHost(files={CHECKPOINT: content, "/dev/infiniband/uverbs0": ""}), sockets=("x.sock",))
    assert {one.resource for one in facts.plugins} == known
    assert facts.resources == others
    nodes = {one.resource: one.nodes for one in facts.plugins}
    assert nodes.get("rdma/*", ()) in ((), ("/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"Data": 1}', b"\xff", b"x" * (2 << 20), errno.EIO])
def test_a_checkpoint_that_tells_nothing(content: bytes | int) -> None:
    """Every known plugin may run then, and others, too."""
    facts = gather(FakeHost(files={CHECKPOINT: content}), sockets=("x.sock",))
    assert facts.resources == ("other device plugins",)
    assert len(facts.plugins) > 5


class TestToolkit:
    HOOKS = make_hooks(toolkit=Reading("/usr/bin", ("/usr/bin/nvidia-ctk",)))
    SAYS = "NVIDIA Container Toolkit CLI version 1.17.4\ncommit: 9b69590c7428470a72f2ae05f826412976af1395\n"

    def test_it_is_asked_where_its_hook_is_in_a_specification(self) -> None:
        host = FakeHost(files={"/etc/cdi/a.yaml": NVIDIA_YAML}, commands={"/usr/bin/nvidia-ctk --version": self.SAYS})
        assert gather(host, hooks=self.HOOKS).toolkit.version.value == "1.17.4"
        assert gather(host, hooks=self.HOOKS).toolkit.mode.kind == "not-tried"

    def test_the_configuration_of_the_gpu_operator(self) -> None:
        """Its wrapper reads the file beside the program, and never that in /etc."""
        binary = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
        runtime = Reading("CRI", make_runtime(handlers=(make_handler(binary=Reading("config", binary)),)))
        own = f"{os.path.dirname(binary)}/.config/nvidia-container-runtime/config.toml"
        files: dict[str, bytes | str | int] = {CONFIGURATION: '[nvidia-container-runtime]\nmode = "legacy"\n'}
        assert gather(FakeHost(files=files), runtime).toolkit.mode == Reading(CONFIGURATION, "legacy")
        files[own] = "accept-nvidia-visible-devices-as-volume-mounts = false\n[nvidia-container-cli]\n"
        files[own] += 'no-cgroups = false\nldconfig = "@/sbin/ldconfig"\n[nvidia-container-runtime]\nmode = "cdi"\n'
        assert gather(FakeHost(files=files), runtime).toolkit.mode == Reading(own, "cdi")
        assert gather(FakeHost(files=files | {own: errno.EIO}), runtime).toolkit.mode.kind == "not-readable"

    def test_it_is_not_asked_elsewhere(self) -> None:
        host = FakeHost(files={"/etc/cdi/a.json": specification()})
        assert gather(host, hooks=self.HOOKS).toolkit.version.kind == "not-tried"
        assert not [path for path in host.touched if "nvidia" in path]

    @pytest.mark.parametrize(("text", "mode"), [(None, "auto"), ('[nvidia-container-runtime]\nmode = "cdi"\n', "cdi")])
    def test_the_mode_of_its_runtime(self, text: str | None, mode: str) -> None:
        handlers = Reading("CRI", (make_handler(binary="/usr/bin/nvidia-container-runtime"),))
        host = FakeHost(files={} if text is None else {CONFIGURATION: text})
        runtime = Reading("CRI", make_runtime(handlers=handlers))
        assert gather(host, runtime, hooks=self.HOOKS).toolkit.mode.value == mode

    @pytest.mark.parametrize("text", ["", "version x", "version: 1", "\xff" * 5000])
    def test_what_is_no_version_is_a_problem(self, text: str) -> None:
        assert Reading("x", text).parse(parse_version).kind == "not-readable"

    @pytest.mark.parametrize("text", ["[", "nvidia-container-runtime = 3", '[nvidia-container-runtime]\nmode = "A B"'])
    def test_what_is_no_mode_is_a_problem(self, text: str) -> None:
        assert Reading("x", text).parse(parse_mode).kind == "not-readable"
