"""Outputs: each is a pure function of a Report."""
