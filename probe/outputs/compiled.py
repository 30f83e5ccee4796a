"""The compiled template of the page: compiling it takes 2 MB, which a process that serves would hold from then on.

The image has it from `python -m probe.outputs.compile_page`; anywhere else Jinja compiles the template.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from probe.lean_import import stand_in

with stand_in("tempfile"):  # which its own cache on disk would need
    from jinja2.bccache import Bucket, BytecodeCache

COMPILED = Path(__file__).parent / "templates" / "page.html.compiled"


class CompiledTemplates(BytecodeCache):
    """Reads the compiled template; Jinja ignores that of another template, of another Jinja and of another Python."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Put the code of COMPILED into *bucket*."""
        with suppress(OSError, ValueError, EOFError, TypeError), COMPILED.open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Nothing: a container cannot write to its image."""
