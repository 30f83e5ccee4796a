"""What `judge` says of each recorded Pod is what a real kubelet, and a real API server, then did with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probe.pod.judge import judge
from probe.pod.model import Judgement
from tests.pod.recorded import manifest_of, pod_of, probed, published
from tests.test_recorded_pods import PODS

DATA = Path(__file__).parents[1] / "data"
API: dict[str, str] = json.loads((DATA / "api-validation-1.36.2.json").read_text())
FIELDS = {"filesystem": "spec.volumes[0]", "fault": ("spec.securityContext.", "spec.volumes[0]")}


def judged(pod: dict[str, Any]) -> Judgement:
    """By a probe on its node, which also tries its hostPath, and what is below."""
    manifest = pod_of(manifest_of(pod))
    paths = [volume.host_path.path for volume in manifest.spec.volumes or () if volume.host_path]
    if paths and "subPath" in pod["pod"]:
        paths.append(f"{paths[0]}/below")
    return judge(manifest, probed(pod, *paths))


def name_of(pod: dict[str, Any]) -> str:
    return f"{pod['node']}-{pod['pod']}-{pod.get('variation', '')}"


@pytest.mark.slow
@pytest.mark.parametrize("pod", PODS, ids=name_of)
def test_what_a_kubelet_did(pod: dict[str, Any]) -> None:
    """Each Pod that succeeded is said to run, each other one to fail, and for the field that was to blame."""
    judgement = judged(pod)
    worst = judgement.reasons[0]
    if pod["phase"] == "Succeeded":
        assert judgement.outcome == "runs", worst
        return
    assert judgement.outcome == "fails", worst
    blamed = {one.field: one for one in judgement.reasons if one.outcome == "fails"}
    if pod["blocked_by"] != "node":
        assert any(field.startswith(FIELDS[pod["blocked_by"]]) for field in blamed)
    else:
        assert blamed.keys() <= {"spec.hostUsers", "spec.automountServiceAccountToken"}
    assert all(one.remediation for one in blamed.values())


@pytest.mark.parametrize("pod", PODS, ids=name_of)
def test_what_annotations_can_know(pod: dict[str, Any]) -> None:
    """What the agent publishes contradicts no kubelet; what it does not publish is unknown."""
    judgement = judge(pod_of(manifest_of(pod)), published(pod))
    if pod["phase"] == "Succeeded":
        assert judgement.outcome in ("runs", "unknown"), judgement.reasons[0]
    else:
        assert judgement.outcome in ("fails", "unknown"), judgement.reasons[0]
    default = not pod.get("handler") and "path" not in pod and pod.get("blocked_by") != "fault"
    assert judgement.outcome != "unknown" or not default


SPECS: dict[str, dict[str, Any]] = {
    "hostNetwork": {"hostNetwork": True},
    "hostPID": {"hostPID": True},
    "hostIPC": {"hostIPC": True},
    "privileged": {"containers": [{"securityContext": {"privileged": True}}]},
    "volumeDevices": {"containers": [{"volumeDevices": [{"name": "v", "devicePath": "/d"}]}]},
    "procMountUnmasked-userns": {"containers": [{"securityContext": {"procMount": "Unmasked"}}]},
    "procMountUnmasked-hostusers": {
        "hostUsers": True,
        "containers": [{"securityContext": {"procMount": "Unmasked"}}],
    },
    "runAsUser-70000": {"securityContext": {"runAsUser": 70_000}},
    "fsGroup-70000": {"securityContext": {"fsGroup": 70_000}},
    "nfs-volume": {
        "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}],
        "containers": [{"volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    },
}


@pytest.mark.parametrize("case", API)
def test_what_an_api_server_refused(case: str) -> None:
    """`refused` is said of exactly those that it refused, of the field that it named, and with its words."""
    spec = {"hostUsers": False, "containers": [{"name": "c"}], **SPECS[case]}
    manifest = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}).encode()
    judgement = judge(pod_of(manifest), probed({"node": "containerd-2.1.9-kernel-6.18"}))
    said, worst = API[case], judgement.reasons[0]
    assert (judgement.outcome == "refused") == said.startswith('The Pod "x" is invalid')
    if judgement.outcome == "refused":
        path, words = said.removeprefix('The Pod "x" is invalid: ').split(": ", 1)
        assert worst.field.lower() == path.lower()
        assert words.replace('"Unmasked": ', "").startswith(worst.message.split(",")[0])
