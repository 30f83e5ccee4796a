"""The admission plugins of the API server itself, as Debian packages their sources: no registry here has the server.

`plugins.go` is built with them, which takes five minutes of CPU the first time.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.real import debian
from lab.real.debian import Recipe, cache, first, locked

SUITE = "sid"  # the first with the sources of 1.36, where MutatingAdmissionPolicy is v1
SOURCE = Path(__file__).with_suffix(".go")
_AS_IT_IS = Recipe(only=r"golang-.*|gogoprotobuf", finish=lambda root, target: None)
Document = dict[str, Any]


def request(document: Document, namespace: str, user: str = "somebody") -> Document:
    """A request to create *document*, as `ask` takes it."""
    placed = document | {"metadata": document["metadata"] | {"namespace": namespace}}
    return {"object": placed, "namespace": namespace, "user": user}


def ask(
    policies: Iterable[Document], namespaces: Mapping[str, Mapping[str, str]], requests: Sequence[Document]
) -> Document:
    """What the plugins make of *requests* with these policies and bindings; see plugins.go.

    *namespaces*: name -> labels. *Errors*: Unavailable.
    """
    question = {"policies": [*map(_defaulted, policies)], "namespaces": namespaces, "requests": requests}
    done = subprocess.run([program()], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return dict(json.loads(done.stdout))


def program() -> Path:
    """plugins.go, built. *Errors*: Unavailable."""
    sources = debian.fetch("golang-k8s-apiserver-dev", SUITE, _AS_IT_IS)
    compiler = debian.fetch("golang-go", SUITE, _AS_IT_IS)
    key = hashlib.sha256(SOURCE.read_bytes() + f"{sources.name} {compiler.name}".encode()).hexdigest()[:12]
    root = first(compiler.glob("usr/lib/go-1*"), "Go")
    with locked(cache("plugins")) as directory:
        built = directory / key
        if not built.exists():
            environment = os.environ | {
                "GOROOT": str(root),
                "GOPATH": str(sources / "usr/share/gocode"),
                "GOCACHE": str(directory / "go"),
                "GO111MODULE": "off",
                "CGO_ENABLED": "0",
            }
            debian.run(root / "bin/go", "build", "-o", built, SOURCE, environment=environment)
        return built


def _defaulted(document: Document) -> Document:
    """*document* with the defaults that the API server sets when it is created."""
    made = copy.deepcopy(document)
    for name in ("matchConstraints", "matchResources"):
        if matched := made["spec"].get(name):
            made["spec"][name] = {"namespaceSelector": {}, "objectSelector": {}, "matchPolicy": "Equivalent"} | matched
            for rule in matched.get("resourceRules", ()):
                rule.setdefault("scope", "*")
    return made
