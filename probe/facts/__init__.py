"""Facts about a node, without judgement."""
