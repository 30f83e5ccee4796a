"""Remediations of unknown findings."""

from __future__ import annotations

from probe.checks.remedies.row import Remediation, row

_NO_KUBELET = ("", "KubeletNotFound")
_UNKNOWN = "architecture of userns-probe: what an unknown says"

UNKNOWN: tuple[Remediation, ...] = (
    row(_NO_KUBELET, "", "kubernetes.io, Troubleshooting kubeadm", """
        Before this machine joins a cluster, this is expected: the report says what the machine would allow. On a node,
        start the kubelet, and find out why it stopped:
          systemctl restart kubelet; journalctl -u kubelet -n 50 --no-pager
        """),
    row(("", "NotPermitted"), "", _UNKNOWN, """
        Run the probe as root on the node itself, or in a privileged container with the node's /proc at /host/proc, as
        in daemonset.yaml.
        """),
    row(("", "TimedOut"), "", _UNKNOWN, """
        See why the source that the evidence names does not answer (a dead server, an overloaded node), then probe
        again.
        """),
    row(("", "NotReadable"), "", _UNKNOWN, """
        Fix what the evidence says of its source, then probe again.
        """),
    row(("", "NotTried"), "", _UNKNOWN, """
        Fix the findings above, then probe again.
        """),
    row(("", "ReportStale"), "", _UNKNOWN, """
        See why no newer report was written:
          kubectl -n userns-probe logs daemonset/userns-probe -c probe --tail=50
        """),
    row(_NO_KUBELET, "talos", "Talos documentation, talosctl service, talosctl logs", """
        See why the kubelet does not run:
          talosctl service kubelet
          talosctl logs kubelet
        """),
    row(_NO_KUBELET, "bottlerocket", "bottlerocket-admin-container, CHANGELOG, 0.7.3: commands through sheltie", """
        See why the kubelet does not run:
          apiclient exec admin sheltie journalctl -u kubelet -n 50 --no-pager
        """),
)  # fmt: skip
