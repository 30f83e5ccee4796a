"""Remediations: texts and commands by platform."""
