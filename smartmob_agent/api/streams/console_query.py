"""What a client may ask of a console, in the query of its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from smartmob_agent.api.kinds import (
    NUMBER,
    QUERY_DETAIL,
    QueryOption,
    ValueKind,
    one_of,
    parse_query,
)
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console
from smartmob_agent.output.cursor import Cursor

__all__ = ["COMMON_OPTIONS", "ConsoleQuery", "parse_console_query"]


@attrs.frozen(kw_only=True)
class ConsoleQuery:
    """Options of an attach, or of a log.

    tail: begin with so many of the last lines; None if it was not asked for.
    after: begin with the line after this number; None if it was not asked for.
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
            raise BadRequestError(QUERY_DETAIL, [f"{exc}, found {self.after} @ after"]) from exc


def parse_console_query(query: bytes, options: Mapping[str, QueryOption]) -> ConsoleQuery:
    """Check a query string.

    options: `COMMON_OPTIONS`, `format` with a default, and what else is offered.

    Raises `BadRequestError` with one line for each option that is not as it must be.
    """
    values = parse_query(query, options, conflicts=_conflicts)
    return ConsoleQuery(**{"format": options["format"].default, **values})


def _stream(text: str) -> Stream:
    return Stream(_STREAM_WORDS.check(text))


def _conflicts(values: Mapping[str, Any]) -> Sequence[str]:
    if {"tail", "after"} <= values.keys():
        return ["expected either tail or after, found both"]
    if values.get("follow") and values.get("format") == "json":
        return ["expected text or ndjson to follow, found json @ format"]
    return []


_STREAM_WORDS = one_of(*(stream.value for stream in Stream))
COMMON_OPTIONS: Mapping[str, QueryOption] = {
    "tail": QueryOption(
        kind=NUMBER, about="Begin with so many of the last lines that are still there."
    ),
    "after": QueryOption(
        kind=NUMBER, about="Begin with the line after this number.  Not together with `tail`."
    ),
    "stream": QueryOption(
        kind=ValueKind(_stream, _STREAM_WORDS.schema), about="Only lines that were written there."
    ),
}
"""What may be asked of every console."""
