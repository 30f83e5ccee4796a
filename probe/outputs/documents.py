"""The Report, and whatever else is printed, for machines: JSON, YAML, and the schema of both.

Consumers ignore keys that they do not know: within one `schema` version keys are added, and none is
removed or changes its meaning.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Struct

from probe.reading import spelled_out
from probe.report import SCHEMA, FilesystemRow, Report

# YAML 1.1 and 1.2 disagree on what other words mean: `y`, `1e3`, `0o17`, `1:30`. Quoted they are strings to both.
_PLAIN_YAML = re.compile(r"(?![ynYN]\Z)[A-Za-z/][^\n]*", re.ASCII)


def render_json(value: object) -> str:
    """A Report, rows of file systems, or anything else made of Structs, as indented JSON in ASCII alone.

    What is not ASCII is escaped, because people read it on terminals too; no reader can tell the difference.
    """
    plain = msgspec.to_builtins(value)
    try:
        msgspec.json.encode(plain)  # in a hundredth of the time in which Python goes through all strings
    except (UnicodeEncodeError, OverflowError):
        plain = spelled_out(plain)
    compact = json.dumps(plain, separators=(",", ":"))
    return msgspec.json.format(compact, indent=2) + "\n"  # in C: a fourth of the time that json takes to indent


def render_yaml(value: object) -> str:
    """The same document as YAML, in ASCII alone; loading it gives what the JSON gives."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes each string that any YAML version could take for something else, and knows no aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = None if _PLAIN_YAML.fullmatch(text) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_string)
    return str(yaml.dump(builtins(value), Dumper=Dumper, sort_keys=False, width=1 << 30))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the Report; `$defs/FilesystemRow` is the schema of one row of `userns-probe path`."""
    return schema_of(SCHEMA, Report, FilesystemRow)


def schema_of(title: str, document: type[Struct], *others: type[Struct]) -> dict[str, Any]:
    """The JSON Schema of *document*, whose field `schema` is *title*; `$defs` has that of *others*, too."""
    (main, *_), definitions = msgspec.json.schema_components((document, *others), ref_template="#/$defs/{name}")
    definitions[document.__name__]["required"].insert(0, "schema")  # it has a default here, and is always there
    for definition in definitions.values():
        definition.pop("description", None)  # docstrings speak to those who work on the code
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **main, "$defs": definitions}
    return _open(json.loads(json.dumps(schema)))  # type: ignore[no-any-return] # a default of () becomes []


def _open(schema: Any) -> Any:
    """*schema* without the names that objects may have: later versions add some; msgspec lists them since 0.23."""
    if isinstance(schema, dict):
        return {key: _open(value) for key, value in schema.items() if key != "propertyNames"}
    return [_open(value) for value in schema] if isinstance(schema, list) else schema


def builtins(value: object) -> Any:
    """*value* in dictionaries, lists and clean strings."""
    return spelled_out(msgspec.to_builtins(value))
