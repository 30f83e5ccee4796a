"""Changes that another kernel, kubelet or container runtime would bring to the node of a Report: pure."""
