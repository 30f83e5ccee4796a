"""What is known about a node, without opinion."""
