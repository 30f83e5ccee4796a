"""The container runtime: its daemon, configuration, OCI runtimes and CRI's answer."""
