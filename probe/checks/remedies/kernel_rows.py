"""Remediations for the kernel and its limits, by platform."""

from __future__ import annotations

from probe.checks.remedies.row import Remediation, row

_DISABLED = ("kernel-user-namespaces", "UserNamespacesDisabled")
_TMPFS = ("filesystem-tmpfs", "TmpfsNotIdmappable")
_TALOS = "Talos documentation, Kubernetes Guides, User Namespaces"

KERNEL: tuple[Remediation, ...] = (
    row(_DISABLED, "container", "user_namespaces(7); namespaces(7), The /proc/sys/user directory", """
        The node is a container: the limit belongs to the machine around it. There:
          echo 'user.max_user_namespaces = 65536' > /etc/sysctl.d/99-zz-user.max_user_namespaces.conf
          sysctl -p /etc/sysctl.d/99-zz-user.max_user_namespaces.conf
        """),
    row(_TMPFS, "container", "kind documentation, Known Issues: the nodes share the kernel of their host", """
        The node is a container: boot Linux 6.3 or newer on the machine around it. Packages installed in the node do not
        change its kernel.
        """),
    row(_TMPFS, "wsl", "Microsoft Learn, Basic commands for WSL; Advanced settings configuration in WSL", """
        Update the kernel of WSL in a Windows shell; if that is older than 6.3, build one and name it in .wslconfig
        (kernel=):
          wsl --update && wsl --shutdown
        """),
    row(("runtime-confinement", "RuntimeConfined"), "container", "LXD documentation, Instance options, security", """
        The node is a container in a user namespace of the machine around it, which owns the file systems. Use a virtual
        machine, or make the container privileged if you trust everything that runs in it (LXD, on the machine):
          lxc config set NAME security.privileged=true && lxc restart NAME
        """),
    row(_DISABLED, "talos", _TALOS, """
        Talos allows no user namespaces by default. Patch the machine configuration with:
          machine:
            sysctls:
              user.max_user_namespaces: "11255"
        saved as userns.yaml, by:
          talosctl patch mc --patch @userns.yaml
        """),
    row(_DISABLED, "bottlerocket", "Bottlerocket, apiclient, JSON input; Bottlerocket, Kernel settings", """
        Bottlerocket allows no user namespaces by default. On this node:
          apiclient set --json '{"kernel": {"sysctl": {"user.max_user_namespaces": "16384"}}}'
        In the user data of new nodes:
          [settings.kernel.sysctl]
          "user.max_user_namespaces" = "16384"
        """),
    row(_DISABLED, "openshift", "OpenShift documentation, Postinstallation machine configuration tasks", """
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
    row(_TMPFS, "debian-12", "backports.debian.org, Instructions", """
        Boot Linux 6.3 or newer: upgrade to Debian 13, or add bookworm-backports to the APT sources, then on the drained
        node:
          apt-get update && apt-get install -y -t bookworm-backports "linux-image-$(uname -r | cut -d- -f3-)" && reboot
        """),
    row(_TMPFS, "debian", "Debian 13 release notes, What's new in Debian 13", """
        Boot Linux 6.3 or newer: Debian 13 and newer ship it, Debian 12 has it in bookworm-backports. Upgrade older
        releases.
        """),
    row(_TMPFS, "ubuntu-22.04", "Canonical Kernel documentation, HWE kernels; packages.ubuntu.com, linux-aws", r"""
        Boot Linux 6.3 or newer: Ubuntu 22.04 has 6.8 as its hardware enablement kernel (linux-generic-hwe-22.04) and as
        its cloud kernels (linux-aws, linux-azure, linux-gcp). On the drained node this installs the successor of the
        running kernel:
          kernel=$(uname -r | cut -d- -f3- | sed -E 's/^(generic|lowlatency)$/&-hwe-22.04/')
          apt-get update && apt-get install -y --install-recommends "linux-$kernel" && reboot
        """),
    row(_TMPFS, "ubuntu", "Ubuntu 24.04 LTS release notes, Linux kernel", """
        Boot Linux 6.3 or newer: Ubuntu 24.04 and newer ship it, Ubuntu 22.04 has it as its hardware enablement kernel.
        Upgrade older releases.
        """),
    row(_TMPFS, "al2023", "Amazon Linux 2023 release notes, 2023.7: Updating an existing instance to kernel 6.12", r"""
        Boot Linux 6.12: create new nodes from an AMI that has it, or on this node, drained:
          dnf install -y kernel6.12 &&
          version=$(rpm -q --qf '%{version}-%{release}.%{arch}\n' kernel6.12 | sort -V | tail -1) &&
          grubby --set-default "/boot/vmlinuz-$version" && reboot
        """),
)  # fmt: skip
