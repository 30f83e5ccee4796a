"""Does a Pod with `hostUsers: false` run on this Kubernetes node, and if not, what stands in the way?"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("userns-probe")
except PackageNotFoundError:  # run from a checkout that nobody installed
    __version__ = "0+unknown"
