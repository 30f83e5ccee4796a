"""The governance inventory of a cluster: who asks for user namespaces, where it works, and what stands in the way.

It reads by GET alone and writes nothing into the cluster.
"""
