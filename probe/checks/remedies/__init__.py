"""Remedies: texts and commands, fitted to the platform."""
