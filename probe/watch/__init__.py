"""The agent that probes the node again and again. The standard library alone, and `probe.host.look`."""
