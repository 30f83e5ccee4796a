"""The inventory of a cluster: workloads that request user namespaces, where they run isolated, and why others do not.

It reads by GET alone and writes nothing into the cluster.
"""
