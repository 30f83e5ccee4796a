"""Files of nodes that several tests read: where each is from stands beside it."""

from __future__ import annotations

HEADER = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
RECORDED_CONFIG = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/{0}/{0}.sock
cgroupDriver: cgroupfs
failCgroupV1: false
cgroupRoot: /k8slab
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}}}
clusterDNS: [10.96.0.10]
syncFrequency: 10s
evictionHard: {{"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"}}
"""
# What the installation script of k3s writes (get.k3s.io), with arguments for kubelet and storage.
UNIT = """[Unit]
Description=Lightweight Kubernetes

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
KillMode=process
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s \\
    server \\
	'--kubelet-arg=feature-gates=UserNamespacesSupport=true' \\
	'--kubelet-arg' \\
	'max-pods=60' \\
	'--docker' \\

"""
# As `nvidia-ctk cdi generate` writes it, shortened.
NVIDIA_YAML = b"""---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
containerEdits:
    hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
          args: [nvidia-cdi-hook, update-ldcache]
"""
DRA_JSON = (
    b'{"cdiVersion":"0.6.0","kind":"gpu.example.com/claim","devices":[],"containerEdits":{"env":["A=createContainer"]}}'
)
