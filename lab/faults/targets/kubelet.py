"""What a kubelet was told and what it keeps: flags, YAML, JSON, units, arguments, accounts and ranges of IDs."""

from __future__ import annotations

import json
from typing import Any

import yaml

from lab.faults.targets.target import DATA, HOSTS, Target, files, lines, parsed
from lab.samples import DRA_JSON, HEADER, NVIDIA_YAML, RECORDED_CONFIG, UNIT
from probe.facts import kernel
from probe.facts.defaults import MAX_UINT32
from probe.facts.devices.specification import parse_specification
from probe.facts.filesystems.volumes import _driver_name
from probe.facts.hooks import has_oci_hook
from probe.facts.ids import owners
from probe.facts.ids.manager import IdPool, Obstacle, parse_getsubids, take_up
from probe.facts.ids.records import parse_pod_userns
from probe.facts.kubelet import facts as kubelet
from probe.facts.kubelet import k3s as kubelet_k3s
from probe.facts.kubelet import k3s_arguments
from probe.facts.kubelet import versions as kubelet_versions
from probe.facts.kubelet.config import (
    Configuration,
    merge_patch,
    parse_configuration,
    parse_document,
    parse_endpoint,
    parse_flags,
    parse_gates,
)
from probe.facts.model import PodUserns, UsernsFile
from probe.reading import Reading

KUBELET = "rubbish in the kubelet's flags and files"
IDS = "rubbish in accounts, ranges and records of IDs"
HOOKS = "rubbish in specifications of devices and hooks"
GATE = kubelet_versions.GATE
FEATURES = f"{HEADER}featureGates: {{{GATE}: true, AllBeta: false}}\nuserNamespaces: {{idsPerPod: 131072}}\n"
POOL = IdPool(first=65536, count=65536 * 110, ids_per_pod=65536, configured=True)
USERNS = '{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}'  # noqa: E501


def read_configuration(data: bytes) -> None:
    """Of the gate it says what another reader finds in the same file, or that this is not known."""
    parsed(lambda text: len(parse_configuration(text)), data)
    try:
        document = parse_configuration(data.decode())
    except ValueError:
        return
    configuration = Configuration(Reading("flags", {}), Reading("files", document))
    for field, kind in (("maxPods", int), ("containerRuntimeEndpoint", str), ("userNamespaces.idsPerPod", int)):
        assert type(configuration.find(None, field, kind, Reading("default", kind())).value) in (kind, type(None))
    merge_patch(document, document)
    gates, told = configuration.gates().value, read_by_others(data.decode()).get("featureGates")
    if gates is not None:
        assert gates.get(GATE, "silent") == (told or {}).get(GATE, "silent")


def read_by_others(text: str) -> Any:
    """The first document; what is JSON may have tabs, which YAML forbids."""
    try:
        return json.loads(text)
    except ValueError:
        return next(yaml.load_all(text, yaml.CSafeLoader))


def read_flags(data: bytes) -> None:
    """A command line, and what the flags in it say."""
    flags = parsed(
        lambda content: parse_flags(content.decode("utf-8", "surrogateescape").split("\0")), data, text=False
    )
    if flags is None:
        return
    configuration = Configuration(Reading("cmdline", flags), Reading("files", {}))
    for name, kind in (("max-pods", int), ("fail-cgroupv1", bool), ("container-runtime-endpoint", str)):
        configuration.find(name, "nothing", kind, Reading("default", kind())).parse(str)
    configuration.gates()
    parsed(parse_gates, data)
    parsed(parse_endpoint, data)


def read_k3s(data: bytes) -> None:
    """The ways in which distributions hide the arguments of their kubelet."""
    parsed(kubelet_k3s.parse_exec_start, data)
    parsed(lambda text: kubelet.parse_arguments_file(text, {"SNAP": "/snap"}), data)
    parsed(lambda text: _k3s_flags(parse_document(text)), data)


def _k3s_flags(document: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    options = k3s_arguments.merge_options([document, document])
    flags = k3s_arguments.parse_arguments(options, options.get("kubelet-arg", []), {})
    return k3s_arguments.kubelet_flags(flags.get("kubelet-arg", ()), "unix:///run/k3s.sock", "/managed")


def read_version(data: bytes) -> None:
    """`--version` of a kubelet; whatever passes for one has a rule."""
    version = parsed(kubelet_versions.parse_version, data)
    if version is not None:
        kubelet_versions.version_rule(kubelet_versions.parse_release(version))
        kernel._word(version)


def read_userns(data: bytes) -> None:
    """A record of a Pod: numbers that the kernel knows, or the kubelet's last words."""
    content: Reading[PodUserns] = Reading("userns", data).parse(parse_pod_userns)
    userns = content.value or PodUserns()
    for mapping in (*userns.uid_mappings, *userns.gid_mappings):
        assert all(0 <= number <= MAX_UINT32 for number in (mapping.host_id, mapping.container_id, mapping.length))
    file = UsernsFile(pod="1bfd8a8e", content=content, malformed=content.value is None)
    for end in take_up(POOL, (file,), (1, 36)):
        assert isinstance(end, Obstacle)
        assert end.words.isprintable()


def read_subids(data: bytes) -> None:
    """Lines of users and of ranges; IDs have at most ten digits."""
    for entry in parsed(lambda text: owners.parse_subids(text, "/etc/subuid"), data) or ():
        assert 0 <= entry.first < 10**10
    for account in parsed(lambda text: owners.parse_accounts(text, "/etc/passwd"), data) or ():
        assert 0 <= account.id < 10**10
    found = parsed(parse_getsubids, data)
    assert found is None or all(0 <= number <= MAX_UINT32 for number in found)


def read_hooks(data: bytes) -> None:
    """Hooks are searched, CDI specifications are parsed, whatever they are."""
    has_oci_hook(data)
    found = parsed(lambda content: parse_specification(content, "/etc/cdi/x.yaml"), data, text=False)
    assert found is None or found.kind.isprintable()
    name = parsed(_driver_name, data, text=False)
    assert name is None or name.isprintable()


TARGETS = (
    Target(
        name="kubelet-config",
        group=KUBELET,
        attempt=read_configuration,
        corpus=lambda: [*files(HOSTS, "*/root/etc/**/kubelet.yaml")(), *lines(FEATURES, RECORDED_CONFIG)()],
        tokens=("featureGates:", GATE, "AllBeta", "maxPods: ", "KubeletConfiguration", "kubelet.config.k8s.io/v1"),
    ),
    Target(
        name="kubelet-flags",
        group=KUBELET,
        attempt=read_flags,
        corpus=lambda: [
            *files(HOSTS, "*/root/proc/*/cmdline")(),
            *lines("--feature-gates=A=true,B=false", "unix:///run/x.sock")(),
        ],
        tokens=("--", "--feature-gates=", "--config", "unix://", "=true", "\0--max-pods\0"),
    ),
    Target(
        name="k3s",
        group=KUBELET,
        attempt=read_k3s,
        corpus=lines(UNIT, "kubelet-arg:\n- max-pods=200\n- feature-gates=A=true\n", "--v=2 --x='y z' ${SNAP}\n"),
        tokens=("ExecStart=", "k3s server", "kubelet-arg+:", "disable-agent: true", "${SNAP}", "\\\n"),
    ),
    Target(
        "kubelet-version", KUBELET, read_version, lines("Kubernetes v1.36.2\n", "k3s version v1.33.1+k3s1 (99d9)\n")
    ),
    Target("userns", IDS, read_userns, lambda: [*lines(USERNS)(), *files(DATA, "kubelet-userns.json")()], ("hostId",)),
    Target(
        name="subids",
        group=IDS,
        attempt=read_subids,
        corpus=lambda: [
            *files(HOSTS, "*/root/etc/passwd", "*/root/etc/sub?id")(),
            *lines("0: kubelet 65536 7208960\n", "kubelet:65536:7208960\n", "kubelet:x:999:999::/:/bin/sh\n")(),
        ],
        tokens=("kubelet", ":", "65536", "PATH=/usr/bin"),
    ),
    Target(
        name="hooks",
        group=HOOKS,
        attempt=read_hooks,
        corpus=lambda: [NVIDIA_YAML, DRA_JSON, *lines('{"driverName":"ebs.csi.aws.com","volumeHandle":"v"}')()],
        tokens=("hookName: createContainer", "kind: nvidia.com/gpu", "# ", "driverName"),
    ),
)
