"""Each answer about a device, with its reason: nothing is said to work or to fail beyond what was seen."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    absent,
    make_attempt,
    make_device_facts,
    make_facts,
    make_handler,
    make_hooks,
    make_kubelet,
    make_runtime,
    unread,
)
from probe.checks.devices.check import judge_device_hooks
from probe.checks.devices.handlers import rows_of_handlers
from probe.checks.devices.kinds import device_kinds
from probe.facts.around import Hook, Place
from probe.facts.devices.model import (
    CdiEdits,
    CdiFolders,
    CdiHook,
    CdiMount,
    CdiNode,
    CdiSettings,
    CdiSpecification,
    MountTry,
    PluginDevice,
    Toolkit,
    Way,
)
from probe.facts.model import Facts, HookFiles
from probe.reading import Reading

KIND = "example.com/gpu"
ROOT = Reading("/", Place(path="/", mode=0o40755, uid=0, gid=0))


def place(at: str, mode: int = 0o20666, *folders: int, **more: Any) -> Way:
    """What lies at *at*, by default a device node that everybody may use; *folders* are modes of those above it."""
    fields: dict[str, Any] = {"path": at, "uid": 0, "gid": 0, "device": "1:3"} | more
    names = at.split("/")[1:-1]
    modes = folders or (0o755,) * len(names)
    above = [
        Reading(name, Place(path=name, mode=0o40000 | one, uid=0, gid=0))
        for name, one in zip(("/" + "/".join(names[: end + 1]) for end in range(len(names))), modes, strict=True)
    ]
    return (Reading(at, Place(mode=mode, **fields)), ROOT, *above)


def gone(path: str) -> Way:
    return (absent(path), ROOT)


def facts_of(edits: CdiEdits, ways: dict[str, Way], oci: str = "runc", **more: Any) -> Facts:
    """A node with one device of these edits, by runc 1.3.6 or another OCI runtime."""
    name, _, version = oci.partition(" ")
    handler = make_handler(oci_runtime=name, oci_version=version or "1.3.6")
    runtime: dict[str, Any] = {"handlers": Reading("CRI", (handler,))} | more.pop("runtime", {})
    one = CdiSpecification(file="/etc/cdi/a.json", kind=KIND, edits=CdiEdits(), devices={"0": edits})
    return make_facts(devices=make_device_facts(one, ways=ways, **more), runtime=make_runtime(**runtime))


def answer(facts: Facts) -> tuple[str, str]:
    """Outcome of the one device, and the first reason."""
    (row,) = device_kinds(facts, "")
    return row.devices["0"], row.causes[0].reason if row.causes else ""


def node(path: str = "/dev/x", host: str = "", typed: bool = False, permissions: str = "rwm") -> CdiEdits:
    return CdiEdits(nodes=(CdiNode(path, host or path, typed, permissions),))


class TestNodes:
    @pytest.mark.parametrize(
        ("edits", "ways", "said"),
        [
            (node(), {"/dev/x": place("/dev/x")}, ("works", "")),
            (node(), {"/dev/x": place("/dev/x", 0o60666)}, ("works", "")),
            (node(), {"/dev/x": place("/dev/x", 0o20660, gid=44)}, ("fails", "DeviceMode")),
            (node(), {"/dev/x": place("/dev/x", 0o20664)}, ("fails", "DeviceMode")),
            (node(permissions="r"), {"/dev/x": place("/dev/x", 0o20664)}, ("works", "")),
            (node(), {"/dev/x": place("/dev/x", 0o20660, uid=100_000)}, ("unknown", "DeviceMode")),
            (node(), {"/dev/x": place("/dev/x", flags=4)}, ("fails", "DeviceMode")),
            (node(), {"/dev/x": place("/dev/x", 0o100666)}, ("fails", "DeviceMissing")),
            (node(), {"/dev/x": place("/dev/x", path="/dev/y")}, ("fails", "DeviceMissing")),
            (node(typed=True), {"/dev/x": place("/dev/x", path="/dev/y")}, ("works", "")),
            (node(), {"/dev/x": gone("/dev/x")}, ("fails", "DeviceMissing")),
            (node(typed=True), {"/dev/x": gone("/dev/x")}, ("fails", "DeviceMissing")),
            (node(), {"/dev/x": (unread("/dev/x", "timed-out"), ROOT)}, ("unknown", "NotReadable")),
            (node(), {}, ("unknown", "NotReadable")),
            (node("/dev/a/x"), {"/dev/a/x": place("/dev/a/x", 0o20666, 0o755, 0o700)}, ("fails", "DeviceNotReachable")),
            (node(host="/dev/y"), {"/dev/x": gone("/dev/x"), "/dev/y": place("/dev/y")}, ("fails", "DeviceMissing")),
            (
                node(host="/dev/y"),
                {"/dev/x": place("/dev/x", device="1:5"), "/dev/y": place("/dev/y")},
                ("fails", "OtherDevice"),
            ),
        ],
    )
    def test_runc_binds_the_nodes_own(self, edits: CdiEdits, ways: dict[str, Way], said: tuple[str, str]) -> None:
        """At the path in the container; the CDI library looks at the other one, and follows no symlink."""
        assert answer(facts_of(edits, ways)) == said

    @pytest.mark.parametrize(
        ("edits", "ways", "said"),
        [
            (node(), {"/dev/x": place("/dev/x", 0o20600)}, ("works", "")),
            (node(host="/dev/y"), {"/dev/x": gone("/dev/x"), "/dev/y": place("/dev/y")}, ("works", "")),
            (node(typed=True), {"/dev/x": gone("/dev/x")}, ("works", "")),
            (node(), {"/dev/x": gone("/dev/x")}, ("fails", "DeviceMissing")),
        ],
    )
    def test_crun_makes_its_own(self, edits: CdiEdits, ways: dict[str, Way], said: tuple[str, str]) -> None:
        """Which the Pod's root may use, whatever the mode of the node's."""
        assert answer(facts_of(edits, ways, "crun 1.28")) == said

    @pytest.mark.parametrize(
        ("oci", "said"), [("crun 1.7", ("fails", "DeviceMode")), ("crun UNKNOWN", ("unknown", "RuntimeUnknown"))]
    )
    def test_an_old_crun_binds(self, oci: str, said: tuple[str, str]) -> None:
        assert answer(facts_of(node(), {"/dev/x": place("/dev/x", 0o20600)}, oci)) == said

    @pytest.mark.parametrize(
        "handler", [{"binary": absent("kata")}, {"oci_runtime": "youki"}, {"oci_runtime": unread()}]
    )
    def test_other_runtimes_are_unknown(self, handler: dict[str, Any]) -> None:
        runtime = {"handlers": Reading("CRI", (make_handler(**handler),))}
        facts = facts_of(node(), {"/dev/x": place("/dev/x")}, runtime=runtime)
        assert answer(facts) == ("unknown", "RuntimeUnknown")


def mount(*options: str, fstype: str = "bind") -> CdiEdits:
    return CdiEdits(mounts=(CdiMount("/run/driver", "/usr/lib/driver", fstype, options),))


def tried(result: str, recursive: bool = True, refusing: tuple[str, ...] = ()) -> MountTry:
    row = make_attempt(role="path", path="/run/driver", result=result, fstype="overlay", reason="overlay cannot")
    return MountTry(source="/run/driver", recursive=recursive, attempt=row, refusing=refusing)


OPEN = {"/run/driver": place("/run/driver", 0o40755)}
MAPS = {"maps_mounts": Reading("CRI", True)}


class TestMounts:
    @pytest.mark.parametrize(
        ("edits", "ways", "said"),
        [
            (mount("rbind"), OPEN, ("works", "")),
            (mount("bind"), {"/run/driver": place("/run/driver", 0o100644)}, ("works", "")),
            (mount("bind"), {"/run/driver": place("/run/driver", 0o140666)}, ("works", "")),
            (mount("bind"), {"/run/driver": place("/run/driver", 0o140755)}, ("fails", "MountNotReadable")),
            (mount("rbind"), {"/run/driver": place("/run/driver", 0o40750)}, ("fails", "MountNotReadable")),
            (mount("rbind"), {"/run/driver": place("/run/driver", 0o40750, acl=True)}, ("unknown", "MountNotReadable")),
            (mount("rbind"), {"/run/driver": place("/run/driver", 0o40755, 0o700)}, ("unknown", "MountNotReadable")),
            (mount("rbind"), {"/run/driver": gone("/run/driver")}, ("fails", "MountMissing")),
            (mount("rbind"), {}, ("unknown", "NotReadable")),
            (mount("ro"), OPEN, ("fails", "MountRefused")),
            (mount("size=1m", fstype="tmpfs"), {}, ("works", "")),
            (mount("gid=44", fstype="tmpfs"), {}, ("works", "")),
            (mount("gid=100000", fstype="tmpfs"), {}, ("fails", "MountRefused")),
            (mount("noswap", fstype="tmpfs"), {}, ("fails", "MountRefused")),
            (mount("rbind", "rw"), {"/run/driver": place("/run/driver", 0o40755, flags=1)}, ("fails", "MountRefused")),
            (mount("rbind", "ro"), {"/run/driver": place("/run/driver", 0o40755, flags=1)}, ("works", "")),
            (mount("ro", fstype="nfs"), {}, ("fails", "MountRefused")),
            (mount("ro", fstype="fancyfs"), {}, ("unknown", "MountNotTried")),
        ],
    )
    def test_bound_as_they_are(self, edits: CdiEdits, ways: dict[str, Way], said: tuple[str, str]) -> None:
        """By CDI libraries before 1.1.0: files belong to nobody."""
        assert answer(facts_of(edits, ways)) == said

    @pytest.mark.parametrize(
        ("attempts", "said"),
        [
            ((tried("supported"),), ("works", "")),
            ((tried("refused", refusing=("/run/driver/below (overlay)",)),), ("fails", "MountNotIdmappable")),
            ((tried("unknown"),), ("unknown", "MountNotTried")),
            ((tried("supported", recursive=False),), ("unknown", "MountNotTried")),
            ((), ("unknown", "MountNotTried")),
        ],
    )
    def test_mapped(self, attempts: tuple[MountTry, ...], said: tuple[str, str]) -> None:
        """Since then, with all mounts below; the attempt decides."""
        facts = facts_of(mount("rbind"), OPEN, mounts=attempts, **MAPS)
        assert answer(facts) == said
        (row,) = device_kinds(facts, "")
        assert row.tried is bool(attempts)
        if said[0] == "fails":
            assert "/run/driver/below (overlay)" in row.message

    @pytest.mark.parametrize(("result", "outcome"), [("supported", "works"), ("refused", "unknown")])
    def test_a_library_of_unknown_version(self, result: str, outcome: str) -> None:
        """Both answers count."""
        facts = facts_of(mount("rbind"), OPEN, mounts=(tried(result),), maps_mounts=unread("CRI"))
        assert answer(facts)[0] == outcome

    @pytest.mark.parametrize(("oci", "outcome"), [("runc", "fails"), ("crun 1.28", "works")])
    def test_a_bind_that_leaves_mounts_out(self, oci: str, outcome: str) -> None:
        facts = facts_of(mount("bind"), OPEN, oci, below={"/run/driver": 2})
        assert answer(facts)[0] == outcome

    @pytest.mark.parametrize(
        ("oci", "outcome"),
        [("runc", "works"), ("crun 1.21", "fails"), ("crun 1.28", "fails"), ("crun 1.29.1", "unknown")],
    )
    def test_crun_crashes_without_a_type(self, oci: str, outcome: str) -> None:
        """As NVIDIA writes mounts."""
        assert answer(facts_of(mount("rbind", fstype=""), OPEN, oci))[0] == outcome


def hook(when: str, path: str = "/usr/bin/hook") -> CdiEdits:
    return CdiEdits(hooks=(CdiHook(when, path),))


PROGRAM = {"/usr/bin/hook": place("/usr/bin/hook", 0o100755)}


class TestGroups:
    @pytest.mark.parametrize(("gids", "said"), [((44,), ("works", "")), ((44, 65_536), ("fails", "GroupNotMapped"))])
    def test_groups_beyond_the_ids_of_a_pod(self, gids: tuple[int, ...], said: tuple[str, str]) -> None:
        """setgroups(2) refuses one without a mapping; a larger idsPerPod has it."""
        facts = facts_of(CdiEdits(gids=gids), {})
        assert answer(facts) == said
        larger = make_kubelet(ids_per_pod=Reading("config.yaml", 131_072))
        assert answer(replace(facts, kubelet=Reading("kubelet", larger))) == ("works", "")


class TestHooks:
    @pytest.mark.parametrize(
        ("edits", "ways", "said"),
        [
            (hook("createRuntime"), {"/usr/bin/hook": place("/usr/bin/hook", 0o100700)}, ("unknown", "HookNotTried")),
            (hook("prestart"), PROGRAM, ("unknown", "HookNotTried")),
            (hook("poststart"), PROGRAM, ("unknown", "HookNotTried")),
            (hook("createContainer"), PROGRAM, ("unknown", "HookNotTried")),
            (
                hook("createContainer"),
                {"/usr/bin/hook": place("/usr/bin/hook", 0o100750)},
                ("fails", "HookNotExecutable"),
            ),
            (
                hook("createContainer"),
                {"/usr/bin/hook": place("/usr/bin/hook", 0o100755, 0o700, 0o755)},
                ("fails", "HookNotExecutable"),
            ),
            (
                hook("createContainer"),
                {"/usr/bin/hook": (*place("/usr/bin/hook", 0o100755), *place("/usr/bin/sh", 0o100750))},
                ("fails", "HookNotExecutable"),
            ),
            (
                hook("createRuntime"),
                {"/usr/bin/hook": (*place("/usr/bin/hook", 0o100755), *place("/usr/bin/sh", 0o100644))},
                ("fails", "HookNotExecutable"),
            ),
            (hook("prestart"), {"/usr/bin/hook": place("/usr/bin/hook", 0o100644)}, ("fails", "HookNotExecutable")),
            (hook("createContainer"), {"/usr/bin/hook": gone("/usr/bin/hook")}, ("fails", "HookMissing")),
            (hook("createRuntime"), {"/usr/bin/hook": gone("/usr/bin/hook")}, ("fails", "HookMissing")),
            (hook("createContainer"), {}, ("unknown", "NotReadable")),
            (hook("startContainer"), {}, ("unknown", "HookNotTried")),
            (hook("poststop"), {}, ("works", "")),
            (
                hook("prestart", "/usr/bin/nvidia-container-runtime-hook"),
                {"/usr/bin/nvidia-container-runtime-hook": place("/usr/bin/nvidia-container-runtime-hook", 0o100755)},
                ("fails", "NvidiaLegacyHook"),
            ),
        ],
    )
    def test_by_their_stage(self, edits: CdiEdits, ways: dict[str, Way], said: tuple[str, str]) -> None:
        """A createContainer hook runs as the Pod's root, others as root of the node; their work is not known."""
        assert answer(facts_of(edits, ways)) == said

    @pytest.mark.parametrize(
        ("runtime", "oci", "version", "outcome"),
        [
            ("containerd", "runc", "1.20.0", "unknown"),
            ("containerd", "crun 1.28", "1.20.1", "unknown"),
            ("cri-o", "runc", "1.21.0", "fails"),
            ("cri-o", "crun 1.28", "1.20.0", "fails"),
            ("cri-o", "crun 1.28", "1.20.1", "unknown"),
            ("cri-o", "crun 1.28", "", "unknown"),
            ("cri-o", "runc", "", "fails"),
        ],
    )
    def test_nvidias_by_runtime_and_version(self, runtime: str, oci: str, version: str, outcome: str) -> None:
        """CRI-O closes the bundle to the Pod's root; later releases take what they need from crun's state."""
        path = "/usr/bin/nvidia-cdi-hook"
        told: Reading[str] = Reading("nvidia-ctk --version", version) if version else unread()
        facts = facts_of(
            hook("createContainer", path),
            {path: place(path, 0o100755)},
            oci,
            runtime={"name": runtime},
            toolkit=Toolkit(version=told, mode=absent("mode")),
        )
        assert answer(facts) == (outcome, "NvidiaHook")


WORKS = {"/dev/x": place("/dev/x")}


class TestKinds:
    def test_a_later_folder_replaces_a_device(self) -> None:
        bad, good = (
            CdiSpecification(file=path, kind=KIND, edits=CdiEdits(), devices={"0": node(path)})
            for path in ("/dev/bad", "/dev/good")
        )
        ways = {"/dev/bad": gone("/dev/bad"), "/dev/good": place("/dev/good")}
        for order, outcome in (((bad, good), "works"), ((good, bad), "fails")):
            folders = CdiFolders(folders=tuple((one,) for one in order), found=2)
            facts = make_facts(devices=make_device_facts(cdi=Reading("/etc/cdi", folders), ways=ways))
            assert answer(facts)[0] == outcome

    def test_two_of_one_name_in_one_folder(self) -> None:
        """Neither counts, whatever a later folder has."""
        one = CdiSpecification(file="/etc/cdi/a", kind=KIND, edits=CdiEdits(), devices={"0": node()})
        folders = CdiFolders(folders=((one, replace(one, file="/etc/cdi/b")), (one,)), found=3)
        facts = make_facts(devices=make_device_facts(cdi=Reading("/etc/cdi", folders), ways=WORKS))
        assert answer(facts) == ("fails", "CdiConflict")

    def test_some_devices_of_a_kind(self) -> None:
        devices = {"0": node(), "1": node("/dev/y")}
        one = CdiSpecification(file="/etc/cdi/a", kind=KIND, edits=CdiEdits(), devices=devices)
        ways = WORKS | {"/dev/y": gone("/dev/y")}
        (row,) = device_kinds(make_facts(devices=make_device_facts(one, ways=ways)), "")
        assert (row.outcome, row.devices) == ("partly", {"0": "works", "1": "fails"})
        assert [(cause.devices, cause.example) for cause in row.causes] == [(1, "1")]

    def test_edits_of_the_specification_concern_each_device(self) -> None:
        one = CdiSpecification(file="/etc/cdi/a", kind=KIND, edits=node("/dev/y"), devices={"0": node()})
        facts = make_facts(devices=make_device_facts(one, ways=WORKS | {"/dev/y": gone("/dev/y")}))
        assert answer(facts)[0] == "fails"

    def test_thousands_of_devices(self) -> None:
        """Some are named, all are judged."""
        devices = {str(number): node() for number in range(2000)}
        one = CdiSpecification(file="/etc/cdi/a", kind=KIND, edits=CdiEdits(), devices=devices)
        (row,) = device_kinds(make_facts(devices=make_device_facts(one, ways=WORKS)), "")
        assert (len(row.devices) + row.omitted, row.outcome) == (2000, "works")
        assert row.omitted > 0

    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            ({"cdi": CdiSettings(folders=("/etc/cdi",), enabled=False)}, "CdiDisabled"),
            (
                {"handlers": Reading("CRI", (make_handler(binary="/usr/bin/nvidia-container-runtime"),))},
                "NvidiaRuntime",
            ),
        ],
    )
    def test_doubts_of_the_runtime(self, more: dict[str, Any], reason: str) -> None:
        (row, *_) = device_kinds(facts_of(node(), WORKS, runtime=more), "")
        assert (row.outcome, row.causes[0].reason) == ("unknown", reason)

    def test_a_file_that_was_not_read(self) -> None:
        """It may replace the device."""
        facts = facts_of(node(), WORKS)
        assert facts.devices.value is not None
        assert facts.devices.value.cdi.value is not None
        cdi = replace(facts.devices.value.cdi.value, unread=(unread("/etc/cdi/b"),), unread_count=1)
        devices = replace(facts.devices.value, cdi=Reading("/etc/cdi", cdi))
        assert answer(replace(facts, devices=Reading("CDI", devices))) == ("unknown", "NotReadable")

    @pytest.mark.parametrize(("mode", "oci", "outcome"), [(0o20660, "runc", "fails"), (0o20666, "runc", "works")])
    def test_a_known_device_plugin(self, mode: int, oci: str, outcome: str) -> None:
        """It hands out nodes of the machine, where they are there."""
        plugins = (
            PluginDevice(resource="devices.kubevirt.io/kvm", nodes=("/dev/kvm",)),
            PluginDevice(resource="amd.com/gpu", nodes=("/dev/kfd",)),
        )
        ways = {"/dev/kvm": place("/dev/kvm", mode), "/dev/kfd": gone("/dev/kfd")}
        (row,) = device_kinds(make_facts(devices=make_device_facts(plugins=plugins, ways=ways)), "")
        assert (row.kind, row.way, row.outcome) == ("devices.kubevirt.io/kvm", "device-plugin", outcome)

    @pytest.mark.parametrize(
        ("mode", "version", "outcome", "suffix"),
        [
            ("legacy", "1.19.0", "fails", ""),
            ("auto", "1.17.8", "fails", ""),
            ("auto", "1.18.0", "unknown", ""),
            ("cdi", "1.17.8", "unknown", ""),
            ("auto", "1.18.0", "fails", ".legacy"),
            ("legacy", "1.17.8", "unknown", ".cdi"),
        ],
    )
    def test_nvidias_legacy_runtime(self, mode: str, version: str, outcome: str, suffix: str) -> None:
        """By the mode in the name of the program, else by that in its configuration."""
        binary = f"/usr/bin/nvidia-container-runtime{suffix}"
        handlers = Reading("CRI", (make_handler(), make_handler(name="nvidia", binary=binary)))
        toolkit = Toolkit(version=Reading("nvidia-ctk", version), mode=Reading("config.toml", mode))
        facts = make_facts(devices=make_device_facts(toolkit=toolkit), runtime=make_runtime(handlers=handlers))
        assert device_kinds(facts, "") == ()
        (row,) = device_kinds(facts, "nvidia")
        assert (row.kind, row.way, row.outcome) == ("nvidia.com/gpu", "legacy", outcome)
        assert rows_of_handlers(facts) == (row,)

    def test_resources_of_plugins_that_no_table_knows(self) -> None:
        """Named as unknown, unless a CDI specification of the same vendor tells more."""
        facts = make_facts(devices=make_device_facts(resources=("example.com/fpga",)))
        (row,) = device_kinds(facts, "")
        assert (row.kind, row.outcome, row.causes[0].reason) == ("example.com/fpga", "unknown", "PluginNotKnown")
        outcome = judge_device_hooks(facts, "")
        assert (outcome.status, "example.com/fpga" in outcome.message) == ("unknown", True)
        told = CdiSpecification(file="f", kind="example.com/gpu", edits=CdiEdits(), devices={"0": node()})
        (row,) = device_kinds(make_facts(devices=make_device_facts(told, resources=("example.com/fpga",))), "")
        assert row.kind == "example.com/gpu"

    def test_nvidias_hook_of_each_container(self) -> None:
        """Of CRI-O, as the toolkit installs it for podman; its other hooks are of no kind of device."""
        for path, kinds in (("/usr/bin/nvidia-container-toolkit", ["nvidia.com/gpu"]), ("/usr/bin/audit", [])):
            always = (Hook(when="prestart", path=path, steps=()),)
            files = HookFiles(found=1, hooked=1, unread=0, always=always)
            facts = make_facts(hooks=make_hooks(oci_hooks=Reading("/hooks.d", files)), runtime=make_runtime(**CRIO))
            rows = device_kinds(facts, "")
            assert [row.kind for row in rows] == kinds
            assert all(row.outcome == "fails" for row in rows)

    def test_a_handler_that_differs_has_a_row_of_its_own(self) -> None:
        crun = make_handler(name="crun", oci_runtime="crun", oci_version="1.28")
        handlers = Reading("CRI", (make_handler(), make_handler(name="runc"), crun))
        facts = facts_of(node(), {"/dev/x": place("/dev/x", 0o20600)}, runtime={"handlers": handlers})
        rows = [(row.handler, row.also, row.outcome) for row in rows_of_handlers(facts)]
        assert rows == [("", ("runc",), "fails"), ("crun", (), "works")]

    def test_no_number_of_handlers_hides_one_that_differs(self) -> None:
        """Alike ones are judged once, in a row that names them; those beyond the limit are named by none."""
        alike = [make_handler(name=f"runc-{number}") for number in range(20)]
        handlers = (make_handler(), *alike, make_handler(name="crun", oci_runtime="crun", oci_version="1.28"))
        facts = facts_of(node(), {"/dev/x": place("/dev/x", 0o20600)}, runtime={"handlers": Reading("CRI", handlers)})
        same, other = rows_of_handlers(facts)
        assert (same.outcome, len(same.also)) == ("fails", 20)
        assert (other.handler, other.outcome) == ("crun", "works")
        versions = [
            make_handler(name=f"crun-{minor}", oci_runtime="crun", oci_version=f"1.{minor}") for minor in range(8, 90)
        ]
        facts = facts_of(node(), {"/dev/x": place("/dev/x")}, runtime={"handlers": Reading("CRI", tuple(versions))})
        named = {name for row in rows_of_handlers(facts) for name in (row.handler, *row.also)}
        assert len(named) == 10

    def test_no_row_of_a_kind_is_left_out_alone(self) -> None:
        """Where there are too many rows, all rows of some kinds are missing: a failure never hides behind a success."""
        kinds = [
            CdiSpecification(file="/etc/cdi/a.json", kind=f"a.com/{number}", edits=CdiEdits(), devices={"0": node()})
            for number in range(150)
        ]
        crun = make_handler(name="crun", oci_runtime="crun", oci_version="1.28")
        devices = make_device_facts(*kinds, ways={"/dev/x": place("/dev/x", 0o20600)})
        runtime = make_runtime(handlers=Reading("CRI", (make_handler(), crun)))
        rows = rows_of_handlers(make_facts(devices=devices, runtime=runtime))
        by_kind = {row.kind: [one.handler for one in rows if one.kind == row.kind] for row in rows}
        assert len(by_kind) == 100
        assert all(handlers == ["", "crun"] for handlers in by_kind.values())

    def test_the_default_handlers_prestart_hook_is_of_no_other(self) -> None:
        """NVIDIA's runtime as the default one says nothing of the handler runc."""
        nvidia = make_handler(binary=Reading("CRI", "/usr/bin/nvidia-container-runtime"))
        runtime = {"handlers": Reading("CRI", (nvidia, make_handler(name="runc")))}
        facts = facts_of(node(), {"/dev/x": place("/dev/x")}, runtime=runtime)
        legacy = [row for row in rows_of_handlers(facts) if row.way == "legacy"]
        assert [(row.handler, row.also) for row in legacy] == [("", ())]


HOOKED = HookFiles(found=3, hooked=2, unread=0)
CRIO = {"name": "cri-o", "hooks_dirs": Reading("CRI", ("/hooks.d",))}


class TestCheck:
    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            (make_facts(), ("pass", "")),
            (facts_of(node(), WORKS), ("pass", "")),
            (facts_of(node(), {"/dev/x": place("/dev/x", 0o20600)}), ("warn", "")),
            (facts_of(hook("createContainer"), PROGRAM), ("unknown", "NotTried")),
            (facts_of(node(), {}), ("unknown", "NotReadable")),
            (make_facts(devices=unread(kind="timed-out")), ("unknown", "TimedOut")),
            (make_facts(hooks=unread()), ("unknown", "NotPermitted")),
            (make_facts(devices=make_device_facts(cdi=unread(kind="not-permitted"))), ("unknown", "NotPermitted")),
            (make_facts(devices=make_device_facts(omitted=1)), ("unknown", "NotReadable")),
            (make_facts(hooks=make_hooks(oci_hooks=Reading("/hooks.d", HOOKED))), ("pass", "")),
            (
                make_facts(hooks=make_hooks(oci_hooks=Reading("/hooks.d", HOOKED)), runtime=make_runtime(**CRIO)),
                ("warn", ""),
            ),
            (
                make_facts(hooks=make_hooks(oci_hooks=unread()), runtime=make_runtime(**CRIO)),
                ("unknown", "NotPermitted"),
            ),
            (make_facts(hooks=make_hooks(toolkit=Reading("/usr/bin", ("/usr/bin/nvidia-ctk",)))), ("pass", "")),
        ],
    )
    def test_status(self, facts: Facts, said: tuple[str, str]) -> None:
        """A failure of a kind precedes what is not known of others; an installed toolkit alone gives none."""
        outcome = judge_device_hooks(facts, "")
        assert (outcome.status, outcome.reason) == said

    def test_a_warning_names_the_kind_the_cause_and_the_fix(self) -> None:
        outcome = judge_device_hooks(facts_of(node(), {"/dev/x": place("/dev/x", 0o20660, gid=44)}), "")
        assert KIND in outcome.message
        assert "/dev/x has mode 0660 and owner 0:44" in outcome.message
        assert "chmod 0666 /dev/x" in outcome.remediation
        assert 'KERNEL=="x", MODE="0666"' in outcome.remediation

    def test_hostile_names_are_no_commands(self) -> None:
        path = "/dev/$(reboot)\n x"
        outcome = judge_device_hooks(facts_of(node(path), {path: place(path, 0o20660)}), "")
        assert "\n" not in outcome.message
        assert "chmod 0666 $'/dev/$(reboot)\\x0a x'" in outcome.remediation
        assert "udev" not in outcome.remediation

    def test_a_hook_for_each_container_is_no_device_hook(self) -> None:
        """Every Pod of CRI-O runs it, with its own IDs."""
        always = (Hook(when="createContainer", path="/usr/bin/audit", steps=()),)
        hooks = make_hooks(oci_hooks=Reading("hooks.d", HookFiles(found=1, hooked=1, unread=0, always=always)))
        outcome = judge_device_hooks(make_facts(hooks=hooks, runtime=make_runtime(name="cri-o")), "")
        assert outcome.status == "warn"
        assert "1 OCI hooks" in outcome.message
        assert judge_device_hooks(make_facts(hooks=hooks), "").status == "pass"
