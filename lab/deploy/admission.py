"""The shipped ValidatingAdmissionPolicy, evaluated by a CEL library as an API server does it."""

from __future__ import annotations

from functools import cache
from typing import Any

import celpy
from celpy.adapter import json_to_cel

USER = "system:serviceaccount:userns-probe:userns-probe"
NODE_NAME = "authentication.kubernetes.io/node-name"

Document = dict[str, Any]


def refusals(
    policy: Document, old: Document, new: Document, user: str = USER, node: str | None = "k8slab"
) -> list[str]:
    """The messages of all rules that refuse to let *user*, with a token bound to *node*, make *new* of *old*.

    As with `failurePolicy: Fail`, an expression that fails refuses, too.
    """
    spec = policy["spec"]
    request = {"userInfo": {"username": user, **({} if node is None else {"extra": {NODE_NAME: [node]}})}}
    known = {"object": json_to_cel(new), "oldObject": json_to_cel(old), "request": json_to_cel(request)}
    if not all(_evaluate(each["expression"], known) for each in spec["matchConditions"]):
        return []
    variables = celpy.celtypes.MapType()
    known["variables"] = variables
    for each in spec["variables"]:
        variables[celpy.celtypes.StringType(each["name"])] = _evaluate(each["expression"], known)
    return [each["message"] for each in spec["validations"] if not _holds(each["expression"], known)]


def _holds(expression: str, known: Document) -> bool:
    try:
        return bool(_evaluate(expression, known))
    except celpy.CELEvalError:
        return False


def _evaluate(expression: str, known: Document) -> Any:
    return _program(expression).evaluate(known)


@cache
def _program(expression: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))
