"""CEL as an API server evaluates it, with optional values and JSONPatch, by Google's C++ implementation."""

from __future__ import annotations

from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, struct_pb2

Document = dict[str, Any]
_FIELDS = (("op", 9, ""), ("path", 9, ""), ("from", 9, ""), ("value", 11, ".google.protobuf.Value"))


class Failed(Exception):
    """The expression could not be evaluated; the API server then goes by `failurePolicy`."""


def evaluate(expression: str, known: Document) -> Any:
    """Value of *expression*; *known*: its variables, such as `object`. *Errors*: Failed."""
    value = _compiled(expression).eval(data=known)
    if value.type() == cel.Type.ERROR:
        raise Failed(str(value.value()))
    return value.plain_value()


def matches(policy: Document, request: Document) -> bool:
    """Whether all match conditions hold. *request*: `object`, `oldObject` and `request`. *Errors*: Failed."""
    return all(evaluate(one["expression"], request) for one in policy["spec"].get("matchConditions", ()))


def refusals(policy: Document, request: Document) -> list[str]:
    """Messages of the validations that do not hold, or fail. *Errors*: Failed, of a condition or a variable."""
    if not matches(policy, request):
        return []
    known: Document = request | {"variables": {}}
    for one in policy["spec"].get("variables", ()):
        known["variables"][one["name"]] = evaluate(one["expression"], known)
    return [one["message"] for one in policy["spec"]["validations"] if not _holds(one["expression"], known)]


def patched(policy: Document, request: Document) -> Document:
    """The object after the policy's patches; the same without one. *Errors*: Failed."""
    new = request["object"]
    if matches(policy, request):
        for mutation in policy["spec"]["mutations"]:
            for patch in evaluate(mutation["jsonPatch"]["expression"], request | {"object": new}):
                assert patch.op == "add", patch.op
                keys = [key.replace("~1", "/").replace("~0", "~") for key in patch.path.split("/")[1:]]
                new = _with(new, keys, json_format.MessageToDict(patch.value))
    return new


def _holds(expression: str, known: Document) -> bool:
    try:
        return bool(evaluate(expression, known))
    except Failed:
        return False


def _with(document: Document, keys: list[str], value: Any) -> Document:
    """A copy with *value* there; the API server refuses a patch below what is missing (RFC 6902, 4.1)."""
    key, *rest = keys
    return document | {key: _with(document[key], rest, value) if rest else value}


@cache
def _compiled(expression: str) -> cel.Expression:
    return _environment().compile(expression)


@cache
def _environment() -> cel.Env:
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(
        name="jsonpatch.proto", syntax="proto3", dependency=[struct_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name="JSONPatch")
    for number, (name, kind, type_name) in enumerate(_FIELDS, 1):
        message.field.add(name=name, number=number, type=kind, label=1, type_name=type_name or None)
    pool.Add(file)
    string = cel.Type.STRING
    escape = cel.Overload("escape_key", string, [string], False, lambda key: key.replace("~", "~0").replace("/", "~1"))
    return cel.NewEnv(
        descriptor_pool=pool,
        variables=dict.fromkeys(("object", "oldObject", "request", "variables"), cel.Type.DYN),
        extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()],
        functions=[cel.FunctionDecl("jsonpatch.escapeKey", [escape])],
    )
