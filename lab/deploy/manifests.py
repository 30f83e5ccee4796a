"""The manifests as text, as documents, and as kustomize puts them together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.real import debian

CHECKOUT = Path(__file__).parents[2]
MANIFEST = CHECKOUT / "deploy/daemonset.yaml"
COMPONENTS = ("entering", "signals", "stale", "openshift", "before-1.30")
FILES = (
    MANIFEST,
    *(file for file in sorted((CHECKOUT / "deploy").glob("*/*.yaml")) if file.parent.name != "prometheus"),
)

# What a container is given or kept from: each needs a reason. Lists are asked item by item.
POWERS = {
    *("hostUsers", "hostPID", "hostIPC", "hostNetwork", "hostPort", "shareProcessNamespace"),
    *("privileged", "allowPrivilegeEscalation", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"),
    *("seccompProfile", "appArmorProfile", "seLinuxOptions", "procMount", "automountServiceAccountToken"),
    *("mountPropagation", "fsGroup", "supplementalGroups", "sysctls", "hostAliases", "volumeDevices"),
    *("allowPrivilegedContainer", "allowHostDirVolumePlugin", "allowedCapabilities", "seccompProfiles"),
}
POWER_LISTS = {"volumes", "volumeMounts", "add", "drop", "rules", "tolerations"}


def documents(text: str) -> list[dict[str, Any]]:
    """Every object of a manifest."""
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def by_kind(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those objects by their kind, of which there is one each."""
    kinds = [each["kind"] for each in found]
    assert len(kinds) == len(set(kinds)), kinds
    return dict(zip(kinds, found, strict=True))


def pod_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The spec of the DaemonSet's Pods."""
    return dict(by_kind(found)["DaemonSet"]["spec"]["template"]["spec"])


def container_of(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One container of a Pod's spec."""
    return next(each for each in pod["containers"] if each["name"] == name)


def render(components: tuple[str, ...], scratch: Path, kubectl: str) -> list[dict[str, Any]]:
    """What deploy/kustomization.yaml makes of these components, chosen as its first lines say."""
    shutil.copytree(CHECKOUT / "deploy", scratch / "deploy")
    file = scratch / "deploy/kustomization.yaml"
    text = file.read_text()
    for component in components:
        text, found = re.subn(rf"^  # - {re.escape(component)} ", f"  - {component} ", text, flags=re.MULTILINE)
        assert found == 1, component
    file.write_text(text)
    return documents(debian.run(kubectl, "kustomize", scratch / "deploy"))


def unexplained(text: str) -> list[str]:
    """The powers in a manifest that carry no reason, each as `line: power`.

    A reason is a comment right above it, or on one of its own lines; for items of a list on one line, that line's.
    """
    lines = text.splitlines()
    return [
        f"{first + 1}: {lines[first].strip()}"
        for each in yaml.compose_all(text)
        if each
        for first, last in _powers(each)
        if not any(" # " in line for line in lines[first : last + 1]) and not lines[first - 1].lstrip().startswith("# ")
    ]


def _powers(node: yaml.Node) -> Iterator[tuple[int, int]]:
    """First and last line of each power."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value in POWERS:
                yield name.start_mark.line, _last(value)
            elif name.value in POWER_LISTS and isinstance(value, yaml.SequenceNode):
                yield from ((item.start_mark.line, _last(item)) for item in value.value if not _deleted(item))
            yield from _powers(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _powers(item)


def _last(node: yaml.Node) -> int:
    """The last line of a value; a block ends where the next thing begins."""
    flow = isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False)
    return int(node.end_mark.line - (0 if flow else 1))


def _deleted(item: yaml.Node) -> bool:
    """Whether a patch takes this away."""
    return isinstance(item, yaml.MappingNode) and any(name.value == "$patch" for name, _ in item.value)
