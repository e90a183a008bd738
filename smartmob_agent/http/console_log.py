"""The log of a process over plain HTTP: what its console holds, and what comes."""

from __future__ import annotations

import json
from collections.abc import Callable

import trio

from smartmob_agent.output.batch import Batch, Event, Record
from smartmob_agent.output.console import Console
from smartmob_agent.output.cursor import Cursor, LinesMissedError

__all__ = ["FORMATS", "FollowedLog", "read_log"]

FORMATS = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}
"""Format → media type; the first one is the default."""


def read_log(cursor: Cursor, form: str) -> tuple[bytes, int]:
    """Return what the console holds behind the cursor, and how many lines were missed."""
    parts, missed = [], 0
    while True:
        try:
            if (item := cursor.receive_nowait()) is None:
                break
            parts.append(_render(item, form))
        except LinesMissedError as exc:
            missed += exc.lines
            parts.append(_render_gap(exc, form))
    if form == "json":
        return b'{"records": [' + b", ".join(filter(None, parts)) + b"]}", missed
    return b"".join(parts), missed


class FollowedLog:
    """The body of an answer that goes on until the process is deleted.

    abort: cuts the connection, so that a client which asked for bare text and was too slow
        sees that its log is not whole.
    """

    def __init__(
        self,
        console: Console,
        cursor: Cursor,
        form: str,
        abort: Callable[[], None],
    ) -> None:
        self._console, self._cursor, self._format = console, cursor, form
        self._abort = abort
        self._ended = False

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
            return _render(await self._cursor.receive(), self._format)
        except trio.EndOfChannel:
            return self._finish()
        except LinesMissedError as exc:
            gap = exc
        if self._format == "text":
            self._abort()
            raise StopAsyncIteration
        return _render_gap(gap, self._format)

    def _finish(self) -> bytes:
        if self._ended or self._format == "text" or self._console.end is None:
            raise StopAsyncIteration
        self._ended = True
        return _render_record({"event": "end", "reason": self._console.end.value}, self._format)


def _render(item: Batch | Event, form: str) -> bytes:
    if form == "text":
        return item.text if isinstance(item, Batch) else b""
    if form == "json":
        return b", ".join(json.dumps(record).encode() for record in item.records)
    return b"".join(_render_record(record, form) for record in item.records)


def _render_gap(gap: LinesMissedError, form: str) -> bytes:
    return _render_record({"event": "dropped", "lines": gap.lines}, form)


def _render_record(record: Record, form: str) -> bytes:
    if form == "text":
        return b""
    return json.dumps(record).encode() + (b"" if form == "json" else b"\n")
