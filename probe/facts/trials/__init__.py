"""Trials: a sandbox of the probe's own, and a container made by the node's OCI runtime."""
