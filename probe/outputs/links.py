"""Addresses of documentation: manual pages, KEPs, and pages of the projects that make the stack. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

_KNOWN = re.compile(
    r"(?P<url>https://(?:kubernetes\.io|github\.com/(?:kubernetes|containerd|opencontainers|containers|cri-o))"
    r"/[A-Za-z0-9._/#-]{1,200})"
    r"|(?<![\w:])(?P<man>[a-z][a-z0-9_.-]{0,40})\((?P<section>[1-8])\)"
    r"|KEP-(?P<kep>[0-9]{1,5})"
    r"|(?P<page>(?:Kubernetes documentation|kubernetes\.io), User Namespaces)"
)
"""A closed list of hosts: a report is untrusted, and shall link to no place of its own choice."""
_NO_PAGE_THERE = ("kubelet", "runc", "crun")  # man7.org has only Linux' and systemd's


class Link(Struct, frozen=True):
    """A piece of text, and its address; empty where it has none."""

    text: str
    url: str = ""


def links(documentation: str) -> list[Link]:
    """*documentation* in pieces, each with its address where one is known."""
    found, end = [], 0
    for match in _KNOWN.finditer(documentation):
        url = _address(match)
        if not url:
            continue
        found += [Link(documentation[end : match.start()])] if match.start() > end else []
        found.append(Link(match[0], url))
        end = match.end()
    return [*found, Link(documentation[end:])] if end < len(documentation) else found


def _address(match: re.Match[str]) -> str:
    if match["url"]:
        return match["url"]
    if match["man"]:
        page, section = match["man"], match["section"]
        return "" if page in _NO_PAGE_THERE else f"https://man7.org/linux/man-pages/man{section}/{page}.{section}.html"
    if match["kep"]:
        return f"https://kep.k8s.io/{match['kep']}"
    return "https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/"
