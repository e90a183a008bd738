"""One reader of a process: first its log on the disk, then its console, without a seam."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TypeVar

import attrs
import trio

from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console, is_of
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.entry import time_of
from smartmob_agent.output.log.files import (
    Place,
    find_after_time,
    find_number,
    find_time,
    number_at,
    read_items,
)
from smartmob_agent.output.log.last_lines import LastLines
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.output.log.search import search_segment

__all__ = ["LogCursor", "LogQuery"]

T = TypeVar("T")
Item = Batch | Event


@attrs.frozen(kw_only=True)
class LogQuery:
    """What a reader wants to see.

    after: begin with the line behind this number.
    tail: begin with so many of the last lines; of those that are wanted otherwise.
    since: begin with the first line of that time, or later.
    until: end before the first line that is later than that.
    stream: only lines of this one, not of both.
    pattern: only lines that have a match.
    follow: go on with what comes.
    """

    after: int | None = None
    tail: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    stream: Stream | None = None
    pattern: LinePattern | None = None
    follow: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether lines within are left out."""
        return self.stream is not None or self.pattern is not None


@attrs.frozen
class _Gap:
    """So many lines are gone, which would come next."""

    lines: int


class LogCursor:
    """A position in all that there is of a process.

    log: None if its output does not stay; then the console is all that there is.
    limiter: of threads that read.
    next_number: of what comes next, or is looked at next.
    """

    def __init__(
        self,
        console: Console,
        log: ProcessLog | None,
        query: LogQuery,
        limiter: trio.CapacityLimiter,
    ) -> None:
        self._console, self._log, self._query, self._limiter = console, log, query, limiter
        self._cursor = console.subscribe()
        self._place: Place | None = None
        self._before = 0
        self._ready = deque[Item | _Gap]()
        self._skip = 0
        self._begun = query.since is None
        self._ended = False
        self._end = console.next_line
        self.next_number = self._end
        self._first = self._end

    @property
    def gap(self) -> int:
        """How many lines are gone that would have come first."""
        return max(self._first - self.next_number, 0)

    def pass_gap(self) -> None:
        """Go on behind what is gone at the beginning; it is not told any more."""
        self.next_number = max(self._first, self.next_number)

    @property
    def inner_gaps(self) -> int:
        """How many lines are gone behind the first, as far as that is known before they come."""
        if self._place is None or self._log is None:
            return 0
        number, lost, end = self._first, 0, min(self._before, self._end)
        for segment in self._log.segments:
            if segment.end > number and segment.first < end:
                lost += max(segment.first - number, 0)
                number = segment.end
        return lost + max(end - number, 0)

    async def start(self) -> None:
        """Find the beginning.

        Raises `ValueError` when `after` is the number of a line that was not yet, `OSError` and
        `SlowPatternError`.

        If cancelled: stops at once; a thread that is reading goes on with what it has begun.
        """
        query = self._query
        if query.after is not None and query.after >= self._end:
            raise ValueError(f"expected the number of a line up to {self._end - 1}")
        if query.tail == 0:
            await trio.lowlevel.checkpoint()
        elif query.tail is not None and query.is_filtered:
            await self._start_at_tail(query.tail)
        elif query.tail is not None:
            await self._start_at(max(self._end - query.tail, 1))
        elif query.after is not None:
            await self._start_at(query.after + 1)
            self.next_number = query.after + 1
        else:
            await self._start_at(1)

    async def _start_at(self, number: int) -> None:
        oldest = self._console.subscribe_oldest()
        if self._log is not None and number <= oldest.next_number:
            await self._go_to_disk(self._log, number)
            self._first = await self._limit(self._log, number)
        else:
            await trio.lowlevel.checkpoint()
            self._cursor = (
                self._console.subscribe(after=number - 1)
                if number > oldest.next_number
                else self._console.subscribe(tail=self._end)
            )
            self._first = max(self._cursor.next_number + self._cursor.gap, number)
        self.next_number = self._first

    async def _start_at_tail(self, tail: int) -> None:
        """Look at all of it, to find where the last lines begin that are wanted."""
        query = attrs.evolve(self._query, tail=None, follow=False)
        whole = LogCursor(self._console, self._log, query, self._limiter)
        whole._end = self._end
        await whole.start()
        last = LastLines(tail)
        with suppress(trio.EndOfChannel):
            while True:
                await trio.lowlevel.checkpoint()
                with suppress(LinesMissedError):
                    last.add(await whole.receive())
        await self._start_at(last.number or self._end)
        self._skip = last.surplus

    async def _go_to_disk(self, log: ProcessLog, number: int) -> None:
        """Read from the disk what the console has no more, from a line on."""
        await log.flush()
        cursor = self._console.subscribe_oldest()
        place = await self._in_thread(partial(find_number, log, number))
        self._cursor, self._before, self._place = cursor, cursor.next_number, place

    async def _limit(self, log: ProcessLog, number: int) -> int:
        """Find the times that were asked for; return the number of the first line there is."""
        place, query = self._place, self._query
        assert place is not None  # noqa: S101  # `_go_to_disk` has found it.
        if query.since is not None:
            found = await self._in_thread(partial(find_time, log, query.since))
            begin = await self._in_thread(partial(number_at, log, found))
            self._begun = begin is not None and begin < self._before  # Else the console has it.
            place = max(place, attrs.evolve(found, number=number), key=Place.order)
            self._place = place
        if query.until is not None:
            found = await self._in_thread(partial(find_after_time, log, query.until))
            end = await self._in_thread(partial(number_at, log, found))
            self._end = self._end if end is None else min(self._end, end)
        first = await self._in_thread(partial(number_at, log, place))
        return max(number, self._before if first is None else first)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        # A disk that hangs costs the thread and nobody who waits for the end of this task.
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)

    # What comes next

    async def receive(self) -> Item:
        """Wait for the next item.

        Raises `LinesMissedError` once for each gap, `trio.EndOfChannel` at the end of what was
        asked for, `OSError` and `SlowPatternError`.

        If cancelled: nothing is lost, the next call returns it.
        """
        await trio.lowlevel.checkpoint()
        while (item := self._pop()) is None:
            if self._ended:
                raise trio.EndOfChannel
            if self._place is not None and self._log is not None:
                await self._read_disk(self._log, self._place)
            elif not await self._read_console():
                await self._cursor.wait()
        return item

    def receive_nowait(self) -> Item | None:
        """Return the next item, or None if `receive` has to be asked for it."""
        return None if self._ready and isinstance(self._ready[0], _Gap) else self._pop()

    @property
    def is_live(self) -> bool:
        """Whether all that comes next is in the console."""
        return self._place is None and not self._ready

    def hand_over(self) -> Cursor[Item]:
        """Return a reader of the console that goes on in place of this one, once it is live."""
        cursor = self._cursor
        # What the disk has lost is a gap before what the console has.
        cursor.next_number = min(cursor.next_number, self.next_number)
        if self._query.stream is not None:
            cursor.narrow(partial(is_of, self._query.stream))
        return cursor

    def _pop(self) -> Item | None:
        while self._ready:
            item = self._ready.popleft()
            if isinstance(item, _Gap):
                raise self._console.note_missed(item.lines)
            if not (self._skip and isinstance(item, Batch)):
                return item
            lines = item.end - item.first
            skipped = min(lines, self._skip)
            self._skip -= skipped
            if skipped < lines:
                return item.since(item.first + skipped)
        return None

    async def _read_disk(self, log: ProcessLog, place: Place) -> None:
        pattern = self._query.pattern
        before = self._before if self._query.follow else min(self._before, self._end)
        if pattern is None:
            items, place = await self._in_thread(partial(read_items, log, place, before=before))
            for item in items:
                self._take(item, [item])
            is_done = not items
        else:
            check = trio.from_thread.check_cancelled
            found = await self._in_thread(
                partial(search_segment, log, place, pattern, before=before, check=check)
            )
            place, is_done = found.place, found.is_done
            if not is_done:
                self._pass_gap(found.first)
                self.next_number = max(self.next_number, min(place.number, before))
            self._ready += [batch for batch in found.items if self._is_wanted(batch)]
        self._place = None if is_done else place

    async def _read_console(self) -> bool:
        """Take what is next in the console; return whether there was something, or the end."""
        cursor = self._cursor
        if cursor.gap and self._log is not None:
            await self._log.flush()
            if any(segment.end > self.next_number for segment in self._log.segments):
                await self._go_to_disk(self._log, self.next_number)
                return True
        cursor.pass_gap()  # The next number tells it.
        item = cursor.receive_nowait()
        if item is None:
            if self._query.follow and self._console.end is None:
                return False
            self._finish()
            return True
        pattern = self._query.pattern
        shown: Sequence[Item] = [item]
        if pattern is not None:
            try:
                shown = await self._in_thread(partial(_matches, item, pattern))
            except BaseException:
                cursor.put_back(item.first)
                raise
        self._take(item, shown)
        return True

    def _take(self, item: Item, shown: Sequence[Item]) -> None:
        """Pass an item, of which some is to be shown."""
        if self._ended or self._is_beyond(item):
            self._ended = True
            return
        since = self._query.since
        self._begun = self._begun or since is None or time_of(item) >= since
        if self._begun:
            self._pass_gap(item.first)
            self._ready += [one for one in shown if self._is_wanted(one)]
        self.next_number = item.end

    def _pass_gap(self, number: int) -> None:
        if number > self.next_number:
            self._ready.append(_Gap(number - self.next_number))

    def _is_beyond(self, item: Item) -> bool:
        if self._query.follow:
            return False
        is_later = item.first >= self._end if isinstance(item, Batch) else item.first > self._end
        until = self._query.until
        return is_later or (until is not None and time_of(item) > until)

    def _is_wanted(self, item: Item) -> bool:
        return self._query.stream is None or is_of(self._query.stream, item)

    def _finish(self) -> None:
        """There is no more; what is gone at the end is told, too."""
        self._ended = True
        if self._begun and self._query.until is None:
            self._pass_gap(self._console.next_line if self._query.follow else self._end)


def _matches(item: Item, pattern: LinePattern) -> Sequence[Item]:
    """Return the lines that match; what happened to the process is not looked for."""
    if not isinstance(item, Batch):
        return []
    found, number, counted = [], item.first, 0
    for start, end in pattern.find_lines(item.text, len(item.text)):
        number += item.text.count(b"\n", counted, start)
        counted = start
        found.append(attrs.evolve(item, first=number, text=item.text[start:end]))
    return found
