"""Keys and values: what may be stored, and as which text."""

from __future__ import annotations

import json
from typing import Any

from smartmob_agent.errors import BodyTooLargeError
from smartmob_agent.state.seam import Key, Value

__all__ = ["check_key", "decode", "encode"]

VALUE_BYTES = 8 * 1024 * 1024
"""Of one document: all that a request of 1 MiB can say, where each character is escaped."""
NAME_BYTES = 1024


def check_key(key: Key) -> None:
    """Raise `ValueError` unless a key is a kind, lower-case ASCII letters, and a printable name."""
    kind, name = key
    if not (kind.isascii() and kind.isalpha() and kind.islower()):
        raise ValueError(f"expected a kind of the letters a to z, found {kind!r}")
    if not name or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        raise ValueError(f"expected a printable name of 1 to {NAME_BYTES} bytes, found {name!r}")


def encode(value: Value) -> str:
    """Return a JSON object as ASCII text.

    Raises `ValueError` for anything that would not come back as it was: other types, keys that are
    no strings, NaN, and what is too deep; `BodyTooLargeError` for more than `VALUE_BYTES`.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        comes_back = isinstance(value, dict) and json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"expected a JSON object, found {exc}") from exc
    if not comes_back:
        raise ValueError("expected a JSON object, found what does not come back as it was")
    if len(text) > VALUE_BYTES:
        raise BodyTooLargeError(VALUE_BYTES)
    return text


def decode(text: str) -> dict[str, Any]:
    """Return the object of a text that `encode` has made.

    Raises `ValueError` when no such text has been found.
    """
    try:
        value = json.loads(text)
    except RecursionError as exc:
        raise ValueError("expected a JSON object, found one that is too deep") from exc
    if isinstance(value, dict):
        return value
    raise ValueError(f"expected a JSON object, found {type(value).__name__}")
