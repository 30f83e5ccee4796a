"""Real Pods on a node that is broken one way at a time, and what the probe predicted of them."""
