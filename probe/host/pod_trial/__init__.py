"""A Pod made by the node's own container runtime, looked at from outside, and removed."""
