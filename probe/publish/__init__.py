"""Publishing to the Node object: desired and observed state, and the requests between them."""
