"""One reader of a ring: a position, and a place to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

import trio

from smartmob_agent.errors import AgentError

__all__ = ["Cursor", "CursorSource", "Item", "ItemT", "LinesMissedError", "MissedError", "Sink"]


class Item(Protocol):
    """What a ring holds: nothing, one or more that are numbered."""

    @property
    def first(self) -> int:
        """The number of the first one, or of what comes next if it holds none."""
        ...

    @property
    def end(self) -> int:
        """The number of what comes next."""
        ...

    @property
    def cost_bytes(self) -> int:
        """Memory that it takes, about."""
        ...

    def since(self, number: int) -> Self:
        """Return the same without what comes before a number, which is one of its own."""
        ...


ItemT = TypeVar("ItemT", bound=Item)
Sink = Callable[[ItemT], bool]
"""Takes an item at once, or puts back what it does not take, by `Cursor.put_back`, and says so."""


class MissedError(AgentError):
    """A reader was too slow: the next `count` are gone.

    It may go on reading with what is left.
    """

    unit = "items"

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} {self.unit} missed")
        self.count = count


class LinesMissedError(MissedError):
    """A reader was too slow: the next `lines` lines, of both streams, are gone.

    It may go on reading with what is left.
    """

    unit = "lines"

    @property
    def lines(self) -> int:
        return self.count


class CursorSource(Protocol[ItemT]):
    """What a cursor needs of its ring, which documents it."""

    items: deque[ItemT]
    dropped: int
    readers: dict[Cursor[ItemT], None]
    ended: bool

    def note_missed(self, count: int) -> MissedError: ...


class Cursor(Generic[ItemT]):
    """A position in a ring.  It costs nothing that would have to be given back.

    position: of the next item, counted over the whole life of the ring.
    next_number: of what comes next.
    wants: tells which items it is about, if not all.
    """

    def __init__(
        self,
        ring: CursorSource[ItemT],
        *,
        position: int,
        next_number: int,
        wants: Callable[[ItemT], bool] | None,
    ) -> None:
        self._ring = ring
        self._wanted = wants
        self._lot = trio.lowlevel.ParkingLot()
        self._sink: Sink[ItemT] | None = None
        self.position = position
        self.next_number = next_number

    @property
    def gap(self) -> int:
        """How many of the next are gone."""
        items, dropped = self._ring.items, self._ring.dropped
        index = max(self.position - dropped, 0)
        return max(items[index].first - self.next_number, 0) if index < len(items) else 0

    def narrow(self, wants: Callable[[ItemT], bool]) -> None:
        """Be about some items only, from now on."""
        self._wanted = wants

    def pass_gap(self) -> None:
        """Go on behind what is gone; it is not told any more."""
        self.next_number += self.gap

    def receive_nowait(self) -> ItemT | None:
        """Return the next item, or None if there is none yet.

        Raises `MissedError` once for each gap.
        """
        items, dropped = self._ring.items, self._ring.dropped
        self.position = max(self.position, dropped)
        while (index := self.position - dropped) < len(items):
            item = items[index]
            if item.first > self.next_number:
                missed, self.next_number = item.first - self.next_number, item.first
                raise self._ring.note_missed(missed)
            item = item.since(self.next_number)
            self._pass(item)
            if self._wants(item):
                return item
        return None

    def put_back(self, number: int) -> None:
        """Come to the latest item once more, but only to what it holds from a number on."""
        self.position -= 1
        self.next_number = number

    async def receive(self) -> ItemT:
        """Wait for the next item.

        Raises `MissedError` once for each gap, and `trio.EndOfChannel` when the
        ring has ended and all of it was read.

        If cancelled: nothing is lost, the next call returns it.
        """
        await trio.lowlevel.checkpoint()
        while (item := self.receive_nowait()) is None:
            if self._ring.ended:
                raise trio.EndOfChannel
            await self.wait()
        return item

    async def wait(self, sink: Sink[ItemT] | None = None) -> None:
        """Wait for an item behind the position, for the end, or for `wake`.

        sink: is given each item the moment it is published; the wait goes on unless it puts
            something back.
        """
        self._sink = sink
        self._ring.readers[self] = None
        try:
            await self._lot.park()
        finally:
            del self._ring.readers[self]
            self._sink = None

    def offer(self, item: ItemT) -> None:
        """An item was published while this waits."""
        ring = self._ring
        if self.position != ring.dropped + len(ring.items) - 1:
            self._lot.unpark()
        elif self._wanted is not None and not self._wanted(item):
            self._pass(item)
        elif self._sink is None:
            self._lot.unpark()
        else:
            self.position += 1
            if self._sink(item):
                self.next_number = item.end
            else:
                self._lot.unpark()

    def wake(self) -> None:
        """Let `wait` return."""
        self._lot.unpark()

    def _wants(self, item: ItemT) -> bool:
        return self._wanted is None or self._wanted(item)

    def _pass(self, item: ItemT) -> None:
        self.position += 1
        self.next_number = item.end
