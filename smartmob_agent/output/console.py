"""The console of a process: the latest of its output, for any number of readers."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

import attrs

from smartmob_agent.output.batch import (
    NOBODY,
    Batch,
    Event,
    Origin,
    Stream,
    cut_lines,
    rfc3339,
)
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.ring import Ring

__all__ = ["Console", "ConsoleEnd", "ConsoleLog", "ConsoleWriter", "is_of"]


class ConsoleLog(Protocol):
    """Keeps what a console publishes; none of this waits."""

    @property
    def next_number(self) -> int:
        """Of the first line that is published."""
        ...

    def announce(self, item: Batch) -> None:
        """Note the numbers of lines before any reader is told them."""
        ...

    def put(self, item: Batch | Event) -> None:
        """Keep an item, if there is room."""
        ...


class ConsoleEnd(enum.Enum):
    """Why a console has ended."""

    PROCESS = "process"
    """Its process was deleted."""
    AGENT = "agent"
    """The agent stops."""


_BATCH_BYTES = 128 * 1024
"""What the ring drops at once; a read and the line that was begun before it fit in."""


class Console(Ring[Batch | Event]):
    """A bounded ring of batches and events.  Publishing never waits and never grows it.

    now: the wall clock, with a time zone.
    items: what is kept, the oldest first.
    dropped: how many items made room for later ones.
    readers: cursors that wait for the next item.
    end: why it has ended, None while it has not.
    text_bytes: how much was published, line ends included.
    missed_lines: how many readers have found gone, all together.
    log: where all of it is kept, too; the first line has its next number.
    """

    def __init__(
        self, max_bytes: int, now: Callable[[], datetime], log: ConsoleLog | None = None
    ) -> None:
        super().__init__(max_bytes, first=1 if log is None else log.next_number)
        self._now, self._log = now, log
        self.end: ConsoleEnd | None = None
        self.text_bytes = 0
        self.missed_lines = 0

    @property
    def next_line(self) -> int:
        """The number of the next line; they are numbered from 1."""
        return self.next_number

    def open_writer(self, origin: Origin) -> ConsoleWriter:
        """Return what publishes in the name of one child."""
        return ConsoleWriter(console=self, origin=origin)

    def publish(self, stream: Stream, text: bytes, origin: Origin = NOBODY) -> None:
        r"""Add lines, each with `\n` at its end, at the cost of the oldest.

        Nothing happens without text or after the end.  The newest item always stays,
        whatever it costs.
        """
        if text and self.end is None:
            self.text_bytes += len(text)
            time = self._now()
            for part in cut_lines(text, _BATCH_BYTES):
                first = self.next_number
                batch = Batch(first=first, stream=stream, time=time, text=part, origin=origin)
                self._keep(batch)

    def _keep(self, item: Batch | Event) -> None:
        if self._log is None:
            self._add(item)
            return
        if isinstance(item, Batch):
            self._log.announce(item)
        self._add(item)
        self._log.put(item)

    def publish_event(self, event: str, fields: Mapping[str, object]) -> None:
        """Add what happened to the process; nothing happens after the end."""
        if self.end is None:
            record = {"event": event, "time": rfc3339(self._now()), **fields}
            self._keep(Event(first=self.next_number, record=record))

    def close(self, end: ConsoleEnd) -> None:
        """End the console; what it holds can still be read.  Only the first call counts."""
        if self.end is None:
            self.end = end
            self._finish()

    def note_missed(self, count: int) -> LinesMissedError:
        """Return the error for a reader whose next lines are gone."""
        self.missed_lines += count
        return LinesMissedError(count)

    def subscribe(
        self, *, tail: int = 0, after: int | None = None, stream: Stream | None = None
    ) -> Cursor[Batch | Event]:
        """Return a reader; without options it begins with the next line.

        tail: begin with so many of the last lines, or as many of them as are kept.
        after: begin with the line behind this number instead.
        stream: only lines of this one.

        Raises `ValueError` when `after` is the number of a line that was not yet.
        """
        wants = None if stream is None else partial(is_of, stream)
        if after is None:
            return self._tail(tail, stream, wants)
        try:
            return self._read_after(after, wants, lowest=0)
        except ValueError:
            message = f"expected the number of a line up to {self.next_line - 1}"
            raise ValueError(message) from None

    def subscribe_oldest(self) -> Cursor[Batch | Event]:
        """Return a reader that begins with the oldest lines that are here, in full.

        What happened before them may be gone, and is not shown.
        """
        cursor = self._read_on()
        for index, item in enumerate(self.items):
            if isinstance(item, Batch):
                cursor.position, cursor.next_number = self.dropped + index, item.first
                break
        return cursor

    def _tail(
        self, lines: int, stream: Stream | None, wants: Callable[[Batch | Event], bool] | None
    ) -> Cursor[Batch | Event]:
        cursor = self._read_on(wants)
        for item in reversed(self.items):
            if lines <= 0:
                break
            cursor.position -= 1
            cursor.next_number = item.first
            if stream in (None, item.stream):
                cursor.next_number = max(item.first, item.end - lines)
                lines -= item.end - item.first
        return cursor


@attrs.frozen(kw_only=True)
class ConsoleWriter:
    """The console, for one who writes to it."""

    _console: Console
    _origin: Origin

    def publish(self, stream: Stream, text: bytes) -> None:
        """See `Console.publish`."""
        self._console.publish(stream, text, self._origin)


def is_of(stream: Stream, item: Batch | Event) -> bool:
    """Whether an item is of a stream, or something that happened."""
    return item.stream in (None, stream)
