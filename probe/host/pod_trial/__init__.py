"""A Pod made by the node's own container runtime, looked at from outside, and removed."""

SOURCE = "pod trial"
"""The source of readings of the trial."""
