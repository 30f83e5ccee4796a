"""Facts about nested containers."""
