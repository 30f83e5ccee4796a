"""Remediations for the kubelet, by platform."""

from __future__ import annotations

from probe.checks.remedies.row import Remediation, k3s_and_rke2, row

_KUBELET_OLD = ("kubelet-user-namespaces", "KubeletTooOld")
_GATE_OFF = ("kubelet-user-namespaces", "KubeletGateOff")
_CGROUP_V1 = ("kubelet-cgroup-v1", "")
_TALOS = "Talos documentation, Kubernetes Guides, User Namespaces"
_NODEADM = "awslabs/amazon-eks-ami, nodeadm/doc/examples.md"
_OPENSHIFT = "OpenShift 4.20 documentation, Running pods in Linux user namespaces; openshift/openshift-docs#84966"

KUBELET: tuple[Remediation, ...] = (
    row(_KUBELET_OLD, "openshift", _OPENSHIFT, """
        Upgrade to OpenShift 4.20 or newer, where user namespaces are generally available.
        """),
    row(_GATE_OFF, "openshift", _OPENSHIFT, """
        Upgrade to OpenShift 4.20 or newer, where user namespaces are generally available.
        """),
    row(_GATE_OFF, "", "kubernetes.io, Set Kubelet Parameters Via A Configuration File", """
        Switch the gate on (it is on by default from Kubernetes 1.33), in the API server and here in the kubelet's
        configuration (with kubeadm /var/lib/kubelet/config.yaml):
          featureGates:
            UserNamespacesSupport: true
        then:
          systemctl restart kubelet
        """),
    *k3s_and_rke2(_GATE_OFF, "Configuration Options, Multiple Config Files", """
        Switch the gate on (it is on by default from Kubernetes 1.33), in the API server and here:
          mkdir -p /etc/rancher/NAME/config.yaml.d
          echo 'kubelet-arg+: ["feature-gates=UserNamespacesSupport=true"]' > /etc/rancher/NAME/config.yaml.d/gate.yaml
          RESTART
        """),
    row(_GATE_OFF, "k0s", "k0s documentation, Configuration options for worker nodes", """
        Switch the gate on (it is on by default from Kubernetes 1.33), in the API server and here by one more argument
        of k0s worker:
          --kubelet-extra-args=--feature-gates=UserNamespacesSupport=true
        then:
          systemctl try-restart k0sworker k0scontroller
        """),
    row(_GATE_OFF, "microk8s", "MicroK8s documentation, Configuring MicroK8s services", """
        Switch the gate on (it is on by default from Kubernetes 1.33), in the API server and here:
          echo --feature-gates=UserNamespacesSupport=true >> /var/snap/microk8s/current/args/kubelet
          snap restart microk8s.daemon-kubelite
        """),
    row(_GATE_OFF, "talos", _TALOS, """
        Switch the gate on (it is on by default from Kubernetes 1.33). Patch the machine configuration of all nodes
        with:
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
    row(_GATE_OFF, "al2023", _NODEADM, """
        Switch the gate on (it is on by default from Kubernetes 1.33), in the API server and here in the user data of
        new nodes:
          apiVersion: node.eks.aws/v1alpha1
          kind: NodeConfig
          spec:
            kubelet:
              config:
                featureGates:
                  UserNamespacesSupport: true
        """),
    *k3s_and_rke2(_CGROUP_V1, "Configuration Options, Multiple Config Files", """
        Boot with cgroup v2 (kernel parameter systemd.unified_cgroup_hierarchy=1), or before the next restart:
          mkdir -p /etc/rancher/NAME/config.yaml.d
          echo 'kubelet-arg+: ["fail-cgroupv1=false"]' > /etc/rancher/NAME/config.yaml.d/cgroup-v1.yaml
        """),
    row(_CGROUP_V1, "rhel", "RHEL documentation, Managing, monitoring, and updating the kernel, Mounting cgroups", """
        Set failCgroupV1: false in the kubelet's configuration before its next restart, or boot with cgroup v2, on the
        drained node:
          grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 && reboot
        """),
)  # fmt: skip
