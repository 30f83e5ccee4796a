"""The Pod question."""
