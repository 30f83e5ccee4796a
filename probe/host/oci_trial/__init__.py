"""A container made by the node's own OCI runtime, inspected from outside and deleted."""

SOURCE = "runtime trial"
"""The source of readings of the trial."""
