"""A process that sees none of its own files, as in the mount namespace of a node."""

from __future__ import annotations

import sys
from typing import NoReturn


class _Refuse:
    def find_spec(self, name: str, *_: object) -> NoReturn:
        raise ImportError(f"{name} would be read from the node")


def refuse_imports() -> None:
    """Let every import of this process fail from now on; to be called in a child."""
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _Refuse())  # type: ignore[arg-type]
