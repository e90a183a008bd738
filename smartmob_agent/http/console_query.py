"""What a client may ask of a console, in the query of its URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import attrs

from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console
from smartmob_agent.output.cursor import Cursor

__all__ = ["ConsoleQuery", "parse_console_query"]


@attrs.frozen(kw_only=True)
class ConsoleQuery:
    """Options of an attach, or of a log.

    tail: begin with so many of the last lines; None if it was not asked for.
    after: begin with the line behind this number; None if it was not asked for.
    stream: only lines of this one; None for both.
    format: one of those that were offered.
    follow: go on with what comes.
    """

    tail: int | None = None
    after: int | None = None
    stream: Stream | None = None
    format: str
    follow: bool = False

    def subscribe(self, console: Console, *, tail: int) -> Cursor[Batch | Event]:
        """Return a reader as it was asked for.

        tail: when nothing was said.

        Raises `BadRequestError` when `after` is a line that was not yet.
        """
        lines = tail if self.tail is None else self.tail
        try:
            return console.subscribe(tail=lines, after=self.after, stream=self.stream)
        except ValueError as exc:
            detail = "the query is not valid"
            raise BadRequestError(detail, [f"{exc}, found {self.after} @ after"]) from exc


def parse_console_query(
    query: bytes, *, formats: Sequence[str], can_follow: bool = False
) -> ConsoleQuery:
    """Check a query string.

    formats: those that can be had, the default first.

    Raises `BadRequestError` with one line for each option that is not as it must be.
    """
    values: dict[str, Any] = {"format": formats[0]}
    checks: dict[str, Callable[[str], object]] = {
        "tail": _number,
        "after": _number,
        "stream": lambda text: Stream(_one_of(text, [s.value for s in Stream])),
        "format": lambda text: _one_of(text, formats),
    }
    if can_follow:
        checks["follow"] = lambda text: _one_of(text, ["0", "1"]) == "1"
    seen: set[str] = set()
    errors = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        try:
            if name not in checks:
                raise ValueError(f"expected one of {', '.join(checks)}, found {name!a}")  # noqa: TRY301
            if name in seen:
                raise ValueError("expected once")  # noqa: TRY301
            values[name] = checks[name](text)
        except ValueError as exc:
            errors.append(f"{exc} @ {name}" if name in checks else str(exc))
        seen.add(name)
    if {"tail", "after"} <= seen:
        errors.append("expected either tail or after, found both")
    if values.get("follow") and values["format"] == "json":
        errors.append("expected text or ndjson to follow, found json @ format")
    if errors:
        raise BadRequestError("the query is not valid", errors)
    return ConsoleQuery(**values)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(f"expected a number from 0, found {text!a}")
    return int(text)


def _one_of(text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}, found {text!a}")
    return text
