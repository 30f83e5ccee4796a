"""Preflight: what a machine without a kubelet (an image build, before `kubeadm join`) would allow. Pure."""

from __future__ import annotations

from probe.finding import Finding
from probe.outputs.view import Row, layer_of, tried, words_of
from probe.report import FilesystemRow, Report


def preflight(report: Report) -> list[Row]:
    """Rows for a machine without a kubelet: kernel, file systems and container runtime; empty on a node."""
    if report.reason != "KubeletNotFound":
        return []
    kernel = [one for one in report.findings if layer_of(one, report) == "kernel"]
    tried = [one for one in report.filesystems if one.role not in ("volume", "path")]
    return [_kernel_preflight(kernel), _filesystem_preflight(tried), _runtime_preflight(report)]


def _kernel_preflight(findings: list[Finding]) -> Row:
    for status in ("fail", "unknown"):
        for finding in findings:
            if finding.status == status and finding.gating:
                return Row(finding.status, "kernel", finding.message)
    if not any(finding.status == "pass" and finding.gating for finding in findings):
        return Row("unknown", "kernel", "not known")
    return Row("pass", "kernel", "supports Pods with user namespaces")


def _filesystem_preflight(rows: list[FilesystemRow]) -> Row:
    results = {row.result for row in rows}
    if results & {"refused", "unknown"}:
        return Row("fail" if "refused" in results else "unknown", "file systems", tried(rows))
    if not rows:
        return Row("unknown", "file systems", "not known")
    kinds = ", ".join(dict.fromkeys(row.fstype for row in rows if row.fstype))
    return Row("pass", "file systems", f"idmapped mounts supported at the default paths ({kinds})")


def _runtime_preflight(report: Report) -> Row:
    if not report.facts.runtime_name:
        return Row("unknown", "container runtime", "not known: no kubelet names its socket")
    name = words_of(report.facts.runtime_name, report.facts.runtime_version)
    claims = {handler.user_namespaces for handler in report.facts.oci_runtimes if not handler.handler}
    if True in claims:
        return Row("pass", "container runtime", f"{name} supports user namespaces")
    if False in claims:
        return Row("fail", "container runtime", f"{name} does not support user namespaces with its OCI runtime")
    return Row("unknown", "container runtime", f"{name}: support for user namespaces is not known")
