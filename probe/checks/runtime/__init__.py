"""Checks of the container runtime and its OCI runtimes."""
