"""JSON objects, read strictly: RFC 8259 leaves to each reader what this one refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smartmob_agent.errors import BadRequestError

__all__ = ["JSON_NAMES", "json_path", "parse_object"]

JSON_NAMES: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
"""What Python makes of JSON → what a human calls it."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; RFC 8259 in its strict reading: UTF-8, unique names, no NaN."""
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise BadRequestError("expected JSON, found arrays or objects nested too deep") from None
    except UnicodeDecodeError as exc:
        raise BadRequestError(
            f"expected UTF-8, found an invalid byte at position {exc.start}"
        ) from None
    except ValueError as exc:
        raise BadRequestError(f"expected JSON: {exc}") from None
    if not isinstance(data, dict):
        raise BadRequestError(f"expected an object, found {JSON_NAMES[type(data)]}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!a} stands twice in one object")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def json_path(parent: str, key: str) -> str:
    """Return where a key is, as errors say it."""
    plain = key.isascii() and key.isidentifier()
    return f"{parent}.{key}" if plain else f"{parent}[{key!a}]"
