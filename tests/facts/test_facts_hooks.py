"""What hooks into the making of containers: counted, never believed, never followed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.factory import absent, make_runtime
from lab.fake_host import FakeHost
from probe.facts.hooks import gather_hooks, has_oci_hook, parse_general_hooks
from probe.facts.model import HookFacts, HookFiles, RuntimeFacts
from probe.host.host import Host, LocalHost
from probe.reading import Reading

# As the package nvidia-container-toolkit ships it for podman and CRI-O.
NVIDIA_HOOK = (
    b'{"version":"1.0.0","hook":{"path":"/usr/bin/nvidia-container-toolkit","args":["x","prestart"]},'
    b'"when":{"always":true},"stages":["prestart"]}'
)
SYSTEMD_HOOK = b'{"version":"1.0.0","hook":{"path":"/usr/libexec/oci/hooks.d/oci-systemd-hook"},"stages":["prestart"]}'
NOTHING = HookFiles(found=0, hooked=0, unread=0)


def gather(host: Host) -> HookFacts:
    """What is found."""
    unknown: Reading[RuntimeFacts] = Reading.without("CRI", "not-tried", "no endpoint")
    found = gather_hooks(host, unknown).value
    assert found is not None
    return found


def test_a_node_without_any() -> None:
    found = gather(FakeHost(files={"/usr/bin/runc": "x"}))
    assert (found.toolkit.value, found.oci_hooks.value) == ((), NOTHING)


def test_the_toolkit_is_found_wherever_it_is_put() -> None:
    """By the exact names of its programs."""
    names = ("/usr/bin/nvidia-ctk", "/usr/local/nvidia/toolkit/nvidia-container-runtime")
    files = dict.fromkeys((*names, "/usr/bin/nvidia-smi", "/usr/bin/nvidia-ctk.bak", "/opt/nvidia-ctk"), "x")
    assert gather(FakeHost(files=files)).toolkit.value == names


def test_oci_hooks_are_counted() -> None:
    directory = "/usr/share/containers/oci/hooks.d"
    files = {f"{directory}/oci-nvidia-hook.json": NVIDIA_HOOK, f"{directory}/systemd.json": SYSTEMD_HOOK}
    known = gather_hooks(FakeHost(files=files), crio(directory)).value
    assert known is not None
    for told in (gather(FakeHost(files=files)).oci_hooks.value, known.oci_hooks.value):
        assert told is not None
        assert (told.found, told.hooked, told.unread) == (2, 1, 0)
        assert [hook.when for hook in told.always] == ["prestart"]


def test_where_nobody_looks_at_oci_hooks_the_probe_does_not_either() -> None:
    host = FakeHost(files={"/etc/containers/oci/hooks.d/nvidia.json": NVIDIA_HOOK})
    found = gather_hooks(host, Reading("CRI", make_runtime())).value
    assert found is not None
    assert found.oci_hooks.kind == "not-tried"
    assert not [path for path in host.touched if "hooks.d" in path]


@given(st.binary())
def test_any_content_has_a_hook_or_not(content: bytes) -> None:
    assert has_oci_hook(content) in (True, False)


@pytest.mark.parametrize(
    ("directory", "part"),
    [("/etc/containers/oci/hooks.d", "oci_hooks"), ("/usr/local/bin", "toolkit")],
)
def test_a_directory_that_cannot_be_listed_is_a_problem(directory: str, part: str) -> None:
    """Of that part alone."""
    found = gather(FakeHost(files={directory: errno.EACCES}))
    problems = {name for name in ("oci_hooks", "toolkit") if getattr(found, name).kind == "not-permitted"}
    assert problems == {part}


def test_a_toolkit_that_was_found_is_not_forgotten() -> None:
    """Because of another directory."""
    files: dict[str, bytes | str | int] = {"/usr/bin/nvidia-ctk": "x", "/usr/local/bin": errno.EACCES}
    assert gather(FakeHost(files=files)).toolkit.value == ("/usr/bin/nvidia-ctk",)


def general(when: str, stages: str = '"createContainer"') -> bytes:
    """An OCI hook with these conditions."""
    return f'{{"hook": {{"path": "/usr/bin/audit"}}, "when": {when}, "stages": [{stages}]}}'.encode()


@pytest.mark.parametrize(
    ("content", "stages"),
    [
        (general('{"always": true}'), ["createContainer"]),
        (general('{"always": true}', '"prestart", "startContainer"'), ["prestart", "startContainer"]),
        (general('{"hasBindMounts": true}'), ["createContainer"]),
        (general('{"commands": ["^nothing$", ".*"]}'), ["createContainer"]),
        (general('{"annotations": {".*": "^.*$"}}'), ["createContainer"]),
        (general('{"always": true, "commands": ["^ls$"]}'), []),
        (general('{"always": true, "hasBindMounts": true}'), ["createContainer"]),
        (general('{"always": false}'), []),
        (general('{"annotations": {"^com.example/gpu$": ".*"}}'), []),
        (general("{}"), []),
        (general("null"), []),
        (general("1"), []),
        (b'{"stages": ["createContainer"], "when": {"always": true}}', []),
        (b'{"hook": {"path": "relative"}, "stages": ["createContainer"], "when": {"always": true}}', []),
        (b'{"hook": "/usr/bin/audit", "stages": ["createContainer"], "cmds": ["^ls$", ".*"]}', ["createContainer"]),
        (b'{"hook": "/usr/bin/audit", "stage": ["prestart"], "hasbindmounts": true, "cmd": ["^ls$"]}', ["prestart"]),
        (b'{"version": "0.1.0", "hook": "/usr/bin/audit", "stages": ["createContainer"], "cmds": ["^ls$"]}', []),
        (b'{"hook": "audit", "stages": ["createContainer"], "cmds": [".*"]}', []),
        (b"[" * 99_999, []),
        (b"", []),
    ],
)
def test_hooks_that_match_each_container(content: bytes, stages: list[str]) -> None:
    """They are told from hooks of devices; all conditions have to match."""
    found = tuple((hook.when, hook.path) for hook in parse_general_hooks(content))
    assert found == tuple((stage, "/usr/bin/audit") for stage in stages)


def crio(*hooks_dirs: str) -> Reading[RuntimeFacts]:
    """CRI-O that tells where it looks for hooks, or does not."""
    told: Reading[tuple[str, ...]] = Reading("CRI Status", hooks_dirs) if hooks_dirs else absent("CRI Status")
    return Reading("CRI", make_runtime(name="cri-o", hooks_dirs=told))


def test_a_later_directory_replaces_a_hook_of_the_same_name() -> None:
    """As oci-hooks(5) has it, also where a harmless file replaces it; other directories are not looked at."""
    audit, nothing = general('{"always": true}'), general('{"always": false}', '"poststop"')
    files: dict[str, bytes | str | int] = {"/a/1.json": audit, "/b/1.json": nothing, "/c/1.json": audit}
    for directories, hooked in ((("/a", "/b"), 0), (("/b", "/a"), 1), (("/a",), 1), (("/b",), 0), (("/gone", "/c"), 1)):
        found = gather_hooks(FakeHost(files=files), crio(*directories)).value
        assert found is not None
        told = found.oci_hooks.value
        assert told is not None
        assert (told.found, told.hooked, len(told.always)) == (1, hooked, hooked), directories


def test_where_hooks_are_looked_for_is_not_told() -> None:
    """Then in both usual directories, /etc after /usr."""
    audit, nothing = general('{"always": true}'), general('{"always": false}', '"poststop"')
    usual = ("/usr/share/containers/oci/hooks.d/1.json", "/etc/containers/oci/hooks.d/1.json")
    for contents, hooked in (((audit, nothing), 0), ((nothing, audit), 1)):
        files: dict[str, bytes | str | int] = dict(zip(usual, contents, strict=True))
        found = gather_hooks(FakeHost(files=files), crio()).value
        assert found is not None
        assert found.oci_hooks.value is not None
        assert (found.oci_hooks.value.found, found.oci_hooks.value.hooked) == (1, hooked)


def test_hooks_that_are_symlinks(tmp_path: Path, local_host: LocalHost) -> None:
    """NixOS has no others. Links to other things than regular files are not read, nor more links than anybody has."""
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "audit").write_bytes(general('{"always": true}'))
    os.mkfifo(tmp_path / "fifo")
    for name, target in (("audit", "audit"), ("fifo", "fifo"), ("zero", "/dev/zero")):
        (tmp_path / "hooks.d" / f"{name}.json").symlink_to(tmp_path / target)
    found = gather_hooks(local_host, crio(str(tmp_path / "hooks.d"))).value
    assert found is not None
    told = found.oci_hooks.value
    assert told is not None
    assert (told.found, told.unread, len(told.always)) == (3, 2, 1)


def test_a_directory_with_very_many_hooks(tmp_path: Path, local_host: LocalHost) -> None:
    """Some are read, the rest is counted; a directory that nobody lists whole is a problem, never a pass."""
    for number in range(1000):
        (tmp_path / f"{number}.json").write_bytes(general('{"always": true}'))
    os.mkfifo(tmp_path / "0-fifo.json")
    found = gather_hooks(local_host, crio(str(tmp_path))).value
    assert found is not None
    told = found.oci_hooks.value
    assert told is not None
    assert (told.found, told.hooked, told.unread) == (1001, 299, 702)
    assert len(told.always) <= 50
    names = {f"/a/{number}.json": general("{}") for number in range(3)}
    many = FakeHost(files={**names, "/a": errno.EACCES})
    unlisted = gather_hooks(many, crio("/a")).value
    assert unlisted is not None
    assert unlisted.oci_hooks.kind == "not-permitted"
