"""A bounded ring of numbered items, for any number of readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic

from smartmob_agent.output.cursor import Cursor, ItemT, MissedError

__all__ = ["Ring"]


class Ring(ABC, Generic[ItemT]):
    """Keeps the latest items.  Adding one never waits, and never makes the ring grow.

    items: what is kept, the oldest first.
    dropped: how many items made room for later ones.
    next_number: of what comes next.
    readers: cursors that wait for the next item.
    ended: nothing comes any more.
    """

    def __init__(self, max_bytes: int, *, first: int = 1) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._first = first
        self.items: deque[ItemT] = deque()
        self.dropped = 0
        self.next_number = first
        self.readers: dict[Cursor[ItemT], None] = {}
        self.ended = False

    @abstractmethod
    def note_missed(self, count: int) -> MissedError:
        """Return the error for a reader whose next numbers are gone."""
        ...

    def _add(self, item: ItemT) -> None:
        """Add an item, at the cost of the oldest; the newest always stays."""
        self.items.append(item)
        self._bytes += item.cost_bytes
        while self._bytes > self._max_bytes and len(self.items) > 1:
            self._bytes -= self.items.popleft().cost_bytes
            self.dropped += 1
        for reader in self.readers:
            reader.offer(item)
        self.next_number = item.end  # Not before: what a reader does with it may tell the end.

    def _finish(self) -> None:
        """From now on readers come to an end."""
        self.ended = True
        for reader in self.readers:
            reader.wake()

    def _read_on(self, wants: Callable[[ItemT], bool] | None = None) -> Cursor[ItemT]:
        """Return a reader that begins with the next item."""
        position = self.dropped + len(self.items)
        return Cursor(self, position=position, next_number=self.next_number, wants=wants)

    def _read_after(
        self,
        number: int,
        wants: Callable[[ItemT], bool] | None = None,
        *,
        lowest: int | None = None,
    ) -> Cursor[ItemT]:
        """Return a reader that begins behind a number.

        lowest: what it may be at least; what was before the ring began is gone.

        Raises `ValueError` when that was not yet.
        """
        lowest = self._first - 1 if lowest is None else lowest
        if not lowest <= number < self.next_number:
            raise ValueError(f"expected a number from {lowest} to {self.next_number - 1}")
        position = self.dropped + sum(
            item.end <= number + 1 and item.first <= number for item in self.items
        )
        return Cursor(self, position=position, next_number=number + 1, wants=wants)
