"""A sandbox as a container runtime makes one, tried in namespaces of the probe's own."""
