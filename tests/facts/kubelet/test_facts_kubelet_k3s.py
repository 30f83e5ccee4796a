"""What k3s gives the kubelet inside it, although it wipes its own command line."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.fake_host import FakeHost
from lab.samples import UNIT
from probe.facts.kubelet.k3s import gather_k3s, is_k3s, parse_exec_start
from probe.host.host import Process

CGROUP = "0::/system.slice/k3s.service\n"


def k3s(host: FakeHost, *argv: str, cgroup: str = CGROUP, environment: Mapping[str, str] | None = None) -> Process:
    exe = "/var/lib/rancher/k3s/data/0ff1ce/bin/k3s"
    host.add_process(7, *argv, name="k3s-server", exe=exe, cgroup=cgroup, environment=environment)
    return host.process_list[-1]


@pytest.mark.parametrize(
    ("name", "argv", "daemon"),
    [
        ("k3s-server", ("/usr/local/bin/k3s server",), True),
        ("k3s-agent", ("/usr/local/bin/k3s", "agent"), True),
        ("k3s", ("k3s", "server", "--docker"), True),
        ("k3s", ("k3s", "kubectl", "get", "nodes"), False),
        ("containerd", ("containerd", "server"), False),
        ("x", (), False),
    ],
)
def test_only_the_daemon_counts(name: str, argv: tuple[str, ...], daemon: bool) -> None:
    """k3s is kubectl, crictl and ctr as well."""
    assert is_k3s(Process(1, name, argv)) is daemon


def test_hidden_arguments_are_found_in_the_unit() -> None:
    """The process's own title has none of them."""
    host = FakeHost(files={"/etc/systemd/system/k3s.service": UNIT})
    found = gather_k3s(host, k3s(host, "/usr/local/bin/k3s server"))
    assert found.flags.value == {"feature-gates": ("UserNamespacesSupport=true",), "max-pods": ("60",)}
    assert found.endpoint == "unix:///run/k3s/cri-dockerd/cri-dockerd.sock"
    assert found.sources == ("/etc/systemd/system/k3s.service",)


def test_drop_ins_of_a_unit_are_ordered_by_name_across_directories() -> None:
    """systemd.unit(5): the last name decides, wherever its file lies; /etc hides only a file of the same name."""
    command = "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s server --kubelet-arg=max-pods={}\n"
    host = FakeHost(
        files={
            "/etc/systemd/system/k3s.service": UNIT,
            "/usr/lib/systemd/system/k3s.service.d/20-last.conf": command.format(20),
            "/etc/systemd/system/k3s.service.d/10-first.conf": command.format(10),
        }
    )
    assert gather_k3s(host, k3s(host, "/usr/local/bin/k3s server")).flags.value == {"max-pods": ("20",)}


def test_a_comment_in_a_continued_command_is_none_of_its_words() -> None:
    """systemd.syntax(7): an argument that was commented out does not count."""
    unit = (
        "[Service]\nExecStart=/usr/local/bin/k3s server \\\n"
        "  # --kubelet-arg=feature-gates=UserNamespacesSupport=false \\\n; it's off\n  --kubelet-arg=max-pods=7\n"
    )
    assert parse_exec_start(unit) == ["--kubelet-arg=max-pods=7"]
    assert parse_exec_start(unit.replace("\n", "\r\n")) == ["--kubelet-arg=max-pods=7"]


@pytest.mark.parametrize("prefix", ["", "@", "-", ":", "+", "!", "!!", "|", "-+", "@!!"])
def test_prefixes_of_a_command_are_none_of_its_words(prefix: str) -> None:
    """systemd.service(5), "Special executable prefixes"."""
    unit = f"[Service]\nExecStart={prefix}server --kubelet-arg=max-pods=7\n"
    assert parse_exec_start(unit) == ["--kubelet-arg=max-pods=7"]


def test_a_drop_in_of_the_unit_replaces_its_command() -> None:
    """As systemd does it; the one in /etc hides the one of the same name elsewhere."""
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s server --kubelet-arg=max-pods=7\n"
    host = FakeHost(
        files={
            "/usr/lib/systemd/system/k3s.service": UNIT,
            "/usr/lib/systemd/system/k3s.service.d/10-x.conf": "[Service]\nExecStart=/bin/false\n",
            "/etc/systemd/system/k3s.service.d/10-x.conf": drop_in,
        }
    )
    assert gather_k3s(host, k3s(host, "/usr/local/bin/k3s server")).flags.value == {"max-pods": ("7",)}


@pytest.mark.parametrize(
    ("files", "cgroup"),
    [
        ({}, CGROUP),
        ({}, "0::/\n"),
        ({"/etc/systemd/system/k3s.service": "[Service]\nType=notify\n"}, CGROUP),
        ({"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server $ARGS\n"}, CGROUP),
        ({"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s 'server\n"}, CGROUP),
        ({"/etc/systemd/system/k3s.service": UNIT, "/etc/rancher/k3s/config.yaml": "a: [b"}, CGROUP),
    ],
)
def test_arguments_that_nobody_tells_are_a_problem(files: dict[str, str], cgroup: str) -> None:
    """Silence of the process title is not a proof that there are none."""
    host = FakeHost(files=dict(files))
    assert gather_k3s(host, k3s(host, "/usr/local/bin/k3s server", cgroup=cgroup)).flags.kind == "not-readable"


def test_files_come_first_and_the_command_line_after_them() -> None:
    """config.yaml, then config.yaml.d in order, where `+` adds; then what is visible of the arguments."""
    host = FakeHost(
        files={
            "/etc/rancher/k3s/config.yaml": "kubelet-arg:\n- max-pods=1\n- v=2\ndisable-agent: true\n",
            "/etc/rancher/k3s/config.yaml.d/10.yaml": "kubelet-arg+: max-pods=2\ndisable-agent: false\n",
            "/etc/rancher/k3s/config.yaml.d/9.YAML": "kubelet-arg+: v=3\n",
            "/etc/rancher/k3s/config.yaml.d/readme": "kubelet-arg: no",
            "/etc/rancher/k3s/config.yaml.d/folder.yml/1.yaml": "kubelet-arg: no",
        }
    )
    found = gather_k3s(host, k3s(host, "k3s", "server", "--kubelet-arg", "max-pods=3"))
    assert found.flags.value == {"max-pods": ("1", "2", "3"), "v": ("2", "3")}
    assert found.runs_kubelet
    assert found.endpoint == "unix:///run/k3s/containerd/containerd.sock"


@pytest.mark.parametrize(
    ("arguments", "environment", "file"),
    [
        (("--v=1",), {}, "/etc/rancher/k3s/config.yaml"),
        (("--config", "/srv/k3s.yaml"), {}, "/srv/k3s.yaml"),
        (("--config=/srv/no.yaml",), {"K3S_CONFIG_FILE": "/srv/k3s.yaml"}, "/srv/k3s.yaml"),
        (("-c", "/srv/k3s.yaml"), {}, "/srv/k3s.yaml"),
        (("-c=/srv/k3s.yaml",), {}, "/srv/k3s.yaml"),
        (("--v=1",), {"K3S_CONFIG_FILE": "/srv/k3s.yaml"}, "/srv/k3s.yaml"),
    ],
)
def test_its_file_lies_where_it_was_told(arguments: tuple[str, ...], environment: dict[str, str], file: str) -> None:
    """docs.k3s.io, "k3s server", Options: by a flag, else by a variable; with the directory beside it."""
    host = FakeHost(files={file: "kubelet-arg: max-pods=1\n", f"{file}.d/1.yaml": "kubelet-arg+: v=2\n"})
    found = gather_k3s(host, k3s(host, "k3s", "server", *arguments, environment=environment))
    assert (found.flags.value or {}).items() >= {"max-pods": ("1",), "v": ("2",)}.items()
    assert found.sources == (file, f"{file}.d/1.yaml")
    assert found.directories == (f"{file}.d",)


@pytest.mark.parametrize(
    "unread", ["/etc/rancher/k3s/config.yaml.d", "/etc/systemd/system/k3s.service.d", "/proc/7/environ"]
)
def test_what_could_not_be_looked_at_is_no_silence(unread: str) -> None:
    """Whatever lies there may say anything."""
    host = FakeHost(files={"/etc/systemd/system/k3s.service": UNIT})
    process = k3s(host, "/usr/local/bin/k3s server")
    host.files[unread] = errno.EACCES
    assert gather_k3s(host, process).flags.kind == "not-permitted"


def test_a_server_without_agent_runs_no_kubelet() -> None:
    """It is a control plane only."""
    host = FakeHost(files={"/etc/rancher/k3s/config.yaml": "disable-agent: true\n"})
    assert not gather_k3s(host, k3s(host, "k3s", "server", "--v=1")).runs_kubelet


def test_the_managed_directory_lies_where_the_program_lies() -> None:
    """With another data directory it moves along; config and config-dir are copied into it."""
    host = FakeHost(files={"/data/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": ""})
    process = k3s(host, "k3s", "agent", "--kubelet-arg=config=/etc/k.yaml", "--kubelet-arg=v=2")
    host.links["/proc/7/exe"] = "/data/k3s/data/0ff1ce/bin/k3s"
    found = gather_k3s(host, process)
    assert found.config_dir == "/data/k3s/agent/etc/kubelet.conf.d"
    assert found.flags.value == {"v": ("2",), "config-dir": ("/data/k3s/agent/etc/kubelet.conf.d",)}


@given(st.text() | st.text(alphabet="ExecStart=k3s server\\\n'\"$- "))
def test_any_unit_gives_arguments_or_a_value_error(text: str) -> None:
    """Whatever lies there."""
    with suppress(ValueError):
        parse_exec_start(text)
