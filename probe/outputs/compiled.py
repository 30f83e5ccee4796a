"""The compiled template of the page: compiling it takes 2 MB, which a process that serves would hold from then on.

The image has it from `python -m probe.outputs.compiled`; anywhere else Jinja compiles the template.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

COMPILED = Path(__file__).parent / "templates" / "page.html.compiled"


class CompiledTemplates(BytecodeCache):
    """Reads the compiled template; Jinja ignores that of another template, of another Jinja and of another Python."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Put the code of COMPILED into *bucket*."""
        with suppress(OSError, ValueError, EOFError, TypeError), COMPILED.open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Nothing: a container cannot write to its image."""


class _Compiler(CompiledTemplates):
    def dump_bytecode(self, bucket: Bucket) -> None:
        with COMPILED.open("wb") as file:
            bucket.write_bytecode(file)


def compile_page() -> None:
    """Write COMPILED. *Errors*: OSError."""
    from probe.outputs import page

    COMPILED.unlink(missing_ok=True)
    environment = page.environment()
    environment.bytecode_cache = _Compiler()
    environment.get_template(page.TEMPLATE)


if __name__ == "__main__":
    compile_page()
