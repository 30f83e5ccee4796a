"""Does a Pod with `hostUsers: false` run on this Kubernetes node, and if not, what stands in the way?"""

__version__ = "0.1.0"
