"""Kubelets inside of MicroShift and of KubeEdge: their facts from the program around them.

*Source*: openshift/microshift, `pkg/node/kubelet.go`; kubeedge, `pkg/apis/componentconfig/edgecore/v1alpha2`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from probe.facts.kubelet.config import Flags, parse_document, parse_flags
from probe.facts.kubelet.files import MICROSHIFT_CONFIG, read_file
from probe.facts.kubelet.find import Daemon
from probe.host.host import Host
from probe.reading import Reading, or_problem

EMBEDDED = ("microshift", "kubeedge")
"""Distributions whose kubelet has neither a command line nor a --version."""

_EDGECORE_CONFIG = "/etc/kubeedge/config/edgecore.yaml"
_CRIO = "unix:///var/run/crio/crio.sock"
_OCP_VERSION = r"(?m)^Base OCP Version: 4\.(\d{1,3})\."
_KUBERNETES_OF_OCP = 13
"""OpenShift 4.y comes with Kubernetes 1.(y + 13). *Source*: OpenShift documentation, release notes."""


def embedded_version(host: Host, daemon: Daemon) -> Reading[str]:
    """Minor version of the kubelet, `1.33`, where it follows from the version of the program around it."""
    pid = daemon.process.pid
    if daemon.distribution == "microshift":
        return host.run_daemon(pid, "version").parse(lambda output: parse_ocp_version(output.stdout))
    return Reading.without(f"/proc/{pid}/exe", "not-readable", "KubeEdge does not report the version of its kubelet")


def parse_ocp_version(text: str) -> str:
    """The Kubernetes release of the OpenShift release in `microshift version`. *Errors*: ValueError without one."""
    found = re.search(_OCP_VERSION, text)
    if not found:
        raise ValueError(f"no version of OpenShift in {text[:80]!r}")
    return f"1.{int(found[1]) + _KUBERNETES_OF_OCP}"


def embedded_flags(host: Host, daemon: Daemon) -> tuple[Reading[Flags], tuple[str, ...]]:
    """The flags that the program around the kubelet gives it, and the files in which they stand."""
    if daemon.distribution == "microshift":
        flags: Flags = {"config": (MICROSHIFT_CONFIG,), "container-runtime-endpoint": (_CRIO,)}
        return Reading("openshift/microshift, pkg/node/kubelet.go", flags), ()
    path = _edgecore_path(daemon)
    return _edged(host, daemon).parse(_edged_flags), (path,)


def read_edgecore(host: Host, daemon: Daemon) -> Reading[dict[str, Any]]:
    """The kubelet's configuration inside that of edgecore."""
    return _edged(host, daemon).parse(lambda edged: dict(_mapping(edged.get("tailoredKubeletConfig"))))


@or_problem
def _edged(host: Host, daemon: Daemon) -> Reading[Mapping[str, Any]]:
    document = read_file(host, daemon, _edgecore_path(daemon)).parse(parse_document)
    return document.parse(lambda content: _mapping(_mapping(content.get("modules")).get("edged")))


def _edged_flags(edged: Mapping[str, Any]) -> Flags:
    given, configured = _mapping(edged.get("tailoredKubeletFlag")), _mapping(edged.get("tailoredKubeletConfig"))
    flags: Flags = {}
    if isinstance(root := given.get("rootDirectory"), str):
        flags["root-dir"] = (root,)
    endpoint = configured.get("containerRuntimeEndpoint") or given.get("remoteRuntimeEndpoint")
    if isinstance(endpoint, str):
        flags["container-runtime-endpoint"] = (endpoint,)
    return flags


def _edgecore_path(daemon: Daemon) -> str:
    given = parse_flags(daemon.process.argv[1:]).get("config", (_EDGECORE_CONFIG,))[-1]
    return given if given.startswith("/") else _EDGECORE_CONFIG


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("is not a mapping")
    return value
