"""What to do: the text that fits the platform, and nothing of the node's that could pass for a command."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.factory import (
    absent,
    make_attempts,
    make_confinement,
    make_facts,
    make_handler,
    make_kernel,
    make_kubelet,
    make_namespace_attempt,
    make_probe,
    make_refusal,
    make_runtime,
)
from probe.checks.catalog import CHECKS, find, judge
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import newest_kernel
from probe.checks.remedies.platforms import PLATFORMS, inline, platforms_of, quoted, restart_kubelet
from probe.checks.remedies.runtime import restart
from probe.checks.remedies.table import REMEDIATIONS, Remediation, fitting, remediation_of, remediations_of
from probe.facts.model import DropIn, Facts
from probe.finding import Finding
from probe.reading import Reading
from probe.terms import UnknownReason

SWITCHED_OFF: dict[str, Any] = {
    "user_namespace": make_namespace_attempt(result="refused", step="unshare", errno="ENOSPC", reason="No space left"),
    "kernel": make_kernel(
        namespace_limits={"user.max_user_namespaces": Reading("/proc/sys/user/max_user_namespaces", 0)}
    ),
}
NO_TMPFS: dict[str, Any] = {"attempts": make_attempts(tmpfs=make_refusal(role="tmpfs", fstype="tmpfs"))}


def on(system: str, kubernetes: str = "kubelet", **overrides: Any) -> Facts:
    """A node of that operating system, and that Kubernetes distribution."""
    fields = {"kubelet": make_kubelet(distribution=kubernetes), "distribution": Reading("/etc/os-release", system)}
    return make_facts(**fields | overrides)


def finding(check: str, facts: Facts) -> Finding:
    return next(each for each in judge(facts) if each.id == check)


def paste(text: str, stand_ins: str) -> str:
    """What its commands print in a shell where those functions stand in for programs."""
    commands = "\n".join(line for line in text.split("\n") if line.startswith(" "))
    return subprocess.run(["bash"], input=stand_ins + commands, text=True, capture_output=True, check=False).stdout


@pytest.mark.parametrize(
    ("system", "kubernetes", "platforms"),
    [
        ("talos v1.9.0", "kubelet", ("talos",)),
        ("bottlerocket 1.49.0", "kubelet", ("bottlerocket",)),
        ("amzn 2023", "kubelet", ("al2023",)),
        ("amzn 2", "kubelet", ()),
        ("rhcos 4.20", "kubelet", ("openshift",)),
        ("scos 4.20", "kubelet", ("openshift",)),
        ("debian 12", "kubelet", ("debian-12", "debian")),
        ("debian 11", "kubelet", ("debian",)),
        ("ubuntu 24.04", "kubelet", ("ubuntu",)),
        ("ubuntu 22.04", "microk8s", ("microk8s", "ubuntu-22.04", "ubuntu")),
        ("rocky 9.4", "rke2", ("rke2", "rhel")),
        ("fedora 42", "k0s", ("k0s", "rhel")),
        ("alpine 3.22", "k3s", ("k3s",)),
        ("cos 117", "kubelet", ()),
    ],
)
def test_platforms(system: str, kubernetes: str, platforms: tuple[str, ...]) -> None:
    """The Kubernetes distribution comes before the operating system below it."""
    assert platforms_of(on(system, kubernetes)) == platforms


def test_a_node_that_says_nothing_of_itself_has_no_platform() -> None:
    """Neither os-release nor a kubelet: the texts for all platforms stay."""
    assert platforms_of(make_facts(distribution=absent("/etc/os-release"), kubelet=absent("processes"))) == ()


@pytest.mark.parametrize(
    "remediation", REMEDIATIONS, ids=lambda row: "-".join(filter(None, (row.check, row.reason, row.platform)))
)
def test_each_row_belongs_to_a_check_and_a_platform(remediation: Remediation) -> None:
    """A reason nobody gives, or a platform nobody finds, would never be read."""
    check = find(remediation.check)
    reasons = (*check.reasons, "") if check else UnknownReason.__args__  # type: ignore[attr-defined]
    assert bool(check) == bool(remediation.check)
    assert remediation.reason in reasons
    assert remediation.platform in (*PLATFORMS, "")
    assert remediation.source
    assert (
        REMEDIATIONS.count(fitting(remediation.check, remediation.reason, (remediation.platform,)) or remediation) == 1
    )


@pytest.mark.parametrize(
    ("check", "facts", "line"),
    [
        ("kernel-user-namespaces", on("talos v1.9.0", **SWITCHED_OFF), '      user.max_user_namespaces: "11255"'),
        ("kernel-user-namespaces", on("bottlerocket 1.49.0", **SWITCHED_OFF), "  [settings.kernel.sysctl]"),
        ("kernel-user-namespaces", on("rhcos 4.20", **SWITCHED_OFF), "  kind: MachineConfig"),
        ("filesystem-tmpfs", on("amzn 2023", **NO_TMPFS), "  dnf install -y kernel6.12 &&"),
    ],
)  # fmt: skip
def test_the_report_says_what_fits_the_node(check: str, facts: Facts, line: str) -> None:
    """Bottlerocket and Talos have that limit at 0 (bottlerocket issue 3328, talos issue 8554), and no sysctl.d."""
    found = finding(check, facts)
    assert found.status == "fail"
    assert line in found.remediation.split("\n")


@pytest.mark.parametrize(
    ("system", "release", "package"),
    [
        ("debian 12", "6.1.0-18-rt-amd64", "linux-image-rt-amd64"),
        ("debian 12", "6.1.0-56-amd64", "linux-image-amd64"),
        ("debian 12", "6.1.0-18-cloud-arm64", "linux-image-cloud-arm64"),
        ("ubuntu 22.04", "5.15.0-91-generic", "linux-generic-hwe-22.04"),
        ("ubuntu 22.04", "5.15.0-1062-aws", "linux-aws"),
    ],
)
def test_the_kernel_installed_follows_the_running_one(system: str, release: str, package: str) -> None:
    """Clouds have kernels of their own, and so meta packages; an install that fails reboots nothing."""
    text = finding("filesystem-tmpfs", on(system, "k3s", **NO_TMPFS)).remediation
    stand_ins = f"uname() {{ echo {release}; }}; reboot() {{ echo rebooted; }}; apt-get() {{ echo $*; $works; }}\n"
    for works, end in (("true", "rebooted"), ("false", "update")):
        printed = paste(text, f"works={works}\n{stand_ins}")
        assert printed.split()[-1] == end
        assert (f" {package}\n" in printed) == (works == "true")


@pytest.mark.parametrize(
    ("system", "told"), [("debian 11", "Debian 13"), ("debian", "Debian 13"), ("ubuntu 20.04", "Ubuntu 24.04")]
)
def test_a_release_without_such_a_kernel_is_to_be_left(system: str, told: str) -> None:
    """Debian 11 has no bookworm-backports, Ubuntu 20.04 no linux-generic-hwe-22.04: nothing to paste there."""
    text = finding("filesystem-tmpfs", on(system, **NO_TMPFS)).remediation
    assert f"{told} and newer" in text
    assert "\n" not in text


def test_nothing_reboots_after_a_failed_install() -> None:
    """All of it is one chain of commands, and no prompt swallows the lines that follow."""
    text = finding("filesystem-tmpfs", on("amzn 2023", **NO_TMPFS)).remediation
    stand_ins = "dnf() { false; }; rpm() { :; }; grubby() { :; }; reboot() { echo rebooted; }\n"
    assert paste(text, stand_ins) == ""
    assert paste(text, stand_ins.replace("false", ":")) == "rebooted\n"


@pytest.mark.parametrize("text", [*(row.text for row in REMEDIATIONS), *(check.remediation for check in CHECKS)])
def test_no_prompt_swallows_what_is_pasted_behind_it(text: str) -> None:
    """Package managers are told to ask nothing, and nothing touches sysctl files of others."""
    assert not re.findall(r"^  .*(?:apt-get install|dnf (?:install|upgrade)) (?!-y )", text, re.MULTILINE)
    assert "sysctl --system" not in text


def test_the_shell_of_bottlerocket_is_in_its_admin_container() -> None:
    """Another shell there has no systemctl that reaches the node."""
    facts = on("bottlerocket 1.49.0")
    assert restart_kubelet(facts) == "  apiclient exec admin sheltie systemctl restart kubelet"
    assert restart(facts).endswith("\n  apiclient exec admin sheltie systemctl restart containerd")


@pytest.mark.parametrize("distribution", ["k3s", "rke2"])
def test_a_template_that_is_there_is_not_put_aside(distribution: str) -> None:
    """Of config-v3.toml.tmpl and config.toml.tmpl only the first is read. *Source*: k3s, pkg/agent/containerd."""
    remediation = fitting("filesystem-overlay-layers", "OverlayLayersNotIdmappable", (distribution,))
    assert remediation
    assert "config.toml.tmpl (not read while the other exists)" in remediation.text


def test_a_table_that_is_there_is_not_declared_twice() -> None:
    """TOML forbids that: containerd is not restarted with a file that it cannot read."""
    check = find("filesystem-overlay-layers")
    assert check
    assert "the table may exist already:\n" in check.remediation
    assert check.remediation.endswith("\n  containerd config dump >/dev/null && systemctl restart containerd")


def test_the_report_falls_back_to_what_holds_everywhere() -> None:
    """A platform without a row gets the text for all, else what the check declares."""
    assert "sysctl -p" in finding("kernel-user-namespaces", on("debian 12", **SWITCHED_OFF)).remediation
    gate_off = on("debian 12", kubelet=make_kubelet(version="1.31.0", gate=False))
    assert "/var/lib/kubelet/config.yaml" in finding("kubelet-user-namespaces", gate_off).remediation


@pytest.mark.parametrize("distribution", ["k3s", "rke2", "k0s", "microk8s"])
def test_a_gate_is_switched_on_in_the_distributions_own_way(distribution: str) -> None:
    """Each says where, that the API server needs it as well, and what restarts the kubelet."""
    facts = on("debian 12", kubelet=make_kubelet(version="1.31.0", gate=False, distribution=distribution))
    text = finding("kubelet-user-namespaces", facts).remediation
    assert "API server" in text
    assert "feature-gates=UserNamespacesSupport=true" in text
    assert text.endswith(restart_kubelet(facts))


def test_what_the_check_found_out_comes_first() -> None:
    """A gate that somebody switched off in a file of this node is removed there, whatever the platform."""
    kubelet = make_kubelet(version="1.34.0", gate=False, gate_configured=False, distribution="k3s")
    assert finding("kubelet-user-namespaces", on("debian 12", kubelet=kubelet)).remediation.startswith("Remove")


@pytest.mark.parametrize(
    ("system", "command"),
    [("talos v1.9.0", "talosctl logs kubelet"), ("bottlerocket 1.49.0", "apiclient exec admin sheltie journalctl")],
)
def test_a_missing_kubelet_where_a_shell_has_no_systemctl(system: str, command: str) -> None:
    """Every finding that lacks the kubelet says the same."""
    facts = on(system, kubelet=absent("processes of this node"), runtime=absent("CRI"))
    texts = {each.remediation for each in judge(facts) if each.reason == "KubeletNotFound"}
    assert len(texts) == 1
    assert command in texts.pop()


@pytest.mark.parametrize("text", [*(row.text for row in REMEDIATIONS), *(check.remediation for check in CHECKS)])
def test_commands_stand_on_lines_of_their_own(text: str) -> None:
    """Prose is wrapped, commands are not: no line is both, none ends in a space, and prose ends in a stop or colon."""
    lines = text.split("\n")
    assert not [line for line in lines if line != line.rstrip() or not line]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line[0] != " " and following[:1] == " ":
            assert line.endswith((":", ".")), line


@pytest.mark.parametrize(
    "remediation", [row for row in REMEDIATIONS if "apiVersion:" in row.text or "machine:" in row.text]
)
def test_snippets_are_yaml(remediation: Remediation) -> None:
    """What is to be saved as a file can be read back."""
    lines = [line for line in remediation.text.split("\n") if line[:1] == " " and "talosctl" not in line]
    assert isinstance(yaml.safe_load("\n".join(lines)), dict)


def test_shell_commands_are_well_formed() -> None:
    """A shell reads each line that begins with a program."""
    programs = ("apt-get ", "dnf ", "echo ", "grubby ", "mkdir ", "sed ", "snap ", "systemctl ", "version=", "grep ")
    texts = [*(row.text for row in REMEDIATIONS), *(check.remediation for check in CHECKS)]
    blocks = {
        "\n".join(line for line in text.split("\n") if line.strip().startswith((*programs, "kernel=")))
        for text in texts
    }
    assert len(blocks) > 10
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None, exclude_characters="\0"), min_size=1, max_size=40))
def test_quoted_is_one_word_on_one_line(path: str) -> None:
    """Bash gives the path back, byte by byte; nothing in it ends the line or the word."""
    try:
        wanted = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return  # no file is called so: such a surrogate stands for no byte
    word = quoted(path)
    assert word.isprintable()
    answer = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert answer.stdout == wanted


def test_a_plain_path_stays_as_it_is() -> None:
    """What needs no quotes gets none."""
    assert quoted("/proc/sys") == "/proc/sys"
    assert quoted("/a b") == shlex.quote("/a b")
    assert quoted("/a\n  rm -rf /") == r"$'/a\x0a  rm -rf /'"


@given(st.text(st.characters(codec=None)))
def test_inline_begins_no_line(text: str) -> None:
    """Whatever a node calls a file, it stays within the sentence."""
    assert "\n" not in inline(text)
    assert len(inline(text)) == len(text)


@pytest.mark.parametrize("evil", ["/x\n  rm -rf /", "/x\r\n  reboot", "/x\u2028  reboot"])
def test_no_name_of_the_nodes_becomes_a_command(evil: str) -> None:
    """Paths and handler names that hold a line break begin no line of a remediation."""
    runtime = make_runtime()
    handler = runtime.handlers.value[0]  # type: ignore[index]
    hostile = replace(handler, binary=Reading("CRI", evil), user_namespaces=False, oci_idmap=Reading("features", False))
    other = replace(handler, name=evil)
    facts = make_facts(runtime=replace(runtime, handlers=Reading("CRI", (hostile, other))))
    for asked in ("", "kata"):
        lines = [line.strip() for each in judge(facts, asked) for line in each.remediation.splitlines()]
        assert not [line for line in lines if line.startswith(("rm ", "reboot"))]


UNIT = Reading("/proc/800/cgroup", "snap.kubelet-eks.daemon.service")


def test_the_kubelets_own_unit_is_restarted() -> None:
    """EKS on Ubuntu has the kubelet in a snap: no unit is called kubelet there (eksctl issue 820)."""
    gate_off = make_kubelet(version="1.31.0", gate=False, unit=UNIT)
    facts = on("ubuntu 24.04", kubelet=gate_off)
    assert restart_kubelet(facts) == "  systemctl restart snap.kubelet-eks.daemon"
    assert finding("kubelet-user-namespaces", facts).remediation.endswith(
        "\n  systemctl restart snap.kubelet-eks.daemon"
    )
    pending = make_kubelet(executable=DropIn(path="/snap/kubelet-eks/225/kubelet", newer=True), unit=UNIT)
    text = finding("kubelet-configuration-pending", on("ubuntu 24.04", kubelet=pending)).remediation
    assert text.endswith("\n  systemctl restart snap.kubelet-eks.daemon")
    unknown = make_kubelet(version="1.31.0", gate=False)
    assert finding("kubelet-user-namespaces", on("ubuntu 24.04", kubelet=unknown)).remediation.endswith(
        " restart kubelet"
    )


def test_the_runtimes_own_unit_is_restarted() -> None:
    """Canonical Kubernetes has containerd in a snap; on others it is what /etc/systemd calls so."""
    own = Reading("/proc/700/cgroup", "snap.k8s.containerd.service")
    behind = make_handler(user_namespaces=False)
    handlers = Reading("CRI", (behind,))
    for unit, name in ((own, "snap.k8s.containerd"), (absent("/proc/700/cgroup"), "containerd")):
        runtime = make_runtime(handlers=handlers, confinement=make_confinement(unit=unit))
        text = finding("runtime-user-namespaces", on("ubuntu 24.04", runtime=runtime)).remediation
        assert text.endswith(f"systemctl restart {name}")


NESTED = {
    "container": make_kernel(container="docker"),
    "wsl": make_kernel(release="5.15.167.4-microsoft-standard-WSL2", container="wsl"),
}


@pytest.mark.parametrize("where", NESTED)
@pytest.mark.parametrize("system", ["debian 12", "ubuntu 22.04", "amzn 2023"])
def test_a_node_that_is_a_container_has_the_kernel_of_its_machine(where: str, system: str) -> None:
    """On kind and WSL no package of the node changes the kernel, and a reboot inside helps nobody."""
    for overrides in (NO_TMPFS, NOT_IDMAPPED):
        facts = on(system, kernel=NESTED[where], **overrides)
        assert platforms_of(facts)[0] == where
        texts = [each.remediation for each in judge(facts) if each.status == "fail"]
        assert texts
        for text in texts:
            assert not re.search(r"apt-get|dnf|reboot|grubby", text)
        assert finding("filesystem-tmpfs", facts).remediation == newest_kernel(facts)


NOT_IDMAPPED: dict[str, Any] = {
    "attempts": make_attempts(
        **{
            role.replace("-", "_"): make_refusal(role=role, errno="ENOSYS")
            for role in ("kubelet-root", "runtime-root", "overlay-layers", "tmpfs")
        }
    )
}


def test_a_node_in_a_user_namespace_of_its_machine() -> None:
    """An unprivileged LXC container is no rootless runtime: nothing in the node makes it own the file systems."""
    confinement = make_confinement(in_initial_user_namespace=False)
    probe = make_probe(in_initial_user_namespace=False)
    found = finding("runtime-confinement", on("debian 12", runtime=make_runtime(confinement=confinement), probe=probe))
    assert found.reason == "RuntimeConfined"
    assert "security.privileged=true" in found.remediation
    rootless = finding("runtime-confinement", on("debian 12", runtime=make_runtime(confinement=confinement)))
    assert "systemctl cat" in rootless.remediation


def test_the_largest_kernel_step_is_the_headline() -> None:
    """Where Linux 5.15 refuses layers and tmpfs, 5.19 would not be enough: whoever reboots wants to do so once."""
    layers, tmpfs = make_refusal(role="overlay-layers"), make_refusal(role="tmpfs", fstype="tmpfs")
    facts = on("ubuntu 22.04", attempts=make_attempts(overlay_layers=layers, tmpfs=tmpfs))
    headline, second = (finding(f"filesystem-{role}", facts) for role in ("overlay-layers", "tmpfs"))
    assert (headline.status, second.status) == ("fail", "fail")
    assert headline.remediation == second.remediation
    assert "6.3" in headline.remediation
    alone = on("ubuntu 22.04", attempts=make_attempts(overlay_layers=layers))
    assert "slow_chown" in finding("filesystem-overlay-layers", alone).remediation


def test_one_lookup() -> None:
    """What a check found out comes first, then the row of the platform, that of all platforms, and the generic text."""
    bottlerocket, debian = on("bottlerocket 1.49.0"), on("debian 12")
    disabled = ("kernel-user-namespaces", "UserNamespacesDisabled")
    assert remediation_of(*disabled, bottlerocket, "do this") == "do this"
    row = fitting(*disabled, ("bottlerocket",))
    assert row
    assert remediation_of(*disabled, bottlerocket) == row.text
    assert remediation_of(*disabled, debian) == GENERIC["kernel-user-namespaces"]
    assert remediation_of("kernel-user-namespaces", "NotTried", debian) == remediation_of(
        "ids-range", "NotTried", debian
    )


def test_every_check_has_a_generic_text() -> None:
    """And no text is of a check that is gone."""
    assert set(GENERIC) == {check.id for check in CHECKS}
    for check in CHECKS:
        assert check.remediation == GENERIC[check.id]


def test_the_command_for_k3s_and_rke2_differs_by_their_names() -> None:
    """One text serves both, with the place and the service of each."""
    rows = {(row.check, row.reason, row.platform): row for row in REMEDIATIONS}
    for check, reason in {(row.check, row.reason) for row in REMEDIATIONS if row.platform == "rke2"}:
        k3s, rke2 = (rows[check, reason, name] for name in ("k3s", "rke2"))
        for name, row in (("k3s", k3s), ("rke2", rke2)):
            assert "NAME" not in row.text
            assert "RESTART" not in row.text
            assert f"/rancher/{name}/" in row.text
        assert "k3s" not in rke2.text


def test_remedies_of_one_check() -> None:
    """`explain` lists them."""
    assert {row.platform for row in remediations_of("filesystem-tmpfs")} == {
        *("wsl", "container", "debian-12", "debian", "ubuntu-22.04", "ubuntu", "al2023"),
    }
    assert remediations_of("kubelet-running") == ()
