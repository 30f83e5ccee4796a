"""Tables of what is known of kernels, drivers and versions of Kubernetes without a node; each row has its source."""
