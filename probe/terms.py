"""Closed lists of words that facts, checks and the Report share."""

from __future__ import annotations

from typing import Literal

Status = Literal["pass", "warn", "fail", "unknown", "skipped"]
"""`skipped` means only that the question does not arise on this node; nobody having looked is `unknown`."""

Level = Literal["stateless", "projected", "local", "volumes"]
"""Levels of what works, each including the ones before it.

`stateless`: a user namespace, the image and the files that every Pod has; `projected`: tokens, Secrets and
memory-backed volumes; `local`: emptyDir and ConfigMap on disk; `volumes`: every file system mounted for Pods here.
"""
LEVELS: tuple[Level, ...] = ("stateless", "projected", "local", "volumes")

UnknownReason = Literal["KubeletNotFound", "NotPermitted", "TimedOut", "NotReadable", "NotTried", "ReportStale"]

Role = Literal["kubelet-root", "runtime-root", "overlay-layers", "tmpfs", "volume", "path"]
"""Roles of a file system for Pods of this node."""

Usable = Literal["yes", "read-only", "partly", "no"]
"""Whether Pods can use the files of a file system that was mounted with an ID mapping."""
