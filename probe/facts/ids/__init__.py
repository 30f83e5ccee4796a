"""Host IDs: the kubelet's range, its records of Pods, and the forecast of a restart with both."""
