"""Limits that all Pods share."""

from __future__ import annotations

import pytest

from lab.factory import make_nested, make_runtime, unread
from lab.nested import judged, status


@pytest.mark.parametrize(
    ("instances", "name", "version", "expected"),
    [
        (8192, "containerd", "2.1.9", "pass"),
        (128, "containerd", "2.1.9", "warn"),
        (128, "containerd", "2.3.0", "pass"),
        (128, "cri-o", "1.36.3", "warn"),
        (128, "containerd", "unknown", "warn"),
    ],
)
def test_instances(instances: int, name: str, version: str, expected: str) -> None:
    """Few instances are enough only where each Pod has its own: from containerd 2.3 on."""
    nested = make_nested(inotify_instances=instances)
    assert status(judged("nested-budgets", nested=nested, runtime=make_runtime(name=name, version=version))) == expected


def test_unknown() -> None:
    """Without the limit, or with a low one and no runtime."""
    low = make_nested(inotify_instances=128)
    assert status(judged("nested-budgets", nested=low, runtime=unread("CRI"))) == "unknown NotPermitted"
    assert status(judged("nested-budgets", nested=make_nested(inotify_instances=unread()))) == "unknown NotPermitted"
