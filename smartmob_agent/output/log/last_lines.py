"""Where the last lines of many begin.  Pure."""

from __future__ import annotations

from collections import deque

from smartmob_agent.output.batch import Batch, Event

__all__ = ["LastLines"]

_PLACES = 4096


class LastLines:
    """Finds the beginning of the last lines, in bounded memory, however many there are.

    count: how many are wanted.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._places = deque[tuple[int, int]]()  # Number, and how many lines are from there on.
        self._lines = 0

    def add(self, item: Batch | Event) -> None:
        """These are the next lines."""
        lines = item.end - item.first
        if not lines:
            return
        self._places.append((item.first, lines))
        self._lines += lines
        while self._lines - self._places[0][1] >= self._count:
            self._lines -= self._places.popleft()[1]
        if len(self._places) > _PLACES:
            self._merge()

    def _merge(self) -> None:
        places = list(self._places)
        pairs = zip(places[::2], [*places[1::2], (0, 0)], strict=False)
        self._places = deque((first[0], first[1] + second[1]) for first, second in pairs)

    @property
    def number(self) -> int | None:
        """Of the line to look at them from; None if there is none."""
        return self._places[0][0] if self._places else None

    @property
    def surplus(self) -> int:
        """How many of the lines from there on are not wanted."""
        return max(self._lines - self._count, 0)
