"""Where campaigns happen: the workspace of real tests."""

from __future__ import annotations

from tests.real.conftest import bare_node, containerd, node, runtime, workspace  # noqa: F401
