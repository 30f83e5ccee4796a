"""Does a Pod with `hostUsers: false` run on this Kubernetes node, and if not, why?"""

__version__ = "0.1.0"
