"""The body of an answer with a part of a log that may be on the disk, and nothing later."""

from __future__ import annotations

import json
import logging

import trio

from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.output.batch import Batch, Event, Record
from smartmob_agent.output.cursor import LinesMissedError
from smartmob_agent.output.line_pattern import SlowPatternError
from smartmob_agent.output.log.log_cursor import LogCursor

__all__ = ["StoredLog", "gap_record", "render", "render_record"]

logger = logging.getLogger(__name__)

_PART_BYTES = 64 * 1024
"""Each part of a log is a chunk to encode and a call of the server: few large ones."""


class StoredLog:
    """What a cursor comes to until its end; a few parts of it are in memory at a time.

    client: cut off when the rest cannot be had, so that it sees that its log is not whole.
    """

    def __init__(self, cursor: LogCursor, form: str, client: ClientLink, path: str) -> None:
        self._cursor, self._format, self._client, self._path = cursor, form, client, path
        self._part = bytearray(b'{"records": [' if form == "json" else b"")
        self._separator = b""
        self._ended = False

    def __aiter__(self) -> StoredLog:
        return self

    async def __anext__(self) -> bytes:
        """Make the next part.  If cancelled: nothing is lost."""
        try:
            await self.prepare()
        except (SlowPatternError, OSError) as exc:
            logger.warning("log cut off", extra={"path": self._path, "error": str(exc)})
            self._client.abort()
            self._part.clear()
        if not self._part:
            raise StopAsyncIteration
        part = bytes(self._part)
        self._part.clear()
        return part

    async def prepare(self) -> None:
        """Make the next part already; raises `SlowPatternError`, `OSError`."""
        await trio.lowlevel.checkpoint()
        while not self._ended and len(self._part) < _PART_BYTES:
            try:
                self._add(await self._cursor.receive())
            except LinesMissedError as exc:
                if self._format != "text":  # Bare text has it in a header.
                    self._add(Event(first=self._cursor.next_number, record=gap_record(exc)))
            except trio.EndOfChannel:
                self._ended = True
                self._part += b"]}" if self._format == "json" else b""

    def _add(self, item: Batch | Event) -> None:
        if self._format != "json":
            self._part += render(item, self._format)
            return
        for record in item.records:
            self._part += self._separator + json.dumps(record).encode()
            self._separator = b", "


def render(item: Batch | Event, form: str) -> bytes:
    """Return an item as bare text, in which events do not show, or as records."""
    if form == "text":
        return item.text if isinstance(item, Batch) else b""
    return b"".join(map(render_record, item.records))


def render_record(record: Record) -> bytes:
    """Return a record on a line of its own."""
    return json.dumps(record).encode() + b"\n"


def gap_record(gap: LinesMissedError) -> Record:
    """Return the record of lines that are gone."""
    return {"event": "dropped", "lines": gap.lines}
