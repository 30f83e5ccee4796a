"""Remediations of unknown findings."""

from __future__ import annotations

from probe.checks.remedies.row import Remediation, row

_NO_KUBELET = ("", "KubeletNotFound")
_UNKNOWN = "architecture of userns-probe: what an unknown says"

UNKNOWN: tuple[Remediation, ...] = (
    row(_NO_KUBELET, "", "kubernetes.io, Troubleshooting kubeadm", """
        Before a machine joins a cluster, this is expected: the preflight part of the report shows what the machine
        allows. On a node, start the kubelet, and find out why it stopped:
          systemctl restart kubelet; journalctl -u kubelet -n 50 --no-pager
        """),
    row(("", "NotPermitted"), "", _UNKNOWN, """
        Run the probe as root on the node itself, or in a privileged container with the node's /proc at /host/proc, as
        in daemonset.yaml.
        """),
    row(("", "TimedOut"), "", _UNKNOWN, """
        Find out why the source that the evidence names does not answer (a dead server, an overloaded node), then probe
        again.
        """),
    row(("", "NotReadable"), "", _UNKNOWN, """
        Find out what is wrong with the source that the evidence names, then probe again.
        """),
    row(("", "NotTried"), "", _UNKNOWN, """
        Fix what the message names, then probe again. If it names nothing to fix, run a Pod with hostUsers: false here.
        """),
    row(("", "ReportStale"), "", _UNKNOWN, """
        See why this node's Pod of the DaemonSet writes no reports:
          kubectl -n userns-probe get pods -o wide --field-selector spec.nodeName=NODE
          kubectl -n userns-probe logs POD -c probe --tail=50
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
