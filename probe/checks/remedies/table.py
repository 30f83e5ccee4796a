"""What to do, in the words of the platform: each text with the page that says so."""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple


class Remedy(NamedTuple):
    """One row of the table."""

    check: str
    """Empty: whatever check gives the reason."""
    reason: str
    """Empty: of a warning."""
    platform: str
    """One of PLATFORMS. Empty: all that have no row of their own."""
    source: str
    text: str


def fitting(check: str, reason: str, platforms: tuple[str, ...] = ()) -> Remedy | None:
    """The row for that reason on the first of *platforms* that has one, else the row for all platforms."""
    rows = [row for row in REMEDIES if row.check in (check, "") and row.reason == reason]
    return next((row for platform in (*platforms, "") for row in rows if row.platform == platform), None)


def remedies_of(check: str) -> tuple[Remedy, ...]:
    """The rows of one check."""
    return tuple(row for row in REMEDIES if row.check == check)


def _row(where: tuple[str, str], platform: str, source: str, text: str) -> Remedy:
    """*text* with its sentences on one line each: whoever shows them wraps them."""
    lines: list[str] = []
    for line in dedent(text).strip("\n").split("\n"):
        if lines and " " not in (line[0], lines[-1][0]):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return Remedy(*where, platform, source, "\n".join(lines))


_NO_KUBELET = ("", "KubeletNotFound")
_DISABLED = ("kernel-user-namespaces", "UserNamespacesDisabled")
_KUBELET_OLD = ("kubelet-user-namespaces", "KubeletTooOld")
_GATE_OFF = ("kubelet-user-namespaces", "KubeletGateOff")
_CGROUP_V1 = ("kubelet-cgroup-v1", "")
_RUNTIME_OLD = ("runtime-user-namespaces", "RuntimeTooOld")
_LAYERS = ("filesystem-overlay-layers", "OverlayLayersNotIdmappable")
_TMPFS = ("filesystem-tmpfs", "TmpfsNotIdmappable")

_TALOS = "Talos documentation, Kubernetes Guides, User Namespaces"
_NODEADM = "awslabs/amazon-eks-ami, nodeadm/doc/examples.md"
_OPENSHIFT = "OpenShift 4.20 documentation, Running pods in Linux user namespaces; openshift/openshift-docs#84966"
_K3S = "K3s documentation, Configuration Options, Multiple Config Files"
_RKE2 = "RKE2 documentation, Configuration Options, Multiple Config Files"
_SLOW_CHOWN = "containerd, docs/user-namespaces"

REMEDIES: tuple[Remedy, ...] = (
    _row(_NO_KUBELET, "talos", "Talos documentation, talosctl service, talosctl logs", """
        See why the kubelet does not run:
          talosctl service kubelet
          talosctl logs kubelet
        """),
    _row(_NO_KUBELET, "bottlerocket", "bottlerocket-admin-container, CHANGELOG, 0.7.3: commands through sheltie", """
        See why the kubelet does not run:
          apiclient exec admin sheltie journalctl -u kubelet -n 50 --no-pager
        """),
    _row(_DISABLED, "talos", _TALOS, """
        Talos allows none by default. Patch the machine configuration with:
          machine:
            sysctls:
              user.max_user_namespaces: "11255"
        saved as userns.yaml, by:
          talosctl patch mc --patch @userns.yaml
        """),
    _row(_DISABLED, "bottlerocket", "Bottlerocket, apiclient, JSON input; Bottlerocket, Kernel settings", """
        Bottlerocket allows none by default. On this node:
          apiclient set --json '{"kernel": {"sysctl": {"user.max_user_namespaces": "16384"}}}'
        In the user data of new nodes:
          [settings.kernel.sysctl]
          "user.max_user_namespaces" = "16384"
        """),
    _row(_DISABLED, "openshift", "OpenShift documentation, Postinstallation machine configuration tasks", """
        Apply with oc apply -f; the nodes of that role are drained and rebooted one after the other:
          apiVersion: machineconfiguration.openshift.io/v1
          kind: MachineConfig
          metadata:
            name: 99-worker-user-namespaces
            labels:
              machineconfiguration.openshift.io/role: worker
          spec:
            config:
              ignition:
                version: 3.2.0
              storage:
                files:
                - path: /etc/sysctl.d/99-user-namespaces.conf
                  mode: 0644
                  contents:
                    source: data:,user.max_user_namespaces%3D65536%0A
        """),
    _row(_KUBELET_OLD, "openshift", _OPENSHIFT, """
        Upgrade to OpenShift 4.20 or newer, where user namespaces are generally available.
        """),
    _row(_GATE_OFF, "openshift", _OPENSHIFT, """
        Upgrade to OpenShift 4.20 or newer, where user namespaces are generally available.
        """),
    _row(_GATE_OFF, "", "kubernetes.io, Set Kubelet Parameters Via A Configuration File", """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here in the kubelet's
        configuration (with kubeadm /var/lib/kubelet/config.yaml):
          featureGates:
            UserNamespacesSupport: true
        then:
          systemctl restart kubelet
        """),
    _row(_GATE_OFF, "k3s", _K3S, """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here:
          mkdir -p /etc/rancher/k3s/config.yaml.d
          echo 'kubelet-arg+: ["feature-gates=UserNamespacesSupport=true"]' > /etc/rancher/k3s/config.yaml.d/gate.yaml
          systemctl try-restart k3s k3s-agent
        """),
    _row(_GATE_OFF, "rke2", _RKE2, """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here:
          mkdir -p /etc/rancher/rke2/config.yaml.d
          echo 'kubelet-arg+: ["feature-gates=UserNamespacesSupport=true"]' > /etc/rancher/rke2/config.yaml.d/gate.yaml
          systemctl try-restart rke2-server rke2-agent
        """),
    _row(_GATE_OFF, "k0s", "k0s documentation, Configuration options for worker nodes", """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here by one more argument of
        k0s worker:
          --kubelet-extra-args=--feature-gates=UserNamespacesSupport=true
        then:
          systemctl try-restart k0sworker k0scontroller
        """),
    _row(_GATE_OFF, "microk8s", "MicroK8s documentation, Configuring MicroK8s services", """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here:
          echo --feature-gates=UserNamespacesSupport=true >> /var/snap/microk8s/current/args/kubelet
          snap restart microk8s.daemon-kubelite
        """),
    _row(_GATE_OFF, "talos", _TALOS, """
        Switch the gate on, as it is from Kubernetes 1.33 on. Patch the machine configuration of all nodes with:
          cluster:
            apiServer:
              extraArgs:
                feature-gates: UserNamespacesSupport=true
          machine:
            kubelet:
              extraConfig:
                featureGates:
                  UserNamespacesSupport: true
        saved as gate.yaml, by:
          talosctl patch mc --patch @gate.yaml
        """),
    _row(_GATE_OFF, "al2023", _NODEADM, """
        Switch the gate on, as it is from Kubernetes 1.33 on, in the API server too, and here in the user data of new
        nodes:
          apiVersion: node.eks.aws/v1alpha1
          kind: NodeConfig
          spec:
            kubelet:
              config:
                featureGates:
                  UserNamespacesSupport: true
        """),
    _row(_CGROUP_V1, "k3s", _K3S, """
        Boot with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1), or before the next restart:
          mkdir -p /etc/rancher/k3s/config.yaml.d
          echo 'kubelet-arg+: ["fail-cgroupv1=false"]' > /etc/rancher/k3s/config.yaml.d/cgroup-v1.yaml
        """),
    _row(_CGROUP_V1, "rke2", _RKE2, """
        Boot with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1), or before the next restart:
          mkdir -p /etc/rancher/rke2/config.yaml.d
          echo 'kubelet-arg+: ["fail-cgroupv1=false"]' > /etc/rancher/rke2/config.yaml.d/cgroup-v1.yaml
        """),
    _row(_CGROUP_V1, "rhel", "RHEL documentation, Managing, monitoring, and updating the kernel, Mounting cgroups", """
        Boot with cgroup v2, on the drained node, or set failCgroupV1: false in the kubelet's configuration before its
        next restart:
          grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 && reboot
        """),
    _row(_RUNTIME_OLD, "k3s", "K3s documentation, Advanced Options, Configuring containerd", """
        Upgrade K3s to v1.31.6+k3s1, to v1.32.2+k3s1, or newer: these come with containerd 2.0.
        """),
    _row(_LAYERS, "k3s", f"K3s documentation, Advanced Options, Base template; {_SLOW_CHOWN}", """
        Let containerd copy layers, in /var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl. Where that
        file exists, or else config.toml.tmpl (beside the other it is not read), add only the table to it, or only
        slow_chown where it has the table:
          {{ template "base" . }}
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          systemctl try-restart k3s k3s-agent
        """),
    _row(_LAYERS, "rke2", f"RKE2 documentation, Advanced Options, Base template; {_SLOW_CHOWN}", """
        Let containerd copy layers, in /var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.tmpl. Where that
        file exists, or else config.toml.tmpl (beside the other it is not read), add only the table to it, or only
        slow_chown where it has the table:
          {{ template "base" . }}
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          systemctl try-restart rke2-server rke2-agent
        """),
    _row(_LAYERS, "k0s", f"k0s documentation, Runtime, k0s managed dynamic runtime configuration; {_SLOW_CHOWN}", """
        Let containerd copy layers, in /etc/k0s/containerd.d/slow-chown.toml:
          version = 3
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          systemctl try-restart k0sworker k0scontroller
        """),
    _row(_LAYERS, "microk8s", f"MicroK8s documentation, Configuring MicroK8s services; {_SLOW_CHOWN}", """
        Let containerd copy layers, in /var/snap/microk8s/current/args/containerd-template.toml, in this table, which
        may be there already:
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          snap restart microk8s.daemon-containerd
        """),
    _row(_LAYERS, "talos", f"Talos documentation, NVIDIA GPU, 20-customization.part; {_SLOW_CHOWN}", """
        Let containerd copy layers. Patch the machine configuration with:
          machine:
            files:
              - op: create
                path: /etc/cri/conf.d/20-customization.part
                content: |
                  [plugins.'io.containerd.snapshotter.v1.overlayfs']
                    slow_chown = true
        saved as slow-chown.yaml, by:
          talosctl patch mc --patch @slow-chown.yaml
        """),
    _row(_LAYERS, "al2023", f"{_NODEADM}; {_SLOW_CHOWN}", """
        Let containerd copy layers, in the user data of new nodes:
          apiVersion: node.eks.aws/v1alpha1
          kind: NodeConfig
          spec:
            containerd:
              config: |
                [plugins.'io.containerd.snapshotter.v1.overlayfs']
                  slow_chown = true
        """),
    _row(_TMPFS, "debian-12", "backports.debian.org, Instructions", """
        Boot Linux 6.3 or later: Debian 12 has it with bookworm-backports among its sources; Debian 13 comes with it. On
        the drained node:
          apt-get update && apt-get install -y -t bookworm-backports "linux-image-$(uname -r | cut -d- -f3-)" && reboot
        """),
    _row(_TMPFS, "debian", "Debian 13 release notes, What's new in Debian 13", """
        Boot Linux 6.3 or later. Debian 13 and newer come with it, Debian 12 has it in bookworm-backports, older
        releases have none: upgrade those.
        """),
    _row(_TMPFS, "ubuntu-22.04", "Canonical Kernel documentation, HWE kernels; packages.ubuntu.com, linux-aws", r"""
        Boot Linux 6.3 or later: Ubuntu 22.04 has 6.8 as hardware enablement kernel (linux-generic-hwe-22.04), and in
        the kernels of clouds (linux-aws, linux-azure, linux-gcp). On the drained node this installs the one that
        follows the running kernel:
          kernel=$(uname -r | cut -d- -f3- | sed -E 's/^(generic|lowlatency)$/&-hwe-22.04/')
          apt-get update && apt-get install -y --install-recommends "linux-$kernel" && reboot
        """),
    _row(_TMPFS, "ubuntu", "Ubuntu 24.04 LTS release notes, Linux kernel", """
        Boot Linux 6.3 or later. Ubuntu 24.04 and newer come with it, Ubuntu 22.04 has it as hardware enablement kernel,
        older releases have none: upgrade those.
        """),
    _row(_TMPFS, "al2023", "Amazon Linux 2023 release notes, 2023.7: Updating an existing instance to kernel 6.12", r"""
        Boot Linux 6.12, in new nodes from an image that has it; drain this one, then:
          dnf install -y kernel6.12 &&
          version=$(rpm -q --qf '%{version}-%{release}.%{arch}\n' kernel6.12 | sort -V | tail -1) &&
          grubby --set-default "/boot/vmlinuz-$version" && reboot
        """),
)  # fmt: skip
