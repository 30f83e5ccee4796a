"""Environment of the templates of HTML: each string that they print is made harmless and escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.outputs.text import visible

if TYPE_CHECKING:
    import jinja2


def environment_of(package: str, longest: int) -> jinja2.Environment:
    """Environment of the templates in *package*; strings go through `visible`, cut to *longest* characters."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value, longest) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
