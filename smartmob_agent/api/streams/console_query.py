"""What a client may ask of a console, in the query of its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from smartmob_agent.api.history.moments import Moment, moment_of
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
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.log_cursor import LogQuery

__all__ = ["COMMON_OPTIONS", "ConsoleQuery", "parse_console_query"]


@attrs.frozen(kw_only=True)
class ConsoleQuery:
    """Options of an attach, or of a log.

    tail: begin with so many of the last lines; None if it was not asked for.
    after: begin with the line after this number; None if it was not asked for.
    stream: only lines of this one; None for both.
    format: one of those that were offered.
    follow: go on with what comes.
    since, until: only lines of that time; None if it was not asked for.
    grep: only lines that have a match; None if it was not asked for.
    """

    tail: int | None = None
    after: int | None = None
    stream: Stream | None = None
    format: str
    follow: bool = False
    since: Moment | None = None
    until: Moment | None = None
    grep: LinePattern | None = None

    @property
    def looks_back(self) -> bool:
        """Whether lines have to be looked for by more than their numbers."""
        return any(one is not None for one in (self.since, self.until, self.grep))

    def wanted(self, now: datetime) -> LogQuery:
        """Return what is asked of a log, at a time."""
        return LogQuery(
            after=self.after,
            tail=self.tail,
            since=None if self.since is None else moment_of(self.since, now),
            until=None if self.until is None else moment_of(self.until, now),
            stream=self.stream,
            pattern=self.grep,
            follow=self.follow,
        )

    def begins_before(self, console: Console) -> bool:
        """Whether it is about lines that the console has no more, if there were any."""
        begin = None if self.after is None else self.after + 1
        if self.tail:
            begin = console.next_line - self.tail
        return begin is not None and begin < console.subscribe_oldest().next_number

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
    if values.get("follow") and "until" in values:
        return ["expected either follow or until, found both"]
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
