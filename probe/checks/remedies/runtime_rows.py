"""Remediations for the container runtime, by platform."""

from __future__ import annotations

from probe.checks.remedies.row import Remediation, k3s_and_rke2, row

_RUNTIME_OLD = ("runtime-user-namespaces", "RuntimeTooOld")
_LAYERS = ("filesystem-overlay-layers", "OverlayLayersNotIdmappable")
_NODEADM = "awslabs/amazon-eks-ami, nodeadm/doc/examples.md"
_SLOW_CHOWN = "containerd, docs/user-namespaces"
_DOCKER = "docs.docker.com, Install Docker Engine; containerd issue 4581"

RUNTIME: tuple[Remediation, ...] = (
    row(_RUNTIME_OLD, "", "containerd, docs/getting-started", """
        On the drained node, upgrade containerd to 2.0 or newer, with runc 1.2, crun 1.9 or newer, then:
          containerd config dump >/dev/null && systemctl restart containerd
        """),
    row(_RUNTIME_OLD, "debian", f"packages.debian.org, containerd; {_DOCKER}", """
        Debian 12 and 13 have containerd 1.6 and 1.7: add Docker's repository (https://docs.docker.com/engine/install/debian/),
        whose containerd.io is 2.0 or newer and contains runc 1.2 or newer. Keep your configuration, or remove cri from
        disabled_plugins in the package's. On the drained node:
          apt-get update && apt-get install -y containerd.io
          containerd config dump >/dev/null && systemctl restart containerd
        """),
    row(_RUNTIME_OLD, "ubuntu", _DOCKER, """
        If Ubuntu's own package is older than 2.0, add Docker's repository
        (https://docs.docker.com/engine/install/ubuntu/), whose containerd.io is 2.0 or newer and contains runc 1.2 or
        newer. Keep your configuration, or remove cri from disabled_plugins in the package's. On the drained node:
          apt-get update && apt-get install -y containerd.io
          containerd config dump >/dev/null && systemctl restart containerd
        """),
    row(_RUNTIME_OLD, "rhel", _DOCKER, """
        Add Docker's repository (https://docs.docker.com/engine/install/rhel/), whose containerd.io is 2.0 or newer and
        contains runc 1.2 or newer. Keep your configuration, or remove cri from disabled_plugins in the package's. On
        the drained node:
          dnf install -y containerd.io
          containerd config dump >/dev/null && systemctl restart containerd
        """),
    row(_RUNTIME_OLD, "al2023", "Amazon EKS documentation, Kubernetes versions, 1.34", """
        Replace the node by one from an AMI with containerd 2.1, such as those for Kubernetes 1.34 and newer.
        """),
    row(_RUNTIME_OLD, "k3s", "K3s documentation, Advanced Options, Configuring containerd", """
        Upgrade K3s to v1.31.6+k3s1, v1.32.2+k3s1 or newer, which ship containerd 2.0.
        """),
    *k3s_and_rke2(_LAYERS, f"Advanced Options, Base template; {_SLOW_CHOWN}", """
        Let containerd copy layers: write this to /var/lib/rancher/NAME/agent/etc/containerd/config-v3.toml.tmpl. If
        that file, or else config.toml.tmpl (not read while the other exists), exists already, add only the table to it,
        or only slow_chown to its table:
          {{ template "base" . }}
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          RESTART
        """),
    row(_LAYERS, "k0s", f"k0s documentation, Runtime, k0s managed dynamic runtime configuration; {_SLOW_CHOWN}", """
        Let containerd copy layers: write this to /etc/k0s/containerd.d/slow-chown.toml:
          version = 3
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          systemctl try-restart k0sworker k0scontroller
        """),
    row(_LAYERS, "microk8s", f"MicroK8s documentation, Configuring MicroK8s services; {_SLOW_CHOWN}", """
        Let containerd copy layers: set this in /var/snap/microk8s/current/args/containerd-template.toml, where the
        table may exist already:
          [plugins.'io.containerd.snapshotter.v1.overlayfs']
            slow_chown = true
        then:
          snap restart microk8s.daemon-containerd
        """),
    row(_LAYERS, "talos", f"Talos documentation, NVIDIA GPU, 20-customization.part; {_SLOW_CHOWN}", """
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
    row(_LAYERS, "al2023", f"{_NODEADM}; {_SLOW_CHOWN}", """
        Let containerd copy layers, in the user data of new nodes:
          apiVersion: node.eks.aws/v1alpha1
          kind: NodeConfig
          spec:
            containerd:
              config: |
                [plugins.'io.containerd.snapshotter.v1.overlayfs']
                  slow_chown = true
        """),
)  # fmt: skip
