"""Cheroot without its own start, which asks importlib.metadata for its version: email, zipfile and csv with it."""

from __future__ import annotations

from probe.lean_import import submodules_of

with submodules_of("cheroot", __version__=""):
    from cheroot.errors import FatalSSLAlert
    from cheroot.makefile import MakeFile
    from cheroot.server import HTTPConnection, HTTPRequest
    from cheroot.ssl import Adapter
    from cheroot.wsgi import Server

__all__ = ("Adapter", "FatalSSLAlert", "HTTPConnection", "HTTPRequest", "MakeFile", "Server")
