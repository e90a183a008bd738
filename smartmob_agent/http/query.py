"""Options in the query of a URL: checked strictly, every fault named at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from smartmob_agent.errors import BadRequestError

__all__ = ["DETAIL", "number", "one_of", "parse_query", "switch"]

DETAIL = "the query is not valid"
"""Of the problem; its errors say more."""

_DIGITS = 18
"""Of a number that fits into 64 bits."""


def parse_query(
    query: bytes,
    checks: Mapping[str, Callable[[str], object]],
    *,
    many: Collection[str] = (),
    conflicts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: (),
) -> dict[str, Any]:
    """Return the options that were given, by name.

    checks: what is known; each returns the value or raises `ValueError`.
    many: may be given more than once, and are lists.
    conflicts: says what is wrong with values that are right one by one.

    Raises `BadRequestError` with one line for each option that is not as it must be.
    """
    values: dict[str, Any] = {}
    errors = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        try:
            value = _check(name, text, checks, seen=name in values and name not in many)
        except ValueError as exc:
            errors.append(f"{exc} @ {name}" if name in checks else str(exc))
            value = None
        if name in many:
            values.setdefault(name, []).append(value)
        elif name in checks:
            values.setdefault(name, value)
    if not errors:
        errors += conflicts(values)
    if errors:
        raise BadRequestError(DETAIL, errors)
    return values


def _check(
    name: str, text: str, checks: Mapping[str, Callable[[str], object]], *, seen: bool
) -> object:
    if name not in checks:
        known = f"one of {', '.join(checks)}" if checks else "no option"
        raise ValueError(f"expected {known}, found {name!a}")
    if seen:
        raise ValueError("expected once")
    return checks[name](text)


def number(text: str) -> int:
    """Check a number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(f"expected a number from 0, found {text!a}")
    return int(text)


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a check for some words."""

    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {text!a}")
        return text

    return check


def switch(text: str) -> bool:
    """Check a switch: 0 or 1."""
    return one_of("0", "1")(text) == "1"
