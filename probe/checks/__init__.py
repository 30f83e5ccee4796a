"""What is thought of a node: pure functions of its facts."""
