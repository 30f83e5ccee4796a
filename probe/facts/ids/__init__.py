"""Host IDs: the kubelet's range, its records of Pods, and what a restart would make of them."""
