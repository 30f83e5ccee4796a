"""Forecasts of recorded nodes, of which one thing was changed on disk."""

from __future__ import annotations

from typing import Any

import pytest

from lab.recorded import Recording
from probe.forecast import EventForecast
from probe.host.program import Output

NAME = "containerd-2.1.9-kernel-6.18"
CONFIG = "/etc/containerd/config.toml"


def changed(name: str = NAME, **changes: Any) -> tuple[EventForecast, ...]:
    """Forecasts of the node; *changes*: `files` and `commands` by name, `dump` from text to text, `deleted` runtime."""
    node = Recording(name)
    host = node.host
    host.files |= changes.get("files", {})
    later = node.host.started[node.runtime_pid] + 3600
    for path in changes.get("touched", ()):
        host.modified[path] = later
    for command, output in list(host.commands.items()):
        if command.endswith("config dump") and isinstance(output, Output):
            host.commands[command] = changes.get("dump", lambda same: same)(output)
    if "deleted" in changes:
        link = f"/proc/{node.runtime_pid}/exe"
        path = str(host.links[link])
        printed = {
            f"{path} {command.partition(' ')[2]}": out for command, out in host.commands.items() if path in command
        }
        host.commands |= printed | {f"{path} --version": changes["deleted"]}
        host.links[link] = f"{path} (deleted)"
        host.commands |= {f"{link} {command.partition(' ')[2]}": out for command, out in printed.items()}
    return node.report().forecasts


def edited(old: str, new: str) -> Any:
    """The printed configuration with another text."""

    def dump(output: Output) -> Output:
        assert old in output.stdout
        return Output(output.status, output.stdout.replace(old, new), output.stderr)

    return dump


def outcomes(found: tuple[EventForecast, ...]) -> list[tuple[str, str]]:
    return [(one.outcome, one.reason) for one in found]


@pytest.mark.parametrize("name", [NAME, "cri-o-1.37.0-dev-kernel-6.18", "containerd-2.4.0-beta-kernel-6.18"])
def test_a_node_as_it_was_recorded(name: str) -> None:
    """What the runtime prints is what it runs with: no difference is made up."""
    restart = changed(name)[1]
    assert (restart.outcome, restart.changes) == ("stays", ())


def test_a_root_file_system_and_a_newer_kernel() -> None:
    """The boot loader's files are read of a whole node."""
    menu = "menuentry 'Debian' {\n\tlinux /vmlinuz-7.3.1 root=/dev/sda1\n}\n"
    boot, _ = changed(files={"/boot/grub/grub.cfg": menu, "/etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n"})
    assert (boot.outcome, boot.verdict) == ("stays", "ready")
    assert [(one.what, one.then) for one in boot.changes] == [("kernel", "7.3.1")]
    older = changed(files={"/boot/grub/grub.cfg": menu.replace("7.3.1", "6.1.0-9-amd64")})[0]
    assert (older.outcome, older.reason) == ("turns", "TmpfsNotIdmappable")
    nfs = changed(files={"/boot/grub/grub.cfg": menu, "/etc/fstab": "a:/b /var/lib/kubelet nfs4 defaults 0 0\n"})[0]
    assert (nfs.outcome, nfs.reason) == ("turns", "KubeletRootNotIdmappable")
    limit = changed(files={"/boot/grub/grub.cfg": menu, "/etc/sysctl.d/9.conf": "user.max_*_namespaces = 0\n"})[0]
    assert limit.outcome == "turns"
    assert len(limit.changes) >= 7


def test_a_replaced_runtime() -> None:
    """Its version is asked of the program on disk; the present one is still asked for its configuration."""
    boot, restart = changed(deleted="containerd containerd.io v1.7.24 abc\n")
    assert (restart.outcome, restart.reason) == ("turns", "RuntimeTooOld")
    assert (boot.outcome, boot.reason) == ("turns", "RuntimeTooOld")
    assert "was replaced" in restart.pending
    assert changed(deleted="containerd containerd.io v2.2.1 abc\n")[1].outcome == "stays"
    assert changed(deleted="nonsense\n")[1].outcome == "unknown"


def test_a_changed_configuration() -> None:
    """What the command prints is the next start's; one that it refuses ends that start, if a file changed since."""
    without = changed(dump=edited("disabled_plugins = []", 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'))[1]
    assert (without.outcome, without.reason) == ("turns", "CriServiceMissing")
    refusal = Output(1, "", "containerd: failed to load TOML: /etc/containerd/config.toml")
    broken = changed(dump=lambda _: refusal, files={CONFIG: "["}, touched=[CONFIG])[1]
    assert (broken.outcome, broken.reason) == ("turns", "RuntimeNotReady")
    assert CONFIG in broken.pending
    assert changed(dump=lambda _: refusal)[1].outcome != "turns"
