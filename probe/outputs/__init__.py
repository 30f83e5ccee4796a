"""What is said of a node: each output is a function of a Report."""
