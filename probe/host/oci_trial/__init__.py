"""A container made by the node's own OCI runtime, inspected from outside and deleted."""
