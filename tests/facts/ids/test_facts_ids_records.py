"""The files in which a kubelet keeps its Pods' user namespaces: read without following, decoded as Go does."""

from __future__ import annotations

import errno
import json
import os
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from probe.facts.defaults import MAX_UINT32
from probe.facts.ids.records import gather_userns_files, parse_pod_userns
from probe.facts.model import Mapping, PodUserns, UsernsFile
from probe.host.host import LocalHost

PODS = "/var/lib/kubelet/pods"
UID = "1bfd8a8e-406a-4bc4-97d8-c73408d6612e"
CONTENT = (
    b'{"uidMappings":[{"hostId":3421437952,"containerId":0,"length":65536}],'
    b'"gidMappings":[{"hostId":3421437952,"containerId":0,"length":65536}]}'
)
USERNS = PodUserns((Mapping(3421437952, 0, 65536),), (Mapping(3421437952, 0, 65536),))
uint32 = st.integers(0, MAX_UINT32)
mapping = st.builds(Mapping, uint32, uint32, uint32)


def wrapped(number: str) -> bytes:
    """A file in which one host ID is written like that."""
    return CONTENT.replace(b"3421437952", number.encode(), 1)


def test_a_recorded_file() -> None:
    assert parse_pod_userns(CONTENT) == USERNS


@pytest.mark.parametrize(
    ("content", "parsed"),
    [
        (b"null", PodUserns()),
        (b"{}", PodUserns()),
        (b'{"uidMappings":null,"other":[1.5,"\xff"]}', PodUserns()),
        (b'{"UIDMAPPINGS":[{"HostID":7}]}', PodUserns((Mapping(7, 0, 0),))),
        (b'{"uidMappings":[null,{"length":null}]}', PodUserns((Mapping(), Mapping()))),
        (b'{"uidMappings":[{"hostId":1}],"uidMappings":[]}', PodUserns()),
        (b' \n{"gidMappings":[{"hostId":4294967295}]}\t', PodUserns((), (Mapping(MAX_UINT32, 0, 0),))),
    ],
)
def test_what_go_takes_is_taken(content: bytes, parsed: PodUserns) -> None:
    """Names in any case, null and missing fields as zero, unknown fields skipped, the last of two."""
    assert parse_pod_userns(content) == parsed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wrapped("-1"), "whole number from 0 to 4294967295: '-1'"),
        (wrapped("-0"), "whole number"),
        (wrapped("1.0"), "whole number"),
        (wrapped("1e3"), "whole number"),
        (wrapped("4294967296"), "whole number"),
        (wrapped("9" * 5000), "whole number"),
        (wrapped('"7"'), "whole number"),
        (wrapped("true"), "whole number"),
        (wrapped("[]"), "whole number"),
        (wrapped("{}"), "whole number"),
        (wrapped("NaN"), "NaN is not JSON"),
        (wrapped("Infinity"), "Infinity is not JSON"),
        (wrapped("01"), "delimiter"),
        (b"", "Expecting value"),
        (b"root:*:19000:0:99999:7:::\n", "Expecting value"),
        (b"\xef\xbb\xbf" + CONTENT, "BOM"),
        (b"\xff" + CONTENT, "Expecting value"),
        (CONTENT + b"x", "Extra data"),
        (CONTENT[:-1], "delimiter"),
        (b"[]", "the file is not a JSON object"),
        (b"7", "the file is not a JSON object"),
        (b'{"uidMappings":{}}', "uidMappings is not a JSON array"),
        (b'{"uidMappings":"x"}', "uidMappings is not a JSON array"),
        (b'{"uidMappings":[7]}', "an element of uidMappings is not a JSON object"),
        (b"[" * 60_000 + b"]" * 60_000, "nested too deeply"),
        (b'{"a":' * 60_000 + b"1" + b"}" * 60_000, "nested too deeply"),
        (b"[" * 60_000, "nested too deeply|Expecting value"),
        (b'{"a":' * 60_000, "nested too deeply|Expecting"),
    ],
)
def test_what_go_refuses_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_pod_userns(content)


@pytest.mark.slow
def test_a_million_mappings_are_counted_and_not_choked_on() -> None:
    content = b'{"uidMappings":[' + b",".join([b"{}"] * 10**6) + b"]}"
    assert len(parse_pod_userns(content).uid_mappings) == 10**6


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_file_or_a_value_error(content: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(parse_pod_userns(content), PodUserns)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists) | st.none())
def test_any_json_is_a_file_or_a_value_error(value: object) -> None:
    for document in (value, {"uidMappings": value}, {"uidMappings": [value]}, {"gidMappings": [{"hostId": value}]}):
        with suppress(ValueError):
            assert isinstance(parse_pod_userns(json.dumps(document).encode()), PodUserns)


@given(st.lists(mapping, max_size=3), st.lists(mapping, max_size=3))
def test_what_the_kubelet_writes_round_trips(uids: list[Mapping], gids: list[Mapping]) -> None:
    lines = {
        name: [{"hostId": m.host_id, "containerId": m.container_id, "length": m.length} for m in mappings]
        for name, mappings in (("uidMappings", uids), ("gidMappings", gids))
    }
    assert parse_pod_userns(json.dumps(lines).encode()) == PodUserns(tuple(uids), tuple(gids))


def test_pods_without_a_file_or_with_an_empty_one_have_no_user_namespace() -> None:
    host = FakeHost(files={f"{PODS}/{UID}/userns": CONTENT, f"{PODS}/b/userns": "", f"{PODS}/c/etc-hosts": "x"})
    files = gather_userns_files(host, PODS)
    assert [(file.pod, file.content.value, file.malformed) for file in files.value or ()] == [(UID, USERNS, False)]


def test_no_directory_is_no_pod_and_an_unreadable_one_is_unknown() -> None:
    assert gather_userns_files(FakeHost(), PODS).value == ()
    assert gather_userns_files(FakeHost(files={PODS: errno.EACCES}), PODS).kind == "not-permitted"


def test_what_cannot_be_read_differs_from_what_cannot_be_decoded() -> None:
    """Only of the second it is known that the kubelet ends."""
    host = FakeHost(files={f"{PODS}/a/userns": errno.EIO, f"{PODS}/b/userns": "{"})
    first, second = gather_userns_files(host, PODS).value or ()
    assert (first.malformed, first.content.kind) == (False, "not-readable")
    assert (second.malformed, second.content.kind) == (True, "not-readable")


def gather(directory: Path) -> dict[str, UsernsFile]:
    """The files of a real directory, by Pod."""
    with closing(LocalHost()) as host:
        found = gather_userns_files(host, str(directory)).value
    assert found is not None
    return {file.pod: file for file in found}


def test_hostile_files_are_not_followed(tmp_path: Path) -> None:
    """Each names its exact cause, none is waited for, and none is taken for a file of the kubelet's."""
    secret = tmp_path / "shadow"
    secret.write_text("root:secret:19000::::::\n")
    pods = tmp_path / "pods"
    for name in ("link", "fifo", "directory", "sparse", "device", "good", "none"):
        (pods / name).mkdir(parents=True)
    (pods / "link/userns").symlink_to(secret)
    (pods / "directory-link").symlink_to(pods / "good")
    os.mkfifo(pods / "fifo/userns")
    (pods / "directory/userns").mkdir()
    with open(pods / "sparse/userns", "wb") as file:
        file.truncate(4 << 30)
    (pods / "device/userns").symlink_to("/dev/zero")
    (pods / "good/userns").write_bytes(CONTENT)
    (pods / "stray-file").write_text("x")
    files = gather(pods)
    assert {name: file.content.problem for name, file in files.items()} == {
        "link": "is not a regular file",
        "directory-link": "Too many levels of symbolic links",
        "fifo": "is not a regular file",
        "directory": "is not a regular file",
        "sparse": "is larger than 65536 bytes",
        "device": "is not a regular file",
        "good": "",
    }
    assert not any(file.malformed for file in files.values())


@pytest.mark.real
def test_a_device_node_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    os.mknod(tmp_path / "pod/userns", 0o020666, os.makedev(1, 5))
    assert gather(tmp_path)["pod"].content.problem == "is not a regular file"


@pytest.mark.slow
def test_more_pods_than_descriptors(tmp_path: Path) -> None:
    """None is left open while the others are read."""
    for number in range(1500):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "userns").write_bytes(CONTENT)
    files = gather(tmp_path)
    assert len(files) == 1500
    assert all(file.content.value == USERNS for file in files.values())


def test_names_that_no_report_can_carry(tmp_path: Path, local_host: LocalHost) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    assert "UTF-8" in gather_userns_files(local_host, str(tmp_path)).problem
