"""Cheroot without its own start, which asks importlib.metadata for its version: email, zipfile and csv with it.

Nor with more_itertools, of which it needs nothing, logging, of which it needs levels, and ssl, of which it asks the
version for its tests: 2 MB as long as it serves without TLS.
"""

from __future__ import annotations

from probe.lean_import import left_out, stand_in, submodules_of

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
ERROR = _LEVELS["ERROR"]
"""The level of an error in its log."""

with (
    submodules_of("cheroot", __version__=""),
    left_out("ssl"),
    stand_in("more_itertools"),
    stand_in("logging", statistics={}, **_LEVELS),
):
    from cheroot.errors import FatalSSLAlert
    from cheroot.makefile import MakeFile
    from cheroot.server import HTTPConnection, HTTPRequest
    from cheroot.ssl import Adapter
    from cheroot.wsgi import Server

__all__ = ("ERROR", "Adapter", "FatalSSLAlert", "HTTPConnection", "HTTPRequest", "MakeFile", "Server")
