"""One reader of a console: a position, and a place to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from smartmob_agent.errors import AgentError
from smartmob_agent.output.batch import Batch, Event, Stream

__all__ = ["Cursor", "LinesMissedError", "Ring", "Sink"]

Sink = Callable[[Batch | Event], bool]
"""Takes an item at once, or returns False."""


class LinesMissedError(AgentError):
    """A reader was too slow: the next `lines` lines, of both streams, are gone.

    It may go on reading with what is left.
    """

    def __init__(self, lines: int) -> None:
        super().__init__(f"{lines} lines missed")
        self.lines = lines


class Ring(Protocol):
    """What a cursor needs of its console, which documents it."""

    items: deque[Batch | Event]
    dropped: int
    readers: dict[Cursor, None]

    @property
    def ended(self) -> bool: ...


class Cursor:
    """A position in a console.  It costs nothing that would have to be given back.

    position: of the next item, counted over the whole life of the console.
    next_line: number of the next line.
    stream: only lines of this one, if not None.
    """

    def __init__(
        self, console: Ring, *, position: int, next_line: int, stream: Stream | None
    ) -> None:
        self._console = console
        self._stream = stream
        self._lot = trio.lowlevel.ParkingLot()
        self._sink: Sink | None = None
        self.position = position
        self.next_line = next_line

    def receive_nowait(self) -> Batch | Event | None:
        """Return the next item, or None if there is none yet.

        Raises `LinesMissedError` once for each gap.
        """
        items, dropped = self._console.items, self._console.dropped
        self.position = max(self.position, dropped)
        while (index := self.position - dropped) < len(items):
            item = items[index]
            if item.first > self.next_line:
                missed, self.next_line = item.first - self.next_line, item.first
                raise LinesMissedError(missed)
            if isinstance(item, Batch):
                item = item.since(self.next_line)
            self._pass(item)
            if self._wants(item):
                return item
        return None

    async def receive(self) -> Batch | Event:
        """Wait for the next item.

        Raises `LinesMissedError` once for each gap, and `trio.EndOfChannel` when the
        console has ended and all of it was read.

        If cancelled: nothing is lost, the next call returns it.
        """
        await trio.lowlevel.checkpoint()
        while (item := self.receive_nowait()) is None:
            if self._console.ended:
                raise trio.EndOfChannel
            await self.wait()
        return item

    async def wait(self, sink: Sink | None = None) -> None:
        """Wait for an item behind the position, for the end, or for `wake`.

        sink: is offered each item the moment it is published; what it takes is passed by,
            and the wait goes on.
        """
        self._sink = sink
        self._console.readers[self] = None
        try:
            await self._lot.park()
        finally:
            del self._console.readers[self]
            self._sink = None

    def offer(self, item: Batch | Event) -> None:
        """An item was published while this waits."""
        console = self._console
        is_next = self.position == console.dropped + len(console.items) - 1
        if is_next and (not self._wants(item) or (self._sink is not None and self._sink(item))):
            self._pass(item)
        else:
            self._lot.unpark()

    def wake(self) -> None:
        """Let `wait` return."""
        self._lot.unpark()

    def _wants(self, item: Batch | Event) -> bool:
        return self._stream is None or item.stream in (None, self._stream)

    def _pass(self, item: Batch | Event) -> None:
        self.position += 1
        self.next_line = item.end
