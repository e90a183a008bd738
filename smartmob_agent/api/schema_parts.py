"""Pieces of which the JSON Schemas of the HTTP API are made.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import attrs

from smartmob_agent.api.kinds import KINDS

__all__ = ["Schema", "count", "document", "or_null", "ref", "request_schema", "text", "time", "url"]

Schema = Mapping[str, Any]


def ref(name: str) -> Schema:
    """Point to a schema of the description by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def document(about: str, /, *, optional: tuple[str, ...] = (), **properties: Any) -> Schema:
    """An object in an answer; further fields may come with further versions."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
    }


def text(about: str = "", **rules: object) -> Schema:
    return {"type": "string", **({"description": about} if about else {}), **rules}


def count(about: str, **rules: object) -> Schema:
    return {"type": "integer", "description": about, "minimum": 0, **rules}


def or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def url(about: str) -> Schema:
    return text(about, format="uri")


def time(about: str) -> Schema:
    return text(f"{about}; RFC 3339, in UTC.", format="date-time")


def request_schema(kind: type) -> Schema:
    """Make the schema of a request from the class that checks it."""
    types = get_type_hints(kind)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    return {
        "type": "object",
        "description": kind.__doc__,
        "properties": {
            field.name: {**_field(types[field.name]), "description": field.metadata["about"]}
            for field in fields
        },
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }


def _field(kind: Any) -> Schema:
    if get_origin(kind) is dict:
        names, values = get_args(kind)
        return {
            "type": "object",
            "propertyNames": _field(names),
            "additionalProperties": _field(values),
        }
    # What may be left out is not null where it stands: only the other type counts.
    [known] = [one for one in (kind, *get_args(kind)) if one in KINDS]
    return KINDS[known].schema
