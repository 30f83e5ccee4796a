"""What scripts/bench measures, always beside something else in the same run, so that a busy machine slows both."""
