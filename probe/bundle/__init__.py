"""Bundles: all that a probe read of a node, in one file, for a bug report."""
