"""What an engine or a builder inside a Pod with a user namespace can do on this node."""
