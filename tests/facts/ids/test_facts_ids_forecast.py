"""The forecast of the kubelet's next start, held against the last words of a real one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from probe.facts.tried import Attempt

from lab.factory import KUBELET_PID, absent, make_attempt, make_ids, make_kubelet, unread
from lab.fake_host import FakeHost
from probe.facts.ids.forecast import Forecast, forecast
from probe.facts.ids.manager import IdPool
from probe.facts.ids.range import gather_ids
from probe.facts.model import DropIn, IdFacts, KubeletFacts, UsernsFile
from probe.host.program import Output
from probe.reading import Reading

DATA = Path(__file__).parents[2] / "data"
BLOCK = 65536
CGROUP_V1, CGROUP_V2 = Reading("/proc/self/mountinfo", 1), Reading("/proc/self/mountinfo", 2)
GATE_OFF = {"gate_configured": False, "gate": False}
ON_FUSE = make_attempt(role="kubelet-root", path="/fs/bindfs/kubelet/pods", fstype="fuse", device="0:52")


def node(account: bool = False, getsubids: bool = True, uids: str = "", gids: str = "") -> FakeHost:
    """A node with a running kubelet; the lines are what getsubids prints, which fails without any."""
    host = FakeHost()
    host.add_process(KUBELET_PID, "/usr/bin/kubelet", environment={"PATH": "/usr/bin"})
    host.files["/etc/passwd"] = "root:x:0:0::/root:/bin/sh\n" + "kubelet:x:990:990::/:/bin/false\n" * account
    if getsubids:
        host.files["/usr/bin/getsubids"], host.modes["/usr/bin/getsubids"] = "program", 0o755
    for command, line in (("kubelet", uids), ("-g kubelet", gids or uids)):
        failed = Output(1, "", "Error fetching ranges\n")
        host.commands[f"/usr/bin/getsubids {command}"] = Output(0, line, "") if line else failed
    return host


def expect(
    host: FakeHost | None = None,
    cgroup: Reading[int] = CGROUP_V2,
    root: Attempt | None = None,
    **settings: Any,
) -> Forecast:
    """What is forecast of a kubelet with these settings on that node."""
    host = host or node()
    kubelet = make_kubelet(started_at=host.started_at(KUBELET_PID), **settings)
    return forecast(gather_ids(host, kubelet), kubelet, cgroup, root)


RECORDED: dict[str, dict[str, Any]] = {
    "failCgroupV1-default": {"cgroup": CGROUP_V1},
    "featuregate-UserNamespacesSupport-false": {"gate_configured": False},
    "idsPerPod-1000": {"ids_per_pod": 1000},
    "idsPerPod-131072": {"ids_per_pod": 131072},
    "kubelet-subids-100000-unaligned": {"host": node(account=True, uids="0: kubelet 100000 7208960\n")},
    "kubelet-subids-65536-7208960": {"host": node(account=True, uids="0: kubelet 65536 7208960\n")},
    "kubelet-subids-too-few": {"host": node(account=True, uids="0: kubelet 65536 655360\n")},
    "kubelet-subuid-subgid-mismatch": {
        "host": node(account=True, uids="0: kubelet 65536 7208960\n", gids="0: kubelet 131072 7208960\n")
    },
    "kubelet-user-getsubids-missing": {"host": node(account=True, getsubids=False)},
    "kubelet-user-no-subids": {"host": node(account=True)},
    "normal": {},
    "rootdir-on-fuse": {"root": ON_FUSE, "root_dir": "/fs/bindfs/kubelet"},
    "rootdir-on-tmpfs": {
        "root": make_attempt(role="kubelet-root", path="/dev/shm/kubelet", fstype="tmpfs", device="0:25"),
        "root_dir": "/dev/shm/kubelet",
    },
}
"""The settings behind each recording, by the name of its file."""


def recorded_words(text: str) -> set[str]:
    """What the real kubelet ended with."""
    panics = re.findall(r"^panic: .*$", text, re.MULTILINE)
    errors = re.findall(r'"(?:command failed|Failed to start ContainerManager)" err=("(?:[^"\\]|\\.)*")', text)
    return {*panics, *(json.loads(error) for error in errors)}


def test_every_recording_is_asked() -> None:
    assert {path.stem for path in (DATA / "kubelet-startup").glob("*.txt")} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_real_kubelet_did_is_forecast(name: str) -> None:
    """Whether it started, its last words to the letter, and the IDs of the Pod that it then ran."""
    text = (DATA / "kubelet-startup" / f"{name}.txt").read_text()
    expected = expect(**RECORDED[name])
    assert expected.outcome == ("starts" if "healthz: ok" in text else "fails")
    assert ({expected.message} if expected.message else set()) == recorded_words(text)
    ran = re.search(r"^pod uid_map: 0 +(\d+) +(\d+)$", text, re.MULTILINE)
    if ran and expected.pool:
        first, count = int(ran[1]), int(ran[2])
        assert count == expected.pool.ids_per_pod
        assert first % count == 0
        assert expected.pool.first <= first < expected.pool.end


HOSTS = json.loads((DATA / "kubelet-userns.json").read_text())


def recorded_host(name: str) -> tuple[Reading[IdFacts], KubeletFacts, Reading[int]]:
    """A recorded node, with the kubelet's files as they were found; cgroup v1 was allowed there."""
    recording = HOSTS["hosts"][name]
    host = node()
    host.files |= {f"/etc/{file}": content for file, content in HOSTS["etc"].items()}
    host.files |= {f"/var/lib/kubelet/pods/{pod}/userns": content for pod, content in recording["userns"].items()}
    kubelet = make_kubelet(started_at=host.started_at(KUBELET_PID), version=recording["kubelet"], fail_cgroup_v1=False)
    return gather_ids(host, kubelet), kubelet, Reading("mountinfo", recording["cgroup_version"])


@pytest.mark.parametrize("name", HOSTS["hosts"])
def test_recorded_nodes_start_again_and_take_up_every_pod(name: str) -> None:
    """They did: these kubelets were restarted many times."""
    expected = forecast(*recorded_host(name))
    assert (expected.outcome, expected.used) == ("starts", len(HOSTS["hosts"][name]["userns"]))
    assert expected.pool == IdPool(first=BLOCK, count=2**32 - BLOCK, ids_per_pod=BLOCK, configured=False)


@pytest.mark.parametrize("name", [name for name, host in HOSTS["hosts"].items() if host["userns"]])
def test_recorded_nodes_after_a_change_of_settings(name: str) -> None:
    """Their Pods' IDs lie outside of any small range, and are too few for a larger idsPerPod."""
    ids, kubelet, cgroup = recorded_host(name)
    larger = forecast(ids, msgspec.structs.replace(kubelet, ids_per_pod=Reading("", 2 * BLOCK)), cgroup)
    assert (larger.outcome, larger.cause) == ("fails", "files")
    assert larger.message.endswith("wrong user namespace length 65536")
    range_ = Output(0, "0: kubelet 65536 7208960\n", "")
    given = {name: Reading(name, range_) for name in ("subuids", "subgids")}
    moved = msgspec.structs.replace(
        ids.value, account=Reading("", True), getsubids=Reading("", "/usr/bin/getsubids"), **given
    )
    expected = forecast(Reading("", moved), kubelet, cgroup)
    pod = min(HOSTS["hosts"][name]["userns"])
    first = json.loads(HOSTS["hosts"][name]["userns"][pod])["uidMappings"][0]["hostId"]
    assert expected.message.endswith(f'record pod mappings for existing pod "{pod}": id {first} is out of range')
    assert "slots of 65536 IDs from 65536 on" in expected.reason
    assert expected.pool is not None


@pytest.mark.parametrize(
    ("about", "words", "cause"),
    [
        (
            {"gate_configured": Reading("--feature-gates", False)},
            "failed to set feature gates from initial flags-based config: cannot set feature gate"
            " UserNamespacesSupport to false, feature is locked to true",
            "gate",
        ),
        ({"ids_per_pod": 65537}, "idsPerPod must be a multiple of 65536, path:", "ids-per-pod"),
        ({"ids_per_pod": -1}, "idsPerPod must not be less than 65536, path:", "ids-per-pod"),
        ({"ids_per_pod": 1 << 32}, "idsPerPod must not be more than 4294967295, path:", "ids-per-pod"),
        ({"max_pods": -1}, "maxPods (--max-pods) -1 must not be a negative number, path:", "configuration"),
        (
            {"max_pods": -1, "ids_per_pod": 1},
            "error: [invalid configuration: maxPods (--max-pods) -1 must not be a negative number, invalid"
            " configuration: userNamespaces.idsPerPod must not be less than 65536], path:",
            "ids-per-pod",
        ),
        ({"cgroup": CGROUP_V1, "ids_per_pod": 1}, "cgroup v1 support is unsupported", "cgroup"),
        ({"cgroup": CGROUP_V1, "version": "1.33.1"}, "cgroup v1 support is in maintenance mode, path:", "cgroup"),
        (
            {"host": node(account=True, getsubids=False), "version": "1.32.0"},
            'create user namespace manager: exec: "getsubids": executable file not found in $PATH',
            "getsubids",
        ),
        ({"root": ON_FUSE, "gate_configured": False, "gate": False, "version": "1.35.0"}, "rootfs info", "root"),
    ],
)
def test_settings_that_end_the_kubelet(about: dict[str, Any], words: str, cause: str) -> None:
    expected = expect(**about)
    assert (expected.outcome, expected.cause) == ("fails", cause)
    assert words in expected.message
    assert expected.reason


@pytest.mark.parametrize(
    "about",
    [
        {"gate_configured": True},
        {"cgroup": CGROUP_V1, "fail_cgroup_v1": False},
        {"cgroup": CGROUP_V1, "version": "1.30.4"},
        {"fail_cgroup_v1": unread()},
        {"cgroup": unread(), "fail_cgroup_v1": False},
        {"version": "1.35.0", "host": node(account=True), **GATE_OFF},
        {"version": "1.29.0", "host": node(account=True), **GATE_OFF},
        {"version": "1.24.0", "gate": unread()},
        {"version": "1.35.0", "gate": unread()},
        {"ids_per_pod": 3 * BLOCK, "host": node(account=True, uids="0: kubelet 196608 21626880\n")},
        {"ids_per_pod": 3 * BLOCK, "version": "1.34.2"},
    ],
)
def test_settings_that_do_no_harm(about: dict[str, Any]) -> None:
    expected = expect(**about)
    assert expected.outcome == "starts"
    assert not expected.message
    assert not expected.reason


def test_a_pool_that_no_default_can_be_divided_into() -> None:
    """2^32 is no multiple of three slots: without a range of its own the kubelet cannot start."""
    expected = expect(ids_per_pod=3 * BLOCK)
    assert expected.message.endswith("kubelet user assigned IDs length 4294770688 is not a multiple of 196608")


@pytest.mark.parametrize(
    ("about", "kind", "words"),
    [
        ({"version": unread("/proc/800/exe --version")}, "not-permitted", "/proc/800/exe --version"),
        ({"gate_configured": unread("featureGates", "not-readable")}, "not-readable", "featureGates"),
        ({"version": "1.34.0", "gate_configured": unread()}, "not-permitted", "could not be read"),
        ({"ids_per_pod": unread("config.yaml", "not-readable")}, "not-readable", "config.yaml"),
        ({"max_pods": unread()}, "not-permitted", "could not be read"),
        ({"cgroup": unread()}, "not-permitted", "could not be read"),
        ({"cgroup": CGROUP_V1, "fail_cgroup_v1": unread()}, "not-permitted", "could not be read"),
        ({"version": "1.29.3", "gate_configured": True, "gate": True}, "not-tried", "before 1.30"),
        ({"root_dir": unread()}, "not-permitted", "could not be read"),
    ],
)
def test_what_is_not_known_leaves_the_start_unknown(about: dict[str, Any], kind: str, words: str) -> None:
    expected = expect(**about)
    assert (expected.outcome, expected.kind, expected.message) == ("unknown", kind, "")
    assert words in expected.reason


def test_one_known_refusal_decides_whatever_else_is_unknown() -> None:
    expected = expect(node(account=True), cgroup=unread(), max_pods=unread())
    assert (expected.outcome, expected.cause) == ("fails", "subids")


def test_unread_ids_leave_the_start_unknown() -> None:
    expected = forecast(unread("/proc/800", "not-readable"), make_kubelet(), CGROUP_V2)
    assert (expected.outcome, expected.kind) == ("unknown", "not-readable")


def test_a_file_that_could_not_be_read_leaves_the_start_and_the_slots_unknown() -> None:
    file = UsernsFile(pod="a", content=Reading.without("pods/a/userns", "not-readable", "is not a regular file"))
    expected = forecast(Reading("", make_ids(files=(file,))), make_kubelet(), CGROUP_V2)
    assert (expected.outcome, expected.used) == ("unknown", None)
    assert expected.reason == "pods/a/userns: is not a regular file"
    assert expected.pool is not None


@pytest.mark.parametrize("account", [False, True])
def test_another_program_starts_next_time(account: bool) -> None:
    """After an upgrade on disk nobody knows which version's rules will hold; what this one would say is told."""
    newer = Reading("/proc/800/exe", DropIn(path="/usr/bin/kubelet", newer=True))
    expected = expect(node(account=account, getsubids=False), executable=newer)
    assert (expected.outcome, expected.kind) == ("unknown", "not-tried")
    assert "another version than 1.36.2 starts next" in expected.reason
    assert ("executable file not found" in expected.reason) == account


def test_the_forecast_survives_json() -> None:
    for expected in (expect(), expect(node(account=True)), expect(max_pods=unread())):
        assert msgspec.json.decode(msgspec.json.encode(expected), type=Forecast) == expected
    ids = gather_ids(node(account=True), make_kubelet(started_at=node().started_at(KUBELET_PID)))
    assert msgspec.json.decode(msgspec.json.encode(ids), type=Reading[IdFacts]) == ids


def test_a_missing_getsubids_is_absent_and_not_unknown() -> None:
    ids = make_ids(account=True, getsubids=absent("PATH"), subuids=absent("PATH"))
    assert forecast(Reading("", ids), make_kubelet(), CGROUP_V2).cause == "getsubids"
