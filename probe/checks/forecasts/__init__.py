"""Forecasts of a boot and of a restart of the container runtime, by the checks of today on the facts of then."""
