"""How a document of the HTTP API tells itself: its name, its JSON Schema and an example.  Pure.

A schema is as JSON Schema has it, but that a `Document` may stand in it for a reference to its
schema.  An example is JSON, but that a `LinkTo` may stand in it for a URL.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import attrs

from smartmob_agent.api.kinds import KINDS, SLUG_PATTERN

__all__ = [
    "EXAMPLE_DIGEST",
    "EXAMPLE_SLUG",
    "EXAMPLE_TIME",
    "NO_EXAMPLE",
    "SHA256",
    "SLUG_SCHEMA",
    "Document",
    "Field",
    "LinkTo",
    "Schema",
    "count",
    "document",
    "document_of",
    "document_with",
    "exactly_one",
    "field_of",
    "or_null",
    "request_of",
    "text",
    "time",
    "told",
    "url",
]

Schema = Mapping[str, Any]

EXAMPLE_SLUG = "hello.web.0"
"""Of the one process that the agent of all examples has, which is that of the walk-through."""
EXAMPLE_TIME = "2026-01-01T00:00:00.000Z"
EXAMPLE_DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@attrs.frozen(eq=False, kw_only=True)
class Document:
    """A schema with a name.

    example: one such document; None for no example.
    """

    name: str
    schema: Schema
    example: object = None


@attrs.frozen
class LinkTo:
    """Stands for the URL of an operation: see `Links.to`."""

    operation: str
    slug: str = ""


# Pieces of schemas


def text(about: str = "", **rules: object) -> Schema:
    return {"type": "string", **({"description": about} if about else {}), **rules}


def count(about: str, **rules: object) -> Schema:
    return {"type": "integer", "description": about, "minimum": 0, **rules}


def url(about: str) -> Schema:
    return text(about, format="uri")


def time(about: str) -> Schema:
    return text(f"{about}; RFC 3339, in UTC.", format="date-time")


def or_null(schema: Schema | Document) -> Schema:
    if (
        not isinstance(schema, Document)
        and isinstance(schema.get("type"), str)
        and "enum" not in schema
    ):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


SLUG_SCHEMA = text("`app`, a dot and `node`.", pattern=SLUG_PATTERN)
SHA256 = text(pattern="^[0-9a-f]{64}$")


def document(
    about: str, /, *, optional: tuple[str, ...] = (), **properties: Schema | Document
) -> Schema:
    """An object in an answer; further fields may come with further versions."""
    return document_with(about, properties, optional=optional)


def document_with(
    about: str, properties: Mapping[str, Schema | Document], *, optional: tuple[str, ...] = ()
) -> Schema:
    """The same."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
    }


# Documents of which each field is an attribute of a class

NO_EXAMPLE: object = object()


@attrs.frozen(kw_only=True)
class Field:
    """What there is to tell of one field.

    schema: what it may be; empty for a field of a request, whose type says it: see `KINDS`.
    about: for who reads the description of the API, where the schema has no place for it.
    example: its value in the example of the document; absent from there if it is `NO_EXAMPLE`.
    read: from what the document is about → its value.
    link: the operation that its value is a link to; then there is nothing to read.
    in_events: each event of a process has it, too.
    """

    schema: Schema | Document = attrs.field(factory=dict)
    about: str = ""
    example: object = NO_EXAMPLE
    read: Callable[[Any], object] | None = None
    link: str = ""
    in_events: bool = False


_FIELD = "field"


def told(field: Field) -> Mapping[str, Field]:
    """Return the metadata of an attribute of which this is told."""
    return {_FIELD: field}


def field_of(attribute: attrs.Attribute[Any]) -> Field:
    """Return what was told of an attribute."""
    found: Field = attribute.metadata[_FIELD]
    return found


def document_of(kind: type) -> Document:
    """Return the document of an answer, whose fields are the attributes of a class."""
    fields = {one.name: field_of(one) for one in attrs.fields(kind)}
    properties = {name: field.schema for name, field in fields.items()}
    return Document(
        name=kind.__name__,
        schema=document_with(kind.__doc__ or "", properties),
        example=_example_of(fields),
    )


@functools.cache
def request_of(kind: type) -> Document:
    """Return the document of a request from the class that checks it: one for each class."""
    types = get_type_hints(kind)
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    fields = {one.name: field_of(one) for one in attributes}
    schema = {
        "type": "object",
        "description": kind.__doc__,
        "properties": {
            name: _described(_schema_of(types[name]), field.about) for name, field in fields.items()
        },
        "required": [one.name for one in attributes if one.default is attrs.NOTHING],
        "additionalProperties": False,
        **_one_of_rule(exactly_one(kind)),
    }
    return Document(name=kind.__name__, schema=schema, example=_example_of(fields))


def exactly_one(kind: type) -> tuple[str, ...]:
    """Return the fields of a request of which exactly one must be there; mostly none."""
    names: tuple[str, ...] = getattr(kind, "EXACTLY_ONE", ())
    return names


def _one_of_rule(names: tuple[str, ...]) -> Schema:
    return {"oneOf": [{"required": [name]} for name in names]} if names else {}


def _example_of(fields: Mapping[str, Field]) -> Mapping[str, object]:
    return {
        name: LinkTo(field.link, EXAMPLE_SLUG) if field.link else field.example
        for name, field in fields.items()
        if field.link or field.example is not NO_EXAMPLE
    }


def _described(schema: Schema | Document, about: str) -> Schema:
    # Beside a reference OpenAPI 3.1 allows a description of its own.
    return (
        {"allOf": [schema], "description": about}
        if isinstance(schema, Document)
        else {**schema, "description": about}
    )


def _schema_of(kind: Any) -> Schema | Document:
    # What may be left out is not null where it stands: only the other type counts.
    for one in (kind, *get_args(kind)):
        if get_origin(one) is dict:
            names, values = get_args(one)
            return {
                "type": "object",
                "propertyNames": _schema_of(names),
                "additionalProperties": _schema_of(values),
            }
        if attrs.has(one):
            return request_of(one)
    [known] = [one for one in (kind, *get_args(kind)) if one in KINDS]
    return KINDS[known].schema
