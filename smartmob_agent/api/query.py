"""Options in the query of a URL: described, checked strictly, every fault named at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import attrs

from smartmob_agent.errors import BadRequestError

__all__ = [
    "DETAIL",
    "NUMBER",
    "SWITCH",
    "TEXT",
    "QueryOption",
    "ValueKind",
    "number",
    "one_of",
    "parse_query",
]

DETAIL = "the query is not valid"
"""Of the problem; its errors say more."""

_DIGITS = 18
"""Of a number that fits into 64 bits."""


@attrs.frozen
class ValueKind:
    """What the text of an option may be.

    check: returns the value, or raises `ValueError`.
    schema: the same as JSON Schema.
    """

    check: Callable[[str], Any]
    schema: Mapping[str, object]


@attrs.frozen(kw_only=True)
class QueryOption:
    """What a query may have.

    about: for who reads the description of the API.
    default: what counts without it; None if nothing does.
    many: it may be given more than once, and is a list.
    """

    kind: ValueKind
    about: str
    default: object = None
    many: bool = False


def parse_query(
    query: bytes,
    options: Mapping[str, QueryOption],
    *,
    conflicts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: (),
) -> dict[str, Any]:
    """Return the options that were given, by name; those which were not are not in it.

    options: what is known.
    conflicts: says what is wrong with values that are right one by one.

    Raises `BadRequestError` with one line for each option that is not as it must be.
    """
    values: dict[str, Any] = {}
    errors = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        option = options.get(name)
        try:
            value = _check(name, text, options, seen=name in values)
        except ValueError as exc:
            errors.append(str(exc) if option is None else f"{exc} @ {name}")
            value = None
        if option is not None and option.many:
            values.setdefault(name, []).append(value)
        elif option is not None:
            values.setdefault(name, value)
    if not errors:
        errors += conflicts(values)
    if errors:
        raise BadRequestError(DETAIL, errors)
    return values


def _check(name: str, text: str, options: Mapping[str, QueryOption], *, seen: bool) -> object:
    if name not in options:
        known = f"one of {', '.join(options)}" if options else "no option"
        raise ValueError(f"expected {known}, found {name!a}")
    if seen and not options[name].many:
        raise ValueError("expected once")
    return options[name].kind.check(text)


def number(text: str) -> int:
    """Check a number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(f"expected a number from 0, found {text!a}")
    return int(text)


def one_of(*choices: str) -> ValueKind:
    """Return the kind of some words."""

    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {text!a}")
        return text

    return ValueKind(check, {"type": "string", "enum": list(choices)})


def _switch(text: str) -> bool:
    return bool(int(_BITS.check(text)))


_BITS = one_of("0", "1")
NUMBER = ValueKind(number, {"type": "integer", "minimum": 0, "maximum": 10**_DIGITS - 1})
SWITCH = ValueKind(_switch, {"type": "integer", "enum": [0, 1]})
TEXT = ValueKind(str, {"type": "string"})
