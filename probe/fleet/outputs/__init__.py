"""The inventory for people and machines, each a function of it."""
