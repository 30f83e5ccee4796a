"""`kubectl get node` as the measure of a small question to a cluster: Debian's program, and a TLS server for it."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from lab.bench.account import Command
from lab.real import debian
from lab.real.debian import Unavailable

SUITES = ("sid", "trixie")
_COLUMNS = ("Name", "Status", "Roles", "Age", "Version")
_CELLS = ("node-1", "Ready", "<none>", "1d", "v1.36.2")
_META = {"name": "node-1", "uid": "1016ccda-7106-423b-8e89-c559de9a4139", "resourceVersion": "1"}
_NODES = {"name": "nodes", "singularName": "node", "namespaced": False, "kind": "Node", "verbs": ["get", "list"]}
_ANSWERS: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_NODES]},
    "/api/v1/nodes": {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": [
            {"name": name, "type": "string", "format": "", "description": "", "priority": 0} for name in _COLUMNS
        ],
        "rows": [
            {
                "cells": _CELLS,
                "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": _META},
            }
        ],
    },
}


def program() -> tuple[str, str]:
    """Path and version of Debian's kubectl. *Errors*: Unavailable."""
    problems = []
    for suite in SUITES:
        try:
            found = debian.fetch("kubernetes-client", suite) / "usr/bin/kubectl"
            said = debian.run(found, "version", "--client", "--output=json")
            return str(found), str(json.loads(said)["clientVersion"]["gitVersion"])
        except Unavailable as problem:
            problems.append(f"{suite}: {problem}")
    raise Unavailable("no kubectl; " + "; ".join(problems))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What discovery and a list of Nodes ask for."""
        answer = _ANSWERS.get(self.path.partition("?")[0])
        content = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def get_node(path: str, home: Path) -> Iterator[Command]:
    """The command, its discovery kept in *home*, and for as long as the block lasts a server that answers it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(home / "ca.crt"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        options = (
            f"--server=https://127.0.0.1:{server.server_port}",
            f"--certificate-authority={home}/ca.crt",
            "--token=bench",
        )
        environment = {"HOME": str(home), "PATH": os.defpath}
        yield Command((path, *options, "get", "nodes"), environment)
    finally:
        server.shutdown()
        server.server_close()
