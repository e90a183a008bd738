"""The log of a process over plain HTTP: what its console holds, and what comes."""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol

import trio

from smartmob_agent.api.documents import PID, RELEASE
from smartmob_agent.api.history.moments import MOMENT
from smartmob_agent.api.history.stored_log import StoredLog, gap_record, render, render_record
from smartmob_agent.api.kinds import QUERY_DETAIL, SWITCH, QueryOption, ValueKind, one_of
from smartmob_agent.api.problem_catalogue import NOT_FOUND
from smartmob_agent.api.route import TEXT_SCHEMA, Answer, ApiContext, Reply, Request, Route
from smartmob_agent.api.schemas import EXAMPLE_TIME, Document, count, document, text, time
from smartmob_agent.api.streams.console_query import (
    COMMON_OPTIONS,
    ConsoleQuery,
    parse_console_query,
)
from smartmob_agent.api.streams.following import STREAM_HEADERS, QuietTimer
from smartmob_agent.errors import BadRequestError
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.line_pattern import MAX_PATTERN_CHARS, LinePattern, SlowPatternError
from smartmob_agent.output.log.log_cursor import LogCursor
from smartmob_agent.output.log.process_log import ProcessLog

__all__ = ["LOG_OPTIONS", "LOG_RECORD", "ROUTES", "FollowedLog", "KeptLog"]

logger = logging.getLogger(__name__)

LOG_RECORD = Document(
    name="LogRecord",
    schema={
        "description": "A line, or what happened to the process between two lines.",
        "oneOf": [
            document(
                "A line.",
                optional=("pid", "release"),
                seq=count("Its number, from 1 for the life of the process.", minimum=1),
                time=time("When it came"),
                stream=text(enum=[stream.value for stream in Stream]),
                pid=PID,
                release=RELEASE,
                line=text("Without its line end."),
            ),
            document(
                "A child was started.",
                optional=("port", "release"),
                event={"const": "started"},
                time=time("When"),
                pid=PID,
                release=RELEASE,
                port=count("Its TCP port, if the agent gave it one.", minimum=1, maximum=65535),
            ),
            document(
                "A child ended; its last line came before.",
                optional=("code", "signal", "release"),
                event={"const": "exited"},
                time=time("When"),
                pid=PID,
                release=RELEASE,
                code=count("Its exit code, if it ended by itself.", maximum=255),
                signal=text("The signal that ended it."),
            ),
            document(
                "Another version has the place of the one before.",
                event={"const": "replaced"},
                time=time("When"),
                pid=PID,
            ),
            document(
                "Another version came to nothing; the one before goes on.",
                event={"const": "replace-failed"},
                time=time("When"),
                step=text("Which one failed."),
                error=text("Why: one line for a human."),
            ),
            document(
                "The reader was too slow, or the lines too old.",
                event={"const": "dropped"},
                lines=count("So many are gone.", minimum=1),
            ),
            document(
                "Nothing comes any more.",
                event={"const": "end"},
                reason=text(enum=[end.value for end in ConsoleEnd]),
            ),
        ],
    },
)
_LOG = Document(
    name="Log",
    schema=document(
        "What the agent still has of the output.",
        records={"type": "array", "items": LOG_RECORD},
    ),
    example={
        "records": [
            {"event": "started", "time": EXAMPLE_TIME, "pid": 1000, "port": 20000},
            {
                "seq": 1,
                "time": EXAMPLE_TIME,
                "stream": "stdout",
                "pid": 1000,
                "line": "tick 1",
            },
        ]
    },
)

_FORMATS = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
"""Format → media type; the first one is the default."""
LOG_OPTIONS: Mapping[str, QueryOption] = {
    **COMMON_OPTIONS,
    "format": QueryOption(
        kind=one_of(*_FORMATS),
        default=next(iter(_FORMATS)),
        about="Lines; a document; or a `LogRecord` on each line.",
    ),
    "since": QueryOption(
        kind=MOMENT,
        about="Begin with the first line of that time (RFC 3339), or of so long ago (`3h`).",
    ),
    "until": QueryOption(
        kind=MOMENT, about="End with the last line of that time.  Not together with `follow`."
    ),
    "grep": QueryOption(
        kind=ValueKind(LinePattern, {"type": "string", "maxLength": MAX_PATTERN_CHARS}),
        about="Only lines with a match of this regular expression, of Python.",
    ),
    "follow": QueryOption(
        kind=SWITCH,
        default=0,
        about="1: go on with what comes, until the process is deleted.  Not with `json`.",
    ),
}

_EVERYTHING = sys.maxsize
"""As many lines as the console keeps."""

_PART_BYTES = 64 * 1024
"""Each part of a log is a chunk to encode and a call of the server: few large ones."""


class KeptLog:
    """The body of an answer with what the console holds behind the cursor, and nothing later.

    It holds no more than the console; records are made as they are sent, since those of short lines
    take a hundred times as much.
    """

    def __init__(self, cursor: Cursor[Batch | Event], form: str) -> None:
        self._items = deque(_take(cursor))
        self._parts = _join(self._pieces(form))

    def __aiter__(self) -> KeptLog:
        return self

    async def __anext__(self) -> bytes:
        """Make the next part."""
        await trio.lowlevel.checkpoint()
        if (part := next(self._parts, None)) is None:
            raise StopAsyncIteration
        return part

    def _pieces(self, form: str) -> Iterator[bytes]:
        if form == "text":
            yield from (render(item, form) for item in self._drain())
            return
        records = (record for item in self._drain() for record in item.records)
        if form == "ndjson":
            yield from map(render_record, records)
            return
        yield b'{"records": ['
        for number, record in enumerate(records):
            yield (b", " if number else b"") + json.dumps(record).encode()
        yield b"]}"

    def _drain(self) -> Iterator[Batch | Event]:
        """Let go of what is rendered."""
        while self._items:
            yield self._items.popleft()


def _take(cursor: Cursor[Batch | Event]) -> Iterator[Batch | Event]:
    """Go through what is there; what is gone from it is an event."""
    while True:
        try:
            if (item := cursor.receive_nowait()) is None:
                return
            yield item
        except LinesMissedError as exc:
            yield Event(first=cursor.next_number, record=gap_record(exc))


def _join(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make few large parts of many small pieces, none of them empty."""
    part = bytearray()
    for piece in pieces:
        part += piece
        if len(part) >= _PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


class LogReader(Protocol):
    """A position in a log: a `Cursor`, or a `LogCursor`."""

    next_number: int

    @property
    def gap(self) -> int: ...

    def pass_gap(self) -> None: ...

    async def receive(self) -> Batch | Event: ...

    def receive_nowait(self) -> Batch | Event | None: ...


class FollowedLog:
    """The body of an answer that goes on until the process is deleted.

    Bare text cannot tell what is gone at its very beginning: the cursor's `gap` says so before.

    client: cut off if it asked for bare text and was too slow, so that it sees that its log is
        not whole; also when the rest cannot be had.
    life_interval: seconds without a line until records give a sign of life.  Bare text has none;
        there the keep-alive of the socket has to do, and a client that has ended its input, and
        so may be gone without an answer to that, gets its end after two intervals.
    lost: so many lines within are gone, which a header tells.
    """

    def __init__(
        self,
        console: Console,
        cursor: LogReader,
        form: str,
        client: ClientLink,
        life_interval: float,
        *,
        lost: int = 0,
    ) -> None:
        self._console, self._cursor, self._format = console, cursor, form
        self._client, self._life_interval = client, life_interval
        self._timer = QuietTimer(client, life_interval)
        self._ended = False
        self._lost = lost
        if form == "text":
            cursor.pass_gap()

    def __aiter__(self) -> FollowedLog:
        return self

    async def __anext__(self) -> bytes:
        """Wait for more.  If cancelled: nothing is lost."""
        while True:
            await trio.lowlevel.checkpoint()
            if part := await self._next():
                return part

    async def _next(self) -> bytes:
        """Wait for the next item; it may have nothing to show in this format."""
        gap: LinesMissedError
        try:
            item = await self._timer.next(self._cursor.receive)
        except trio.EndOfChannel:
            return self._finish()
        except LinesMissedError as exc:
            gap = exc
        except (SlowPatternError, OSError) as exc:
            logger.warning("log cut off", extra={"error": str(exc)})
            self._client.abort()
            raise StopAsyncIteration from None
        else:
            if item is None:
                return self._sign_of_life()
            return self._with_more(render(item, self._format))
        if self._format == "text" and gap.lines <= self._lost:
            self._lost -= gap.lines
            return b""
        if self._format == "text":
            self._client.abort()
            raise StopAsyncIteration
        return render_record(gap_record(gap))

    def _sign_of_life(self) -> bytes:
        """Return a blank before the next record, which JSON ignores, as do readers of lines."""
        if self._format != "text":
            return b" "
        if self._client.half_closed and self._timer.quiet >= 2 * self._life_interval:
            raise StopAsyncIteration
        return b""

    def _with_more(self, part: bytes) -> bytes:
        """Add what is there already: without a wait in between there is no gap."""
        parts, size = [part], len(part)
        while size < _PART_BYTES and (item := self._cursor.receive_nowait()) is not None:
            parts.append(render(item, self._format))
            size += len(parts[-1])
        return b"".join(parts)

    def _finish(self) -> bytes:
        if self._ended or self._format == "text" or self._console.end is None:
            raise StopAsyncIteration
        self._ended = True
        return render_record({"event": "end", "reason": self._console.end.value})


async def _show_log(context: ApiContext, request: Request) -> Answer:
    console, log = context.supervisor.output_of(request.slug)
    query = parse_console_query(request.query, LOG_OPTIONS)
    if log is not None or query.looks_back:
        return await _show_stored(context, request, query, console, log)
    cursor = query.subscribe(console, tail=_EVERYTHING)
    headers = _headers_of(query, cursor)
    if query.follow:
        life_interval = context.config.http.ping_interval
        followed = FollowedLog(console, cursor, query.format, request.client, life_interval)
        return Answer(body=followed, headers=headers)
    return Answer(body=KeptLog(cursor, query.format), headers=headers)


def _headers_of(query: ConsoleQuery, cursor: LogReader, lost: int = 0) -> dict[str, str]:
    return {
        "Content-Type": _FORMATS[query.format],
        **(STREAM_HEADERS if query.follow else {"Cache-Control": "no-store"}),
        "First-Line": str(cursor.next_number + cursor.gap),
        "Lines-Missed": str(cursor.gap),
        "Lines-Lost": str(lost),
    }


async def _show_stored(
    context: ApiContext,
    request: Request,
    query: ConsoleQuery,
    console: Console,
    log: ProcessLog | None,
) -> Answer:
    """Show what may be on the disk, or has to be looked for."""
    wanted = query.wanted(context.supervisor.now())
    cursor = LogCursor(console, log, wanted, context.log_readers)
    try:
        await cursor.start()
        lost = cursor.inner_gaps
        headers = _headers_of(query, cursor, lost)
        if query.follow:
            life_interval = context.config.http.ping_interval
            followed = FollowedLog(
                console, cursor, query.format, request.client, life_interval, lost=lost
            )
            return Answer(body=followed, headers=headers)
        body = StoredLog(cursor, query.format, request.client, f"/process-log/{request.slug}")
        if query.grep is not None:
            await body.prepare()  # So that one which takes too long is told, mostly.
    except ValueError as exc:
        raise BadRequestError(QUERY_DETAIL, [f"{exc}, found {query.after} @ after"]) from exc
    except SlowPatternError as exc:
        raise BadRequestError(QUERY_DETAIL, [f"{exc} @ grep"]) from exc
    return Answer(body=body, headers=headers)


ROUTES = (
    Route(
        method="GET",
        path="/process-log/<slug>",
        handle=_show_log,
        id="getLog",
        tag="output",
        summary="Read the output of a process",
        about=(
            "What the agent still has of it and, with `follow`, what comes.  Each line of "
            "`application/x-ndjson` is a `LogRecord`."
        ),
        query=LOG_OPTIONS,
        replies={
            200: Reply(
                "The lines.",
                {
                    media_type.partition(";")[0]: _LOG if form == "json" else TEXT_SCHEMA
                    for form, media_type in _FORMATS.items()
                },
                headers=("First-Line", "Lines-Missed", "Lines-Lost", "Cache-Control"),
            )
        },
        problems=(NOT_FOUND,),
    ),
)
