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


_PART_BYTES = 64 * 1024
"""Each part of a followed log is a chunk to encode and a call of the server: few large ones."""


def read_log(cursor: Cursor[Batch | Event], form: str) -> bytes:
    """Return what the console holds behind the cursor."""
    parts = []
    while True:
        try:
            if (item := cursor.receive_nowait()) is None:
                break
            parts.append(_render(item, form))
        except LinesMissedError as exc:
            parts.append(_render_gap(exc, form))
    if form == "json":
        return b'{"records": [' + b", ".join(filter(None, parts)) + b"]}"
    return b"".join(parts)


class FollowedLog:
    """The body of an answer that goes on until the process is deleted.

    Bare text cannot tell what is gone at its very beginning: the cursor's `gap` says so before.

    abort: cuts the connection, so that a client which asked for bare text and was too slow
        sees that its log is not whole.
    """

    def __init__(
        self,
        console: Console,
        cursor: Cursor[Batch | Event],
        form: str,
        abort: Callable[[], None],
    ) -> None:
        self._console, self._cursor, self._format = console, cursor, form
        self._abort = abort
        self._ended = False
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
            return self._with_more(_render(await self._cursor.receive(), self._format))
        except trio.EndOfChannel:
            return self._finish()
        except LinesMissedError as exc:
            gap = exc
        if self._format == "text":
            self._abort()
            raise StopAsyncIteration
        return _render_gap(gap, self._format)

    def _with_more(self, part: bytes) -> bytes:
        """Add what is there already: without a wait in between there is no gap."""
        parts, size = [part], len(part)
        while size < _PART_BYTES and (item := self._cursor.receive_nowait()) is not None:
            parts.append(_render(item, self._format))
            size += len(parts[-1])
        return b"".join(parts)

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
