"""The Report for machines: JSON, YAML and their schema say the same, whatever a node holds."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.reports import PATH_ROWS, REPORTS, make_report
from probe.outputs.documents import json_schema, render_json, render_yaml
from probe.reading import spelled_out
from probe.report import FilesystemRow, Report
from tests.extent import EXAMPLES
from tests.outputs.test_outputs_terminal import hostile_reports

SCHEMA = Path(__file__).parents[2] / "docs/report.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
ROW_VALIDATOR = jsonschema.Draft202012Validator(json_schema() | {"$ref": "#/$defs/FilesystemRow"})

# Words that one YAML version or another takes for something else than a string.
WORDS = (
    "y n Y N yes no on off true null ~ 1e3 0o17 0x1f 1:30 08 1.36 .inf .nan - -- --- ... ? : & * ! | > % @ ` # = << "
    "2026-11-21 \ud800 \ufeff \x7f 😀"
)
tricky = st.sampled_from([*WORDS.split(), "", " a", "a ", "a: b", "a #b", "- a", "\n", "a\nb\n", "\x85"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | tricky,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | tricky, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=EXAMPLES)
@given(documents)
def test_json_is_indented_as_json_does_it(document: object) -> None:
    """Byte by byte, so that no consumer finds a difference when another library indents."""
    assert render_json(document) == json.dumps(spelled_out(document), indent=2) + "\n"


@pytest.mark.parametrize("name", REPORTS)
def test_json_is_the_report(name: str) -> None:
    """The JSON decodes, strictly, to the Report that it was made from."""
    text = render_json(REPORTS[name])
    assert msgspec.json.decode(text, type=Report, strict=True) == REPORTS[name]
    assert text.endswith("}\n")
    assert text.isascii()


@pytest.mark.parametrize("name", REPORTS)
def test_reports_fit_the_schema(name: str) -> None:
    """Each example validates against the schema that is checked in."""
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(render_json(REPORTS[name])))


def test_path_rows_fit_the_schema() -> None:
    """Each row of `userns-probe path -o json` is a FilesystemRow of the schema."""
    rows = json.loads(render_json(PATH_ROWS))
    assert msgspec.convert(rows, list[FilesystemRow]) == list(PATH_ROWS)
    for row in rows:
        ROW_VALIDATOR.validate(row)


def test_checked_in_schema_is_the_types() -> None:
    """docs/report.schema.json is what the types give (scripts/update-golden writes it anew)."""
    assert json.loads(SCHEMA.read_text()) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_schema_lets_keys_be_added() -> None:
    """Evolution is additive: a consumer with this schema accepts a later report with keys that it does not know."""
    report = json.loads(render_json(make_report()))
    report["novelty"] = {"restart": "well"}
    report["findings"][0]["new"] = 1
    report["facts"]["new"] = None
    VALIDATOR.validate(report)
    assert msgspec.convert(report, Report) == make_report()


@pytest.mark.parametrize("key", Report.__struct_fields__)
def test_schema_misses_every_key(key: str) -> None:
    """No top-level key may be left out."""
    report = json.loads(render_json(make_report()))
    del report[key]
    assert not VALIDATOR.is_valid(report)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "userns-probe.io/v2"),
        (("verdict",), "maybe"),
        (("verdict",), None),
        (("duration_seconds",), "fast"),
        (("findings", 0, "status"), "ok"),
        (("filesystems", 0, "result"), "yes"),
        (("filesystems", 0, "usable"), "maybe"),
        (("levels", "stateless"), True),
        (("node", "boot_id"), None),
    ],
)
def test_schema_refuses(path: tuple, value: object) -> None:
    """Words outside of the closed lists, and values of another type, do not validate."""
    report = copy.deepcopy(json.loads(render_json(make_report())))
    place = report
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(report)


@settings.get_profile("hostile")
@given(hostile_reports())
def test_hostile_report_as_documents(report: Report) -> None:
    """Whatever a node holds, both documents are plain ASCII, say the same, validate, and decode strictly."""
    text, other = render_json(report), render_yaml(report)
    assert all(line.isascii() and line.isprintable() for line in (*text.split("\n"), *other.split("\n")))
    document = json.loads(text)
    assert yaml.safe_load(other) == document
    VALIDATOR.validate(document)
    msgspec.json.decode(text, type=Report, strict=True)


@settings(max_examples=3 * EXAMPLES)
@given(documents)
def test_yaml_says_what_json_says(document: object) -> None:
    """Loading the YAML gives exactly what loading the JSON gives."""
    text = render_yaml(document)
    assert yaml.safe_load(text) == json.loads(render_json(document))
    assert text.isascii()


@pytest.mark.parametrize("word", ["y", "N", "1e3", "0o17", "1:30", "08", "1.36", "yes", "~", ""])
def test_yaml_quotes_what_others_would_misread(word: str) -> None:
    """A string that another YAML version takes for a number or a boolean is quoted."""
    assert render_yaml({"key": word}).strip() in (f'key: "{word}"', f"key: '{word}'")


def test_yaml_repeats_instead_of_pointing() -> None:
    """The same list twice is written twice: no anchors, which some readers refuse."""
    same = ["a"]
    assert "&" not in render_yaml({"one": same, "two": same})


def test_yaml_keeps_the_order() -> None:
    """The verdict comes before the findings, as in the Report."""
    assert list(yaml.safe_load(render_yaml(make_report()))) == list(Report.__struct_fields__)
