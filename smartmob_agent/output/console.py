"""The console of a process: the latest of its output, for any number of readers."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from smartmob_agent.output.batch import Batch, Event, Stream, rfc3339
from smartmob_agent.output.cursor import Cursor

__all__ = ["Console", "ConsoleEnd"]


class ConsoleEnd(enum.Enum):
    """Why a console has ended."""

    PROCESS = "process"
    """Its process was deleted."""
    AGENT = "agent"
    """The agent stops."""


_BATCH_BYTES = 64 * 1024
"""A client that is stuck holds one batch, which the ring may have dropped."""


def _parts(text: bytes) -> Iterator[bytes]:
    """Cut text into batches, between lines."""
    start = 0
    while len(text) - start > _BATCH_BYTES:
        end = text.rfind(b"\n", start, start + _BATCH_BYTES) + 1
        if not end:  # A line may be longer than that: `OutputLimits.line_bytes`.
            end = text.find(b"\n", start) + 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:] if start else text


class Console:
    """A bounded ring of batches and events.  Publishing never waits and never grows it.

    now: the wall clock, with a time zone.
    items: what is kept, the oldest first.
    dropped: how many items made room for later ones.
    next_line: the number of the next line; they are numbered from 1.
    readers: cursors that wait for the next item.
    end: why it has ended, None while it has not.
    """

    def __init__(self, max_bytes: int, now: Callable[[], datetime]) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._now = now
        self.items: deque[Batch | Event] = deque()
        self.dropped = 0
        self.next_line = 1
        self.readers: dict[Cursor, None] = {}
        self.end: ConsoleEnd | None = None

    @property
    def ended(self) -> bool:
        return self.end is not None

    def publish(self, stream: Stream, text: bytes) -> None:
        r"""Add lines, each with `\n` at its end, at the cost of the oldest.

        Nothing happens without text or after the end.  The newest item always stays,
        whatever it costs.
        """
        if text and self.end is None:
            time = self._now()
            for part in _parts(text):
                self._add(Batch(first=self.next_line, stream=stream, time=time, text=part))

    def publish_event(self, event: str, fields: Mapping[str, object]) -> None:
        """Add what happened to the process; nothing happens after the end."""
        if self.end is None:
            record = {"event": event, "time": rfc3339(self._now()), **fields}
            self._add(Event(first=self.next_line, record=record))

    def close(self, end: ConsoleEnd) -> None:
        """End the console; what it holds can still be read.  Only the first call counts."""
        if self.end is None:
            self.end = end
            for reader in self.readers:
                reader.wake()

    def subscribe(
        self, *, tail: int = 0, after: int | None = None, stream: Stream | None = None
    ) -> Cursor:
        """Return a reader; without options it begins with the next line.

        tail: begin with so many of the last lines, or as many of them as are kept.
        after: begin with the line behind this number instead.
        stream: only lines of this one.

        Raises `ValueError` when `after` is the number of a line that was not yet.
        """
        if after is None:
            return self._tail(tail, stream)
        if not 0 <= after < self.next_line:
            raise ValueError(f"expected the number of a line up to {self.next_line - 1}")
        position = self.dropped + sum(
            item.end <= after + 1 and item.first <= after for item in self.items
        )
        return Cursor(self, position=position, next_line=after + 1, stream=stream)

    def _tail(self, lines: int, stream: Stream | None) -> Cursor:
        position, next_line = self.dropped + len(self.items), self.next_line
        for item in reversed(self.items):
            if lines <= 0:
                break
            position -= 1
            next_line = item.first
            if stream in (None, item.stream):
                next_line = max(item.first, item.end - lines)
                lines -= item.end - item.first
        return Cursor(self, position=position, next_line=next_line, stream=stream)

    def _add(self, item: Batch | Event) -> None:
        self.items.append(item)
        self.next_line = item.end
        self._bytes += item.cost_bytes
        while self._bytes > self._max_bytes and len(self.items) > 1:
            self._bytes -= self.items.popleft().cost_bytes
            self.dropped += 1
        for reader in self.readers:
            reader.offer(item)
