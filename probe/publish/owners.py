"""The field managers of a Node: which of its keys are ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from probe.outputs.annotations import CONDITION, FIELD_MANAGER, KEYS, LABEL, PREFIX
from probe.untyped import at, list_of, mapping

REFRESHED_AT = f"{PREFIX}refreshed-at"
OWN_ANNOTATIONS = frozenset({REFRESHED_AT, *(f"{PREFIX}{key}" for key in KEYS)})
_NOBODY = "before-first-apply"
"""Manager that the API server makes up, at an apply, for all fields of an object without managedFields."""


class Owned(Struct, frozen=True, kw_only=True):
    """Names that this field manager applied, and those of ours that no manager has: the Node lost its managedFields."""

    annotations: frozenset[str]
    labels: frozenset[str]
    condition: bool


def owned_by_us(node: Any) -> Owned:
    """What of *node*, a Node as JSON, is ours; malformed fields belong to nobody."""
    metadata, status = _applied(node, "", "f:metadata"), _applied(node, "status", "f:status")
    return Owned(
        annotations=_names(metadata.get("f:annotations")) | (OWN_ANNOTATIONS - _managed(node, "f:annotations")),
        labels=_names(metadata.get("f:labels")) | ({LABEL} - _managed(node, "f:labels")),
        condition=_has_condition(status) or not any(map(_has_condition, _fields(node, "f:status"))),
    )


def _applied(node: Any, subresource: str, field: str) -> Mapping[str, Any]:
    """Part *field* of the managedFields entry that this field manager applied to *subresource*."""
    for entry in _entries(node):
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource") or "") == (
            FIELD_MANAGER,
            "Apply",
            subresource,
        ):
            return mapping(at(entry, "fieldsV1", field))
    return {}


def _managed(node: Any, kind: str) -> frozenset[str]:
    """Names of that *kind* which some manager has."""
    none: frozenset[str] = frozenset()
    return none.union(*(_names(fields.get(kind)) for fields in _fields(node, "f:metadata")))


def _fields(node: Any, field: str) -> Iterable[Mapping[str, Any]]:
    return [mapping(at(one, "fieldsV1", field)) for one in _entries(node) if one.get("manager") != _NOBODY]


def _entries(node: Any) -> Iterator[Mapping[str, Any]]:
    return map(mapping, list_of(at(node, "metadata", "managedFields")))


def _has_condition(status: Mapping[str, Any]) -> bool:
    return f'k:{{"type":"{CONDITION}"}}' in mapping(status.get("f:conditions"))


def _names(fields: Any) -> frozenset[str]:
    return frozenset(name[2:] for name in mapping(fields) if name.startswith("f:"))
