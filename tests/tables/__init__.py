"""Tables of what is known without a node."""
