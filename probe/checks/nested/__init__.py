"""Checks of engines and builders that run inside a Pod with a user namespace."""
