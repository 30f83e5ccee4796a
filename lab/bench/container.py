"""The image as the root of commands: its Python, its wheels and its bytecode, beside a node that is run elsewhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from lab.bench.account import Command
from lab.deploy import image
from lab.real import kernel
from lab.reports import REPORTS
from probe.outputs.documents import render_json
from probe.report import Report

_MS_BIND = 0x1000
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostUsers: false
      containers:
      - name: web
        image: registry.example/web:1
        resources: {limits: {cpu: 500m, memory: 256Mi}}
        volumeMounts:
        - {name: cache, mountPath: /cache}
        - {name: certificates, mountPath: /certificates, readOnly: true}
        - {name: settings, mountPath: /settings}
      volumes:
      - {name: cache, emptyDir: {}}
      - {name: certificates, hostPath: {path: /etc}}
      - {name: settings, configMap: {name: settings}}
"""
_MANIFEST, _REPORT = "/mnt/pod.yaml", "/mnt/report.json"
_PROC = "/mnt/proc"  # where the node's /proc is, as /host/proc is in the DaemonSet


def enter(rootfs: str) -> None:
    """Give this process mounts of its own in which *rootfs* can be a root directory."""
    kernel.own_mount_namespace()
    for source, target, fstype in (
        (rootfs, rootfs, ""),
        ("proc", f"{rootfs}/proc", "proc"),
        ("/dev", f"{rootfs}/dev", ""),
        ("/sys", f"{rootfs}/sys", ""),
        ("bench", f"{rootfs}/mnt", "tmpfs"),
    ):
        kernel.mount(source, target, fstype, 0 if fstype else kernel.MS_REC | _MS_BIND)
    Path(f"{rootfs}{_MANIFEST}").write_text(MANIFEST)
    Path(f"{rootfs}{_REPORT}").write_text(render_json(_fresh(REPORTS["ready"])))
    os.mkdir(f"{rootfs}{_PROC}")
    kernel.mount("proc", f"{rootfs}{_PROC}", "proc")


def _fresh(report: Report) -> Report:
    """*report* as if a probe had written it now: `pod` believes none that has expired."""
    now = datetime.now(UTC)
    later = now + timedelta(days=1)
    return msgspec.structs.replace(report, probed_at=now.isoformat(), expires_at=later.isoformat())


class Image:
    """The image as this checkout has it, and the commands that are measured in it."""

    def __init__(self) -> None:
        """Build it. *Errors*: Unavailable."""
        built = image.build()
        self.rootfs = str(built.rootfs)
        given = dict(variable.split("=", 1) for variable in built.configuration["Env"])
        self._environment = given | {"USERNS_PROBE_PROC": _PROC, "LC_ALL": "C.UTF-8"}
        self.bare = self._command("python3", "-c", "pass")
        self.probe = self._command("userns-probe", "-o", "json")
        self.pod = self._command("userns-probe", "pod", _MANIFEST)
        """Judges one manifest for the node."""
        self.pod_by_report = self._command("userns-probe", "pod", "--report", _REPORT, _MANIFEST)

    def _command(self, name: str, *arguments: str) -> Command:
        return Command((f"/opt/userns-probe/bin/{name}", *arguments), self._environment, self.rootfs)
