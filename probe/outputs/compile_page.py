"""Compile the template of the page, when the image is built: `python -m probe.outputs.compile_page`."""

from __future__ import annotations

from jinja2.bccache import Bucket

from probe.outputs import compiled
from probe.outputs.page import environment


class _Compiler(compiled.CompiledTemplates):
    def dump_bytecode(self, bucket: Bucket) -> None:
        with compiled.COMPILED.open("wb") as file:
            bucket.write_bytecode(file)


def compile_page() -> None:
    """Write `compiled.COMPILED`. *Errors*: OSError."""
    compiled.COMPILED.unlink(missing_ok=True)
    made = environment()
    made.bytecode_cache = _Compiler()
    made.get_template("page.html.j2")


if __name__ == "__main__":
    compile_page()
