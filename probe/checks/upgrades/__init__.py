"""What another kernel, kubelet or container runtime would change on the node of a Report: pure."""
